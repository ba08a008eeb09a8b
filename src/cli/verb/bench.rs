//! `octaskly bench throughput`, `latency` and `transfer`: figures of this
//! cluster, each beside the bare limit of this machine.
//!
//! The one invariant: whatever way this ends, no job of it is left in the
//! queue, unless the dispatcher itself is gone. Absent: the measuring
//! (`bench/`).

use std::process::ExitCode;

use super::Context;
use super::cluster::{self, Cluster};
use super::interrupts::Interrupts;
use crate::bench::{Bench, BenchError, Figure, Report, Spread, Unit};
use crate::cli::args::{BenchArgs, BenchBoundsArgs, BenchVerb};
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, Table, terminal_width};
use crate::cli::output::{Page, json, text};
use crate::cli::{exit, resolve};
use crate::model::spec::CommandLine;
use crate::node::NodeError;

/// Tasks of a round when nothing is said.
const TASKS: u64 = 5_000;
/// The same of `latency`, which waits for each.
const TASKS_ONE_BY_ONE: u64 = 500;

/// What is measured.
enum Subject {
    Throughput(CommandLine, u64),
    Latency(CommandLine, u64),
    Transfer(u64),
}

/// Measures it and prints the figures.
pub(super) fn perform(args: &BenchArgs, context: &Context) -> Result<ExitCode, CliError> {
    let (subject, bounds) = match &args.verb {
        BenchVerb::Throughput(args) => {
            let (command, tasks) = resolve::bench_tasks(args, TASKS)?;
            (Subject::Throughput(command, tasks), &args.bounds)
        }
        BenchVerb::Latency(args) => {
            let (command, tasks) = resolve::bench_tasks(args, TASKS_ONE_BY_ONE)?;
            (Subject::Latency(command, tasks), &args.bounds)
        }
        BenchVerb::Transfer(args) => (Subject::Transfer(resolve::bench_size(args)?), &args.bounds),
    };
    let plan = resolve::bench_plan(bounds)?;
    context.as_run(subject.at_once(), async {
        let mut interrupts = Interrupts::listen().map_err(NodeError::Signals)?;
        let cluster = tokio::select! {
            cluster = Cluster::find(&bounds.connect, context) => cluster?,
            signal = interrupts.first() => return Ok(exit::of_signal(signal)),
        };
        let Cluster { session, mut embedded } = cluster;
        let place = match &embedded {
            Some(_) => "embedded".to_owned(),
            None => session.client().address().to_string(),
        };
        let bench = Bench::new(session.client(), plan);
        let measured = tokio::select! {
            report = subject.measure(&bench) => report.map(Some).map_err(CliError::from),
            error = cluster::failed(&mut embedded) => Err(error.into()),
            _ = interrupts.first() => Ok(None),
        };
        match embedded {
            // Its queue goes with it.
            Some(embedded) => drop(embedded.stop().await),
            None => {
                bench.abandon().await;
                session.close().await;
            }
        }
        let Some(report) = measured? else { return Ok(exit::of_signal(interrupts.first().await)) };
        print(&report, &subject, &place, bounds)?;
        Ok(ExitCode::SUCCESS)
    })
}

impl Subject {
    async fn measure(&self, bench: &Bench<'_>) -> Result<Report, BenchError> {
        match self {
            Self::Throughput(command, tasks) => bench.throughput(command, *tasks).await,
            Self::Latency(command, tasks) => bench.latency(command, *tasks).await,
            Self::Transfer(size) => bench.transfer(*size).await,
        }
    }

    /// How many tasks an embedded cluster has to run side by side.
    fn at_once(&self) -> u64 {
        match self {
            Self::Throughput(_, tasks) => *tasks,
            Self::Latency(..) => 1,
            // One task, but bytes in both directions, and a client beside it.
            Self::Transfer(_) => 2,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Throughput(..) => "throughput",
            Self::Latency(..) => "latency",
            Self::Transfer(_) => "transfer",
        }
    }

    /// What a round consisted of.
    fn amount(&self, report: &Report) -> String {
        match self {
            Self::Throughput(..) => text::count(report.amount, "task"),
            Self::Latency(..) => text::count(report.amount, "sample"),
            Self::Transfer(_) => text::bytes(report.amount),
        }
    }
}

fn print(report: &Report, subject: &Subject, place: &str, bounds: &BenchBoundsArgs) -> Result<(), CliError> {
    let mut page = Page::begin();
    match bounds.json.json {
        Some(form) => {
            let figures = report.figures.iter().map(|figure| json::Figure::new(figure, subject.name(), place, report));
            page.objects(form, figures)?;
        }
        None => {
            let rounds = report.figures.first().map_or(0, |figure| figure.rounds.len() as u64);
            let (workers, slots) = (text::count(report.workers, "worker"), text::count(report.slots, "slot"));
            let (rounds, each) = (text::count(rounds, "round"), subject.amount(report));
            page.line(format!("{rounds} of {each}, on {workers} with {slots} ({place})"))?;
            page.line("")?;
            for line in table(&report.figures).lines(terminal_width()) {
                page.line(line)?;
            }
        }
    }
    page.end()
}

/// Each figure below its limit; a limit that several have in common stands once.
fn table(figures: &[Figure]) -> Table {
    let columns = [Column::GivesWay("WHAT"), Column::Right("MEDIAN"), Column::Right("SPREAD"), Column::Right("RATIO")];
    let mut table = Table::new(&columns);
    let row = |what: String, unit, spread: Spread, ratio| {
        let (median, lowest, highest) =
            (amount(unit, spread.median), amount(unit, spread.lowest), amount(unit, spread.highest));
        [what, median, format!("{lowest} – {highest}"), ratio]
    };
    let mut before = None;
    for figure in figures {
        if before != Some((&figure.limit, figure.unit)) {
            table.row(row(format!("limit: {}", figure.limit), figure.unit, figure.limit(), "1".to_owned()));
        }
        before = Some((&figure.limit, figure.unit));
        let ratio = figure.ratio().median;
        let ratio = if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") };
        table.row(row(figure.what.clone(), figure.unit, figure.measured(), ratio));
    }
    table
}

/// A number with its unit, to three digits or so.
fn amount(unit: Unit, value: f64) -> String {
    match unit {
        Unit::TasksPerSecond => format!("{}/s", short(value)),
        Unit::BytesPerSecond => format!("{} MB/s", short(value / 1e6)),
        Unit::Seconds if value < 0.001 => format!("{} µs", short(value * 1e6)),
        Unit::Seconds if value < 1.0 => format!("{} ms", short(value * 1e3)),
        Unit::Seconds => format!("{} s", short(value)),
    }
}

fn short(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Round;

    #[test]
    fn numbers_have_three_digits_and_the_unit_that_fits() {
        let shown = [
            amount(Unit::Seconds, 0.000_083_4),
            amount(Unit::Seconds, 0.001_25),
            amount(Unit::Seconds, 2.5),
            amount(Unit::TasksPerSecond, 912.4),
            amount(Unit::BytesPerSecond, 264_000_000.0),
        ];
        assert_eq!(shown, ["83.4 µs", "1.25 ms", "2.50 s", "912/s", "264 MB/s"]);
    }

    #[test]
    fn a_limit_stands_once_above_the_figures_that_share_it() {
        let figure = |what: &str, limit: &str, measured| Figure {
            what: what.to_owned(),
            limit: limit.to_owned(),
            unit: Unit::BytesPerSecond,
            rounds: vec![Round { measured, limit: 2e6 }],
        };
        let figures = [figure("a", "bare", 1e6), figure("b", "bare", 4e6), figure("c", "other", 1e6)];
        let lines = table(&figures).lines(None);
        let (first, last): (Vec<_>, Vec<_>) =
            lines.iter().map(|line| (line.split("  ").next(), line.rsplit(' ').next())).unzip();
        assert_eq!(first, ["WHAT", "limit: bare", "a", "b", "limit: other", "c"].map(Some));
        assert_eq!(last, ["RATIO", "1", "0.50", "2.00", "1", "0.50"].map(Some));
    }
}
