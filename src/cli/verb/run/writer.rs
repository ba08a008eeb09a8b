//! Output of tasks on its way to our stdout and stderr.
//!
//! A thread of its own writes, so that a reader who takes his time holds up
//! the task and nothing else. The one invariant: frames are written in the
//! order in which they came, and a few of them are all that is ever held,
//! beside (`--tag`) the unfinished lines.

use std::collections::VecDeque;

use tokio::sync::{mpsc, oneshot};

use crate::cli::error::CliError;
use crate::cli::output::raw::RawOutput;
use crate::cli::output::tagged::Tagged;
use crate::cli::output::{item, screen};
use crate::model::{Items, TaskId};
use crate::wire::OutputStream;

/// Frames between the stream and the thread: so that both can work at the same time.
const QUEUED: usize = 4;

/// Where frames go.
pub(super) struct Writer {
    pieces: mpsc::Sender<Piece>,
    /// How the thread ended: with all written, or with why not.
    ended: oneshot::Receiver<Result<(), CliError>>,
}

/// What the thread is told.
enum Piece {
    /// A task wrote this.
    Output(TaskId, OutputStream, Vec<u8>),
    /// Nothing more comes of this task.
    Over(TaskId),
}

impl Writer {
    /// Starts the thread; with `--tag` each line gets its task's id and item before it, of a job over `tag`.
    pub(super) fn start(tag: Option<Items>) -> Result<Self, CliError> {
        let (pieces, mut queue) = mpsc::channel::<Piece>(QUEUED);
        let (end, ended) = oneshot::channel();
        let work = move || {
            let mut out = RawOutput::new();
            let mut tagged = tag.map(|items| (Tagged::default(), items));
            let mut result = Ok(());
            while let Some(piece) = queue.blocking_recv() {
                result = match (piece, &mut tagged) {
                    (Piece::Output(_, stream, bytes), None) => out.write(stream, &bytes),
                    (Piece::Output(task, stream, bytes), Some((tagged, items))) => {
                        let tag = item::tag(task, item::of_task(items, task).as_ref());
                        out.write(stream, &tagged.lines(task, stream, &tag, &bytes))
                    }
                    (Piece::Over(_), None) => {
                        screen::line_is_left();
                        Ok(())
                    }
                    (Piece::Over(task), Some((tagged, _))) => {
                        tagged.end_of(task, |_, stream, bytes| out.write(stream, bytes))
                    }
                };
                if result.is_err() {
                    break;
                }
            }
            if let (Ok(()), Some((tagged, _))) = (&result, &mut tagged) {
                result = tagged.end(|_, stream, bytes| out.write(stream, bytes));
            }
            // What is still queued is dropped with the queue, which tells the other end.
            drop(queue);
            let _ = end.send(result);
        };
        std::thread::Builder::new().name("output".to_owned()).spawn(work).map_err(CliError::Runtime)?;
        Ok(Self { pieces, ended })
    }

    /// Queues one frame; waits while the reader takes his time.
    pub(super) async fn write(&mut self, task: TaskId, stream: OutputStream, bytes: Vec<u8>) -> Result<(), CliError> {
        self.send(Piece::Output(task, stream, bytes)).await
    }

    /// Queues all of `waiting`, oldest first.
    ///
    /// Cancel safe: what was not queued is still there.
    pub(super) async fn drain(
        &mut self,
        task: TaskId,
        waiting: &mut VecDeque<(OutputStream, Vec<u8>)>,
    ) -> Result<(), CliError> {
        while !waiting.is_empty() {
            let Ok(place) = self.pieces.reserve().await else { return self.result().await };
            if let Some((stream, bytes)) = waiting.pop_front() {
                place.send(Piece::Output(task, stream, bytes));
            }
        }
        Ok(())
    }

    /// Nothing more comes of `task`: a line that it has left unfinished is over.
    pub(super) async fn over(&mut self, task: TaskId) -> Result<(), CliError> {
        self.send(Piece::Over(task)).await
    }

    async fn send(&mut self, piece: Piece) -> Result<(), CliError> {
        match self.pieces.send(piece).await {
            Ok(()) => Ok(()),
            Err(_) => self.result().await,
        }
    }

    /// Waits until all of it is written.
    pub(super) async fn finish(mut self) -> Result<(), CliError> {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.pieces, closed));
        self.result().await
    }

    async fn result(&mut self) -> Result<(), CliError> {
        // A thread that ends without a word has panicked; its hook has said so.
        (&mut self.ended).await.unwrap_or(Err(CliError::PipeClosed))
    }
}
