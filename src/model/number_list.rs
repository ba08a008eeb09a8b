//! The numbers of an array's tasks where they are not one range: `--array 1,3,7-9`.
//!
//! Invariant: there is at least one range, and ranges ascend without overlap. A list costs what its ranges cost,
//! however many numbers they hold. A number's position is its place among all numbers of the list, from 0.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::IntervalSet;
use super::compact::{as_array, number_ranges};
use super::limits::{MAX_NUMBER_RANGES, MAX_TASKS_PER_JOB};

/// Numbers at one distance: `first`, `first + step`, … `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberRange {
    /// The least number.
    pub first: u64,
    /// The greatest number: a whole number of steps above `first`.
    pub last: u64,
    /// The distance between neighbours, at least 1.
    pub step: u64,
}
as_array!(NumberRange { first, last, step });

impl NumberRange {
    /// `first`, `first + step`, … as far as `limit`; `None` when `limit` is below `first` or `step` is 0.
    #[must_use]
    pub fn new(first: u64, limit: u64, step: u64) -> Option<Self> {
        let steps = limit.checked_sub(first)?.checked_div(step)?;
        Some(Self { first, last: first + steps * step, step })
    }

    fn is_sound(&self) -> bool {
        Self::new(self.first, self.last, self.step) == Some(*self)
    }

    /// How many numbers; as many as can be counted when there are more.
    #[must_use]
    pub fn count(&self) -> u64 {
        ((self.last - self.first) / self.step).saturating_add(1)
    }

    fn numbers(self) -> impl Iterator<Item = u64> {
        (0..self.count()).map(move |place| self.first + place * self.step)
    }
}

/// Why ranges make no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberListError {
    /// No range at all.
    #[error("a list without numbers")]
    Empty,
    /// More ranges than a list may have.
    #[error("a list of {0} ranges, {MAX_NUMBER_RANGES} are the most")]
    TooManyRanges(usize),
    /// More numbers than a job may have tasks, those that ranges share counted in each.
    #[error("a list of {0} numbers, {MAX_TASKS_PER_JOB} are the most")]
    TooManyNumbers(u64),
    /// They do not ascend, overlap, or end between two steps.
    #[error("ranges that do not ascend")]
    Unordered,
}

/// Numbers in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberList {
    ranges: Vec<NumberRange>,
    /// The position of the first number of each range.
    starts: Vec<u64>,
}

impl NumberList {
    /// The numbers of one range.
    #[must_use]
    pub fn of_range(range: NumberRange) -> Self {
        Self { ranges: vec![range], starts: vec![0] }
    }

    /// Ranges that ascend without overlap.
    ///
    /// # Errors
    /// When they do not, or there are none, or more of them or of their numbers than a job may have.
    pub fn new(ranges: Vec<NumberRange>) -> Result<Self, NumberListError> {
        if ranges.len() > MAX_NUMBER_RANGES {
            return Err(NumberListError::TooManyRanges(ranges.len()));
        }
        let ascend = ranges.windows(2).all(|pair| pair[0].last < pair[1].first);
        if !ascend || !ranges.iter().all(NumberRange::is_sound) {
            return Err(NumberListError::Unordered);
        }
        let mut starts = Vec::with_capacity(ranges.len());
        let mut count = 0u64;
        for range in &ranges {
            starts.push(count);
            count = count.saturating_add(range.count());
        }
        match count {
            0 => Err(NumberListError::Empty),
            1..=MAX_TASKS_PER_JOB => Ok(Self { ranges, starts }),
            more => Err(NumberListError::TooManyNumbers(more)),
        }
    }

    /// The numbers of ranges in any order. One that is in several of them is in the list once.
    ///
    /// # Errors
    /// When there are none, or more ranges or numbers than a job may have.
    pub fn union(mut ranges: Vec<NumberRange>) -> Result<Self, NumberListError> {
        ranges.sort_unstable_by_key(|range| (range.first, range.last, range.step));
        ranges.dedup();
        let mut disjoint: Vec<NumberRange> = Vec::new();
        let mut rest = &ranges[..];
        while let Some(range) = rest.first() {
            let (mut end, mut together) = (range.last, 1);
            while let Some(next) = rest.get(together).filter(|next| next.first <= end) {
                end = end.max(next.last);
                together += 1;
            }
            let (overlapping, others) = rest.split_at(together);
            merge(overlapping, end, &mut disjoint)?;
            rest = others;
        }
        let mut joined: Vec<NumberRange> = Vec::with_capacity(disjoint.len());
        for range in disjoint {
            match joined.last_mut() {
                Some(before) if before.step == 1 && range.step == 1 && before.last + 1 == range.first => {
                    before.last = range.last;
                }
                _ => joined.push(range),
            }
        }
        Self::new(joined)
    }

    /// Its ranges.
    #[must_use]
    pub fn ranges(&self) -> &[NumberRange] {
        &self.ranges
    }

    /// How many numbers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0) + self.ranges.last().map_or(0, NumberRange::count)
    }

    /// The greatest number.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.last)
    }

    /// The number at `position`; behind the last one, what the last range would go on with.
    #[must_use]
    pub fn at(&self, position: u64) -> u64 {
        let place = self.starts.partition_point(|start| *start <= position).saturating_sub(1);
        let (Some(range), Some(start)) = (self.ranges.get(place), self.starts.get(place)) else { return 0 };
        range.first.saturating_add((position - start).saturating_mul(range.step))
    }

    /// The position of `number`, when it is in the list.
    #[must_use]
    pub fn position_of(&self, number: u64) -> Option<u64> {
        let position = self.count_up_to(number).checked_sub(1)?;
        (self.at(position) == number).then_some(position)
    }

    /// How many numbers are not above `number`: the position of the first one that is.
    #[must_use]
    pub fn count_up_to(&self, number: u64) -> u64 {
        let place = self.ranges.partition_point(|range| range.first <= number);
        let Some(place) = place.checked_sub(1) else { return 0 };
        let (range, start) = (self.ranges[place], self.starts[place]);
        start + (number.min(range.last) - range.first) / range.step + 1
    }

    /// The numbers at some positions of this list.
    ///
    /// # Errors
    /// When there are none, or they lie in more ranges than a list may have.
    pub fn at_positions(&self, positions: &IntervalSet) -> Result<Self, NumberListError> {
        let mut ranges = Vec::new();
        for (mut first, last) in positions.ranges() {
            let last = last.min(self.count().saturating_sub(1));
            while first <= last {
                let place = self.starts.partition_point(|start| *start <= first).saturating_sub(1);
                let end = self.starts.get(place + 1).map_or(last, |next| last.min(next - 1));
                let step = if first == end { 1 } else { self.ranges[place].step };
                ranges.extend(NumberRange::new(self.at(first), self.at(end), step));
                first = end + 1;
            }
        }
        Self::new(ranges)
    }
}

/// Adds ranges that overlap, in order of their first numbers and up to `end`, as ranges that do not.
fn merge(overlapping: &[NumberRange], end: u64, disjoint: &mut Vec<NumberRange>) -> Result<(), NumberListError> {
    let first = overlapping.first().map_or(0, |range| range.first);
    if let [range] = overlapping {
        disjoint.push(*range);
    } else if overlapping.iter().all(|range| range.step == 1 || range.first == range.last) {
        disjoint.extend(NumberRange::new(first, end, 1));
    } else {
        let count = overlapping.iter().fold(0, |count: u64, range| count.saturating_add(range.count()));
        if count > MAX_TASKS_PER_JOB {
            return Err(NumberListError::TooManyNumbers(count));
        }
        let mut numbers: Vec<u64> = overlapping.iter().flat_map(|range| range.numbers()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        compress(&numbers, disjoint);
    }
    Ok(())
}

/// Adds ascending numbers as ranges: neighbours, and three or more at any other distance, are one.
fn compress(mut numbers: &[u64], ranges: &mut Vec<NumberRange>) {
    while let Some(&first) = numbers.first() {
        let step = numbers.get(1).map_or(1, |second| second - first);
        let run = numbers.windows(2).take_while(|pair| pair[1] - pair[0] == step).count() + 1;
        let run = if step == 1 || run > 2 { run } else { 1 };
        let step = if run == 1 { 1 } else { step };
        ranges.extend(NumberRange::new(first, numbers[run - 1], step));
        numbers = &numbers[run..];
    }
}

impl std::fmt::Display for NumberList {
    /// As it is typed: `1,3,7-9,20-30:5`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, range) in self.ranges.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let NumberRange { first, last, step } = range;
            match step {
                _ if first == last => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first}-{last}")?,
                step => write!(f, "{comma}{first}-{last}:{step}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for NumberList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ranges.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NumberList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(number_ranges(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(first: u64, last: u64, step: u64) -> NumberRange {
        NumberRange::new(first, last, step).expect("a range")
    }

    fn shown(ranges: &[(u64, u64, u64)]) -> String {
        let ranges = ranges.iter().map(|(first, last, step)| range(*first, *last, *step)).collect();
        NumberList::union(ranges).expect("a list").to_string()
    }

    #[test]
    fn ranges_in_any_order_are_one_ascending_list_with_each_number_once() {
        assert_eq!(shown(&[(7, 9, 1), (3, 3, 1), (1, 1, 1)]), "1,3,7-9");
        assert_eq!(shown(&[(1, 3, 1), (2, 5, 1), (4, 4, 1), (1, 3, 1)]), "1-5");
        assert_eq!(shown(&[(1, 9, 2), (20, 20, 1)]), "1-9:2,20");
        assert_eq!(shown(&[(1, 9, 2), (2, 10, 2)]), "1-10", "they interleave");
        assert_eq!(shown(&[(0, 10, 5), (5, 6, 1)]), "0,5-6,10");
        assert_eq!(shown(&[(u64::MAX, u64::MAX, 1), (0, 0, 1)]), format!("0,{}", u64::MAX));
    }

    #[test]
    fn a_list_costs_its_ranges_and_not_its_numbers() {
        let list = NumberList::union(vec![range(1, 4_000_000, 1), range(9_000_000, 9_000_000, 1)]).expect("a list");
        assert_eq!((list.ranges().len(), list.count()), (2, 4_000_001));
        assert_eq!((list.at(4_000_000), list.position_of(9_000_000)), (9_000_000, Some(4_000_000)));
        let wide = vec![range(0, u64::MAX, 2), range(1, u64::MAX, 3)];
        assert!(matches!(NumberList::union(wide), Err(NumberListError::TooManyNumbers(_))), "before it is expanded");
        assert!(matches!(NumberList::new(vec![range(0, u64::MAX, 1)]), Err(NumberListError::TooManyNumbers(_))));
        let many = (0..=MAX_NUMBER_RANGES as u64).map(|number| range(number * 2, number * 2, 1)).collect();
        assert!(matches!(NumberList::new(many), Err(NumberListError::TooManyRanges(_))));
    }

    #[test]
    fn a_list_from_a_peer_is_checked() {
        let read = |ranges: &[(u64, u64, u64)]| {
            let mut bytes = Vec::new();
            ciborium::into_writer(ranges, &mut bytes).expect("encodes");
            ciborium::from_reader::<NumberList, _>(&bytes[..])
        };
        assert_eq!(read(&[(1, 1, 1), (3, 9, 3)]).expect("a list").to_string(), "1,3-9:3");
        let bad: [&[(u64, u64, u64)]; 6] =
            [&[], &[(2, 1, 1)], &[(1, 2, 0)], &[(1, 4, 2)], &[(1, 5, 1), (5, 6, 1)], &[(7, 7, 1), (1, 1, 1)]];
        for ranges in bad {
            assert!(read(ranges).is_err(), "{ranges:?}");
        }
    }

    proptest! {
        #[test]
        fn a_list_is_the_set_of_its_numbers(
            given in proptest::collection::vec((0u64..40, 0u64..30, 1u64..6), 1..8),
            kept in proptest::collection::btree_set(0u64..60, 1..30),
        ) {
            let ranges: Vec<_> = given.iter().map(|(first, more, step)| range(*first, first + more, *step)).collect();
            let set: BTreeSet<u64> = ranges.iter().flat_map(|range| range.numbers()).collect();
            let list = NumberList::union(ranges).expect("a list");
            let numbers: Vec<u64> = (0..list.count()).map(|position| list.at(position)).collect();
            prop_assert_eq!(&numbers, &set.iter().copied().collect::<Vec<_>>());
            for number in 0..80 {
                let below = set.range(..=number).count() as u64;
                prop_assert_eq!(list.count_up_to(number), below);
                prop_assert_eq!(list.position_of(number), set.contains(&number).then(|| below - 1));
            }
            let chosen: Vec<u64> = kept.iter().filter_map(|position| numbers.get(*position as usize).copied()).collect();
            match list.at_positions(&kept.into_iter().collect()) {
                Ok(part) => prop_assert_eq!((0..part.count()).map(|at| part.at(at)).collect::<Vec<_>>(), chosen),
                Err(error) => prop_assert_eq!((error, chosen.len()), (NumberListError::Empty, 0)),
            }
        }
    }
}
