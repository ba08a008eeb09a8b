//! Which words of a command are code for another interpreter: `sh -c CODE`, `perl -e CODE`, `eval CODE`, `ssh HOST CODE`.
//!
//! However well an item is quoted for the outer shell, such a program reads it as a part of its own language. Programs are
//! found by name in any position, so that a wrapper (`env`, `nice`, `xargs`, `find -exec`) hides none. Absent: code that
//! reaches an interpreter on another way, through a variable or a file; there is no placeholder in that.

use super::unfit::{Code, Reason};
use super::word::Word;

/// Words in front of a command that are not its name.
pub(super) const KEYWORDS: &[&[u8]] =
    &[b"if", b"then", b"elif", b"else", b"while", b"until", b"do", b"!", b"time", b"function", b"coproc"];
/// Builtins that run the command behind them.
const RUNNERS: &[&[u8]] = &[b"command", b"builtin", b"exec", b"nohup"];
/// Programs that only take names of programs for text.
const READERS: &[&[u8]] = &[b"echo", b"printf", b"grep", b"egrep", b"fgrep", b"rg", b"for", b"case", b"select"];
/// Shells that read POSIX's language, as far as the lexer knows it.
const POSIX_SHELLS: &[&[u8]] = &[b"sh", b"bash", b"dash", b"ash", b"ksh", b"mksh", b"zsh", b"yash", b"rbash", b"rksh"];
/// Other shells, whose options look the same.
const OTHER_SHELLS: &[&[u8]] = &[b"fish", b"csh", b"tcsh"];
/// Programs that send their arguments to a shell on another machine.
const REMOTE_SHELLS: &[&[u8]] = &[b"ssh", b"slogin", b"rsh", b"autossh"];
/// Comparisons of `[[ ]]` that bash takes for arithmetic, in which a value can hold a command; and the test of a variable.
const ARITHMETIC_TESTS: &[&[u8]] = &[b"-eq", b"-ne", b"-lt", b"-le", b"-gt", b"-ge", b"-v"];

/// An interpreter that takes code as an option.
struct Interpreter {
    names: &'static [&'static str],
    /// Letters of options with code.
    code: &'static str,
    /// Long options with code.
    long: &'static [&'static str],
    /// Letters of options with another value.
    values: &'static str,
    /// Letters of options whose value is in the same word, if they have one.
    attached: &'static str,
    /// The first argument is code, unless an option with one of these letters names a file of it.
    unless: Option<&'static str>,
    /// Its options may stand behind its arguments.
    anywhere: bool,
    /// What to write instead.
    instead: &'static str,
}

const NONE: Interpreter = Interpreter {
    names: &[],
    code: "",
    long: &[],
    values: "",
    attached: "",
    unless: None,
    anywhere: false,
    instead: "read the item from the variable OCTASKLY_ITEM",
};

const INTERPRETERS: &[Interpreter] = &[
    Interpreter {
        names: &["python", "pypy"],
        code: "c",
        values: "WX",
        instead: "python3 -c 'import sys; … sys.argv[1] …' {}",
        ..NONE
    },
    Interpreter {
        names: &["perl"],
        code: "eE",
        values: "I",
        attached: "iMmxFDlV0",
        instead: "perl -e '… $ARGV[0] …' -- {}",
        ..NONE
    },
    Interpreter {
        names: &["ruby"],
        code: "e",
        values: "IrCE",
        attached: "ixF0W",
        instead: "ruby -e '… ARGV[0] …' -- {}",
        ..NONE
    },
    Interpreter {
        names: &["node", "nodejs", "bun"],
        code: "ep",
        long: &["--eval", "--print"],
        values: "rC",
        instead: "node -e '… process.argv[1] …' -- {}",
        ..NONE
    },
    Interpreter {
        names: &["php"],
        code: "rBRE",
        long: &["--run", "--process-begin", "--process-code", "--process-end"],
        values: "dczfF",
        instead: "php -r '… $argv[1] …' -- {}",
        ..NONE
    },
    Interpreter {
        names: &["awk", "gawk", "mawk", "nawk", "original-awk", "goawk"],
        code: "e",
        long: &["--source"],
        values: "vFfEi",
        unless: Some("fEe"),
        instead: "awk '… ENVIRON[\"OCTASKLY_ITEM\"] …', with a space in braces that are to stay empty: { }",
        ..NONE
    },
    Interpreter { names: &["lua", "luajit", "Rscript", "R", "octave"], code: "e", long: &["--eval"], ..NONE },
    Interpreter {
        names: &["julia"],
        code: "eE",
        long: &["--eval", "--print"],
        instead: "julia -e '… ARGS[1] …' {}",
        ..NONE
    },
    Interpreter { names: &["osascript", "elixir", "scala", "groovy", "raku"], code: "e", ..NONE },
    Interpreter { names: &["guile", "tclsh", "xonsh", "nu", "elvish"], code: "c", ..NONE },
    Interpreter { names: &["emacs"], long: &["--eval", "--execute"], ..NONE },
    Interpreter { names: &["pwsh", "powershell"], code: "cC", unless: Some("fF"), ..NONE },
    Interpreter {
        names: &["su", "runuser", "flock", "script"],
        code: "c",
        long: &["--command", "--session-command"],
        anywhere: true,
        ..NONE
    },
    Interpreter { names: &["nix-shell"], long: &["--run", "--command"], anywhere: true, ..NONE },
];

/// What a command makes of its placeholders.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Numbers of the words that are code, and for what.
    pub(super) words: Vec<(usize, Reason)>,
    /// What it reads from its standard input is code.
    pub(super) stdin: Option<Reason>,
    /// Number of the word that is a line for a POSIX shell which is the program itself.
    pub(super) line: Option<usize>,
}

/// Looks at a command whose words are `words`; `in_test` says that it is a part of `[[ ]]`. A job has `lists` lists.
pub(super) fn look(words: &[Word], in_test: bool, lists: usize) -> Findings {
    let mut found = Findings::default();
    // An option in front of a name belongs to `command`, `exec` or `time`.
    let runs = |text: &[u8]| RUNNERS.contains(&text) || text.starts_with(b"-");
    let program = words.iter().take_while(|word| word.is_assignment() || word.known().is_some_and(runs)).count();
    let Some(first) = words.get(program) else { return found };
    let name = first.known().unwrap_or_default();
    if READERS.contains(&name) {
        if name == b"printf" {
            found.variable_name(words, program + 1, b"-v");
        }
        return found;
    }
    found.builtin(words, program, in_test);
    if first.known().is_none() {
        found.unknown_program(words, program);
    }
    for at in program..words.len() {
        let Some(path) = words[at].known() else { continue };
        let Some(name) = program_name(path) else { continue };
        if POSIX_SHELLS.contains(&name) || OTHER_SHELLS.contains(&name) {
            found.shell(words, at, name, lists);
        } else if REMOTE_SHELLS.contains(&name) {
            found.remote_shell(words, at, name);
            break;
        } else if name == b"cmd" {
            found.windows_shell(words, at);
            break;
        } else if matches!(path, b"watch" | b"parallel") {
            found.rest(words, at + 1, &code(name, NONE.instead));
            break;
        } else if let Some(interpreter) = interpreter(name) {
            // What has a common name is meant only where it is the system's.
            if interpreter.anywhere && path != name && !path.starts_with(b"/usr/bin/") && !path.starts_with(b"/bin/") {
                continue;
            }
            found.interpreter(words, at, name, interpreter);
            if interpreter.anywhere {
                break;
            }
        }
    }
    found
}

/// The name of a program without its directory, its version and `.exe`.
fn program_name(path: &[u8]) -> Option<&[u8]> {
    let name = path.rsplit(|byte| matches!(byte, b'/' | b'\\')).next()?;
    let name = name.strip_suffix(b".exe").unwrap_or(name);
    let version = name.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    Some(&name[..name.len() - version]).filter(|name| !name.is_empty())
}

fn interpreter(name: &[u8]) -> Option<&'static Interpreter> {
    INTERPRETERS.iter().find(|interpreter| interpreter.names.iter().any(|known| known.as_bytes() == name))
}

fn code(program: &[u8], instead: &str) -> Reason {
    Reason::Code(Code { program: String::from_utf8_lossy(program).into_owned(), instead: instead.to_owned() })
}

impl Findings {
    fn word(&mut self, words: &[Word], at: usize, reason: &Reason) {
        if words.get(at).is_some_and(Word::has_places) {
            self.words.push((at, reason.clone()));
        }
    }

    fn rest(&mut self, words: &[Word], from: usize, reason: &Reason) {
        (from..words.len()).for_each(|at| self.word(words, at, reason));
    }

    /// `OPTION NAME`: what names a variable may hold a subscript, which is code.
    fn variable_name(&mut self, words: &[Word], from: usize, option: &[u8]) {
        if let Some(at) = (from..words.len()).find(|at| words[*at].text == option) {
            self.word(words, at + 1, &Reason::Subscript);
        }
    }

    /// Builtins of shells that evaluate their arguments once more.
    fn builtin(&mut self, words: &[Word], program: usize, in_test: bool) {
        let name = words[program].known().unwrap_or_default();
        let is_part_of_test = |word: &Word| word.known().is_some_and(|text| matches!(text, b"[[" | b"]]"));
        let compares = |word: &Word| word.known().is_some_and(|text| ARITHMETIC_TESTS.contains(&text));
        // A shell without `[[ ]]` takes what stands there for commands.
        if (in_test || words.iter().any(is_part_of_test)) && words.iter().any(compares) {
            self.rest(words, 0, &Reason::Subscript);
        }
        match name {
            b"eval" => {
                self.rest(words, program + 1, &code(name, "eval \"$OCTASKLY_ITEM\", when it is meant to be run"))
            }
            b"trap" => self.word(words, program + 1, &code(name, "trap '… \"$OCTASKLY_ITEM\" …' EXIT")),
            b"alias" => self.rest(words, program + 1, &code(name, NONE.instead)),
            b"let" | b"read" | b"unset" | b"mapfile" | b"readarray" | b"getopts" => {
                self.rest(words, program + 1, &Reason::Subscript);
            }
            b"test" | b"[" => self.variable_name(words, program + 1, b"-v"),
            b"declare" | b"typeset" | b"local" | b"export" | b"readonly" => {
                let is_integer = |word: &Word| word.text.starts_with(b"-") && word.text.contains(&b'i');
                let all = words.iter().any(is_integer);
                for at in program + 1..words.len() {
                    // Behind `=` it is a value.
                    if all || !words[at].is_assignment() || words[at].source.starts_with(b"{") {
                        self.word(words, at, &Reason::Subscript);
                    }
                }
            }
            _ => {}
        }
    }

    /// A program that only the task knows may be a shell.
    fn unknown_program(&mut self, words: &[Word], program: usize) {
        let reason = code(b"that program", NONE.instead);
        for at in program + 1..words.len() {
            let is_code_option = matches!(&words[at - 1].text[..], b"-c" | b"-e" | b"-ec" | b"-lc" | b"/c" | b"--eval");
            let looks_like_code = words[at].text.iter().any(|byte| b" \t\n;|&'\"()$".contains(byte));
            if is_code_option && (words[program].has_places() || looks_like_code) {
                self.word(words, at, &reason);
            }
        }
    }

    /// `sh [OPTIONS] -c [OPTIONS] CODE`, or a shell that reads its code from its input.
    fn shell(&mut self, words: &[Word], program: usize, name: &[u8], lists: usize) {
        let (mut takes_code, mut reads_input) = (false, false);
        let mut at = program + 1;
        while let Some(word) = words.get(at) {
            match &word.text[..] {
                _ if word.opaque => break,
                b"--" | b"-" => {
                    at += 1;
                    break;
                }
                b"--rcfile" | b"--init-file" => at += 1,
                text if text.starts_with(b"--") => takes_code |= text.starts_with(b"--command"),
                [b'-' | b'+', letters @ ..] => {
                    takes_code |= letters.contains(&b'c') || word.has_places();
                    reads_input |= letters.contains(&b's');
                    at += letters.iter().filter(|letter| matches!(letter, b'o' | b'O')).count();
                }
                _ => break,
            }
            at += 1;
        }
        if takes_code {
            while words.get(at).is_some_and(Word::may_vanish) {
                at += 1;
            }
            let is_program = program == 0 && POSIX_SHELLS.contains(&name);
            if is_program && words.get(at).is_some_and(|word| word.has_places() && !word.text.is_empty()) {
                self.line = Some(at);
            }
            if words.get(at).is_some_and(Word::has_places) {
                let reason = code(name, &Self::instead_of(name, &words[at], lists));
                self.word(words, at, &reason);
            }
        } else if reads_input || at >= words.len() {
            let name = String::from_utf8_lossy(name);
            self.stdin = Some(code(name.as_bytes(), &format!("{name} -s -- {{}}, and \"$1\" in the code")));
        }
    }

    /// The command of a shell that takes the item as an argument.
    fn instead_of(name: &[u8], word: &Word, lists: usize) -> String {
        let name = String::from_utf8_lossy(name);
        let positional = if word.opaque { None } else { super::line::positional(&word.source, lists) };
        match positional {
            _ if word.text.is_empty() && !word.opaque => {
                format!("{name} -c 'eval \"$1\"' {name} {{}}, when it is meant to be run")
            }
            Some((line, arguments)) => format!("{name} -c {line} {name} {arguments}"),
            None => format!("{name} -c '… \"$1\" …' {name} {{}}"),
        }
    }

    /// `ssh [OPTIONS] HOST CODE…`
    fn remote_shell(&mut self, words: &[Word], program: usize, name: &[u8]) {
        let instead = "printf '%s\\n' {} | ssh HOST 'read -r item; … \"$item\" …'";
        let reason = code(b"the shell on the other machine", instead);
        let mut at = program + 1;
        while let Some(word) = words.get(at).filter(|word| word.text.starts_with(b"-") && word.text.len() > 1) {
            let takes_value =
                b"BbcDEeFIiJLlmOoPpQRSWw".contains(word.text.last().unwrap_or(&b'-')) && word.text.len() == 2;
            let option = word.text.starts_with(b"-o");
            at += 1;
            if option {
                // `ProxyCommand` and its kind are code.
                self.word(words, at - 1, &reason);
            }
            if takes_value {
                if option {
                    self.word(words, at, &reason);
                }
                at += 1;
            }
        }
        self.rest(words, at + 1, &reason);
        if at + 1 >= words.len() {
            self.stdin = Some(code(name, instead));
        }
    }

    /// `cmd /C CODE…`
    fn windows_shell(&mut self, words: &[Word], program: usize) {
        let is_flag = |word: &Word| matches!(&word.text[..], b"/c" | b"/C" | b"/k" | b"/K");
        if let Some(at) = (program + 1..words.len()).find(|at| is_flag(&words[*at])) {
            self.rest(words, at + 1, &code(b"cmd", "use the variable: \"%OCTASKLY_ITEM%\""));
        }
    }

    fn interpreter(&mut self, words: &[Word], program: usize, name: &[u8], interpreter: &Interpreter) {
        let reason = code(name, interpreter.instead);
        let has = |letters: &str, letter: &u8| letters.as_bytes().contains(letter);
        let mut from_file = interpreter.unless.is_none();
        let mut at = program + 1;
        while let Some(word) = words.get(at) {
            let text = &word.text[..];
            if text == b"--" {
                at += 1;
                break;
            }
            if !text.starts_with(b"-") || text == b"-" {
                if !interpreter.anywhere {
                    break;
                }
                at += 1;
                continue;
            }
            let long = text.split(|byte| *byte == b'=').next().unwrap_or_default();
            if text.starts_with(b"--") {
                if interpreter.long.iter().any(|option| option.as_bytes() == long) {
                    self.word(words, at, &reason);
                    at += usize::from(!text.contains(&b'='));
                    self.word(words, at, &reason);
                }
            } else {
                let letters = &text[1..];
                let end = letters.iter().position(|letter| has(interpreter.attached, letter)).unwrap_or(letters.len());
                let letters = &letters[..end];
                from_file |= interpreter.unless.is_some_and(|unless| letters.iter().any(|letter| has(unless, letter)));
                let value = letters.iter().position(|letter| has(interpreter.values, letter));
                if letters[..value.unwrap_or(letters.len())].iter().any(|letter| has(interpreter.code, letter)) {
                    self.word(words, at, &reason);
                    at += 1;
                    self.word(words, at, &reason);
                } else if value.is_some_and(|value| value + 1 == letters.len()) && !word.has_places() {
                    at += 1;
                }
            }
            at += 1;
        }
        if !from_file {
            self.word(words, at, &reason);
        }
        let bare = words[program + 1..].iter().all(|word| matches!(word.known(), Some(b"-" | b"-u")));
        if bare && interpreter.unless.is_none() && !interpreter.anywhere {
            self.stdin = Some(reason);
        }
    }
}
