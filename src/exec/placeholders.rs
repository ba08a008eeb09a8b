//! `{}` and its kin, as GNU parallel fills them in.
//!
//! The one invariant: an item reaches the task byte for byte. In an argument
//! vector it is put in as it is; in a shell command it is quoted, so that no
//! item can become syntax. Absent: which tasks have an item at all; a task
//! without one has no placeholders either, and its braces stay as typed.

use super::allowance::{Allowance, TooLong};
use crate::model::RawString;
use crate::model::limits::MAX_PATH_BYTES;

/// Fills in a path that belongs to the task with this item and number; without an item it stays as it is.
///
/// `None` when it comes out longer than [`MAX_PATH_BYTES`].
#[must_use]
pub fn fill(item: Option<&RawString>, index: u64, path: &RawString) -> Option<RawString> {
    let filled = match item {
        Some(item) => {
            let mut allowance = Allowance::whole();
            RawString(Placeholders::new(item.as_bytes(), index).render(path.as_bytes(), &mut allowance).ok()?)
        }
        None => path.clone(),
    };
    (filled.len() <= MAX_PATH_BYTES).then_some(filled)
}

/// What one task's placeholders stand for.
#[derive(Debug, Clone)]
pub(super) struct Placeholders<'a> {
    item: &'a [u8],
    number: String,
    /// Worked out once: an item may be long, and a command may name it often.
    without_extension: &'a [u8],
    base_name: &'a [u8],
    directory: &'a [u8],
    stem: &'a [u8],
}

impl<'a> Placeholders<'a> {
    /// Those of the task with this item and number.
    pub(super) fn new(item: &'a [u8], index: u64) -> Self {
        Self {
            item,
            number: index.to_string(),
            without_extension: without_extension(item),
            base_name: base_name(item),
            directory: directory(item),
            stem: without_extension(base_name(item)),
        }
    }

    /// Fills in `text`, an argument or a value, within `allowance`.
    pub(super) fn render(&self, text: &[u8], allowance: &mut Allowance) -> Result<Vec<u8>, TooLong> {
        self.fill(text, allowance, |value, filled| filled.extend_from_slice(value))
    }

    /// Fills in `text`, a command for `/bin/sh`, within `allowance`.
    pub(super) fn render_for_shell(&self, text: &[u8], allowance: &mut Allowance) -> Result<Vec<u8>, TooLong> {
        self.fill(text, allowance, quote)
    }

    fn fill(
        &self,
        mut text: &[u8],
        allowance: &mut Allowance,
        put: impl Fn(&[u8], &mut Vec<u8>),
    ) -> Result<Vec<u8>, TooLong> {
        let longest = allowance.longest();
        let fits = |length: usize| if length <= longest { Ok(()) } else { Err(TooLong) };
        // A template is bounded as what comes of it: its placeholders may stand for nothing.
        fits(text.len())?;
        let mut filled = Vec::with_capacity(text.len());
        while let Some(brace) = text.iter().position(|byte| *byte == b'{') {
            filled.extend_from_slice(&text[..brace]);
            text = &text[brace..];
            let name = match self.value_at(text) {
                Some((name, value)) => {
                    fits(filled.len() + value.len())?;
                    put(value, &mut filled);
                    name
                }
                // A lone brace is no value: it is put in as it stands.
                None => {
                    filled.push(b'{');
                    &text[..1]
                }
            };
            fits(filled.len())?;
            text = &text[name.len()..];
        }
        filled.extend_from_slice(text);
        allowance.string(filled.len())?;
        Ok(filled)
    }

    /// The placeholder that `text` begins with, and what it stands for.
    fn value_at<'t>(&self, text: &'t [u8]) -> Option<(&'t [u8], &[u8])> {
        let forms: [(&[u8], &[u8]); 6] = [
            (b"{}", self.item),
            (b"{#}", self.number.as_bytes()),
            (b"{.}", self.without_extension),
            (b"{/}", self.base_name),
            (b"{//}", self.directory),
            (b"{/.}", self.stem),
        ];
        let (form, value) = forms.into_iter().find(|(form, _)| text.starts_with(form))?;
        Some((&text[..form.len()], value))
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

    fn filled(item: &[u8], text: &[u8]) -> Vec<u8> {
        Placeholders::new(item, 7).render(text, &mut Allowance::whole()).expect("it fits")
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
    fn braces_that_are_no_placeholder_stay_as_typed() {
        assert_eq!(rendered("{x} {{}} ${a} {", "i"), "{x} {i} ${a} {");
    }

    #[test]
    fn a_filled_in_value_is_not_looked_at_again() {
        assert_eq!(rendered("{} {#}", "{#}{}"), "{#}{} 7");
    }

    #[test]
    fn in_a_shell_command_no_item_becomes_syntax() {
        let render = |item: &str| {
            let placeholders = Placeholders::new(item.as_bytes(), 1);
            let filled = placeholders.render_for_shell(b"echo {} # {#}", &mut Allowance::whole());
            String::from_utf8(filled.expect("it fits")).expect("text")
        };
        assert_eq!(render("plain-1.txt"), "echo plain-1.txt # 1");
        assert_eq!(render("a b; rm -rf $HOME"), "echo 'a b; rm -rf $HOME' # 1");
        assert_eq!(render("it's"), "echo 'it'\\''s' # 1");
        assert_eq!(render(""), "echo '' # 1");
    }

    #[test]
    fn awkward_bytes_survive() {
        let item = [0xff, b'\n', b'"', b'\\', 0x80];
        assert_eq!(filled(&item, b"{}"), item);
    }

    #[test]
    fn an_item_that_is_named_too_often_is_refused_before_it_is_put_in() {
        let (item, text) = (vec![b'a'; 1 << 20], b"{}".repeat(50_000));
        let placeholders = Placeholders::new(&item, 1);
        assert_eq!(placeholders.render(&text, &mut Allowance::whole()), Err(TooLong));
        assert_eq!(placeholders.render_for_shell(&text, &mut Allowance::whole()), Err(TooLong));
        // Five of them fit, whether it is in one argument or in several.
        let mut allowance = Allowance::whole();
        assert_eq!(placeholders.render(b"{}{}{}{}{}", &mut allowance).map(|filled| filled.len()), Ok(5 << 20));
        assert_eq!(placeholders.render(b"{}", &mut allowance), Err(TooLong));
    }

    #[test]
    fn a_long_item_is_taken_apart_once_however_often_its_parts_are_named() {
        // Looked through anew for each of the million placeholders this would take hours.
        let (item, text) = (vec![b'/'; 1 << 20], b"{//}".repeat(1 << 20));
        let filled = Placeholders::new(&item, 1).render(&text, &mut Allowance::whole());
        assert_eq!(filled.map(|filled| filled.len()), Ok(1 << 20));
    }
}
