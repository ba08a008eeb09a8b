//! The worker's outbox: results that its dispatcher has not acknowledged.

use std::path::Path;

use super::{Durability, Progress, StoreError};
use crate::model::messages::EndedAttempt;
use crate::model::records::{BatchNo, OutboxRecord};

/// A handle to an outbox's writer thread; the same shape as [`super::Store`]. Cloning is cheap.
#[derive(Clone)]
pub struct Outbox {}

impl Outbox {
    /// Opens the outbox at `path` and reads what it holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        path: &Path,
        on_progress: Box<dyn FnMut(Progress) + Send>,
    ) -> Result<(Outbox, Vec<EndedAttempt>), StoreError> {
        let _ = (path, on_progress);
        unimplemented!()
    }

    /// Queues one batch; see [`super::Store::append`].
    ///
    /// # Errors
    /// [`StoreError::Stopped`] once the writer has failed or was closed.
    pub fn append(&self, batch: BatchNo, records: Vec<OutboxRecord>, durability: Durability) -> Result<(), StoreError> {
        let _ = (batch, records, durability);
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
