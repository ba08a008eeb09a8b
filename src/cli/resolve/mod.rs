//! What was typed, together with the environment, becomes what is meant.
//!
//! The one invariant: nothing is understood twice. An option and the variable
//! that overrides it are read by one function, and verbs get values, never
//! text. Absent: anything that asks a dispatcher or touches a node.

mod bench;
mod command;
mod dispatcher;
mod environment;
mod inputs;
mod intake;
mod items;
mod named;
mod resume;
mod selection;
mod submission;
mod target;
mod trust;
mod unsent;
mod workdir;
mod worker;

pub(crate) use bench::{bench_plan, bench_size, bench_tasks};
pub(crate) use dispatcher::dispatcher;
pub(crate) use environment::{Environment, NodeValues, Overridden};
pub(crate) use intake::StdinPlan;
pub(crate) use selection::{Selection, attempt, limit, owner, selection, states, tail, timeout};
pub(crate) use submission::{After, JobPlan, Output, client_grace, job};
pub(crate) use target::{Whereabouts, whereabouts};
pub(crate) use trust::{Approval, TokenPlan, approval, new_name, node_name, revocation, token, token_id};
pub(crate) use unsent::Here;
pub(crate) use worker::worker;

use std::ffi::OsStr;

use super::args::{GlobalArgs, NodeArgs};
use super::error::{CliError, Place};
use super::value::{self, ValueError};
use crate::telemetry::{LogOptions, Verbosity};

/// `given` at `place`, as `parse` understands it.
pub(crate) fn read<T>(
    place: Place,
    given: &OsStr,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<T, CliError> {
    let text = given.to_str().ok_or(ValueError::NotText);
    text.and_then(parse).map_err(|error| CliError::value(place, given, error))
}

/// The same for what may be a secret: an error does not repeat it.
pub(crate) fn read_secret<T>(
    place: Place,
    given: &OsStr,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<T, CliError> {
    let text = given.to_str().ok_or(ValueError::NotText);
    text.and_then(parse).map_err(|error| CliError::secret(place, error))
}

/// The option called `name`, when it was given.
pub(crate) fn option<T>(
    name: &'static str,
    given: Option<&OsStr>,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, CliError> {
    given.map(|given| read(Place::Option(name), given, parse)).transpose()
}

/// Bytes of files that a node keeps; `None` leaves it to the disk.
fn file_quota(values: &mut NodeValues<'_>, args: &NodeArgs) -> Result<Option<u64>, CliError> {
    let given = args.file_quota.as_deref();
    let quota = values.text("--file-quota", given, "OCTASKLY_FILE_QUOTA", |text| value::auto_or(text, value::size))?;
    Ok(quota.flatten())
}

/// How a node logs.
fn log_options(values: &mut NodeValues<'_>, args: &NodeArgs, global: GlobalArgs) -> Result<LogOptions, CliError> {
    let flag = |given: bool| given.then_some(OsStr::new("true"));
    let verbose = values.text("--verbose", flag(global.verbose), "OCTASKLY_VERBOSE", value::boolean)?;
    let quiet = values.text("--quiet", flag(global.quiet), "OCTASKLY_QUIET", value::boolean)?;
    let verbosity = match (verbose.unwrap_or(false), quiet.unwrap_or(false)) {
        // Who asks for both, one by option and one by variable, wants to see something.
        (true, _) => Verbosity::Verbose,
        (false, true) => Verbosity::Quiet,
        (false, false) => Verbosity::Normal,
    };
    let format = values.text("--log-format", args.log_format.as_deref(), "OCTASKLY_LOG_FORMAT", value::log_format)?;
    let file = values.path("--log-file", args.log_file.as_deref(), "OCTASKLY_LOG_FILE");
    Ok(LogOptions { verbosity, format: format.unwrap_or_default(), file })
}
