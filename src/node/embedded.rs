//! A whole cluster inside this process, for `octaskly run` when no dispatcher
//! is known: one dispatcher on loopback and one worker, in a private home that
//! is removed at the end.
//!
//! The one invariant: nothing of it outlives its owner and nobody else can
//! reach it; it sends no beacon and opens no port beyond loopback. Absent: the
//! client, which connects to it as to any other dispatcher.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::NodeError;
use crate::model::NodeId;

/// What an embedded cluster is told at its start; the defaults fit `run`.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedOptions {
    /// Tasks at once; `None` is the number of processors, at least the seed's 4.
    pub max_jobs: Option<u32>,
    /// The `octaskly` binary that guard and shims are started from; `None` is the running one.
    pub program: Option<PathBuf>,
}

/// A dispatcher and a worker in this process.
#[derive(Debug)]
pub struct Embedded {
    home: PathBuf,
    address: SocketAddr,
    node: NodeId,
    secret: [u8; 32],
}

impl Embedded {
    /// Starts both and waits until the dispatcher listens; the worker joins meanwhile.
    ///
    /// # Errors
    /// When there is no place for the private home, or either node cannot start.
    #[expect(clippy::unused_async, clippy::unimplemented, reason = "being built")]
    pub async fn start(options: EmbeddedOptions) -> Result<Self, NodeError> {
        let _ = options;
        unimplemented!()
    }

    /// Where the dispatcher listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The dispatcher's key.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What a client presents to be enrolled as admin.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// The private home: the client may keep its identity there.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Ends the worker's tasks, stops both nodes and removes the home.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn stop(self) {}
}
