//! Being the client of a task that writes what it reads: bytes out, the same
//! back, both at the same time.
//!
//! The one invariant: no more stdin is under way than its window, as in
//! `octaskly run`: the worker says how much it has, and we go on from there.

use tokio::sync::mpsc;

use super::{Bench, BenchError};
use crate::client::{Attacher, Attachment, ClientError, OutputReceiver, StdinSender};
use crate::model::limits::{DATA_FRAME, STDIN_WINDOW};
use crate::model::{ClientId, TaskId};
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

impl Bench<'_> {
    /// Feeds `bytes` bytes to a task and takes what it writes; how many came back.
    pub(super) async fn exchange(&self, task: TaskId, bytes: u64) -> Result<u64, BenchError> {
        // Nobody else knows of this job.
        let by = Attacher { client: ClientId(0), takes_over: false };
        let Attachment { stdin, output } = self.client.attach(task, by, None, u64::MAX).await?;
        let (words, heard) = mpsc::channel(WORDS);
        tokio::select! {
            received = down(output, words) => Ok(received?),
            error = up(stdin, bytes, heard) => Err(error.into()),
        }
    }
}

async fn down(mut output: OutputReceiver, words: mpsc::Sender<Word>) -> Result<u64, ClientError> {
    while let Some(frame) = output.next().await? {
        let word = match frame {
            DataFrame::Output { .. } => output.acknowledgement_due().map(Word::Received),
            DataFrame::Ack { received } => Some(Word::Taken(received)),
            _ => None,
        };
        if let Some(word) = word {
            // The other half ends only with its stream, and then so does this one.
            let _ = words.send(word).await;
        }
    }
    Ok(output.received())
}

/// Returns only when the stream breaks; its end is heard by the other half.
async fn up(mut stdin: StdinSender, bytes: u64, mut heard: mpsc::Receiver<Word>) -> ClientError {
    let piece = vec![7; DATA_FRAME];
    let (mut sent, mut taken) = (0, None);
    let mut said_end = false;
    loop {
        let room = taken.map_or(0, |taken| (STDIN_WINDOW as u64).saturating_sub(sent - taken));
        let now = (bytes - sent).min(DATA_FRAME as u64);
        let can_send = taken.is_some() && now > 0 && now <= room;
        let said = tokio::select! {
            biased;
            word = heard.recv() => match word {
                Some(Word::Received(received)) => stdin.acknowledge(received).await,
                Some(Word::Taken(count)) => {
                    taken = Some(count);
                    Ok(())
                }
                None => std::future::pending().await,
            },
            () = std::future::ready(()), if can_send => {
                sent += now;
                stdin.send(piece.get(..now as usize).unwrap_or_default()).await
            }
            () = std::future::ready(()), if taken.is_some() && now == 0 && !said_end => {
                said_end = true;
                stdin.end().await
            }
        };
        if let Err(error) = said {
            return error;
        }
    }
}
