//! What goes in and out of the worker's engine beside messages: facts from the
//! executor, orders to it, and what is worth a log line.
//!
//! Plain data; no decision is made here.

use crate::model::messages::{Assignment, FencedAttempt, WorkerMessage};
use crate::model::obstacle::{Obstacle, Shortage};
use crate::model::offload::{GrantedAttempt, OfferAnswer, TakenOver};
use crate::model::outcome::LimitSource;
use crate::model::records::OutboxRecord;
use crate::model::{AttemptId, AttemptReport, InstanceId, Millis, NodeId, Outcome, SealedSpec, Timestamp};

/// Everything that one or more calls of the engine want done.
///
/// The shell appends `records` to the outbox, then sends `messages` in order,
/// then carries out `orders` in order. Nothing a worker says has to be on disk
/// before it is said: a result is as true without its copy, which is kept only
/// for the case that nobody heard it.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct WorkerEffects {
    /// To be appended to the outbox as one batch and synced soon.
    pub records: Vec<OutboxRecord>,
    /// To be sent on the link that is up; dropped when it has gone meanwhile.
    pub messages: Vec<WorkerMessage>,
    /// To be said to other workers, in order.
    pub to_peers: Vec<(NodeId, PeerOrder)>,
    /// For the executor.
    pub orders: Vec<ExecOrder>,
    /// For people.
    pub notices: Vec<WorkerNotice>,
}

/// What the executor is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOrder {
    /// Run this; answered by [`ExecFact::Started`] unless it cannot start, and
    /// always by [`ExecFact::Ended`] or [`ExecFact::NotStarted`].
    Start {
        /// The attempt.
        assignment: Assignment,
        /// Its job's spec.
        spec: SealedSpec,
    },
    /// End it: SIGTERM, and SIGKILL after `grace`. May be repeated with a
    /// shorter grace; about an attempt that has ended it means nothing.
    Terminate {
        /// Which attempt.
        id: AttemptId,
        /// Between the two signals.
        grace: Millis,
    },
    /// Its result is recorded or of no interest: drop its output.
    ForgetLog(AttemptId),
}

/// What is to be said to another worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerOrder {
    /// Hand it this attempt: the shell signs. When it cannot be sent at all, that is said by [`PeerFact::Unreachable`].
    Offer {
        /// The grant that is handed on.
        granted: GrantedAttempt,
        /// The receiver's start that it is for.
        instance: InstanceId,
        /// The job's spec, when the receiver lacks it.
        spec: Option<SealedSpec>,
    },
    /// The answer to an offer.
    Answer(OfferAnswer),
}

/// What is heard of another worker on a direct link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerFact {
    /// How it stands.
    Stands {
        /// This start of it.
        instance: InstanceId,
        /// Slots for which it has nothing.
        free_slots: u32,
        /// Whether it takes anything.
        accepting: bool,
    },
    /// The link to it is gone.
    Gone,
    /// It hands over an attempt.
    Offered(ProvedOffer),
    /// It answers.
    Answered(OfferAnswer),
    /// An offer of the attempt with this fence could not be sent.
    Unreachable(FencedAttempt),
}

/// An offer whose proof holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedOffer {
    /// The attempt under this worker's fence, and the proof.
    pub taken: TakenOver,
    /// The spec that was granted, from the offer or from this worker's own; `None` when it is in neither.
    pub spec: Option<SealedSpec>,
    /// Dispatcher time from which nobody can prove it any more.
    pub expires_at: Timestamp,
}

/// What the executor says. Times are in this node's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecFact {
    /// The attempt has a process.
    Started {
        /// Which attempt.
        id: AttemptId,
        /// Since when.
        at: Timestamp,
    },
    /// The last of the attempt's processes is gone, or none could be made. Said once an attempt.
    Ended {
        /// Which attempt.
        id: AttemptId,
        /// How it ended as the executor saw it, with its times in this node's own clock.
        /// The engine puts in the reason when it was the one who ended it.
        report: AttemptReport,
    },
    /// What tasks leave cannot be kept here.
    Short {
        /// What the worker is short of.
        shortage: Shortage,
        /// What was tried and what the system said, for the log.
        detail: String,
    },
    /// The attempt was not started, through no fault of its own, and no process of it was made. Said instead of
    /// [`ExecFact::Ended`].
    NotStarted {
        /// Which attempt.
        id: AttemptId,
        /// What kept it.
        obstacle: Obstacle,
        /// What was tried and what the system said, for the log.
        detail: String,
    },
}

/// What a worker's log may want to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerNotice {
    /// An attempt has a process.
    Started(AttemptId),
    /// An attempt ended and its result is on its way.
    Ended {
        /// Which attempt.
        id: AttemptId,
        /// How.
        outcome: Outcome,
    },
    /// An attempt is being ended because it exceeded its time limit.
    TimedOut {
        /// Which attempt.
        id: AttemptId,
        /// The limit.
        limit: Millis,
        /// Who set it.
        source: LimitSource,
    },
    /// An exclusive attempt is being ended because its lease was not renewed in time.
    LeaseExpired(AttemptId),
    /// An attempt was ended here and nobody is told, because nobody waits for it:
    /// the worker is stopping, its lease expired, or its number was given out again.
    Dropped(AttemptId),
    /// Assignments went back unstarted.
    Returned(u64),
    /// A peer took over an attempt that waited here.
    HandedOver {
        /// Which.
        id: AttemptId,
        /// Who.
        to: NodeId,
    },
    /// An attempt of a peer's backlog is this worker's now.
    TookOver {
        /// Which.
        id: AttemptId,
        /// Whose it was.
        from: NodeId,
    },
    /// Nothing is started or taken until a start is tried again.
    Short {
        /// What this worker is short of.
        shortage: Shortage,
        /// What was tried and what the system said.
        detail: String,
    },
    /// Tasks have been starting again for a while.
    Supplied(Shortage),
    /// The dispatcher wants no new work to start here.
    Draining,
    /// The dispatcher gives work again.
    Resumed,
    /// Another process with this worker's key was refused.
    KeyCopied,
}
