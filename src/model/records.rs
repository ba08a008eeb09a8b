//! What a node writes down: the facts its durable state is made of.
//!
//! Each record states absolute values and is safe to apply twice. The store
//! turns them into rows; nothing else interprets them. Records of one effects
//! batch are written in order and atomically.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::outcome::{Cancellation, Unrepeatable};
use super::trust::Token;
use super::{
    Actor, AttemptId, AttemptNo, AttemptReport, Digest, Epoch, Fence, JobId, Millis, NodeId, NodeName, Role,
    SealedSpec, TaskId, TaskState, Timestamp,
};

/// The number a shell gives to one appended batch of records: ascending from 1 within a start.
///
/// The store reports by it what is written and what is durable; an engine
/// holds a message back until the batch it depends on is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchNo(pub u64);

/// How much room the store's disk has for more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DiskSpace {
    /// For new work, and what was set aside for the end of the old is untouched.
    #[default]
    Enough,
    /// For what runs: the disk was full, and what was set aside is used now. No new work is taken.
    Reserve,
    /// None: nothing can be written. What was appended waits, and so does whatever was to be said because of it.
    Nothing,
}

impl DiskSpace {
    /// Whether new work may be taken.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        *self == Self::Enough
    }
}

/// A fact of the dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A job was accepted. Its tasks exist by this alone; a task has a row of
    /// its own only when a later record names it.
    JobSubmitted(Arc<SubmittedJob>),
    /// An attempt was handed to a worker: the task is `running`.
    AttemptAssigned {
        /// Which attempt.
        id: AttemptId,
        /// Its fence.
        fence: Fence,
        /// To whom.
        worker: NodeId,
        /// The worker's name then, kept for history.
        worker_name: NodeName,
        /// When.
        at: Timestamp,
    },
    /// The attempt's process exists.
    AttemptStarted {
        /// Which attempt.
        id: AttemptId,
        /// When.
        at: Timestamp,
    },
    /// The attempt is the last one of its task, whatever becomes of it.
    AttemptUnrepeatable {
        /// Which attempt.
        id: AttemptId,
        /// Why.
        why: Unrepeatable,
    },
    /// An attempt ended and this is its recorded result.
    AttemptEnded {
        /// Which attempt.
        id: AttemptId,
        /// What happened.
        report: AttemptReport,
    },
    /// An attempt was given back unstarted: its row goes, and the task waits again. Its number stays used.
    AttemptReturned {
        /// Which attempt.
        id: AttemptId,
    },
    /// An attempt was handed to another worker before it started: it goes on there, under its other fence.
    AttemptHandedOver {
        /// Which attempt.
        id: AttemptId,
        /// Its fence from now on.
        fence: Fence,
        /// Who handed it over, and what it is called.
        giver: (NodeId, NodeName),
        /// Who has it, likewise.
        receiver: (NodeId, NodeName),
    },
    /// Where a task stands now. Written whenever it changes other than by `AttemptAssigned`.
    TaskChanged {
        /// Which task.
        task: TaskId,
        /// Its state.
        state: TaskState,
        /// What is counted about it.
        counts: TaskCounts,
        /// For `Waiting`: not before this instant.
        not_before: Option<Timestamp>,
        /// For a terminal state reached without an attempt of its own (cancelled
        /// while queued, a failed dependency): how it ended.
        outcome: Option<super::Outcome>,
        /// When.
        at: Timestamp,
    },
    /// Every task of the job that has no row of its own went to `state` at once
    /// (a cancelled or failed array stays one record).
    RestChanged {
        /// Which job.
        job: JobId,
        /// `Cancelled`, `Failed`; `Waiting` while a dependency is open; `Ready` when
        /// it no longer is, or again by `retry`.
        state: TaskState,
        /// For terminal states: how they ended.
        outcome: Option<super::Outcome>,
        /// When.
        at: Timestamp,
    },
    /// Every task of the job that has a row of its own in state `from` went to `state` at once (a million failed
    /// tasks that are done again stay one record). Unlike the others it speaks of rows as the records before it
    /// have left them: a batch that holds it is applied once, as the store's transactions see to.
    RowsChanged {
        /// Which job.
        job: JobId,
        /// `Failed` or `Cancelled` by `retry`; `Ready` when they end before they were tried again.
        from: TaskState,
        /// `Ready`, with no failures counted; or `Cancelled`, `Failed`.
        state: TaskState,
        /// For terminal states: how they ended.
        outcome: Option<super::Outcome>,
        /// When.
        at: Timestamp,
    },
    /// The job as a whole is to end; attempts that still run are being ended.
    JobCancelling {
        /// Which job.
        job: JobId,
        /// Why.
        why: Cancellation,
        /// When.
        at: Timestamp,
    },
    /// All tasks of the job are in a terminal state.
    JobEnded {
        /// Which job.
        job: JobId,
        /// Its terminal state.
        state: TaskState,
        /// When.
        at: Timestamp,
        /// How long the dispatcher had run by then, all its starts taken together: retention counts from here.
        uptime: Millis,
    },
    /// An ended job has tasks to do again (`retry`).
    JobReopened {
        /// Which job.
        job: JobId,
        /// When.
        at: Timestamp,
    },
    /// Somebody had tasks of the job done again (`retry`).
    JobRetried {
        /// Which job.
        job: JobId,
        /// Who and when.
        act: Act,
    },
    /// Outputs of a task were lost and made again by a task of another job: what that has left takes their place.
    OutputsRemade {
        /// Whose.
        task: TaskId,
        /// By which.
        by: TaskId,
    },
    /// The job, its tasks, attempts and logs are removed.
    JobForgotten {
        /// Which job.
        job: JobId,
        /// Who had it removed; `None` when it was kept for long enough.
        by: Option<Actor>,
        /// When.
        at: Timestamp,
    },
    /// A key may act in a role under a name. Whatever key had that name in that role before is dropped by it.
    NodeEnrolled {
        /// The key.
        node: NodeId,
        /// Its role.
        role: Role,
        /// Its name, unique among enrolled nodes of a role.
        name: NodeName,
        /// When.
        at: Timestamp,
    },
    /// A worker is (or is no longer) to be given new work.
    WorkerDraining {
        /// Which worker.
        node: NodeId,
        /// Whether it drains.
        draining: bool,
        /// Who said so, and when.
        act: Act,
    },
    /// A worker joined from here; see `WorkerProfile::place`.
    WorkerPlaced {
        /// Which worker.
        node: NodeId,
        /// Where its key is locked.
        place: Digest,
    },
    /// A key was thrown out for good; its name is free.
    NodeRevoked {
        /// The key.
        node: NodeId,
        /// When.
        at: Timestamp,
    },
    /// A token as it is now: made, used or taken back. The hash of its secret is its key.
    TokenChanged(Token),
    /// A token that can enrol nobody any more is not worth keeping.
    TokenForgotten {
        /// BLAKE3 of its secret.
        hash: Digest,
    },
    /// The dispatcher has run for this long, all its starts taken together.
    UptimeCounted {
        /// That long.
        uptime: Millis,
    },
    /// Whatever the power losses so far have made the record forget was reported by those who run it, or
    /// they had time enough to do so.
    PowerLossesSettled,
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// A job as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedJob {
    /// Its number.
    pub job: JobId,
    /// What to run.
    pub spec: SealedSpec,
    /// Who submitted it.
    pub owner: NodeId,
    /// The key that keeps its owner from queueing it twice.
    pub idempotency_key: String,
    /// When.
    pub at: Timestamp,
}

/// What is counted about a task across its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Attempts so far; the next one is this plus one.
    pub attempts: u32,
    /// Of them, failures of the task itself.
    pub failures: u32,
    /// Of them, tries that were running on a worker that was lost.
    pub lost: u32,
}

impl TaskCounts {
    /// Whether no try of it counts against it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures == 0 && self.lost == 0
    }
}

/// A fact of a worker's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxRecord {
    /// This attempt ended; kept until the dispatcher has it.
    Kept(super::messages::EndedAttempt),
    /// Another worker handed this attempt over, whose `Kept` follows: its result is worth nothing without the proof.
    Proved(super::offload::TakenOver),
    /// The dispatcher has it. Named by fence: the same number may be kept again by then.
    Settled(super::messages::FencedAttempt),
}

/// What an outbox holds: results that the dispatcher has not acknowledged, of earlier starts of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// The results, oldest first.
    pub results: Vec<super::messages::EndedAttempt>,
    /// Of those among them that another worker handed over, the proofs.
    pub proofs: Vec<super::offload::TakenOver>,
}

/// Everything a dispatcher's engine needs to go on after a restart.
#[derive(Debug, Clone, Default)]
pub struct RestoredState {
    /// The epoch that this start took: greater than any before.
    pub epoch: Epoch,
    /// The next free job number.
    pub next_job: u64,
    /// How long the dispatcher ran in all its starts so far, as far as that was written down.
    pub uptime: Millis,
    /// Jobs that have not ended, in order of submission.
    pub jobs: Vec<RestoredJob>,
    /// Enrolled and revoked nodes.
    pub nodes: Vec<EnrolledNode>,
    /// Tokens, whatever became of them.
    pub tokens: Vec<Token>,
    /// Power losses that are not settled, oldest first. When there are any, records that were written but
    /// not synced may be gone, so a task that looks ready may be running somewhere.
    pub after_power_loss: Vec<PowerLoss>,
}

/// The machine was restarted while the store was open (its boot id differs), and not every worker has said
/// since what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerLoss {
    /// The start of the dispatcher that it ended: records of this epoch may be gone.
    pub epoch: Epoch,
    /// The first job number that was free afterwards. Jobs of this number and above were submitted later;
    /// what this epoch knew under such a number is gone, and is another job.
    pub next_job: u64,
}

/// An unfinished job as the store has it.
#[derive(Debug, Clone)]
pub struct RestoredJob {
    /// As it was accepted.
    pub submitted: Arc<SubmittedJob>,
    /// Set when it is being cancelled.
    pub cancelling: Option<Cancellation>,
    /// Whether it had ended and goes on by `retry`: nobody has to be its client.
    pub reopened: bool,
    /// Who had tasks of it done again last.
    pub retried: Option<Act>,
    /// When its first attempt was assigned.
    pub started_at: Option<Timestamp>,
    /// The greatest attempt number that any of its tasks has had; 0 when none was tried.
    /// A task that is done again by `retry` counts on from here, so no number is used twice.
    pub last_attempt: AttemptNo,
    /// What the tasks without a row of their own are: `Ready` unless a `RestChanged` said otherwise.
    pub rest: TaskState,
    /// Indices (not positions) of tasks in a terminal state, by state; big arrays stay cheap.
    pub succeeded: super::IntervalSet,
    /// Likewise.
    pub failed: super::IntervalSet,
    /// Likewise.
    pub cancelled: super::IntervalSet,
    /// Likewise, of tasks that are ready with nothing counted but attempts: by `retry`, or given back unstarted.
    pub again: super::IntervalSet,
    /// All other tasks with a row of their own that are not in a terminal state.
    pub tasks: Vec<RestoredTask>,
}

/// An unfinished task that has something of its own to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredTask {
    /// Its id.
    pub task: TaskId,
    /// `Waiting`, `Ready` or `Running`.
    pub state: TaskState,
    /// What is counted about it.
    pub counts: TaskCounts,
    /// For `Waiting`: not before this instant.
    pub not_before: Option<Timestamp>,
    /// For `Running`: its attempts that have not ended.
    pub live: Vec<RestoredAttempt>,
}

/// An attempt that was assigned and has not ended, as far as the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredAttempt {
    /// Which.
    pub id: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// Who has it.
    pub worker: NodeId,
    /// When its process started, if that was heard.
    pub started_at: Option<Timestamp>,
    /// Set when no other attempt may follow it.
    pub unrepeatable: Option<Unrepeatable>,
}

/// A key in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledNode {
    /// The key.
    pub node: NodeId,
    /// What it may do.
    pub role: Role,
    /// What it is called.
    pub name: NodeName,
    /// Workers only: gets no new work.
    pub draining: bool,
    /// Workers only: where its key was locked when it joined last; see `WorkerProfile::place`.
    pub place: Option<Digest>,
    /// Workers only: who drained or resumed it last.
    pub drain_act: Option<Act>,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was revoked, if it was: it is never let in again, and its name is free for others.
    pub revoked_at: Option<Timestamp>,
}

impl Default for Epoch {
    /// Before the first start.
    fn default() -> Self {
        Self(0)
    }
}
