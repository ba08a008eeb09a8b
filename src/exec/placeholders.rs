//! `{}` and its kin, as GNU parallel fills them in.
//!
//! The one invariant: an item reaches the task byte for byte. In an argument
//! vector it is put in as it is; in a shell command it is quoted, so that no
//! item can become syntax. Absent: which tasks have an item at all; a task
//! without one has no placeholders either, and its braces stay as typed.

/// What one task's placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placeholders<'a> {
    item: &'a [u8],
    index: u64,
}

/// A placeholder and the value it stands for.
type Form<'a> = (&'static [u8], fn(&Placeholders<'a>) -> Vec<u8>);

impl<'a> Placeholders<'a> {
    /// Those of the task with this item and number.
    pub(super) fn new(item: &'a [u8], index: u64) -> Self {
        Self { item, index }
    }

    /// Fills in `text`, an argument or a value.
    pub(super) fn render(&self, text: &[u8]) -> Vec<u8> {
        self.fill(text, <[u8]>::to_vec)
    }

    /// Fills in `text`, a command for `/bin/sh`.
    pub(super) fn render_for_shell(&self, text: &[u8]) -> Vec<u8> {
        self.fill(text, quoted)
    }

    fn fill(&self, mut text: &[u8], put: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut filled = Vec::with_capacity(text.len() + self.item.len());
        while let Some(brace) = text.iter().position(|byte| *byte == b'{') {
            filled.extend_from_slice(&text[..brace]);
            text = &text[brace..];
            let (name, value) = match self.value_at(text) {
                Some(found) => found,
                None => (&text[..1], text[..1].to_vec()),
            };
            // A lone brace is no value: it is put in as it stands.
            filled.extend(if name.len() == 1 { value } else { put(&value) });
            text = &text[name.len()..];
        }
        filled.extend_from_slice(text);
        filled
    }

    /// The placeholder that `text` begins with, and what it stands for.
    fn value_at(&self, text: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
        let forms: [Form<'a>; 6] = [
            (b"{}", |this| this.item.to_vec()),
            (b"{#}", |this| this.index.to_string().into_bytes()),
            (b"{.}", |this| without_extension(this.item).to_vec()),
            (b"{/}", |this| base_name(this.item).to_vec()),
            (b"{//}", |this| directory(this.item).to_vec()),
            (b"{/.}", |this| without_extension(base_name(this.item)).to_vec()),
        ];
        let (form, value) = forms.into_iter().find(|(form, _)| text.starts_with(form))?;
        Some((&text[..form.len()], value(self)))
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
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return bytes.to_vec();
    }
    let mut word = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, item: &str) -> String {
        String::from_utf8(Placeholders::new(item.as_bytes(), 7).render(text.as_bytes())).expect("text")
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
            let filled = Placeholders::new(item.as_bytes(), 1).render_for_shell(b"echo {} # {#}");
            String::from_utf8(filled).expect("text")
        };
        assert_eq!(render("plain-1.txt"), "echo plain-1.txt # 1");
        assert_eq!(render("a b; rm -rf $HOME"), "echo 'a b; rm -rf $HOME' # 1");
        assert_eq!(render("it's"), "echo 'it'\\''s' # 1");
        assert_eq!(render(""), "echo '' # 1");
    }

    #[test]
    fn awkward_bytes_survive() {
        let item = [0xff, b'\n', b'"', b'\\', 0x80];
        assert_eq!(Placeholders::new(&item, 1).render(b"{}"), item);
    }
}
