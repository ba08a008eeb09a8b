//! Numbers that a seed decides: SplitMix64 (Steele, Lea, Flood 2014).

use std::hash::{BuildHasher as _, Hasher as _};

/// A source of numbers.
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that nobody has chosen.
    pub(crate) fn nobodys() -> u64 {
        std::hash::RandomState::new().build_hasher().finish() % 1_000_000
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// One of `many`.
    pub(crate) fn index(&mut self, many: usize) -> usize {
        (self.next() % many as u64) as usize
    }
}
