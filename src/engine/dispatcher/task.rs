//! A task that has something of its own to say, and its attempt.

use super::placement::WorkerKey;
use crate::model::outcome::Cancellation;
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
    /// Handed to a worker.
    Running(Attempt),
}

/// The live attempt of a task.
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
    /// Whether nothing is taken from its worker's room by it, because it did not fit beside what else a
    /// power loss left there. Most such attempts have ended, and their results are on their way.
    pub(super) beside: bool,
}
