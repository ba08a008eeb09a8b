//! `octaskly cancel`: ends jobs or tasks.

use std::process::ExitCode;

use super::{Context, changes, last};
use crate::cli::args::CancelArgs;
use crate::cli::error::CliError;
use crate::cli::{resolve, value};
use crate::model::TaskState;
use crate::model::limits::MAX_REASON_BYTES;
use crate::model::outcome::Cancellation;

/// Asks for their end; it comes when their processes are gone.
pub(super) fn perform(args: &CancelArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = changes::of_everyone(resolve::selection(&args.ids)?, args.everyone)?;
    let reason = resolve::option("--reason", args.reason.as_deref(), |text| value::short(text, MAX_REASON_BYTES))?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let unfinished = vec![TaskState::Waiting, TaskState::Ready, TaskState::Running];
        changes::confirm(session.client(), &selector, "Cancel", unfinished, |_| true).await?;
        let (own, named) =
            ("nothing to cancel: all your own jobs have ended", "nothing to cancel: all of it has ended");
        let nothing = changes::nothing(&session, &selector, own, named);
        let changed = session.client().cancel(selector, Cancellation::requested(reason)).await?;
        changes::tell(&session, args.json.json, &changed, "task", &nothing, |tasks| format!("cancelled {tasks}"))?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
