//! What a worker says to its shims and its guard over Unix sockets, and they to it.
//!
//! Message frames (`wire::frame`) with [`SHIM_FRAME`] as their cap, both ways.
//! The descriptors that become the task's 0, 1 and 2 travel beside the `Start`
//! frame and are no part of it. A shim runs one task at a time and may be given
//! another after `Ended`. Absent: how descriptors travel, and everything a shim
//! does (`exec/`).

use serde::{Deserialize, Serialize};

use super::frame::Message;
use crate::model::obstacle::Obstacle;
use crate::model::outcome::SpawnFailure;
use crate::model::{Millis, RawString};

/// Largest frame between a worker and its shim: argument vector and environment
/// of one task; what the kernel takes for them is less.
pub const SHIM_FRAME: u32 = 8 * 1024 * 1024;

/// From the worker to a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShimOrder {
    /// Run this; three descriptors travel beside it.
    Start(StartTask),
    /// End the running task: SIGTERM to all of it, and after `grace` SIGKILL to
    /// what is left. Without a running task it means nothing.
    Terminate {
        /// Between the two signals; zero kills at once.
        grace: Millis,
    },
    /// The running task has this lease from now on. Means nothing for one that was started without.
    Renew(TaskLease),
}

/// For how long a task may run without being renewed, on the clock that goes on while the machine sleeps: both ends
/// are processes of one machine. Microseconds since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLease {
    /// From then on it is asked to end.
    pub terminate_at_us: u64,
    /// From then on what is left of it is killed.
    pub kill_at_us: u64,
}

/// One process to start, with everything decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartTask {
    /// Its argument vector. The shim looks `argv[0]` up in the task's own `PATH`, so that a directory
    /// there which hangs holds up one slot and not the worker.
    pub argv: Vec<RawString>,
    /// Its whole environment, in order.
    pub env: Vec<(RawString, RawString)>,
    /// Where it runs.
    pub cwd: RawString,
    /// Memory it asked for in bytes; 0 when it did not. With more than that it is killed.
    pub memory_bytes: u64,
    /// Its lease, where it must not run on while nobody hears of its worker.
    pub lease: Option<TaskLease>,
}

/// From a shim to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShimFact {
    /// The process exists. Said a few milliseconds late, and not at all when it has ended by then:
    /// a quick task costs its worker one wakeup.
    Started {
        /// Its process id, which is its process group's too.
        pid: i32,
        /// For how long already, in microseconds.
        running_us: u64,
    },
    /// It could not be started; the shim is free again.
    SpawnFailed(SpawnFailure),
    /// It was not started, through no fault of its own; the shim is free again.
    NotStarted {
        /// What kept it.
        obstacle: Obstacle,
        /// What was tried and what the system said, for the log.
        detail: String,
    },
    /// It has ended and nothing of it is left; the shim is free again.
    Ended {
        /// How.
        status: ShimStatus,
        /// From its start until nothing of it was left, in microseconds.
        ran_us: u64,
        /// Largest resident set seen in bytes; 0 when unknown.
        peak_memory_bytes: u64,
    },
}

/// How a process ended, as the shim saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShimStatus {
    /// It exited with this code.
    Exited(i32),
    /// It died by this signal.
    Signalled(i32),
    /// It was ended because it exceeded its memory.
    OutOfMemory,
    /// It was ended, or not even started, because its lease was over.
    LeaseOver,
}

/// From a worker to its guard. The socket closing without a `Dismiss` is the worker's death.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardOrder {
    /// What to know when the worker dies; replaces what was said before. Opaque here.
    Brief(RawString),
    /// The worker stops in good order: do nothing and end.
    Dismiss,
}

impl Message for ShimOrder {}
impl Message for GuardOrder {}
impl Message for ShimFact {}
