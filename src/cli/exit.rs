//! The exit codes of docs/HELP.md, by name. A task's own code passes through
//! `run` unchanged and is not listed here.

use std::process::ExitCode;

use crate::node::EndSignal;

/// All went well.
pub(crate) const SUCCESS: u8 = 0;
/// Something asked about failed, or a node could not start or go on.
pub(crate) const FAILURE: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// `submit --strict`: no connected worker could ever run it.
pub(crate) const UNPLACEABLE: u8 = 3;
/// A time limit or `--timeout` was over.
pub(crate) const TIMEOUT: u8 = 124;
/// Octaskly itself failed, or there is no dispatcher.
pub(crate) const OURS: u8 = 125;
/// A command that cannot be executed, as in the shell: an item is too large to be an argument.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The reader of our output went away: 128 and SIGPIPE, as any other tool dies of it.
pub(crate) const PIPE_CLOSED: u8 = 141;

/// The exit code for a task's own code: its low eight bits, as the system keeps them, but never
/// 0 for a failure.
pub(crate) fn of_task(code: i32) -> ExitCode {
    let low = u8::try_from(code & 0xff).unwrap_or(FAILURE);
    ExitCode::from(if low == 0 && code != 0 { FAILURE } else { low })
}

/// The exit code of a command that ended because of `signal`: 128 and its number.
pub(crate) fn of_signal(signal: EndSignal) -> ExitCode {
    ExitCode::from(match signal {
        EndSignal::HangUp => 129,
        EndSignal::Interrupt => 130,
        EndSignal::Terminate => 143,
    })
}
