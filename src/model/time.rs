//! Instants and durations as numbers. Absent on purpose: any way to ask what
//! time it is; the shells pass `now` in.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, in the clock of the node that says it.
///
/// A shell anchors it once at its start and then only adds elapsed monotonic
/// time, so within one process it never goes back, whatever is done to the
/// wall clock. Across nodes it is compared only after correction by the offset
/// learnt from the dispatcher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The instant `ms` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1000)
    }

    /// Time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Millis {
        Millis(self.0.saturating_sub(earlier.0) / 1000)
    }
}

impl Add<Millis> for Timestamp {
    type Output = Timestamp;

    fn add(self, span: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0.saturating_mul(1000)))
    }
}

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// `s` whole seconds.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// What is left of it without `other`; nothing when that is longer.
    #[must_use]
    pub const fn minus(self, other: Millis) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The same length for the standard library.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// How long a dispatcher has run, all its starts taken together.
///
/// It advances with the monotonic clock of the running process alone. What the wall clock says, and the time while no
/// dispatcher runs or the machine is suspended, do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uptime {
    /// What earlier starts had counted.
    pub before: Millis,
    /// When this start began, in its own time.
    pub since: Timestamp,
}

impl Uptime {
    /// How long it had run at `now`, an instant of this start.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Millis {
        Millis(self.before.0.saturating_add(now.since(self.since).0))
    }
}

impl fmt::Display for Millis {
    /// `250 ms`, `1.2 s`, `12 s`, `5 min`, `2 h 30 min`, `1 h`: what a person would write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms @ 0..1_000 => write!(f, "{ms} ms"),
            ms @ 1_000..10_000 if ms % 1000 != 0 => write!(f, "{:.1} s", ms as f64 / 1000.0),
            ms @ 1_000..60_000 => write!(f, "{} s", ms / 1000),
            ms @ 60_000..3_600_000 if ms % 60_000 >= 1000 => {
                write!(f, "{} min {} s", ms / 60_000, ms % 60_000 / 1000)
            }
            ms @ 60_000..3_600_000 => write!(f, "{} min", ms / 60_000),
            ms if ms % 3_600_000 >= 60_000 => write!(f, "{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
            ms => write!(f, "{} h", ms / 3_600_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_adds_up_over_starts_whose_clocks_disagree() {
        let first = Uptime { before: Millis(0), since: Timestamp::from_millis(5_000_000) };
        let before = first.at(Timestamp::from_millis(5_000_700));
        let second = Uptime { before, since: Timestamp::from_millis(10) };
        assert_eq!((before, second.at(Timestamp::from_millis(310))), (Millis(700), Millis(1000)));
    }

    #[test]
    fn durations_read_as_a_person_would_write_them() {
        let said = |ms| Millis(ms).to_string();
        assert_eq!(
            [said(0), said(250), said(1_234), said(12_000), said(300_000), said(330_000), said(9_000_000)],
            ["0 ms", "250 ms", "1.2 s", "12 s", "5 min", "5 min 30 s", "2 h 30 min"]
        );
    }
}
