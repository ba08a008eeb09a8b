//! How far the store is: from its thread to the engine's loop, and to readers
//! who must not miss what the loop has appended.
//!
//! The one invariant: a batch counts as appended before anybody can hear of
//! what it records, so whoever hears of it and then waits at the [`Barrier`]
//! finds it written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use crate::model::records::{BatchNo, DiskSpace};
use crate::store::{OnProgress, Progress, StoreError};

/// The loop's end.
pub(super) struct StoreProgress {
    pub(super) reached: watch::Receiver<Reached>,
    pub(super) failed: mpsc::Receiver<StoreError>,
    pub(super) barrier: Barrier,
}

/// How far it is, and whether its disk has room. Only the newest counts, so nobody ever waits to tell it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    pub(super) written: BatchNo,
    pub(super) synced: BatchNo,
    pub(super) disk: DiskSpace,
}

/// Where readers wait until what was appended before they came is written. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Barrier {
    appended: Arc<AtomicU64>,
    reached: watch::Receiver<Reached>,
}

impl StoreProgress {
    /// The loop's end, and what the store's thread calls.
    pub(super) fn new() -> (Self, OnProgress) {
        let (reach, reached) = watch::channel(Reached::default());
        // The store fails once.
        let (fail, failed) = mpsc::channel(1);
        let tell = Box::new(move |progress| match progress {
            Progress::Written(upto) => reach.send_modify(|reached| reached.written = upto),
            Progress::Synced(upto) => reach.send_modify(|reached| reached.synced = upto),
            Progress::Disk(disk) => reach.send_modify(|reached| reached.disk = disk),
            // Nobody listens any more when the loop has ended: then nobody is told anything either.
            Progress::Failed(error) => drop(fail.try_send(error)),
        });
        let barrier = Barrier { appended: Arc::default(), reached: reached.clone() };
        (Self { reached, failed, barrier }, tell)
    }
}

impl Barrier {
    /// Every batch up to `upto` was handed to the store.
    pub(super) fn raise(&self, upto: BatchNo) {
        // Sequentially consistent, as is the count in `live`: a reader first says that it is
        // interested and then asks what was appended, the loop appends and then asks who is
        // interested; at least one of them must see the other.
        self.appended.store(upto.0, Ordering::SeqCst);
    }

    /// How much room the disk has.
    pub(super) fn disk(&self) -> DiskSpace {
        self.reached.borrow().disk
    }

    /// Waits until everything appended so far is written. While nothing can be, nobody waits: what is not written
    /// was not said to anybody either.
    ///
    /// # Errors
    /// When the store has stopped before that.
    pub(super) async fn pass(&self) -> Result<(), StoreError> {
        let upto = BatchNo(self.appended.load(Ordering::SeqCst));
        let mut reached = self.reached.clone();
        match reached.wait_for(|reached| reached.written >= upto || reached.disk == DiskSpace::Nothing).await {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_waits_for_what_was_appended_before_it_came_and_for_nothing_later() {
        let (progress, mut tell) = StoreProgress::new();
        let barrier = progress.barrier.clone();
        barrier.pass().await.expect("nothing was appended");
        barrier.raise(BatchNo(2));
        let waiting = tokio::spawn(async move { barrier.pass().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        progress.barrier.raise(BatchNo(3));
        tell(Progress::Written(BatchNo(2)));
        waiting.await.expect("ends").expect("is written");
    }

    #[tokio::test]
    async fn readers_see_what_is_written_while_the_disk_is_full() {
        let (progress, mut tell) = StoreProgress::new();
        progress.barrier.raise(BatchNo(1));
        tell(Progress::Disk(DiskSpace::Nothing));
        progress.barrier.pass().await.expect("is let through");
        assert_eq!(progress.barrier.disk(), DiskSpace::Nothing);
        tell(Progress::Disk(DiskSpace::Enough));
        let barrier = progress.barrier.clone();
        let waiting = tokio::spawn(async move { barrier.pass().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        tell(Progress::Written(BatchNo(1)));
        waiting.await.expect("ends").expect("is written");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_store_that_has_stopped() {
        let (progress, tell) = StoreProgress::new();
        progress.barrier.raise(BatchNo(1));
        drop(tell);
        assert!(matches!(progress.barrier.pass().await, Err(StoreError::Stopped)));
    }
}
