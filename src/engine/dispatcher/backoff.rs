//! How long a failed task waits before its next try.
//!
//! Pure arithmetic. The jitter is a hash instead of a random number, so that a
//! replayed run waits as long as the first one did.

use crate::model::spec::Backoff;
use crate::model::{AttemptId, Epoch, Millis};

/// The wait after `failures` failed tries, of which `id` is the last: drawn
/// evenly from zero to `min * 2^(failures - 1)`, at most `max` ("full jitter",
/// which spreads a crowd of retries best).
pub(super) fn wait(backoff: Backoff, failures: u32, id: AttemptId, epoch: Epoch) -> Millis {
    assert!(failures > 0, "a wait without a failure");
    let doublings = (failures - 1).min(63);
    let bound = backoff.min.0.saturating_mul(1 << doublings).min(backoff.max.0);
    let drawn = hash([id.task.job.0, id.task.index.0, u64::from(id.attempt.0), u64::from(epoch.0)]);
    let wait = match bound.checked_add(1) {
        Some(span) => drawn % span,
        None => drawn,
    };
    assert!(wait <= backoff.max.0, "a wait beyond its bound");
    Millis(wait)
}

/// Mixes numbers by the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn hash(numbers: [u64; 4]) -> u64 {
    numbers.into_iter().fold(0, |state: u64, number| {
        let mut mixed = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttemptNo, TaskId};

    fn id(index: u64, attempt: u32) -> AttemptId {
        AttemptId { task: TaskId::new(1, index), attempt: AttemptNo(attempt) }
    }

    #[test]
    fn waits_are_spread_up_to_a_bound_that_doubles_and_stops_at_the_maximum() {
        let backoff = Backoff { min: Millis(1000), max: Millis(60_000) };
        for (failures, bound) in [(1, 1000), (2, 2000), (6, 32_000), (7, 60_000), (200, 60_000)] {
            let waits: Vec<u64> = (0..400).map(|i| wait(backoff, failures, id(i, failures), Epoch(1)).0).collect();
            assert!(waits.iter().all(|wait| *wait <= bound), "never beyond {bound} ms");
            assert!(waits.iter().any(|wait| *wait < bound / 10), "short waits are drawn");
            assert!(waits.iter().any(|wait| *wait > bound / 10 * 9), "long waits are drawn");
        }
    }

    #[test]
    fn the_same_try_always_waits_equally_long() {
        let backoff = Backoff::default();
        assert_eq!(wait(backoff, 3, id(7, 3), Epoch(2)), wait(backoff, 3, id(7, 3), Epoch(2)));
        let unbounded = Backoff { min: Millis(u64::MAX), max: Millis(u64::MAX) };
        wait(unbounded, 64, id(0, 64), Epoch(1));
    }
}
