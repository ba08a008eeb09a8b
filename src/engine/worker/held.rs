//! One attempt that a worker holds, and where it stands.
//!
//! Plain data: the changes are made in `intake` and `running`.

use std::cmp::Reverse;

use crate::model::messages::{Assignment, FencedAttempt, HeldAttempt};
use crate::model::outcome::Cancellation;
use crate::model::{Fence, Millis, SealedSpec, Timestamp};

/// An accepted attempt that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) assignment: Assignment,
    pub(super) phase: Phase,
}

/// Where an attempt stands. It keeps the spec it was assigned with: after a
/// power loss the dispatcher may give the job's number to another job.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Its job's spec is not here yet.
    AwaitsSpec,
    /// It waits for room.
    Queued(SealedSpec),
    /// The executor has it.
    Executing(Executing),
}

/// An attempt that the executor has been told to start.
#[derive(Debug, Clone)]
pub(super) struct Executing {
    pub(super) spec: SealedSpec,
    /// When its process started, in dispatcher time as it was told.
    pub(super) started_at: Option<Timestamp>,
    /// While it runs under one: when its time limit is over, in this node's time, and how long it is.
    pub(super) limit: Option<(Timestamp, Millis)>,
    /// Set once it is being ended.
    pub(super) ending: Option<Ending>,
}

/// Why an attempt is being ended, and until when it may take.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) why: EndingCause,
    /// When SIGKILL is due, in this node's time.
    pub(super) kill_at: Timestamp,
}

/// Who ends an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EndingCause {
    /// The dispatcher wants it.
    Cancelled(Cancellation),
    /// It exceeded its limit of this length.
    TimedOut(Millis),
    /// It is exclusive and its lease was not renewed.
    LeaseExpired,
    /// The worker stops. Its end is not reported: it is the worker's, not the task's.
    Stopping,
}

/// A place in the queue: higher priority first, then in order of assignment.
pub(super) type Place = (Reverse<i32>, Fence);

impl Held {
    /// Both its names.
    pub(super) fn fenced(&self) -> FencedAttempt {
        FencedAttempt { id: self.assignment.id(), fence: self.assignment.fence }
    }

    /// As it is told after a reconnect.
    pub(super) fn as_told(&self) -> HeldAttempt {
        let FencedAttempt { id, fence } = self.fenced();
        let started_at = self.executing().and_then(|executing| executing.started_at);
        HeldAttempt { id, fence, started_at, gpus: self.assignment.gpus.clone() }
    }

    /// What the executor has of it.
    pub(super) fn executing(&self) -> Option<&Executing> {
        match &self.phase {
            Phase::Executing(executing) => Some(executing),
            Phase::AwaitsSpec | Phase::Queued(_) => None,
        }
    }

    /// Likewise, to be changed.
    pub(super) fn executing_mut(&mut self) -> Option<&mut Executing> {
        match &mut self.phase {
            Phase::Executing(executing) => Some(executing),
            Phase::AwaitsSpec | Phase::Queued(_) => None,
        }
    }

    /// Its place in the queue, when it is there.
    pub(super) fn place(&self) -> Option<Place> {
        match &self.phase {
            Phase::Queued(spec) => Some((Reverse(spec.spec().priority), self.assignment.fence)),
            Phase::AwaitsSpec | Phase::Executing(_) => None,
        }
    }
}
