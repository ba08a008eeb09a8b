//! `octaskly progress`: how far jobs are, until they have ended.

use std::process::ExitCode;

use super::interrupts::Interrupts;
use super::{Context, last, wait};
use crate::cli::args::{JsonForm, ProgressArgs};
use crate::cli::error::CliError;
use crate::cli::output::meter::Meter;
use crate::cli::output::{Page, json};
use crate::cli::{exit, resolve};
use crate::model::selector::Part;
use crate::model::views::JobView;
use crate::node::NodeError;

/// Shows it; exit as `wait`.
pub(super) fn perform(args: &ProgressArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    context.as_client(async {
        let mut interrupts = Interrupts::listen().map_err(NodeError::Signals)?;
        let mut session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let found = wait::Awaited::find(session.client(), selector).await?;
        if let Some(Part::Task(task)) = found.tasks.first() {
            return Err(CliError::OnlyWholeJobs(*task));
        }
        let form = args.json.json;
        let mut meter = match form {
            Some(_) => Meter::beside(true),
            None => Meter::asked_for(context.quiet()),
        };
        let news = async |jobs: &[JobView]| match form {
            // An array is whole when all of it has ended; lines say each change as it comes.
            Some(JsonForm::Lines) => print(JsonForm::Lines, jobs),
            _ => Ok(()),
        };
        let again = format!("the jobs go on; `octaskly progress {}` shows them again", wait::typed_again(&args.ids));
        let ended = tokio::select! {
            ended = wait::until_ended_telling(&mut session, found.jobs, &mut meter, news) => ended?,
            code = interrupts.while_looking(context.quiet(), &again) => return Ok(code),
        };
        if form == Some(JsonForm::Array) {
            print(JsonForm::Array, &ended)?;
        }
        meter.end();
        session.close().await;
        Ok(ExitCode::from(if wait::tell(&ended) { exit::SUCCESS } else { exit::FAILURE }))
    })
}

fn print(form: JsonForm, jobs: &[JobView]) -> Result<(), CliError> {
    let mut page = Page::begin();
    page.objects(form, jobs.iter().map(json::Job::from))?;
    page.end()
}
