//! `octaskly forget`: removes ended jobs with their tasks and output.

use std::process::ExitCode;

use super::{Context, last};
use crate::cli::args::ForgetArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, text};
use crate::cli::resolve;

/// Removes them.
pub(super) fn perform(args: &ForgetArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let affected = session.client().forget(selector).await?;
        if !context.quiet() {
            let mut page = Page::begin();
            page.line(format!("forgot {}", text::count(affected, "job")))?;
            page.end()?;
        }
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
