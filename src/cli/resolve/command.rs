//! The words behind the options of `run` and `submit`: the command and, behind
//! `:::`, the items it is run for.
//!
//! One word is a line for the shell, more are an exact argument vector. As in
//! GNU parallel a command that mentions no item gets it as its last argument.

use std::ffi::OsString;

use crate::cli::error::CliError;
use crate::model::RawString;
use crate::model::spec::CommandLine;

/// Separates the command from its items.
pub(super) const ITEMS_FOLLOW: &str = ":::";

/// What GNU parallel has beside it, and no command takes for an argument.
const UNKNOWN: [&str; 3] = ["::::", ":::+", "::::+"];

/// What a worker replaces in a command, and the variables that say the same: a
/// command with one of these knows its item and gets none appended.
const MENTIONS: [&str; 8] = ["{}", "{#}", "{.}", "{/}", "{//}", "{/.}", "OCTASKLY_ITEM", "OCTASKLY_INDEX"];

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

/// The command in `words`, and the items behind `:::` when there are any.
pub(super) fn split(words: &[OsString], manner: Manner) -> Result<(CommandLine, Option<Vec<RawString>>), CliError> {
    let raw = |words: &[OsString]| words.iter().map(|word| RawString::from(word.as_os_str())).collect::<Vec<_>>();
    let (mut command, items) = match words.iter().position(|word| word == ITEMS_FOLLOW) {
        Some(at) => (raw(&words[..at]), Some(raw(&words[at + 1..]))),
        None => (raw(words), None),
    };
    if command.first().is_none_or(RawString::is_empty) {
        return Err(CliError::NoCommand);
    }
    if let Some(unknown) = words.iter().filter_map(|word| word.to_str()).find(|word| UNKNOWN.contains(word)) {
        return Err(CliError::UnknownSeparator(unknown.to_owned()));
    }
    if let Some(items) = &items {
        if items.iter().any(|item| item.as_bytes() == ITEMS_FOLLOW.as_bytes()) {
            return Err(CliError::ItemsTwice);
        }
        if items.is_empty() {
            return Err(CliError::NoItems(ITEMS_FOLLOW.to_owned()));
        }
    }
    let by_shell = match manner {
        Manner::ByWords => command.len() == 1,
        Manner::Shell => true,
        Manner::Exact => false,
    };
    if items.is_some() && !command.iter().any(mentions_item) {
        command.push("{}".into());
    }
    let command = if by_shell {
        let words: Vec<&[u8]> = command.iter().map(RawString::as_bytes).collect();
        CommandLine::Shell(words.join(&b' ').into())
    } else {
        CommandLine::Exec(command)
    };
    Ok((command, items))
}

fn mentions_item(word: &RawString) -> bool {
    MENTIONS.iter().any(|mention| word.as_bytes().windows(mention.len()).any(|part| part == mention.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], manner: Manner) -> Result<(CommandLine, Option<Vec<RawString>>), CliError> {
        split(&words.iter().map(OsString::from).collect::<Vec<_>>(), manner)
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
        assert_eq!((command, items), (exact(&["gzip", "{}"]), Some(vec!["a".into(), "b c".into()])));
        let (command, items) = read(&["gzip -9 {} > {.}.z", ":::", "a"], Manner::ByWords).expect("a command");
        assert_eq!((command, items), (CommandLine::Shell("gzip -9 {} > {.}.z".into()), Some(vec!["a".into()])));
    }

    #[test]
    fn a_command_that_mentions_no_item_gets_it_as_its_last_argument() {
        assert_eq!(command(&["gzip", "-9", ":::", "a"]), exact(&["gzip", "-9", "{}"]));
        assert_eq!(command(&["gzip -9", ":::", "a"]), CommandLine::Shell("gzip -9 {}".into()));
        for known in ["echo {#}", "echo {/.}", "echo $OCTASKLY_ITEM", "echo ${OCTASKLY_INDEX}"] {
            assert_eq!(command(&[known, ":::", "a"]), CommandLine::Shell(known.into()), "{known}");
        }
        assert_eq!(command(&["gzip", "-9"]), exact(&["gzip", "-9"]), "without items nothing is appended");
    }

    #[test]
    fn there_is_a_command_and_one_list_of_items() {
        assert!(matches!(read(&[":::", "a"], Manner::ByWords), Err(CliError::NoCommand)));
        assert!(matches!(read(&[""], Manner::ByWords), Err(CliError::NoCommand)));
        assert!(matches!(read(&["", "x"], Manner::ByWords), Err(CliError::NoCommand)));
        assert!(matches!(read(&["echo", ":::"], Manner::ByWords), Err(CliError::NoItems(_))));
        assert!(matches!(read(&["echo", ":::", "a", ":::", "b"], Manner::ByWords), Err(CliError::ItemsTwice)));
        for unknown in ["::::", ":::+", "::::+"] {
            let said = read(&["echo", unknown, "a"], Manner::ByWords);
            assert!(matches!(said, Err(CliError::UnknownSeparator(word)) if word == unknown));
        }
    }
}
