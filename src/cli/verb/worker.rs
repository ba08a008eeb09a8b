//! `octaskly worker`: runs a worker until it is told to stop.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::WorkerArgs;
use crate::cli::error::CliError;
use crate::cli::resolve;
use crate::node::{NodeError, Shutdown, worker};

/// Runs it; exit 0 after SIGINT, SIGTERM or SIGHUP, 1 when it could not start or cannot go on.
pub(super) fn perform(args: &WorkerArgs, context: &Context) -> Result<ExitCode, CliError> {
    let settings = resolve::worker(args, context.global, &context.environment)?;
    context.as_node(&settings.log, async {
        for overridden in &settings.overridden {
            tracing::warn!("{overridden}");
        }
        let shutdown = Shutdown::on_signals().map_err(NodeError::Signals)?;
        worker::run(settings.options, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
