//! `octaskly workers`: the roster.

use std::process::ExitCode;

use super::Context;
use crate::cli::args::WorkersArgs;
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Page, json, text};
use crate::model::views::{Usage, WorkerState, WorkerView};

/// Prints the workers.
pub(super) fn perform(args: &WorkersArgs, context: &Context) -> Result<ExitCode, CliError> {
    context.as_client(async {
        let session = context.connect(&args.connect).await?;
        let workers = session.client().workers().await?;
        Page::rows(args.json.json, workers.iter().map(json::Worker::from), || table(&workers))?;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn table(workers: &[WorkerView]) -> Table {
    let mut table = Table::new(&[
        Column::GivesWay("NAME"),
        Column::Left("STATE"),
        Column::Right("SLOTS"),
        Column::Right("CPU"),
        Column::Right("MEMORY"),
        Column::Right("GPU"),
        Column::Left("ADDRESS"),
        Column::Right("LATENCY"),
        Column::Left("VERSION"),
    ]);
    let of = |usage: Usage| format!("{}/{}", usage.used, usage.total);
    for worker in workers {
        table.row([
            worker.name.to_string(),
            match worker.shortage {
                Some(shortage) => format!("{}: {shortage}", state(worker.state)),
                None => state(worker.state).to_owned(),
            },
            of(worker.slots),
            format!("{}/{}", text::cores(worker.cpu.used), text::cores(worker.cpu.total)),
            memory(worker.memory_bytes),
            of(worker.gpus),
            worker.address.clone().unwrap_or_else(|| "-".to_owned()),
            worker.latency_us.map_or_else(|| "-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1000.0)),
            worker.version.clone(),
        ]);
    }
    table
}

/// `4/16G`: one unit for both, the one that suits the total.
fn memory(usage: Usage) -> String {
    let (shift, unit) = if usage.total >= 10 << 30 { (30, "G") } else { (20, "M") };
    format!("{}/{}{unit}", usage.used.div_ceil(1 << shift), usage.total >> shift)
}

/// The word for a worker's state.
fn state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Pending => "pending",
        WorkerState::Idle => "idle",
        WorkerState::Busy => "busy",
        WorkerState::Draining => "draining",
        WorkerState::Suspect => "suspect",
        WorkerState::Lost => "lost",
        WorkerState::Revoked => "revoked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::tests::sample_worker;

    #[test]
    fn the_roster_fits_eighty_columns() {
        let lines = table(&[sample_worker()]).lines(Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(
            words,
            ["worker-01", "busy", "1/4", "1.5/8", "4/16G", "0/0", "127.0.0.1:40000", "0.2", "ms", "1.0.0"]
        );
    }
}
