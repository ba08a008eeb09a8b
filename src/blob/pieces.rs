//! A blob in pieces: which there are, one made ready to travel, and one checked on arrival.
//!
//! A piece travels as its bytes behind the hashes that tie them to the blob's digest (bao, in groups of 64 KiB), so it
//! is verified by itself, whoever it comes from and whatever else is there. The hashes of a whole blob are its
//! **tree**: 64 bytes for each pair of groups, a thousandth of the blob. Invariant: what [`verify`] lets through are
//! the bytes of that piece of that blob. Absent: where blobs and trees are kept.

use std::io::{self, Read};

use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges_validated, outboard};
use bao_tree::io::{BaoContentItem, EncodeError};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};

pub(super) use bao_tree::io::sync::{ReadAt, WriteAt};

use super::BlobError;
use crate::model::limits::PIECE_BYTES;
use crate::model::{BlobRef, Digest};

/// The digest of nothing. The empty blob has no pieces, and is everywhere without being kept anywhere.
pub const EMPTY: Digest = Digest([
    0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b, 0xcb, 0x25,
    0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
]);
/// Largest blob: more than disks hold, and little enough that no arithmetic on it overflows.
pub const MAX_BLOB_BYTES: u64 = 1 << 48;
/// Largest encoding of a piece: its bytes, and at most 64 pairs of hashes between them and the digest.
pub const MAX_ENCODED_PIECE: usize = PIECE_BYTES as usize + 64 * PAIR_BYTES;

/// What is hashed as one leaf of the tree. Smaller ones would make larger trees, larger ones more to read for a byte.
pub(super) const GROUP_BYTES: u64 = 64 * CHUNK_BYTES;
const GROUPS: BlockSize = BlockSize::from_chunk_log(6);
/// The chunk of BLAKE3.
const CHUNK_BYTES: u64 = 1024;
/// Two hashes: a node of the tree.
const PAIR_BYTES: usize = 64;

const _: () = assert!(PIECE_BYTES.is_multiple_of(GROUP_BYTES), "a piece is whole groups");
// Inside a piece there are 15 pairs, above it one for each doubling up to the largest blob.
const _: () = assert!(15 + (MAX_BLOB_BYTES / PIECE_BYTES).ilog2() <= 64, "no encoding is larger than it may be");

/// How many pieces a blob has: none when it is empty.
#[must_use]
pub fn pieces_of(blob: BlobRef) -> u64 {
    blob.bytes.div_ceil(PIECE_BYTES)
}

/// The digest of some bytes in memory.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// Where a piece begins, and how long it is.
pub(super) fn extent(blob: BlobRef, piece: u64) -> (u64, u64) {
    let start = piece * PIECE_BYTES;
    (start, PIECE_BYTES.min(blob.bytes.saturating_sub(start)))
}

/// Size of a blob's tree: nothing for a blob of one group.
pub(super) fn tree_bytes(bytes: u64) -> u64 {
    BaoTree::new(bytes, GROUPS).outboard_size()
}

/// Refuses a size that no blob has, and a blob of no bytes with a digest of some.
pub(super) fn check_size(blob: BlobRef) -> Result<(), BlobError> {
    if blob.bytes > MAX_BLOB_BYTES {
        return Err(BlobError::TooLarge { digest: blob.digest, bytes: blob.bytes, bound: MAX_BLOB_BYTES });
    }
    if (blob.bytes == 0) != (blob.digest == EMPTY) {
        return Err(BlobError::Corrupt { digest: blob.digest, piece: 0 });
    }
    Ok(())
}

/// Why a piece could not be encoded.
pub(super) enum EncodeFault {
    /// The bytes or the tree are not those of the blob.
    Wrong,
    /// They could not be read.
    Io(io::Error),
}

/// The encoding of a piece, verified on the way out. `piece` is one that the blob has.
pub(super) fn encode<D: ReadAt, T: ReadAt>(
    blob: BlobRef,
    piece: u64,
    data: D,
    tree: T,
) -> Result<Vec<u8>, EncodeFault> {
    debug_assert!(piece < pieces_of(blob));
    let tree = PreOrderOutboard { root: blake3::Hash::from_bytes(blob.digest.0), tree: shape(blob), data: tree };
    let mut encoded = Vec::with_capacity(MAX_ENCODED_PIECE.min(extent(blob, piece).1 as usize + 64 * PAIR_BYTES));
    match encode_ranges_validated(data, tree, &chunks(piece), &mut encoded) {
        Ok(()) => Ok(encoded),
        Err(EncodeError::Io(source)) if source.kind() != io::ErrorKind::UnexpectedEof => Err(EncodeFault::Io(source)),
        Err(_) => Err(EncodeFault::Wrong),
    }
}

/// A piece whose bytes are those of its blob.
#[derive(Debug)]
pub(super) struct Verified {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// The nodes of the tree that came with it, each with its place in the tree.
    pub(super) pairs: Vec<(u64, [u8; PAIR_BYTES])>,
}

/// Checks an encoding that came from anywhere.
///
/// # Errors
/// [`BlobError::Corrupt`] when it is not exactly that of this piece of this blob.
pub(super) fn verify(blob: BlobRef, piece: u64, encoded: &[u8]) -> Result<Verified, BlobError> {
    let corrupt = BlobError::Corrupt { digest: blob.digest, piece };
    if piece >= pieces_of(blob) || encoded.len() > MAX_ENCODED_PIECE {
        return Err(corrupt);
    }
    let (start, length) = extent(blob, piece);
    let mut verified = Verified { bytes: Vec::with_capacity(length as usize), pairs: Vec::new() };
    let mut rest = encoded;
    let (root, shape, chunks) = (blake3::Hash::from_bytes(blob.digest.0), shape(blob), chunks(piece));
    for item in DecodeResponseIter::new(root, shape, &mut rest, &chunks) {
        match item {
            Ok(BaoContentItem::Leaf(leaf)) => {
                debug_assert_eq!(leaf.offset, start + verified.bytes.len() as u64);
                verified.bytes.extend_from_slice(&leaf.data);
            }
            Ok(BaoContentItem::Parent(parent)) => {
                let Some(at) = shape.pre_order_offset(parent.node) else { return Err(corrupt) };
                let mut pair = [0; PAIR_BYTES];
                pair[..32].copy_from_slice(parent.pair.0.as_bytes());
                pair[32..].copy_from_slice(parent.pair.1.as_bytes());
                verified.pairs.push((at * PAIR_BYTES as u64, pair));
            }
            Err(_) => return Err(corrupt),
        }
    }
    if rest.is_empty() && verified.bytes.len() as u64 == length { Ok(verified) } else { Err(corrupt) }
}

/// The bytes of a piece that came from anywhere, for whoever wants them in memory.
///
/// # Errors
/// [`BlobError::Corrupt`] when it is not exactly that piece of this blob.
pub fn open_piece(blob: BlobRef, piece: u64, encoded: &[u8]) -> Result<Vec<u8>, BlobError> {
    check_size(blob)?;
    Ok(verify(blob, piece, encoded)?.bytes)
}

/// Reads exactly `bytes` bytes of `data`, writes their tree, and returns their digest.
pub(super) fn hash<T: WriteAt>(data: impl Read, bytes: u64, tree: T) -> io::Result<Digest> {
    let shape = BaoTree::new(bytes, GROUPS);
    let mut tree = PreOrderOutboard { root: blake3::Hash::from_bytes([0; 32]), tree: shape, data: tree };
    Ok(Digest(*outboard(data, shape, &mut tree)?.as_bytes()))
}

/// A tree that nobody needs.
pub(super) struct NoTree;

impl WriteAt for NoTree {
    fn write_at(&mut self, _at: u64, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shape(blob: BlobRef) -> BaoTree {
    BaoTree::new(blob.bytes, GROUPS)
}

fn chunks(piece: u64) -> ChunkRanges {
    const CHUNKS: u64 = PIECE_BYTES / CHUNK_BYTES;
    ChunkRanges::from(ChunkNum(piece * CHUNKS)..ChunkNum((piece + 1) * CHUNKS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that differ everywhere, with their blob and tree.
    pub(in crate::blob) fn sample(bytes: usize) -> (Vec<u8>, BlobRef, Vec<u8>) {
        let mut data = vec![0; bytes];
        blake3::Hasher::new().update(&bytes.to_le_bytes()).finalize_xof().fill(&mut data);
        let mut tree = Vec::new();
        let digest = hash(&data[..], bytes as u64, &mut tree).unwrap();
        assert_eq!(digest, digest_of(&data), "the tree's root is the plain BLAKE3");
        (data, BlobRef { digest, bytes: bytes as u64 }, tree)
    }

    fn encoded(blob: BlobRef, piece: u64, data: &[u8], tree: &[u8]) -> Vec<u8> {
        encode(blob, piece, data, tree).ok().expect("encodes")
    }

    #[test]
    fn every_piece_is_verified_by_itself_and_brings_its_part_of_the_tree() {
        for bytes in [1, 1023, 65_536, 65_537, 1 << 20, (1 << 20) + 1, (5 << 20) + 123_457] {
            let (data, blob, tree) = sample(bytes);
            assert_eq!(tree.len() as u64, tree_bytes(blob.bytes));
            let mut rebuilt = (vec![0; data.len()], vec![0; tree.len()]);
            for piece in (0..pieces_of(blob)).rev() {
                let sent = encoded(blob, piece, &data, &tree);
                assert!(sent.len() <= MAX_ENCODED_PIECE);
                let verified = verify(blob, piece, &sent).unwrap();
                let at = extent(blob, piece).0 as usize;
                rebuilt.0[at..at + verified.bytes.len()].copy_from_slice(&verified.bytes);
                for (at, pair) in verified.pairs {
                    rebuilt.1[at as usize..at as usize + PAIR_BYTES].copy_from_slice(&pair);
                }
            }
            assert!(rebuilt == (data, tree), "{bytes} bytes");
        }
    }

    #[test]
    fn a_piece_passes_for_no_other_and_nothing_is_added_to_it_or_missing() {
        let (data, blob, tree) = sample((2 << 20) + 5);
        let sent = encoded(blob, 1, &data, &tree);
        for other in [0, 2, 3, u64::MAX] {
            assert!(verify(blob, other, &sent).is_err(), "as piece {other}");
        }
        assert!(verify(blob, 1, &sent[..sent.len() - 1]).is_err());
        assert!(verify(blob, 1, &[&sent[..], b"x"].concat()).is_err());
        assert!(verify(BlobRef { bytes: blob.bytes + 1, ..blob }, 2, &encoded(blob, 2, &data, &tree)).is_err());
    }

    #[test]
    fn bytes_or_trees_that_changed_are_not_sent() {
        let (mut data, blob, tree) = sample(3 << 20);
        data[1 << 20] ^= 1;
        assert!(matches!(encode(blob, 1, &data[..], &tree[..]), Err(EncodeFault::Wrong)));
        assert!(encode(blob, 0, &data[..], &tree[..]).is_ok(), "the others are");
        assert!(matches!(encode(blob, 2, &data[..data.len() - 1], &tree[..]), Err(EncodeFault::Wrong)));
        assert!(matches!(encode(blob, 0, &data[..], &[0; 0][..]), Err(EncodeFault::Wrong)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_byte_of_an_encoding_can_be_changed(at in any::<prop::sample::Index>(), flip in 1u8.., piece in 0u64..2) {
            static SAMPLE: std::sync::LazyLock<(Vec<u8>, BlobRef, Vec<u8>)> =
                std::sync::LazyLock::new(|| sample((1 << 20) + 77_777));
            let (data, blob, tree) = &*SAMPLE;
            let mut sent = encoded(*blob, piece, data, tree);
            let at = at.index(sent.len());
            sent[at] ^= flip;
            prop_assert!(verify(*blob, piece, &sent).is_err());
        }
    }

    #[test]
    fn the_digest_of_nothing_is_known() {
        assert_eq!(EMPTY, digest_of(b""));
        assert!(check_size(BlobRef { digest: EMPTY, bytes: 0 }).is_ok());
        assert!(check_size(BlobRef { digest: digest_of(b"x"), bytes: 0 }).is_err());
        assert!(check_size(BlobRef { digest: digest_of(b"x"), bytes: MAX_BLOB_BYTES + 1 }).is_err());
    }
}
