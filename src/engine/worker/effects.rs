//! What goes in and out of the worker's engine beside messages: facts from the
//! executor, orders to it, and what is worth a log line.
//!
//! Plain data; no decision is made here.

use crate::model::messages::{Assignment, WorkerMessage};
use crate::model::records::OutboxRecord;
use crate::model::{AttemptId, AttemptReport, Millis, Outcome, SealedSpec, Timestamp};

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
    /// For the executor.
    pub orders: Vec<ExecOrder>,
    /// For people.
    pub notices: Vec<WorkerNotice>,
}

/// What the executor is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOrder {
    /// Run this; answered by [`ExecFact::Started`] unless it cannot start, and
    /// always by [`ExecFact::Ended`].
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
    },
    /// An exclusive attempt is being ended because its lease was not renewed in time.
    LeaseExpired(AttemptId),
    /// An attempt was ended here and nobody is told, because nobody waits for it:
    /// the worker is stopping, its lease expired, or its number was given out again.
    Dropped(AttemptId),
    /// Assignments went back unstarted.
    Returned(u64),
    /// The dispatcher wants no new work to start here.
    Draining,
    /// The dispatcher gives work again.
    Resumed,
}
