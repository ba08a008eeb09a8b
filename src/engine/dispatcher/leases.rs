//! Heartbeats and silence: who is suspect, who is lost, and when.
//!
//! Invariant: a worker has a timer set no later than the next turn of its
//! lease. Silence is counted only while the dispatcher itself was awake.
//! Absent: what becomes of a lost worker's attempts (`losses`).

use super::placement::WorkerKey;
use super::roster::{Presence, Worker};
use super::timers::Timer;
use super::{DispatcherConfig, DispatcherEngine, LossCause, Notice, Outbound};
use crate::model::limits::LOOP_GAP;
use crate::model::messages::DispatcherMessage;
use crate::model::{LinkId, Millis, Timestamp};

/// While any lease runs the engine wants to be woken this often, so that a
/// longer gap between two calls can only mean that the dispatcher stood still.
const TICK: Millis = Millis(LOOP_GAP.0 / 2);

/// How long a lost worker stays on the roster for people to see.
const LOST_SHOWN: Millis = Millis::from_secs(60 * 60);

/// When a worker's lease takes its next turn.
fn next_turn(worker: &Worker, config: &DispatcherConfig) -> Timestamp {
    worker.silent_since
        + match worker.presence {
            Presence::Lost => LOST_SHOWN,
            Presence::Expected => config.restart_grace,
            _ if worker.covered => config.lost_after,
            _ => config.suspect_after,
        }
}

impl DispatcherEngine {
    /// Notes the passing of time at the start of every call.
    pub(super) fn enter(&mut self, now: Timestamp) {
        assert!(now >= self.last_call, "time went back");
        let gap = now.since(self.last_call);
        if gap > LOOP_GAP && self.leases_run() {
            self.excuse_clients(gap);
            let mut silent = Vec::new();
            for (key, worker) in self.roster.iter_mut().filter(|(_, worker)| worker.presence != Presence::Lost) {
                worker.silent_since = now;
                silent.push(key);
            }
            for key in silent {
                self.uncover(key);
                self.arm(key);
            }
            self.await_holdings(now);
            self.outbox.notice(Notice::LoopStalled { gap });
        }
        self.last_call = now;
    }

    fn leases_run(&self) -> bool {
        self.doubt.is_some()
            || !self.jobs.away.is_empty()
            || self.roster.iter().any(|(_, worker)| worker.presence != Presence::Lost)
    }

    /// When to be called next for the sake of [`Self::enter`].
    pub(super) fn next_tick(&self) -> Option<Timestamp> {
        self.leases_run().then(|| self.last_call + TICK)
    }

    /// A worker said something.
    pub(super) fn heard(&mut self, now: Timestamp, key: WorkerKey) {
        let worker = self.roster.at_mut(key);
        worker.last_heard = now;
        worker.silent_since = now;
        if worker.suspect {
            worker.suspect = false;
            let name = worker.name.clone();
            self.outbox.notice(Notice::WorkerReturned { worker: name });
            self.uncover(key);
            self.open_or_close(key);
        }
        self.arm(key);
    }

    /// Echoes a heartbeat.
    pub(super) fn echo(&mut self, now: Timestamp, link: LinkId, sequence: u64) {
        self.outbox.send(link, Outbound::ToWorker(DispatcherMessage::HeartbeatSeen { sequence, now }));
    }

    /// Lets placement know whether a worker may be given work.
    pub(super) fn open_or_close(&mut self, key: WorkerKey) {
        self.placement.set_open(key, self.roster.at(key).is_open());
    }

    /// Sets a worker's timer unless it is set for an earlier turn already, which will set it again.
    pub(super) fn arm(&mut self, key: WorkerKey) {
        let worker = self.roster.at_mut(key);
        let turn = next_turn(worker, &self.config);
        if worker.timer.is_none_or(|set| set > turn) {
            worker.timer = Some(turn);
            self.timers.set(turn, Timer::Worker(key));
        }
    }

    /// A worker's timer fired.
    pub(super) fn check_lease(&mut self, now: Timestamp, key: WorkerKey) {
        if self.roster.get(key).is_none_or(|worker| worker.timer.is_none_or(|set| set > now)) {
            return;
        }
        let worker = self.roster.at_mut(key);
        worker.timer = None;
        let due = next_turn(worker, &self.config) <= now;
        match worker.presence {
            _ if !due => self.arm(key),
            Presence::Lost => self.leave(key),
            Presence::Expected => self.lose_worker(now, key, LossCause::Silence),
            _ if worker.covered => self.lose_worker(now, key, LossCause::Silence),
            _ => {
                let known = std::mem::replace(&mut worker.suspect, true);
                let (worker, silent) = (worker.name.clone(), now.since(worker.last_heard));
                if !known {
                    self.outbox.notice(Notice::WorkerSuspect { worker, silent });
                }
                self.open_or_close(key);
                self.cover(key);
                self.arm(key);
            }
        }
    }

    /// Panics with what is broken about the leases.
    pub(super) fn check_leases(&self) {
        assert!(self.config.suspect_after < self.config.lost_after, "a worker would be lost before it is suspect");
        for (key, worker) in self.roster.iter() {
            let turn = next_turn(worker, &self.config);
            let set = worker.timer.is_some_and(|set| set <= turn && self.timers.is_set(Timer::Worker(key), set));
            assert!(set, "nothing watches the lease of {}", worker.name);
        }
    }
}
