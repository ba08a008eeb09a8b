//! `octaskly revoke`: throws a worker or client out.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::RevokeArgs;
use crate::cli::error::CliError;
use crate::cli::output::say;
use crate::cli::resolve;
use crate::model::requests::NodeKind;

/// Throws it out without asking back.
pub(super) fn perform(args: &RevokeArgs, context: &Context) -> Result<ExitCode, CliError> {
    let (name, kind) = resolve::revocation(args)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        session.client().revoke(name.clone(), kind).await?;
        let who = match kind {
            Some(NodeKind::Worker) => format!("the worker {name}"),
            Some(NodeKind::Client) => format!("the client {name}"),
            None => name.to_string(),
        };
        say::note(context.quiet(), &format!("revoked {who}: its key stays out for good, its name is free"));
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
