//! A simulated node's clock: off by as much as a day, and a little too fast or slow.
//!
//! Invariant: within one start of a node its clock never goes back.

use super::dice::Dice;
use crate::model::{Millis, Timestamp};

const DAY: u64 = 86_400_000_000;
/// Parts in a million that a clock may run fast or slow: ten times a bad crystal.
const MAX_DRIFT: i64 = 500;

/// One start's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeClock {
    /// True time when the node started.
    anchor: Timestamp,
    /// What its wall clock said then.
    says: Timestamp,
    /// Parts in a million it is fast.
    drift: i64,
}

impl NodeClock {
    /// The clock of a node that starts now; one in three is off by up to a day.
    pub(super) fn start(now: Timestamp, dice: &mut Dice) -> Self {
        let off =
            if dice.percent(33) { dice.between(0, 2 * DAY) } else { dice.between(DAY - 1_000_000, DAY + 1_000_000) };
        let drift = dice.between(0, 2 * MAX_DRIFT.unsigned_abs()).cast_signed() - MAX_DRIFT;
        Self { anchor: now, says: Timestamp(now.0 + off - DAY), drift }
    }

    /// What it says at true time `now`.
    pub(super) fn says(&self, now: Timestamp) -> Timestamp {
        let elapsed = (now.0 - self.anchor.0).cast_signed();
        Timestamp(self.says.0.saturating_add_signed(elapsed + elapsed * self.drift / 1_000_000))
    }

    /// A true time at which it says `local` or a little more.
    pub(super) fn when(&self, local: Timestamp) -> Timestamp {
        let elapsed = local.0.saturating_sub(self.says.0).cast_signed();
        let real = elapsed - elapsed * self.drift / (1_000_000 + self.drift);
        let mut at = Timestamp(self.anchor.0.saturating_add_signed(real));
        while self.says(at) < local {
            at = at + Millis(1);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_by_a_node_clock_is_never_early_and_hardly_late() {
        let mut dice = Dice::new(1);
        for _ in 0..1000 {
            let start = Timestamp(10 * DAY);
            let clock = NodeClock::start(start, &mut dice);
            let local = clock.says(start + dice.millis(0, 86_400_000));
            let when = clock.when(local);
            assert!(clock.says(when) >= local);
            assert!(clock.says(when).since(local) <= Millis(2), "{clock:?}");
        }
    }
}
