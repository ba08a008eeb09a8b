//! When messages may leave: not before the records of their batch are written,
//! and where the engine asked for it, synced.
//!
//! The one invariant: what goes out by one lane leaves in the order in which
//! the engine said it. Every link is a lane. Receipts for results have one of
//! their own: nothing follows from them, and an assignment must not stand
//! behind one that waits for the disk.

use std::collections::{BTreeMap, VecDeque};

use crate::model::LinkId;
use crate::model::records::BatchNo;
use crate::store::Durability;

/// Most batches that are appended and not yet written. Beyond it the engine's
/// loop takes no more events, so that a slow disk is felt by those who submit
/// instead of filling memory. Below the capacity of the store's own queue, so
/// that an append never blocks.
pub(super) const MAX_UNWRITTEN: u64 = 16;

/// In which order something has to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Behind whatever else was said on this link.
    Link(LinkId),
    /// Behind nothing but its own records.
    Receipts,
}

/// What can be held back.
pub(super) trait Hold {
    /// Its lane.
    fn lane(&self) -> Lane;

    /// Whether somebody waits for it, or a moment more on the way to the disk does no harm.
    fn is_urgent(&self) -> bool;
}

/// Messages that wait for their records. `M` is one message with its link.
#[derive(Debug)]
pub(super) struct Release<M> {
    held: BTreeMap<Lane, VecDeque<Held<M>>>,
    appended: BatchNo,
    /// The newest batch that was appended to be synced, at once or soon.
    sync_asked: BatchNo,
    /// The newest batch that was appended to be synced at once.
    urged: BatchNo,
    written: BatchNo,
    synced: BatchNo,
}

#[derive(Debug)]
struct Held<M> {
    batch: BatchNo,
    is_synced: bool,
    message: M,
}

/// What to append to the store: batch number and how durable it has to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Append {
    pub(super) batch: BatchNo,
    pub(super) durability: Durability,
}

impl<M: Hold> Release<M> {
    pub(super) fn new() -> Self {
        let none = BatchNo(0);
        Self { held: BTreeMap::new(), appended: none, sync_asked: none, urged: none, written: none, synced: none }
    }

    /// Takes the messages of one effects batch and says what has to be appended
    /// for them, if anything: `has_records` tells whether the batch has any.
    ///
    /// A batch without records still depends on all before it: what it says may
    /// follow from them.
    pub(super) fn take(&mut self, has_records: bool, messages: Vec<M>, after_sync: Vec<M>) -> Option<Append> {
        let durability = match &after_sync[..] {
            [] => Durability::Written,
            all if all.iter().any(Hold::is_urgent) => Durability::Synced,
            _ => Durability::Soon,
        };
        let is_on_its_way = match durability {
            Durability::Written => true,
            Durability::Soon => self.sync_asked == self.appended,
            Durability::Synced => self.urged == self.appended,
        };
        let append = (has_records || !is_on_its_way).then(|| {
            self.appended.0 += 1;
            match durability {
                Durability::Written => {}
                Durability::Soon => self.sync_asked = self.appended,
                Durability::Synced => (self.sync_asked, self.urged) = (self.appended, self.appended),
            }
            Append { batch: self.appended, durability }
        });
        self.hold(false, messages);
        self.hold(true, after_sync);
        append
    }

    fn hold(&mut self, is_synced: bool, messages: Vec<M>) {
        let batch = self.appended;
        for message in messages {
            let lane = self.held.entry(message.lane()).or_default();
            lane.push_back(Held { batch, is_synced, message });
        }
    }

    /// Every batch up to `upto` is written.
    pub(super) fn written(&mut self, upto: BatchNo) {
        self.written = self.written.max(upto);
    }

    /// Every batch up to `upto` is on the disk, and written of course.
    pub(super) fn synced(&mut self, upto: BatchNo) {
        self.synced = self.synced.max(upto);
        self.written(upto);
    }

    /// The messages that may leave now, each lane's in order.
    pub(super) fn ready(&mut self) -> Vec<M> {
        let (written, synced) = (self.written, self.synced);
        let mut ready = Vec::new();
        self.held.retain(|_, lane| {
            let reached = |held: &Held<M>| held.batch <= if held.is_synced { synced } else { written };
            while lane.front().is_some_and(reached) {
                ready.extend(lane.pop_front().map(|held| held.message));
            }
            !lane.is_empty()
        });
        ready
    }

    /// The newest batch that was appended.
    pub(super) fn appended(&self) -> BatchNo {
        self.appended
    }

    /// Whether another batch may be appended.
    pub(super) fn has_room(&self) -> bool {
        self.appended.0 - self.written.0 < MAX_UNWRITTEN
    }

    /// Whether everything that was appended is written and nothing is held back.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.appended == self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words on link 1, urgent when they end in `!`; receipts begin with `recorded`.
    impl Hold for &'static str {
        fn lane(&self) -> Lane {
            if self.starts_with("recorded") { Lane::Receipts } else { Lane::Link(LinkId(1)) }
        }

        fn is_urgent(&self) -> bool {
            self.ends_with('!')
        }
    }

    fn append(batch: u64, durability: Durability) -> Option<Append> {
        Some(Append { batch: BatchNo(batch), durability })
    }

    #[test]
    fn nothing_leaves_before_the_records_of_its_batch_are_written() {
        let mut release = Release::new();
        assert_eq!(release.take(true, vec!["assign"], vec![]), append(1, Durability::Written));
        assert!(release.ready().is_empty());
        release.written(BatchNo(1));
        assert_eq!(release.ready(), ["assign"]);
    }

    #[test]
    fn an_acknowledgement_waits_for_the_sync_and_what_follows_on_its_link_waits_behind_it() {
        let mut release = Release::new();
        assert_eq!(release.take(true, vec!["assign"], vec!["submitted!"]), append(1, Durability::Synced));
        assert_eq!(release.take(false, vec!["echo"], vec![]), None, "no record, nothing to append");
        release.written(BatchNo(1));
        assert_eq!(release.ready(), ["assign"]);
        release.synced(BatchNo(1));
        assert_eq!(release.ready(), ["submitted!", "echo"]);
    }

    #[test]
    fn an_assignment_passes_a_receipt_that_waits_for_the_disk() {
        let mut release = Release::new();
        assert_eq!(release.take(true, vec![], vec!["recorded"]), append(1, Durability::Soon));
        assert_eq!(release.take(true, vec!["assign"], vec![]), append(2, Durability::Written));
        release.written(BatchNo(2));
        assert_eq!(release.ready(), ["assign"]);
        release.synced(BatchNo(2));
        assert_eq!(release.ready(), ["recorded"]);
    }

    #[test]
    fn without_records_a_sync_is_asked_for_only_when_none_as_urgent_is_on_its_way() {
        let mut release = Release::new();
        assert!(release.take(true, vec![], vec![]).is_some());
        assert_eq!(release.take(false, vec![], vec!["recorded"]), append(2, Durability::Soon));
        assert_eq!(release.take(false, vec![], vec!["recorded again"]), None);
        assert_eq!(release.take(false, vec![], vec!["submitted!"]), append(3, Durability::Synced));
        assert_eq!(release.take(false, vec![], vec!["done!"]), None);
        release.synced(BatchNo(3));
        assert_eq!(release.ready(), ["submitted!", "done!", "recorded", "recorded again"]);
        assert!(release.is_idle());
    }

    #[test]
    fn with_nothing_pending_a_message_leaves_at_once() {
        let mut release = Release::new();
        assert_eq!(release.take(false, vec!["welcome"], vec!["done!"]), None);
        assert_eq!(release.ready(), ["welcome", "done!"]);
    }

    #[test]
    fn a_slow_disk_leaves_no_room_for_more_batches() {
        let mut release: Release<&str> = Release::new();
        for _ in 0..MAX_UNWRITTEN {
            assert!(release.has_room());
            release.take(true, vec![], vec![]);
        }
        assert!(!release.has_room());
        release.written(BatchNo(1));
        assert!(release.has_room());
    }
}
