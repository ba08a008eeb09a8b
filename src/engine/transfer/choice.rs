//! Which piece a source is asked for.
//!
//! The rarest first, by what the other workers said they have, and by chance among equals: so receivers of one blob
//! come to have different pieces, and have something to give to each other. Of the dispatcher each receiver asks its
//! own share first, and nothing that two workers can give. Invariant: what is chosen is missing, and its source said
//! that it has it. Absent: how much is asked at once.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::effects::Way;
use super::source::{Session, Source};
use super::wants::{Piece, Wants};
use crate::model::{IntervalSet, Timestamp};

/// How far ahead of the first missing piece of a blob is chosen: enough to differ, and little enough to look through.
const REACH: u64 = 1024;
/// Candidates that are compared.
const COMPARED: usize = 32;
/// What so many other workers have is left to them.
const PLENTY: usize = 2;
/// The same while others fetch it too, and the dispatcher's link has better things to carry.
const PLENTY_SHARED: usize = 1;

/// What a choice depends on beside the session.
pub(super) struct Choice<'a> {
    pub(super) wants: &'a Wants,
    pub(super) sources: &'a BTreeMap<Way, Source>,
    pub(super) dice: &'a mut Dice,
    /// Whether to spread: without other receivers order is better.
    pub(super) spread: bool,
    pub(super) share: (u32, u32),
    /// Whether the dispatcher may be asked for what others are to bring: nobody owes anything.
    pub(super) is_idle: bool,
    pub(super) now: Timestamp,
}

impl Choice<'_> {
    /// The piece to ask of `session` next; `chosen` are about to be asked of it already.
    pub(super) fn piece(&mut self, way: Way, session: &Session, chosen: &[Piece]) -> Option<Piece> {
        let places = self.wants.places();
        let start = if self.spread && places > 0 { self.dice.below(u64::from(places)) as u32 } else { 0 };
        for step in 0..places {
            let place = (start + step) % places;
            let Some(free) = self.wants.free(place) else { continue };
            let Some(has) = session.has.get(&place) else { continue };
            let candidates = self.candidates(way, place, free, has, chosen);
            if let Some(best) = self.rarest(way, candidates) {
                return Some(best);
            }
        }
        // Nothing is free: help with what another is late with.
        self.wants.late(self.now, session.number).find(|piece| session.has(*piece) && !chosen.contains(piece))
    }

    /// Some pieces of one blob that could be asked for.
    fn candidates(
        &mut self,
        way: Way,
        place: u32,
        free: &IntervalSet,
        has: &IntervalSet,
        chosen: &[Piece],
    ) -> Vec<Piece> {
        let Some(first) = free.first() else { return Vec::new() };
        let is_candidate = |number: &u64| has.contains(*number) && !chosen.contains(&(place, *number));
        let from = if self.spread { first + self.dice.below(REACH) } else { first };
        let walk = |from: u64, to: u64| Walk { set: free, next: from, to };
        let in_reach = || walk(from, first + REACH).chain(walk(first, from)).filter(is_candidate);
        let compared = if self.spread { COMPARED } else { 1 };
        let (index, of) = (u64::from(self.share.0), u64::from(self.share.1));
        let is_shared = way == Way::Dispatcher && of > 1 && !self.is_idle;
        // By place as well: small blobs have one piece each, and nobody is to have all of those.
        let in_reach = in_reach().filter(|number| !is_shared || (u64::from(place) + number) % of == index);
        in_reach.take(compared).map(|number| (place, number)).collect()
    }

    /// The candidate that the fewest other workers have; the first of equals, which chance has put there.
    fn rarest(&self, way: Way, candidates: Vec<Piece>) -> Option<Piece> {
        let others = |piece: Piece| {
            let open = self.sources.iter().filter(|(other, _)| matches!(other, Way::Direct(_)) && **other != way);
            open.filter_map(|(_, source)| source.open()).filter(|session| session.has(piece)).count()
        };
        let (rarity, piece) = candidates.into_iter().map(|piece| (others(piece), piece)).min_by_key(|(r, _)| *r)?;
        let plenty = if self.share.1 > 1 { PLENTY_SHARED } else { PLENTY };
        (way != Way::Dispatcher || rarity < plenty || self.is_idle).then_some(piece)
    }
}

/// The values of a set from `next` up to, and without, `to`.
struct Walk<'a> {
    set: &'a IntervalSet,
    next: u64,
    to: u64,
}

impl Iterator for Walk<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let value = self.set.first_from(self.next).filter(|value| *value < self.to)?;
        self.next = value + 1;
        Some(value)
    }
}

/// Whether two sets have something in common.
pub(super) fn overlap(one: &IntervalSet, other: &IntervalSet) -> bool {
    let (few, many) = if one.range_count() <= other.range_count() { (one, other) } else { (other, one) };
    few.ranges().any(|(first, last)| many.first_from(first).is_some_and(|value| value <= last))
}
