//! Figures: what rounds have shown, as medians and spreads beside a limit.
//!
//! The one invariant: a figure and its limit have the same rounds, and their
//! ratio is the median of the rounds' ratios, so that a disturbance that lasts
//! for some rounds weighs on both sides alike.

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tasks a second: more is better.
    TasksPerSecond,
    /// Bytes a second: more is better.
    BytesPerSecond,
    /// Seconds: less is better.
    Seconds,
}

/// One round: a figure and its limit, measured right after one another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// What this cluster did.
    pub measured: f64,
    /// What the bare machine did.
    pub limit: f64,
}

/// A figure of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What the limit is.
    pub limit: String,
    /// Of both.
    pub unit: Unit,
    /// At least one.
    pub rounds: Vec<Round>,
}

/// The middle and the ends of what several rounds have shown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// Half of the rounds showed no more.
    pub median: f64,
    /// The least of them.
    pub lowest: f64,
    /// The most of them.
    pub highest: f64,
}

impl Figure {
    /// What this cluster did.
    #[must_use]
    pub fn measured(&self) -> Spread {
        self.spread(|round| round.measured)
    }

    /// What the bare machine did.
    #[must_use]
    pub fn limit(&self) -> Spread {
        self.spread(|round| round.limit)
    }

    /// The measured in parts of the limit, round by round.
    #[must_use]
    pub fn ratio(&self) -> Spread {
        self.spread(|round| round.measured / round.limit)
    }

    fn spread(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of).collect())
    }
}

impl Spread {
    /// The spread of `values`; all zero when there is none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        match (values.first(), values.last()) {
            (Some(&lowest), Some(&highest)) => Self { median: middle(&values), lowest, highest },
            _ => Self::default(),
        }
    }
}

/// The middle of sorted values, or the mean of the two in the middle.
fn middle(sorted: &[f64]) -> f64 {
    let upper = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[upper] } else { f64::midpoint(sorted[upper - 1], sorted[upper]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_does_not_move_with_one_bad_round() {
        let spread = Spread::of(vec![3.0, 1.0, 900.0]);
        assert_eq!((spread.median, spread.lowest, spread.highest), (3.0, 1.0, 900.0));
        assert_eq!(Spread::of(vec![1.0, 2.0, 4.0, 900.0]).median, 3.0);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }

    #[test]
    fn a_ratio_compares_rounds_and_not_medians() {
        let round = |measured, limit| Round { measured, limit };
        // A machine that is busy for one round is so for figure and limit.
        let rounds = vec![round(50.0, 100.0), round(5.0, 10.0), round(52.0, 100.0)];
        let figure = Figure { what: String::new(), limit: String::new(), unit: Unit::TasksPerSecond, rounds };
        assert_eq!(figure.ratio().median, 0.5);
        assert_eq!((figure.measured().median, figure.limit().median), (50.0, 100.0));
    }
}
