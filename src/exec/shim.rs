//! `octaskly __exec`: the process between worker and task (being built).

use std::process::ExitCode;

/// The whole life of a shim; fd 0 is its worker.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
