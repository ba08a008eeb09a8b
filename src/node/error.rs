//! Why a node could not start or cannot go on. Each variant has one cause and,
//! where there is something to do about it, a hint. All end with exit code 1.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::blob::BlobError;
use crate::exec::ExecError;
use crate::model::handshake::Refusal;
use crate::store::StoreError;
use crate::transport::TransportError;
use crate::trust::{TrustError, shell_quoted};

/// Why a node could not start or cannot go on; the text completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The system gave no signal handlers.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// Its key, its folder or its access file.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Its socket.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The address of `--listen`.
    #[error("listen for other workers on {address}")]
    PeerSocket {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: TransportError,
    },
    /// Its store or its outbox could not be opened, read or closed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dispatcher's store failed while it ran. What was acknowledged is safe; nothing more can be taken.
    #[error("go on without the store")]
    StoreLost(#[source] StoreError),
    /// Another dispatcher of this home is running.
    #[error("start a second dispatcher of {}: one is running", home.display())]
    DispatcherRuns {
        /// The home.
        home: PathBuf,
    },
    /// The folder of the stored output could not be made or read.
    #[error("use the log folder {}", path.display())]
    LogFolder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its folder of inputs and outputs could not be opened.
    #[error(transparent)]
    Files(#[from] BlobError),
    /// The disk did not take what was left to be written when the node was stopped.
    #[error("write everything before stopping: the disk does not answer")]
    DiskStuck,
    /// A part of the node has panicked: a bug of ours.
    #[error("go on: {0} has crashed")]
    Crashed(&'static str),
    /// Its guard, its shims or its work directory.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The dispatcher does not let this worker in, and waiting would not help.
    #[error("join the dispatcher: {}", .0.text)]
    Refused(Refusal),
    /// What answers has another key than the dispatcher that this worker expects.
    #[error(
        "join: the dispatcher at {address} is not the one this worker {}: it was reinstalled, or something else answers there",
        if pin.is_some() { "was enrolled with" } else { "has a token of" }
    )]
    OtherDispatcher {
        /// Where.
        address: SocketAddr,
        /// The file that names the expected one; `None` when the token does.
        pin: Option<PathBuf>,
    },
    /// An admin has thrown this worker out.
    #[error("stay with the dispatcher: this worker's key was revoked")]
    Revoked {
        /// Where its key is.
        folder: Option<PathBuf>,
    },
    /// Another process with this worker's key is connected.
    #[error("join the dispatcher: {text}")]
    KeyInUse {
        /// The dispatcher's words.
        text: String,
        /// Where this process has the key.
        folder: Option<PathBuf>,
    },
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
            Self::Transport(TransportError::PortInUse(_)) => Some("another dispatcher? try --port".to_owned()),
            Self::PeerSocket { source: TransportError::PortInUse(_), .. } => {
                Some("another worker? give this one another port with --listen, or leave --listen out".to_owned())
            }
            Self::PeerSocket { .. } => {
                Some("is --listen an address of this machine, and the port one this user may take?".to_owned())
            }
            Self::Transport(TransportError::Bind { .. }) => {
                Some("is --bind an address of this machine, and the port one this user may take?".to_owned())
            }
            Self::Store(error) | Self::StoreLost(error) => store_hint(error),
            Self::DispatcherRuns { .. } => Some("stop it, or give this one a folder of its own with --home".to_owned()),
            Self::LogFolder { path, .. } => {
                Some(format!("let this user write to {}, or choose another folder with --home", path.display()))
            }
            Self::DiskStuck => Some("check the disk; everything acknowledged is kept".to_owned()),
            Self::Crashed(_) => Some("please report this with the lines above it".to_owned()),
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::OtherDispatcher { pin: Some(pin), .. } => {
                Some(format!("bring a token of it with --token, or remove {} and be approved anew", pin.display()))
            }
            Self::OtherDispatcher { pin: None, .. } => Some(
                "bring a token that this dispatcher's octaskly token create prints, or check the address".to_owned(),
            ),
            Self::Revoked { folder } => folder
                .as_ref()
                .map(|folder| format!("remove the folder {} for a new key and join again", folder.display())),
            Self::KeyInUse { folder, .. } => {
                folder.as_ref().map(|folder| format!("for an identity of its own: {}", new_identity(folder)))
            }
            Self::Superseded => Some("give each worker a --home of its own; never copy one".to_owned()),
            Self::UnknownHost { .. } => Some("check the name, or give --dispatcher an IP address".to_owned()),
            Self::PrivateHome { .. } => Some("set TMPDIR to a folder that this user can write to".to_owned()),
            Self::Signals(_) | Self::Transport(_) | Self::Exec(_) | Self::Files(_) => None,
        }
    }
}

/// What makes a worker of its own of one whose folder was copied.
pub(crate) fn new_identity(folder: &std::path::Path) -> String {
    format!("rm -r {}, then start it with another --name", shell_quoted(folder))
}

fn store_hint(error: &StoreError) -> Option<String> {
    Some(match error {
        StoreError::Full(_) => "free some space and start again; everything acknowledged is kept".to_owned(),
        StoreError::Corrupt(_)
        | StoreError::Damaged { .. }
        | StoreError::Emptied { .. }
        | StoreError::BadPages { .. }
        | StoreError::BadValue { .. }
        | StoreError::BadRow { .. } => {
            "start it with --repair: that saves what can be read and keeps the damaged file".to_owned()
        }
        StoreError::NewerSchema { .. } => "upgrade octaskly, or choose another folder with --home".to_owned(),
        StoreError::Foreign { .. } => "move the file away, or choose another folder with --home".to_owned(),
        StoreError::Locked { .. } => "stop the other one, or choose another folder with --home".to_owned(),
        StoreError::NoLocks { .. } => "put it on a local disk with --store or --home".to_owned(),
        StoreError::Open { path, .. } => format!("let this user write to {}", path.display()),
        StoreError::Io(_) => "check the disk; everything acknowledged is kept".to_owned(),
        _ => return None,
    })
}
