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
use crate::model::messages::FencedAttempt;
use crate::model::records::{BatchNo, OutboxRecord, Unsettled};
use crate::wire::frame::{self, Message};

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
    pub fn open(path: &Path, on_progress: OnProgress) -> Result<(Outbox, Unsettled), StoreError> {
        let (file, connection) = file::open(path, &schema::OUTBOX, Safety::Full)?;
        let kept =
            Unsettled { results: read(&connection, "kept", "ended")?, proofs: read(&connection, "proofs", "proof")? };
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

/// Everything in one column of encoded messages, oldest first.
fn read<T: Message>(connection: &Connection, table: &str, column: &'static str) -> Result<Vec<T>, StoreError> {
    let mut select = connection.prepare(&format!("SELECT {column} FROM {table} ORDER BY place"))?;
    let mut rows = select.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let one = row.get_ref(0)?.as_blob().ok().and_then(|bytes| frame::decode(bytes).ok());
        all.push(one.ok_or(StoreError::BadValue { column })?);
    }
    Ok(all)
}

/// Applies the worker's records.
struct OutboxRecords {
    /// Reused for every result.
    encoded: Vec<u8>,
}

impl OutboxRecords {
    /// Puts a message about an attempt into its table.
    fn put<T: Message>(
        &mut self,
        connection: &Connection,
        insert: &str,
        of: FencedAttempt,
        message: &T,
    ) -> Result<(), StoreError> {
        self.encoded.clear();
        frame::encode(message, &mut self.encoded, MAX_FRAME).map_err(StoreError::TooLarge)?;
        connection.prepare_cached(insert)?.execute(params![
            int(of.id.task.job.0),
            int(of.id.task.index.0),
            of.id.attempt.0,
            fence(of.fence),
            &self.encoded[frame::HEADER_BYTES..]
        ])?;
        Ok(())
    }
}

impl Apply for OutboxRecords {
    type Record = OutboxRecord;

    fn apply(&mut self, connection: &Connection, record: &OutboxRecord) -> Result<(), StoreError> {
        match record {
            OutboxRecord::Kept(ended) => {
                let of = FencedAttempt { id: ended.id, fence: ended.fence };
                let insert = "INSERT INTO kept (job, task, attempt, fence, ended) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (job, task, attempt, fence) DO UPDATE SET ended = ?5";
                self.put(connection, insert, of, ended)
            }
            OutboxRecord::Proved(taken) => {
                let insert = "INSERT INTO proofs (job, task, attempt, fence, proof) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (job, task, attempt, fence) DO UPDATE SET proof = ?5";
                self.put(connection, insert, taken.attempt, taken)
            }
            OutboxRecord::Settled(attempt) => {
                for table in ["kept", "proofs"] {
                    let sql =
                        format!("DELETE FROM {table} WHERE job = ?1 AND task = ?2 AND attempt = ?3 AND fence = ?4");
                    connection.prepare_cached(&sql)?.execute(params![
                        int(attempt.id.task.job.0),
                        int(attempt.id.task.index.0),
                        attempt.id.attempt.0,
                        fence(attempt.fence)
                    ])?;
                }
                Ok(())
            }
        }
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
