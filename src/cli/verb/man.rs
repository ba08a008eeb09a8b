//! `octaskly man`: the manual page, of the program or of one command.

use std::ffi::OsStr;
use std::process::ExitCode;

use clap_mangen::Man;

use crate::cli::args::{self, ManArgs};
use crate::cli::error::{CliError, Place};
use crate::cli::output::Page;
use crate::cli::value::ValueError;

/// Prints the page as roff; `octaskly man | man -l -` shows it.
pub(super) fn perform(args: &ManArgs) -> Result<ExitCode, CliError> {
    let mut root = args::command();
    root.build();
    let page_of = match &args.command {
        None => root,
        Some(name) => {
            let found = root.find_subcommand(name).cloned();
            let unknown = || CliError::value(Place::Argument("COMMAND"), OsStr::new(name), ValueError::NotCommand);
            let found = found.ok_or_else(unknown)?;
            let title = format!("octaskly-{}", found.get_name());
            found.name(title)
        }
    };
    let mut roff = Vec::new();
    Man::new(page_of).render(&mut roff).map_err(CliError::output)?;
    let mut page = Page::begin();
    page.bytes(&roff)?;
    page.end()?;
    Ok(ExitCode::SUCCESS)
}
