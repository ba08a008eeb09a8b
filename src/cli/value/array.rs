//! `--array 1-100`, `1,3,7-9`, `0-90:10%4`: which tasks an array has and how many of them may run at once.

use super::{ValueError, count};
use crate::model::limits::{MAX_TASK_INDEX, MAX_TASKS_PER_JOB};
use crate::model::number_list::NumberListError;
use crate::model::{Items, NumberList, NumberRange};

/// What `--array` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArrayRange {
    /// The tasks.
    pub(crate) items: Items,
    /// `%MAX`.
    pub(crate) max_concurrent: Option<u32>,
}

/// Numbers and ranges separated by commas, in any order: `1-100`, `0-10:2`, `1,3,7-9`. One that is named twice is one
/// task. `%4` behind them all is the bound.
pub(crate) fn array(text: &str) -> Result<ArrayRange, ValueError> {
    let (numbers, max_concurrent) = match text.split_once('%') {
        Some((numbers, max)) => (numbers, Some(super::count_u32(max, 1).map_err(no_range)?)),
        None => (text, None),
    };
    let ranges = numbers.split(',').map(range).collect::<Result<_, _>>()?;
    let numbers = NumberList::union(ranges).map_err(|error| match error {
        NumberListError::TooManyNumbers(count) => ValueError::TooManyTasks { count, most: MAX_TASKS_PER_JOB },
        _ => ValueError::NotRange,
    })?;
    Ok(ArrayRange { items: Items::numbered(numbers), max_concurrent })
}

/// `7`, `1-100` or `0-10:2`.
fn range(text: &str) -> Result<NumberRange, ValueError> {
    let number = |digits: &str| count(digits, 0, MAX_TASK_INDEX).map_err(no_range);
    let (ends, step) = match text.split_once(':') {
        Some((ends, step)) => (ends, number(step)?),
        None => (text, 1),
    };
    let (first, last) = match ends.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ends)?, number(ends)?),
    };
    if first > last {
        return Err(ValueError::Backwards);
    }
    NumberRange::new(first, last, step).ok_or(ValueError::NotRange)
}

fn no_range(error: ValueError) -> ValueError {
    if error == ValueError::NotWhole { ValueError::NotRange } else { error }
}

/// How many tasks of a job may run at once.
pub(crate) fn at_most(text: &str) -> Result<u32, ValueError> {
    let number = text.trim_start_matches(['+', '-']).trim_end_matches('%');
    if number.len() < text.len() && number.parse::<f64>().is_ok() {
        return Err(ValueError::ShareOfCores);
    }
    match super::count_u32(text, 0)? {
        0 => Err(ValueError::NoneAtOnce),
        most => Ok(most),
    }
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
        assert_eq!(array("0-11:2"), range(0, 10, 2, None));
        assert_eq!(array("1-100%4"), range(1, 100, 1, Some(4)));
        assert_eq!(array("1-100:5%4"), range(1, 96, 5, Some(4)));
        assert_eq!(array("7"), range(7, 7, 1, None));
        assert_eq!(array("1-1000000"), range(1, 1_000_000, 1, None));
    }

    #[test]
    fn a_list_names_each_task_once_in_ascending_order() {
        let listed = |text: &str| match array(text).expect("a list") {
            ArrayRange { items: Items::Numbers(numbers), max_concurrent } => (numbers.to_string(), max_concurrent),
            other => panic!("no list: {other:?}"),
        };
        assert_eq!(listed("1,3,7-9"), ("1,3,7-9".to_owned(), None));
        assert_eq!(listed("20,1-9:2,7-9,3%2"), ("1-7:2,8-9,20".to_owned(), Some(2)));
        assert_eq!(array("3,1-2,2"), range(1, 3, 1, None));
        assert_eq!(array("7-9,5-1"), Err(ValueError::Backwards));
        assert!(matches!(
            array("1-9000000,20000000-29000000"),
            Err(ValueError::TooManyTasks { count: 18_000_001, .. })
        ));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "", "-", "1-", "-5", "a-b", "1-5:0", "1-5:", "1-5%", "1-5%x", "1-5%2:2", "1--5", "1,", ",1", "1,,2",
            "1, 2", "1%2,3", "1-3-5", "+1", "1..5",
        ] {
            assert_eq!(array(text), Err(ValueError::NotRange), "{text:?}");
        }
        assert_eq!(array("5-1"), Err(ValueError::Backwards));
        assert_eq!(array("1-5%0"), Err(ValueError::TooSmall("1".into())));
        assert!(matches!(array("1-100000000"), Err(ValueError::TooManyTasks { .. })));
        assert!(matches!(array("1-99999999999999999999"), Err(ValueError::TooLarge(_))));
    }

    #[test]
    fn a_bound_is_a_number_of_tasks_and_no_share_of_a_machine() {
        assert_eq!((at_most("1"), at_most("500")), (Ok(1), Ok(500)));
        assert_eq!((at_most("0"), at_most("00")), (Err(ValueError::NoneAtOnce), Err(ValueError::NoneAtOnce)));
        for share in ["50%", "+2", "-1", "-25%", "0.5%"] {
            assert_eq!(at_most(share), Err(ValueError::ShareOfCores), "{share}");
        }
        for text in ["", "%", "+", "many", "2.5", "1e3", "4 "] {
            assert_eq!(at_most(text), Err(ValueError::NotWhole), "{text:?}");
        }
        assert!(matches!(at_most("99999999999"), Err(ValueError::TooLarge(_))));
    }
}
