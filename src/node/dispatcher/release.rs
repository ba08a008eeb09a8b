//! When messages may leave: not before the records of their batch are written,
//! and where the engine asked for it, synced.
//!
//! The one invariant: what goes to one link leaves in the order in which the
//! engine said it. One queue for all links keeps that for free, and costs
//! nothing: the store's single writer reports a batch as written only after
//! every earlier batch that had to be synced is.

use std::collections::VecDeque;

use crate::model::records::BatchNo;
use crate::store::Durability;

/// Most batches that are appended and not yet written. Beyond it the engine's
/// loop takes no more events, so that a slow disk is felt by those who submit
/// instead of filling memory. Below the capacity of the store's own queue, so
/// that an append never blocks.
pub(super) const MAX_UNWRITTEN: u64 = 16;

/// Messages that wait for their records. `M` is one message with its link.
#[derive(Debug)]
pub(super) struct Release<M> {
    held: VecDeque<Held<M>>,
    appended: BatchNo,
    /// The newest batch that was appended to be synced.
    sync_asked: BatchNo,
    written: BatchNo,
    synced: BatchNo,
}

#[derive(Debug)]
struct Held<M> {
    batch: BatchNo,
    durability: Durability,
    messages: Vec<M>,
}

/// What to append to the store: batch number and how durable it has to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Append {
    pub(super) batch: BatchNo,
    pub(super) durability: Durability,
}

impl<M> Release<M> {
    pub(super) fn new() -> Self {
        let none = BatchNo(0);
        Self { held: VecDeque::new(), appended: none, sync_asked: none, written: none, synced: none }
    }

    /// Takes the messages of one effects batch and says what has to be appended
    /// for them, if anything: `has_records` tells whether the batch has any.
    ///
    /// A batch without records still depends on all before it: what it says may
    /// follow from them.
    pub(super) fn take(&mut self, has_records: bool, messages: Vec<M>, after_sync: Vec<M>) -> Option<Append> {
        let must_sync = !after_sync.is_empty() && (has_records || self.sync_asked < self.appended);
        let append = (has_records || must_sync).then(|| {
            self.appended.0 += 1;
            let durability = if must_sync { Durability::Synced } else { Durability::Written };
            if must_sync {
                self.sync_asked = self.appended;
            }
            Append { batch: self.appended, durability }
        });
        self.hold(Durability::Written, messages);
        self.hold(Durability::Synced, after_sync);
        append
    }

    fn hold(&mut self, durability: Durability, messages: Vec<M>) {
        if !messages.is_empty() {
            self.held.push_back(Held { batch: self.appended, durability, messages });
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

    /// The next messages that may leave, in order; `None` when the next ones have to wait.
    pub(super) fn next(&mut self) -> Option<Vec<M>> {
        let head = self.held.front()?;
        let reached = match head.durability {
            Durability::Written => self.written,
            Durability::Synced => self.synced,
        };
        if head.batch > reached { None } else { self.held.pop_front().map(|held| held.messages) }
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

    fn drain(release: &mut Release<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| release.next()).flatten().collect()
    }

    #[test]
    fn nothing_leaves_before_the_records_of_its_batch_are_written() {
        let mut release = Release::new();
        let append = release.take(true, vec!["assign"], vec![]);
        assert_eq!(append, Some(Append { batch: BatchNo(1), durability: Durability::Written }));
        assert!(drain(&mut release).is_empty());
        release.written(BatchNo(1));
        assert_eq!(drain(&mut release), ["assign"]);
    }

    #[test]
    fn an_acknowledgement_waits_for_the_sync_and_what_follows_waits_behind_it() {
        let mut release = Release::new();
        let append = release.take(true, vec!["assign"], vec!["submitted"]);
        assert_eq!(append, Some(Append { batch: BatchNo(1), durability: Durability::Synced }));
        assert_eq!(release.take(false, vec!["echo"], vec![]), None, "no record, nothing to append");
        release.written(BatchNo(1));
        assert_eq!(drain(&mut release), ["assign"]);
        release.synced(BatchNo(1));
        assert_eq!(drain(&mut release), ["submitted", "echo"]);
    }

    #[test]
    fn an_acknowledgement_without_records_asks_for_a_sync_only_when_none_is_on_its_way() {
        let mut release = Release::new();
        assert!(release.take(true, vec![], vec![]).is_some());
        let append = release.take(false, vec![], vec!["recorded"]);
        assert_eq!(append, Some(Append { batch: BatchNo(2), durability: Durability::Synced }));
        assert_eq!(release.take(false, vec![], vec!["recorded again"]), None);
        release.synced(BatchNo(2));
        assert_eq!(drain(&mut release), ["recorded", "recorded again"]);
        assert!(release.is_idle());
    }

    #[test]
    fn with_nothing_pending_a_message_leaves_at_once() {
        let mut release: Release<&str> = Release::new();
        assert_eq!(release.take(false, vec!["welcome"], vec!["done"]), None);
        assert_eq!(drain(&mut release), ["welcome", "done"]);
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
