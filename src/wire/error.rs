//! Why bytes are no frame, or a value cannot become one.

use crate::model::paths::{LinkFault, PathFault};

/// Why a frame was refused, by the side that reads it or by the side that writes it.
///
/// Each text completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Its length is beyond what this stream may carry now.
    #[error("take a frame of {length} bytes where at most {cap} are allowed")]
    TooLong {
        /// What the frame says, or would have, of itself.
        length: u64,
        /// The bound it exceeds.
        cap: u32,
    },
    /// It ends before it is complete.
    #[error("read a frame that ends too early")]
    Truncated,
    /// Something follows the message inside its frame.
    #[error("read a message with {0} bytes behind its end")]
    Trailing(usize),
    /// It is not CBOR, is nested too deeply, or has another shape than the message expected.
    #[error("read a message: {0}")]
    Malformed(String),
    /// The value has no encoding.
    #[error("write a message: {0}")]
    Unwritable(String),
    /// A list in it is longer than any honest sender makes it.
    #[error("take a message with {length} {what} where at most {bound} are allowed")]
    ListTooLong {
        /// What the list holds.
        what: &'static str,
        /// How many it has.
        length: usize,
        /// How many it may have.
        bound: usize,
    },
    /// A data frame of a kind that this build does not know.
    #[error("read a data frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// A data frame whose payload has not the length that its kind demands.
    #[error("read a data frame of kind {kind} with {length} bytes of payload")]
    WrongLength {
        /// The kind.
        kind: u8,
        /// Its payload's length.
        length: usize,
    },
    /// A data frame that has no place where it came.
    #[error("read a data frame of kind {kind} where none of them belongs")]
    Unexpected {
        /// The kind.
        kind: u8,
    },
    /// A datagram that is no beacon, or says what no node says.
    #[error("read a datagram that is no beacon")]
    NoBeacon,
    /// A data frame that has no place in a log.
    #[error("read a log that holds a data frame of kind {0}")]
    NotInLogs(u8),
    /// It does not begin as a manifest of a version that this build knows.
    #[error("read a manifest: it does not begin like one")]
    NoManifest,
    /// An entry of a manifest has no place in it.
    #[error("read a manifest: entry {entry} {fault}")]
    Manifest {
        /// Which, counted from 0 in the order of the paths.
        entry: usize,
        /// What is wrong with it.
        fault: ManifestFault,
    },
}

/// Why some entries are no directory. Each text completes "failed to read a manifest: entry N …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// Its path is none.
    #[error("has a path that {0}")]
    Path(PathFault),
    /// Its link leads out of the directory.
    #[error("is a symbolic link whose target {0}")]
    Link(LinkFault),
    /// Its path does not come behind the one before.
    #[error("is out of order or there twice")]
    Order,
    /// Its path goes through an entry that is no directory.
    #[error("stands beneath something that is no directory")]
    Beneath,
    /// It has permission bits that do not travel.
    #[error("has the mode {0:o}, which is more than permission bits")]
    Mode(u16),
    /// It is of a kind that this build does not know.
    #[error("is of the unknown kind {0}")]
    Kind(u8),
}
