//! What is said on stderr beside the answer: errors, hints, warnings, notes.
//!
//! One line each, and only with a reason. A stderr that cannot be written to
//! changes nothing. `--quiet` leaves the errors.

use std::io::Write as _;

use crate::cli::error::CliError;

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
    // One write, so that lines of several processes on one terminal do not mix.
    let _ = std::io::stderr().write_all(format!("{kind}: {text}\n").as_bytes());
}

/// One line of JSON: about a `run`, whose stdout is its task's.
pub(crate) fn json(object: &impl serde::Serialize) {
    if let Ok(mut line) = serde_json::to_vec(object) {
        line.push(b'\n');
        let _ = std::io::stderr().write_all(&line);
    }
}
