//! The command line: what a person types, sees and scripts against.
//!
//! Arguments go through two steps: what was typed (`args`, one structure a
//! verb), then what it means (`resolve`), so that no verb looks at text. The
//! one invariant: every failure is one `error:` line, perhaps one `hint:` line,
//! and a documented exit code. Absent on purpose: sockets, scheduling and the
//! store; a verb asks `client` or starts a node.

use std::process::ExitCode;

/// Runs the command line of this process and says how it is to exit.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
