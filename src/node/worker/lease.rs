//! The lease of exclusive attempts, for their shims.
//!
//! The engine ends what was not renewed while this process runs. It does not while the process stands still, and its
//! clock does while the machine sleeps; shims hold out both. So they are told until when a task may run, on the clock
//! that always goes on, and end it by themselves. The one invariant: what a shim is told counts from before an
//! acknowledged heartbeat was sent. Absent: which attempts have a lease (the engine's, `exec`).

use std::collections::BTreeMap;

use crate::exec::since_boot_us;
use crate::model::Millis;
use crate::model::limits::{EXCLUSIVE_TERMINATE_AFTER, KILL_GRACE};
use crate::wire::shim::TaskLease;

/// Heartbeats that wait for their echo; older ones are not waited for.
const MAX_UNANSWERED: usize = 64;

/// Heartbeats on their way.
#[derive(Debug, Default)]
pub(super) struct LeaseClock {
    /// Sequence → when it was about to be sent, in microseconds since the machine was started.
    unanswered: BTreeMap<u64, u64>,
}

impl LeaseClock {
    /// This heartbeat is about to be sent.
    pub(super) fn sends(&mut self, sequence: u64) {
        self.sends_at(sequence, since_boot_us());
    }

    fn sends_at(&mut self, sequence: u64, at_us: u64) {
        self.unanswered.insert(sequence, at_us);
        while self.unanswered.len() > MAX_UNANSWERED {
            self.unanswered.pop_first();
        }
    }

    /// The echo of this heartbeat came: the lease that it gives. Echoes come in order.
    pub(super) fn hears(&mut self, sequence: u64) -> Option<TaskLease> {
        let sent = self.unanswered.remove(&sequence)?;
        self.unanswered = self.unanswered.split_off(&sequence);
        let after = |span: Millis| sent.saturating_add(span.0.saturating_mul(1000));
        Some(TaskLease {
            terminate_at_us: after(EXCLUSIVE_TERMINATE_AFTER),
            kill_at_us: after(Millis(EXCLUSIVE_TERMINATE_AFTER.0 + KILL_GRACE.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_sending_of_what_was_acknowledged() {
        let mut clock = LeaseClock::default();
        clock.sends_at(1, 1_000_000);
        clock.sends_at(2, 3_000_000);
        clock.sends_at(3, 5_000_000);
        let lease = clock.hears(2).expect("it was sent");
        assert_eq!((lease.terminate_at_us, lease.kill_at_us), (43_000_000, 53_000_000));
        assert_eq!(clock.hears(1), None, "an older echo takes nothing back");
        assert_eq!(clock.hears(2), None, "an echo counts once");
        assert_eq!(clock.hears(9), None, "what was never sent gives nothing");
        assert_eq!(clock.hears(3).map(|lease| lease.terminate_at_us), Some(45_000_000));
    }

    #[test]
    fn heartbeats_without_an_echo_do_not_pile_up() {
        let mut clock = LeaseClock::default();
        (0..1000).for_each(|sequence| clock.sends_at(sequence, sequence));
        assert_eq!(clock.unanswered.len(), MAX_UNANSWERED);
    }
}
