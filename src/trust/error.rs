//! What can go wrong with keys and their folders: one variant a cause.
//!
//! Each text is a fragment that completes "failed to …". Absent: refusals of
//! peers, which are messages (`model::handshake`), not errors.

use std::io;
use std::path::PathBuf;

/// Why a key, a key folder or an access file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Neither `--home` nor `$OCTASKLY_HOME` nor `$XDG_DATA_HOME` nor `$HOME` nor the password database says where
    /// to keep keys.
    #[error(
        "find a home folder: neither OCTASKLY_HOME nor XDG_DATA_HOME nor HOME is set, and this user has none in the password database"
    )]
    NoHome,
    /// A folder could not be created.
    #[error("create the folder {}", path.display())]
    CreateDir {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read or write a folder or file that holds a secret.
    #[error("use {}: others may access it (mode {mode:04o})", path.display())]
    LoosePermissions {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The bits it may have.
        wanted: u32,
    },
    /// A folder or file that holds a secret belongs to somebody else.
    #[error("use {}: it belongs to another user (uid {owner})", path.display())]
    ForeignOwner {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// Another process holds the lock of this identity.
    #[error("use the identity in {}: another running node has it", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// The file system does not lock files at all.
    #[error("lock {}: the file system there does not lock files", path.display())]
    NoLocks {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Other machines may see the file, and none of them would hear of its lock.
    #[error(
        "use {}: its file system ({file_system}) is mounted so that locks hold on this machine only, and another one could use the same identity",
        path.display()
    )]
    LocalLocks {
        /// Which.
        path: PathBuf,
        /// As the table of mounts calls it.
        file_system: String,
    },
    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key file holds no Ed25519 key in PKCS#8.
    #[error("use the key in {}: it is no Ed25519 key in PKCS#8", path.display())]
    BadKey {
        /// Which.
        path: PathBuf,
        /// What the decoder said.
        source: rcgen::Error,
    },
    /// An access file does not decode.
    #[error("use the access file {}: it is damaged or from another version", path.display())]
    BadAccessFile {
        /// Which.
        path: PathBuf,
    },
    /// A file of known dispatchers does not decode.
    #[error("use the file of known dispatchers {}: it is damaged", path.display())]
    DamagedPins {
        /// Which.
        path: PathBuf,
    },
    /// A file of known dispatchers was written by another version of octaskly.
    #[error("use the file of known dispatchers {}: it is of version {version}, which this octaskly does not know", path.display())]
    OtherPinsVersion {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// A key or certificate could not be made.
    #[error("make a key or certificate")]
    Generate(#[source] rcgen::Error),
    /// The key cannot sign; only a bug of ours can cause it.
    #[error("sign with the key: {0}")]
    Sign(ring::error::KeyRejected),
    /// The system gave no random bits.
    #[error("get random bits from the system")]
    Random(#[source] getrandom::Error),
    /// The TLS library refused a configuration; only a bug of ours can cause it.
    #[error("configure TLS")]
    Tls(#[source] rustls::Error),
}

impl TrustError {
    /// What the user can do about it, as a command to type where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LoosePermissions { path, wanted, .. } => Some(format!("chmod {wanted:o} {}", shell_quoted(path))),
            Self::ForeignOwner { .. } => Some("run as its owner, or choose another folder with --home".to_owned()),
            Self::Locked { .. } => {
                Some("stop the other one, or give this one a --name or a --home of its own".to_owned())
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("the disk is full: free some space and start again; everything acknowledged is kept".to_owned())
            }
            Self::NoLocks { .. } | Self::LocalLocks { .. } => Some(
                "mount it with locks (NFS: without nolock and local_lock), or give each machine a folder of its own on a local disk with --home"
                    .to_owned(),
            ),
            Self::NoHome => Some("give a folder with --home or OCTASKLY_HOME".to_owned()),
            Self::CreateDir { .. } => {
                Some("let this user write there, or give another folder with --home or OCTASKLY_HOME".to_owned())
            }
            Self::Read { source, .. } | Self::Write { source, .. } if is_not_allowed(source) => {
                Some("let this user in there, or give another folder with --home or OCTASKLY_HOME".to_owned())
            }
            Self::BadAccessFile { .. } => Some("restart the dispatcher: it writes a new one".to_owned()),
            Self::BadKey { path, .. } => {
                Some(format!("restore the key from a backup, or remove {} to become a new node", shell_quoted(path)))
            }
            Self::DamagedPins { path } => {
                Some(format!("remove {} and enrol again, with --token or by approval", shell_quoted(path)))
            }
            Self::OtherPinsVersion { path, .. } => Some(format!(
                "use the octaskly that wrote it, or remove {} and enrol again, with --token or by approval",
                shell_quoted(path)
            )),
            _ => None,
        }
    }
}

fn is_not_allowed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// `path` as a POSIX shell takes it back.
#[must_use]
pub fn shell_quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@' | '%' | ',');
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
