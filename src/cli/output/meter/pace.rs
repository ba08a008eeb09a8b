//! How fast a count grows: over the last half minute, or since the last growth that is older than that.

use std::collections::VecDeque;

use crate::model::{Millis, Timestamp};

/// How far back the rate is taken over, and between two samples for that.
const WINDOW: Millis = Millis::from_secs(30);
const SAMPLE: Millis = Millis(500);

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the count was what, oldest first; at most a window of them and one before it.
    samples: VecDeque<(Timestamp, u64)>,
    latest: u64,
}

impl Pace {
    pub(super) fn note(&mut self, now: Timestamp, count: u64) {
        self.latest = count;
        // Tasks that are done again have not ended any more.
        while self.samples.back().is_some_and(|(_, before)| *before > count) {
            self.samples.pop_back();
        }
        if self.samples.back().is_none_or(|(at, before)| now.since(*at) >= SAMPLE && *before != count) {
            self.samples.push_back((now, count));
        }
        // The one before the window stays: what is slow may not grow more often than that.
        while self.samples.get(1).is_some_and(|(at, before)| now.since(*at) > WINDOW && *before < self.latest) {
            self.samples.pop_front();
        }
    }

    /// Whether it has grown while we looked.
    pub(super) fn has_grown(&self) -> bool {
        self.samples.front().is_some_and(|(_, before)| *before < self.latest)
    }

    /// `None` before it has grown while we looked.
    pub(super) fn per_second(&self, now: Timestamp) -> Option<f64> {
        let (since, before) = self.samples.front()?;
        let span = now.since(*since).0 as f64 / 1000.0;
        (self.latest > *before && span > 0.0).then(|| (self.latest - before) as f64 / span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let mut pace = Pace::default();
        pace.note(at(0), 500);
        assert_eq!(pace.per_second(at(1)), None, "nothing has ended while we looked");
        for second in 1..=100 {
            pace.note(at(second), 500 + second);
        }
        for second in 101..=200 {
            pace.note(at(second), 600 + (second - 100) * 10);
        }
        assert!(pace.per_second(at(200)).is_some_and(|rate| (9.0..11.0).contains(&rate)), "{pace:?}");
        assert!(pace.samples.len() <= 64, "samples are kept for the window alone");
    }

    #[test]
    fn slow_tasks_have_a_rate_as_well_and_those_done_again_do_no_harm() {
        let mut pace = Pace::default();
        pace.note(at(0), 0);
        pace.note(at(600), 4);
        assert!(pace.per_second(at(600)).is_some_and(|rate| (0.005..0.01).contains(&rate)), "{pace:?}");
        pace.note(at(640), 4);
        assert!(pace.has_grown() && pace.per_second(at(640)).is_some(), "news of nothing new take nothing away");
        pace.note(at(641), 1);
        assert_eq!(pace.per_second(at(650)), Some(1.0 / 650.0), "from the beginning on one has ended");
    }
}
