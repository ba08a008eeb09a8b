//! A command for `/bin/sh` with placeholders, and what it becomes for one task.
//!
//! The one invariant: no byte of an item is read as syntax. The line names a variable where a placeholder stands, quoted as
//! the place asks for it, and the item is that variable's value. Where a shell would read a value as code, only values are
//! put in that are harmless there. Absent: how the places are found (`lexer`).

use std::ops::Range;

use super::unfit::{Misplaced, Reason, Unfit};
use super::{Placeholder, Placeholders, Value, lexer, quote};
use crate::exec::allowance::{Allowance, LONGEST_STRING};
use crate::model::RawString;

/// A line, taken apart.
#[derive(Debug)]
pub(in crate::exec) struct ShellLine<'t> {
    text: &'t [u8],
    pieces: Vec<Piece>,
}

/// A part of a line.
#[derive(Debug)]
pub(super) enum Piece {
    /// As it was typed.
    Typed(Range<usize>),
    /// Lines of a here-document in which nothing is expanded.
    Escaped(Range<usize>),
    /// What was typed, and what stands in the line instead.
    Instead(Range<usize>, Vec<u8>),
    /// A placeholder.
    Place(Place),
}

/// A placeholder of a line.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) typed: Range<usize>,
    pub(super) placeholder: Placeholder,
    pub(super) quoting: Quoting,
    pub(super) rule: Rule,
}

/// How a place is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// Not at all.
    Bare,
    /// Not at all, where a name has a meaning: `NAME=value`, `~NAME`, `{1..9}`. A name is put in as it is.
    Name,
    /// In single quotes.
    Single,
    /// In double quotes, or in the lines of a here-document.
    Double,
    /// The same behind a backslash, which stands for itself there.
    BehindBackslash,
    /// What is put in is read as it is.
    Raw,
}

/// Which values a place takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// Any.
    Any,
    /// Those that are a plain word for every shell and interpreter.
    Plain(Reason),
    /// Numbers.
    Number,
    /// None.
    Never(Reason),
}

/// What a line became.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::exec) struct FilledLine {
    /// The line for the shell.
    pub(in crate::exec) line: RawString,
    /// Variables that it needs besides those that every task has.
    pub(in crate::exec) variables: Vec<(RawString, RawString)>,
}

impl<'t> ShellLine<'t> {
    /// Takes `text` apart, for a job whose tasks have an item of each of `lists` lists.
    pub(in crate::exec) fn read(text: &'t [u8], lists: usize) -> Self {
        Self { text, pieces: lexer::pieces(text, lists) }
    }

    /// Takes `text` apart, which is code for an interpreter as `reason` says, and no line for a POSIX shell.
    pub(super) fn code(text: &'t [u8], lists: usize, reason: &Reason) -> Self {
        let (mut pieces, mut at, mut copied) = (Vec::new(), 0, 0);
        while at < text.len() {
            let Some(placeholder) = Placeholder::at(&text[at..], lists) else {
                at += 1;
                continue;
            };
            let (typed, rule) = (at..at + placeholder.length, Rule::Plain(reason.clone()));
            pieces.extend((copied < at).then_some(Piece::Typed(copied..at)));
            (at, copied) = (typed.end, typed.end);
            pieces.push(Piece::Place(Place { typed, placeholder, quoting: Quoting::Raw, rule }));
        }
        pieces.push(Piece::Typed(copied..text.len()));
        Self { text, pieces }
    }

    /// Whether some items could be refused for where they are put.
    pub(in crate::exec) fn is_restricted(&self) -> bool {
        self.places().any(|place| place.rule != Rule::Any)
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Place(place) => Some(place),
            _ => None,
        })
    }

    /// The line of one task, within `allowance`.
    ///
    /// # Errors
    /// When an item may not stand where it is named, or there is too much of it.
    pub(in crate::exec) fn fill(
        &self,
        values: &Placeholders<'_>,
        allowance: &mut Allowance,
    ) -> Result<FilledLine, Unfit> {
        let mut line = Vec::with_capacity(self.text.len());
        let mut variables: Vec<(RawString, RawString)> = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Typed(range) => line.extend_from_slice(&self.text[range.clone()]),
                Piece::Escaped(range) => escape(&self.text[range.clone()], b"\\$`", &mut line),
                Piece::Instead(_, other) => line.extend_from_slice(other),
                Piece::Place(place) => {
                    let named = values.named(place.placeholder);
                    self.admit(place, &named)?;
                    for value in place.put(&named, &mut line) {
                        let bytes = value.name.len() + value.bytes.len() + 2;
                        if bytes > LONGEST_STRING {
                            return Err(Unfit::TooLarge { by: self.typed(place), bytes: bytes - 1 });
                        }
                        let is_new = variables.iter().all(|(name, _)| name.as_bytes() != value.name.as_bytes());
                        if is_new && !value.is_of_every_task() {
                            allowance.string(bytes)?;
                            variables.push((value.name.as_str().into(), RawString(value.bytes.to_vec())));
                        }
                    }
                }
            }
            if line.len() > allowance.longest() {
                return Err(Unfit::TooLong);
            }
        }
        allowance.string(line.len())?;
        Ok(FilledLine { line: line.into(), variables })
    }

    /// Whether the values may stand in this place.
    fn admit(&self, place: &Place, values: &[Value<'_>]) -> Result<(), Unfit> {
        let misplaced = |value: &Value<'_>, reason: &Reason| {
            let (placeholder, value) = (self.typed(place), RawString(value.bytes.to_vec()));
            Err(Unfit::Misplaced(Misplaced { placeholder, value, reason: reason.clone() }))
        };
        for value in values {
            match &place.rule {
                Rule::Plain(reason) if !is_plain(value.bytes) => return misplaced(value, reason),
                Rule::Number if !is_number(value.bytes) => return misplaced(value, &Reason::Arithmetic),
                Rule::Never(reason) => return misplaced(value, reason),
                _ => {}
            }
        }
        Ok(())
    }

    fn typed(&self, place: &Place) -> RawString {
        RawString(self.text[place.typed.clone()].to_vec())
    }

    /// The line of one task for people, with its items in it as one would type them.
    pub(in crate::exec) fn show(&self, values: &Placeholders<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Typed(range) | Piece::Escaped(range) | Piece::Instead(range, _) => {
                    line.extend_from_slice(&self.text[range.clone()]);
                }
                Piece::Place(place) => {
                    for (number, value) in values.named(place.placeholder).iter().enumerate() {
                        line.extend_from_slice(if number > 0 { b" " } else { b"" });
                        place.quoting.show(value.bytes, &mut line);
                    }
                }
            }
        }
        line
    }
}

impl Place {
    /// Appends what stands here in the line, and returns the values that it takes from variables.
    fn put<'v>(&self, values: &'v [Value<'v>], line: &mut Vec<u8>) -> impl Iterator<Item = &'v Value<'v>> {
        let raw = match self.quoting {
            Quoting::Raw => true,
            Quoting::Name => values.iter().all(|value| is_name(value.bytes)),
            _ => false,
        };
        let [open, between, close]: [&[u8]; 3] = match self.quoting {
            Quoting::Bare | Quoting::Name if !raw => [b"\"", b"\" \"", b"\""],
            Quoting::Single => [b"'\"", b" ", b"\"'"],
            Quoting::BehindBackslash => [b"\\\\", b" ", b""],
            _ => [b"", b" ", b""],
        };
        line.extend_from_slice(open);
        for (number, value) in values.iter().enumerate() {
            line.extend_from_slice(if number > 0 { between } else { b"" });
            if raw {
                line.extend_from_slice(value.bytes);
            } else {
                // A parameter is one digit. In braces it would look like a placeholder.
                let [open, close]: [&[u8]; 2] = if value.name.len() == 1 { [b"$", b""] } else { [b"${", b"}"] };
                line.extend([open, value.name.as_bytes(), close].concat());
            }
        }
        line.extend_from_slice(close);
        values.iter().filter(move |_| !raw)
    }
}

impl Quoting {
    /// Appends `value` as one would type it.
    fn show(self, value: &[u8], line: &mut Vec<u8>) {
        match self {
            Self::Bare => quote(value, line),
            Self::Single => line.extend(value.iter().flat_map(|byte| match byte {
                b'\'' => &b"'\\''"[..],
                other => std::slice::from_ref(other),
            })),
            Self::Double | Self::BehindBackslash => escape(value, b"\\$`\"", line),
            Self::Name | Self::Raw => line.extend_from_slice(value),
        }
    }
}

/// `line` for `sh -c`, quoted, with parameters instead of its placeholders; and the placeholders, quoted, in the order of
/// these parameters. Nothing when an item would be code in there too, or the text is not a short line.
pub(super) fn positional(line: &[u8], lists: usize) -> Option<(String, String)> {
    const LONGEST: usize = 160;
    if line.len() > LONGEST || line.iter().any(u8::is_ascii_control) {
        return None;
    }
    let line = ShellLine::read(line, lists);
    if line.is_restricted() || line.places().count() > 9 {
        return None;
    }
    let (mut written, mut arguments) = (Vec::new(), Vec::<&[u8]>::new());
    for piece in &line.pieces {
        match piece {
            Piece::Place(place) => {
                let typed = &line.text[place.typed.clone()];
                let number = arguments.iter().position(|known| *known == typed).unwrap_or_else(|| {
                    arguments.push(typed);
                    arguments.len() - 1
                });
                let value = Value { name: (number + 1).to_string(), bytes: b"" };
                let _ = place.put(&[value], &mut written);
            }
            Piece::Typed(range) => written.extend_from_slice(&line.text[range.clone()]),
            Piece::Escaped(_) | Piece::Instead(..) => return None,
        }
    }
    let mut quoted = Vec::new();
    quote(&written, &mut quoted);
    Some((String::from_utf8(quoted).ok()?, String::from_utf8(arguments.join(&b' ')).ok()?))
}

/// Appends `text` with a backslash before each of the bytes `special`.
fn escape(text: &[u8], special: &[u8], line: &mut Vec<u8>) {
    for byte in text {
        if special.contains(byte) {
            line.push(b'\\');
        }
        line.push(*byte);
    }
}

/// Whether no shell and no interpreter reads more into it than a word.
pub(super) fn is_plain(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@%+,".contains(byte))
}

/// Whether it can be a part of a name.
fn is_name(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
}

/// Whether it is a number in arithmetic: digits, a sign before them, a base or a fraction.
fn is_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").or(value.strip_prefix(b"+")).unwrap_or(value);
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
}
