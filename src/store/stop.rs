//! The end of a writer thread, for those who hold its other end.
//!
//! Invariant: once nobody holds a [`Handle`], or it was told to close, a thread
//! that waits for room on the disk hears of it. Absent: the queue between them
//! (`writer`).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::StoreError;

/// Raised once, and then for good.
#[derive(Debug, Default)]
pub(super) struct Stop {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for it, at most so long; says whether it is raised.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(raised, patience, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The thread and how it ended.
type WriterThread = JoinHandle<Result<(), StoreError>>;

/// A writer thread, held by all who append to it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) stop: Arc<Stop>,
    thread: Mutex<Option<WriterThread>>,
}

impl Handle {
    pub(super) fn new(stop: Arc<Stop>, thread: WriterThread) -> Self {
        Self { stop, thread: Mutex::new(Some(thread)) }
    }

    /// Waits for its end and says how it came; the first to ask is told.
    pub(super) fn join(&self) -> Result<(), StoreError> {
        let handle = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match handle.map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.raise();
    }
}
