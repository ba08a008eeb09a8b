//! The verbs, one file each: from what was typed to what is printed and how
//! the process exits.
//!
//! The one invariant: a verb resolves all its arguments before it asks or
//! starts anything. Absent: parsing, and the form of errors.

mod approve;
mod bench;
mod bring;
mod cancel;
mod changes;
mod clients;
mod cluster;
mod completions;
pub(super) mod describe;
mod dispatcher;
mod doctor;
mod drain;
mod dry_run;
mod ending;
mod explain;
mod forget;
mod get;
mod hwdetect;
mod interrupts;
mod items;
mod last;
mod list;
mod logs;
mod man;
mod peers;
mod progress;
mod queue;
mod retry;
mod revoke;
mod run;
mod show;
mod status;
mod submit;
mod token;
mod unsent;
mod wait;
mod worker;
mod workers;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use super::args::{ConnectArgs, GlobalArgs, LowArgs, Verb};
use super::error::CliError;
use super::exit;
use super::resolve::Environment;
use super::session::Session;
use crate::telemetry::{self, LogOptions, Verbosity};

/// How long a node or `get` that has ended waits for calls into the system that were underway.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// What every verb may need beside its own options.
pub(crate) struct Context {
    /// `-v` and `-q`.
    pub(crate) global: GlobalArgs,
    /// The environment at the start.
    pub(crate) environment: Environment,
}

impl Context {
    /// Whether to say nothing but errors.
    pub(crate) fn quiet(&self) -> bool {
        self.global.quiet
    }

    /// Connects to the dispatcher that is meant.
    pub(crate) async fn connect(&self, args: &ConnectArgs) -> Result<Session, CliError> {
        Session::open(args, &self.environment, self.quiet()).await
    }

    /// The log of a client command: warnings, or everything with `-v`.
    fn start_client_log(&self) -> Result<(), CliError> {
        let verbosity = match (self.global.verbose, self.global.quiet) {
            (true, _) => Verbosity::Verbose,
            (false, true) => Verbosity::Quiet,
            (false, false) => Verbosity::Warnings,
        };
        Ok(telemetry::start(&LogOptions { verbosity, ..LogOptions::default() })?)
    }

    /// Runs what a client command does to its end.
    fn as_client<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.start_client_log()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
        let done = runtime.block_on(work);
        // What is still read or looked up in the background is of no interest any more.
        runtime.shutdown_background();
        done
    }

    /// The same for a command that writes files in the background: those that are not whole are removed at its end.
    fn as_receiver<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.start_client_log()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
        let done = runtime.block_on(work);
        runtime.shutdown_timeout(LAST_CALLS);
        done
    }

    /// Runs a `run` or a `bench` to its end: a client, and perhaps a whole cluster beside it.
    ///
    /// One task is served soonest by one thread, which wakes nobody else; many
    /// tasks are served by as many threads as there are processors.
    fn as_run<T>(&self, tasks: u64, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.start_client_log()?;
        let mut runtime = match tasks {
            0 | 1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime.enable_all().build().map_err(CliError::Runtime)?;
        let done = runtime.block_on(work);
        runtime.shutdown_background();
        done
    }

    /// Runs what a node does to its end: on one thread, beside those of its endpoint and its store. A message wakes
    /// each of them at most once; a pool of threads would wake each other for it, which costs more than the work.
    fn as_node<T>(&self, log: &LogOptions, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        telemetry::start(log)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
        let done = runtime.block_on(work);
        // A name server that does not answer, or a process that cannot be reaped, must not hold up the end.
        runtime.shutdown_timeout(LAST_CALLS);
        done
    }
}

/// Does what the command line says.
pub(crate) fn perform(args: &LowArgs, environment: Environment) -> Result<ExitCode, CliError> {
    let context = Context { global: args.global, environment };
    match &args.verb {
        Verb::Dispatcher(args) => dispatcher::perform(args, &context),
        Verb::Worker(args) => worker::perform(args, &context),
        Verb::Run(args) => run::perform(args, &context).or_else(ours),
        Verb::Attach(args) => run::attach(args, &context).or_else(ours),
        Verb::Submit(args) => submit::perform(args, &context),
        Verb::List(args) => list::perform(args, &context),
        Verb::Show(args) => show::perform(args, &context),
        Verb::Explain(args) => explain::perform(args, &context),
        Verb::Logs(args) => logs::perform(args, &context),
        Verb::Wait(args) => wait::perform(args, &context),
        Verb::Progress(args) => progress::perform(args, &context),
        Verb::Cancel(args) => cancel::perform(args, &context),
        Verb::Retry(args) => retry::perform(args, &context),
        Verb::Forget(args) => forget::perform(args, &context),
        Verb::Get(args) => get::perform(args, &context),
        Verb::Workers(args) => workers::perform(args, &context),
        Verb::Peers(args) => peers::perform(args, &context),
        Verb::Doctor(args) => doctor::perform(args, &context),
        Verb::Drain(args) => drain::drain(args, &context),
        Verb::Resume(args) => drain::resume(args, &context),
        Verb::Approve(args) => approve::perform(args, &context),
        Verb::Revoke(args) => revoke::perform(args, &context),
        Verb::Clients(args) => clients::perform(args, &context),
        Verb::Token(args) => token::perform(args, &context),
        Verb::Status(args) => status::perform(args, &context),
        Verb::Hwdetect(args) => hwdetect::perform(args),
        Verb::Bench(args) => bench::perform(args, &context),
        Verb::Completions(args) => completions::perform(args),
        Verb::Man(args) => man::perform(args),
    }
}

/// In `run` every code below 125 may be the task's own, so that whatever went wrong with us is 125.
fn ours(error: CliError) -> Result<ExitCode, CliError> {
    match error.exit_code() {
        exit::USAGE | exit::OURS | exit::NOT_EXECUTABLE | exit::PIPE_CLOSED => Err(error),
        _ => {
            super::output::say::failure(&error);
            Ok(ExitCode::from(exit::OURS))
        }
    }
}
