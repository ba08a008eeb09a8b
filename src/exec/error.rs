//! Why the executor or the guard could not do its work; what goes wrong with
//! one task is no error here but an `Outcome` of its attempt.

use std::io;
use std::path::PathBuf;

/// The text completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The work directory cannot be made or used.
    #[error("use {} as work directory", path.display())]
    WorkRoot {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This process cannot take over orphans.
    #[error("become the reaper of orphaned tasks")]
    Subreaper(#[source] io::Error),
    /// No shim could be started.
    #[error("start a shim from {}", program.display())]
    Shim {
        /// The program tried.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No guard could be started.
    #[error("start the guard from {}", program.display())]
    Guard {
        /// The program tried.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No pipe for the guard.
    #[error("make a pipe between guard and shims")]
    Presence(#[source] io::Error),
    /// A stored log cannot be read back.
    #[error("read the stored output")]
    ReadLog(#[source] io::Error),
}
