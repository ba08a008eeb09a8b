//! What a job ranges over: a range, lines, elements, or lists and their combinations.
//!
//! The one invariant: what comes out of here has no more tasks, and no more bytes, than a job may have. It may have no
//! task at all: an empty list is no error.

use std::ffi::OsString;

use super::command::{ITEMS_FOLLOW, Linked, List};
use super::intake::{self, ItemEnd};
use super::{option, read};
use crate::cli::args::TaskArgs;
use crate::cli::error::{CliError, Place};
use crate::cli::value;
use crate::model::limits::MAX_LISTS;
use crate::model::limits::{MAX_ITEMS_BYTES, MAX_TASKS_PER_JOB};
use crate::model::{Axis, Combination, ItemList, Items, RawString};

/// What a job ranges over.
pub(super) struct Ranged {
    pub(super) items: Items,
    /// `%MAX` or `--at-most`.
    pub(super) max_concurrent: Option<u32>,
    /// Where the items came from, as it was typed.
    pub(super) origin: String,
    /// They were read from our standard input, which has nothing more.
    pub(super) from_stdin: bool,
}

/// What the job ranges over. `listed` stands behind the command.
pub(super) fn items(args: &TaskArgs, listed: Vec<Linked>) -> Result<Ranged, CliError> {
    let options = [
        ("--array", args.array.is_some()),
        ("--each-line", args.each_line.is_some()),
        ("--from-json", args.from_json.is_some()),
    ];
    if let (Some((option, _)), false) = (options.iter().find(|(_, is_given)| *is_given), listed.is_empty()) {
        return Err(CliError::Conflict(option, ITEMS_FOLLOW));
    }
    let files: Vec<&OsString> = listed.iter().flatten().filter_map(List::file).chain(&args.each_line).collect();
    if args.null && files.is_empty() {
        let needs = "a file of items: --each-line FILE or :::: FILE";
        return Err(CliError::Needs { option: "--null", needs, hint: "--each-line - reads them from stdin" });
    }
    let of_stdin = files.into_iter().chain(&args.from_json).filter(|file| *file == "-").count();
    if of_stdin > 1 {
        return Err(CliError::Conflict(":::: -", "another -, for stdin can be read once"));
    }
    let end = if args.null { ItemEnd::Nul } else { ItemEnd::Line };
    let at_most = option("--at-most", args.at_most.as_deref(), value::at_most)?;
    let ranged = |items, origin| Ranged { items, max_concurrent: at_most, origin, from_stdin: of_stdin > 0 };
    if let Some(text) = &args.array {
        let array = read(Place::Option("--array"), text, value::array)?;
        return match (array.max_concurrent, at_most) {
            (Some(most), Some(other)) if most != other => Err(CliError::TwoBounds(other, most)),
            (most, _) => {
                let mut ranged = ranged(array.items, "--array".to_owned());
                ranged.max_concurrent = most.or(at_most);
                Ok(ranged)
            }
        };
    }
    let named = |file: &OsString| if file == "-" { "stdin".to_owned() } else { file.to_string_lossy().into_owned() };
    let ranged = match (&args.each_line, &args.from_json) {
        (Some(file), _) => ranged(Items::List(intake::lines(file, "--each-line", end)?.into()), named(file)),
        (None, Some(file)) => ranged(Items::List(intake::elements(file)?.into()), named(file)),
        (None, None) if listed.is_empty() => ranged(Items::Single, String::new()),
        (None, None) => {
            let (items, origin) = combined(listed, end)?;
            ranged(items, origin)
        }
    };
    let too_many = |limit| CliError::TooManyItems { origin: ranged.origin.clone(), limit };
    if ranged.items.count() > MAX_TASKS_PER_JOB {
        return Err(too_many(format!("{MAX_TASKS_PER_JOB} tasks")));
    }
    if ranged.items.byte_count() > MAX_ITEMS_BYTES {
        return Err(too_many(format!("{} MiB of items", MAX_ITEMS_BYTES >> 20)));
    }
    Ok(ranged)
}

/// One list as it is, more as their combinations, and where they came from. Of lists that are linked the shortest
/// decides, as in GNU parallel; with an empty list there is no combination.
fn combined(listed: Vec<Linked>, end: ItemEnd) -> Result<(Items, String), CliError> {
    let too_many = || CliError::TooManyItems { origin: ITEMS_FOLLOW.to_owned(), limit: format!("{MAX_LISTS} lists") };
    if listed.iter().map(Vec::len).sum::<usize>() > MAX_LISTS {
        return Err(too_many());
    }
    let mut axes = Vec::new();
    let mut empty = None;
    for linked in listed {
        let mut lists = Vec::new();
        for list in linked {
            let (items, origin) = match list {
                List::Words(items) => (items, ITEMS_FOLLOW.to_owned()),
                List::Lines(file) if file == "-" => (intake::lines(&file, "::::", end)?, "stdin".to_owned()),
                List::Lines(file) => (intake::lines(&file, "::::", end)?, file.to_string_lossy().into_owned()),
            };
            if items.is_empty() {
                empty.get_or_insert(origin);
            }
            lists.push(items);
        }
        let shortest = lists.iter().map(Vec::len).min().unwrap_or_default();
        let cut = |mut items: Vec<RawString>| {
            items.truncate(shortest);
            ItemList::from(items)
        };
        axes.push(lists.into_iter().map(cut).collect::<Vec<_>>());
    }
    if let Some(origin) = empty {
        return Ok((Items::List(ItemList::default()), origin));
    }
    if let [axis] = &mut axes[..]
        && let [list] = &mut axis[..]
    {
        return Ok((Items::List(std::mem::take(list)), ITEMS_FOLLOW.to_owned()));
    }
    let axes: Option<Vec<Axis>> = axes.into_iter().map(Axis::new).collect();
    let combination = axes.and_then(Combination::new).ok_or_else(too_many)?;
    Ok((Items::Combined(combination), ITEMS_FOLLOW.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskIndex;

    fn words(items: &[&str]) -> List {
        List::Words(items.iter().map(|item| RawString::from(*item)).collect())
    }

    fn tasks(listed: Vec<Linked>) -> Vec<String> {
        let items = items(&TaskArgs::default(), listed).expect("items").items;
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
    fn with_an_empty_list_there_is_no_task_and_its_origin_is_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("list");
        std::fs::write(&file, "").expect("writes");
        let lines = List::Lines(file.clone().into_os_string());
        for (listed, origin) in [
            (vec![vec![words(&[])]], ":::"),
            (vec![vec![words(&["a"])], vec![lines.clone()]], file.to_str().expect("text")),
            (vec![vec![words(&["a"]), words(&[])]], ":::"),
        ] {
            let found = items(&TaskArgs::default(), listed).expect("items");
            assert_eq!((found.items.count(), found.origin.as_str()), (0, origin));
        }
    }

    #[test]
    fn a_bound_stands_in_one_place_and_stdin_is_read_once() {
        let array = |array: &str, at_most: Option<&str>| {
            let args = TaskArgs { array: Some(array.into()), at_most: at_most.map(Into::into), ..TaskArgs::default() };
            items(&args, Vec::new()).map(|found| found.max_concurrent)
        };
        assert_eq!(array("1-9%4", None).expect("a bound"), Some(4));
        assert_eq!(array("1-9", Some("4")).expect("a bound"), Some(4));
        assert_eq!(array("1-9%4", Some("4")).expect("a bound"), Some(4));
        assert!(matches!(array("1-9%4", Some("5")), Err(CliError::TwoBounds(5, 4))));
        let stdin = || List::Lines("-".into());
        assert!(matches!(items(&TaskArgs::default(), vec![vec![stdin()], vec![stdin()]]), Err(CliError::Conflict(..))));
        let null = TaskArgs { null: true, ..TaskArgs::default() };
        let said = items(&null, vec![vec![words(&["a"])]]).err().expect("no file");
        assert_eq!(said.line(), "--null needs a file of items: --each-line FILE or :::: FILE");
    }

    #[test]
    fn more_combinations_or_lists_than_a_job_may_have_are_refused_before_they_are_made() {
        let thousand: Vec<RawString> = (0..1000).map(|number| number.to_string().into()).collect();
        let list = List::Words(thousand);
        let said = |listed| items(&TaskArgs::default(), listed).err().expect("too many").line();
        assert_eq!(said(vec![vec![list]; 3]), "::: names more than a job may have: 10000000 tasks");
        assert_eq!(said(vec![vec![words(&["a"]); 17]]), "::: names more than a job may have: 16 lists");
    }
}
