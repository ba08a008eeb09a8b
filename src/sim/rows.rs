//! The rows of one simulated job and its tasks.
//!
//! Invariant: a task leaves a terminal state only when a client has asked for a
//! retry of its job.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::outcome::Cancellation;
use crate::model::records::{Act, RestoredAttempt, RestoredJob, RestoredTask, SubmittedJob, TaskCounts};
use crate::model::views::TaskTotals;
use crate::model::{AttemptNo, IntervalSet, JobState, Outcome, TaskId, TaskState, Timestamp};

/// One job.
#[derive(Debug, Clone)]
pub(super) struct JobRow {
    pub(super) submitted: Arc<SubmittedJob>,
    pub(super) cancelling: Option<Cancellation>,
    reopened: bool,
    pub(super) retried: Option<Act>,
    pub(super) rest: TaskState,
    /// Tasks with a row of their own, by index.
    pub(super) tasks: BTreeMap<u64, TaskRow>,
    /// Rows by state; the tasks without one are in state `rest`.
    tallies: BTreeMap<TaskState, u64>,
    pub(super) ended: Option<JobState>,
    /// When its first attempt was assigned.
    pub(super) started_at: Option<Timestamp>,
    /// The greatest attempt number of any task.
    pub(super) last_attempt: AttemptNo,
    /// Whether a client has ever asked for a retry.
    pub(super) may_retry: bool,
}

/// One task.
#[derive(Debug, Clone)]
pub(super) struct TaskRow {
    pub(super) state: TaskState,
    pub(super) counts: TaskCounts,
    pub(super) not_before: Option<Timestamp>,
    pub(super) outcome: Option<Outcome>,
    pub(super) live: Vec<RestoredAttempt>,
    /// No other attempt may follow, but by a retry that a client asks for.
    pub(super) is_last: bool,
}

impl JobRow {
    /// A job as it is right after its submission.
    pub(super) fn new(submitted: Arc<SubmittedJob>) -> Self {
        Self {
            submitted,
            cancelling: None,
            reopened: false,
            retried: None,
            rest: TaskState::Ready,
            tasks: BTreeMap::new(),
            tallies: BTreeMap::new(),
            ended: None,
            started_at: None,
            last_attempt: AttemptNo(0),
            may_retry: false,
        }
    }

    /// The row of `task`, made on the first question.
    pub(super) fn row(&mut self, task: TaskId) -> &mut TaskRow {
        assert!(self.submitted.spec.spec().items.contains(task.index), "job {} has no task {task}", task.job);
        let (rest, tallies) = (self.rest, &mut self.tallies);
        self.tasks.entry(task.index.0).or_insert_with(|| {
            *tallies.entry(rest).or_default() += 1;
            let (counts, live) = (TaskCounts::default(), Vec::new());
            TaskRow { state: rest, counts, not_before: None, outcome: None, live, is_last: false }
        })
    }

    /// `task` goes to `state`.
    pub(super) fn set_state(&mut self, task: TaskId, state: TaskState) {
        let may_retry = self.may_retry;
        let before = std::mem::replace(&mut self.row(task).state, state);
        let legal = !before.is_terminal() || (may_retry && !state.is_terminal() && before != TaskState::Succeeded);
        assert!(legal, "task {task} goes from {before} to {state}");
        *self.tallies.entry(before).or_default() -= 1;
        *self.tallies.entry(state).or_default() += 1;
    }

    /// Every task without a row of its own goes to `state`.
    pub(super) fn change_rest(&mut self, state: TaskState) {
        let job = self.submitted.job;
        let legal = !self.rest.is_terminal() || (self.may_retry && !state.is_terminal());
        assert!(legal, "the rest of job {job} goes from {} to {state}", self.rest);
        self.rest = state;
    }

    /// Every task with a row in state `from` goes to `state`.
    pub(super) fn change_rows(&mut self, from: TaskState, state: TaskState, outcome: Option<&Outcome>) {
        let in_state = self.tasks.iter().filter(|(_, row)| row.state == from);
        let tasks: Vec<TaskId> = in_state.map(|(index, _)| TaskId::new(self.submitted.job.0, *index)).collect();
        for task in tasks {
            self.set_state(task, state);
            let row = self.row(task);
            assert!(row.live.is_empty(), "task {task} changes among many while it runs");
            row.not_before = None;
            row.outcome = outcome.cloned();
            if !state.is_terminal() {
                row.counts = TaskCounts { attempts: row.counts.attempts, ..TaskCounts::default() };
            }
        }
    }

    /// The job as a whole has ended.
    pub(super) fn end(&mut self, state: JobState) {
        let (job, totals) = (self.submitted.job, self.totals());
        assert!(self.ended.is_none(), "job {job} ends twice");
        assert_eq!(totals.ended(), totals.total, "job {job} ends with tasks to do: {totals:?}");
        assert_eq!(totals.state(), state, "job {job} ends as something else than its tasks: {totals:?}");
        self.ended = Some(state);
    }

    /// The job has tasks to do again.
    pub(super) fn reopen(&mut self) {
        let job = self.submitted.job;
        assert!(self.may_retry, "job {job} is reopened by nobody");
        self.ended = None;
        self.cancelling = None;
        self.reopened = true;
    }

    /// Running tasks with a second attempt, of a job for which that matters: it costs a look at every task.
    pub(super) fn doubled(&self) -> u64 {
        match self.submitted.spec.spec().max_concurrent {
            Some(_) => self.tasks.values().filter(|row| row.live.len() > 1).count() as u64,
            None => 0,
        }
    }

    /// Rows in `state`.
    pub(super) fn tally(&self, state: TaskState) -> u64 {
        self.tallies.get(&state).copied().unwrap_or(0)
    }

    /// All tasks by state.
    pub(super) fn totals(&self) -> TaskTotals {
        let total = self.submitted.spec.spec().items.count();
        let count = |state| {
            let rest = if state == self.rest { total - self.tasks.len() as u64 } else { 0 };
            self.tally(state) + rest
        };
        TaskTotals {
            total,
            waiting: count(TaskState::Waiting),
            ready: count(TaskState::Ready),
            running: count(TaskState::Running),
            succeeded: count(TaskState::Succeeded),
            failed: count(TaskState::Failed),
            cancelled: count(TaskState::Cancelled),
        }
    }

    /// As a starting dispatcher, or a retry, needs it.
    pub(super) fn restored(&self) -> RestoredJob {
        let indices = |state| -> IntervalSet {
            self.tasks.iter().filter(|(_, row)| row.state == state).map(|(index, _)| *index).collect()
        };
        let is_again = |row: &TaskRow| row.state == TaskState::Ready && row.counts.is_clean();
        let unfinished = self.tasks.iter().filter(|(_, row)| !row.state.is_terminal() && !is_again(row));
        RestoredJob {
            submitted: self.submitted.clone(),
            cancelling: self.cancelling.clone(),
            reopened: self.reopened,
            retried: self.retried.clone(),
            started_at: self.started_at,
            last_attempt: self.last_attempt,
            rest: self.rest,
            succeeded: indices(TaskState::Succeeded),
            failed: indices(TaskState::Failed),
            cancelled: indices(TaskState::Cancelled),
            again: self.tasks.iter().filter(|(_, row)| is_again(row)).map(|(index, _)| *index).collect(),
            tasks: unfinished.map(|(index, row)| row.restored(TaskId::new(self.submitted.job.0, *index))).collect(),
        }
    }
}

impl TaskRow {
    fn restored(&self, task: TaskId) -> RestoredTask {
        RestoredTask {
            task,
            state: self.state,
            counts: self.counts,
            not_before: self.not_before,
            live: self.live.clone(),
        }
    }
}
