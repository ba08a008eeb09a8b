//! Durable state: SQLite behind one writer thread.
//!
//! Records come in as numbered batches, become rows in groups, and the store
//! says which batches are written and which are durable. Invariant: batches are
//! committed whole and in order, and after the first failure nothing further is
//! written. Listings are read from here, on connections of their own. Absent:
//! decisions about jobs (the engine's) and log files (the shell's).

mod apply;
mod attempt_rows;
mod attempts;
mod boot;
mod checkpoint;
mod error;
mod file;
mod files;
mod folding;
mod jobs;
mod lookup;
mod membership;
mod numbering;
mod outbox;
mod read;
mod repair;
mod reserve;
mod restore;
mod rows;
mod schema;
mod stop;
mod sweeps;
mod task_rows;
mod tasks;
mod writer;

use std::path::{Path, PathBuf};

pub use error::StoreError;
pub use files::Live;
pub use outbox::Outbox;
pub use read::{Reader, Removal, Resolution, Viewer};
pub use repair::{Repair, Saved, repair};
pub use writer::{Durability, OnProgress, Progress};

use rusqlite::Connection;

use crate::model::Timestamp;
pub use crate::model::records::BatchNo;
use crate::model::records::{Record, RestoredState};
use apply::Records;
use file::{Safety, StoreFile};
use reserve::Reserve;
use writer::Writer;

/// A handle to the dispatcher's store and its writer thread. Cloning is cheap.
///
/// When the last handle goes, the writer writes what is queued and ends; to
/// wait for that, [`Store::close`] it.
#[derive(Clone)]
pub struct Store {
    writer: Writer<Record>,
    path: PathBuf,
}

/// Opens the store at `path` (made when missing, readable by its owner alone),
/// takes a new epoch durably, and reads what an engine needs to go on.
///
/// `on_progress` is called from the writer's thread and must not block for long.
/// `boot_id` names this boot of the machine: when the file was last open under
/// another one and never closed, the machine lost its power meanwhile, and
/// [`RestoredState::after_power_loss`] says so until a record settles it.
/// `None` is taken for the same boot as before.
///
/// # Errors
/// See [`StoreError`]: locked, damaged, of a newer version, or the disk fails.
pub fn open(
    path: &Path,
    on_progress: OnProgress,
    now: Timestamp,
    boot_id: Option<&str>,
) -> Result<(Store, RestoredState), StoreError> {
    open_with(path, Safety::Full, on_progress, now, boot_id)
}

/// Opens a store that is deleted with its process: as [`open`], but nothing ever waits for the disk, and
/// "synced" means written.
///
/// # Errors
/// As [`open`].
pub fn open_scratch(
    path: &Path,
    on_progress: OnProgress,
    now: Timestamp,
) -> Result<(Store, RestoredState), StoreError> {
    open_with(path, Safety::Scratch, on_progress, now, None)
}

fn open_with(
    path: &Path,
    safety: Safety,
    on_progress: OnProgress,
    now: Timestamp,
    boot_id: Option<&str>,
) -> Result<(Store, RestoredState), StoreError> {
    let opened = match read_state(path, safety, now, boot_id) {
        // It may have gone down because the disk was full, and is not to need more room than it had then.
        Err(error) if reserve::remove_for(path, &error) => read_state(path, safety, now, boot_id),
        other => other,
    };
    let (file, connection, state) = opened.map_err(|error| error.of(path))?;
    let records = Records::new(&connection)?;
    let reserve = if safety == Safety::Full { Reserve::of(&file) } else { Reserve::none(&file) };
    let writer = Writer::start(file, connection, records, on_progress, reserve)?;
    Ok((Store { writer, path: path.to_owned() }, state))
}

fn read_state(
    path: &Path,
    safety: Safety,
    now: Timestamp,
    boot_id: Option<&str>,
) -> Result<(StoreFile, Connection, RestoredState), StoreError> {
    let (file, connection) = file::open(path, &schema::DISPATCHER, safety)?;
    if boot::is_another(&connection, boot_id)? {
        // Disks that lose power under a write are what damages files.
        file::check_pages(&connection)?;
    }
    // Nothing of a file that turns out to be damaged is changed.
    let transaction = connection.unchecked_transaction()?;
    let epoch = restore::take_epoch(&transaction, now, boot_id)?;
    let state = restore::state(&transaction, epoch)?;
    transaction.commit()?;
    Ok((file, connection, state))
}

impl Store {
    /// Queues one batch. Blocks while the queue is full.
    ///
    /// A batch without records is allowed; [`Durability::Synced`] then makes
    /// durable what was appended before it.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] once the writer has failed or was closed.
    pub fn append(&self, batch: BatchNo, records: Vec<Record>, durability: Durability) -> Result<(), StoreError> {
        self.writer.append(batch, records, durability)
    }

    /// Returns when everything appended so far is written: readers see it. Blocks until then.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the writer stopped before that.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.writer.flush()
    }

    /// A connection of its own for listings; each call sees what is written at its beginning.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.path)
    }

    /// Writes and syncs what is queued, and ends the writer. Blocks until it has.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when it had failed; what failed was reported as [`Progress::Failed`].
    pub fn close(self) -> Result<(), StoreError> {
        self.writer.close()
    }
}
