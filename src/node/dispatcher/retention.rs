//! Letting go of what is old: ended jobs after `--retention`, and stored output beyond `--log-space`.
//!
//! The one invariant: a job goes through the engine, as one that a client
//! forgets does, so that its rows, logs and whatever else belongs to it have one
//! place to go from; and a round touches a bounded number of them. Absent: the
//! removal of rows (the store's, when nothing else is to do).

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::requests::Trouble;
use super::shell::Shell;
use crate::model::records::DiskSpace;
use crate::model::{JobId, Millis, Timestamp};
use crate::node::Clock;

/// Jobs in one round: one turn of the engine, a few thousandths of a second.
const AT_ONCE: usize = 256;
/// Between two rounds while there is more to do: at most 22 million jobs a day, and never more than a fraction of
/// what the store takes.
const MORE: Duration = Duration::from_secs(1);
/// Between two rounds when there was not.
const IDLE: Duration = Duration::from_secs(60);

/// How long and how much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// How long ended jobs are; for ever when `None`.
    pub(super) jobs: Option<Millis>,
    /// How many bytes of stored output.
    pub(super) log_bytes: u64,
}

/// Works until the dispatcher ends.
pub(super) async fn keep(shell: Arc<Shell>, clock: Clock, retention: Retention) {
    loop {
        let pause = match round(&shell, clock.now(), retention).await {
            Ok(true) => MORE,
            Ok(false) => IDLE,
            Err(trouble) => {
                tracing::warn!("Old jobs could not be looked up: failed to {trouble}");
                IDLE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One round; says whether there is more to do.
async fn round(shell: &Shell, now: Timestamp, retention: Retention) -> Result<bool, Trouble> {
    if shell.history.disk() == DiskSpace::Nothing {
        return Ok(false);
    }
    let mut is_more = false;
    if let Some(kept) = retention.jobs {
        let before = Timestamp(now.0.saturating_sub(kept.0.saturating_mul(1000)));
        let jobs = shell.history.read_fresh(move |reader| reader.ended_before(before, AT_ONCE, |_| true)).await?;
        is_more = jobs.len() == AT_ONCE;
        if !jobs.is_empty() {
            shell.tell(Event::Expired(jobs)).await;
        }
    }
    Ok(drop_logs(shell, now, retention.log_bytes).await? || is_more)
}

/// Removes the stored output of the jobs that ended first, until the rest is within its bound.
async fn drop_logs(shell: &Shell, now: Timestamp, most: u64) -> Result<bool, Trouble> {
    let mut excess = shell.log_files.bytes().saturating_sub(most);
    if excess == 0 {
        return Ok(false);
    }
    let files = shell.log_files.clone();
    let with_logs = move |job| files.bytes_of(job) > 0;
    let jobs: Vec<JobId> = shell.history.read(move |reader| reader.ended_before(now, AT_ONCE, with_logs)).await?;
    let is_more = jobs.len() == AT_ONCE;
    let mut oldest = Vec::new();
    for job in jobs {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(shell.log_files.bytes_of(job));
        oldest.push(job);
    }
    if let (Some(first), Some(last)) = (oldest.first(), oldest.last()) {
        let count = oldest.len();
        tracing::info!("Removing stored output beyond --log-space: {count} jobs, from {first} to {last}");
    }
    let files = shell.log_files.clone();
    let removed = tokio::task::spawn_blocking(move || oldest.into_iter().try_for_each(|job| files.forget(job))).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!("Stored output could not be removed: {error}");
    }
    Ok(is_more && excess > 0)
}
