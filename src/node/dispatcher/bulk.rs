//! Requests about many jobs at once, cut into pieces of bounded size: cancel,
//! retry, forget and explain.
//!
//! The one invariant: no more than one piece is in memory, whatever `all`
//! amounts to, and every job of a retry or a forget comes in one of the pieces;
//! an explanation ends at [`MAX_ROWS`]. Absent: anything about a single job.

use std::collections::{BTreeMap, VecDeque};

use super::requests::{Trouble, put, resolve};
use super::shell::{Asker, Shell};
use crate::engine::dispatcher::{Call, Whose};
use crate::model::limits::{MAX_ROWS, MAX_SPEC_BYTES};
use crate::model::outcome::Cancellation;
use crate::model::records::RestoredJob;
use crate::model::requests::{Changes, FailureCode, JobFilter, Reply, TaskFilter};
use crate::model::selector::{Part, Selector, whole_jobs};
use crate::model::views::Explanation;
use crate::model::{JobId, NodeId, TaskState};
use crate::store::{Reader, StoreError, Viewer};

/// Jobs in one piece of a retry: each comes with its spec.
const RETRY_AT_ONCE: usize = 256;

/// Bytes of specs after which a piece ends before that.
const RETRY_BYTES_AT_ONCE: usize = MAX_SPEC_BYTES;

const ACTIVE: [TaskState; 3] = [TaskState::Waiting, TaskState::Ready, TaskState::Running];
const TERMINAL: [TaskState; 3] = [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];

/// What a request to change jobs means.
struct Meant {
    parts: Vec<Part>,
    whose: Whose,
    /// As whom its jobs are looked up.
    viewer: Viewer,
    /// Numbers in its ranges under which there is no job to see.
    absent: u64,
}

impl Meant {
    /// `all` means the asker's own jobs, an admin's too; the engine refuses `--everyone` to all others.
    async fn of(shell: &Shell, asker: &Asker, what: Selector) -> Result<Self, Trouble> {
        let (whose, viewer) = match what {
            Selector::All => (Whose::Own, Viewer { sees_all: false, ..asker.viewer() }),
            Selector::Everyone => (Whose::Everyone, asker.viewer()),
            Selector::Last | Selector::These(_) => (Whose::Allowed, asker.viewer()),
        };
        let named = if let Selector::These(parts) = &what { whole_jobs(parts).len() } else { 0 };
        let parts = resolve(shell, viewer, what).await?;
        let absent = named.saturating_sub(whole_jobs(&parts).len());
        Ok(Self { parts, whose, viewer, absent })
    }
}

/// Ends jobs and tasks.
pub(super) async fn cancel(shell: &Shell, asker: &Asker, what: Selector, why: Cancellation) -> Result<Reply, Trouble> {
    let Meant { parts, whose, absent, .. } = Meant::of(shell, asker, what).await?;
    match put(shell, asker, Call::Cancel { parts, whose, why }).await? {
        Reply::Changed(changes) => Ok(Reply::Changed(Changes { absent, ..changes })),
        other => Ok(other),
    }
}

/// Queues failed and cancelled tasks again, in order of their jobs.
pub(super) async fn retry(shell: &Shell, asker: &Asker, what: Selector, failed_only: bool) -> Result<Reply, Trouble> {
    let Meant { parts, whose, viewer, absent } = Meant::of(shell, asker, what).await?;
    let mut walk = Walk::over(parts);
    let mut changes = Changes { absent, ..Changes::default() };
    loop {
        let read = move |reader: &Reader| {
            let piece = walk.next(reader, viewer, RETRY_AT_ONCE)?;
            let (piece, recalled) = walk.recall(reader, piece)?;
            Ok((walk, piece, recalled))
        };
        let (gone_on, parts, recalled) = shell.history.read(read).await?;
        walk = gone_on;
        // An empty piece is put as well: the engine refuses a client that may not ask.
        let is_last = parts.is_empty();
        match put(shell, asker, Call::Retry { parts, whose, failed_only, recalled }).await? {
            Reply::Changed(more) => changes.add(more),
            other => return Ok(other),
        }
        if is_last {
            return Ok(Reply::Changed(changes));
        }
    }
}

/// Removes ended jobs. Asked for all, it leaves alone what has not ended.
pub(super) async fn forget(shell: &Shell, asker: &Asker, what: Selector) -> Result<Reply, Trouble> {
    let states = if let Selector::All | Selector::Everyone = what { TERMINAL.to_vec() } else { Vec::new() };
    let Meant { parts, whose, viewer, absent } = Meant::of(shell, asker, what).await?;
    if let Some(task) = parts.iter().find_map(|part| if let Part::Task(task) = part { Some(*task) } else { None }) {
        return Err(Trouble::refused(
            FailureCode::Invalid,
            format!("{task} is a task; only whole jobs are forgotten"),
            Some(&format!("octaskly forget {}", task.job)),
        ));
    }
    let filter = JobFilter { only: Some(Selector::These(parts)), states, limit: MAX_ROWS, ..JobFilter::default() };
    let mut changes = Changes { absent, ..Changes::default() };
    loop {
        let filter = filter.clone();
        let found = shell.history.read_fresh(move |reader| reader.jobs(&filter, viewer)).await?;
        let jobs: Vec<(JobId, NodeId)> = found.iter().map(|job| (job.job, job.owner)).collect();
        let is_last = jobs.len() < MAX_ROWS as usize;
        match put(shell, asker, Call::Forget { jobs, whose }).await? {
            Reply::Changed(more) => changes.add(more),
            other => return Ok(other),
        }
        if is_last {
            return Ok(Reply::Changed(changes));
        }
    }
}

/// What of `parts` has not ended, for the engine, and of what has, how one task each ended.
/// Asked for everything, what has ended is of no interest.
pub(super) fn split(
    reader: &Reader,
    viewer: Viewer,
    parts: &[Part],
    everything: bool,
) -> Result<(Vec<Part>, Vec<Explanation>), StoreError> {
    let mut active = Vec::new();
    let mut ended = Vec::new();
    for part in parts {
        let states: &[TaskState] = if everything { &ACTIVE } else { &[] };
        let only = Some(Selector::These(vec![Part::Jobs(first_job(part), last_job(part))]));
        let filter = JobFilter { only, states: states.to_vec(), limit: MAX_ROWS, ..JobFilter::default() };
        for job in reader.jobs(&filter, viewer)? {
            let narrowed = if let Part::Task(_) = part { *part } else { Part::Jobs(job.job, job.job) };
            if !job.state.is_terminal() {
                active.push(narrowed);
                continue;
            }
            let of = Selector::These(vec![narrowed]);
            let tasks = reader.tasks(&TaskFilter { of, states: Vec::new(), after: None, limit: 1 }, viewer)?;
            ended.extend(tasks.into_iter().map(|task| Explanation {
                task: task.task,
                owner: job.owner_name.clone(),
                state: task.state,
                waits_for: None,
                workers: Vec::new(),
            }));
        }
        if active.len() + ended.len() > MAX_ROWS as usize {
            break;
        }
    }
    Ok((active, ended))
}

/// The way of a retry through its parts, one piece after another.
struct Walk {
    parts: VecDeque<Part>,
}

impl Walk {
    fn over(parts: Vec<Part>) -> Self {
        Self { parts: parts.into() }
    }

    /// The next parts, one a job or task, at most `most`: jobs that may have something to retry, and the tasks
    /// named. Empty at the end.
    fn next(&mut self, reader: &Reader, viewer: Viewer, most: usize) -> Result<Vec<Part>, StoreError> {
        let mut piece = Vec::new();
        while piece.len() < most
            && let Some(part) = self.parts.pop_front()
        {
            let Part::Jobs(first, last) = part else {
                piece.push(part);
                continue;
            };
            let room = most - piece.len();
            let found = reader.retriable(first, last, viewer, room)?;
            if let Some(newest) = found.last().filter(|newest| found.len() == room && **newest < last) {
                self.parts.push_front(Part::Jobs(JobId(newest.0 + 1), last));
            }
            piece.extend(found.into_iter().map(|job| Part::Jobs(job, job)));
        }
        Ok(piece)
    }

    /// The ended jobs of a piece as an engine needs to know them; what would be too much at once is left for the next.
    fn recall(&mut self, reader: &Reader, mut piece: Vec<Part>) -> Result<(Vec<Part>, Vec<RestoredJob>), StoreError> {
        let mut recalled = BTreeMap::new();
        let mut bytes = 0;
        for at in 0..piece.len() {
            let job = first_job(&piece[at]);
            if recalled.contains_key(&job) || reader.ended(job)?.is_none() {
                continue;
            }
            let Some(restored) = reader.recall(job)? else { continue };
            bytes += restored.submitted.spec.encoded().len();
            recalled.insert(job, restored);
            if bytes >= RETRY_BYTES_AT_ONCE {
                piece.drain(at + 1..).rev().for_each(|later| self.parts.push_front(later));
                break;
            }
        }
        Ok((piece, recalled.into_values().collect()))
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::records::{BatchNo, Record, SubmittedJob};
    use crate::model::spec::CommandLine;
    use crate::model::{JobSpec, Millis, NodeId, SealedSpec, TaskId, Timestamp};
    use crate::store::{self, Durability};

    #[test]
    fn a_retry_of_everything_comes_to_every_job_piece_by_piece() {
        let place = tempfile::tempdir().expect("a folder");
        let (store, _) =
            store::open(&place.path().join("jobs.db"), Box::new(|_| {}), Timestamp(1), None).expect("opens");
        let spec = SealedSpec::seal(JobSpec::single(CommandLine::Shell("true".into())));
        let submitted = |job| {
            let (spec, owner, idempotency_key) = (spec.clone(), NodeId([1; 32]), format!("k{job}"));
            Record::JobSubmitted(Arc::new(SubmittedJob {
                job: JobId(job),
                spec,
                owner,
                idempotency_key,
                at: Timestamp(1),
            }))
        };
        let ended = |state| Record::JobEnded { job: JobId(3), state, at: Timestamp(2), uptime: Millis(2) };
        let records = (1..=7).map(submitted).chain([ended(TaskState::Succeeded)]).collect();
        store.append(BatchNo(1), records, Durability::Written).expect("takes it");
        store.flush().expect("writes it");
        let (reader, viewer) = (store.reader().expect("a reader"), Viewer { node: NodeId([1; 32]), sees_all: true });
        let named = Part::Task(TaskId::new(9, 1));
        let mut walk = Walk::over(vec![Part::Jobs(JobId(0), JobId(u64::MAX)), named]);
        let mut pieces = Vec::new();
        loop {
            let piece = walk.next(&reader, viewer, 2).expect("reads");
            if piece.is_empty() {
                break;
            }
            pieces.push(piece);
        }
        let job = |job| Part::Jobs(JobId(job), JobId(job));
        assert_eq!(pieces, [vec![job(1), job(2)], vec![job(4), job(5)], vec![job(6), job(7)], vec![named]]);
    }
}
