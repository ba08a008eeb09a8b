//! Why a command cannot be filled in for a task, and what to write instead.

use std::fmt;

use crate::exec::allowance::{LONGEST_STRING, MOST_BYTES};
use crate::exec::program;
use crate::model::RawString;
use crate::model::outcome::{SpawnFailure, SpawnFailureKind};

/// Most characters of an item that a message repeats.
const SHOWN: usize = 60;

/// A task whose item does not fit into its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// The item would be read as code.
    Misplaced(Misplaced),
    /// One argument or variable is longer than a process can be given.
    TooLarge {
        /// What makes it that long: a placeholder, or a variable.
        by: RawString,
        /// How long it is, in bytes.
        bytes: usize,
    },
    /// The item holds a NUL byte, at which every argument ends.
    Nul,
    /// Arguments and variables are together longer than any process can be given.
    TooLong,
}

/// An item in a place where a shell or an interpreter would read it as code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The placeholder as it is typed.
    pub(super) placeholder: RawString,
    /// What it stands for.
    pub(super) value: RawString,
    /// What the place is.
    pub(super) reason: Reason,
}

/// What is special about a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is code for another interpreter.
    Code(Code),
    /// `$((…))`, where a value can be a number only.
    Arithmetic,
    /// `${…}`.
    Expansion,
    /// `$'…'`.
    AnsiQuotes,
    /// Backticks with a backslash in them.
    Backticks,
    /// The word behind `<<`.
    Delimiter,
    /// A here-document whose quoted word is no simple one.
    QuotedDelimiter,
    /// `${1}`, which is also a parameter of the shell.
    Parameter,
    /// The name of a variable, or a number that bash works out.
    Subscript,
    /// Shells do not agree about what is before it.
    Unclear,
}

/// Code for another interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    /// Which.
    pub(super) program: String,
    /// What to write instead.
    pub(super) instead: String,
}

impl Unfit {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = match self {
            Self::TooLarge { .. } | Self::TooLong => {
                "put it into a file that the command reads: --in FILE, or --stdin FILE for all tasks alike"
            }
            Self::Nul => "an item is text, or the name of a file with other bytes",
            Self::Misplaced(misplaced) => return misplaced.hint(),
        };
        text.to_owned()
    }

    /// Whether it is for the size alone.
    #[must_use]
    pub fn is_size(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::TooLong)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misplaced(misplaced) => misplaced.fmt(f),
            Self::TooLarge { by, bytes } => {
                let most = LONGEST_STRING - 1;
                write!(
                    f,
                    "argument list too long: with {by} one argument has {bytes} bytes, at most {most} are possible"
                )
            }
            Self::Nul => f.write_str("the item holds a NUL byte, and no argument can"),
            Self::TooLong => {
                let mib = MOST_BYTES / (1024 * 1024);
                write!(f, "argument list too long: arguments and environment take more than {mib} MiB")
            }
        }
    }
}

impl std::error::Error for Unfit {}

impl From<Unfit> for SpawnFailure {
    fn from(unfit: Unfit) -> Self {
        program::failure(SpawnFailureKind::NotExecutable, format!("{unfit} ({})", unfit.hint()))
    }
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { placeholder, reason, .. } = self;
        let value = self.value.to_string();
        let mut shown: String = value.chars().take(SHOWN).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        match reason {
            Reason::Code(Code { program, .. }) => {
                write!(f, "{placeholder} stands in code for {program}, and {shown:?} would be read as a part of it")
            }
            Reason::Arithmetic => write!(f, "{placeholder} stands in arithmetic, and {shown:?} is not a number"),
            Reason::Delimiter => write!(f, "{placeholder} cannot stand in the word behind <<"),
            Reason::Parameter => write!(f, "${placeholder} is a parameter of the shell or a dollar sign and an item"),
            Reason::QuotedDelimiter => {
                write!(f, "{placeholder} cannot stand in a here-document whose word in quotes is not a simple one")
            }
            Reason::Expansion => write!(f, "{placeholder} stands within ${{…}}, where {shown:?} could become syntax"),
            Reason::AnsiQuotes => write!(f, "{placeholder} stands within $'…', where {shown:?} could become syntax"),
            Reason::Backticks => {
                write!(f, "{placeholder} stands in backticks with a backslash, where {shown:?} could become syntax")
            }
            Reason::Subscript => {
                write!(
                    f,
                    "{placeholder} stands where bash works out names and numbers, and {shown:?} could be run there"
                )
            }
            Reason::Unclear => {
                write!(
                    f,
                    "{placeholder} stands behind quotes that shells read in different ways, and {shown:?} could become syntax"
                )
            }
        }
    }
}

impl Misplaced {
    fn hint(&self) -> String {
        let placeholder = &self.placeholder;
        match &self.reason {
            Reason::Code(Code { instead, .. }) => format!("write {}", instead.replace("{}", &placeholder.to_string())),
            Reason::Arithmetic => "here an item can only be a whole or decimal number: 12".to_owned(),
            Reason::Expansion => format!("write x={placeholder} before it, and \"$x\" there"),
            Reason::AnsiQuotes => format!("end the quotes before it: $'…'{placeholder}"),
            Reason::Backticks => "write $(…) instead of backticks".to_owned(),
            Reason::Delimiter | Reason::QuotedDelimiter => "write a plain word there: <<'EOF'".to_owned(),
            Reason::Parameter => {
                format!(
                    "for the item write {placeholder}, for a dollar sign before it \\${placeholder}, for a parameter $1"
                )
            }
            Reason::Subscript => {
                format!("write x={placeholder} before it, and check that \"$x\" is a name or a number")
            }
            Reason::Unclear => format!("write x={placeholder} at the beginning, and \"$x\" there"),
        }
    }
}
