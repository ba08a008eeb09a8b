//! `octaskly status`: the cluster on one screen.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::StatusArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, json, text};
use crate::model::records::DiskSpace;
use crate::model::views::{StatusView, TaskTotals};

/// Prints it.
pub(super) fn perform(args: &StatusArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let status = session.client().status().await?;
        let mut page = Page::begin();
        if args.json.json.is_some() {
            page.object(&json::Status::from(&status))?;
            page.line("")?;
        } else {
            for line in screen(&status) {
                page.line(line)?;
            }
        }
        page.end()?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn screen(status: &StatusView) -> Vec<String> {
    let mut lines = vec![
        format!(
            "dispatcher  {} at {}, version {}, up {}",
            status.dispatcher.short(),
            status.address,
            status.version,
            status.now.since(status.started_at)
        ),
        format!(
            "workers     {} connected of at most {}, {} of {} busy",
            status.workers,
            status.max_workers,
            status.slots.used,
            text::count(status.slots.total, "slot")
        ),
        format!("jobs        {} not ended", status.jobs_active),
        format!("tasks       {}", totals(&status.tasks)),
        format!("done        {} since the start, {} in the last minute", status.tasks_done, status.tasks_last_minute),
        format!(
            "store       {}, files {}{}",
            text::bytes(status.store_bytes),
            text::bytes(status.files_bytes),
            disk(status.disk)
        ),
    ];
    if status.results_discarded > 0 {
        lines.push(format!("discarded   {} late or unknown results", status.results_discarded));
    }
    lines
}

/// What is to be said of the store's disk: nothing while all is well.
fn disk(space: DiskSpace) -> &'static str {
    match space {
        DiskSpace::Enough => "",
        DiskSpace::Reserve | DiskSpace::Nothing => ", and its disk is full: nothing new is taken until there is room",
    }
}

/// `100: 12 succeeded, 2 failed, 4 running, 82 ready`; only what there is.
pub(super) fn totals(tasks: &TaskTotals) -> String {
    let states = [
        (tasks.succeeded, "succeeded"),
        (tasks.failed, "failed"),
        (tasks.cancelled, "cancelled"),
        (tasks.running, "running"),
        (tasks.ready, "ready"),
        (tasks.waiting, "waiting"),
    ];
    let present: Vec<_> =
        states.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if present.is_empty() { tasks.total.to_string() } else { format!("{}: {}", tasks.total, present.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_name_only_the_states_there_are() {
        let some = TaskTotals { total: 5, running: 2, ready: 3, ..TaskTotals::default() };
        assert_eq!(totals(&some), "5: 2 running, 3 ready");
        assert_eq!(totals(&TaskTotals::default()), "0");
    }
}
