//! What a node says about itself while it runs: one line an event, on stderr
//! and, when asked for, in a file.
//!
//! The one invariant: a line begins with its RFC 3339 UTC time and its level.
//! Absent: what is said; the rooms that know something say it through
//! `tracing`.

use std::path::PathBuf;

/// How much is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// `--quiet`: errors only.
    Quiet,
    /// Warnings and errors: what a client command says unasked.
    Warnings,
    /// The default of a node: joins and losses, starts and stops.
    #[default]
    Normal,
    /// `--verbose`: debug.
    Verbose,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where lines go and how they look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// How much is said.
    pub verbosity: Verbosity,
    /// In which form.
    pub format: LogFormat,
    /// Also appended to this file.
    pub file: Option<PathBuf>,
}
