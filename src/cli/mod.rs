//! The command line: what a person types, sees and scripts against.
//!
//! Arguments go through two steps: what was typed (`args`, one structure a
//! verb), then what it means (`resolve`), so that no verb looks at text. The
//! one invariant: every failure is one `error:` line, perhaps one `hint:` line,
//! and a documented exit code. Absent on purpose: sockets, scheduling and the
//! store; a verb asks `client` or starts a node.

mod args;
mod error;
mod exit;
mod job_log;
mod output;
mod resolve;
mod session;
mod stdin;
mod usage;
mod value;
mod verb;

use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser as _;

use args::{LowArgs, Verb};
use error::CliError;
use output::{Page, say};
use resolve::Environment;

/// Runs the command line of this process, which was perhaps started without a stdin, and says how it is to exit.
#[must_use]
pub fn main(stdin_was_closed: bool) -> ExitCode {
    if stdin_was_closed {
        stdin::was_closed();
    }
    panic::set_hook(Box::new(|info| say::failure(&CliError::bug(info))));
    let args = match LowArgs::try_parse() {
        Ok(args) => args,
        Err(error) => return unparsed(&error),
    };
    let of_node = matches!(args.verb, Verb::Dispatcher(_) | Verb::Worker(_));
    let done = panic::catch_unwind(AssertUnwindSafe(|| verb::perform(&args, Environment::of_process())));
    match done {
        Ok(Ok(code)) => code,
        Ok(Err(CliError::PipeClosed)) => ExitCode::from(exit::PIPE_CLOSED),
        Ok(Err(error)) => {
            say::failure(&error);
            ExitCode::from(error.exit_code())
        }
        // The hook has said what there is to say.
        Err(_) => ExitCode::from(if of_node { exit::FAILURE } else { exit::OURS }),
    }
}

/// What to do with arguments that are no command: print what they ask for, or refuse them.
fn unparsed(error: &clap::Error) -> ExitCode {
    match usage::answer(error) {
        usage::Answer::Print(text) => {
            let mut page = Page::begin();
            match page.bytes(text.as_bytes()).and_then(|()| page.end()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(CliError::PipeClosed) => ExitCode::from(exit::PIPE_CLOSED),
                Err(error) => {
                    say::failure(&error);
                    ExitCode::from(error.exit_code())
                }
            }
        }
        usage::Answer::Help(text) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(exit::USAGE)
        }
        usage::Answer::Error(error) => {
            say::failure(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
