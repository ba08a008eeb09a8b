//! The live attempts of a job's tasks: one a running task, or two while a worker is suspect.
//!
//! Invariant: `doubled` counts the tasks that have two. Absent: why a task has two (`doubling`).

use super::super::placement::WorkerKey;
use super::super::task::{Attempt, Hold, Live, Stage};
use super::Job;
use crate::model::Millis;
use crate::model::records::TaskCounts;

impl Job {
    /// Whether a task of it may have two live attempts: nothing but the work of one of them is lost by that, and nobody
    /// listens to what it says meanwhile.
    pub(in super::super) fn may_double(&self) -> bool {
        !self.spec().exclusive && !self.spec().no_retry && !self.spec().streams_to_client()
    }

    /// Attempts handed out: what `%MAX` counts.
    pub(in super::super) fn handed_out(&self) -> u64 {
        self.totals.running + self.doubled
    }

    /// The live attempts of the task at `position`, if it runs.
    pub(in super::super) fn live(&self, position: u64) -> Option<&Live> {
        match &self.tasks.get(&position)?.stage {
            Stage::Running(live) => Some(live),
            _ => None,
        }
    }

    /// Likewise, to be changed.
    pub(in super::super) fn live_mut(&mut self, position: u64) -> Option<&mut Live> {
        match &mut self.tasks.get_mut(&position)?.stage {
            Stage::Running(live) => Some(live),
            _ => None,
        }
    }

    /// The live attempt of the task at `position` that a worker has.
    pub(in super::super) fn attempt_on(&self, position: u64, worker: WorkerKey) -> Option<&Attempt> {
        self.live(position)?.iter().find(|attempt| attempt.worker == worker)
    }

    /// Likewise, to be changed.
    pub(in super::super) fn attempt_on_mut(&mut self, position: u64, worker: WorkerKey) -> Option<&mut Attempt> {
        self.live_mut(position)?.iter_mut().find(|attempt| attempt.worker == worker)
    }

    /// Hands out a running task a second time.
    pub(in super::super) fn run_beside(&mut self, position: u64, counts: TaskCounts, attempt: Attempt) {
        self.last_attempt = self.last_attempt.max(counts.attempts);
        self.uncertain.remove(position);
        let Some(task) = self.tasks.get_mut(&position) else { unreachable!("what runs has an object") };
        let Stage::Running(live) = &mut task.stage else { unreachable!("a second attempt of what does not run") };
        live.add(attempt);
        task.counts = counts;
        self.doubled += 1;
    }

    /// The first running task that may be started a second time.
    pub(in super::super) fn pop_uncertain(&mut self) -> (u64, TaskCounts) {
        let Some(position) = self.uncertain.pop_first() else {
            unreachable!("job {} has nothing uncertain", self.id())
        };
        (position, self.counts(position))
    }

    /// Takes the attempt of a running task that a worker has; the task goes on with its other one. `None` when it has
    /// no other, or that worker has none of it.
    pub(in super::super) fn part_with(&mut self, position: u64, worker: WorkerKey) -> Option<(TaskCounts, Attempt)> {
        self.attempt_on(position, worker)?;
        let task = self.tasks.get_mut(&position)?;
        let Stage::Running(live) = &mut task.stage else { return None };
        let attempt = live.part_with(worker)?;
        self.doubled -= 1;
        self.waiting_ahead -= u64::from(attempt.hold == Hold::Backlog);
        Some((task.counts, attempt))
    }

    /// An attempt takes another part of its worker's room than before.
    pub(in super::super) fn set_hold(&mut self, position: u64, worker: WorkerKey, hold: Hold) {
        let Some(attempt) = self.attempt_on_mut(position, worker) else {
            unreachable!("an attempt takes room that is not live")
        };
        let before = std::mem::replace(&mut attempt.hold, hold);
        self.waiting_ahead += u64::from(hold == Hold::Backlog);
        self.waiting_ahead -= u64::from(before == Hold::Backlog);
    }

    /// A task of it has kept a slot busy for so long.
    pub(in super::super) fn learn_pace(&mut self, took: Millis) {
        // The latest counts for an eighth, so that a few odd ones do not swing it.
        self.pace = Some(self.pace.map_or(took, |pace| Millis((pace.0 * 7 + took.0) / 8)));
    }

    /// What is counted about a running task is this from now on.
    pub(in super::super) fn recount(&mut self, position: u64, counts: TaskCounts) {
        if let Some(task) = self.tasks.get_mut(&position) {
            task.counts = counts;
        }
    }
}
