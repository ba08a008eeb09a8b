//! The dispatcher's shell: a process that keeps the queue, hands tasks to
//! workers and answers clients.
//!
//! The one invariant: a message leaves only when the records of its batch are
//! written, and where the engine asks for it, synced; so a killed dispatcher
//! forgets nothing that it has said. Deliberately absent: which task goes where
//! and who may do what (the dispatcher engine's), and how rows are kept
//! (`store`'s).

mod options;

use std::net::SocketAddr;

pub use options::{DISCOVERY_PORT, DISPATCHER_PORT, DispatcherOptions};

use super::{NodeError, Shutdown};
use crate::model::NodeId;
use crate::trust::AccessFile;

/// Runs a dispatcher until `shutdown` is raised or it cannot go on.
///
/// # Errors
/// When it cannot start (home, identity, store, port) or cannot go on (its store failed).
#[expect(clippy::unused_async, clippy::unimplemented, reason = "being built")]
pub async fn run(options: DispatcherOptions, shutdown: Shutdown) -> Result<(), NodeError> {
    let _ = (options, shutdown);
    unimplemented!()
}

/// Starts a dispatcher that runs on the tokio runtime of the caller until it is stopped.
///
/// # Errors
/// When it cannot start (home, identity, store, port).
#[expect(clippy::unused_async, clippy::unimplemented, reason = "being built")]
pub async fn start(options: DispatcherOptions) -> Result<Running, NodeError> {
    let _ = options;
    unimplemented!()
}

/// A dispatcher that runs in this process. Dropping it kills it: nothing is flushed, as by `kill -9`.
pub struct Running {
    local_addr: SocketAddr,
    node: NodeId,
    access: AccessFile,
}

impl Running {
    /// Where it listens, with the port that was really given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Its key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// What it wrote into its access file.
    #[must_use]
    pub fn access(&self) -> &AccessFile {
        &self.access
    }

    /// Waits until it cannot go on and says why; never returns while all is well.
    #[expect(clippy::unused_async, clippy::unimplemented, reason = "being built")]
    pub async fn failed(&mut self) -> NodeError {
        unimplemented!()
    }

    /// Stops it cleanly: refuses newcomers, tells its links, syncs the store, removes the access file.
    /// Takes a few seconds at most, whatever its peers do.
    ///
    /// # Errors
    /// When the store failed before or while it was closed.
    #[expect(clippy::unused_async, clippy::unimplemented, reason = "being built")]
    pub async fn stop(self) -> Result<(), NodeError> {
        unimplemented!()
    }
}
