//! The writer thread: group commit.

use std::path::Path;

use super::{Reader, StoreError};
use crate::model::Timestamp;
use crate::model::records::{BatchNo, Record, RestoredState};

/// How durable a batch has to become before anybody is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Visible to readers; a power loss may take it, a crash of the process does not.
    Written,
    /// On the disk, and every batch before it.
    Synced,
}

/// What the writer says, from its own thread. Must not block for long.
#[derive(Debug)]
pub enum Progress {
    /// Every batch up to this one is committed and visible to readers.
    Written(BatchNo),
    /// Every batch up to this one is on the disk.
    Synced(BatchNo),
    /// The store failed; nothing further is written and later appends are refused.
    Failed(StoreError),
}

/// A handle to the writer thread. Cloning is cheap.
#[derive(Clone)]
pub struct Store {}

/// Opens the store at `path`, takes a new epoch durably, and reads what an engine needs to go on.
///
/// # Errors
/// See [`StoreError`]: locked, damaged, of a newer version, or the disk fails.
pub fn open(
    path: &Path,
    on_progress: Box<dyn FnMut(Progress) + Send>,
    now: Timestamp,
) -> Result<(Store, RestoredState), StoreError> {
    let _ = (path, on_progress, now);
    unimplemented!()
}

impl Store {
    /// Queues one batch. Blocks while the queue is full, so an async caller calls it from a blocking thread
    /// or accepts that back-pressure.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] once the writer has failed or was closed.
    pub fn append(&self, batch: BatchNo, records: Vec<Record>, durability: Durability) -> Result<(), StoreError> {
        let _ = (batch, records, durability);
        unimplemented!()
    }

    /// Returns when everything appended so far is written: readers see it.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the writer stopped before that.
    pub fn flush(&self) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// A connection of its own for listings; it sees what is written at the moment of each call.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        unimplemented!()
    }

    /// Writes and syncs what is queued and ends the writer.
    ///
    /// # Errors
    /// The failure that stopped the writer before it was through.
    pub fn close(self) -> Result<(), StoreError> {
        unimplemented!()
    }
}
