//! `--array FIRST-LAST[:STEP][%MAX]`: which tasks an array has and how many of
//! them may run at once.

use super::{ValueError, count};
use crate::model::Items;
use crate::model::limits::{MAX_TASK_INDEX, MAX_TASKS_PER_JOB};

/// What `--array` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArrayRange {
    /// The tasks.
    pub(crate) items: Items,
    /// `%MAX`.
    pub(crate) max_concurrent: Option<u32>,
}

/// `1-100`, `0-10:2`, `1-100%4`, `1-100:5%4`, or one number for an array of one task.
pub(crate) fn array(text: &str) -> Result<ArrayRange, ValueError> {
    let number = |digits: &str| {
        count(digits, 0, MAX_TASK_INDEX).map_err(|error| match error {
            ValueError::NotWhole => ValueError::NotRange,
            other => other,
        })
    };
    let (range, max_concurrent) = match text.split_once('%') {
        Some((range, max)) => {
            let max = super::count_u32(max, 1).map_err(|error| match error {
                ValueError::NotWhole => ValueError::NotRange,
                other => other,
            })?;
            (range, Some(max))
        }
        None => (text, None),
    };
    let (ends, step) = match range.split_once(':') {
        Some((ends, step)) => (ends, number(step)?),
        None => (range, 1),
    };
    if step == 0 {
        return Err(ValueError::NotRange);
    }
    let (first, last) = match ends.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ends)?, number(ends)?),
    };
    if first > last {
        return Err(ValueError::Backwards);
    }
    let items = Items::Range { first, last, step };
    if items.count() > MAX_TASKS_PER_JOB {
        return Err(ValueError::TooManyTasks { count: items.count(), most: MAX_TASKS_PER_JOB });
    }
    Ok(ArrayRange { items, max_concurrent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64, step: u64, max: Option<u32>) -> Result<ArrayRange, ValueError> {
        Ok(ArrayRange { items: Items::Range { first, last, step }, max_concurrent: max })
    }

    #[test]
    fn an_array_has_ends_perhaps_a_step_and_perhaps_a_bound() {
        assert_eq!(array("1-100"), range(1, 100, 1, None));
        assert_eq!(array("0-10:2"), range(0, 10, 2, None));
        assert_eq!(array("1-100%4"), range(1, 100, 1, Some(4)));
        assert_eq!(array("1-100:5%4"), range(1, 100, 5, Some(4)));
        assert_eq!(array("7"), range(7, 7, 1, None));
        assert_eq!(array("1-1000000"), range(1, 1_000_000, 1, None));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "-", "1-", "-5", "a-b", "1-5:0", "1-5:", "1-5%", "1-5%x", "1,3", "1-5%2:2", "1--5"] {
            assert_eq!(array(text), Err(ValueError::NotRange), "{text:?}");
        }
        assert_eq!(array("5-1"), Err(ValueError::Backwards));
        assert_eq!(array("1-5%0"), Err(ValueError::TooSmall("1".into())));
        assert!(matches!(array("1-100000000"), Err(ValueError::TooManyTasks { .. })));
        assert!(matches!(array("1-99999999999999999999"), Err(ValueError::TooLarge(_))));
    }
}
