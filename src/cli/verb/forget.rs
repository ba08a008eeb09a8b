//! `octaskly forget`: removes ended jobs with their tasks and output.

use std::process::ExitCode;

use super::{Context, changes, last};
use crate::cli::args::ForgetArgs;
use crate::cli::error::CliError;
use crate::cli::resolve;
use crate::model::TaskState;

/// Removes them.
pub(super) fn perform(args: &ForgetArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = changes::of_everyone(resolve::selection(&args.ids)?, args.everyone)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let ended = vec![TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];
        changes::confirm(session.client(), &selector, "Forget", ended, |_| true).await?;
        let nothing =
            changes::nothing(&session, &selector, "forgot 0 jobs: none of your own has ended", "forgot 0 jobs");
        let changed = session.client().forget(selector).await?;
        changes::tell(&session, args.json.json, &changed, "job", &nothing, |jobs| format!("forgot {jobs}"))?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
