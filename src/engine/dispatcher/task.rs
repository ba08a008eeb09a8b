//! A task that has something of its own to say, and its live attempts.
//!
//! Invariant: of a task one attempt is live, or two on different workers, of which the later one was started because
//! the first one's worker was silent. Absent: when a second one is started (`doubling`).

use super::placement::WorkerKey;
use crate::model::outcome::{Cancellation, Unrepeatable};
use crate::model::records::TaskCounts;
use crate::model::{AttemptNo, Fence, Timestamp};

/// A task that is not at its end and not as it was submitted either.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// What is counted about it.
    pub(super) counts: TaskCounts,
    /// Where it stands.
    pub(super) stage: Stage,
}

/// Where such a task stands.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// Waits for an instant.
    Waiting {
        /// Which.
        not_before: Timestamp,
        /// Where it failed.
        avoid: Option<WorkerKey>,
    },
    /// Could run as soon as a worker has room.
    Ready {
        /// Where it failed, and until when another worker is looked for.
        avoid: Option<(WorkerKey, Timestamp)>,
    },
    /// Handed to a worker, or to two.
    Running(Live),
}

/// The live attempts of a task: one or two.
#[derive(Debug, Clone)]
pub(super) struct Live {
    first: Attempt,
    /// Boxed: few tasks ever have one.
    second: Option<Box<Attempt>>,
}

impl Live {
    /// One.
    pub(super) fn one(attempt: Attempt) -> Self {
        Self { first: attempt, second: None }
    }

    /// A second one beside the first.
    pub(super) fn add(&mut self, attempt: Attempt) {
        assert!(self.second.is_none(), "a third attempt of one task");
        assert!(self.first.worker != attempt.worker, "both attempts of a task on one worker");
        assert!(self.first.fence < attempt.fence, "a second attempt with an older fence");
        self.second = Some(Box::new(attempt));
    }

    /// Both, or the only one, in the order in which they were handed out.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Attempt> {
        std::iter::once(&self.first).chain(self.second.as_deref())
    }

    /// Likewise, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        std::iter::once(&mut self.first).chain(self.second.as_deref_mut())
    }

    /// Whether there are two.
    pub(super) fn is_doubled(&self) -> bool {
        self.second.is_some()
    }

    /// Takes the one of two that is on this worker.
    pub(super) fn part_with(&mut self, worker: WorkerKey) -> Option<Attempt> {
        let second = self.second.take()?;
        if second.worker == worker {
            return Some(*second);
        }
        assert_eq!(self.first.worker, worker, "neither attempt of a task is on the worker that it is taken from");
        Some(std::mem::replace(&mut self.first, *second))
    }

    /// The only one.
    pub(super) fn into_only(self) -> Attempt {
        assert!(self.second.is_none(), "one of two attempts is taken for the only one");
        self.first
    }
}

/// A live attempt of a task.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// Which try.
    pub(super) no: AttemptNo,
    /// What proves that a result is of this very attempt.
    pub(super) fence: Fence,
    /// Who has it.
    pub(super) worker: WorkerKey,
    /// When it was handed out; after a restart, when that was.
    pub(super) assigned_at: Timestamp,
    /// When its process started, as far as that was heard.
    pub(super) started_at: Option<Timestamp>,
    /// The GPU indices it was given, ascending.
    pub(super) gpus: Vec<u32>,
    /// Set when it is being ended.
    pub(super) ending: Option<Cancellation>,
    /// Set when no other attempt may follow it.
    pub(super) unrepeatable: Option<Unrepeatable>,
    /// What of its worker's room is its.
    pub(super) hold: Hold,
    /// The fence for whoever takes it over, as far as this start of the dispatcher has issued it.
    pub(super) spare: Option<Fence>,
    /// Whether its worker was told, now or by an earlier start, that it may hand it on.
    pub(super) granted: bool,
}

/// What an attempt takes of its worker's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// What its demand says: it runs, or starts at once.
    Slot,
    /// Nothing: it waits there for what comes free.
    Backlog,
    /// Nothing: another worker is said to have handed it over, and its own worker has not proved that.
    Awaited,
    /// Nothing, because it did not fit beside what else is there, by a power loss or against what was reckoned. Most
    /// such attempts have ended, and their results are on their way.
    Beside,
}
