//! Which pieces are missing, and of whom they were asked.
//!
//! Invariant: a missing piece is either free or was asked of one or two sessions, and what is not missing is neither.
//! Absent: who has what.

use std::collections::BTreeMap;

use super::effects::SessionNo;
use crate::model::files::{BlobRef, BlobWish};
use crate::model::limits::PIECE_BYTES;
use crate::model::{IntervalSet, Millis, Timestamp};

/// A piece: its blob's place in the fetch's list, and its number.
pub(super) type Piece = (u32, u64);

/// A piece that has not come for this long may be asked of a second source as well.
const LATE_AFTER: Millis = Millis::from_secs(2);
/// Sessions of which one piece is asked.
const MOST_ASKED: usize = 2;

#[derive(Debug)]
pub(super) struct Wants {
    blobs: Vec<Wanted>,
    asked: BTreeMap<Piece, Vec<Asked>>,
}

#[derive(Debug)]
struct Wanted {
    blob: BlobRef,
    missing: IntervalSet,
    /// Those of the missing ones that nobody was asked for.
    free: IntervalSet,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    of: SessionNo,
    at: Timestamp,
}

impl Wants {
    pub(super) fn new(wishes: Vec<BlobWish>) -> Self {
        let wanted = |wish: BlobWish| {
            assert!(wish.is_sane(), "a fetch is for pieces that its blobs have");
            Wanted { blob: wish.blob, free: wish.pieces.clone(), missing: wish.pieces }
        };
        Self { blobs: wishes.into_iter().map(wanted).collect(), asked: BTreeMap::new() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.blobs.iter().all(|wanted| wanted.missing.is_empty())
    }

    /// How many blobs there are, whole or not.
    pub(super) fn places(&self) -> u32 {
        self.blobs.len() as u32
    }

    pub(super) fn blob(&self, place: u32) -> Option<BlobRef> {
        self.blobs.get(place as usize).map(|wanted| wanted.blob)
    }

    /// The pieces of a blob that are not here; none for a place that there is not.
    pub(super) fn missing(&self, place: u32) -> Option<&IntervalSet> {
        self.blobs.get(place as usize).map(|wanted| &wanted.missing).filter(|missing| !missing.is_empty())
    }

    /// Those that nobody was asked for.
    pub(super) fn free(&self, place: u32) -> Option<&IntervalSet> {
        self.blobs.get(place as usize).map(|wanted| &wanted.free).filter(|free| !free.is_empty())
    }

    /// Bytes of a piece; the last one of a blob may be short.
    pub(super) fn bytes_of(&self, (place, number): Piece) -> u64 {
        let total = self.blob(place).map_or(0, |blob| blob.bytes);
        PIECE_BYTES.min(total.saturating_sub(number.saturating_mul(PIECE_BYTES)))
    }

    /// Notes that `piece` was asked of a session.
    pub(super) fn ask(&mut self, piece: Piece, of: SessionNo, at: Timestamp) {
        let wanted = &mut self.blobs[piece.0 as usize];
        assert!(wanted.missing.contains(piece.1), "what is here is not asked for");
        wanted.free.remove(piece.1);
        let asked = self.asked.entry(piece).or_default();
        assert!(asked.len() < MOST_ASKED && asked.iter().all(|asked| asked.of != of), "asked of two, each once");
        asked.push(Asked { of, at });
    }

    /// The session will not send `piece` any more.
    pub(super) fn unask(&mut self, piece: Piece, of: SessionNo) {
        let Some(asked) = self.asked.get_mut(&piece) else { return };
        asked.retain(|asked| asked.of != of);
        if asked.is_empty() {
            self.asked.remove(&piece);
            self.blobs[piece.0 as usize].free.insert(piece.1);
        }
    }

    /// `piece` is here; says whether that is news.
    pub(super) fn arrived(&mut self, piece: Piece) -> bool {
        let Some(wanted) = self.blobs.get_mut(piece.0 as usize) else { return false };
        self.asked.remove(&piece);
        wanted.free.remove(piece.1);
        wanted.missing.remove(piece.1)
    }

    /// Pieces that were asked of one other session, and that too long ago.
    pub(super) fn late(&self, now: Timestamp, not_of: SessionNo) -> impl Iterator<Item = Piece> + '_ {
        self.asked.iter().filter_map(move |(piece, asked)| match asked[..] {
            [only] if only.of != not_of && only.at + LATE_AFTER <= now => Some(*piece),
            _ => None,
        })
    }

    /// Holds the module's invariant.
    pub(super) fn check(&self) {
        for (piece, asked) in &self.asked {
            let wanted = &self.blobs[piece.0 as usize];
            assert!((1..=MOST_ASKED).contains(&asked.len()), "asked of somebody, and not of many");
            assert!(wanted.missing.contains(piece.1) && !wanted.free.contains(piece.1), "asked for what is missing");
        }
        for (place, wanted) in self.blobs.iter().enumerate() {
            let asked = self.asked.range((place as u32, 0)..=(place as u32, u64::MAX)).count() as u64;
            assert_eq!(wanted.missing.len(), wanted.free.len() + asked, "missing is free or asked for");
            assert!(wanted.free.ranges().all(|(first, _)| wanted.missing.contains(first)), "free is missing");
        }
    }
}
