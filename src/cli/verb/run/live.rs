//! Being the client of one task: its output to ours, our input to its.
//!
//! The one invariant: the output of one attempt is passed on, every byte of it
//! once and in order, over as many streams as it takes. With `--retries` it is
//! held until the attempt has finished, up to a bound; once any of it was passed
//! on, the next attempt is not shown. Who reads us slowly holds back the task.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::input::{Input, Next};
use super::writer::Writer;
use crate::cli::error::CliError;
use crate::cli::session::Session;
use crate::client::{Attacher, Attachment, ClientError, OutputReceiver, StdinSender};
use crate::model::limits::DATA_FRAME;
use crate::model::outcome::Unrepeatable;
use crate::model::requests::ReceivedOutput;
use crate::model::{AttemptNo, Items, TaskId};
use crate::wire::{DataFrame, OutputStream};

/// Words from the receiving to the sending half; both windows together are worth fewer.
const WORDS: usize = 64;

/// What the sending half has to know.
enum Word {
    /// Another attempt begins.
    Begins,
    /// So many bytes of output were passed on.
    Received(u64),
    /// The worker has so many bytes of input.
    Taken(u64),
}

/// Why a stream ended before the task did.
enum Broken {
    /// Another one may go on where it stopped.
    Stream(ClientError),
    /// We cannot go on.
    Ours(CliError),
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        Self::Stream(error)
    }
}

impl From<CliError> for Broken {
    fn from(error: CliError) -> Self {
        Self::Ours(error)
    }
}

/// One task and its client.
pub(super) struct Live<'a> {
    session: &'a mut Session,
    task: TaskId,
    by: Attacher,
    input: Input,
    output: Output,
    /// With `--tag`: what the job ranges over.
    tags: Option<Items>,
}

impl<'a> Live<'a> {
    /// The client of `task`, which holds `bound` bytes of each attempt's output.
    pub(super) fn new(
        session: &'a mut Session,
        task: TaskId,
        by: Attacher,
        input: Input,
        bound: u64,
        tags: Option<Items>,
    ) -> Self {
        Self { session, task, by, input, output: Output::new(task, bound), tags }
    }

    /// Passes everything on until the task has ended and all its output is written; says how many bytes of it were
    /// lost on the way.
    pub(super) async fn until_the_end(mut self) -> Result<u64, CliError> {
        let mut writer = Writer::start(self.tags.take())?;
        loop {
            match self.one_stream(&mut writer).await {
                Ok(()) => {
                    writer.finish().await?;
                    return Ok(self.output.missing);
                }
                Err(Broken::Stream(error)) => self.session.reopen(error).await?,
                Err(Broken::Ours(error)) => return Err(error),
            }
        }
    }

    async fn one_stream(&mut self, writer: &mut Writer) -> Result<(), Broken> {
        let Self { session, task, by, input, output, .. } = self;
        let attached = session.client().attach(*task, *by, output.received(), input.resends()).await;
        let Attachment { stdin, output: received } = attached?;
        // Who takes over later is not put out by a link of ours that breaks.
        by.takes_over = false;
        input.stream_begins();
        let (words, heard) = mpsc::channel(WORDS);
        tokio::select! {
            ended = down(received, writer, output, words) => ended,
            broken = up(stdin, input, heard) => Err(broken),
        }
    }
}

/// What was received of the present attempt's output.
struct Output {
    task: TaskId,
    attempt: Option<AttemptNo>,
    bytes: u64,
    /// Whether any of it was passed on.
    passed_on: bool,
    /// What was not, and how many bytes that is as long as none was.
    held: VecDeque<(OutputStream, Vec<u8>)>,
    held_bytes: u64,
    /// More than this is not held.
    bound: u64,
    /// Bytes that nobody kept.
    missing: u64,
}

impl Output {
    fn new(task: TaskId, bound: u64) -> Self {
        let held = VecDeque::new();
        Self { task, attempt: None, bytes: 0, passed_on: false, held, held_bytes: 0, bound, missing: 0 }
    }

    fn received(&self) -> Option<ReceivedOutput> {
        self.attempt.map(|attempt| ReceivedOutput { attempt, bytes: self.bytes })
    }

    /// What follows is of this attempt; says whether it is another one than before.
    fn begins(&mut self, attempt: AttemptNo, from: u64) -> Result<bool, CliError> {
        let is_another = self.attempt.replace(attempt) != Some(attempt);
        if is_another {
            if self.passed_on {
                return Err(CliError::Unrepeatable(Unrepeatable::OutputPassedOn));
            }
            self.held.clear();
            (self.bytes, self.held_bytes) = (0, 0);
        }
        // Another client was here before, and has passed that on.
        self.passed_on |= from > self.bytes;
        self.bytes = from;
        Ok(is_another)
    }

    /// Takes what has come; it is counted from now on and not lost when its stream breaks.
    fn takes(&mut self, stream: OutputStream, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        self.held_bytes += bytes.len() as u64;
        self.passed_on |= self.held_bytes > self.bound;
        match self.held.back_mut() {
            // So that a task that writes single bytes costs no more than others.
            Some((last, held)) if *last == stream && held.len() + bytes.len() <= DATA_FRAME => held.extend(bytes),
            _ => self.held.push_back((stream, bytes)),
        }
    }

    /// Passes on what is held: no other attempt follows.
    async fn pass_on(&mut self, writer: &mut Writer) -> Result<(), CliError> {
        self.passed_on = true;
        writer.drain(self.task, &mut self.held).await
    }
}

/// Output from the stream to the writer, until the task has no more.
async fn down(
    mut received: OutputReceiver,
    writer: &mut Writer,
    output: &mut Output,
    words: mpsc::Sender<Word>,
) -> Result<(), Broken> {
    while let Some(frame) = received.next().await? {
        let word = match frame {
            DataFrame::AttemptBegins { attempt, from } => output.begins(attempt, from)?.then_some(Word::Begins),
            DataFrame::Output { stream, bytes } => {
                output.takes(stream, bytes.into_owned());
                if output.passed_on {
                    output.pass_on(writer).await?;
                    received.acknowledgement_due().map(Word::Received)
                } else {
                    // It may be wanted again by a client that comes after us.
                    None
                }
            }
            DataFrame::Ack { received } => Some(Word::Taken(received)),
            DataFrame::Cut { omitted } => {
                output.pass_on(writer).await?;
                output.missing += omitted;
                None
            }
            _ => None,
        };
        if let Some(word) = word {
            // The other half ends only with its stream, and then so does this one.
            let _ = words.send(word).await;
        }
    }
    Ok(output.pass_on(writer).await?)
}

/// Input and acknowledgements to the stream, until it breaks.
async fn up(mut stdin: StdinSender, input: &mut Input, mut heard: mpsc::Receiver<Word>) -> Broken {
    loop {
        let said = tokio::select! {
            biased;
            Some(word) = heard.recv() => match word {
                Word::Begins => match input.attempt_begins() {
                    Ok(()) => Ok(()),
                    Err(why) => return CliError::Unrepeatable(why).into(),
                },
                Word::Received(received) => stdin.acknowledge(received).await,
                Word::Taken(count) => {
                    input.acknowledged(count);
                    Ok(())
                }
            },
            next = input.next() => match next {
                Next::Bytes(bytes) => stdin.send(&bytes).await,
                Next::End => stdin.end().await,
                Next::Failed(error) => return error.into(),
            },
        };
        if let Err(error) = said {
            return error.into();
        }
    }
}
