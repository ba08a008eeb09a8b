//! The dispatcher's half of the core: who may come in, what is queued, what
//! runs where, and what became of it.
//!
//! Invariants ([`DispatcherEngine::check_invariants`] audits them all): every
//! task of every job is in exactly one state; no worker's capacity is
//! oversubscribed; a result is taken only from an attempt that is live here.
//! Deliberately absent: sockets, the store, output and log files, time limits
//! (the worker's), and any clock but the `now` that is passed in.

mod interface;
mod notice;

pub use interface::{Call, ClusterView, DispatcherEffects, Inbound, LinkChange, Outbound};
pub use notice::{LossCause, Notice};

use crate::model::limits::{
    HEARTBEAT_INTERVAL, LOST_AFTER, MAX_WORKERS, RESTART_GRACE, SUSPECT_AFTER, TASK_RETRIES, TASK_TIMEOUT,
};
use crate::model::records::{BatchNo, RestoredState};
use crate::model::{JobId, LinkId, Millis, NodeId, Timestamp};

/// What a dispatcher is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatcherConfig {
    /// Its key.
    pub node: NodeId,
    /// Its software version.
    pub software: String,
    /// Workers connected at once (`--max-workers`, default 10).
    pub max_workers: u32,
    /// The time limit of tasks that name none (`--task-timeout`, default 300 s); workers enforce it.
    pub task_timeout: Millis,
    /// Tries after failed ones for jobs that name no number (`--task-retries`, default 3).
    pub task_retries: u32,
    /// How often workers are told to send heartbeats (default 2 s).
    pub heartbeat_interval: Millis,
    /// Silence after which a worker gets no new work (default 6 s).
    pub suspect_after: Millis,
    /// Silence after which a worker is lost (`--heartbeat-timeout`, default 60 s).
    pub lost_after: Millis,
    /// After a restart, how long running tasks wait for their workers (default 60 s).
    pub restart_grace: Millis,
}

impl Default for DispatcherConfig {
    /// The defaults of `model::limits`, under an all-zero key and an empty version.
    fn default() -> Self {
        Self {
            node: NodeId([0; 32]),
            software: String::new(),
            max_workers: MAX_WORKERS,
            task_timeout: TASK_TIMEOUT,
            task_retries: TASK_RETRIES,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            suspect_after: SUSPECT_AFTER,
            lost_after: LOST_AFTER,
            restart_grace: RESTART_GRACE,
        }
    }
}

/// A dispatcher's decisions as a value. See the module for what it promises.
///
/// After any `handle_…`, drain [`DispatcherEngine::take_effects`] and ask
/// [`DispatcherEngine::poll_timeout`] anew. `now` must never go back. What a
/// link sends after `Down` or after a refusal is ignored.
#[derive(Debug)]
pub struct DispatcherEngine {
    config: DispatcherConfig,
}

impl DispatcherEngine {
    /// Goes on where `state` left off. Running tasks wait `restart_grace` for
    /// their workers to report them.
    #[must_use]
    pub fn restore(config: DispatcherConfig, _now: Timestamp, _state: RestoredState) -> Self {
        Self { config }
    }

    /// A link came up or went down.
    pub fn handle_link(&mut self, _now: Timestamp, _link: LinkId, _change: LinkChange) {}

    /// A peer said something. Everything in one message is handled before anything new is placed.
    pub fn handle_message(&mut self, _now: Timestamp, _from: LinkId, _message: Inbound) {}

    /// The instant of [`DispatcherEngine::poll_timeout`] has come. Safe to call early.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}

    /// Every batch of records up to `upto` is on disk.
    pub fn handle_synced(&mut self, _upto: BatchNo) {}

    /// What the calls since the last time want done.
    pub fn take_effects(&mut self) -> DispatcherEffects {
        DispatcherEffects::default()
    }

    /// When [`DispatcherEngine::handle_timeout`] wants to be called next, if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Whether the job is in memory: not ended, or not for long.
    #[must_use]
    pub fn knows(&self, _job: JobId) -> bool {
        false
    }

    /// A snapshot for people.
    #[must_use]
    #[expect(clippy::unimplemented, reason = "being built")]
    pub fn view(&self, _now: Timestamp) -> ClusterView {
        unimplemented!()
    }

    /// Panics with what is broken, if anything is. Costs as much as everything held.
    pub fn check_invariants(&self) {
        assert!(self.config.suspect_after < self.config.lost_after, "a worker would be lost before it is suspect");
    }
}
