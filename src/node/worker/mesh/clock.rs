//! The dispatcher's time, also while it is away.
//!
//! Invariant: between two words of the dispatcher it goes on as this machine's
//! monotonic clock does, whatever is done to the wall clock. Absent: how the
//! way of a word is allowed for (the engine's, which hears the heartbeats).

use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::Timestamp;
use crate::node::Clock;

/// Dispatcher time as an offset from this node's clock.
pub(super) struct DispatcherClock {
    clock: Clock,
    /// In microseconds.
    offset: AtomicI64,
}

impl DispatcherClock {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, offset: AtomicI64::new(0) }
    }

    /// It is `there` at the dispatcher.
    pub(super) fn set(&self, there: Timestamp) {
        let here = self.clock.now();
        // Both are far from the ends of these types; a wrong clock must not panic all the same.
        let offset = i64::try_from(there.0).unwrap_or(i64::MAX).saturating_sub_unsigned(here.0);
        self.offset.store(offset, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }

    /// This node's own time.
    pub(super) fn local(&self) -> Timestamp {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_by_itself_from_the_dispatchers_last_word_backwards_too() {
        let clock = DispatcherClock::new(Clock::anchored_now());
        for there in [5_000_000, 2_000_000_000_000_000, u64::MAX] {
            clock.set(Timestamp(there));
            let now = clock.now();
            assert!(now.0 >= there.min(i64::MAX as u64) && now <= clock.now());
        }
    }
}
