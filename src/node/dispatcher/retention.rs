//! Removes what is old: finished jobs after `--retention`, and stored output beyond `--log-space`.
//!
//! The one invariant: age is the time that the dispatcher has run since the
//! job's end, never a difference of two readings of the wall clock, which may
//! have been set in between. A job is removed through the engine, as one that a
//! client forgets, and a round touches a bounded number of them. Absent: the
//! removal of rows (the store's, when nothing else is to do).

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::requests::Trouble;
use super::shell::Shell;
use crate::model::records::DiskSpace;
use crate::model::selector::Selector;
use crate::model::{JobId, Millis, Uptime};
use crate::node::Clock;

/// Jobs in one round: one turn of the engine, a few thousandths of a second.
const AT_ONCE: usize = 256;
/// Between two rounds while there is more to do: at most 22 million jobs a day, and never more than a fraction of
/// what the store takes.
const MORE: Duration = Duration::from_secs(1);
/// Between two rounds when there was not, unless jobs are kept for less.
const IDLE: Duration = Duration::from_secs(60);
/// Between two counts of the uptime: a crash takes no more than this from it, which lets jobs be kept longer.
const COUNT_EVERY: Millis = Millis::from_secs(300);

/// How long and how much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// How long ended jobs are; for ever when `None`.
    pub(super) jobs: Option<Millis>,
    /// How many bytes of stored output.
    pub(super) log_bytes: u64,
}

/// Works until the dispatcher ends.
pub(super) async fn keep(shell: Arc<Shell>, clock: Clock, uptime: Uptime, retention: Retention) {
    let mut counted = uptime.before;
    let idle = retention.jobs.map_or(IDLE, |kept| kept.as_duration().clamp(MORE, IDLE));
    loop {
        let now = uptime.at(clock.now());
        if now.minus(counted) >= COUNT_EVERY {
            counted = now;
            shell.tell(Event::Uptime).await;
        }
        let pause = match round(&shell, now, retention).await {
            Ok(true) => MORE,
            Ok(false) => idle,
            Err(trouble) => {
                tracing::warn!("Old jobs could not be looked up: failed to {trouble}");
                idle
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One round at this uptime; says whether there is more to do.
async fn round(shell: &Shell, uptime: Millis, retention: Retention) -> Result<bool, Trouble> {
    if shell.history.disk() == DiskSpace::Nothing {
        return Ok(false);
    }
    let mut is_more = false;
    // Before it has run that long it has seen no job finished for that long.
    if let Some(kept) = retention.jobs.filter(|kept| *kept < uptime) {
        let before = uptime.minus(kept);
        let jobs = shell.history.read_fresh(move |reader| reader.ended_before(before, AT_ONCE, |_| true)).await?;
        is_more = jobs.len() == AT_ONCE;
        if !jobs.is_empty() {
            shell.tell(Event::Expired(jobs)).await;
        }
    }
    Ok(drop_logs(shell, retention.log_bytes).await? || is_more)
}

/// Removes the stored output of the jobs that ended first, until the rest is within its bound.
async fn drop_logs(shell: &Shell, most: u64) -> Result<bool, Trouble> {
    let mut excess = shell.log_files.bytes().saturating_sub(most);
    if excess == 0 {
        return Ok(false);
    }
    let files = shell.log_files.clone();
    let with_logs = move |job| files.bytes_of(job) > 0;
    let all = Millis(i64::MAX.unsigned_abs());
    let jobs: Vec<JobId> = shell.history.read(move |reader| reader.ended_before(all, AT_ONCE, with_logs)).await?;
    let is_more = jobs.len() == AT_ONCE;
    let mut oldest = Vec::new();
    for job in jobs {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(shell.log_files.bytes_of(job));
        oldest.push(job);
    }
    if !oldest.is_empty() {
        let which = Selector::jobs(&oldest);
        tracing::info!("Removing the stored output of {} jobs beyond --log-space: {which}", oldest.len());
    }
    let files = shell.log_files.clone();
    let removed = tokio::task::spawn_blocking(move || oldest.into_iter().try_for_each(|job| files.forget(job))).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!("Stored output could not be removed: {error}");
    }
    Ok(is_more && excess > 0)
}
