//! The fences of attempts that this worker was done with lately.
//!
//! Invariant: an attempt in here is not started (again), whatever arrives late
//! or twice. Bounded: a repeat comes soon or not at all, and a new start of the
//! worker makes the dispatcher forget what it said to the old one.

use std::collections::{BTreeSet, VecDeque};

use crate::model::Fence;
use crate::model::limits::MAX_BATCH;

/// Fences remembered: twice what can be held, so that a repeated full batch finds all of its own.
const CAPACITY: usize = 2 * MAX_BATCH;

/// A bounded memory of fences; the oldest goes first.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    order: VecDeque<Fence>,
    known: BTreeSet<Fence>,
}

impl Recent {
    /// Remembers `fence`.
    pub(super) fn remember(&mut self, fence: Fence) {
        if self.known.insert(fence) {
            self.order.push_back(fence);
        }
        while self.order.len() > CAPACITY {
            let oldest = self.order.pop_front();
            assert!(oldest.is_some_and(|fence| self.known.remove(&fence)), "the two halves of the memory differ");
        }
    }

    /// Whether `fence` is remembered.
    pub(super) fn knows(&self, fence: Fence) -> bool {
        self.known.contains(&fence)
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert!(self.order.len() <= CAPACITY, "{} fences are remembered", self.order.len());
        assert_eq!(self.order.len(), self.known.len(), "the two halves of the memory differ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let fence = |counter| Fence { epoch: Epoch(1), counter };
        let mut recent = Recent::default();
        for counter in 0..=CAPACITY as u64 {
            recent.remember(fence(counter));
            recent.remember(fence(counter));
        }
        recent.check();
        assert!(!recent.knows(fence(0)));
        assert!(recent.knows(fence(1)) && recent.knows(fence(CAPACITY as u64)));
    }
}
