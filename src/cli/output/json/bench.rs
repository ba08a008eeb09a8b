//! The JSON of `bench`.

use serde::Serialize;

use crate::bench::{self, Report, Unit};

/// One figure of `octaskly bench`, with the limit that was measured beside it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure<'a> {
    bench: &'static str,
    figure: &'a str,
    unit: &'static str,
    median: f64,
    lowest: f64,
    highest: f64,
    limit: Limit<'a>,
    ratio: Spread,
    rounds: u64,
    amount: u64,
    cluster: &'a str,
    workers: u64,
    slots: u64,
}

/// What the bare machine did.
#[derive(Debug, Serialize)]
struct Limit<'a> {
    figure: &'a str,
    median: f64,
    lowest: f64,
    highest: f64,
}

/// The figure in parts of the limit.
#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl<'a> Figure<'a> {
    /// A figure of the bench called `bench`, of the cluster at `cluster`.
    pub(crate) fn new(figure: &'a bench::Figure, bench: &'static str, cluster: &'a str, report: &Report) -> Self {
        let (measured, limit, ratio) = (figure.measured(), figure.limit(), figure.ratio());
        Self {
            bench,
            figure: &figure.what,
            unit: match figure.unit {
                Unit::TasksPerSecond => "tasks/s",
                Unit::BytesPerSecond => "bytes/s",
                Unit::Seconds => "s",
            },
            median: measured.median,
            lowest: measured.lowest,
            highest: measured.highest,
            limit: Limit { figure: &figure.limit, median: limit.median, lowest: limit.lowest, highest: limit.highest },
            ratio: Spread { median: ratio.median, lowest: ratio.lowest, highest: ratio.highest },
            rounds: figure.rounds.len() as u64,
            amount: report.amount,
            cluster,
            workers: report.workers,
            slots: report.slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Round;

    #[test]
    fn a_figure_has_these_keys() {
        let round = Round { measured: 1.0, limit: 2.0 };
        let (what, limit) = ("tasks".to_owned(), "bare".to_owned());
        let figure = bench::Figure { what, limit, unit: Unit::TasksPerSecond, rounds: vec![round] };
        let report = Report { workers: 1, slots: 4, amount: 100, figures: vec![] };
        let text = serde_json::to_string(&Figure::new(&figure, "throughput", "embedded", &report)).expect("encodes");
        assert_eq!(
            text,
            r#"{"bench":"throughput","figure":"tasks","unit":"tasks/s","median":1.0,"lowest":1.0,"highest":1.0,"#
                .to_owned()
                + r#""limit":{"figure":"bare","median":2.0,"lowest":2.0,"highest":2.0},"#
                + r#""ratio":{"median":0.5,"lowest":0.5,"highest":0.5},"rounds":1,"amount":100,"#
                + r#""cluster":"embedded","workers":1,"slots":4}"#
        );
    }
}
