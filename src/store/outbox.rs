//! The worker's outbox: results that its dispatcher has not acknowledged.
//!
//! Invariant: a result that was appended and synced comes back from `open`
//! until it is settled, in the order in which it was kept.

use std::path::Path;

use rusqlite::{Connection, params};

use super::file::Safety;
use super::reserve::Reserve;
use super::rows::{fence, int};
use super::writer::{Apply, Durability, OnProgress, Writer};
use super::{StoreError, file, schema};
use crate::model::limits::MAX_FRAME;
use crate::model::messages::EndedAttempt;
use crate::model::records::{BatchNo, OutboxRecord};
use crate::wire::frame;

/// A handle to an outbox and its writer thread; the same shape as [`super::Store`]. Cloning is cheap.
#[derive(Clone)]
pub struct Outbox {
    writer: Writer<OutboxRecord>,
}

impl Outbox {
    /// Opens the outbox at `path` (made when missing) and reads what it holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(path: &Path, on_progress: OnProgress) -> Result<(Outbox, Vec<EndedAttempt>), StoreError> {
        let (file, connection) = file::open(path, &schema::OUTBOX, Safety::Full)?;
        let kept = kept(&connection)?;
        let reserve = Reserve::none(&file);
        let writer = Writer::start(file, connection, OutboxRecords { encoded: Vec::new() }, on_progress, reserve)?;
        Ok((Outbox { writer }, kept))
    }

    /// Queues one batch; see [`super::Store::append`].
    ///
    /// # Errors
    /// [`StoreError::Stopped`] once the writer has failed or was closed.
    pub fn append(&self, batch: BatchNo, records: Vec<OutboxRecord>, durability: Durability) -> Result<(), StoreError> {
        self.writer.append(batch, records, durability)
    }

    /// Writes and syncs what is queued, and ends the writer. Blocks until it has.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when it had failed; what failed was reported.
    pub fn close(self) -> Result<(), StoreError> {
        self.writer.close()
    }
}

fn kept(connection: &Connection) -> Result<Vec<EndedAttempt>, StoreError> {
    let mut select = connection.prepare("SELECT ended FROM kept ORDER BY place")?;
    let mut rows = select.query([])?;
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let ended = row.get_ref(0)?.as_blob().ok().and_then(|bytes| frame::decode(bytes).ok());
        kept.push(ended.ok_or(StoreError::BadValue { column: "ended" })?);
    }
    Ok(kept)
}

/// Applies the worker's records.
struct OutboxRecords {
    /// Reused for every result.
    encoded: Vec<u8>,
}

impl Apply for OutboxRecords {
    type Record = OutboxRecord;

    fn apply(&mut self, connection: &Connection, record: &OutboxRecord) -> Result<(), StoreError> {
        match record {
            OutboxRecord::Kept(ended) => {
                self.encoded.clear();
                frame::encode(ended, &mut self.encoded, MAX_FRAME).map_err(StoreError::TooLarge)?;
                connection
                    .prepare_cached(
                        "INSERT INTO kept (job, task, attempt, fence, ended) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (job, task, attempt, fence) DO UPDATE SET ended = ?5",
                    )?
                    .execute(params![
                        int(ended.id.task.job.0),
                        int(ended.id.task.index.0),
                        ended.id.attempt.0,
                        fence(ended.fence),
                        &self.encoded[frame::HEADER_BYTES..]
                    ])?;
            }
            OutboxRecord::Settled(attempt) => {
                connection
                    .prepare_cached("DELETE FROM kept WHERE job = ?1 AND task = ?2 AND attempt = ?3 AND fence = ?4")?
                    .execute(params![
                        int(attempt.id.task.job.0),
                        int(attempt.id.task.index.0),
                        attempt.id.attempt.0,
                        fence(attempt.fence)
                    ])?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &Connection) -> Result<(), StoreError> {
        Ok(())
    }

    fn undone(&mut self, _: &Connection) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_untidy(&self) -> bool {
        false
    }

    fn tidy(&mut self, _: &Connection) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&mut self, _: &Connection) -> Result<(), StoreError> {
        Ok(())
    }
}
