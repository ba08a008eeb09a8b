//! A simulated disk that tells written from synced.
//!
//! Invariant: batches become written and then synced in the order they were
//! appended. A killed process keeps what was written, a power loss only what
//! was synced and whatever prefix of the rest happened to get out.

use std::collections::VecDeque;

use super::dice::Dice;
use crate::model::records::BatchNo;
use crate::model::{Millis, Timestamp};

/// Batches of `R` that are not yet synced. What is synced has left for whoever projects it.
#[derive(Debug)]
pub(super) struct Disk<R> {
    /// In order, each with its number.
    unsynced: VecDeque<(BatchNo, Vec<R>)>,
    appended: BatchNo,
    written: BatchNo,
    synced: BatchNo,
    /// When the last append or sync asked for is done; later ones are done later.
    busy_until: Timestamp,
    /// Up to which batch a sync is under way.
    syncing: BatchNo,
    /// Greatest delay of a write and of a sync.
    pub(super) slowness: (Millis, Millis),
    /// Least delay of a sync.
    pub(super) least_sync: Millis,
}

/// How a disk's node went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process was killed.
    Kill,
    /// The machine lost its power.
    PowerLoss,
}

/// Usual greatest delays of a write and of a sync.
pub(super) const BRISK: (Millis, Millis) = (Millis(1), Millis(8));

impl<R> Disk<R> {
    /// An empty disk.
    pub(super) fn new() -> Self {
        Self {
            unsynced: VecDeque::new(),
            appended: BatchNo(0),
            written: BatchNo(0),
            synced: BatchNo(0),
            busy_until: Timestamp::default(),
            syncing: BatchNo(0),
            slowness: BRISK,
            least_sync: Millis(0),
        }
    }

    /// Appends one batch; returns its number and when it is written.
    pub(super) fn append(&mut self, now: Timestamp, records: Vec<R>, dice: &mut Dice) -> (BatchNo, Timestamp) {
        self.appended.0 += 1;
        self.unsynced.push_back((self.appended, records));
        self.busy_until = self.busy_until.max(now) + dice.mostly_short(0, self.slowness.0.0);
        (self.appended, self.busy_until)
    }

    /// Asks for everything appended to be synced; returns up to which batch and
    /// when, unless it is or is under way already.
    pub(super) fn sync(&mut self, now: Timestamp, dice: &mut Dice) -> Option<(BatchNo, Timestamp)> {
        if self.syncing == self.appended {
            return None;
        }
        self.syncing = self.appended;
        self.busy_until = self.busy_until.max(now) + dice.mostly_short(self.least_sync.0, self.slowness.1.0);
        Some((self.appended, self.busy_until))
    }

    /// Everything up to `upto` is written now; returns the batches that were not before.
    pub(super) fn written(&mut self, upto: BatchNo) -> impl Iterator<Item = &Vec<R>> {
        let before = std::mem::replace(&mut self.written, upto);
        assert!(before < upto && upto <= self.appended, "a disk writes out of order");
        self.unsynced
            .iter()
            .filter(move |(number, _)| (BatchNo(before.0 + 1)..=upto).contains(number))
            .map(|(_, batch)| batch)
    }

    /// Everything up to `upto` is synced now; hands over the batches that were not before.
    pub(super) fn synced(&mut self, upto: BatchNo) -> Vec<Vec<R>> {
        assert!(self.synced < upto && upto <= self.written, "a disk syncs what is not written");
        self.synced = upto;
        self.take_upto(upto)
    }

    /// What of the unsynced batches survives a crash, in order; the rest is gone
    /// and the numbering starts anew.
    pub(super) fn crash(&mut self, crash: Crash, dice: &mut Dice) -> Vec<Vec<R>> {
        let (surely, possibly) = match crash {
            Crash::Kill => (self.written, self.appended),
            Crash::PowerLoss => (self.synced, self.written),
        };
        let survivors = self.take_upto(BatchNo(dice.between(surely.0, possibly.0)));
        *self = Self { slowness: self.slowness, least_sync: self.least_sync, ..Self::new() };
        survivors
    }

    /// The batch that was appended last.
    pub(super) fn last(&self) -> BatchNo {
        self.appended
    }

    /// Up to where it is written.
    pub(super) fn is_written(&self, batch: BatchNo) -> bool {
        batch <= self.written
    }

    /// Up to where it is synced.
    pub(super) fn is_synced(&self, batch: BatchNo) -> bool {
        batch <= self.synced
    }

    fn take_upto(&mut self, upto: BatchNo) -> Vec<Vec<R>> {
        let count = self.unsynced.iter().take_while(|(number, _)| *number <= upto).count();
        self.unsynced.drain(..count).map(|(_, batch)| batch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (Disk<u32>, Dice) {
        let (mut disk, mut dice) = (Disk::new(), Dice::new(1));
        for record in 1..=4 {
            disk.append(Timestamp(0), vec![record], &mut dice);
        }
        assert_eq!(disk.written(BatchNo(3)).count(), 3);
        assert_eq!(disk.synced(BatchNo(1)), [[1]]);
        (disk, dice)
    }

    #[test]
    fn a_killed_process_keeps_what_was_written() {
        let (mut disk, mut dice) = disk();
        let kept = disk.crash(Crash::Kill, &mut dice);
        assert!(kept == [[2], [3]] || kept == [[2], [3], [4]], "{kept:?}");
    }

    #[test]
    fn a_power_loss_keeps_what_was_synced_and_some_prefix_of_the_rest() {
        let (mut disk, mut dice) = disk();
        let kept = disk.crash(Crash::PowerLoss, &mut dice);
        assert!(kept.is_empty() || kept == [[2]] || kept == [[2], [3]], "{kept:?}");
    }
}
