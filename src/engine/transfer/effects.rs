//! What a fetch wants done, and what it has to say.
//!
//! Invariant: everything that is said about an open source names its session, so that news of an earlier one is
//! recognised as stale. Absent: streams, and the words of a log.

use crate::model::{IntervalSet, NodeId};

/// A way by which pieces come. The order is the one in which ways are preferred for pieces that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the dispatcher's own store.
    Dispatcher,
    /// Straight from another worker.
    Direct(NodeId),
    /// From another worker, through the dispatcher.
    Relay(NodeId),
}

impl Way {
    /// The worker that has the bytes.
    #[must_use]
    pub fn holder(self) -> Option<NodeId> {
        match self {
            Self::Dispatcher => None,
            Self::Direct(node) | Self::Relay(node) => Some(node),
        }
    }
}

/// One conversation with a source, from the order to open it until it is closed. Never reused within a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionNo(pub u64);

/// Pieces of some of the fetch's blobs, by their places in its list.
pub type Pieces = Vec<(u32, IntervalSet)>;

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Ask the dispatcher who has the blobs; the answer goes to `handle_holders`.
    Consult,
    /// Reach a source.
    Open {
        /// Its conversation.
        session: SessionNo,
        /// Which.
        way: Way,
    },
    /// Ask an open source for pieces; for none, what it has by now.
    Ask {
        /// Its conversation.
        session: SessionNo,
        /// Which pieces.
        pieces: Pieces,
    },
    /// Leave a source.
    Close {
        /// Its conversation.
        session: SessionNo,
    },
}

/// What is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A source failed.
    Failed {
        /// Which.
        way: Way,
        /// How.
        fault: Fault,
    },
    /// A worker cannot be reached well enough; its pieces come through the dispatcher for now.
    Relaying {
        /// Whose.
        holder: NodeId,
        /// How the direct way failed last.
        fault: Fault,
    },
}

/// How a source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was not reached in time, or at all.
    Unreachable,
    /// Nothing came for too long.
    Stalled,
    /// It was too slow while another was faster.
    Slow {
        /// Bytes a second.
        rate: u64,
    },
    /// The conversation broke off.
    Broken,
    /// It does not give what it was asked for.
    Refused,
    /// It did not send what it said it had.
    Withheld,
    /// It sent bytes that are not those of the blob. It is asked no more.
    Damaged {
        /// Place of the blob.
        place: u32,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => write!(f, "it was not reached within {}", super::OPENING_PATIENCE),
            Self::Stalled => write!(f, "nothing came for {}", super::STALL_PATIENCE),
            Self::Slow { rate } => write!(f, "{} KiB/s is too slow while another source is faster", rate / 1024),
            Self::Broken => write!(f, "the connection broke"),
            Self::Refused => write!(f, "it refused"),
            Self::Withheld => write!(f, "it did not send what it said it has"),
            Self::Damaged { .. } => write!(f, "it sent a damaged piece"),
        }
    }
}

/// The dispatcher's answer to who has the blobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Places of the blobs that it has itself.
    pub here: IntervalSet,
    /// Workers, and the places of the blobs of which each has something.
    pub peers: Vec<(NodeId, IntervalSet)>,
    /// This receiver's number among those who fetch the same now, and how many they are: each begins with a share
    /// of its own when it asks the dispatcher, so that one copy leaves it and not one for each.
    pub share: (u32, u32),
}
