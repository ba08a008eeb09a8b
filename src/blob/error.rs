//! Why a file cannot be kept, moved, placed or collected.
//!
//! Names that a task or a peer has chosen are shown quoted, so that an error stays one line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::sys::is_through_link;
use crate::model::limits::{MAX_INPUTS, MAX_MANIFEST_ENTRIES};
use crate::model::paths::{LinkFault, PathFault};
use crate::model::{Digest, RawString};
use crate::wire::WireError;

/// Each text completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The system refused to open or read something.
    #[error("read {path:?}")]
    Read {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused to make, write, rename or remove something.
    #[error("write {path:?}")]
    Write {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that somebody sent are not the piece that they were sent as.
    #[error("accept piece {piece} of blob {}: these are not its bytes", digest.short())]
    Corrupt {
        /// Of which blob.
        digest: Digest,
        /// Which piece.
        piece: u64,
    },
    /// The blob is not here, or not whole.
    #[error("read blob {}: it is not here", digest.short())]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// This piece of the blob is not here, or the blob has no such piece.
    #[error("read piece {piece} of blob {}: it is not here", digest.short())]
    MissingPiece {
        /// Of which blob.
        digest: Digest,
        /// Which piece.
        piece: u64,
    },
    /// What was kept is no longer what it was: the disk or somebody else changed it. It has been dropped.
    #[error("read blob {}: its bytes have changed on disk", digest.short())]
    Damaged {
        /// Which.
        digest: Digest,
    },
    /// It has more bytes than are taken at once, or than any blob may have.
    #[error("take blob {} of {bytes} bytes where at most {bound} are allowed", digest.short())]
    TooLarge {
        /// Which.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// The bound.
        bound: u64,
    },
    /// There is no room for it, even after what is not in use has been removed.
    #[error("make room for {bytes} bytes of files: {limit}")]
    Full {
        /// How many were to be kept.
        bytes: u64,
        /// What they do not fit into.
        limit: Limit,
    },
    /// The file was written, replaced or cut short since it was looked at, or meanwhile.
    #[error("read {path:?}: it has changed meanwhile")]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// A file or directory was expected, and something else is there.
    #[error("use {path:?}: it is {found}")]
    Kind {
        /// What was looked at.
        path: PathBuf,
        /// What it is.
        found: What,
    },
    /// A part of the path is a symbolic link, where none is followed.
    #[error("use {path:?}: a part of it is a symbolic link")]
    ThroughLink {
        /// The whole path.
        path: PathBuf,
    },
    /// A name is no path beneath a directory.
    #[error("use {path:?} as a path beneath a directory: it {fault}")]
    Path {
        /// The name.
        path: RawString,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// A symbolic link is none that may travel.
    #[error("take the symbolic link {path:?} to {target:?}: its target {fault}")]
    Link {
        /// Where it is.
        path: PathBuf,
        /// Where it leads.
        target: RawString,
        /// What is wrong with that.
        fault: LinkFault,
    },
    /// Symbolic links lead to each other.
    #[error("follow the symbolic link {path:?}: it leads to too many others")]
    LinkLoop {
        /// The first of them.
        path: PathBuf,
    },
    /// Something else is there already.
    #[error("place {path:?}: something else is there already")]
    Conflict {
        /// Where.
        path: PathBuf,
    },
    /// `.` as the name of a file.
    #[error("place a file as the working directory itself: only a directory can be that")]
    FileAsRoot,
    /// More outputs than one task may bring back one by one.
    #[error("collect more than {MAX_INPUTS} single outputs: name the directory that they are in instead")]
    TooManyOutputs,
    /// A directory with more in it than a manifest may list.
    #[error("take the directory {path:?}: more than {MAX_MANIFEST_ENTRIES} entries are in it")]
    TooManyEntries {
        /// Which directory.
        path: PathBuf,
    },
    /// A directory cannot be listed as a manifest, or what should be a manifest is none.
    #[error("take the directory {path:?}")]
    Manifest {
        /// The directory that it describes.
        path: PathBuf,
        /// Why.
        source: WireError,
    },
    /// A delivered file was to be finished before all of it had arrived.
    #[error("finish {path:?}: not all of it has arrived")]
    Unfinished {
        /// Which.
        path: PathBuf,
    },
}

/// What a blob does not fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The quota, in bytes, beside what is in use.
    Quota(u64),
    /// The disk, which has so many bytes free, some of which stay so.
    Disk(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota(quota) => write!(f, "the quota of {quota} bytes has no room for them beside what is in use"),
            Self::Disk(free) => write!(f, "the disk has only {free} bytes free"),
        }
    }
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
        })
    }
}

impl BlobError {
    /// For `map_err` behind a call that reads.
    pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::Changed { path: path.to_owned() },
            _ => Self::Read { path: path.to_owned(), source },
        }
    }

    /// For `map_err` behind a call that resolves a path, making directories.
    pub(super) fn making_way(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            _ if is_through_link(&source) => Self::ThroughLink { path: path.to_owned() },
            io::ErrorKind::NotADirectory => Self::Conflict { path: path.to_owned() },
            _ => Self::Write { path: path.to_owned(), source },
        }
    }

    /// For `map_err` behind a call that writes.
    pub(super) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}
