//! The access file: how clients and workers of the same user find and convince their dispatcher.

use std::net::SocketAddr;
use std::path::Path;

use super::TrustError;
use crate::model::NodeId;

/// What the dispatcher writes for nodes of its own user on its own machine (0600).
#[derive(Clone, PartialEq, Eq)]
pub struct AccessFile {
    /// Whom to expect there.
    pub dispatcher: NodeId,
    /// The port it listens on.
    pub port: u16,
    /// Where to try, in order.
    pub addresses: Vec<SocketAddr>,
    /// What to present as `Credential::Access`.
    pub secret: [u8; 32],
}

impl AccessFile {
    /// For a dispatcher that listens at `bound`, with a fresh secret.
    pub fn new(dispatcher: NodeId, bound: SocketAddr) -> Result<Self, TrustError> {
        let _ = (dispatcher, bound);
        unimplemented!()
    }

    /// Whether `presented` is the secret; takes the same time for any wrong one.
    #[must_use]
    pub fn verify(&self, presented: &[u8; 32]) -> bool {
        let _ = presented;
        unimplemented!()
    }
}

/// Writes `file` to `path` in one step, readable by this user only.
pub fn write(path: &Path, file: &AccessFile) -> Result<(), TrustError> {
    let _ = (path, file);
    unimplemented!()
}

/// Reads the access file at `path`; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<AccessFile>, TrustError> {
    let _ = path;
    unimplemented!()
}

/// Removes the access file, as a dispatcher does when it stops.
pub fn remove(path: &Path) -> Result<(), TrustError> {
    let _ = path;
    unimplemented!()
}
