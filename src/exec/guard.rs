//! `octaskly __guard`: what is left when a worker is killed (being built).

use std::path::PathBuf;
use std::process::ExitCode;

use super::ExecError;

/// A pipe that the worker and all its shims hold open: when the guard sees it
/// close, no process of any task is left. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Presence {}

impl Presence {
    /// Makes the pipe. One a worker.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> Result<Self, ExecError> {
        Ok(Self {})
    }
}

/// What a guard is told at its start.
#[derive(Debug, Clone)]
pub struct GuardConfig {
    /// The `octaskly` binary; `/proc/self/exe` is the running one.
    pub program: PathBuf,
    /// The same work directory as the executor's: cleaned after the worker's death.
    pub work_root: PathBuf,
    /// Shared with the executor.
    pub presence: Presence,
}

/// The worker's handle on its guard; a guard that dies is replaced. Cheap to clone.
///
/// Dropping every handle without [`Guard::dismiss`] counts as the worker's death.
#[derive(Debug, Clone)]
pub struct Guard {}

impl Guard {
    /// Starts a guard. Call it inside a runtime, early, while this process is small.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start(config: GuardConfig) -> Result<Self, ExecError> {
        let _ = config;
        Ok(Self {})
    }

    /// Replaces what the guard is to know when the worker dies. Nothing is
    /// passed to the `on_death` of [`main`] before the first call.
    pub fn brief(&self, briefing: Vec<u8>) {
        let _ = briefing;
    }

    /// The worker stops cleanly: the guard ends without doing anything.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn dismiss(&self) {}
}

/// What the worker last told its guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardBriefing(pub Vec<u8>);

/// The whole life of a guard; fd 0 is its worker.
///
/// `on_death` runs when the worker died after it had briefed its guard, and
/// after the last process of its tasks is gone.
#[must_use]
pub fn main(on_death: impl FnOnce(GuardBriefing)) -> ExitCode {
    let _ = on_death;
    ExitCode::FAILURE
}
