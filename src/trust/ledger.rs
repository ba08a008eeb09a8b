//! Which attempts were handed over already, until their grants run out.
//!
//! Kept by the dispatcher, which takes the result of one receiver only, and by
//! every receiver, which makes an attempt once. Invariant: of all hand-overs of
//! one attempt only the first is let through, and the same one again is
//! recognised, so that a giver in doubt may ask again. Absent: whether a
//! hand-over is genuine (`grants` says so first).

use std::collections::BTreeMap;

use super::grants::{GrantError, HandOver, TaskGrant};
use crate::model::{AttemptId, InstanceId, NodeId, Timestamp};

/// Hand-overs remembered at once. Each is good for minutes, so a healthy mesh is far from it.
pub const MAX_REMEMBERED: usize = 100_000;

/// The hand-overs that were let through.
#[derive(Debug, Default)]
pub struct HandOvers {
    seen: BTreeMap<AttemptId, Entry>,
    /// By when they may be forgotten.
    expiry: BTreeMap<(Timestamp, AttemptId), ()>,
}

#[derive(Debug)]
struct Entry {
    receiver: NodeId,
    instance: InstanceId,
}

/// Whether a hand-over that was let through is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The first of its attempt.
    First,
    /// The very same was let through before.
    Again,
}

impl HandOvers {
    /// Lets through the first hand-over of an attempt, and that one again. Both must have been opened by
    /// [`super::grants::Known`].
    ///
    /// # Errors
    /// When the attempt was handed to somebody else before, or too many are remembered.
    pub fn admit(&mut self, grant: &TaskGrant, hand_over: &HandOver, now: Timestamp) -> Result<Heard, GrantError> {
        self.forget(now);
        if let Some(Entry { receiver, instance }) = self.seen.get(&grant.attempt) {
            let same = (*receiver, *instance) == (hand_over.receiver, hand_over.instance);
            return if same { Ok(Heard::Again) } else { Err(GrantError::HandedOverBefore(*receiver)) };
        }
        if self.seen.len() >= MAX_REMEMBERED {
            return Err(GrantError::TooManyRemembered);
        }
        let entry = Entry { receiver: hand_over.receiver, instance: hand_over.instance };
        self.seen.insert(grant.attempt, entry);
        self.expiry.insert((grant.expires_at, grant.attempt), ());
        assert_eq!(self.seen.len(), self.expiry.len(), "an attempt is remembered once");
        Ok(Heard::First)
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Drops what has run out at `now`: its grant is refused from then on.
    fn forget(&mut self, now: Timestamp) {
        while let Some((&(expires_at, attempt), ())) = self.expiry.first_key_value() {
            if now < expires_at {
                break;
            }
            self.expiry.pop_first();
            self.seen.remove(&attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttemptNo, Digest, Epoch, Fence, Millis, TaskId};
    use crate::trust::roster::RosterEpoch;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn grant(index: u64, expires_at: Timestamp) -> TaskGrant {
        let fence = |counter| Fence { epoch: Epoch(1), counter };
        TaskGrant {
            attempt: AttemptId { task: TaskId::new(1, index), attempt: AttemptNo(1) },
            spec: Digest([0; 32]),
            inputs: Vec::new(),
            worker: NodeId([1; 32]),
            fences: [fence(1), fence(2)],
            roster: RosterEpoch { start: Epoch(1), change: 1 },
            expires_at,
        }
    }

    fn to(receiver: u8, instance: u64) -> HandOver {
        let fence = Fence { epoch: Epoch(1), counter: 2 };
        HandOver { grant: Digest([0; 32]), receiver: NodeId([receiver; 32]), instance: InstanceId(instance), fence }
    }

    #[test]
    fn an_attempt_is_handed_over_once_and_asking_again_is_allowed() {
        let (mut seen, grant) = (HandOvers::default(), grant(1, NOW + Millis(1000)));
        assert_eq!(seen.admit(&grant, &to(2, 7), NOW), Ok(Heard::First));
        assert_eq!(seen.admit(&grant, &to(2, 7), NOW), Ok(Heard::Again));
        let before = Err(GrantError::HandedOverBefore(NodeId([2; 32])));
        assert_eq!(seen.admit(&grant, &to(3, 7), NOW), before, "to another");
        assert_eq!(seen.admit(&grant, &to(2, 8), NOW), before, "to another start of the same");
    }

    #[test]
    fn what_has_run_out_is_forgotten_and_there_is_never_too_much() {
        let mut seen = HandOvers::default();
        for index in 0..MAX_REMEMBERED as u64 {
            let expires_at = NOW + Millis(1 + index % 10);
            assert_eq!(seen.admit(&grant(index, expires_at), &to(2, 7), NOW), Ok(Heard::First));
        }
        let one_more = grant(u64::MAX, NOW + Millis(1000));
        assert_eq!(seen.admit(&one_more, &to(2, 7), NOW), Err(GrantError::TooManyRemembered));
        assert_eq!(seen.admit(&one_more, &to(2, 7), NOW + Millis(1)), Ok(Heard::First));
        assert_eq!(seen.len(), MAX_REMEMBERED / 10 * 9 + 1);
    }
}
