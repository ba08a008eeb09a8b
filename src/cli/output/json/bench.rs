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
            median: rounded(measured.median),
            lowest: rounded(measured.lowest),
            highest: rounded(measured.highest),
            limit: Limit {
                figure: &figure.limit,
                median: rounded(limit.median),
                lowest: rounded(limit.lowest),
                highest: rounded(limit.highest),
            },
            ratio: Spread {
                median: rounded(ratio.median),
                lowest: rounded(ratio.lowest),
                highest: rounded(ratio.highest),
            },
            rounds: figure.rounds.len() as u64,
            amount: report.amount,
            cluster,
            workers: report.workers,
            slots: report.slots,
        }
    }
}

/// Six significant digits: more are noise.
fn rounded(value: f64) -> f64 {
    if !value.is_finite() || value == 0.0 {
        return value;
    }
    let scale = 10f64.powi(5 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Round;

    #[test]
    fn six_digits_are_shown_and_no_more() {
        assert_eq!(
            [55_091_627.744_7, 0.000_123_456_78, 0.0, 2.0].map(rounded),
            [55_091_600.0, 0.000_123_457, 0.0, 2.0]
        );
    }

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
