//! What is said on stderr beside the answer: errors, hints, warnings, notes.
//!
//! One line each, and only with a reason. A stderr that cannot be written to
//! changes nothing. `--quiet` leaves the errors.

use std::io::Write as _;

use super::screen;
use crate::cli::error::CliError;
use crate::wire::OutputStream;

/// `error: …` and, where there is something to do about it, `hint: …`.
pub(crate) fn failure(error: &CliError) {
    self::error(&error.line(), error.hint().as_deref());
}

/// The same for what a task or job came to.
pub(crate) fn error(text: &str, hint: Option<&str>) {
    line("error", text);
    if let Some(hint) = hint {
        line("hint", hint);
    }
}

/// What to do about what the task itself has said.
pub(crate) fn hint(text: &str) {
    line("hint", text);
}

/// Something that may not be as the user thinks, with what to do about it.
pub(crate) fn warning(quiet: bool, text: &str, hint: Option<&str>) {
    if quiet {
        return;
    }
    line("warning", text);
    if let Some(hint) = hint {
        line("hint", hint);
    }
}

/// Something worth knowing.
pub(crate) fn note(quiet: bool, text: &str) {
    if !quiet {
        line("note", text);
    }
}

fn line(kind: &str, text: &str) {
    let text = text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    plain(&format!("{kind}: {text}"));
}

/// A line that is no word of ours about anything that happened: how far a job is.
pub(crate) fn plain(text: &str) {
    // One write, so that lines of several processes on one terminal do not mix.
    write(format!("{text}\n").as_bytes());
}

fn write(line: &[u8]) {
    let _ = screen::aside(OutputStream::Stderr, line, || std::io::stderr().write_all(line));
}

/// One line of JSON: about a `run`, whose stdout is its task's.
pub(crate) fn json(object: &impl serde::Serialize) {
    if let Ok(mut line) = serde_json::to_vec(object) {
        line.push(b'\n');
        write(&line);
    }
}
