//! What the executor is asked for and what it says: plain data. The one
//! invariant: every [`StartAttempt`] is answered by exactly one
//! [`ExecEvent::Ended`] or [`ExecEvent::NotStarted`]. Absent: any behaviour.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

use super::program;
use super::workplace::Scratch;
use crate::model::messages::Assignment;
use crate::model::obstacle::{Obstacle, Shortage};
use crate::model::{AttemptId, NodeName, Outcome, RawString, SealedSpec};
use crate::wire::OutputStream;

/// One attempt to be run.
#[derive(Debug)]
pub struct StartAttempt {
    /// Which one, with its fence and its GPUs.
    pub assignment: Assignment,
    /// The job's spec.
    pub spec: SealedSpec,
    /// What this worker is called (`OCTASKLY_WORKER`).
    pub worker: NodeName,
    /// The ends of an attached client, for a spec whose output or stdin is attached.
    pub attached: Option<AttachedIo>,
    /// Where it runs, with its inputs in place; `None` takes an empty directory.
    pub directory: Option<Scratch>,
    /// Whether its directory is wanted when it has ended, for the outputs in it.
    pub keep_directory: bool,
}

/// The live channels of an attempt whose client is attached.
#[derive(Debug)]
pub struct AttachedIo {
    /// Gets every byte in order. While it is full the task's pipes are not
    /// read, which holds the task back; when its receiver is dropped, output is
    /// only stored from there on.
    pub output: mpsc::Sender<OutputChunk>,
    /// Feeds the task's stdin; closing the sender is end of file. Dropped when
    /// the task closes its stdin. Unused unless the spec says `StdinSource::Attached`.
    pub stdin: mpsc::Receiver<Vec<u8>>,
}

/// Some output, as it was read; at most `DATA_FRAME` bytes, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// Where it was written.
    pub stream: OutputStream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What the executor tells its worker.
#[derive(Debug)]
pub enum ExecEvent {
    /// The attempt has, or had, a process; comes before `Ended`, and not at all
    /// when it never had one or was lost too early. Told a few milliseconds late
    /// on purpose: a quick task then costs one wakeup instead of two.
    Started {
        /// Which.
        id: AttemptId,
        /// How long ago.
        ago: Duration,
    },
    /// The attempt is over: its process has ended, no descendant is left, and
    /// its output is complete.
    Ended {
        /// Which.
        id: AttemptId,
        /// How.
        ending: Ending,
    },
    /// The attempt was not started, through no fault of its own, and there was no process of it.
    NotStarted {
        /// Which.
        id: AttemptId,
        /// What kept it.
        unstarted: Unstarted,
    },
}

/// Why an attempt was not started although nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstarted {
    /// What kept it.
    pub obstacle: Obstacle,
    /// What was tried and what the system said; completes "failed to …".
    pub detail: String,
}

impl Unstarted {
    /// What `error` means for the worker, when it tried to `what`.
    pub(super) fn of(what: &str, error: &io::Error) -> Self {
        let obstacle = Obstacle::Shortage(program::shortage(error).unwrap_or(Shortage::Other));
        Self { obstacle, detail: format!("{what}: {}", program::plain(error)) }
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Ending {
    /// `Exited`, `Signalled`, `OutOfMemory`, `SpawnFailed`, or `Lost` when its shim was killed or its lease was over.
    pub outcome: Outcome,
    /// Whether it had, or may have had, a process.
    pub had_process: bool,
    /// Largest resident set of any of its processes; 0 when unknown.
    pub peak_memory_bytes: u64,
    /// Bytes it wrote to stdout, kept or not.
    pub stdout_bytes: u64,
    /// Bytes it wrote to stderr, kept or not.
    pub stderr_bytes: u64,
    /// Its stored output.
    pub kept: Kept,
    /// Where it ran, when that was asked for and it had a process.
    pub directory: Option<Scratch>,
}

impl Ending {
    /// The end of an attempt that never had a process.
    #[must_use]
    pub fn before_start(outcome: Outcome) -> Self {
        let kept = Kept::Nothing;
        Self {
            outcome,
            had_process: false,
            peak_memory_bytes: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            kept,
            directory: None,
        }
    }
}

/// Where the stored output of an ended attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// There was none.
    Nothing,
    /// All of it, as the frames of a log file.
    Inline(RawString),
    /// Too much for that: on this worker's disk until `Executor::forget_log`.
    Spooled {
        /// Bytes that `Executor::read_log` will yield.
        bytes: u64,
    },
}
