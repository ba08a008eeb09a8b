//! `octaskly retry`: queues failed and cancelled tasks again.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::RetryArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, text};
use crate::cli::resolve;

/// Queues them.
pub(super) fn perform(args: &RetryArgs, context: &Context) -> Result<ExitCode, CliError> {
    let selector = resolve::selector(&args.ids)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let affected = session.client().retry(selector, args.failed).await?;
        if !context.quiet() {
            let mut page = Page::begin();
            page.line(match affected {
                0 => "nothing to retry: none of it has failed".to_owned(),
                tasks => format!("queued {} again", text::count(tasks, "task")),
            })?;
            page.end()?;
        }
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
