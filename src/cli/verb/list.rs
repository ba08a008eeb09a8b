//! `octaskly list`: jobs that have not ended, or those asked for.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::ListArgs;
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Page, json, text};
use crate::cli::resolve;
use crate::model::requests::JobFilter;
use crate::model::views::{JobView, TaskTotals};
use crate::model::{TaskState, Timestamp};
use crate::node::Clock;

/// Prints the jobs, newest first.
pub(super) fn perform(args: &ListArgs, context: &Context) -> Result<ExitCode, CliError> {
    let mut states = resolve::states(args.state.as_ref())?;
    if states.is_empty() && !args.all {
        states = vec![TaskState::Waiting, TaskState::Ready, TaskState::Running];
    }
    let (owner, limit) = (resolve::owner(args.owner.as_ref())?, resolve::limit(args.limit.as_ref())?);
    let filter = JobFilter { only: None, states, owner, limit, before: None };
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let jobs = session.client().jobs(filter).await?;
        Page::rows(args.json.json, jobs.iter().map(json::Job::from), || table(&jobs, Clock::anchored_now().now()))?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Jobs as rows.
pub(super) fn table(jobs: &[JobView], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        Column::Right("ID"),
        Column::GivesWay("NAME"),
        Column::Left("OWNER"),
        Column::Left("STATE"),
        Column::Left("TASKS"),
        Column::Left("SUBMITTED"),
        Column::Right("TIME"),
    ]);
    for job in jobs {
        let ran = job.started_at.map(|from| job.ended_at.unwrap_or(now).since(from));
        table.row([
            job.job.to_string(),
            job.name.clone(),
            job.owner_name.to_string(),
            job.state.to_string(),
            progress(&job.tasks),
            text::ago(job.submitted_at, now),
            ran.map_or_else(|| "-".to_owned(), text::coarse),
        ]);
    }
    table
}

/// `12/100`, and how many of those ended otherwise than well.
fn progress(tasks: &TaskTotals) -> String {
    let mut text = format!("{}/{}", tasks.ended(), tasks.total);
    for (count, word) in [(tasks.failed, "failed"), (tasks.cancelled, "cancelled")] {
        // A single task's state says it already.
        if count > 0 && tasks.total > 1 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::tests::sample_job;

    #[test]
    fn a_list_fits_eighty_columns_and_says_how_far_each_job_is() {
        let long = JobView { name: "x".repeat(200), ..sample_job() };
        let lines = table(&[sample_job(), long], Timestamp::from_millis(65_000)).lines(Some(80));
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(lines[1].contains("2/3, 1 failed") && lines[1].contains("1 min ago"), "{lines:#?}");
    }
}
