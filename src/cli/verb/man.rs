//! `octaskly man`: the manual page, of the whole program or of one command.
//!
//! The whole is one page, so that one file has everything: each command is a
//! section of it.

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
    let roff = match &args.command {
        None => whole(root),
        Some(name) => match root.find_subcommand(name) {
            Some(found) => page(found.clone().name(format!("octaskly-{}", found.get_name()))),
            None => return Err(CliError::value(Place::Argument("COMMAND"), OsStr::new(name), ValueError::NotCommand)),
        },
    };
    let mut page = Page::begin();
    page.bytes(&roff.map_err(CliError::output)?)?;
    page.end()?;
    Ok(ExitCode::SUCCESS)
}

/// The page of one command.
fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut roff = Vec::new();
    Man::new(command).render(&mut roff)?;
    Ok(roff)
}

/// One page of everything: the program, then a section for each command.
fn whole(root: clap::Command) -> std::io::Result<Vec<u8>> {
    let commands: Vec<_> = root.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
    let mut roff = Vec::new();
    let program = Man::new(root);
    program.render_title(&mut roff)?;
    program.render_name_section(&mut roff)?;
    program.render_synopsis_section(&mut roff)?;
    program.render_description_section(&mut roff)?;
    program.render_options_section(&mut roff)?;
    for command in commands {
        roff.extend_from_slice(&section(&command, &command.get_name().to_uppercase())?);
        for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
            let name = format!("{} {}", command.get_name(), part.get_name()).to_uppercase();
            roff.extend_from_slice(&section(part, &name)?);
        }
    }
    program.render_extra_section(&mut roff)?;
    program.render_version_section(&mut roff)?;
    Ok(roff)
}

/// One command as a section of the whole page.
fn section(command: &clap::Command, name: &str) -> std::io::Result<Vec<u8>> {
    let mut section = Vec::new();
    let command = Man::new(command.clone());
    command.render_description_section(&mut section)?;
    command.render_synopsis_section(&mut section)?;
    command.render_options_section(&mut section)?;
    // Its sections become those of a section.
    let section = String::from_utf8_lossy(&section).replace(".SH ", ".SS ");
    Ok(format!(".SH \"OCTASKLY {name}\"\n{section}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_section_for_every_command_and_its_options() {
        let mut root = args::command();
        root.build();
        let text = String::from_utf8(whole(root.clone()).expect("a page")).expect("text");
        for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(text.contains(&format!(".SH \"OCTASKLY {}\"", command.get_name().to_uppercase())));
        }
        assert!(text.contains("\\-\\-max\\-workers") && text.contains("\\-\\-time\\-limit"));
        assert!(text.contains(".SH \"OCTASKLY TOKEN CREATE\"") && text.contains("\\-\\-ttl"));
        assert!(text.starts_with(".ie") && !text.contains(".SS NAME"));
    }
}
