//! The words behind the options of `run` and `submit`: the command and, behind
//! `:::` and its kin, the lists of items that it is run for.
//!
//! One word is a line for the shell, more are an exact argument vector. As in
//! GNU parallel a command that mentions no item gets it as its last argument.
//! Absent: what the lists amount to (`items`).

use std::ffi::{OsStr, OsString};

use crate::cli::error::CliError;
use crate::exec::has_placeholder;
use crate::model::RawString;
use crate::model::spec::CommandLine;

/// Separates the command from its items.
pub(super) const ITEMS_FOLLOW: &str = ":::";

/// Variables that say what placeholders do: a command with one of these, or with a placeholder, knows its item and gets
/// none appended.
const MENTIONS: [&str; 2] = ["OCTASKLY_ITEM", "OCTASKLY_INDEX"];

/// Where the items of one list are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum List {
    /// `:::`: among the words.
    Words(Vec<RawString>),
    /// `::::`: in this file, one a line.
    Lines(OsString),
}

impl List {
    /// The file that it is read from.
    pub(super) fn file(&self) -> Option<&OsString> {
        match self {
            Self::Words(_) => None,
            Self::Lines(file) => Some(file),
        }
    }
}

/// Lists that go along with each other: a first one, and what `:::+` links with it.
pub(super) type Linked = Vec<List>;

/// What separates lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Separator {
    /// Files are named, not items.
    of_files: bool,
    /// What follows goes along with what was before.
    links: bool,
}

impl Separator {
    fn read(word: &OsStr) -> Option<Self> {
        let (of_files, links) = match word.to_str()? {
            ITEMS_FOLLOW => (false, false),
            ":::+" => (false, true),
            "::::" => (true, false),
            "::::+" => (true, true),
            _ => return None,
        };
        Some(Self { of_files, links })
    }
}

/// How a command is to be run when the number of its words is not to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// By the number of words.
    ByWords,
    /// `--shell`.
    Shell,
    /// `--no-shell`.
    Exact,
}

/// The command in `words`, and the lists of items behind it; none when there is no separator.
pub(super) fn split(words: &[OsString], manner: Manner) -> Result<(CommandLine, Vec<Linked>), CliError> {
    let raw = |words: &[OsString]| words.iter().map(|word| RawString::from(word.as_os_str())).collect::<Vec<_>>();
    let end = words.iter().position(|word| Separator::read(word).is_some()).unwrap_or(words.len());
    let mut command = raw(&words[..end]);
    if command.first().is_none_or(RawString::is_empty) {
        return Err(CliError::NoCommand);
    }
    let axes = lists(&words[end..])?;
    let by_shell = match manner {
        Manner::ByWords => command.len() == 1,
        Manner::Shell => true,
        Manner::Exact => false,
    };
    let count = axes.iter().map(Vec::len).sum();
    if count > 0 && !command.iter().any(|word| mentions_item(word, count)) {
        command.push("{}".into());
    }
    let command = if by_shell {
        let words: Vec<&[u8]> = command.iter().map(RawString::as_bytes).collect();
        CommandLine::Shell(words.join(&b' ').into())
    } else {
        CommandLine::Exec(command)
    };
    Ok((command, axes))
}

/// The lists in words that begin with a separator.
fn lists(words: &[OsString]) -> Result<Vec<Linked>, CliError> {
    let mut axes: Vec<Linked> = Vec::new();
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        let Some(separator) = Separator::read(word) else { break };
        let typed = || word.to_string_lossy().into_owned();
        let end = behind.iter().position(|word| Separator::read(word).is_some()).unwrap_or(behind.len());
        let (own, after) = behind.split_at(end);
        rest = after;
        if own.is_empty() && separator.of_files {
            return Err(CliError::NoFile(typed()));
        }
        let found: Vec<List> = match separator.of_files {
            true => own.iter().cloned().map(List::Lines).collect(),
            false => vec![List::Words(own.iter().map(|word| RawString::from(word.as_os_str())).collect())],
        };
        for list in found {
            match axes.last_mut() {
                Some(axis) if separator.links => axis.push(list),
                None if separator.links => return Err(CliError::NothingToLink(typed())),
                _ => axes.push(vec![list]),
            }
        }
    }
    Ok(axes)
}

fn mentions_item(word: &RawString, lists: usize) -> bool {
    let word = word.as_bytes();
    has_placeholder(word, lists)
        || MENTIONS.iter().any(|mention| word.windows(mention.len()).any(|part| part == mention.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], manner: Manner) -> Result<(CommandLine, Vec<Linked>), CliError> {
        split(&words.iter().map(OsString::from).collect::<Vec<_>>(), manner)
    }

    fn words(items: &[&str]) -> List {
        List::Words(items.iter().map(|item| RawString::from(*item)).collect())
    }

    fn command(words: &[&str]) -> CommandLine {
        read(words, Manner::ByWords).expect("a command").0
    }

    fn exact(words: &[&str]) -> CommandLine {
        CommandLine::Exec(words.iter().map(|word| RawString::from(*word)).collect())
    }

    #[test]
    fn one_word_is_for_the_shell_and_more_are_exact() {
        assert_eq!(command(&["echo hi | wc"]), CommandLine::Shell("echo hi | wc".into()));
        assert_eq!(command(&["echo", "a  b", "|"]), exact(&["echo", "a  b", "|"]));
        let forced = |words: &[&str], manner| read(words, manner).expect("a command").0;
        assert_eq!(forced(&["echo", "a", "|", "wc"], Manner::Shell), CommandLine::Shell("echo a | wc".into()));
        assert_eq!(forced(&["my program"], Manner::Exact), exact(&["my program"]));
    }

    #[test]
    fn items_stand_behind_three_colons() {
        let (command, items) = read(&["gzip", "{}", ":::", "a", "b c"], Manner::ByWords).expect("a command");
        assert_eq!((command, items), (exact(&["gzip", "{}"]), vec![vec![words(&["a", "b c"])]]));
        let (command, items) = read(&["gzip -9 {} > {.}.z", ":::", "a"], Manner::ByWords).expect("a command");
        assert_eq!((command, items), (CommandLine::Shell("gzip -9 {} > {.}.z".into()), vec![vec![words(&["a"])]]));
    }

    #[test]
    fn lists_are_combined_or_go_along_with_each_other_and_may_be_files() {
        let lists = |words: &[&str]| read(words, Manner::ByWords).expect("lists").1;
        let (a, b, c) = (words(&["a"]), words(&["b"]), words(&["c", "d"]));
        assert_eq!(lists(&["x", ":::", "a", ":::", "b"]), [[a.clone()], [b.clone()]]);
        assert_eq!(
            lists(&["x", ":::", "a", ":::+", "b", ":::", "c", "d"]),
            [vec![a.clone(), b.clone()], vec![c.clone()]]
        );
        let file = |name: &str| List::Lines(name.into());
        assert_eq!(lists(&["x", "::::", "f", "g", ":::", "a"]), [[file("f")], [file("g")], [a.clone()]]);
        assert_eq!(lists(&["x", ":::", "a", "::::+", "f", "-"]), [[a, file("f"), file("-")]]);
    }

    #[test]
    fn a_command_that_mentions_no_item_gets_it_as_its_last_argument() {
        assert_eq!(command(&["gzip", "-9", ":::", "a"]), exact(&["gzip", "-9", "{}"]));
        assert_eq!(command(&["gzip -9", ":::", "a"]), CommandLine::Shell("gzip -9 {}".into()));
        for known in ["echo {#}", "echo {/.}", "echo {1}", "echo $OCTASKLY_ITEM", "echo ${OCTASKLY_INDEX}"] {
            assert_eq!(command(&[known, ":::", "a"]), CommandLine::Shell(known.into()), "{known}");
        }
        assert_eq!(command(&["grep a{2}", ":::", "f"]), CommandLine::Shell("grep a{2} {}".into()), "no second list");
        assert_eq!(command(&["gzip", "-9", ":::"]), exact(&["gzip", "-9", "{}"]), "an empty list is one");
        assert_eq!(command(&["gzip", "-9"]), exact(&["gzip", "-9"]), "without items nothing is appended");
    }

    #[test]
    fn there_is_a_command_and_every_list_is_named() {
        assert!(matches!(read(&[":::", "a"], Manner::ByWords), Err(CliError::NoCommand)));
        assert!(matches!(read(&[""], Manner::ByWords), Err(CliError::NoCommand)));
        assert!(matches!(read(&["", "x"], Manner::ByWords), Err(CliError::NoCommand)));
        assert!(matches!(read(&["echo", "::::"], Manner::ByWords), Err(CliError::NoFile(_))));
        assert!(matches!(read(&["echo", ":::", "b", "::::"], Manner::ByWords), Err(CliError::NoFile(_))));
        for link in [":::+", "::::+"] {
            let said = read(&["echo", link, "a"], Manner::ByWords);
            assert!(matches!(said, Err(CliError::NothingToLink(word)) if word == link));
        }
    }
}
