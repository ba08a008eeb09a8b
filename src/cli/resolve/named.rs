//! Local files that a command names, by its words and by its items.
//!
//! The one invariant: a word counts only where it is certain to be one path: an argument of a vector, a word of a shell
//! command that the shell takes as it stands, or an item. Absent: sending them (`inputs`), and what is said of those that
//! nobody sends (`unsent`).

use std::ffi::OsStr;
use std::fs;
use std::iter::Peekable;
use std::mem;
use std::os::unix::ffi::OsStrExt as _;

use crate::model::files::tidy;
use crate::model::paths::check_path;
use crate::model::spec::CommandLine;
use crate::model::{Items, RawString};

/// Words of a command that may be paths, with their placeholders, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// What is run.
    pub(super) program: Option<RawString>,
    /// What it is given: its arguments, what stands behind `=` in its options, and the items, whether it names them or not.
    pub(super) others: Vec<RawString>,
}

/// The words of `command`, which is run for `items`.
pub(super) fn words(command: &CommandLine, items: &Items) -> Words {
    let mut words = match command {
        CommandLine::Shell(line) => shell_words(line.as_bytes()),
        CommandLine::Exec(argv) => {
            Words { program: argv.first().cloned(), others: argv.iter().skip(1).cloned().collect() }
        }
    };
    let value = |word: &RawString| {
        let at = word.as_bytes().iter().position(|byte| *byte == b'=').filter(|_| word.as_bytes()[0] == b'-')?;
        Some(RawString(word.as_bytes()[at + 1..].to_vec()))
    };
    let values: Vec<RawString> = words.others.iter().filter_map(value).collect();
    words.others.extend(values);
    let whole = match items {
        Items::Subset { of, .. } => of,
        whole => whole,
    };
    match whole {
        Items::List(_) => words.others.push("{}".into()),
        // There it stands for an item of each list.
        Items::Combined(_) => {
            words.others.retain(|word| word.as_bytes() != b"{}");
            words.others.extend((1..=items.lists()).map(|list| format!("{{{list}}}").into()));
        }
        _ => {}
    }
    let mut seen = std::collections::BTreeSet::new();
    words.others.retain(|word| seen.insert(word.clone()));
    words
}

/// The words of a shell command that mean what they say: nothing in them is expanded, and no output is written to them.
fn shell_words(line: &[u8]) -> Words {
    let mut lexer = Lexer { word: None, is_certain: true, is_written: false, is_first: true, words: Words::default() };
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' => lexer.end(),
            b'\'' => lexer.word().extend(bytes.by_ref().take_while(|byte| *byte != b'\'')),
            b'"' => lexer.double_quoted(&mut bytes),
            b'\\' => lexer.word().extend(bytes.next().filter(|byte| *byte != b'\n')),
            b'#' if lexer.word.is_none() => while bytes.next_if(|byte| *byte != b'\n').is_some() {},
            b'<' | b'>' => {
                // The number of a descriptor is no word.
                lexer.word = lexer.word.take().filter(|word| !word.iter().all(u8::is_ascii_digit));
                lexer.end();
                let is_document = byte == b'<' && bytes.peek() == Some(&b'<');
                while bytes.next_if(|byte| b"<>&|-".contains(byte)).is_some() {}
                lexer.is_written = byte == b'>' || is_document;
            }
            _ => {
                lexer.is_certain &= !b"$`*?[".contains(&byte) && (byte != b'~' || lexer.word.is_some());
                lexer.word().push(byte);
            }
        }
    }
    lexer.end();
    lexer.words
}

/// Where the reading of a shell command is.
struct Lexer {
    /// The word that has begun.
    word: Option<Vec<u8>>,
    /// Whether the shell takes it as it stands.
    is_certain: bool,
    /// Whether the next word is where output goes, or ends a here-document.
    is_written: bool,
    /// Whether the program is still to come.
    is_first: bool,
    words: Words,
}

impl Lexer {
    fn word(&mut self) -> &mut Vec<u8> {
        self.word.get_or_insert_default()
    }

    fn double_quoted(&mut self, bytes: &mut Peekable<impl Iterator<Item = u8>>) {
        self.word();
        while let Some(byte) = bytes.next_if(|byte| *byte != b'"') {
            self.is_certain &= byte != b'$' && byte != b'`';
            let byte = match byte {
                b'\\' => bytes.next_if(|byte| b"\\\"$`".contains(byte)).unwrap_or(byte),
                other => other,
            };
            self.word().push(byte);
        }
        bytes.next();
    }

    fn end(&mut self) {
        let Some(word) = self.word.take().map(RawString) else { return };
        let is_certain = mem::replace(&mut self.is_certain, true);
        // Variables may be set before the program is named.
        if mem::replace(&mut self.is_written, false) || (self.is_first && word.as_bytes().contains(&b'=')) {
            return;
        }
        match (mem::replace(&mut self.is_first, false), is_certain) {
            (true, true) => self.words.program = Some(word),
            (false, true) => self.words.others.push(word),
            (_, false) => {}
        }
    }
}

/// A file or directory that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalFile {
    /// Where a task finds it by the same path, when that lies beneath its directory.
    pub(super) place: Option<RawString>,
    pub(super) is_directory: bool,
    pub(super) is_executable: bool,
}

/// What is at `path`; `None` for what cannot be sent, and for this directory and those that it is in.
pub(super) fn local_file(path: &RawString) -> Option<LocalFile> {
    use std::os::unix::fs::PermissionsExt as _;

    let tidied = tidy(path.as_bytes());
    if path.is_empty()
        || tidied.as_bytes().rsplit(|byte| *byte == b'/').next().is_some_and(|last| last == b".." || last == b".")
    {
        return None;
    }
    let found = fs::metadata(OsStr::from_bytes(path.as_bytes())).ok()?;
    (found.is_file() || found.is_dir()).then(|| LocalFile {
        place: check_path(tidied.as_bytes()).is_ok().then_some(tidied),
        is_directory: found.is_dir(),
        is_executable: found.permissions().mode() & 0o111 != 0,
    })
}

/// Directories of which every machine has one of its own.
const SYSTEM: [&str; 13] = [
    "/bin/", "/boot/", "/dev/", "/etc/", "/lib/", "/lib32/", "/lib64/", "/nix/", "/proc/", "/run/", "/sbin/", "/sys/",
    "/usr/",
];

/// Whether every machine can be expected to have a file of its own at this path.
pub(super) fn is_of_system(path: &RawString) -> bool {
    SYSTEM.iter().any(|folder| path.as_bytes().starts_with(folder.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ItemList;

    fn of(command: CommandLine, items: &Items) -> (Option<String>, Vec<String>) {
        let words = words(&command, items);
        (words.program.map(|word| word.to_string()), words.others.iter().map(RawString::to_string).collect())
    }

    fn shell(line: &str) -> (Option<String>, Vec<String>) {
        of(CommandLine::Shell(line.into()), &Items::Single)
    }

    #[test]
    fn the_words_of_a_vector_are_its_arguments_and_the_values_of_its_options() {
        let argv = ["./tool", "a b", "--conf=c.yml", "x=y", "-", "a b"].map(RawString::from).to_vec();
        let (program, others) = of(CommandLine::Exec(argv), &Items::Single);
        assert_eq!(program.as_deref(), Some("./tool"));
        assert_eq!(others, ["a b", "--conf=c.yml", "x=y", "-", "c.yml"]);
    }

    #[test]
    fn only_plain_words_of_a_shell_command_count() {
        let line = "A=1 ./job.sh 'a b' \"c d\" e\\ f $x \"$y\" *.csv ~/z `w` g # no h\ni";
        let (program, others) = shell(line);
        assert_eq!(program.as_deref(), Some("./job.sh"));
        assert_eq!(others, ["a b", "c d", "e f", "g", "i"]);
    }

    #[test]
    fn what_a_shell_command_writes_to_is_no_word_and_what_it_reads_is_one() {
        let (program, others) = shell("wc -l <in.txt >out.txt 2>err.txt 2>&1 | (sort; cat<two) >>all && cat <<END");
        assert_eq!(program.as_deref(), Some("wc"));
        assert_eq!(others, ["-l", "in.txt", "sort", "cat", "two"]);
        assert_eq!(shell("$prog a").0, None);
        assert_eq!(shell("'unfinished"), (Some("unfinished".to_owned()), vec![]));
    }

    #[test]
    fn every_item_may_be_a_path_whether_the_command_names_it_or_not() {
        let list = |items: &[&str]| items.iter().map(|item| RawString::from(*item)).collect::<ItemList>();
        let (_, others) = of(CommandLine::Shell("wc $OCTASKLY_ITEM".into()), &Items::List(list(&["a", "b"])));
        assert_eq!(others, ["{}"]);
        let (_, others) = of(CommandLine::Shell("wc {}.x".into()), &Items::Range { first: 1, last: 3, step: 1 });
        assert_eq!(others, ["{}.x"]);
    }

    #[test]
    fn files_and_directories_count_and_nothing_that_leads_upwards() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = |name: &str| RawString::from(folder.path().join(name).as_os_str());
        fs::write(folder.path().join("f"), "x").expect("a file");
        let file = local_file(&path("f")).expect("it is here");
        assert_eq!((file.place, file.is_directory, file.is_executable), (None, false, false));
        for none in [".", "./", "..", "../..", "no/such/file", ""] {
            assert!(local_file(&none.into()).is_none(), "{none}");
        }
        assert!(local_file(&"/dev/null".into()).is_none(), "a device is nothing to send");
        assert_eq!(local_file(&"./src//cli/".into()).and_then(|found| found.place), Some("src/cli".into()));
        assert!(is_of_system(&"/usr/bin/env".into()) && !is_of_system(&"/usrx".into()));
    }
}
