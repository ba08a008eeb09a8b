//! A job in memory: its tasks as sets of positions, one a state.
//!
//! Invariant: every position is in exactly one place: in the ready set (or
//! one of those apart), in `tasks` waiting or running, or in one of the terminal
//! sets; `totals` counts them. A task has an object only while it has something
//! to say, so an array of a million costs what its gaps cost. Positions are
//! dense (`0..count`); indices are what people see. Absent: what becomes of many of them at once (`spans`).

mod check;
mod live;
mod spans;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::attendance::Attendance;
use super::placement::{ClassId, Turn, WorkerKey};
use super::task::{Attempt, Hold, Live, Stage, Task};
use super::watch::WatcherId;
use crate::model::outcome::Cancellation;
use crate::model::records::{Act, SubmittedJob, TaskCounts};
use crate::model::views::TaskTotals;
use crate::model::{IntervalSet, JobId, JobSpec, JobState, Millis, Outcome, TaskId, TaskState, Timestamp};

/// One job.
#[derive(Debug)]
pub(super) struct Job {
    /// As it was accepted.
    pub(super) submitted: Arc<SubmittedJob>,
    /// Its turn among jobs.
    pub(super) turn: Turn,
    /// Its demand class; `None` once it has ended.
    pub(super) class: Option<ClassId>,
    /// Whether it stands in its class's line.
    pub(super) in_line: bool,
    /// Tasks that could be placed in `class`.
    pub(super) ready: IntervalSet,
    /// Tasks that failed on a worker and look for another one.
    pub(super) apart: BTreeMap<WorkerKey, Apart>,
    /// Running tasks whose only attempt is on a suspect worker: they may be started a second time.
    pub(super) uncertain: IntervalSet,
    /// Whether the job stands in its class's line for the sake of those as well.
    pub(super) in_second_line: bool,
    /// How many tasks have two live attempts.
    doubled: u64,
    /// Its attempts that wait in the backlog of a worker.
    waiting_ahead: u64,
    /// How long its tasks take, by those that have ended; `None` while none has.
    pub(super) pace: Option<Millis>,
    /// Tasks with something to say; those `Stage::Ready` are in a ready set as well.
    pub(super) tasks: BTreeMap<u64, Task>,
    /// Tasks without a row of their own in the store: `RestChanged` speaks of them.
    pub(super) rest: IntervalSet,
    /// Ready tasks without an object that have a row all the same: they are done again, however many, and
    /// nothing is counted about them but that their next attempt is a new one.
    pub(super) again: IntervalSet,
    /// The attempts that each of those is taken to have had.
    again_after: u32,
    /// How the rest ended, once it has.
    pub(super) rest_ended: Option<TaskState>,
    /// Tasks in a terminal state, the rest among them.
    pub(super) succeeded: IntervalSet,
    /// Likewise.
    pub(super) failed: IntervalSet,
    /// Likewise.
    pub(super) cancelled: IntervalSet,
    /// All of these counted; `waiting` are those with a wait of their own,
    /// `ready` those in a ready set whether or not their job may start any.
    totals: TaskTotals,
    /// Jobs that have to end first.
    pub(super) open_dependencies: BTreeSet<JobId>,
    /// Whether a power loss may have made the record forget that its tasks run.
    pub(super) in_doubt: bool,
    /// Whether a power loss made more of its tasks run than `%MAX` allows.
    pub(super) crowded: bool,
    /// Set when it is to end as a whole.
    pub(super) cancelling: Option<Cancellation>,
    /// Who had tasks of it done again last.
    pub(super) retried: Option<Act>,
    /// The client of a `run`.
    pub(super) attendance: Attendance,
    /// The greatest attempt number of any task.
    pub(super) last_attempt: u32,
    /// When its first attempt was assigned.
    pub(super) started_at: Option<Timestamp>,
    /// When its last task ended.
    pub(super) ended_at: Option<Timestamp>,
    /// How its only task ended, when it has only one.
    pub(super) outcome: Option<Outcome>,
    /// Who wants to know.
    pub(super) watchers: BTreeSet<WatcherId>,
    /// Workers that have its spec over their present link.
    pub(super) learnt_by: BTreeSet<WorkerKey>,
}

/// Tasks of a job that keep away from one worker.
#[derive(Debug)]
pub(super) struct Apart {
    /// The class of tasks that do.
    pub(super) class: ClassId,
    /// Whether the job stands in its line.
    pub(super) in_line: bool,
    /// Which.
    pub(super) ready: IntervalSet,
}

impl Job {
    /// A job all of whose tasks are as submitted.
    pub(super) fn new(submitted: Arc<SubmittedJob>) -> Self {
        let spec = submitted.spec.spec();
        let total = spec.items.count();
        let positions = spec.items.positions();
        Self {
            turn: Turn::new(spec.priority, submitted.job),
            class: None,
            in_line: false,
            ready: positions.clone(),
            apart: BTreeMap::new(),
            uncertain: IntervalSet::new(),
            in_second_line: false,
            doubled: 0,
            waiting_ahead: 0,
            pace: None,
            tasks: BTreeMap::new(),
            rest: positions,
            again: IntervalSet::new(),
            again_after: 0,
            rest_ended: None,
            succeeded: IntervalSet::new(),
            failed: IntervalSet::new(),
            cancelled: IntervalSet::new(),
            totals: TaskTotals { total, ready: total, ..TaskTotals::default() },
            open_dependencies: BTreeSet::new(),
            in_doubt: false,
            crowded: false,
            cancelling: None,
            retried: None,
            attendance: Attendance::default(),
            last_attempt: 0,
            started_at: None,
            ended_at: None,
            outcome: None,
            watchers: BTreeSet::new(),
            learnt_by: BTreeSet::new(),
            submitted,
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> JobId {
        self.submitted.job
    }

    /// What it runs.
    pub(super) fn spec(&self) -> &JobSpec {
        self.submitted.spec.spec()
    }

    /// Bytes of its spec as it was encoded.
    pub(super) fn spec_bytes(&self) -> u64 {
        self.submitted.spec.encoded().len() as u64
    }

    /// Whether its assignments must be durable before they are sent, and what
    /// is said about them afterwards must not overtake them.
    pub(super) fn assigns_after_sync(&self) -> bool {
        self.spec().exclusive || self.spec().no_retry
    }

    /// The id of the task at `position`.
    pub(super) fn task_id(&self, position: u64) -> TaskId {
        TaskId { job: self.id(), index: self.spec().items.index_at(position) }
    }

    /// Whether all its tasks are in a terminal state.
    pub(super) fn is_over(&self) -> bool {
        self.totals.ended() == self.totals.total
    }

    /// Tasks handed out.
    pub(super) fn running(&self) -> u64 {
        self.totals.running
    }

    /// Tasks that failed for good.
    pub(super) fn failures(&self) -> u64 {
        self.totals.failed
    }

    /// How many more attempts `%MAX` lets it hand out.
    fn headroom(&self) -> u64 {
        self.spec().max_concurrent.map_or(u64::MAX, |most| u64::from(most).saturating_sub(self.handed_out()))
    }

    /// Whether its ready tasks may start: they wait for no dependency, nor for `%MAX`, nor for workers to
    /// report after a power loss, and are not being cancelled.
    pub(super) fn may_start(&self) -> bool {
        self.open_dependencies.is_empty() && !self.in_doubt && self.cancelling.is_none() && self.headroom() > 0
    }

    /// Its tasks by state, as people are shown them.
    pub(super) fn shown_totals(&self) -> TaskTotals {
        let open = if self.open_dependencies.is_empty() && !self.in_doubt { self.headroom() } else { 0 };
        let ready = self.totals.ready.min(open);
        let waiting = self.totals.waiting + self.totals.ready - ready;
        // What waits on a worker is as ready as what waits here: what runs has a process.
        let ahead = self.waiting_ahead.min(self.totals.running);
        TaskTotals { ready: ready + ahead, waiting, running: self.totals.running - ahead, ..self.totals }
    }

    /// Its state.
    pub(super) fn state(&self) -> JobState {
        self.shown_totals().state()
    }

    /// The state of the task at `position`.
    pub(super) fn state_of(&self, position: u64) -> TaskState {
        match self.tasks.get(&position).map(|task| &task.stage) {
            Some(Stage::Waiting { .. }) => TaskState::Waiting,
            Some(Stage::Running(live)) if live.iter().all(|attempt| attempt.hold == Hold::Backlog) => TaskState::Ready,
            Some(Stage::Running(_)) => TaskState::Running,
            Some(Stage::Ready { .. }) => {
                if self.may_start() {
                    TaskState::Ready
                } else {
                    TaskState::Waiting
                }
            }
            None if self.succeeded.contains(position) => TaskState::Succeeded,
            None if self.failed.contains(position) => TaskState::Failed,
            None if self.cancelled.contains(position) => TaskState::Cancelled,
            None if self.may_start() => TaskState::Ready,
            None => TaskState::Waiting,
        }
    }

    /// What is counted about the task at `position`, which has not ended.
    pub(super) fn counts(&self, position: u64) -> TaskCounts {
        self.tasks.get(&position).map_or_else(|| self.plain_counts(position), |task| task.counts)
    }

    /// The same about a task without an object.
    fn plain_counts(&self, position: u64) -> TaskCounts {
        let attempts = if self.again.contains(position) { self.again_after } else { 0 };
        TaskCounts { attempts, ..TaskCounts::default() }
    }

    /// Takes a ready task of a class; it is in no state until the next call.
    pub(super) fn take_ready(&mut self, class: ClassId, position: u64) -> TaskCounts {
        let ready = match self.class == Some(class) {
            true => &mut self.ready,
            false => match self.apart.values_mut().find(|apart| apart.class == class) {
                Some(apart) => &mut apart.ready,
                None => unreachable!("job {} is in the line of a class it has no task of", self.id()),
            },
        };
        let was_ready = ready.remove(position);
        assert!(was_ready, "a task of job {} is taken that is not ready", self.id());
        self.totals.ready -= 1;
        let counts = self.counts(position);
        self.tasks.remove(&position);
        self.again.remove(position);
        counts
    }

    /// The ready tasks of a class.
    pub(super) fn ready_in(&self, class: ClassId) -> Option<&IntervalSet> {
        if self.class == Some(class) {
            return Some(&self.ready);
        }
        self.apart.values().find(|apart| apart.class == class).map(|apart| &apart.ready)
    }

    /// The first of them.
    pub(super) fn first_ready(&self, class: ClassId) -> Option<u64> {
        self.ready_in(class)?.iter().next()
    }

    /// Takes the task at `position` out of whatever state it is in.
    pub(super) fn lift(&mut self, position: u64) -> (TaskCounts, Option<Stage>) {
        let Some(task) = self.tasks.remove(&position) else {
            let counts = self.plain_counts(position);
            self.lift_plain(position);
            return (counts, None);
        };
        match &task.stage {
            Stage::Waiting { .. } => self.totals.waiting -= 1,
            Stage::Running(live) => {
                self.totals.running -= 1;
                self.doubled -= u64::from(live.is_doubled());
                self.waiting_ahead -= live.iter().filter(|attempt| attempt.hold == Hold::Backlog).count() as u64;
                self.uncertain.remove(position);
            }
            Stage::Ready { avoid } => {
                let apart = avoid.and_then(|(worker, _)| self.apart.get_mut(&worker));
                let was_apart = apart.is_some_and(|apart| apart.ready.remove(position));
                assert!(was_apart || self.ready.remove(position), "a ready task was in no ready set");
                self.totals.ready -= 1;
            }
        }
        (task.counts, Some(task.stage))
    }

    /// The same for a task without an object.
    fn lift_plain(&mut self, position: u64) {
        let count = if self.ready.remove(position) {
            self.again.remove(position);
            &mut self.totals.ready
        } else if self.failed.remove(position) {
            &mut self.totals.failed
        } else if self.cancelled.remove(position) {
            &mut self.totals.cancelled
        } else if self.succeeded.remove(position) {
            &mut self.totals.succeeded
        } else {
            unreachable!("task {} cannot be done again", self.task_id(position))
        };
        *count -= 1;
    }

    /// Hands out a task that is in no state.
    pub(super) fn run(&mut self, position: u64, counts: TaskCounts, attempt: Attempt) {
        self.last_attempt = self.last_attempt.max(counts.attempts);
        self.totals.running += 1;
        assert!(attempt.hold != Hold::Backlog, "an attempt waits on a worker before it was handed out");
        self.put(position, counts, Stage::Running(Live::one(attempt)));
    }

    /// Lets a task that is in no state wait.
    pub(super) fn wait(&mut self, position: u64, counts: TaskCounts, not_before: Timestamp, avoid: Option<WorkerKey>) {
        self.totals.waiting += 1;
        self.put(position, counts, Stage::Waiting { not_before, avoid });
    }

    /// Makes a task that is in no state ready; apart when it is to keep away from a worker it is apart from.
    pub(super) fn make_ready(&mut self, position: u64, counts: TaskCounts, avoid: Option<(WorkerKey, Timestamp)>) {
        self.totals.ready += 1;
        let apart = avoid.and_then(|(worker, _)| self.apart.get_mut(&worker));
        let avoid = if apart.is_some() { avoid } else { None };
        let new = apart.map_or(&mut self.ready, |apart| &mut apart.ready).insert(position);
        assert!(new, "a task was ready twice");
        self.put(position, counts, Stage::Ready { avoid });
    }

    fn put(&mut self, position: u64, counts: TaskCounts, stage: Stage) {
        self.rest.remove(position);
        let before = self.tasks.insert(position, Task { counts, stage });
        assert!(before.is_none(), "a task was in two states");
    }

    /// Ends a task that is in no state.
    pub(super) fn end(&mut self, position: u64, state: TaskState) {
        self.rest.remove(position);
        let (set, count) = self.ended_set(state);
        *count += 1;
        let new = set.insert(position);
        assert!(new, "a task ended twice");
    }

    fn ended_set(&mut self, state: TaskState) -> (&mut IntervalSet, &mut u64) {
        match state {
            TaskState::Succeeded => (&mut self.succeeded, &mut self.totals.succeeded),
            TaskState::Failed => (&mut self.failed, &mut self.totals.failed),
            TaskState::Cancelled => (&mut self.cancelled, &mut self.totals.cancelled),
            _ => unreachable!("{state} is no terminal state"),
        }
    }
}
