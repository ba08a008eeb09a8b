//! The worker's handle on everything that runs (being built).

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::{ExecError, ExecEvent, LogReader, Presence, StartAttempt};
use crate::model::{AttemptId, Millis};

/// What an executor is told at its start.
#[derive(Debug, Clone)]
pub struct ExecConfig {
    /// The `octaskly` binary that shims are started from; `/proc/self/exe` is the running one.
    pub shim_program: PathBuf,
    /// Where scratch directories and spools live; made (0700) when missing.
    /// Several executors may share it; what dead ones left is removed.
    pub work_root: PathBuf,
    /// Shims to start at once, while this process is small.
    pub ready_shims: usize,
    /// Tells the guard when the last shim is gone; `None` without a guard.
    pub presence: Option<Presence>,
}

/// Runs attempts. Cheap to clone; all clones are one executor.
#[derive(Debug, Clone)]
pub struct Executor {}

impl Executor {
    /// Makes this process the reaper of orphans, cleans up after dead
    /// predecessors, and starts the first shims. Call it inside a runtime.
    ///
    /// The receiver is to be drained: attempts wait with their news while it is full.
    ///
    /// # Errors
    /// When the work directory cannot be used or no shim can be started.
    #[expect(clippy::unimplemented, reason = "being built")]
    pub fn start(config: ExecConfig) -> Result<(Self, mpsc::Receiver<ExecEvent>), ExecError> {
        let _ = config;
        unimplemented!()
    }

    /// Runs an attempt now, in a shim of its own; how many run at once is the caller's decision.
    pub fn run(&self, start: StartAttempt) {
        let _ = start;
    }

    /// SIGTERM to the attempt's whole process tree, and SIGKILL to what is left of it after `grace`.
    ///
    /// Nothing when there is no such attempt. A second call may shorten the grace.
    pub fn terminate(&self, id: AttemptId, grace: Millis) {
        let _ = (id, grace);
    }

    /// The stored output of a running or ended attempt; `None` when there is none here.
    ///
    /// With `follow`, the reader waits for more until the attempt ends.
    #[must_use]
    pub fn read_log(&self, id: AttemptId, follow: bool) -> Option<LogReader> {
        let _ = (id, follow);
        None
    }

    /// Removes the stored output of an ended attempt. Readers that have it open may finish.
    pub fn forget_log(&self, id: AttemptId) {
        let _ = id;
    }

    /// Kills whatever still runs, ends the shims and removes the work directory of this executor.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn shutdown(&self) {}
}
