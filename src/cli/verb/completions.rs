//! `octaskly completions`: a completion script for a shell.

use std::process::ExitCode;

use crate::cli::args::{self, CompletionsArgs};
use crate::cli::error::CliError;
use crate::cli::output::Page;

/// Prints the script.
pub(super) fn perform(args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    // The generator panics when its writer fails, so it gets one that cannot.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "octaskly", &mut script);
    let mut page = Page::begin();
    page.bytes(&script)?;
    page.end()?;
    Ok(ExitCode::SUCCESS)
}
