//! What `run`, `submit` and `wait` say of local files that a command names and that were not sent.
//!
//! The one invariant: it is one line at most, and an answer that does not come costs the hint and nothing else.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use super::Context;
use crate::cli::error::CliError;
use crate::cli::output::say;
use crate::cli::resolve::{Here, JobPlan};
use crate::client::Client;
use crate::model::requests::{JobFilter, TaskFilter};
use crate::model::selector::Selector;
use crate::model::views::TaskView;
use crate::model::{JobId, Outcome, TaskState};

/// A hint is not worth waiting longer for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Failed tasks among which one is looked for that lacks a file.
const LOOKED_AT: u32 = 20;

/// Says before a job is queued that its program or script is a local file that no worker will find; whether it said so.
///
/// # Errors
/// With `--strict` that is an error.
pub(super) fn warn_of_script(plan: &JobPlan, verb: &str, context: &Context) -> Result<bool, CliError> {
    let here = Here { spec: &plan.spec, environment: &context.environment, is_elsewhere: true };
    let Some((text, command)) = here.script(verb) else { return Ok(false) };
    if plan.strict {
        return Err(CliError::ScriptStaysHere { text, command });
    }
    say::warning(context.quiet(), &text, Some(&format!("to send it: {command}")));
    Ok(true)
}

/// After a job failed: says which local file one of its tasks named and was not sent.
pub(super) async fn tell(client: &Client, job: JobId, is_embedded: bool, context: &Context) {
    if context.quiet() {
        return;
    }
    if let Ok(Some(hint)) = tokio::time::timeout(PATIENCE, hint(client, job, is_embedded, context)).await {
        say::hint(&hint);
    }
}

async fn hint(client: &Client, job: JobId, is_embedded: bool, context: &Context) -> Option<String> {
    let of = Selector::job(job);
    let states = vec![TaskState::Failed];
    let failed = client.tasks(TaskFilter { of: of.clone(), states, after: None, limit: LOOKED_AT }).await.ok()?;
    let failed: Vec<&TaskView> = failed.iter().filter(|task| task.outcome.as_ref().is_some_and(may_lack)).collect();
    if failed.is_empty() {
        return None;
    }
    let jobs = client.jobs(JobFilter { only: Some(of), limit: 1, ..JobFilter::default() }).await.ok()?;
    let spec = jobs.first()?.spec.as_ref()?;
    for task in failed {
        let is_elsewhere = !is_embedded && ran_elsewhere(client, task).await;
        let here = Here { spec: spec.spec(), environment: &context.environment, is_elsewhere };
        if let Some(hint) = here.hint(task.task.index) {
            return Some(hint);
        }
    }
    None
}

/// Whether a task that lacks a file may end so.
fn may_lack(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Exited(_) | Outcome::SpawnFailed(_) | Outcome::OutputMissing(_))
}

/// Whether its worker is known to be on another machine than this command.
async fn ran_elsewhere(client: &Client, task: &TaskView) -> bool {
    let Some(worker) = task.decisive().map(|attempt| &attempt.worker) else { return false };
    let Ok(workers) = client.workers().await else { return false };
    let address = workers.iter().find(|view| view.name == *worker).and_then(|view| view.address.as_deref());
    let Some(ip) = address.and_then(|address| address.parse::<std::net::SocketAddr>().ok()) else { return false };
    // One that reaches its dispatcher by loopback is where the dispatcher is.
    let ip = if ip.ip().is_loopback() { client.address().ip() } else { ip.ip() };
    !is_own(ip)
}

/// Whether an address is one of this machine's: a socket can have it.
fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip.to_canonical(), 0)).is_ok()
}
