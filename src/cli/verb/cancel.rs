//! `octaskly cancel`: ends jobs or tasks.

use std::process::ExitCode;

use super::{Context, last};
use crate::cli::args::CancelArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, text};
use crate::cli::{resolve, value};
use crate::model::limits::MAX_REASON_BYTES;
use crate::model::outcome::Cancellation;

/// Asks for their end; it comes when their processes are gone.
pub(super) fn perform(args: &CancelArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    let reason = resolve::option("--reason", args.reason.as_deref(), |text| value::short(text, MAX_REASON_BYTES))?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let affected = session.client().cancel(selector, Cancellation::Requested(reason)).await?;
        if !context.quiet() {
            let mut page = Page::begin();
            page.line(match affected {
                0 => "nothing to cancel: all of it has ended".to_owned(),
                tasks => format!("cancelled {}", text::count(tasks, "task")),
            })?;
            page.end()?;
        }
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
