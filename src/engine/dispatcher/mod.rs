//! The dispatcher's half of the core: who may come in, what is queued, what
//! runs where, and what became of it.
//!
//! Invariants ([`DispatcherEngine::check_invariants`] audits them all): every
//! task of every job is in exactly one state; no worker's capacity is
//! oversubscribed; a result is taken only from an attempt that is live here.
//! Deliberately absent: sockets, the store, output and log files, time limits
//! (the worker's), and any clock but the `now` that is passed in.

mod admission;
mod ahead;
mod assigning;
mod attendance;
mod audit;
mod backlog;
mod backoff;
mod doubling;
mod doubt;
mod endings;
mod explain;
mod hand_over;
mod history;
mod interface;
mod job;
mod jobs;
mod joining;
mod leases;
mod links;
mod losses;
mod membership;
mod notice;
mod outbox;
mod placement;
mod queue;
mod reconcile;
mod refusals;
mod refused;
mod registry;
mod remake;
mod repeating;
mod requests;
mod restore;
mod results;
mod retry;
mod roster;
mod submit;
mod task;
#[cfg(test)]
mod tests;
mod throughput;
mod timers;
mod tokens;
mod unexpired;
mod version;
mod view;
mod watch;
mod whereabouts;

use std::collections::BTreeMap;

pub use interface::{
    Call, CloseReason, DispatcherEffects, Inbound, LinkChange, LostInput, Outbound, ProvedHandOver, WantedToken, Whose,
};
use links::Peer;
pub use notice::{Change, Grounds, LossCause, Notice};
pub use refusals::client_not_enrolled;
pub use submit::{check_repeated, check_submission, disk_is_full};
use timers::Timer;
pub use version::negotiate;

use crate::model::limits::{
    BACKLOG, HEARTBEAT_INTERVAL, LOST_AFTER, MAX_WORKERS, RESTART_GRACE, SUSPECT_AFTER, TASK_RETRIES, TASK_TIMEOUT,
};
use crate::model::records::{BatchNo, DiskSpace, Record};
use crate::model::{Epoch, JobId, LinkId, Millis, NodeId, NodeName, TaskId, Timestamp, Uptime};

/// What a dispatcher is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatcherConfig {
    /// Its key.
    pub node: NodeId,
    /// Its software version.
    pub software: String,
    /// What new clients are called that are this user's on this machine (default `client-N`).
    pub user: Option<NodeName>,
    /// Workers connected at once (`--max-workers`, default 10).
    pub max_workers: u32,
    /// The time limit of tasks that name none (`--task-timeout`, default 300 s); workers enforce it.
    pub task_timeout: Millis,
    /// Tries after failed ones for jobs that name no number (`--task-retries`, default 3).
    pub task_retries: u32,
    /// Whether nodes are told to send beacons and to talk to each other (`--p2p-enabled`, default true).
    pub p2p: bool,
    /// How often workers are told to send heartbeats (default 2 s).
    pub heartbeat_interval: Millis,
    /// Silence after which a worker gets no new work (default 6 s).
    pub suspect_after: Millis,
    /// Silence after which a worker is lost (`--heartbeat-timeout`, default 60 s).
    pub lost_after: Millis,
    /// After a restart, how long running tasks wait for their workers (default 60 s).
    pub restart_grace: Millis,
    /// How much work waits on a worker for each of its slots, beyond what runs (default 30 s); nothing without any.
    pub backlog: Millis,
}

impl Default for DispatcherConfig {
    /// The defaults of `model::limits`, under an all-zero key and an empty version.
    fn default() -> Self {
        Self {
            node: NodeId([0; 32]),
            software: String::new(),
            user: None,
            max_workers: MAX_WORKERS,
            task_timeout: TASK_TIMEOUT,
            task_retries: TASK_RETRIES,
            p2p: true,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            suspect_after: SUSPECT_AFTER,
            lost_after: LOST_AFTER,
            restart_grace: RESTART_GRACE,
            backlog: BACKLOG,
        }
    }
}

/// A dispatcher's decisions as a value. See the module for what it promises.
///
/// Made by [`DispatcherEngine::restore`], of an empty state at the very first
/// start. After any `handle_…`, drain [`DispatcherEngine::take_effects`] and ask
/// [`DispatcherEngine::poll_timeout`] anew. `now` must never go back. What a
/// link sends after `Down` or after a refusal is ignored.
#[derive(Debug)]
pub struct DispatcherEngine {
    config: DispatcherConfig,
    epoch: Epoch,
    /// Fences issued in this epoch.
    fences: u64,
    next_job: u64,
    registry: registry::Registry,
    tokens: tokens::Tokens,
    lobby: joining::Lobby,
    roster: roster::Roster,
    links: BTreeMap<LinkId, Peer>,
    jobs: jobs::Jobs,
    /// Exclusive tasks that have ended and until when an attempt of theirs may still run.
    unexpired: BTreeMap<TaskId, Timestamp>,
    /// After a power loss, until it is settled.
    doubt: Option<doubt::Doubt>,
    placement: placement::Placement,
    backlogs: backlog::Backlogs,
    /// When slots that are free beside waiting work are to get some of it.
    level_at: Option<Timestamp>,
    timers: timers::Timers,
    watchers: watch::Watchers,
    outbox: outbox::Outbox,
    throughput: throughput::Throughput,
    whereabouts: whereabouts::Whereabouts,
    remakes: remake::Remakes,
    started_at: Timestamp,
    uptime: Uptime,
    last_call: Timestamp,
    synced: BatchNo,
    /// What the store's disk has; without enough, nothing new is taken or started.
    disk: DiskSpace,
}

impl DispatcherEngine {
    /// A link came up or went down.
    pub fn handle_link(&mut self, now: Timestamp, link: LinkId, change: LinkChange) {
        self.enter(now);
        match change {
            LinkChange::Up { node, hello, vouched } => {
                self.arrive(now, &admission::Arrival { link, node, hello: &hello, vouched });
            }
            LinkChange::Down => self.link_down(now, link),
        }
        self.settle(now);
    }

    /// A peer said something. Everything in one message is handled before anything new is placed.
    pub fn handle_message(&mut self, now: Timestamp, from: LinkId, message: Inbound) {
        self.enter(now);
        self.hear(now, from, message);
        self.settle(now);
    }

    /// The instant of [`DispatcherEngine::poll_timeout`] has come. Safe to call early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.enter(now);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Worker(key) => self.check_lease(now, key),
                Timer::Wait(job, position) => self.end_wait(now, job, position),
                Timer::Patience(job, position) => self.end_patience(now, job, position),
                Timer::ClientGone(job) => self.check_attendance(now, job),
                Timer::Watcher(id) => self.wake_watcher(id),
                Timer::History => self.trim_history(now),
                Timer::Doubt => self.resolve_doubt(now),
                // Looked at after every call.
                Timer::Level => {}
                Timer::Directory(key) => self.try_directories(now, key),
                Timer::Lease(task) => self.end_lease(now, task),
            }
        }
        self.settle(now);
    }

    /// Writes down how long the dispatcher has run. What it runs after the last of these calls does not count after a
    /// restart, so the shell calls it every few minutes and before it stops.
    pub fn count_uptime(&mut self, now: Timestamp) {
        self.enter(now);
        self.outbox.record(Record::UptimeCounted { uptime: self.uptime.at(now) });
        self.settle(now);
    }

    /// How long the dispatcher has run, all its starts taken together.
    #[must_use]
    pub fn uptime(&self) -> Uptime {
        self.uptime
    }

    /// Every batch of records up to `upto` is on disk.
    ///
    /// The shell holds `messages_after_sync` back by itself; the engine only
    /// checks that durability never goes back.
    pub fn handle_synced(&mut self, upto: BatchNo) {
        assert!(upto >= self.synced, "what was durable is not any more");
        self.synced = upto;
    }

    /// The store's disk has so much room. While that is not enough, new work is refused and nothing is started, so
    /// that what runs can end.
    pub fn handle_disk(&mut self, now: Timestamp, disk: DiskSpace) {
        if self.disk == disk {
            return;
        }
        self.enter(now);
        self.disk = disk;
        self.outbox.notice(Notice::DiskChanged { disk });
        if !disk.is_enough() {
            self.retract_all();
        }
        self.settle(now);
    }

    /// What the calls since the last time want done.
    pub fn take_effects(&mut self) -> DispatcherEffects {
        self.outbox.take()
    }

    /// When [`DispatcherEngine::handle_timeout`] wants to be called next, if at
    /// all. While any worker is reckoned with that is at most half a second
    /// after the last call: a longer gap tells the engine that it stood still.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.timers.next(), self.next_tick()].into_iter().flatten().min()
    }

    /// Whether the job is in memory: not ended, or not for long.
    #[must_use]
    pub fn knows(&self, job: JobId) -> bool {
        self.jobs.get(job).is_some()
    }

    /// Draws the consequences of a call, once.
    fn settle(&mut self, now: Timestamp) {
        self.resolve_dependencies(now);
        self.place(now);
        self.tell_watchers(now);
        self.trim_history_if_full(now);
    }
}
