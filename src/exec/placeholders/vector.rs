//! The arguments of an exact vector: which are data, and which are code for the program that gets them.

use super::code;
use super::line::ShellLine;
use super::word::Word;
use super::{Placeholder, has_placeholder};
use crate::model::RawString;

/// An argument with its placeholders.
#[derive(Debug)]
pub(in crate::exec) enum Argument<'s> {
    /// Every item can stand in it.
    Data(&'s RawString),
    /// It is read as code.
    Code(ShellLine<'s>),
}

/// The arguments of `argv`, for a job whose tasks have an item of each of `lists` lists.
pub(in crate::exec) fn arguments(argv: &[RawString], lists: usize) -> Vec<Argument<'_>> {
    let words: Vec<Word> = argv.iter().map(|argument| word(argument.as_bytes(), lists)).collect();
    let found = code::look(&words, false, lists);
    let argument = |number: usize| {
        let argument = &argv[number];
        let reason = found.words.iter().find(|(at, _)| *at == number);
        if found.line == Some(number) {
            Argument::Code(ShellLine::read(argument.as_bytes(), lists))
        } else if let Some((_, reason)) = reason {
            Argument::Code(ShellLine::code(argument.as_bytes(), lists, reason))
        } else {
            Argument::Data(argument)
        }
    };
    (0..argv.len()).map(argument).collect()
}

fn word(source: &[u8], lists: usize) -> Word {
    if !has_placeholder(source, lists) {
        return Word::exact(source, source.to_vec(), Vec::new());
    }
    let (mut text, mut at) = (Vec::new(), 0);
    while at < source.len() {
        let placeholder = Placeholder::at(&source[at..], lists);
        text.extend(placeholder.is_none().then_some(source[at]));
        at += placeholder.map_or(1, |placeholder| placeholder.length);
    }
    Word::exact(source, text, vec![0])
}
