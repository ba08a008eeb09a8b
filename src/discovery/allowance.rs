//! How many datagrams are looked at before anything about them is proved.
//!
//! Pure: time is passed in. Invariant: whoever sends, and under however many
//! addresses, a bounded number of signatures is checked a second, in bounded
//! memory; and a flood from elsewhere does not use up what neighbours have.
//! Absent: what is in a datagram.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::Timestamp;

/// Beacons a second, and at once, of one address: several nodes may share it.
pub(super) const PER_SOURCE: Rate = Rate { a_second: 20, at_once: 100 };
/// Of all addresses together that a neighbour was heard from.
pub(super) const OF_NEIGHBOURS: Rate = Rate { a_second: 500, at_once: 1000 };
/// Of all others together. A signature takes some 50 µs to check, so strangers can use up half a percent of a
/// processor.
pub(super) const OF_STRANGERS: Rate = Rate { a_second: 100, at_once: 300 };
/// Lines of the log that say who was discovered.
pub(super) const LOG_LINES: Rate = Rate { a_second: 10, at_once: 50 };
/// Addresses with an account of their own; further ones share that of strangers.
const MAX_SOURCES: usize = 1024;

/// So many a second, after so many at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    a_second: u64,
    at_once: u64,
}

/// A bucket that fills as time passes and is emptied by use.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// In millionths, so that every microsecond adds a whole number.
    level: u64,
    at: Timestamp,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Timestamp) -> Self {
        Self { rate, level: rate.at_once * 1_000_000, at: now }
    }

    /// Takes one, if one is there.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        let taken = self.level.checked_sub(1_000_000);
        self.level = taken.unwrap_or(self.level);
        taken.is_some()
    }

    fn fill(&mut self, now: Timestamp) {
        let elapsed = now.0.saturating_sub(self.at.0);
        self.level = (self.level + elapsed.saturating_mul(self.rate.a_second)).min(self.rate.at_once * 1_000_000);
        self.at = self.at.max(now);
    }

    /// Whether it is as good as a new one.
    fn is_full(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        self.level == self.rate.at_once * 1_000_000
    }
}

/// What may still be looked at.
#[derive(Debug)]
pub(super) struct Allowance {
    neighbours: Bucket,
    strangers: Bucket,
    sources: BTreeMap<IpAddr, Bucket>,
    /// Filled accounts are looked for once a second at most.
    swept_at: Timestamp,
}

impl Allowance {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            neighbours: Bucket::full(OF_NEIGHBOURS, now),
            strangers: Bucket::full(OF_STRANGERS, now),
            sources: BTreeMap::new(),
            swept_at: now,
        }
    }

    /// Whether a datagram from `source` is looked at.
    pub(super) fn take(&mut self, now: Timestamp, source: IpAddr, is_neighbour: bool) -> bool {
        if let Some(own) = self.account(now, source)
            && !own.take(now)
        {
            return false;
        }
        if is_neighbour { self.neighbours.take(now) } else { self.strangers.take(now) }
    }

    /// The account of `source`; `None` when there is no room for another.
    fn account(&mut self, now: Timestamp, source: IpAddr) -> Option<&mut Bucket> {
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            if now.since(self.swept_at).0 < 1000 {
                return None;
            }
            self.swept_at = now;
            self.sources.retain(|_, bucket| !bucket.is_full(now));
            if self.sources.len() >= MAX_SOURCES {
                return None;
            }
        }
        Some(self.sources.entry(source).or_insert_with(|| Bucket::full(PER_SOURCE, now)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
    }

    #[test]
    fn one_address_gets_its_share_and_another_is_not_the_poorer() {
        let mut allowance = Allowance::new(Timestamp(0));
        let taken = (0..10_000).filter(|_| allowance.take(Timestamp(0), source(1), true)).count();
        assert_eq!(taken, 100);
        assert!(allowance.take(Timestamp(0), source(2), true));
        let second = Timestamp::from_millis(1000);
        let taken = (0..10_000).filter(|_| allowance.take(second, source(1), true)).count();
        assert_eq!(taken, 20);
    }

    #[test]
    fn ten_thousand_spoofed_addresses_a_second_are_bounded_in_number_and_memory_and_starve_no_neighbour() {
        let mut allowance = Allowance::new(Timestamp(0));
        let mut looked_at = 0;
        let mut neighbour = 0;
        for tick in 0..100_000u32 {
            let now = Timestamp(u64::from(tick) * 100);
            looked_at += u32::from(allowance.take(now, source(1000 + tick), false));
            if tick % 10_000 == 0 {
                neighbour += u32::from(allowance.take(now, source(1), true));
            }
            assert!(allowance.sources.len() <= MAX_SOURCES);
        }
        assert_eq!(neighbour, 10, "every beacon of a neighbour is looked at");
        assert!(looked_at <= 300 + 10 * 100, "{looked_at} in ten seconds");
    }

    #[test]
    fn time_that_seems_to_go_back_gives_nothing() {
        let mut bucket = Bucket::full(Rate { a_second: 1, at_once: 1 }, Timestamp::from_millis(5000));
        assert!(bucket.take(Timestamp::from_millis(5000)));
        assert!(!bucket.take(Timestamp(0)));
        assert!(!bucket.take(Timestamp::from_millis(5000)));
        assert!(bucket.take(Timestamp::from_millis(6000)));
    }
}
