//! What a dispatcher's log may want to say, and what its shell acts on.

use crate::model::handshake::Refusal;
use crate::model::records::DiskSpace;
use crate::model::trust::TokenId;
use crate::model::{
    AttemptId, AttemptNo, Capacity, IntervalSet, JobId, JobState, LinkId, Millis, NodeId, NodeName, Outcome, Role,
    TaskId,
};

/// A fact worth a log line or a metric. Losing one changes nothing but
/// [`Notice::AttemptOver`] and [`Notice::JobForgotten`], which end things the shell keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A worker is on the roster: a new one, or a new instance of a known one.
    WorkerJoined {
        /// Its name.
        worker: NodeName,
        /// Its key.
        node: NodeId,
        /// What it can hold.
        capacity: Capacity,
        /// Its software version.
        software: String,
    },
    /// The instance that was away, suspect or lost is back.
    WorkerReturned {
        /// Its name.
        worker: NodeName,
    },
    /// It stopped cleanly, or its name went to another key.
    WorkerLeft {
        /// Its name.
        worker: NodeName,
    },
    /// Its link went down; it may come back.
    WorkerAway {
        /// Its name.
        worker: NodeName,
    },
    /// It gets no new work until it is heard again.
    WorkerSuspect {
        /// Its name.
        worker: NodeName,
        /// Nothing was heard for this long.
        silent: Millis,
    },
    /// Its attempts are requeued.
    WorkerLost {
        /// Its name.
        worker: NodeName,
        /// How that is known.
        cause: LossCause,
        /// How many attempts it held.
        attempts: u64,
    },
    /// A node was not let in.
    NodeRefused {
        /// Where it knocked: the shell knows the address.
        link: LinkId,
        /// Its key.
        node: NodeId,
        /// The name it asked for.
        name: Option<NodeName>,
        /// What it wanted to be.
        role: Role,
        /// What it was told.
        refusal: Refusal,
    },
    /// A worker waits for approval.
    NodeWaiting {
        /// Where: the shell knows the address.
        link: LinkId,
        /// Its key.
        node: NodeId,
        /// The name to approve it by.
        name: NodeName,
    },
    /// A key may act in a role from now on.
    NodeEnrolled {
        /// Which key.
        node: NodeId,
        /// Its name.
        name: NodeName,
        /// Its role.
        role: Role,
        /// Why.
        grounds: Grounds,
    },
    /// A key was thrown out for good.
    NodeRevoked {
        /// Which key.
        node: NodeId,
        /// The name that is free now.
        name: NodeName,
        /// The role it had.
        role: Role,
        /// Who did it.
        by: NodeName,
    },
    /// A worker is to get no new work, or is to get some again.
    WorkerDraining {
        /// Its name.
        worker: NodeName,
        /// Whether it drains.
        draining: bool,
        /// Who said so.
        by: NodeName,
    },
    /// A client or admin has another name.
    ClientRenamed {
        /// Which key.
        node: NodeId,
        /// What it was called.
        from: NodeName,
        /// What it is called.
        to: NodeName,
        /// Who did it.
        by: NodeName,
    },
    /// A client or admin had jobs changed.
    JobsChanged {
        /// Who.
        by: NodeName,
        /// How.
        change: Change,
        /// Which.
        jobs: IntervalSet,
        /// How many of their tasks that concerned; of forgotten jobs, how many jobs.
        affected: u64,
        /// Why, when they said so.
        reason: Option<String>,
    },
    /// A token was made.
    TokenCreated {
        /// What it is called.
        id: TokenId,
        /// What its bearer becomes.
        role: Role,
        /// What its bearer is called, when that was said.
        name: Option<NodeName>,
        /// How many keys it enrols.
        uses: u32,
    },
    /// A token was taken back.
    TokenRevoked {
        /// What it is called.
        id: TokenId,
    },
    /// The store's disk has become full, or has room again.
    DiskChanged {
        /// What it has now.
        disk: DiskSpace,
    },
    /// A job was accepted.
    JobSubmitted {
        /// Which.
        job: JobId,
        /// How many tasks it has.
        tasks: u64,
    },
    /// A task was handed to a worker.
    TaskAssigned {
        /// Which.
        task: TaskId,
        /// Which try.
        attempt: AttemptNo,
        /// To whom.
        worker: NodeName,
    },
    /// A task that runs on a worker that has fallen silent was handed out a second time.
    TaskDoubled {
        /// Which.
        task: TaskId,
        /// Its second live try.
        attempt: AttemptNo,
        /// To whom.
        worker: NodeName,
        /// The worker that was not heard.
        silent: NodeName,
    },
    /// Outputs of a task are lost, and a job makes them again for another task.
    OutputsLost {
        /// Whose outputs.
        task: TaskId,
        /// Which job.
        job: JobId,
    },
    /// A worker handed a task to another one.
    TaskOffloaded {
        /// Which.
        task: TaskId,
        /// Whose it was.
        from: NodeName,
        /// Whose it is.
        to: NodeName,
    },
    /// A try failed and another follows.
    TaskRetrying {
        /// Which task.
        task: TaskId,
        /// The try that failed.
        attempt: AttemptNo,
        /// How.
        outcome: Outcome,
        /// The wait before the next one.
        wait: Millis,
    },
    /// A task reached its terminal state. Not said of tasks that end with their whole job before being tried.
    TaskEnded {
        /// Which.
        task: TaskId,
        /// Where, when it was tried.
        worker: Option<NodeName>,
        /// How.
        outcome: Outcome,
        /// From the start of its last try to its end; zero without one.
        elapsed: Millis,
    },
    /// All tasks of a job are in a terminal state.
    JobEnded {
        /// Which.
        job: JobId,
        /// Its terminal state.
        state: JobState,
    },
    /// A job, its rows and its logs are to be removed: the shell deletes uploaded logs.
    JobForgotten {
        /// Which.
        job: JobId,
    },
    /// These jobs were removed because their retention is over. Each has its `JobForgotten` as well.
    JobsExpired {
        /// Which.
        jobs: Vec<JobId>,
    },
    /// The attempt is no longer live, whatever the reason: the shell closes its streams.
    AttemptOver {
        /// Which.
        id: AttemptId,
    },
    /// A worker holds an attempt that a power loss made the record forget; it is on record again.
    AttemptReclaimed {
        /// Which.
        id: AttemptId,
        /// Who holds it.
        worker: NodeName,
    },
    /// After a power loss: tasks start again.
    PowerLossSettled {
        /// Enrolled workers that did not say in time what they hold.
        unheard: u64,
    },
    /// A result came from an attempt that is not live (G3).
    ResultDiscarded {
        /// Which.
        id: AttemptId,
        /// From whom.
        worker: NodeName,
    },
    /// The dispatcher itself stood still; everybody's silence is counted afresh.
    LoopStalled {
        /// That long.
        gap: Millis,
    },
}

/// What a client may have done to jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Their tasks were ended.
    Cancelled,
    /// Their tasks were queued again.
    Retried,
    /// They were removed.
    Forgotten,
}

/// How it is known that a worker is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// Nothing was heard of it for too long.
    Silence,
    /// Another instance of it has come.
    NewInstance,
    /// Its guard said so.
    Guard,
    /// It was stopping and its link went down.
    Stopped,
    /// Its name went to another key.
    NameTaken,
    /// Its key was revoked.
    Revoked,
}

/// Why a key was enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// It has the access file: same user, same machine.
    Access,
    /// It brought this token.
    Token(TokenId),
    /// An admin typed the code that it showed.
    Approval,
}
