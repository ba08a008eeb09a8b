//! The worker's shell: a process that joins a dispatcher and runs what it is
//! given.
//!
//! The one invariant: what is reported as ended is in the synced outbox first,
//! so neither a lost link nor a killed worker loses a result. Deliberately
//! absent: which task runs when and what is reported (the worker engine's), and
//! how a process is run and contained (`exec`'s).

mod options;

pub use options::{DispatcherAddress, WorkerOptions};

use super::{NodeError, Shutdown};

/// Runs a worker until `shutdown` is raised or it cannot go on.
///
/// A worker without a dispatcher waits for one; a lost dispatcher is waited for
/// while the tasks keep running. Once stopped it has given back what it had not
/// started, ended its tasks and reported them.
///
/// # Errors
/// When it cannot start (home, identity, guard, shim, outbox, an unknown host)
/// or the dispatcher refuses it for good.
#[expect(clippy::unused_async, clippy::unimplemented, reason = "being built")]
pub async fn run(options: WorkerOptions, shutdown: Shutdown) -> Result<(), NodeError> {
    let _ = (options, shutdown);
    unimplemented!()
}
