//! What the store knows, for requests: readers in a pool, asked from blocking
//! threads.
//!
//! The one invariant: an async task never waits inside SQLite. Absent: what is
//! asked (`requests`, `logs`, `relay`).

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::progress::Barrier;
use crate::model::records::DiskSpace;
use crate::store::{Reader, Store, StoreError};

/// Reads at once; more only compete for the same pages and processors.
const READS_AT_ONCE: usize = 4;

/// The store as requests see it. Clones share the pool.
#[derive(Clone)]
pub(super) struct History {
    store: Store,
    barrier: Barrier,
    pool: Arc<Pool>,
}

struct Pool {
    /// Readers nobody uses; at most [`READS_AT_ONCE`], because no more are ever out.
    idle: Mutex<Vec<Reader>>,
    permits: Semaphore,
}

impl History {
    pub(super) fn new(store: Store, barrier: Barrier) -> Self {
        let pool = Pool { idle: Mutex::new(Vec::new()), permits: Semaphore::new(READS_AT_ONCE) };
        Self { store, barrier, pool: Arc::new(pool) }
    }

    /// Closes the readers that nobody uses, so that the store can be left as one file. Others open new ones.
    pub(super) fn close_idle(&self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How much room the store's disk has.
    pub(super) fn disk(&self) -> DiskSpace {
        self.barrier.disk()
    }

    /// Runs `ask` on what is written now: all that was ever said to anybody.
    pub(super) async fn read<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let Ok(_permit) = self.pool.permits.acquire().await else { return Err(StoreError::Stopped) };
        let history = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let idle = history.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match idle {
                Some(reader) => reader,
                None => history.store.reader()?,
            };
            let found = ask(&reader);
            // A reader that failed may be in any state; it is not used again.
            if found.is_ok() {
                history.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            found
        });
        // A panic in a read, or the end of the runtime, ends this request alone.
        read.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Like [`History::read`], but first waits until what the engine's loop has
    /// appended so far is written.
    pub(super) async fn read_fresh<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    {
        self.barrier.pass().await?;
        self.read(ask).await
    }
}
