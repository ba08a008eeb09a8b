//! The way of results into the outbox: a moment's delay in which most of them
//! turn out not to need it.
//!
//! Invariant: records are appended in order, and a batch counts as synced only
//! when everything up to it is on disk or was cancelled out. A result that is
//! acknowledged within [`DELAY`] never touches the disk: losing it takes a lost
//! link and a killed worker within that time, and then its task is run again
//! like any other task of a killed worker. Absent: SQLite (`store`).

use crate::model::records::{BatchNo, DiskSpace, OutboxRecord};
use crate::model::{Millis, Timestamp};
use crate::store::{Durability, Outbox, StoreError};

/// How long results wait for their acknowledgement before they are written.
const DELAY: Millis = Millis(25);

/// Records that wait longer than this many others are written at once.
const MOST_WAITING: usize = 512;

/// The outbox with its waiting room. Without an outbox (an embedded worker,
/// whose dispatcher dies with it) nothing is ever written.
pub(super) struct ResultKeeper {
    outbox: Option<Outbox>,
    /// Records that are not appended yet; no `Settled` among them has its `Kept` here.
    waiting: Vec<OutboxRecord>,
    /// When the oldest of them has waited long enough.
    due: Option<Timestamp>,
    /// The last batch that the engine handed out.
    latest: BatchNo,
    /// The last batch that was appended and has to reach the disk.
    to_sync: BatchNo,
    /// What the outbox last said to be on disk.
    synced: BatchNo,
    /// Its disk is full: what comes now waits here until that is over, or until it is acknowledged.
    is_full: bool,
}

/// How far an outbox is. Only the newest counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    /// It has every batch up to this one on disk.
    pub(super) synced: BatchNo,
    /// What its disk has for more.
    pub(super) disk: DiskSpace,
}

impl ResultKeeper {
    pub(super) fn new(outbox: Option<Outbox>) -> Self {
        let none = BatchNo(0);
        Self { outbox, waiting: Vec::new(), due: None, latest: none, to_sync: none, synced: none, is_full: false }
    }

    /// Takes the engine's next batch.
    ///
    /// # Errors
    /// When the outbox has failed.
    pub(super) fn take(&mut self, now: Timestamp, records: Vec<OutboxRecord>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        self.latest = BatchNo(self.latest.0 + 1);
        for record in records {
            self.place(record);
        }
        if self.waiting.is_empty() {
            self.due = None;
        } else {
            self.due.get_or_insert(now + DELAY);
        }
        if self.waiting.len() > MOST_WAITING { self.flush() } else { Ok(()) }
    }

    fn place(&mut self, record: OutboxRecord) {
        if let OutboxRecord::Settled(settled) = &record {
            let fence = settled.fence;
            let kept = |record: &OutboxRecord| matches!(record, OutboxRecord::Kept(ended) if ended.fence == fence);
            if let Some(at) = self.waiting.iter().rposition(kept) {
                self.waiting.remove(at);
                let proved =
                    |record: &OutboxRecord| matches!(record, OutboxRecord::Proved(taken) if taken.attempt == *settled);
                if let Some(at) = self.waiting.iter().rposition(proved) {
                    self.waiting.remove(at);
                }
                return;
            }
        }
        self.waiting.push(record);
    }

    /// When [`ResultKeeper::flush`] is to be called.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Appends what waits.
    ///
    /// # Errors
    /// When the outbox has failed.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.due = None;
        if self.is_full {
            return Ok(());
        }
        let records = std::mem::take(&mut self.waiting);
        if records.is_empty() {
            return Ok(());
        }
        let kept = records.iter().any(|record| matches!(record, OutboxRecord::Kept(_)));
        // That a result is settled may be forgotten: it is settled again when it is repeated.
        let durability = if kept { Durability::Synced } else { Durability::Written };
        if kept {
            self.to_sync = self.latest;
        }
        match &self.outbox {
            Some(outbox) => outbox.append(self.latest, records, durability),
            None => {
                self.synced = self.to_sync;
                Ok(())
            }
        }
    }

    /// The outbox is this far.
    pub(super) fn progressed(&mut self, now: Timestamp, reached: Reached) {
        self.synced = self.synced.max(reached.synced);
        let was_full = std::mem::replace(&mut self.is_full, reached.disk == DiskSpace::Nothing);
        if was_full && !self.is_full && !self.waiting.is_empty() {
            self.due = Some(now);
        }
    }

    /// Every batch up to this one needs nothing more.
    pub(super) fn settled(&self) -> BatchNo {
        if self.waiting.is_empty() && self.synced >= self.to_sync { self.latest } else { self.synced }
    }

    /// Writes everything and closes the outbox.
    ///
    /// # Errors
    /// When the outbox fails or had failed.
    pub(super) fn close(mut self) -> Result<(), StoreError> {
        self.is_full = false;
        self.flush()?;
        self.outbox.map_or(Ok(()), Outbox::close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::messages::{EndedAttempt, FencedAttempt};
    use crate::model::{AttemptId, AttemptNo, AttemptReport, Epoch, Fence, Outcome, TaskId};

    fn attempt(index: u64) -> FencedAttempt {
        let id = AttemptId { task: TaskId::new(1, index), attempt: AttemptNo(1) };
        FencedAttempt { id, fence: Fence { epoch: Epoch(1), counter: index } }
    }

    fn kept(index: u64) -> OutboxRecord {
        let FencedAttempt { id, fence } = attempt(index);
        OutboxRecord::Kept(EndedAttempt {
            id,
            fence,
            report: AttemptReport {
                outcome: Outcome::Exited(0),
                started_at: None,
                ended_at: Timestamp(1),
                peak_memory_bytes: 0,
                output: crate::model::outcome::OutputSummary::default(),
                files: None,
            },
        })
    }

    #[test]
    fn a_result_acknowledged_at_once_is_never_written() {
        let mut keeper = ResultKeeper::new(None);
        keeper.take(Timestamp(0), vec![kept(1)]).expect("no outbox to fail");
        assert_eq!((keeper.due(), keeper.settled()), (Some(Timestamp(0) + DELAY), BatchNo(0)));
        keeper.take(Timestamp(9), vec![OutboxRecord::Settled(attempt(1))]).expect("no outbox to fail");
        assert_eq!((keeper.due(), keeper.settled()), (None, BatchNo(2)));
        assert_eq!(keeper.waiting, vec![], "there is nothing to be written");
    }

    #[test]
    fn what_nobody_acknowledges_is_on_disk_after_a_flush_and_off_it_after_a_late_acknowledgement() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("outbox.db");
        let open = || Outbox::open(&path, Box::new(|_| ())).expect("opens");
        let mut keeper = ResultKeeper::new(Some(open().0));
        keeper.take(Timestamp(0), vec![kept(1), kept(2)]).expect("taken");
        keeper.take(Timestamp(5), vec![OutboxRecord::Settled(attempt(2))]).expect("taken");
        keeper.flush().expect("appended");
        keeper.close().expect("written");
        let (outbox, found) = open();
        assert_eq!(found.results.into_iter().map(OutboxRecord::Kept).collect::<Vec<_>>(), [kept(1)]);
        let mut keeper = ResultKeeper::new(Some(outbox));
        keeper.take(Timestamp(9), vec![OutboxRecord::Settled(attempt(1))]).expect("taken");
        keeper.close().expect("written");
        assert_eq!(open().1.results, []);
    }

    #[test]
    fn the_delay_counts_from_the_oldest_result_and_what_is_acknowledged_meanwhile_waits_no_more() {
        let mut keeper = ResultKeeper::new(None);
        keeper.take(Timestamp(0), vec![kept(1), kept(2)]).expect("no outbox to fail");
        keeper.take(Timestamp(5), vec![OutboxRecord::Settled(attempt(2))]).expect("no outbox to fail");
        assert_eq!(keeper.waiting, vec![kept(1)]);
        assert_eq!(keeper.due(), Some(Timestamp(0) + DELAY), "the oldest one decides");
        keeper.flush().expect("no outbox to fail");
        assert_eq!((keeper.due(), keeper.settled()), (None, BatchNo(2)));
    }

    #[test]
    fn while_the_disk_is_full_results_wait_to_be_written_or_acknowledged() {
        let mut keeper = ResultKeeper::new(None);
        let full = |disk| Reached { disk, ..Reached::default() };
        keeper.progressed(Timestamp(0), full(DiskSpace::Nothing));
        keeper.take(Timestamp(0), vec![kept(1), kept(2)]).expect("no outbox to fail");
        keeper.flush().expect("no outbox to fail");
        keeper.take(Timestamp(9), vec![OutboxRecord::Settled(attempt(1))]).expect("no outbox to fail");
        assert_eq!((&keeper.waiting, keeper.settled()), (&vec![kept(2)], BatchNo(0)));
        keeper.progressed(Timestamp(20), full(DiskSpace::Enough));
        assert_eq!(keeper.due(), Some(Timestamp(20)));
        keeper.flush().expect("no outbox to fail");
        assert_eq!(keeper.settled(), BatchNo(2));
    }

    #[test]
    fn nobody_waits_for_the_disk_to_have_an_acknowledgement() {
        let mut keeper = ResultKeeper::new(None);
        keeper.take(Timestamp(0), vec![OutboxRecord::Settled(attempt(7))]).expect("no outbox to fail");
        assert_eq!(keeper.waiting, vec![OutboxRecord::Settled(attempt(7))]);
        keeper.flush().expect("no outbox to fail");
        assert_eq!(keeper.settled(), BatchNo(1));
    }
}
