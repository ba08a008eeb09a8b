//! When a node speaks: soon after its start, then every half a minute, and a
//! little earlier when somebody asks.
//!
//! Pure: time and chance are passed in. Invariant: however often it is asked, a
//! node says at most one beacon in [`ANSWER_GAP`] because of that. Absent: what
//! it says.

use crate::model::limits::NEIGHBOUR_EXPIRES_AFTER;
use crate::model::{Millis, Timestamp};

/// Pauses between the first beacons: at 0, 1 and 3 s, because the first one is easily lost while a network
/// comes up.
const FIRST_PAUSES: [Millis; 2] = [Millis::from_secs(1), Millis::from_secs(2)];
/// Pause between beacons afterwards.
pub(super) const BEACON_INTERVAL: Millis = Millis::from_secs(30);
/// How much that pause varies in either direction, in percent, so that nodes that were switched on together do
/// not speak together for ever.
const BEACON_JITTER: u64 = 20;
/// Beacons between two that also go to the broadcast address, for networks that drop multicast.
const BROADCAST_EVERY: u64 = 5;
/// Who asked is answered within this time, by each after a pause of its own.
const ANSWER_WITHIN: Millis = Millis(500);
/// Shortest time between the last beacon and one that was asked for.
const ANSWER_GAP: Millis = Millis::from_secs(2);

const _: () = assert!(
    BEACON_INTERVAL.0 * 2 * (100 + BEACON_JITTER) / 100 < NEIGHBOUR_EXPIRES_AFTER.0,
    "one beacon in two may be lost"
);

/// A number from 0 up to [`Roll::MOST`], drawn by the caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roll(pub(super) u64);

impl Roll {
    /// Its greatest value.
    pub(super) const MOST: u64 = 1000;
}

/// When to speak next.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Beacons said since it began.
    said: u64,
    last: Option<Timestamp>,
    next: Timestamp,
}

/// A beacon that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// One of the first, which ask who else is there.
    pub(super) asks: bool,
    /// It goes to the broadcast address as well.
    pub(super) broadcast: bool,
}

impl Schedule {
    /// The first beacon is due at once.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { said: 0, last: None, next: now }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    /// Takes the beacon that is due at `now`, if one is.
    pub(super) fn take(&mut self, now: Timestamp, roll: Roll) -> Option<Due> {
        if now < self.next {
            return None;
        }
        let index = usize::try_from(self.said).unwrap_or(usize::MAX);
        let pause = FIRST_PAUSES.get(index).copied().unwrap_or_else(|| jittered(roll));
        let due = Due { asks: index <= FIRST_PAUSES.len(), broadcast: self.said.is_multiple_of(BROADCAST_EVERY) };
        self.said += 1;
        self.last = Some(now);
        self.next = now + pause;
        Some(due)
    }

    /// The node itself wants to be heard.
    pub(super) fn wanted(&mut self, now: Timestamp) {
        self.next = now;
    }

    /// Somebody would like to hear from this node.
    pub(super) fn asked(&mut self, now: Timestamp, roll: Roll) {
        let soon = now + Millis(ANSWER_WITHIN.0 * roll.0 / Roll::MOST);
        let earliest = self.last.map_or(now, |last| last + ANSWER_GAP);
        self.next = self.next.min(soon.max(earliest));
    }
}

fn jittered(roll: Roll) -> Millis {
    let percent = 100 - BEACON_JITTER;
    Millis(BEACON_INTERVAL.0 * (percent * Roll::MOST + 2 * BEACON_JITTER * roll.0) / (100 * Roll::MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// Times in milliseconds of the first `count` beacons, and which went to everybody.
    fn times(count: usize, roll: u64) -> Vec<(u64, bool)> {
        let mut schedule = Schedule::new(at(0));
        let mut times = Vec::new();
        while times.len() < count {
            let now = schedule.next();
            let due = schedule.take(now, Roll(roll)).expect("it is due");
            times.push((now.0 / 1000, due.broadcast));
        }
        times
    }

    #[test]
    fn a_node_speaks_at_once_after_one_and_three_seconds_and_then_every_half_a_minute_or_so() {
        let soonest = [(0, true), (1000, false), (3000, false), (27_000, false), (51_000, false), (75_000, true)];
        assert_eq!(times(6, 0), soonest);
        assert_eq!(times(4, Roll::MOST)[3], (39_000, false));
        assert_eq!(times(4, Roll::MOST / 2)[3], (33_000, false));
    }

    #[test]
    fn only_the_first_beacons_ask() {
        let mut schedule = Schedule::new(at(0));
        let mut asks = || {
            let now = schedule.next();
            schedule.take(now, Roll(0)).expect("it is due").asks
        };
        assert_eq!([asks(), asks(), asks(), asks(), asks()], [true, true, true, false, false]);
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut schedule = Schedule::new(at(10));
        assert_eq!(schedule.take(at(9), Roll(0)), None);
        assert!(schedule.take(at(10), Roll(0)).is_some());
        assert_eq!(schedule.take(at(10), Roll(0)), None);
    }

    #[test]
    fn who_asks_is_answered_soon_and_a_crowd_that_asks_no_more_often() {
        let mut schedule = Schedule::new(at(0));
        for _ in 0..3 {
            let now = schedule.next();
            schedule.take(now, Roll(0));
        }
        schedule.asked(at(10_000), Roll(500));
        assert_eq!(schedule.next(), at(10_250));
        schedule.take(at(10_250), Roll(0));
        let mut said = 0;
        for now in (10_250..20_250).map(at) {
            schedule.asked(now, Roll(0));
            said += u32::from(schedule.take(now, Roll(0)).is_some());
        }
        assert_eq!(said, 4, "ten seconds of questions bring one answer in two seconds");
    }
}
