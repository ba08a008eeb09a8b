//! Moving the write-ahead log into the database without holding up the writer.
//!
//! A thread with a connection of its own copies pages while the writer goes on
//! appending. When it is through, the writer itself copies the few that came
//! since, which lets SQLite start the log anew. Invariant: an error while doing
//! so stops the writer; after a failed sync the copied pages are not to be
//! trusted, and the log must not be dropped. A full disk is none: the log is
//! whole until all of it was copied and synced.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::file::{Safety, StoreFile};
use super::{StoreError, file};

/// Pages in the log (4 KiB each) after which it is worth copying them: SQLite's own default.
const PAGES: i64 = 1000;

/// Where the other thread stands.
#[derive(Debug, Default)]
struct Shared {
    stage: AtomicU8,
    failure: Mutex<Option<StoreError>>,
}

const IDLE: u8 = 0;
const COPYING: u8 = 1;
const COPIED: u8 = 2;
const FAILED: u8 = 3;

/// The writer's side of the checkpointing thread.
pub(super) struct Checkpointer {
    /// Closed to end the thread.
    orders: Option<SyncSender<()>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The log's length at which the next round starts.
    due_at: i64,
}

impl Checkpointer {
    /// Starts the thread for the database `file`, which exists.
    pub(super) fn start(file: &StoreFile) -> Result<Self, StoreError> {
        let path = &file.path;
        let connection = file::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let synchronous = if file.safety == Safety::Full { "NORMAL" } else { "OFF" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let shared = Arc::new(Shared::default());
        // One order at a time: `COPYING` keeps the writer from giving a second.
        let (orders, received) = sync_channel(1);
        let copying = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || copy(&connection, &received, &copying))
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        Ok(Self { orders: Some(orders), shared, thread: Some(thread), due_at: PAGES })
    }

    /// Called by the writer between two transactions.
    pub(super) fn after_commit(&mut self, connection: &Connection) -> Result<(), StoreError> {
        match self.shared.stage.load(Ordering::Acquire) {
            IDLE => {
                if log_pages(connection, "NOOP")? >= self.due_at
                    && let Some(orders) = &self.orders
                {
                    self.shared.stage.store(COPYING, Ordering::Release);
                    // Cannot be full, and a thread that has ended left its failure behind.
                    let _ = orders.try_send(());
                }
            }
            COPIED => {
                // Should that find the disk full, it is copied once more from the beginning.
                self.shared.stage.store(IDLE, Ordering::Release);
                // Where readers hold it back, the log stays and grows by another round's worth first.
                self.due_at = log_pages(connection, "PASSIVE")? + PAGES;
            }
            FAILED => {
                // Copied once more when that was all: the writer asks again only after a full disk.
                self.shared.stage.store(IDLE, Ordering::Release);
                let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(failure.unwrap_or(StoreError::Stopped));
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the thread and empties the log, unless readers still need it.
    pub(super) fn finish(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; were it to, there is nothing of it to clean up.
            let _ = thread.join();
        }
        if self.shared.stage.load(Ordering::Acquire) == FAILED {
            return self.after_commit(connection);
        }
        connection.busy_timeout(std::time::Duration::ZERO)?;
        log_pages(connection, "TRUNCATE").map(|_| ())
    }
}

/// The life of the thread.
fn copy(connection: &Connection, orders: &Receiver<()>, shared: &Shared) {
    while orders.recv().is_ok() {
        let stage = match log_pages(connection, "PASSIVE") {
            Ok(_) => COPIED,
            Err(failure) => {
                *shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                FAILED
            }
        };
        shared.stage.store(stage, Ordering::Release);
    }
}

/// Runs a checkpoint of this kind (`NOOP` copies nothing) and says how many pages the log holds.
/// Being held back by another connection is no error.
fn log_pages(connection: &Connection, mode: &str) -> Result<i64, StoreError> {
    let sql = match mode {
        "NOOP" => "PRAGMA wal_checkpoint(NOOP)",
        "PASSIVE" => "PRAGMA wal_checkpoint(PASSIVE)",
        _ => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let pages = connection.prepare_cached(sql)?.query_row([], |row| row.get(1));
    match pages.map_err(StoreError::from) {
        Err(StoreError::Busy(_)) => Ok(0),
        other => other,
    }
}
