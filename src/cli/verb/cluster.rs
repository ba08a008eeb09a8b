//! The cluster of a command that works without one: the dispatcher that is
//! known, else a dispatcher and a worker inside this process.
//!
//! The one invariant: an embedded cluster is started only when no dispatcher is
//! known; one that is known and does not answer is an error.

use super::Context;
use crate::cli::args::ConnectArgs;
use crate::cli::error::CliError;
use crate::cli::output::say;
use crate::cli::session::Session;
use crate::node::NodeError;
use crate::node::embedded::{Embedded, EmbeddedOptions};

/// A link to a dispatcher, and that dispatcher itself when it is ours.
pub(super) struct Cluster {
    /// The link.
    pub(super) session: Session,
    /// Ours, when no dispatcher is known.
    pub(super) embedded: Option<Embedded>,
}

impl Cluster {
    /// Finds the one that is meant, or starts one here and says so.
    pub(super) async fn find(args: &ConnectArgs, context: &Context) -> Result<Self, CliError> {
        if let Some(session) = Session::open_known(args, &context.environment, context.quiet()).await? {
            return Ok(Self { session, embedded: None });
        }
        say::note(context.quiet(), "no dispatcher is known: running here, in a cluster of one");
        let embedded = Embedded::start(EmbeddedOptions::default()).await?;
        let session = Session::embedded(&embedded, context.quiet()).await?;
        Ok(Self { session, embedded: Some(embedded) })
    }
}

/// Waits until a cluster of our own cannot go on; for ever where there is none.
pub(super) async fn failed(embedded: &mut Option<Embedded>) -> NodeError {
    match embedded {
        Some(embedded) => embedded.failed().await,
        None => std::future::pending().await,
    }
}
