//! `octaskly approve`: lets a waiting worker in.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::ApproveArgs;
use crate::cli::error::CliError;
use crate::cli::output::say;
use crate::cli::resolve;

/// Lets it in; returns once both sides have proved that they know the code.
pub(super) fn perform(args: &ApproveArgs, context: &Context) -> Result<ExitCode, CliError> {
    let resolve::Approval { name, code } = resolve::approval(args)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        session.client().approve(name.clone(), code).await?;
        say::note(context.quiet(), &format!("approved {name}: it is a worker of this dispatcher from now on"));
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
