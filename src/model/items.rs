//! The items of an array: which task indices a job has, and what each stands for.

use serde::{Deserialize, Serialize};

use super::compact::inputs;
use super::{Combination, IntervalSet, ItemList, RawString, TaskIndex};

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
    /// `:::` or `--each-line`: tasks numbered from 1.
    List(ItemList),
    /// Several `:::`: every combination of their items, numbered from 1.
    Combined(Combination),
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
            Self::List(items) => items.len() as u64,
            Self::Combined(combination) => combination.count(),
        }
    }

    /// From how many lists a task has an item.
    #[must_use]
    pub fn lists(&self) -> usize {
        match self {
            Self::Single => 0,
            Self::Range { .. } | Self::List(_) => 1,
            Self::Combined(combination) => combination.lists().count(),
            Self::One { parts, .. } => parts.len(),
        }
    }

    /// Bytes of all items.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Single | Self::Range { .. } => 0,
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
            Self::List(_) | Self::Combined(_) => position.saturating_add(1),
            Self::One { index, .. } => index.0,
        })
    }

    /// The task of `index` alone, with its number and item.
    #[must_use]
    pub fn only(&self, index: TaskIndex) -> Self {
        match self {
            Self::Single => Self::Single,
            Self::Range { .. } => Self::Range { first: index.0, last: index.0, step: 1 },
            Self::List(_) | Self::Combined(_) | Self::One { .. } => {
                let parts = self.item(index).map(|item| item.0).unwrap_or_default();
                Self::One { index, parts }
            }
        }
    }

    /// The dense position of `index`, when it is one of this job's tasks.
    #[must_use]
    pub fn position_of(&self, index: TaskIndex) -> Option<u64> {
        self.contains(index).then(|| match self {
            Self::Single | Self::One { .. } => 0,
            Self::Range { first, step, .. } => (index.0 - first) / (*step).max(1),
            Self::List(_) | Self::Combined(_) => index.0 - 1,
        })
    }

    /// The item of `index`: its line, its number in a range, or its combination; `None` for a single task.
    #[must_use]
    pub fn item(&self, index: TaskIndex) -> Option<Item> {
        let place = index.0.checked_sub(1);
        let parts = match self {
            Self::Single => return None,
            Self::Range { .. } => return self.contains(index).then(|| Item::of(index.0.to_string().into())),
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
}
