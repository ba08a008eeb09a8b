//! How much is being done, for `status`.

use crate::model::Timestamp;

/// Seconds that are looked back on.
const WINDOW: usize = 60;

/// Results recorded and discarded.
#[derive(Debug)]
pub(super) struct Throughput {
    /// Results recorded since the start.
    pub(super) done: u64,
    /// Late or unknown results since the start (G3).
    pub(super) discarded: u64,
    /// Results of the second that each cell was last used for.
    seconds: [(u64, u64); WINDOW],
}

impl Throughput {
    /// Nothing done yet.
    pub(super) fn new() -> Self {
        Self { done: 0, discarded: 0, seconds: [(0, 0); WINDOW] }
    }

    /// One more result.
    pub(super) fn count(&mut self, now: Timestamp) {
        self.done += 1;
        let second = now.0 / 1_000_000;
        let (used_for, results) = &mut self.seconds[(second % WINDOW as u64) as usize];
        if *used_for != second {
            (*used_for, *results) = (second, 0);
        }
        *results += 1;
    }

    /// Results of the last minute.
    pub(super) fn last_minute(&self, now: Timestamp) -> u64 {
        let oldest = (now.0 / 1_000_000).saturating_sub(WINDOW as u64 - 1);
        self.seconds.iter().filter(|(second, _)| *second >= oldest).map(|(_, results)| results).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_of_the_last_minute_count_as_such() {
        let mut throughput = Throughput::new();
        for second in [1, 30, 30, 61] {
            throughput.count(Timestamp(second * 1_000_000));
        }
        assert_eq!(throughput.last_minute(Timestamp(61_000_000)), 3, "that of the first second has aged out");
        assert_eq!(throughput.last_minute(Timestamp(500_000_000)), 0);
        assert_eq!(throughput.done, 4);
    }
}
