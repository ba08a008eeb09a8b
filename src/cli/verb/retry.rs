//! `octaskly retry`: queues failed and cancelled tasks again.

use std::process::ExitCode;

use super::{Context, last};
use crate::cli::args::RetryArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, say, text};
use crate::cli::resolve;
use crate::client::{Client, ClientError};
use crate::model::TaskState;
use crate::model::requests::TaskFilter;
use crate::model::selector::Selector;
use crate::model::views::Explanation;

/// Queues them.
pub(super) fn perform(args: &RetryArgs, context: &Context) -> Result<ExitCode, CliError> {
    let typed = resolve::selection(&args.ids)?;
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let selector = last::meant(session.client(), typed).await?;
        let affected = session.client().retry(selector.clone(), args.failed).await?;
        if affected > 0
            // What was asked for is done: that this cannot be told is no failure of it.
            && let Ok(Some(stuck)) = nobody_can(session.client(), selector).await
        {
            let hint = "it waits for a worker that can (`octaskly worker` starts one)";
            say::warning(context.quiet(), &stuck, Some(hint));
        }
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

/// Says so when no connected worker could ever run the first of the tasks that wait now; of jobs of one command that
/// is all of them, and a million of them are not asked about.
async fn nobody_can(client: &Client, of: Selector) -> Result<Option<String>, ClientError> {
    let waiting = TaskFilter { of, states: vec![TaskState::Waiting, TaskState::Ready], after: None, limit: 1 };
    let Some(first) = client.tasks(waiting).await?.into_iter().next() else { return Ok(None) };
    let explained = client.explain(Selector::task(first.task)).await?;
    Ok(explained.iter().find_map(stuck))
}

/// The same of one explanation.
fn stuck(explanation: &Explanation) -> Option<String> {
    let Explanation { task, state, waits_for, workers } = explanation;
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
