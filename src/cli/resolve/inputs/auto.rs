//! `--in auto`: every local file that the command or its items name.
//!
//! The one invariant: the command finds each of them under the path by which it names it; where that cannot be, nothing is
//! submitted. Absent: which words are paths (`named`).

use std::collections::BTreeMap;
use std::ffi::OsStr;

use super::{HERE, Packing, own_templates};
use crate::blob::matches_pattern;
use crate::cli::error::{CliError, Place};
use crate::cli::resolve::named::{Words, is_of_system, local_file, words};
use crate::cli::value::ValueError;
use crate::model::files::{InputSource, tidy};
use crate::model::{Content, FileMode, RawString};

/// What stands behind `--in` instead of a path; a file of that name is `./auto`.
pub(super) const AUTO: &str = "auto";

fn refused(error: ValueError) -> CliError {
    CliError::value(Place::Option("--in"), OsStr::new(AUTO), error)
}

impl Packing<'_> {
    /// Adds what no other `--in` has given; what is an output is left to the task.
    pub(super) fn auto(&mut self) -> Result<(), CliError> {
        let Words { program, others } = words(self.command, self.items);
        // Others are the worker's own.
        let program = program.filter(|word| word.as_bytes().contains(&b'/') && !word.as_bytes().starts_with(b"/"));
        let mut shared = BTreeMap::new();
        for template in program.into_iter().chain(others) {
            let name = tidy(template.as_bytes());
            let is_output = |output: &RawString| *output == name || matches_pattern(output.as_bytes(), name.as_bytes());
            let is_given = self.files.inputs.iter().any(|input| input.name == name);
            if is_given || self.files.outputs.iter().any(is_output) {
                continue;
            }
            if self.varies(template.as_bytes()) {
                self.auto_for_each(&template, name)?;
            } else if let Some(place) = place_of(&template, &template)? {
                shared.insert(place, template);
            }
        }
        if shared.len() > 1 {
            let mut entries = BTreeMap::new();
            for (place, path) in shared {
                let content = self.content(path.as_bytes())?;
                self.unpack(&place, &content, &mut entries)?;
            }
            let tree = self.tree(entries.into_values().collect(), FileMode::ALL, None)?;
            self.add(RawString(HERE.to_vec()), InputSource::Shared(tree));
        } else if let Some((place, path)) = shared.pop_first() {
            let content = self.content(path.as_bytes())?;
            self.add(place, InputSource::Shared(content));
        }
        Ok(())
    }

    /// For each task the file that `template` comes to, where it is one.
    fn auto_for_each(&mut self, template: &RawString, name: RawString) -> Result<(), CliError> {
        let paths = self.filled(template).ok_or_else(|| refused(ValueError::PathTooLong))?;
        let places = paths.iter().map(|path| place_of(template, path)).collect::<Result<Vec<_>, _>>()?;
        let are_all = places.iter().all(Option::is_some);
        if places.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut contents = Vec::with_capacity(paths.len());
        for (path, place) in paths.iter().zip(places) {
            contents.push(match place {
                Some(_) if are_all => self.content(path.as_bytes())?,
                place => self.alone(path, place)?,
            });
        }
        self.add(if are_all { name } else { RawString(HERE.to_vec()) }, InputSource::PerTask(contents));
        Ok(())
    }

    /// A directory with the file at `path` in its place, or with nothing.
    fn alone(&mut self, path: &RawString, place: Option<RawString>) -> Result<Content, CliError> {
        let mut entries = BTreeMap::new();
        if let Some(place) = place {
            let content = self.content(path.as_bytes())?;
            self.unpack(&place, &content, &mut entries)?;
        }
        self.tree(entries.into_values().collect(), FileMode::ALL, None)
    }
}

/// Where a task finds the local file `path`, which the command names by `template`; `None` when there is nothing to send.
fn place_of(template: &RawString, path: &RawString) -> Result<Option<RawString>, CliError> {
    let Some(file) = local_file(path) else { return Ok(None) };
    let is_absolute = path.as_bytes().starts_with(b"/");
    match file.place {
        None if is_absolute && (file.is_directory || is_of_system(path)) => Ok(None),
        None => {
            let name = own_templates(template.as_bytes()).pop().unwrap_or_default();
            Err(refused(ValueError::AutoElsewhere {
                path: path.to_string(),
                template: template.to_string(),
                name: name.to_string(),
            }))
        }
        place => Ok(place),
    }
}
