//! One attempt that a worker holds, and where it stands.
//!
//! Plain data: the changes are made in `intake` and `running`.

use std::cmp::Reverse;

use crate::model::messages::{Assignment, FencedAttempt, HeldAttempt};
use crate::model::offload::GrantedAttempt;
use crate::model::outcome::{Cancellation, LimitSource};
use crate::model::{Fence, InstanceId, Millis, NodeId, SealedSpec, Timestamp};

/// An accepted attempt that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) assignment: Assignment,
    pub(super) phase: Phase,
    /// The dispatcher's word that it may be handed on while it waits.
    pub(super) granted: Option<GrantedAttempt>,
    /// Peers that refused it, and may not be asked again.
    pub(super) refused_by: Vec<NodeId>,
}

/// Where an attempt stands. It keeps the spec it was assigned with: after a
/// power loss the dispatcher may give the job's number to another job.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Its job's spec is not here yet.
    AwaitsSpec,
    /// It waits for room.
    Queued(SealedSpec),
    /// It was offered to a peer, whose answer is not here.
    Offered(Offered),
    /// A peer has it. Kept until the dispatcher knows.
    Given(GivenTo),
    /// The executor has it.
    Executing(Executing),
}

/// An attempt that was offered.
#[derive(Debug, Clone)]
pub(super) struct Offered {
    pub(super) spec: SealedSpec,
    /// To whom.
    pub(super) to: NodeId,
    /// The start of it that the offer is for.
    pub(super) instance: InstanceId,
    /// When the answer is late, in this node's time.
    pub(super) due: Timestamp,
    /// Whether the dispatcher was told that it may be there.
    pub(super) told: bool,
    /// What the dispatcher wanted of it meanwhile.
    pub(super) wish: Option<Wish>,
}

/// What is to happen to an offered attempt should it come back.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// The dispatcher has it back.
    GiveBack,
    /// It ends.
    End(Cancellation),
}

/// Who has an attempt that was handed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenTo {
    pub(super) receiver: NodeId,
    pub(super) instance: InstanceId,
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
    TimedOut(Millis, LimitSource),
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
        HeldAttempt { id, fence, started_at, gpus: self.assignment.gpus.clone(), ended: false }
    }

    /// What the executor has of it.
    pub(super) fn executing(&self) -> Option<&Executing> {
        match &self.phase {
            Phase::Executing(executing) => Some(executing),
            _ => None,
        }
    }

    /// Likewise, to be changed.
    pub(super) fn executing_mut(&mut self) -> Option<&mut Executing> {
        match &mut self.phase {
            Phase::Executing(executing) => Some(executing),
            _ => None,
        }
    }

    /// Whether it is to be run here and has not started.
    pub(super) fn is_unstarted(&self) -> bool {
        matches!(self.phase, Phase::AwaitsSpec | Phase::Queued(_))
    }

    /// Its place in the queue, when it is there.
    pub(super) fn place(&self) -> Option<Place> {
        match &self.phase {
            Phase::Queued(spec) => Some((Reverse(spec.spec().priority), self.assignment.fence)),
            _ => None,
        }
    }
}
