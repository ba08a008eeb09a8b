//! Where everything random in a simulation comes from.
//!
//! Invariant: a seed and the order of the questions decide every answer.
//! `fastrand` without its `std` feature has no other source to draw from.

use crate::model::Millis;

/// A seeded source of chance.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    rng: fastrand::Rng,
}

impl Dice {
    /// Dice that fall the same way for the same `seed`.
    #[must_use]
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed) }
    }

    /// Dice of their own for one part of the simulation, so that a question
    /// more in one part does not change the answers in another.
    #[must_use]
    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.rng.u64(..))
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.rng.u64(..)
    }

    /// A number of `low..=high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.u64(low..=high)
    }

    /// A length of time of `low..=high`.
    pub(super) fn millis(&mut self, low: u64, high: u64) -> Millis {
        Millis(self.rng.u64(low..=high))
    }

    /// Mostly short, seldom up to `high`: each doubling is half as likely.
    pub(super) fn mostly_short(&mut self, low: u64, high: u64) -> Millis {
        let span = high.saturating_sub(low).max(1);
        let halvings = self.rng.u32(0..=u64::BITS - span.leading_zeros());
        Millis(low + self.rng.u64(0..=(span >> halvings)))
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        percent > 0 && self.rng.u64(0..100) < percent
    }

    /// An index below `count`, which is not zero.
    pub(super) fn index(&mut self, count: usize) -> usize {
        self.rng.usize(0..count)
    }

    /// One of several.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_falls_the_same_way() {
        let mut one = Dice::new(7);
        let mut two = Dice::new(7);
        let answers =
            |dice: &mut Dice| (dice.number(), dice.between(3, 9), dice.mostly_short(1, 5_000), dice.percent(50));
        for _ in 0..100 {
            assert_eq!(answers(&mut one), answers(&mut two));
        }
    }
}
