//! What a job ranges over: a range, lines, elements, or lists and their combinations.
//!
//! The one invariant: what comes out of here has tasks, and no more of them, and no more bytes, than a job may have.

use std::ffi::OsString;

use super::command::{ITEMS_FOLLOW, Linked, List};
use super::{intake, read};
use crate::cli::args::TaskArgs;
use crate::cli::error::{CliError, Place};
use crate::cli::value;
use crate::model::limits::MAX_LISTS;
use crate::model::limits::{MAX_ITEMS_BYTES, MAX_TASKS_PER_JOB};
use crate::model::{Axis, Combination, ItemList, Items, RawString};

/// What the job ranges over, and `%MAX`. `listed` stands behind the command.
pub(super) fn items(args: &TaskArgs, listed: Vec<Linked>) -> Result<(Items, Option<u32>), CliError> {
    let options = [
        ("--array", args.array.is_some()),
        ("--each-line", args.each_line.is_some()),
        ("--from-json", args.from_json.is_some()),
    ];
    if let (Some((option, _)), false) = (options.iter().find(|(_, is_given)| *is_given), listed.is_empty()) {
        return Err(CliError::Conflict(option, ITEMS_FOLLOW));
    }
    if let Some(range) = &args.array {
        let array = read(Place::Option("--array"), range, value::array)?;
        return Ok((array.items, array.max_concurrent));
    }
    let origin = |file: &OsString| file.to_string_lossy().into_owned();
    let (items, origin) = match (&args.each_line, &args.from_json) {
        (Some(file), _) => (Items::List(some(intake::lines(file, "--each-line")?, origin(file))?), origin(file)),
        (None, Some(file)) => (Items::List(some(intake::elements(file)?, origin(file))?), origin(file)),
        (None, None) if listed.is_empty() => return Ok((Items::Single, None)),
        (None, None) => (combined(listed)?, ITEMS_FOLLOW.to_owned()),
    };
    if items.count() > MAX_TASKS_PER_JOB {
        return Err(CliError::TooManyItems { origin, limit: format!("{MAX_TASKS_PER_JOB} tasks") });
    }
    if items.byte_count() > MAX_ITEMS_BYTES {
        return Err(CliError::TooManyItems { origin, limit: format!("{} MiB of items", MAX_ITEMS_BYTES >> 20) });
    }
    Ok((items, None))
}

/// A list that is not empty.
fn some(items: Vec<RawString>, origin: String) -> Result<ItemList, CliError> {
    if items.is_empty() { Err(CliError::NoItems(origin)) } else { Ok(items.into()) }
}

/// One list as it is, more as their combinations. Of lists that are linked the shortest decides, as in GNU parallel.
fn combined(listed: Vec<Linked>) -> Result<Items, CliError> {
    let too_many = || CliError::TooManyItems { origin: ITEMS_FOLLOW.to_owned(), limit: format!("{MAX_LISTS} lists") };
    if listed.iter().map(Vec::len).sum::<usize>() > MAX_LISTS {
        return Err(too_many());
    }
    let mut axes = Vec::new();
    for linked in listed {
        let mut lists = Vec::new();
        for list in linked {
            lists.push(match list {
                List::Words(items) => (items, ITEMS_FOLLOW.to_owned()),
                List::Lines(file) => (intake::lines(&file, "::::")?, file.to_string_lossy().into_owned()),
            });
        }
        let shortest = lists.iter().map(|(items, _)| items.len()).min().unwrap_or_default();
        let mut axis = Vec::new();
        for (mut items, origin) in lists {
            if items.is_empty() {
                return Err(CliError::NoItems(origin));
            }
            items.truncate(shortest);
            axis.push(ItemList::from(items));
        }
        axes.push(axis);
    }
    if let [axis] = &mut axes[..]
        && let [list] = &mut axis[..]
    {
        return Ok(Items::List(std::mem::take(list)));
    }
    let axes: Option<Vec<Axis>> = axes.into_iter().map(Axis::new).collect();
    Ok(Items::Combined(axes.and_then(Combination::new).ok_or_else(too_many)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskIndex;

    fn words(items: &[&str]) -> List {
        List::Words(items.iter().map(|item| RawString::from(*item)).collect())
    }

    fn tasks(listed: Vec<Linked>) -> Vec<String> {
        let (items, _) = items(&TaskArgs::default(), listed).expect("items");
        let item = |place| items.item(TaskIndex(place)).expect("an item").joined().to_string();
        (1..=items.count()).map(item).collect()
    }

    #[test]
    fn tasks_are_numbered_as_gnu_parallel_numbers_them() {
        let (letters, digits) = (words(&["a", "b"]), words(&["1", "2", "3"]));
        assert_eq!(
            tasks(vec![vec![letters.clone()], vec![digits.clone()]]),
            ["a 1", "a 2", "a 3", "b 1", "b 2", "b 3"]
        );
        assert_eq!(tasks(vec![vec![letters.clone(), digits.clone()]]), ["a 1", "b 2"], "the shortest list decides");
        let colours = words(&["red", "blue"]);
        assert_eq!(tasks(vec![vec![letters, digits], vec![colours]]), ["a 1 red", "a 1 blue", "b 2 red", "b 2 blue"]);
    }

    #[test]
    fn lines_of_files_are_combined_like_words() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("list");
        std::fs::write(&file, "x y\nz\n").expect("writes");
        let lines = List::Lines(file.into_os_string());
        assert_eq!(tasks(vec![vec![words(&["a", "b"])], vec![lines]]), ["a x y", "a z", "b x y", "b z"]);
    }

    #[test]
    fn more_combinations_or_lists_than_a_job_may_have_are_refused_before_they_are_made() {
        let thousand: Vec<RawString> = (0..1000).map(|number| number.to_string().into()).collect();
        let list = List::Words(thousand);
        let said = |listed| items(&TaskArgs::default(), listed).expect_err("too many").line();
        assert_eq!(said(vec![vec![list]; 3]), "::: names more than a job may have: 10000000 tasks");
        assert_eq!(said(vec![vec![words(&["a"]); 17]]), "::: names more than a job may have: 16 lists");
    }
}
