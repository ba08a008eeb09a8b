//! Requests about many jobs at once, cut into pieces of bounded size: retry,
//! forget and explain.
//!
//! The one invariant: no more than one piece is in memory, whatever `all`
//! amounts to. Absent: anything about a single job.

use std::collections::BTreeSet;

use super::requests::{Trouble, put, resolve};
use super::shell::{Asker, Shell};
use crate::engine::dispatcher::Call;
use crate::model::limits::MAX_ROWS;
use crate::model::records::RestoredJob;
use crate::model::requests::{JobFilter, Reply, TaskFilter};
use crate::model::selector::{Part, Selector};
use crate::model::views::TaskView;
use crate::model::{JobId, TaskState};
use crate::store::{Reader, StoreError, Viewer};

/// Jobs in one piece of a retry: each comes with its spec.
const RETRY_AT_ONCE: usize = 256;

const ACTIVE: [TaskState; 3] = [TaskState::Waiting, TaskState::Ready, TaskState::Running];
const TERMINAL: [TaskState; 3] = [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];
/// Jobs that may have a task to retry: those that ended badly, and those that go on.
const RETRIABLE: [TaskState; 5] =
    [TaskState::Failed, TaskState::Cancelled, TaskState::Waiting, TaskState::Ready, TaskState::Running];

/// Queues failed and cancelled tasks of `parts` again.
pub(super) async fn retry(shell: &Shell, asker: &Asker, parts: Vec<Part>, failed_only: bool) -> Result<Reply, Trouble> {
    let viewer = asker.viewer();
    let pieces = shell.history.read(move |reader| retriable(reader, viewer, parts)).await?;
    let mut affected = 0;
    for piece in pieces.chunks(RETRY_AT_ONCE) {
        let parts = piece.to_vec();
        let jobs: BTreeSet<JobId> = parts.iter().map(job_of).collect();
        let recalled = shell.history.read(move |reader| recall(reader, jobs)).await?;
        match put(shell, asker, Call::Retry { parts, failed_only, recalled }).await? {
            Reply::Done { affected: more } => affected += more,
            other => return Ok(other),
        }
    }
    Ok(Reply::Done { affected })
}

/// Removes ended jobs. Asked for everything, it leaves alone what has not ended.
pub(super) async fn forget(shell: &Shell, asker: &Asker, what: Selector) -> Result<Reply, Trouble> {
    let viewer = asker.viewer();
    let states = if what == Selector::All { TERMINAL.to_vec() } else { Vec::new() };
    let parts = resolve(shell, viewer, what).await?;
    if let Some(task) = parts.iter().find_map(|part| if let Part::Task(task) = part { Some(*task) } else { None }) {
        return Err(Trouble::refused(
            crate::model::requests::FailureCode::Invalid,
            format!("{task} is a task; only whole jobs are forgotten"),
            Some(&format!("octaskly forget {}", task.job)),
        ));
    }
    let filter = JobFilter { only: Some(Selector::These(parts)), states, limit: MAX_ROWS };
    let mut affected = 0;
    loop {
        let filter = filter.clone();
        let found = shell.history.read_fresh(move |reader| reader.jobs(&filter, viewer)).await?;
        let jobs: Vec<JobId> = found.iter().map(|job| job.job).collect();
        let is_last = jobs.len() < MAX_ROWS as usize;
        if jobs.is_empty() {
            return Ok(Reply::Done { affected });
        }
        match put(shell, asker, Call::Forget { jobs }).await? {
            Reply::Done { affected: more } => affected += more,
            other => return Ok(other),
        }
        if is_last {
            return Ok(Reply::Done { affected });
        }
    }
}

/// What of `parts` has not ended, for the engine, and one task each of what has.
/// Asked for everything, what has ended is of no interest.
pub(super) fn split(
    reader: &Reader,
    viewer: Viewer,
    parts: &[Part],
    everything: bool,
) -> Result<(Vec<Part>, Vec<TaskView>), StoreError> {
    let mut active = Vec::new();
    let mut ended = Vec::new();
    for part in parts {
        let states: &[TaskState] = if everything { &ACTIVE } else { &[] };
        let only = Some(Selector::These(vec![Part::Jobs(first_job(part), last_job(part))]));
        let filter = JobFilter { only, states: states.to_vec(), limit: MAX_ROWS };
        for job in reader.jobs(&filter, viewer)? {
            let narrowed = if let Part::Task(_) = part { *part } else { Part::Jobs(job.job, job.job) };
            if !job.state.is_terminal() {
                active.push(narrowed);
                continue;
            }
            let of = Selector::These(vec![narrowed]);
            ended.extend(reader.tasks(&TaskFilter { of, states: Vec::new(), after: None, limit: 1 }, viewer)?);
        }
        if active.len() + ended.len() > MAX_ROWS as usize {
            break;
        }
    }
    Ok((active, ended))
}

/// `parts` without jobs that have nothing to retry, one part a job.
fn retriable(reader: &Reader, viewer: Viewer, parts: Vec<Part>) -> Result<Vec<Part>, StoreError> {
    let mut pieces = Vec::new();
    for part in parts {
        if let Part::Task(_) = part {
            pieces.push(part);
            continue;
        }
        let only = Some(Selector::These(vec![part]));
        let filter = JobFilter { only, states: RETRIABLE.to_vec(), limit: MAX_ROWS };
        let found = reader.jobs(&filter, viewer)?;
        pieces.extend(found.iter().map(|job| Part::Jobs(job.job, job.job)));
    }
    Ok(pieces)
}

/// The ended ones among `jobs`, as an engine needs to know them.
fn recall(reader: &Reader, jobs: BTreeSet<JobId>) -> Result<Vec<RestoredJob>, StoreError> {
    let mut recalled = Vec::new();
    for job in jobs {
        if reader.ended(job)?.is_some() {
            recalled.extend(reader.recall(job)?);
        }
    }
    Ok(recalled)
}

fn job_of(part: &Part) -> JobId {
    first_job(part)
}

fn first_job(part: &Part) -> JobId {
    match part {
        Part::Jobs(first, _) => *first,
        Part::Task(task) => task.job,
    }
}

fn last_job(part: &Part) -> JobId {
    match part {
        Part::Jobs(_, last) => *last,
        Part::Task(task) => task.job,
    }
}
