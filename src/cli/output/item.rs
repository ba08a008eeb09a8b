//! Items of arrays as people read them.

use super::text;
use crate::model::{Items, RawString, TaskId};

/// Characters of an item in a tag or a sentence.
const SHOWN: usize = 32;

/// Characters of an item in a table.
const CELL: usize = 11;

/// What a task of a job over `items` is about; `None` for a single task.
pub(crate) fn of_task(items: &Items, task: TaskId) -> Option<RawString> {
    items.item(task.index).map(|item| item.joined())
}

/// A task with its item, for a sentence: `5.3 (c.log)`.
pub(crate) fn named(task: TaskId, item: Option<&RawString>) -> String {
    telling(task, item).map_or_else(|| task.to_string(), |item| format!("{task} ({item})"))
}

/// What `--tag` puts before each line of a task: `5.3 c.log` and a tab.
pub(crate) fn tag(task: TaskId, item: Option<&RawString>) -> String {
    telling(task, item).map_or_else(|| format!("{task}\t"), |item| format!("{task} {item}\t"))
}

/// An item that says more than the number of its task, as that of `--array 1-9` does not.
fn telling(task: TaskId, item: Option<&RawString>) -> Option<String> {
    let item = item.map(RawString::to_string).filter(|item| *item != task.index.0.to_string());
    item.map(|item| cut(&item, SHOWN))
}

/// An item in a column of a table.
pub(crate) fn cell(item: &str) -> String {
    cut(item, CELL)
}

/// One line, and not long.
fn cut(item: &str, most: usize) -> String {
    let line = text::one_line(item);
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ItemList;

    #[test]
    fn a_long_item_is_cut_and_one_with_control_characters_stays_on_its_line() {
        let tagged = |item: &str| tag(TaskId::new(5, 3), Some(&item.into()));
        assert_eq!(tagged("a\tb"), "5.3 a\\tb\t");
        assert_eq!(tagged(&"ä".repeat(SHOWN + 1)), format!("5.3 {}…\t", "ä".repeat(SHOWN)));
        assert_eq!(named(TaskId::new(5, 3), Some(&"c.log".into())), "5.3 (c.log)");
    }

    #[test]
    fn a_single_task_has_no_item() {
        assert_eq!(of_task(&Items::Single, TaskId::new(1, 0)), None);
        assert_eq!(tag(TaskId::new(1, 0), None), "1.0\t");
        assert_eq!(tag(TaskId::new(1, 7), Some(&"7".into())), "1.7\t", "its id says it");
        let list = Items::List(ItemList::from_iter(["a", "b"].map(RawString::from)));
        assert_eq!(of_task(&list, TaskId::new(1, 2)), Some("b".into()));
    }
}
