//! A set of integers kept as disjoint ranges, so that a million-task array
//! costs what its gaps cost.
//!
//! Invariant: ranges are non-empty, disjoint, and never touch (two neighbours
//! that touch are one range).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A set of `u64`, stored as `start -> last` (both inclusive), ordered.
///
/// Insertion and removal of one value cost O(log ranges).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntervalSet {
    /// Keyed by a range's first value; the value is its last. A map rather
    /// than a list, because arrays end in random order and a list would shift.
    ranges: BTreeMap<u64, u64>,
}

impl IntervalSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All of `first..=last`; empty when `first > last`.
    #[must_use]
    pub fn from_range(first: u64, last: u64) -> Self {
        let mut set = Self::new();
        if first <= last {
            set.ranges.insert(first, last);
        }
        set
    }

    /// Number of values in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether no value is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of ranges: the cost of holding the set.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Whether `value` is in the set.
    #[must_use]
    pub fn contains(&self, value: u64) -> bool {
        self.ranges.range(..=value).next_back().is_some_and(|(_, last)| *last >= value)
    }

    /// Whether all of `first..=last` is in the set.
    #[must_use]
    pub fn contains_range(&self, first: u64, last: u64) -> bool {
        first > last || self.ranges.range(..=first).next_back().is_some_and(|(_, its_last)| *its_last >= last)
    }

    /// The smallest value.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.ranges.keys().next().copied()
    }

    /// The smallest value that is not below `value`.
    #[must_use]
    pub fn first_from(&self, value: u64) -> Option<u64> {
        if self.contains(value) {
            return Some(value);
        }
        self.ranges.range(value..).next().map(|(first, _)| *first)
    }

    /// Adds `value`; says whether it was new.
    pub fn insert(&mut self, value: u64) -> bool {
        let below = self.ranges.range(..=value).next_back().map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| last >= value) {
            return false;
        }
        let first = match below {
            Some((first, last)) if last + 1 == value => first,
            _ => value,
        };
        let last = match value.checked_add(1).and_then(|next| self.ranges.remove(&next)) {
            Some(last) => last,
            None => value,
        };
        self.ranges.insert(first, last);
        true
    }

    /// Removes `value`; says whether it was there.
    pub fn remove(&mut self, value: u64) -> bool {
        let Some((first, last)) = self.ranges.range(..=value).next_back().map(|(first, last)| (*first, *last)) else {
            return false;
        };
        if last < value {
            return false;
        }
        self.ranges.remove(&first);
        if first < value {
            self.ranges.insert(first, value - 1);
        }
        if value < last {
            self.ranges.insert(value + 1, last);
        }
        true
    }

    /// Adds all of `first..=last`; nothing when `first > last`. Costs what the ranges that it touches cost.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut start, mut end) = (first, last);
        while let Some((below, its_last)) =
            self.ranges.range(..=end.saturating_add(1)).next_back().map(|(a, b)| (*a, *b))
        {
            if its_last.saturating_add(1) < start {
                break;
            }
            self.ranges.remove(&below);
            start = start.min(below);
            end = end.max(its_last);
        }
        self.ranges.insert(start, end);
    }

    /// Removes all of `first..=last`; nothing when `first > last`. Costs what the ranges that it touches cost.
    pub fn remove_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        while let Some((below, its_last)) = self.ranges.range(..=last).next_back().map(|(a, b)| (*a, *b)) {
            if its_last < first {
                break;
            }
            self.ranges.remove(&below);
            if last < its_last {
                self.ranges.insert(last + 1, its_last);
            }
            if below < first {
                self.ranges.insert(below, first - 1);
                break;
            }
        }
    }

    /// Removes and returns the smallest value.
    pub fn pop_first(&mut self) -> Option<u64> {
        let (first, last) = self.ranges.pop_first()?;
        if first < last {
            self.ranges.insert(first + 1, last);
        }
        Some(first)
    }

    /// The ranges in order, each `(first, last)` inclusive.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges().flat_map(|(first, last)| first..=last)
    }
}

impl FromIterator<u64> for IntervalSet {
    fn from_iter<T: IntoIterator<Item = u64>>(values: T) -> Self {
        let mut set = Self::new();
        for value in values {
            set.insert(value);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_interval_set_behaves_like_a_plain_set(steps in proptest::collection::vec((any::<bool>(), 0u64..40), 0..200)) {
            let mut set = IntervalSet::new();
            let mut plain = BTreeSet::new();
            for (add, value) in steps {
                if add {
                    prop_assert_eq!(set.insert(value), plain.insert(value));
                } else {
                    prop_assert_eq!(set.remove(value), plain.remove(&value));
                }
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
                let ranges: Vec<_> = set.ranges().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "neighbours never touch");
                prop_assert_eq!(set.first_from(value), plain.range(value..).next().copied());
                let all = (value..value + 3).all(|value| plain.contains(&value));
                prop_assert_eq!(set.contains_range(value, value + 2), all);
            }
        }
    }

    proptest! {
        #[test]
        fn whole_ranges_behave_like_their_values(steps in proptest::collection::vec((any::<bool>(), 0u64..40, 0u64..40), 0..100)) {
            let mut set = IntervalSet::new();
            let mut plain = BTreeSet::new();
            for (add, first, last) in steps {
                if add {
                    set.insert_range(first, last);
                    plain.extend(first..=last);
                } else {
                    set.remove_range(first, last);
                    plain.retain(|value| !(first..=last).contains(value));
                }
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
                let ranges: Vec<_> = set.ranges().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "neighbours never touch");
            }
        }
    }

    #[test]
    fn a_million_tasks_are_one_range() {
        let mut set = IntervalSet::from_range(1, 1_000_000);
        assert_eq!((set.len(), set.range_count()), (1_000_000, 1));
        assert_eq!(set.pop_first(), Some(1));
        assert_eq!((set.len(), set.range_count()), (999_999, 1));
    }
}
