//! The link to the dispatcher as the worker knows it: heartbeats, what they
//! teach about the dispatcher's clock, and the lease they renew.
//!
//! Invariant: the lease counts from when an acknowledged heartbeat was *sent*,
//! so it ends here before the dispatcher, which counts from when it was heard,
//! believes it has.

use std::collections::BTreeMap;

use crate::model::handshake::Welcome;
use crate::model::limits::EXCLUSIVE_TERMINATE_AFTER;
use crate::model::{Millis, Timestamp};

/// Heartbeats that wait for their echo; older ones are not waited for.
const MAX_UNANSWERED: usize = 64;

/// What is known of the dispatcher's clock and of its last sign of life, across links.
#[derive(Debug, Clone)]
pub(super) struct Link {
    up: bool,
    interval: Millis,
    next_heartbeat: Timestamp,
    /// Counts on across links, so that an echo never answers another link's heartbeat.
    sequence: u64,
    /// Sequence → when it was sent.
    unanswered: BTreeMap<u64, Timestamp>,
    /// When the latest acknowledged heartbeat was sent.
    acknowledged: Option<Timestamp>,
    /// Dispatcher time minus this node's time, in microseconds.
    offset: i64,
}

impl Link {
    /// No link yet.
    pub(super) fn new(interval: Millis) -> Self {
        Self {
            up: false,
            interval,
            next_heartbeat: Timestamp::default(),
            sequence: 0,
            unanswered: BTreeMap::new(),
            acknowledged: None,
            offset: 0,
        }
    }

    /// Whether something can be said.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// A new link stands; its first heartbeat is due at once.
    pub(super) fn welcomed(&mut self, now: Timestamp, welcome: &Welcome) {
        self.up = true;
        self.interval = welcome.heartbeat_interval.max(Millis(1));
        self.next_heartbeat = now;
        self.unanswered.clear();
        self.offset = difference(welcome.now, now);
    }

    /// The link is gone.
    pub(super) fn lost(&mut self) {
        self.up = false;
        self.unanswered.clear();
    }

    /// The number of a heartbeat to send now, when one is due.
    pub(super) fn heartbeat(&mut self, now: Timestamp) -> Option<u64> {
        if !self.up || now < self.next_heartbeat {
            return None;
        }
        self.sequence += 1;
        self.unanswered.insert(self.sequence, now);
        while self.unanswered.len() > MAX_UNANSWERED {
            self.unanswered.pop_first();
        }
        self.next_heartbeat = now + self.interval;
        Some(self.sequence)
    }

    /// The echo of heartbeat `sequence`, made at `then` in dispatcher time.
    pub(super) fn heartbeat_seen(&mut self, now: Timestamp, sequence: u64, then: Timestamp) {
        let Some(sent) = self.unanswered.remove(&sequence) else { return };
        assert!(sent <= now, "a heartbeat is answered before it was sent");
        self.unanswered = self.unanswered.split_off(&sequence);
        self.acknowledged = self.acknowledged.max(Some(sent));
        // The echo was made somewhere on the way; the middle is wrong by half the round trip at most.
        self.offset = difference(then, Timestamp(sent.0 + (now.0 - sent.0) / 2));
    }

    /// When the lease of exclusive attempts runs out; `None` when there never was one.
    pub(super) fn lease_end(&self) -> Option<Timestamp> {
        self.acknowledged.map(|sent| sent + EXCLUSIVE_TERMINATE_AFTER)
    }

    /// When the next heartbeat is due.
    pub(super) fn next_heartbeat(&self) -> Option<Timestamp> {
        self.up.then_some(self.next_heartbeat)
    }

    /// `local` as the dispatcher would say it.
    pub(super) fn dispatcher_time(&self, local: Timestamp) -> Timestamp {
        Timestamp(local.0.saturating_add_signed(self.offset))
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert!(self.interval > Millis(0), "heartbeats without pause");
        assert!(self.up || self.unanswered.is_empty(), "an echo is awaited on a link that is gone");
        assert!(self.unanswered.len() <= MAX_UNANSWERED, "{} echoes are awaited", self.unanswered.len());
        assert!(
            self.unanswered.last_key_value().is_none_or(|(last, _)| *last <= self.sequence),
            "an echo of the future"
        );
    }
}

/// `there - here` in microseconds, saturating.
fn difference(there: Timestamp, here: Timestamp) -> i64 {
    if there >= here {
        i64::try_from(there.0 - here.0).unwrap_or(i64::MAX)
    } else {
        i64::try_from(here.0 - there.0).map_or(i64::MIN, |behind| -behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Role, limits};

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn welcome(now: Timestamp) -> Welcome {
        Welcome {
            protocol: 1,
            software: "1.0.0".to_owned(),
            role: Role::Worker,
            name: "worker-1".parse().expect("a name"),
            epoch: Epoch(1),
            now,
            heartbeat_interval: limits::HEARTBEAT_INTERVAL,
            task_timeout: limits::TASK_TIMEOUT,
            p2p: false,
        }
    }

    #[test]
    fn a_clock_a_day_off_is_corrected_by_the_middle_of_a_round_trip() {
        const DAY: u64 = 86_400_000;
        let mut link = Link::new(limits::HEARTBEAT_INTERVAL);
        link.welcomed(at(DAY), &welcome(at(5_000)));
        assert_eq!(link.dispatcher_time(at(DAY + 10)), at(5_010));
        let sequence = link.heartbeat(at(DAY)).expect("the first one is due at once");
        link.heartbeat_seen(at(DAY + 100), sequence, at(5_060));
        assert_eq!(link.dispatcher_time(at(DAY + 50)), at(5_060));
    }

    #[test]
    fn the_lease_counts_from_the_sending_of_what_was_acknowledged() {
        let mut link = Link::new(limits::HEARTBEAT_INTERVAL);
        link.welcomed(at(0), &welcome(at(0)));
        assert_eq!(link.lease_end(), None, "a welcome acknowledges no heartbeat");
        let first = link.heartbeat(at(0)).expect("due");
        let second = link.heartbeat(at(2_000)).expect("due");
        link.heartbeat_seen(at(3_000), second, at(2_500));
        assert_eq!(link.lease_end(), Some(at(2_000) + EXCLUSIVE_TERMINATE_AFTER));
        link.heartbeat_seen(at(3_500), first, at(2_500));
        assert_eq!(link.lease_end(), Some(at(2_000) + EXCLUSIVE_TERMINATE_AFTER), "an older echo takes nothing back");
        link.lost();
        link.welcomed(at(9_000), &welcome(at(9_000)));
        link.heartbeat_seen(at(9_000), second, at(9_000));
        assert_eq!(link.lease_end(), Some(at(2_000) + EXCLUSIVE_TERMINATE_AFTER), "an echo counts once");
        link.check();
    }
}
