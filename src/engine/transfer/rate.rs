//! How fast a source has been lately.
//!
//! Invariant: what is said of the last [`WINDOW`] counts whole buckets, so it is at most one bucket behind.
//! Absent: what is too slow (`mod` says).

use crate::model::{Millis, Timestamp};

/// Over which time a rate is taken.
pub(super) const WINDOW: Millis = Millis::from_secs(5);
/// Bytes are counted by spans of this length.
const BUCKET: Millis = Millis(500);
const BUCKETS: usize = (WINDOW.0 / BUCKET.0) as usize;

const _: () = assert!(WINDOW.0.is_multiple_of(BUCKET.0), "the window is whole buckets");

/// Bytes that came in the last while.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    /// A ring: the bucket of a span is its number modulo the length.
    buckets: [u64; BUCKETS],
    /// Number of the span counted last.
    span: u64,
}

impl Rate {
    /// Counts what came now.
    pub(super) fn add(&mut self, now: Timestamp, bytes: u64) {
        self.turn_to(now);
        self.buckets[self.span as usize % BUCKETS] += bytes;
    }

    /// Bytes of the last [`WINDOW`].
    pub(super) fn in_window(&mut self, now: Timestamp) -> u64 {
        self.turn_to(now);
        self.buckets.iter().sum()
    }

    /// Empties the buckets of spans that went by since the last call.
    fn turn_to(&mut self, now: Timestamp) {
        let span = now.0 / (BUCKET.0 * 1000);
        let gone_by = span.saturating_sub(self.span).min(BUCKETS as u64);
        for step in 1..=gone_by {
            self.buckets[(span - gone_by + step) as usize % BUCKETS] = 0;
        }
        self.span = self.span.max(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_longer_ago_than_the_window_counts_no_more() {
        let (mut rate, at) = (Rate::default(), Timestamp::from_millis);
        rate.add(at(1_000_000), 100);
        rate.add(at(1_002_000), 10);
        assert_eq!(rate.in_window(at(1_004_400)), 110);
        assert_eq!(rate.in_window(at(1_005_400)), 10);
        assert_eq!(rate.in_window(at(1_007_400)), 0);
        rate.add(at(9_000_000), 7);
        assert_eq!(rate.in_window(at(9_000_000)), 7);
    }
}
