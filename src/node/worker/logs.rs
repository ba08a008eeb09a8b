//! Stored output on its way to the dispatcher, as uploads of ended attempts.
//!
//! Invariant: a log leaves as the frames it was stored as, in order. Absent:
//! storing it (`exec`), and when a result may be reported (`reports`).

use std::time::Duration;

use tokio::sync::watch;

use crate::exec::{Executor, KeptLogs, LogReader};
use crate::model::AttemptId;
use crate::model::messages::StreamPurpose;
use crate::transport::{FrameSend, Link, TransportError};
use crate::wire::{DataFrame, WireError};

/// Tries on one link that the dispatcher broke off, after which a result is reported without its output.
const MOST_REFUSALS: u32 = 5;
/// Pause after the first of them; doubles with each, so that they span some four seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Why a log did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogTransferError {
    /// The link or the stream broke; worth another try on the next link.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The dispatcher does not take it, though the link to it is fine.
    #[error("upload it: the dispatcher does not take it")]
    Refused(#[source] TransportError),
    /// It cannot be read back from this worker's disk.
    #[error(transparent)]
    Read(#[from] crate::exec::ExecError),
    /// What was stored is no log.
    #[error(transparent)]
    Damaged(#[from] WireError),
    /// It is not here any more.
    #[error("find the stored output")]
    Gone,
}

/// Uploads the stored output of `id`, on as many links as it takes. Until then it is `kept` beyond this process, as
/// its result is.
///
/// A link that is healthy and whose dispatcher does not take the stream is another matter: its disk may be
/// full, and the result must not wait for that.
///
/// # Errors
/// When the log itself is the problem, or the dispatcher has refused it [`MOST_REFUSALS`] times on one link, so that
/// another try would not help.
pub(super) async fn upload(
    id: AttemptId,
    bytes: u64,
    executor: Executor,
    kept: Option<KeptLogs>,
    mut link: watch::Receiver<Option<Link>>,
) -> Result<(), LogTransferError> {
    if let Some(kept) = kept {
        let executor = executor.clone();
        let keeping = tokio::task::spawn_blocking(move || executor.keep_log(id, &kept)).await;
        if let Ok(Err(error)) = keeping {
            tracing::debug!(%id, "Its output would go with this process: {error}");
        }
    }
    let (mut refusals, mut pause) = (0, FIRST_PAUSE);
    loop {
        let current = link.borrow_and_update().clone();
        let refused = match current {
            Some(current) => match upload_once(id, bytes, &executor, &current).await {
                Err(LogTransferError::Transport(error)) => {
                    tracing::debug!(%id, "An upload broke: failed to {error}");
                    (!matches!(error, TransportError::LinkLost(_))).then_some(error)
                }
                settled => return settled,
            },
            None => None,
        };
        if let Some(error) = refused {
            refusals += 1;
            if refusals == MOST_REFUSALS {
                return Err(LogTransferError::Refused(error));
            }
            // Ends early when a new link comes: that is where the next try goes.
            if tokio::time::timeout(pause, link.changed()).await.is_err() {
                pause *= 2;
                continue;
            }
        } else {
            // The worker is gone when nobody can set a link any more.
            link.changed().await.map_err(|_| LogTransferError::Gone)?;
        }
        (refusals, pause) = (0, FIRST_PAUSE);
    }
}

async fn upload_once(id: AttemptId, bytes: u64, executor: &Executor, link: &Link) -> Result<(), LogTransferError> {
    let mut log = executor.read_log(id, false).ok_or(LogTransferError::Gone)?;
    let mut send = link.open_uni().await?;
    let sent = async {
        send.feed(&StreamPurpose::LogUpload { id, bytes }).await?;
        copy(&mut log, &mut send).await?;
        // The report that names this upload is not to be known before the dispatcher has it on its disk: then `logs`
        // finds it, and this copy of it may go.
        Ok(send.until_kept().await?)
    };
    let sent = sent.await;
    if sent.is_err() {
        // Otherwise the part that was sent would look like the whole.
        send.abandon();
    }
    sent
}

/// Sends a log, and what it grows by while it is read.
pub(super) async fn copy(log: &mut LogReader, send: &mut FrameSend) -> Result<(), LogTransferError> {
    while let Some(frames) = log.next().await? {
        let mut rest = &frames[..];
        while let Some(frame) = DataFrame::take(&mut rest)? {
            send.feed_data(&frame).await?;
        }
        // Whoever follows a log wants what there is now.
        send.flush().await?;
    }
    Ok(())
}
