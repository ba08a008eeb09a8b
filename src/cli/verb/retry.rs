//! `octaskly retry`: queues failed and cancelled tasks again.

use std::process::ExitCode;

use super::{Context, changes, last};
use crate::cli::args::RetryArgs;
use crate::cli::error::CliError;
use crate::cli::output::say;
use crate::cli::resolve;
use crate::client::{Client, ClientError};
use crate::model::TaskState;
use crate::model::requests::{JobFilter, OwnerFilter, TaskFilter};
use crate::model::selector::Selector;
use crate::model::views::{Explanation, JobView};

/// Queues them.
pub(super) fn perform(args: &RetryArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = changes::of_everyone(resolve::selection(&args.ids)?, args.everyone)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let to_do = |job: &JobView| job.tasks.failed > 0 || (job.tasks.cancelled > 0 && !args.failed);
        changes::confirm(session.client(), &selector, "Retry tasks of", Vec::new(), to_do).await?;
        let (own, named) =
            ("nothing to retry: none of your own jobs has failed", "nothing to retry: none of it has failed");
        let nothing = changes::nothing(&session, &selector, own, named);
        let changed = session.client().retry(selector.clone(), args.failed).await?;
        if changed.affected > 0
            // What was asked for is done: that this cannot be told is no failure of it.
            && let Ok(Some(stuck)) = nobody_can(session.client(), selector).await
        {
            let hint = "it waits for a worker that can (`octaskly worker` starts one)";
            say::warning(context.quiet(), &stuck, Some(hint));
        }
        changes::tell(&session, args.json.json, &changed, "task", &nothing, |tasks| format!("queued {tasks} again"))?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Says so when no connected worker could ever run the first of the tasks that wait now; of jobs of one command that
/// is all of them, and a million of them are not asked about.
async fn nobody_can(client: &Client, of: Selector) -> Result<Option<String>, ClientError> {
    let states = vec![TaskState::Waiting, TaskState::Ready];
    let of = match of {
        // To list tasks it means everything that an admin sees.
        Selector::All => {
            let (owner, states) = (Some(OwnerFilter::Me), states.clone());
            let own = client.jobs(JobFilter { owner, states, limit: 1, ..JobFilter::default() }).await?;
            let Some(job) = own.first() else { return Ok(None) };
            Selector::job(job.job)
        }
        other => other,
    };
    let waiting = TaskFilter { of, states, after: None, limit: 1 };
    let Some(first) = client.tasks(waiting).await?.into_iter().next() else { return Ok(None) };
    let explained = client.explain(Selector::task(first.task)).await?;
    Ok(explained.iter().find_map(stuck))
}

/// The same of one explanation.
fn stuck(explanation: &Explanation) -> Option<String> {
    let Explanation { task, state, waits_for, workers, .. } = explanation;
    let is_queued = matches!(state, TaskState::Waiting | TaskState::Ready);
    if !is_queued || !workers.iter().all(|worker| worker.never) || (workers.is_empty() && waits_for.is_some()) {
        return None;
    }
    // A few are enough to see why; the rest is for `explain`.
    let some: Vec<String> =
        workers.iter().take(3).map(|one| format!("{} lacks {}", one.worker, one.lacks.join(", "))).collect();
    Some(match some.is_empty() {
        true => format!("task {task} is queued, but no worker is connected"),
        false => format!("task {task} is queued, but no connected worker could ever run it: {}", some.join("; ")),
    })
}
