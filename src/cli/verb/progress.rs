//! `octaskly progress`: how far jobs are, until they have ended.

use std::process::ExitCode;

use super::{Context, last, wait};
use crate::cli::args::ProgressArgs;
use crate::cli::error::CliError;
use crate::cli::output::meter::Meter;
use crate::cli::{exit, resolve};
use crate::model::selector::Part;

/// Shows it; exit as `wait`.
pub(super) fn perform(args: &ProgressArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    context.as_client(async {
        let mut session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let found = wait::Awaited::find(session.client(), selector).await?;
        if let Some(Part::Task(task)) = found.tasks.first() {
            return Err(CliError::OnlyWholeJobs(*task));
        }
        let mut meter = Meter::asked_for(context.quiet());
        let ended = wait::until_ended_showing(&mut session, found.jobs, &mut meter).await?;
        meter.end();
        session.close().await;
        Ok(ExitCode::from(if wait::tell(&ended) { exit::SUCCESS } else { exit::FAILURE }))
    })
}
