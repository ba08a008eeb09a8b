//! The items of an array: which task indices a job has, and what each stands for.

use serde::{Deserialize, Serialize};

use super::{IntervalSet, ItemList, RawString, TaskIndex};

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
}

impl Items {
    /// Number of tasks.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Single => 1,
            Self::Range { first, last, step } if first <= last => ((last - first) / (*step).max(1)).saturating_add(1),
            Self::Range { .. } => 0,
            Self::List(items) => items.len() as u64,
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
            Self::List(items) => index.0 >= 1 && index.0 <= items.len() as u64,
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
            Self::List(_) => position + 1,
        })
    }

    /// The dense position of `index`, when it is one of this job's tasks.
    #[must_use]
    pub fn position_of(&self, index: TaskIndex) -> Option<u64> {
        self.contains(index).then(|| match self {
            Self::Single => 0,
            Self::Range { first, step, .. } => (index.0 - first) / (*step).max(1),
            Self::List(_) => index.0 - 1,
        })
    }

    /// The item of `index`: its line, or its number in a range; `None` for a single task.
    #[must_use]
    pub fn item(&self, index: TaskIndex) -> Option<RawString> {
        match self {
            Self::Single => None,
            Self::Range { .. } => self.contains(index).then(|| index.0.to_string().into()),
            Self::List(items) => usize::try_from(index.0.checked_sub(1)?)
                .ok()
                .and_then(|i| items.get(i))
                .map(|item| item.to_vec().into()),
        }
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
        assert_eq!(items.item(TaskIndex(18)), Some("18".into()));
    }
}
