//! The node's clock: the only place in the library that asks what time it is.
//!
//! It looks at the wall clock once, at its start, and from then on adds elapsed
//! monotonic time. So within one process time never goes back and never jumps,
//! whatever is done to the machine's clock meanwhile. Absent on purpose: time
//! zones and text; `telemetry` and `cli` render instants.

use std::time::{Duration, Instant, SystemTime};

use crate::model::Timestamp;

/// A clock anchored at one instant. Cheap to copy; all copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The wall clock at the anchor, in microseconds since the Unix epoch.
    anchored_at: Timestamp,
    /// The monotonic clock at the anchor.
    anchor: Instant,
}

impl Clock {
    /// Anchors a clock here and now. One per process is enough.
    ///
    /// A wall clock set before 1970 counts as 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the file that may ask for the time")]
    pub fn anchored_now() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { anchored_at: Timestamp(micros(wall)), anchor: Instant::now() }
    }

    /// What the machine's wall clock shows just now, for those who compare clocks.
    #[must_use]
    pub fn wall_now() -> Timestamp {
        Self::anchored_now().anchored_at
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.anchored_at.0.saturating_add(micros(self.anchor.elapsed())))
    }

    /// The same instant for the timers of the runtime; an instant already past is as good as now.
    #[must_use]
    pub fn deadline(&self, at: Timestamp) -> tokio::time::Instant {
        let since_anchor = Duration::from_micros(at.0.saturating_sub(self.anchored_at.0));
        // An engine may name an instant centuries away for "never"; the timer
        // wheel takes a year for the same.
        let year = Duration::from_secs(365 * 24 * 3600);
        tokio::time::Instant::from_std(self.anchor + since_anchor.min(self.anchor.elapsed() + year))
    }

    /// Waits until `at`; forever when there is no such instant.
    pub async fn sleep_until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => tokio::time::sleep_until(self.deadline(at)).await,
            None => std::future::pending().await,
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    #[test]
    fn a_clock_never_goes_back_and_starts_near_the_wall_clock() {
        let clock = Clock::anchored_now();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        assert!(first > Timestamp::from_millis(1_600_000_000_000), "this machine lives after 2020");
    }

    #[test]
    fn deadlines_keep_their_distance_and_survive_never() {
        let clock = Clock::anchored_now();
        let now = clock.now();
        assert_eq!(clock.deadline(now + Millis(250)) - clock.deadline(now), Duration::from_millis(250));
        let _ = clock.deadline(Timestamp(u64::MAX));
    }
}
