//! Which jobs and tasks a client command means, and how much of them.

use std::ffi::OsString;

use super::{option, read};
use crate::cli::error::{CliError, Place};
use crate::cli::value::{self, ValueError};
use crate::model::limits::MAX_ROWS;
use crate::model::selector::Selector;
use crate::model::{Millis, TaskState};

/// What several `ID` arguments select together.
pub(crate) fn selector(ids: &[OsString]) -> Result<Selector, CliError> {
    let each = ids.iter().map(|id| read(Place::Argument("ID"), id, value::selector));
    let joined = ids.join(std::ffi::OsStr::new(" "));
    Selector::join(each.collect::<Result<_, _>>()?)
        .map_err(|error| CliError::value(Place::Argument("ID"), &joined, ValueError::Selector(error)))
}

/// `--state`; empty when it was not given.
pub(crate) fn states(given: Option<&OsString>) -> Result<Vec<TaskState>, CliError> {
    Ok(option("--state", given.map(OsString::as_os_str), value::states)?.unwrap_or_default())
}

/// `--limit`; 0 when it was not given, which is the server's bound.
pub(crate) fn limit(given: Option<&OsString>) -> Result<u32, CliError> {
    let most = |text: &str| value::count_u32(text, 1).map(|rows| rows.min(MAX_ROWS));
    Ok(option("--limit", given.map(OsString::as_os_str), most)?.unwrap_or(0))
}

/// `--tail`.
pub(crate) fn tail(given: Option<&OsString>) -> Result<Option<usize>, CliError> {
    let lines = |text: &str| value::count_u32(text, 0).map(|lines| lines as usize);
    option("--tail", given.map(OsString::as_os_str), lines)
}

/// `--timeout`.
pub(crate) fn timeout(given: Option<&OsString>) -> Result<Option<Millis>, CliError> {
    option("--timeout", given.map(OsString::as_os_str), value::duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[&str]) -> Result<String, CliError> {
        selector(&ids.iter().map(OsString::from).collect::<Vec<_>>()).map(|selector| selector.to_string())
    }

    #[test]
    fn several_ids_select_together() {
        assert_eq!(of(&["5", "1-3,7", "8.2"]).expect("a selection"), "5,1-3,7,8.2");
        assert_eq!(of(&["last"]).expect("a selection"), "last");
    }

    #[test]
    fn a_bad_id_is_a_usage_error_that_shows_the_forms() {
        for ids in [&["x"][..], &["5", "all"], &["3-1"], &[""]] {
            let error = of(ids).expect_err("selects nothing");
            assert_eq!(error.exit_code(), 2);
            assert!(error.hint().is_some_and(|hint| hint.contains("1-3,7")), "{}", error.line());
        }
    }
}
