//! `{}` and its kin, as GNU parallel fills them in.
//!
//! The one invariant: an item reaches the task byte for byte. In an argument
//! vector it is put in as it is. In a command for the shell (`line`) it is the
//! value of a variable, so that no item can become syntax. Absent: which tasks
//! have an item at all; a task without one has no placeholders either, and its
//! braces stay as typed.

mod code;
mod commands;
mod heredoc;
mod lexer;
mod line;
mod quoting;
mod unfit;
mod vector;
mod word;

#[cfg(test)]
mod shells;

pub(super) use line::{FilledLine, ShellLine};
pub use unfit::{Misplaced, Unfit};
pub(super) use vector::{Argument, arguments};

use super::allowance::Allowance;
use crate::model::limits::MAX_PATH_BYTES;
use crate::model::{Item, RawString};

/// Fills in a path that belongs to the task with this item and number; without an item it stays as it is.
///
/// `None` when it comes out longer than [`MAX_PATH_BYTES`].
#[must_use]
pub fn fill(item: Option<&Item>, index: u64, path: &RawString) -> Option<RawString> {
    let filled = match item {
        Some(item) => {
            let mut allowance = Allowance::whole();
            RawString(Placeholders::new(item, index).render(path.as_bytes(), &mut allowance).ok()?)
        }
        None => path.clone(),
    };
    (filled.len() <= MAX_PATH_BYTES).then_some(filled)
}

/// Whether something in `text` is filled in for a task that has an item of each of `lists` lists.
#[must_use]
pub fn has_placeholder(text: &[u8], lists: usize) -> bool {
    (0..text.len()).any(|at| Placeholder::at(&text[at..], lists).is_some())
}

/// What one task's placeholders stand for.
#[derive(Debug, Clone)]
pub(super) struct Placeholders<'a> {
    number: String,
    /// Of each list; worked out once: an item may be long, and a command may name it often.
    parts: Vec<Part<'a>>,
}

/// An item of one list, and what can be said of it.
#[derive(Debug, Clone)]
struct Part<'a> {
    item: &'a [u8],
    without_extension: &'a [u8],
    base_name: &'a [u8],
    directory: &'a [u8],
    stem: &'a [u8],
}

/// A placeholder as it is typed.
#[derive(Debug, Clone, Copy)]
struct Placeholder {
    length: usize,
    means: Means,
}

/// A value, and the variable that holds it where a shell is to find it.
#[derive(Debug)]
struct Value<'a> {
    name: String,
    bytes: &'a [u8],
}

/// The variable with the items of all lists.
pub(super) const ITEM: &str = "OCTASKLY_ITEM";
/// The variable with the task's number.
pub(super) const INDEX: &str = "OCTASKLY_INDEX";

impl Value<'_> {
    /// Whether every task with an item has this variable.
    fn is_of_every_task(&self) -> bool {
        self.name == ITEM || self.name == INDEX
    }
}

#[derive(Debug, Clone, Copy)]
enum Means {
    /// The task's number.
    Number,
    /// This of the item from this list, from 0; of each item in turn when no list is named.
    Of(Option<usize>, Form),
}

/// What of an item.
#[derive(Debug, Clone, Copy)]
enum Form {
    Item,
    WithoutExtension,
    BaseName,
    Directory,
    Stem,
}

/// Longer ones first where one begins like another.
const FORMS: [(&[u8], Form); 5] = [
    (b"//}", Form::Directory),
    (b"/.}", Form::Stem),
    (b"/}", Form::BaseName),
    (b".}", Form::WithoutExtension),
    (b"}", Form::Item),
];

/// More digits name no list.
const LIST_DIGITS: usize = 2;

impl Placeholder {
    /// The one that `text` begins with: `{FORM}`, `{LIST FORM}` without the space, or `{#}`. Lists count from 1, from the
    /// end when there is a minus before; a list that there is not makes no placeholder.
    fn at(text: &[u8], lists: usize) -> Option<Self> {
        let inner = text.strip_prefix(b"{")?;
        if inner.starts_with(b"#}") {
            return Some(Self { length: 3, means: Means::Number });
        }
        let (from_end, digits) = match inner.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, inner),
        };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).take(LIST_DIGITS + 1).count();
        let list = match count {
            0 if from_end => return None,
            0 => None,
            1..=LIST_DIGITS => {
                let number = digits[..count].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
                if !(1..=lists).contains(&number) {
                    return None;
                }
                Some(if from_end { lists - number } else { number - 1 })
            }
            _ => return None,
        };
        let rest = &digits[count..];
        let (typed, form) = FORMS.into_iter().find(|(typed, _)| rest.starts_with(typed))?;
        Some(Self { length: text.len() - rest.len() + typed.len(), means: Means::Of(list, form) })
    }
}

impl<'a> Part<'a> {
    fn new(item: &'a [u8]) -> Self {
        Self {
            item,
            without_extension: without_extension(item),
            base_name: base_name(item),
            directory: directory(item),
            stem: without_extension(base_name(item)),
        }
    }

    fn form(&self, form: Form) -> &'a [u8] {
        match form {
            Form::Item => self.item,
            Form::WithoutExtension => self.without_extension,
            Form::BaseName => self.base_name,
            Form::Directory => self.directory,
            Form::Stem => self.stem,
        }
    }
}

impl<'a> Placeholders<'a> {
    /// Those of the task with this item and number.
    pub(super) fn new(item: &'a Item, index: u64) -> Self {
        let parts = item.parts().iter().map(|part| Part::new(part.as_bytes())).collect();
        Self { number: index.to_string(), parts }
    }

    /// What `placeholder` stands for: one value, or one of each list.
    fn named(&self, placeholder: Placeholder) -> Vec<Value<'_>> {
        let (list, form) = match placeholder.means {
            Means::Number => return vec![Value { name: INDEX.to_owned(), bytes: self.number.as_bytes() }],
            Means::Of(list, form) => (list, form),
        };
        let wanted = list.map_or(0..self.parts.len(), |list| list..list + 1);
        let value = |list: usize| {
            let part = self.parts.get(list)?;
            let suffix = match form {
                Form::Item if self.parts.len() == 1 => return Some(Value { name: ITEM.to_owned(), bytes: part.item }),
                Form::Item => "",
                Form::WithoutExtension => "_NOEXT",
                Form::BaseName => "_NAME",
                Form::Directory => "_DIR",
                Form::Stem => "_STEM",
            };
            Some(Value { name: format!("{ITEM}_{}{suffix}", list + 1), bytes: part.form(form) })
        };
        wanted.filter_map(value).collect()
    }

    /// Fills in `text`, an argument or a value, within `allowance`.
    pub(super) fn render(&self, mut text: &[u8], allowance: &mut Allowance) -> Result<Vec<u8>, Unfit> {
        let longest = allowance.longest();
        let fits = |length: usize| if length <= longest { Ok(()) } else { Err(Unfit::TooLong) };
        // A template is bounded as what comes of it: its placeholders may stand for nothing.
        fits(text.len())?;
        let mut filled = Vec::with_capacity(text.len());
        while let Some(brace) = text.iter().position(|byte| *byte == b'{') {
            filled.extend_from_slice(&text[..brace]);
            text = &text[brace..];
            let Some(placeholder) = Placeholder::at(text, self.parts.len()) else {
                // A lone brace is no value: it is put in as it stands.
                filled.push(b'{');
                text = &text[1..];
                continue;
            };
            for (number, value) in self.named(placeholder).iter().enumerate() {
                filled.extend_from_slice(if number > 0 { b" " } else { b"" });
                fits(filled.len() + value.bytes.len())?;
                filled.extend_from_slice(value.bytes);
            }
            text = &text[placeholder.length..];
        }
        filled.extend_from_slice(text);
        allowance.string(filled.len())?;
        Ok(filled)
    }

    /// Fills in one argument of a vector. One that is `{}` and nothing else is as many as there are lists, as it would be
    /// for a shell.
    pub(super) fn arguments(&self, text: &[u8], allowance: &mut Allowance) -> Result<Vec<RawString>, Unfit> {
        if text != b"{}" {
            return Ok(vec![self.render(text, allowance)?.into()]);
        }
        let mut one = |part: &Part<'_>| {
            allowance.string(part.item.len())?;
            Ok(RawString(part.item.to_vec()))
        };
        self.parts.iter().map(&mut one).collect()
    }
}

/// Up to the last dot behind the last slash.
fn without_extension(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| matches!(byte, b'.' | b'/')) {
        Some(at) if path[at] == b'.' => &path[..at],
        _ => path,
    }
}

/// Behind the last slash.
fn base_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

/// What `dirname` prints.
fn directory(path: &[u8]) -> &[u8] {
    let trimmed = trim_slashes(path);
    match trimmed.iter().rposition(|byte| *byte == b'/') {
        None if trimmed.is_empty() && !path.is_empty() => b"/",
        None => b".",
        Some(slash) => match trim_slashes(&trimmed[..slash]) {
            [] => b"/",
            directory => directory,
        },
    }
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    &path[..end]
}

/// One word of a shell that stands for exactly these bytes.
pub(super) fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut word = Vec::new();
    quote(bytes, &mut word);
    word
}

/// Appends one word of a shell that stands for exactly these bytes.
fn quote(bytes: &[u8], word: &mut Vec<u8>) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        word.extend_from_slice(bytes);
        return;
    }
    word.push(b'\'');
    for byte in bytes {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Axis, Combination, Items, TaskIndex};

    fn of(item: &[u8]) -> Item {
        Item::of(RawString(item.to_vec()))
    }

    fn filled(item: &[u8], text: &[u8]) -> Vec<u8> {
        Placeholders::new(&of(item), 7).render(text, &mut Allowance::whole()).expect("it fits")
    }

    fn rendered(text: &str, item: &str) -> String {
        String::from_utf8(filled(item.as_bytes(), text.as_bytes())).expect("text")
    }

    #[test]
    fn every_placeholder_means_what_it_means_to_gnu_parallel() {
        let all = "{}|{#}|{.}|{/}|{//}|{/.}";
        assert_eq!(rendered(all, "a/b.tar.gz"), "a/b.tar.gz|7|a/b.tar|b.tar.gz|a|b.tar");
        assert_eq!(rendered(all, "foo"), "foo|7|foo|foo|.|foo");
        assert_eq!(rendered(all, "sub.dir/foo"), "sub.dir/foo|7|sub.dir/foo|foo|sub.dir|foo");
        assert_eq!(rendered("{//}", "/etc"), "/");
        assert_eq!(rendered("{//}", "a/b//"), "a");
    }

    #[test]
    fn the_item_of_each_list_is_named_by_the_lists_number() {
        let parts = ["a/b.tar.gz", "it's", "c.d"].map(RawString::from);
        let item = Items::Combined(
            Combination::new(
                parts.iter().filter_map(|part| Axis::new(vec![[part.clone()].into_iter().collect()])).collect(),
            )
            .expect("three lists"),
        )
        .item(TaskIndex(1))
        .expect("an item");
        let placeholders = Placeholders::new(&item, 7);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let exact =
            |template: &str| text(placeholders.render(template.as_bytes(), &mut Allowance::whole()).expect("fits"));
        assert_eq!(exact("{1} {2} {3} {#}"), "a/b.tar.gz it's c.d 7");
        assert_eq!(exact("{1.}|{1/}|{1//}|{1/.}|{3.}"), "a/b.tar|b.tar.gz|a|b.tar|c");
        assert_eq!(exact("{-1} {-3/}"), "c.d b.tar.gz");
        assert_eq!(exact("x{}y {/.}"), "xa/b.tar.gz it's c.dy b.tar it's c");
        assert_eq!(exact("{0} {4} {-4} {-} {003} {1 } {1#} {12}"), "{0} {4} {-4} {-} {003} {1 } {1#} {12}");
        let arguments = placeholders.arguments(b"{}", &mut Allowance::whole()).expect("fits");
        assert_eq!(arguments, parts, "one argument for each");
        assert_eq!(placeholders.arguments(b"{} ", &mut Allowance::whole()).expect("fits").len(), 1);
        assert!(has_placeholder(b"x{2/}", 2) && !has_placeholder(b"x{2/}", 1) && has_placeholder(b"{#}", 1));
    }

    #[test]
    fn braces_that_are_no_placeholder_stay_as_typed() {
        assert_eq!(rendered("{x} {{}} ${a} {", "i"), "{x} {i} ${a} {");
        assert_eq!(rendered("{1} {2} [0-9]{3} {1,2}", "i"), "i {2} [0-9]{3} {1,2}");
    }

    #[test]
    fn a_filled_in_value_is_not_looked_at_again() {
        assert_eq!(rendered("{} {#}", "{#}{}"), "{#}{} 7");
    }

    #[test]
    fn awkward_bytes_survive() {
        let item = [0xff, b'\n', b'"', b'\\', 0x80];
        assert_eq!(filled(&item, b"{}"), item);
    }

    #[test]
    fn an_item_that_is_named_too_often_is_refused_before_it_is_put_in() {
        let (item, text) = (of(&vec![b'a'; 1 << 20]), b"{}".repeat(50_000));
        let placeholders = Placeholders::new(&item, 1);
        assert_eq!(placeholders.render(&text, &mut Allowance::whole()), Err(Unfit::TooLong));
        // Five of them fit, whether it is in one argument or in several.
        let mut allowance = Allowance::whole();
        assert_eq!(placeholders.render(b"{}{}{}{}{}", &mut allowance).map(|filled| filled.len()), Ok(5 << 20));
        assert_eq!(placeholders.render(b"{}", &mut allowance), Err(Unfit::TooLong));
    }

    #[test]
    fn a_long_item_is_taken_apart_once_however_often_its_parts_are_named() {
        // Looked through anew for each of the million placeholders this would take hours.
        let (item, text) = (of(&vec![b'/'; 1 << 20]), b"{//}".repeat(1 << 20));
        let filled = Placeholders::new(&item, 1).render(&text, &mut Allowance::whole());
        assert_eq!(filled.map(|filled| filled.len()), Ok(1 << 20));
    }
}
