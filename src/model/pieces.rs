//! How pieces of blobs are asked for and given, between any two nodes.
//!
//! A stream opens with the blobs that it is about, in an order that gives each its place. Whoever has them says
//! first what it has ([`PieceAnswer::Has`]); then the reader asks as often as it likes, ahead of the answers, and each
//! [`PieceAsk`] is answered by one `Has` with what has come in since the last, the pieces that were asked for and are
//! there, and an end of data. The one invariant: what is said to be there decides nothing but whom to ask; every
//! piece is verified by whoever gets it. Absent: the right to read (`trust`), and the pieces' bytes.

use serde::{Deserialize, Serialize};

use super::compact::{as_array, batch, blobs};
use super::limits::BLOBS_A_STREAM;
use super::requests::Failure;
use super::{BlobRef, IntervalSet, NodeId, NodeName};

/// Largest message of such a conversation: says of a thousand blobs which pieces are there, in many ranges each.
pub const MAX_PIECES_FRAME: u32 = 16 * 1024 * 1024;
/// Workers that one answer names.
pub const MAX_NAMED: usize = 32;

/// Pieces of one of a stream's blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PiecesAt {
    /// The blob's place.
    pub place: u32,
    /// Their numbers.
    pub pieces: IntervalSet,
}

/// From the reader: send these; or, when there are none, say what has come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PieceAsk(#[serde(deserialize_with = "blobs")] pub Vec<PiecesAt>);

/// From whoever has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PieceAnswer {
    /// All that is there of these blobs; those that are not named are as they were.
    Has(#[serde(deserialize_with = "blobs")] Vec<PiecesAt>),
    /// Too many are reading here: ask somebody else, or later.
    Busy,
    /// No.
    Refused(Failure),
}

/// By which right one worker reads files of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadPass {
    /// A signed `BlobGrant`.
    Blobs(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The signed `TaskGrant` of an attempt that these are inputs of, and the statement by which it was handed over.
    Task {
        /// The grant.
        #[serde(with = "serde_bytes")]
        grant: Vec<u8>,
        /// The statement; `None` for the worker that the attempt was assigned to.
        #[serde(with = "serde_bytes")]
        hand_over: Option<Vec<u8>>,
        /// The manifest, itself such an input, that lists the blobs; `None` when they are inputs themselves.
        manifest: Option<BlobRef>,
    },
}

/// What a dispatcher knows of who has some blobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobHolders {
    /// Places of those that it has itself.
    pub here: IntervalSet,
    /// Connected workers that have some of them, or are fetching them just now; at most [`MAX_NAMED`].
    #[serde(deserialize_with = "blobs")]
    pub workers: Vec<BlobHolder>,
    /// The asker's number among those that fetch the same now.
    pub index: u32,
    /// How many these are.
    pub of: u32,
    /// A signed `BlobGrant` for all of them; `None` where workers give each other nothing.
    #[serde(with = "serde_bytes")]
    pub grant: Option<Vec<u8>>,
}

/// What a fetching worker says on the stream by which it asked who has some blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldersAsk {
    /// Who has them now?
    Again {
        /// Workers that were named and have, by their own word, nothing of them.
        #[serde(deserialize_with = "batch")]
        empty: Vec<NodeId>,
    },
    /// I have all of them.
    Fetched,
}

/// A worker that has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobHolder {
    /// Its key.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Places of the blobs.
    pub places: IntervalSet,
}

as_array!(PiecesAt { place, pieces });
as_array!(BlobHolder { node, name, places });

/// Whether these are some of the pieces that `all` have, each blob named once. A peer may say otherwise.
#[must_use]
pub fn are_sane(pieces: &[PiecesAt], all: &[BlobRef]) -> bool {
    let mut seen = IntervalSet::new();
    pieces.len() <= BLOBS_A_STREAM
        && pieces.iter().all(|at| {
            let blob = all.get(at.place as usize);
            seen.insert(u64::from(at.place)) && blob.is_some_and(|blob| super::files::has_pieces(*blob, &at.pieces))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn pieces_that_a_blob_has_not_or_that_are_named_twice_are_not_sane() {
        let all = [BlobRef { digest: Digest([1; 32]), bytes: 3 << 20 }];
        let at = |place, first, last| PiecesAt { place, pieces: IntervalSet::from_range(first, last) };
        assert!(are_sane(&[at(0, 0, 2)], &all) && are_sane(&[], &all));
        assert!(!are_sane(&[at(0, 2, 3)], &all) && !are_sane(&[at(1, 0, 0)], &all));
        assert!(!are_sane(&[at(0, 0, 0), at(0, 1, 1)], &all));
    }
}
