//! What is to happen when.
//!
//! Timers are not cancelled: whoever is woken looks whether its reason still
//! holds. Absent: what is done then.

use std::collections::BTreeSet;

use super::placement::WorkerKey;
use super::watch::WatcherId;
use crate::model::{JobId, TaskId, Timestamp};

/// Whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A worker may be suspect, lost, or no longer worth showing.
    Worker(WorkerKey),
    /// The task at this position has waited long enough.
    Wait(JobId, u64),
    /// The task at this position has looked for another worker long enough.
    Patience(JobId, u64),
    /// The client of this job may have been gone for too long.
    ClientGone(JobId),
    /// A watcher may be told again.
    Watcher(WatcherId),
    /// The oldest ended job may leave.
    History,
    /// Workers have had time enough to say what they hold since a power loss.
    Doubt,
    /// Slots have been free beside work that waits elsewhere.
    Level,
    /// A directory that a worker could not use is to be tried there again.
    Directory(WorkerKey),
    /// The lease of an exclusive task that ended before it is over.
    Lease(TaskId),
}

/// All timers, soonest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// A set, so that what is set twice for one instant fires once.
    due: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    /// Wakes `timer` at `at`.
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.due.insert((at, timer));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next one that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }

    /// Whether `timer` is set for exactly `at`.
    pub(super) fn is_set(&self, timer: Timer, at: Timestamp) -> bool {
        self.due.contains(&(at, timer))
    }
}
