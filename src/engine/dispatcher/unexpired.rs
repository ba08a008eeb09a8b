//! Exclusive tasks that ended while an attempt of theirs may still run.
//!
//! A task that is lost for good, or cancelled on a worker that cannot be asked,
//! has ended for its client, but its process may live until its lease is over.
//! Invariant: whoever wants it done again waits that long. After a restart,
//! which forgets these leases, everybody waits as if all of them had just
//! begun. Absent: tasks that go on by themselves after a loss (`losses`).

use super::DispatcherEngine;
use super::task::Attempt;
use super::timers::Timer;
use crate::model::limits::EXCLUSIVE_REASSIGN_AFTER;
use crate::model::{TaskId, Timestamp};

impl DispatcherEngine {
    /// When an attempt whose worker cannot be asked is gone for certain.
    pub(super) fn lease_end(&self, attempt: &Attempt) -> Timestamp {
        self.roster.at(attempt.worker).last_heard.max(attempt.assigned_at) + EXCLUSIVE_REASSIGN_AFTER
    }

    /// An exclusive task ends though an attempt of it may run until then.
    pub(super) fn note_unexpired(&mut self, now: Timestamp, task: TaskId, until: Timestamp) {
        if now < until {
            self.unexpired.insert(task, until);
            self.timers.set(until, Timer::Lease(task));
        }
    }

    /// A lease may be over.
    pub(super) fn end_lease(&mut self, now: Timestamp, task: TaskId) {
        if self.unexpired.get(&task).is_some_and(|until| *until <= now) {
            self.unexpired.remove(&task);
        }
    }

    /// From when on a task that has ended may run again.
    pub(super) fn free_from(&self, now: Timestamp, task: TaskId) -> Timestamp {
        if !self.jobs.at(task.job).spec().exclusive {
            return now;
        }
        let known = self.unexpired.get(&task).copied().unwrap_or(now);
        known.max(self.started_at + EXCLUSIVE_REASSIGN_AFTER)
    }

    /// Panics with what is broken about these leases.
    pub(super) fn check_unexpired(&self) {
        for (task, until) in &self.unexpired {
            assert!(self.timers.is_set(Timer::Lease(*task), *until), "nothing ends the lease of {task}");
        }
    }
}
