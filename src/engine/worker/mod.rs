//! The worker's half of the core: which attempts it holds, which of them run,
//! and which results the dispatcher has not thanked it for.
//!
//! Invariant: an attempt that was accepted stays until its result is recorded
//! by the dispatcher, or it was given back unstarted, or nobody can be waiting
//! for it any more; and what runs at once never exceeds the capacity.
//! Deliberately absent: processes, output and log files (the executor's), the
//! link's bytes, and any view of other workers.

mod effects;

pub use effects::{ExecFact, ExecOrder, WorkerEffects, WorkerNotice};

use crate::model::handshake::Welcome;
use crate::model::messages::{DispatcherMessage, EndedAttempt};
use crate::model::records::BatchNo;
use crate::model::{Capacity, Millis, Timestamp};

/// What a worker is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// What it advertises, and never exceeds.
    pub capacity: Capacity,
    /// Between heartbeats until a welcome names another interval.
    pub heartbeat_interval: Millis,
}

/// A change of the one link a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerLinkChange {
    /// The dispatcher has welcomed this worker on a new link.
    Up(Welcome),
    /// The link is gone.
    Down,
}

/// A worker's decisions as a value. See the module for what it promises.
///
/// After any `handle_…` or [`WorkerEngine::stop`], drain
/// [`WorkerEngine::take_effects`] and ask [`WorkerEngine::poll_timeout`] anew.
/// `now` is this node's own clock and must never go back; everything said to
/// the dispatcher is in dispatcher time.
#[derive(Debug)]
pub struct WorkerEngine {
    config: WorkerConfig,
}

impl WorkerEngine {
    /// A worker that holds nothing but `outbox`: results of earlier starts
    /// which the dispatcher has not acknowledged.
    #[must_use]
    pub fn restore(config: WorkerConfig, _now: Timestamp, _outbox: Vec<EndedAttempt>) -> Self {
        Self { config }
    }

    /// The link came up or went down.
    pub fn handle_link(&mut self, _now: Timestamp, _change: WorkerLinkChange) {}

    /// The dispatcher said something on the link that is up.
    pub fn handle_message(&mut self, _now: Timestamp, _message: DispatcherMessage) {}

    /// The executor said something.
    pub fn handle_exec(&mut self, _now: Timestamp, _fact: ExecFact) {}

    /// The instant of [`WorkerEngine::poll_timeout`] has come. Safe to call early.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// The outbox has every batch up to `upto` on disk. Every `take_effects` that
    /// returned records made one batch, the first of them number 1.
    pub fn handle_synced(&mut self, _upto: BatchNo) {}

    /// Stops gracefully: gives back what has not started, ends what runs, and
    /// takes nothing new. [`WorkerEngine::is_stopped`] says when all is done.
    pub fn stop(&mut self, _now: Timestamp) {}

    /// Whether a stop is complete: nothing runs, and every result was either
    /// acknowledged or is on disk and has had a moment to be.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        false
    }

    /// What the calls since the last time want done.
    pub fn take_effects(&mut self) -> WorkerEffects {
        WorkerEffects::default()
    }

    /// When [`WorkerEngine::handle_timeout`] wants to be called next, if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Panics with what is broken, if anything is.
    pub fn check_invariants(&self) {
        assert!(self.config.heartbeat_interval > Millis(0), "a worker that sends heartbeats without pause");
    }
}
