//! Output of ended attempts, from the store's rows or the log folder.
//!
//! The one invariant: one frame at a time is in memory, however long the log.

use std::fs::File;
use std::io::BufReader;

use tokio::sync::mpsc;

use super::requests::Trouble;
use super::shell::Shell;
use super::skip::Skip;
use crate::model::outcome::KeptOutput;
use crate::model::requests::FailureCode;
use crate::model::views::AttemptView;
use crate::model::{AttemptId, RawString};
use crate::wire::data::DataFrame;
use crate::wire::log::{LogFrames, LogReader};

/// Frames read from a file ahead of the client.
const READ_AHEAD: usize = 4;

/// Where an ended attempt's output is.
pub(super) enum Stored {
    /// There is none.
    Nothing,
    /// There was some, of that many bytes, and it is kept no more (`--log-space`).
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

/// Finds the stored output of `id`. A result that promises an upload is reported when that is kept, so one that is
/// not here has been removed.
pub(super) async fn find(shell: &Shell, id: AttemptId) -> Result<Stored, Trouble> {
    match shell.history.read(move |reader| reader.kept_output(id)).await? {
        None | Some(KeptOutput::Nothing) => Ok(Stored::Nothing),
        Some(KeptOutput::Inline(log)) => Ok(Stored::Inline(log)),
        Some(KeptOutput::Uploaded(_)) => match shell.log_files.read(id) {
            Ok(Some(file)) => Ok(Stored::File(file)),
            Ok(None) => gone(shell, id).await,
            Err(error) => Err(unreadable(id, &error)),
        },
    }
}

async fn gone(shell: &Shell, id: AttemptId) -> Result<Stored, Trouble> {
    let attempts = shell.history.read(move |reader| reader.attempts(id.task)).await?;
    let attempt = attempts.iter().find(|attempt| attempt.id == id);
    Ok(attempt.map_or(Stored::Nothing, |attempt| Stored::Gone(written(attempt))))
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
