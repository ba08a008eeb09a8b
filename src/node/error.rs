//! Why a node could not start or cannot go on. Each variant has one cause and,
//! where there is something to do about it, a hint. All end with exit code 1.

use std::io;
use std::path::PathBuf;

use crate::exec::ExecError;
use crate::model::handshake::Refusal;
use crate::store::StoreError;
use crate::transport::TransportError;
use crate::trust::TrustError;

/// Why a node could not start or cannot go on; the text completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The system gave no signal handlers.
    #[error("listen for SIGINT and SIGTERM")]
    Signals(#[source] io::Error),
    /// Its key, its folder or its access file.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Its socket.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Its store or its outbox.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its guard, its shims or its work directory.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The dispatcher does not let this worker in, and waiting would not help.
    #[error("join the dispatcher: {}", .0.text)]
    Refused(Refusal),
    /// The same key joined from elsewhere, and the dispatcher keeps one link a key.
    #[error("stay connected: another worker joined with this worker's key")]
    Superseded,
    /// `--dispatcher` names a host that the system cannot resolve.
    #[error("find the host {host:?}")]
    UnknownHost {
        /// The host as it was given.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The private home of an embedded cluster could not be made.
    #[error("make a private folder in {}", parent.display())]
    PrivateHome {
        /// Where it was to be.
        parent: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl NodeError {
    /// What to do about it, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Trust(error) => error.hint(),
            Self::Transport(TransportError::PortInUse(_)) => {
                Some("stop what listens there, or choose another port with --port".to_owned())
            }
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::Superseded => Some("give each worker a --home of its own; never copy one".to_owned()),
            Self::UnknownHost { .. } => Some("check the name, or give --dispatcher an IP address".to_owned()),
            Self::PrivateHome { .. } => {
                Some("set XDG_RUNTIME_DIR or TMPDIR to a folder that this user can write to".to_owned())
            }
            Self::Signals(_) | Self::Transport(_) | Self::Store(_) | Self::Exec(_) => None,
        }
    }
}
