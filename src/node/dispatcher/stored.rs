//! Output of ended attempts, from the store's rows or the log folder.
//!
//! The one invariant: one frame at a time is in memory, however long the log.

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use tokio::sync::mpsc;

use super::requests::Trouble;
use super::shell::Shell;
use super::skip::Skip;
use crate::model::outcome::KeptOutput;
use crate::model::requests::FailureCode;
use crate::model::views::AttemptView;
use crate::model::{AttemptId, Millis, RawString, Timestamp};
use crate::wire::data::DataFrame;
use crate::wire::log::{LogFrames, LogReader};

/// An upload stands before its result on the worker's link, but the two travel
/// by different streams: the result may be seen first, by about this long.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(3);

/// Of an attempt that ended longer ago no upload is waited for: what is not there is kept no more.
const UPLOAD_EXPECTED: Millis = Millis(60_000);

/// Frames read from a file ahead of the client.
const READ_AHEAD: usize = 4;

/// Where an ended attempt's output is.
pub(super) enum Stored {
    /// There is none.
    Nothing,
    /// There was some, of that many bytes, and it is kept no more (`--log-space`) or never came (a full disk).
    Gone(u64),
    /// Here.
    Inline(RawString),
    /// In this file.
    File(File),
}

/// Takes frames of a log, in order.
pub(super) trait Sink {
    async fn take(&mut self, frame: DataFrame<'_>) -> Result<(), Trouble>;
}

/// Finds the stored output of `id`; waits a moment for an upload that may still be coming in.
pub(super) async fn find(shell: &Shell, id: AttemptId) -> Result<Stored, Trouble> {
    match shell.history.read(move |reader| reader.kept_output(id)).await? {
        None | Some(KeptOutput::Nothing) => Ok(Stored::Nothing),
        Some(KeptOutput::Inline(log)) => Ok(Stored::Inline(log)),
        Some(KeptOutput::Uploaded(_)) => uploaded(shell, id).await,
    }
}

async fn uploaded(shell: &Shell, id: AttemptId) -> Result<Stored, Trouble> {
    let mut file = shell.log_files.read(id);
    if let Ok(None) = file {
        let attempts = shell.history.read(move |reader| reader.attempts(id.task)).await?;
        let Some(attempt) = attempts.iter().find(|attempt| attempt.id == id) else { return Ok(Stored::Nothing) };
        let ended_at = attempt.ended_at.unwrap_or(Timestamp(0));
        if shell.clock.now().since(ended_at) < UPLOAD_EXPECTED {
            let mut ends = shell.log_files.ends();
            let arrived = async { while !shell.log_files.has(id) && ends.changed().await.is_ok() {} };
            // An upload that was cut off by a full disk never comes.
            let _ = tokio::time::timeout(UPLOAD_PATIENCE, arrived).await;
            file = shell.log_files.read(id);
        }
        if let Ok(None) = file {
            return Ok(Stored::Gone(written(attempt)));
        }
    }
    match file {
        Ok(file) => Ok(file.map_or(Stored::Nothing, Stored::File)),
        Err(error) => Err(unreadable(id, &error)),
    }
}

/// Output bytes of an ended attempt.
pub(super) fn written(attempt: &AttemptView) -> u64 {
    attempt.stdout_bytes.saturating_add(attempt.stderr_bytes)
}

/// Passes on what is stored of `id`, without its first `skip` bytes of output.
pub(super) async fn pass_on(stored: Stored, id: AttemptId, skip: u64, sink: &mut impl Sink) -> Result<(), Trouble> {
    let mut skip = Skip::new(skip);
    match stored {
        Stored::Nothing => {}
        Stored::Gone(omitted) => {
            if let Some(frame) = skip.pass(DataFrame::Cut { omitted }) {
                sink.take(frame).await?;
            }
        }
        Stored::Inline(log) => {
            for frame in LogFrames::new(log.as_bytes()) {
                let frame = frame.map_err(|error| unreadable(id, &error))?;
                if let Some(frame) = skip.pass(frame) {
                    sink.take(frame).await?;
                }
            }
        }
        Stored::File(file) => {
            let (frames, mut read) = mpsc::channel(READ_AHEAD);
            // Ends by itself when nobody reads any more.
            tokio::task::spawn_blocking(move || {
                for frame in LogReader::new(BufReader::new(file)) {
                    let is_last = frame.is_err();
                    if frames.blocking_send(frame).is_err() || is_last {
                        return;
                    }
                }
            });
            while let Some(frame) = read.recv().await {
                let frame = frame.map_err(|error| unreadable(id, &error))?;
                if let Some(frame) = skip.pass(frame) {
                    sink.take(frame).await?;
                }
            }
        }
    }
    Ok(())
}

fn unreadable(id: AttemptId, error: &dyn std::error::Error) -> Trouble {
    Trouble::refused(FailureCode::Internal, format!("the stored output of task {id} is unreadable: {error}"), None)
}
