//! What a dispatcher's log may want to say, and what its shell acts on.

use crate::model::handshake::RefusalCode;
use crate::model::{AttemptId, AttemptNo, Capacity, JobId, JobState, Millis, NodeId, NodeName, Outcome, TaskId};

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
        /// Its key.
        node: NodeId,
        /// Why.
        code: RefusalCode,
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
    /// The attempt is no longer live, whatever the reason: the shell closes its streams.
    AttemptOver {
        /// Which.
        id: AttemptId,
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
}
