//! Output of tasks on its way to our stdout and stderr.
//!
//! A thread of its own writes, so that a reader who takes his time holds up
//! the task and nothing else. The one invariant: frames are written in the
//! order in which they came, and a few of them are all that is ever held.

use tokio::sync::{mpsc, oneshot};

use crate::cli::error::CliError;
use crate::cli::output::raw::RawOutput;
use crate::wire::OutputStream;

/// Frames between the stream and the thread: so that both can work at the same time.
const QUEUED: usize = 4;

/// Where frames go.
pub(super) struct Writer {
    frames: mpsc::Sender<(OutputStream, Vec<u8>)>,
    /// How the thread ended: with all written, or with why not.
    ended: oneshot::Receiver<Result<(), CliError>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start() -> Result<Self, CliError> {
        let (frames, mut queue) = mpsc::channel::<(OutputStream, Vec<u8>)>(QUEUED);
        let (end, ended) = oneshot::channel();
        let work = move || {
            let mut out = RawOutput::new();
            let mut result = Ok(());
            while let Some((stream, bytes)) = queue.blocking_recv() {
                result = out.write(stream, &bytes);
                if result.is_err() {
                    break;
                }
            }
            // What is still queued is dropped with the queue, which tells the other end.
            drop(queue);
            let _ = end.send(result);
        };
        std::thread::Builder::new().name("output".to_owned()).spawn(work).map_err(CliError::Runtime)?;
        Ok(Self { frames, ended })
    }

    /// Queues one frame; waits while the reader takes his time.
    pub(super) async fn write(&mut self, stream: OutputStream, bytes: Vec<u8>) -> Result<(), CliError> {
        match self.frames.send((stream, bytes)).await {
            Ok(()) => Ok(()),
            Err(_) => self.result().await,
        }
    }

    /// Waits until all of it is written.
    pub(super) async fn finish(mut self) -> Result<(), CliError> {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.frames, closed));
        self.result().await
    }

    async fn result(&mut self) -> Result<(), CliError> {
        // A thread that ends without a word has panicked; its hook has said so.
        (&mut self.ended).await.unwrap_or(Err(CliError::PipeClosed))
    }
}
