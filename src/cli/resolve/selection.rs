//! Which jobs and tasks a client command means, and how much of them.

use std::ffi::OsString;

use super::{option, read};
use crate::cli::error::{CliError, Place};
use crate::cli::value::{self, ValueError};
use crate::model::limits::MAX_ROWS;
use crate::model::node::ME;
use crate::model::requests::OwnerFilter;
use crate::model::selector::{Part, Selector, SelectorError};
use crate::model::{AttemptNo, JobId, Millis, TaskId, TaskState};

/// What several `ID` arguments select together.
#[derive(Debug)]
pub(crate) enum Selection {
    /// This.
    Known(Selector),
    /// Tasks of the job submitted last, which only the dispatcher knows, and what stands beside them.
    OfLast(OfLast),
}

/// `last.3`, and what stands beside it.
#[derive(Debug)]
pub(crate) struct OfLast {
    parts: Vec<Part>,
    tasks: Vec<u64>,
}

impl OfLast {
    /// Whether it is one task.
    pub(crate) fn is_one(&self) -> bool {
        self.parts.len() + self.tasks.len() == 1
    }

    /// What it selects when this is the last job.
    pub(crate) fn within(self, last: JobId) -> Selector {
        let tasks = self.tasks.into_iter().map(|index| Part::Task(TaskId::new(last.0, index)));
        Selector::These(self.parts.into_iter().chain(tasks).collect())
    }
}

/// Reads all `ID` arguments.
pub(crate) fn selection(ids: &[OsString]) -> Result<Selection, CliError> {
    let mut tasks = Vec::new();
    let mut selectors = Vec::new();
    for id in ids {
        let (mut of_last, rest) = read(Place::Argument("ID"), id, |text| Ok(split_last(text)))?;
        tasks.append(&mut of_last);
        if let Some(rest) = rest {
            let selector = value::selector(&rest);
            selectors.push(selector.map_err(|error| CliError::value(Place::Argument("ID"), id, error))?);
        }
    }
    let bad = |error| {
        let joined = ids.join(std::ffi::OsStr::new(" "));
        CliError::value(Place::Argument("ID"), &joined, ValueError::Selector(error))
    };
    if tasks.is_empty() {
        return Selector::join(selectors).map(Selection::Known).map_err(bad);
    }
    // A keyword alone is none that stands alone here.
    selectors.push(Selector::These(Vec::new()));
    match Selector::join(selectors).map_err(bad)? {
        Selector::These(parts) if parts.len() + tasks.len() <= MAX_ROWS as usize => {
            Ok(Selection::OfLast(OfLast { parts, tasks }))
        }
        _ => Err(bad(SelectorError::TooMany)),
    }
}

/// The tasks of the last job among comma-separated parts, and the parts that are none.
fn split_last(text: &str) -> (Vec<u64>, Option<String>) {
    let (mut tasks, mut rest) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let digits = part.strip_prefix("last.").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(index) => tasks.push(index),
            None => rest.push(part),
        }
    }
    (tasks, (!rest.is_empty()).then(|| rest.join(",")))
}

/// `--state`; empty when it was not given.
pub(crate) fn states(given: Option<&OsString>) -> Result<Vec<TaskState>, CliError> {
    Ok(option("--state", given.map(OsString::as_os_str), value::states)?.unwrap_or_default())
}

/// `--owner`; `me` is the one that asks.
pub(crate) fn owner(given: Option<&OsString>) -> Result<Option<OwnerFilter>, CliError> {
    let name = option("--owner", given.map(OsString::as_os_str), value::node_name)?;
    Ok(name.map(|name| if name.as_str() == ME { OwnerFilter::Me } else { OwnerFilter::Named(name) }))
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

/// `--attempt`.
pub(crate) fn attempt(given: Option<&OsString>) -> Result<Option<AttemptNo>, CliError> {
    option("--attempt", given.map(OsString::as_os_str), |text: &str| value::count_u32(text, 1).map(AttemptNo))
}

/// `--timeout`.
pub(crate) fn timeout(given: Option<&OsString>) -> Result<Option<Millis>, CliError> {
    option("--timeout", given.map(OsString::as_os_str), value::duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[&str]) -> Result<String, CliError> {
        let selection = selection(&ids.iter().map(OsString::from).collect::<Vec<_>>())?;
        Ok(match selection {
            Selection::Known(selector) => selector.to_string(),
            Selection::OfLast(of_last) => of_last.within(JobId(9)).to_string(),
        })
    }

    #[test]
    fn several_ids_select_together() {
        assert_eq!(of(&["5", "1-3,7", "8.2"]).expect("a selection"), "5,1-3,7,8.2");
        assert_eq!(of(&["last"]).expect("a selection"), "last");
        assert_eq!(of(&["last.3"]).expect("a selection"), "9.3");
        assert_eq!(of(&["last.1,last.0", "4-5,last.2"]).expect("a selection"), "4-5,9.1,9.0,9.2");
    }

    #[test]
    fn a_bad_id_is_a_usage_error_that_shows_the_forms() {
        for ids in [
            &["x"][..],
            &["5", "all"],
            &["3-1"],
            &[""],
            &["last."],
            &["last.x"],
            &["last.1.2"],
            &["last.1", "all"],
            &["last", "last.1"],
        ] {
            let error = of(ids).expect_err("selects nothing");
            assert_eq!(error.exit_code(), 2);
            assert!(error.hint().is_some_and(|hint| hint.contains("1-3,7")), "{}", error.line());
        }
    }
}
