//! Being the client of one task: its output to ours, our input to its.
//!
//! The one invariant: every byte is passed on once and in order, over as many
//! streams as it takes: the dispatcher is told how much is here, and the worker
//! says how much of the input it has. Nothing is gathered: who reads us slowly
//! holds back the task.

use tokio::sync::mpsc;

use super::input::{Input, Next};
use super::writer::Writer;
use crate::cli::error::CliError;
use crate::cli::output::say;
use crate::cli::resolve::StdinPlan;
use crate::cli::session::Session;
use crate::client::{Attacher, Attachment, ClientError, OutputReceiver, StdinSender};
use crate::model::TaskId;
use crate::wire::DataFrame;

/// Words from the receiving to the sending half; both windows together are worth fewer.
const WORDS: usize = 64;

/// What the sending half has to know.
enum Word {
    /// So many bytes of output are here.
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

/// One task and its client.
pub(super) struct Live<'a> {
    session: &'a mut Session,
    task: TaskId,
    by: Attacher,
    input: Input,
    /// Bytes of output that are here, of all its tries.
    received: u64,
    /// Whether each line gets the task's id before it.
    tag: bool,
    quiet: bool,
}

impl<'a> Live<'a> {
    pub(super) fn new(session: &'a mut Session, task: TaskId, stdin: StdinPlan, tag: bool, quiet: bool) -> Self {
        let by = session.attacher(false);
        Self { session, task, by, input: Input::new(stdin, quiet), received: 0, tag, quiet }
    }

    /// Passes everything on until the task has ended and all its output is written.
    pub(super) async fn until_the_end(mut self) -> Result<(), CliError> {
        let mut writer = Writer::start(self.tag)?;
        loop {
            match self.one_stream(&mut writer).await {
                Ok(()) => return writer.finish().await,
                Err(Broken::Stream(error)) => self.session.reopen(error).await?,
                Err(Broken::Ours(error)) => return Err(error),
            }
        }
    }

    async fn one_stream(&mut self, writer: &mut Writer) -> Result<(), Broken> {
        let attached = self.session.client().attach(self.task, self.by, self.received).await;
        let Attachment { stdin, output } = attached.map_err(Broken::Stream)?;
        // Who takes over later is not put out by a link of ours that breaks.
        self.by.takes_over = false;
        self.input.stream_begins();
        let (words, heard) = mpsc::channel(WORDS);
        let Self { task, input, received, quiet, .. } = self;
        tokio::select! {
            ended = down(output, (writer, *task), received, words, *quiet) => ended,
            error = up(stdin, input, heard) => Err(Broken::Stream(error)),
        }
    }
}

/// Output from the stream to the writer, until the task has no more.
async fn down(
    mut output: OutputReceiver,
    (writer, task): (&mut Writer, TaskId),
    received: &mut u64,
    words: mpsc::Sender<Word>,
    quiet: bool,
) -> Result<(), Broken> {
    while let Some(frame) = output.next().await.map_err(Broken::Stream)? {
        match frame {
            DataFrame::Output { stream, bytes } => {
                let length = bytes.len() as u64;
                writer.write(task, stream, bytes.into_owned()).await.map_err(Broken::Ours)?;
                *received += length;
                if let Some(received) = output.acknowledgement_due() {
                    // The other half ends only with its stream, and then so does this one.
                    let _ = words.send(Word::Received(received)).await;
                }
            }
            DataFrame::Ack { received } => drop(words.send(Word::Taken(received)).await),
            DataFrame::Cut { omitted } => {
                say::warning(quiet, &format!("here {omitted} bytes of its output were not kept"), None);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Input and acknowledgements to the stream, until it breaks.
async fn up(mut stdin: StdinSender, input: &mut Input, mut heard: mpsc::Receiver<Word>) -> ClientError {
    loop {
        let said = tokio::select! {
            biased;
            Some(word) = heard.recv() => match word {
                Word::Received(received) => stdin.acknowledge(received).await,
                Word::Taken(count) => {
                    input.acknowledged(count);
                    Ok(())
                }
            },
            next = input.next() => match next {
                Next::Bytes(bytes) => stdin.send(&bytes).await,
                Next::End => stdin.end().await,
            },
        };
        if let Err(error) = said {
            return error;
        }
    }
}
