//! The items of an array: which task indices a job has, and what each stands for.

use serde::{Deserialize, Serialize};

use super::compact::inputs;
use super::number_list::NumberListError;
use super::{Combination, IntervalSet, ItemList, NumberList, NumberRange, RawString, TaskIndex};

/// What a job ranges over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Items {
    /// One task, index 0, no item.
    Single,
    /// `--array FIRST-LAST[:STEP]`: tasks numbered by their value.
    Range {
        /// First value.
        first: u64,
        /// Greatest value allowed; the last task is the greatest `first + k * step` within it.
        last: u64,
        /// Distance between values, at least 1.
        step: u64,
    },
    /// `--array 1,3,7-9`: tasks numbered by their value.
    Numbers(NumberList),
    /// `:::` or `--each-line`: tasks numbered from 1.
    List(ItemList),
    /// Several `:::`: every combination of their items, numbered from 1.
    Combined(Combination),
    /// Some tasks of a list or of a combination, under the numbers and with the items that they have there: what
    /// `--resume` leaves.
    Subset {
        /// Their numbers.
        numbers: NumberList,
        /// The whole: a [`Items::List`] or [`Items::Combined`] that has all of these numbers.
        of: Box<Items>,
    },
    /// One task of a list, under the number and with the item that it has there. Users cannot ask for it.
    One {
        /// Its number.
        index: TaskIndex,
        /// Its item: one of each list.
        #[serde(deserialize_with = "inputs")]
        parts: Vec<RawString>,
    },
}

/// What one task of an array is about: an item of each list that its job ranges over, which is one as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item(Vec<RawString>);

impl Item {
    /// An item of one list.
    #[must_use]
    pub fn of(item: RawString) -> Self {
        Self(vec![item])
    }

    /// The same item of each of `lists` lists.
    #[must_use]
    pub fn repeated(item: &RawString, lists: usize) -> Self {
        Self(vec![item.clone(); lists.max(1)])
    }

    /// One of each list; never empty.
    #[must_use]
    pub fn parts(&self) -> &[RawString] {
        &self.0
    }

    /// All of them with a space between.
    #[must_use]
    pub fn joined(&self) -> RawString {
        let parts: Vec<&[u8]> = self.0.iter().map(RawString::as_bytes).collect();
        RawString(parts.join(&b' '))
    }
}

impl Items {
    /// Number of tasks.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Single | Self::One { .. } => 1,
            Self::Range { first, last, step } if first <= last => ((last - first) / (*step).max(1)).saturating_add(1),
            Self::Range { .. } => 0,
            Self::Numbers(numbers) | Self::Subset { numbers, .. } => numbers.count(),
            Self::List(items) => items.len() as u64,
            Self::Combined(combination) => combination.count(),
        }
    }

    /// From how many lists a task has an item.
    #[must_use]
    pub fn lists(&self) -> usize {
        match self {
            Self::Single => 0,
            Self::Range { .. } | Self::Numbers(_) | Self::List(_) => 1,
            Self::Combined(combination) => combination.lists().count(),
            Self::Subset { of, .. } => of.lists(),
            Self::One { parts, .. } => parts.len(),
        }
    }

    /// Bytes of all items.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Single | Self::Range { .. } | Self::Numbers(_) => 0,
            Self::Subset { of, .. } => of.byte_count(),
            Self::List(items) => items.byte_count(),
            Self::Combined(combination) => combination.lists().map(ItemList::byte_count).sum(),
            Self::One { parts, .. } => parts.iter().map(RawString::len).sum(),
        }
    }

    /// Whether `index` is one of this job's tasks.
    #[must_use]
    pub fn contains(&self, index: TaskIndex) -> bool {
        match self {
            Self::Single => index.0 == 0,
            Self::Range { first, last, step } => {
                (*first..=*last).contains(&index.0) && (index.0 - first).is_multiple_of((*step).max(1))
            }
            Self::Numbers(numbers) | Self::Subset { numbers, .. } => numbers.position_of(index.0).is_some(),
            Self::List(_) | Self::Combined(_) => (1..=self.count()).contains(&index.0),
            Self::One { index: only, .. } => index == *only,
        }
    }

    /// All task positions as a dense set `0..count`; one range whatever the step.
    #[must_use]
    pub fn positions(&self) -> IntervalSet {
        match self.count() {
            0 => IntervalSet::new(),
            count => IntervalSet::from_range(0, count - 1),
        }
    }

    /// The index of the task at dense `position` (`0..count`).
    #[must_use]
    pub fn index_at(&self, position: u64) -> TaskIndex {
        TaskIndex(match self {
            Self::Single => 0,
            Self::Range { first, step, .. } => first.saturating_add(position.saturating_mul((*step).max(1))),
            Self::Numbers(numbers) | Self::Subset { numbers, .. } => numbers.at(position),
            Self::List(_) | Self::Combined(_) => position.saturating_add(1),
            Self::One { index, .. } => index.0,
        })
    }

    /// The task of `index` alone, with its number and item.
    #[must_use]
    pub fn only(&self, index: TaskIndex) -> Self {
        match self {
            Self::Single => Self::Single,
            Self::Range { .. } | Self::Numbers(_) => Self::Range { first: index.0, last: index.0, step: 1 },
            Self::List(_) | Self::Combined(_) | Self::Subset { .. } | Self::One { .. } => {
                let parts = self.item(index).map(|item| item.0).unwrap_or_default();
                Self::One { index, parts }
            }
        }
    }

    /// Tasks numbered by their values.
    #[must_use]
    pub fn numbered(numbers: NumberList) -> Self {
        match numbers.ranges() {
            [NumberRange { first, last, step }] => Self::Range { first: *first, last: *last, step: *step },
            _ => Self::Numbers(numbers),
        }
    }

    /// The tasks at these positions alone, with their numbers and items.
    ///
    /// # Errors
    /// When there are none, or their numbers lie in more ranges than a job may have.
    pub fn at_positions(self, positions: &IntervalSet) -> Result<Self, NumberListError> {
        let range = |first, limit, step| NumberRange::new(first, limit, step).ok_or(NumberListError::Empty);
        let part = |whole: NumberList| whole.at_positions(positions);
        match self {
            Self::Single | Self::One { .. } => Ok(self),
            Self::Range { first, last, step } => {
                part(NumberList::of_range(range(first, last, step)?)).map(Self::numbered)
            }
            Self::Numbers(numbers) => part(numbers).map(Self::numbered),
            Self::Subset { numbers, of } => Ok(Self::Subset { numbers: part(numbers)?, of }),
            Self::List(_) | Self::Combined(_) => {
                let numbers = part(NumberList::of_range(range(1, self.count(), 1)?))?;
                Ok(Self::Subset { numbers, of: Box::new(self) })
            }
        }
    }

    /// The dense position of `index`, when it is one of this job's tasks.
    #[must_use]
    pub fn position_of(&self, index: TaskIndex) -> Option<u64> {
        if let Self::Numbers(numbers) | Self::Subset { numbers, .. } = self {
            return numbers.position_of(index.0);
        }
        self.contains(index).then(|| match self {
            Self::Range { first, step, .. } => (index.0 - first) / (*step).max(1),
            Self::List(_) | Self::Combined(_) => index.0 - 1,
            _ => 0,
        })
    }

    /// The item of `index`: its line, its number in a range, or its combination; `None` for a single task.
    #[must_use]
    pub fn item(&self, index: TaskIndex) -> Option<Item> {
        let place = index.0.checked_sub(1);
        let parts = match self {
            Self::Single => return None,
            Self::Range { .. } | Self::Numbers(_) => {
                return self.contains(index).then(|| Item::of(index.0.to_string().into()));
            }
            Self::Subset { numbers, of } => return numbers.position_of(index.0).and_then(|_| of.item(index)),
            Self::One { index: only, parts } => return (index == *only).then(|| Item(parts.clone())),
            Self::List(items) => vec![items.get(usize::try_from(place?).ok()?)?],
            Self::Combined(combination) => combination.at(place?)?,
        };
        Some(Item(parts.into_iter().map(|part| part.to_vec().into()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_range_numbers_its_tasks_by_their_values() {
        let items = Items::Range { first: 10, last: 20, step: 4 };
        let indices: Vec<_> = (0..items.count()).map(|position| items.index_at(position).0).collect();
        assert_eq!(indices, [10, 14, 18]);
        assert_eq!(items.position_of(TaskIndex(14)), Some(1));
        assert_eq!(items.position_of(TaskIndex(15)), None);
        assert_eq!(items.item(TaskIndex(18)), Some(Item::of("18".into())));
    }

    #[test]
    fn some_tasks_of_an_array_keep_their_numbers_and_items() {
        let list = Items::List(["a", "b", "c", "d"].map(RawString::from).into_iter().collect());
        let range = Items::Range { first: 10, last: 40, step: 10 };
        let positions: IntervalSet = [0, 2, 3].into_iter().collect();
        for (whole, numbers) in [(list, [1, 3, 4]), (range, [10, 30, 40])] {
            let part = whole.clone().at_positions(&positions).expect("some tasks");
            let indices: Vec<u64> = (0..part.count()).map(|position| part.index_at(position).0).collect();
            assert_eq!(indices, numbers);
            for (position, number) in (0..).zip(numbers) {
                let index = TaskIndex(number);
                assert_eq!((part.position_of(index), part.contains(index)), (Some(position), true));
                assert_eq!(part.item(index), whole.item(index));
                assert_eq!(part.only(index).item(index), whole.item(index));
            }
            let gone = whole.index_at(1);
            assert_eq!((part.item(gone), part.position_of(gone), part.contains(gone)), (None, None, false));
            assert_eq!(part.at_positions(&IntervalSet::from_range(1, 1)).expect("one").index_at(0).0, numbers[1]);
        }
    }
}
