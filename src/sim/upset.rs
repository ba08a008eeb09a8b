//! How each fault is done to the cluster.
//!
//! Invariant: a fault touches the nodes, the network and the disk, never an
//! engine: engines only ever hear what a real one could.

use super::admin::What;
use super::cluster::{Cluster, Event};
use super::disk::{BRISK, Crash};
use super::faults::Fault;
use super::network::{IDLE_TIMEOUT, Party, Way, Weather, fair};
use crate::model::limits::LOOP_GAP;
use crate::model::{Millis, Timestamp};

impl Cluster {
    /// Fault `number` begins.
    pub(super) fn go_wrong(&mut self, number: usize) {
        let fault = self.faults[number].clone();
        self.trace.note(self.now(), format_args!("{fault:?}"));
        match fault {
            Fault::DispatcherCrash { how, down } => self.crash_dispatcher(how, down),
            Fault::DispatcherPause { lasts } => self.pause_dispatcher(lasts),
            Fault::WorkerCrash { worker, how, guard, down } => self.crash_worker(worker, how, guard, down),
            Fault::WorkerStop { worker, down } => self.stop_worker(worker, down),
            Fault::Drain { worker, lasts } => self.begin_chore(worker, What::Drain(lasts)),
            Fault::Revoke { worker } => self.begin_chore(worker, What::Revoke),
            Fault::WorkerPause { worker, lasts } => self.pause_worker(worker, lasts),
            Fault::LinkBreak { party, slow_to_notice } => {
                let most = if slow_to_notice { IDLE_TIMEOUT.0 } else { 50 };
                for link in self.network.of(party) {
                    let above = self.dice.network.mostly_short(0, most);
                    let below = self.dice.network.mostly_short(0, most);
                    self.kill_link(link, above, below);
                }
            }
            Fault::Partition { parties, one_way, lasts } => {
                parties.into_iter().for_each(|party| self.cut_off(party, one_way, lasts));
            }
            Fault::PeerBreak { pair, slow_to_notice } => {
                let most = if slow_to_notice { IDLE_TIMEOUT.0 } else { 50 };
                let spans = [self.dice.peers.mostly_short(0, most), self.dice.peers.mostly_short(0, most)];
                self.kill_peer_link(pair, spans);
            }
            Fault::PeerCut { pair, lasts } => self.cut_peers(pair, lasts),
            Fault::Impatience { client } => self.lose_patience(client),
            Fault::SlowDisk { write, sync, lasts } => {
                self.dispatcher.disk.slowness = (write, sync);
                self.agenda.after(lasts, Event::Calm);
            }
            Fault::Brownout { sync, lasts, down } => {
                self.dispatcher.disk.slowness = (BRISK.0, sync);
                self.dispatcher.disk.least_sync = Millis(sync.0 / 2);
                self.agenda.after(lasts, Event::PowerCut(down));
            }
            Fault::Storm { delay, repeats, lasts } => {
                self.network.weather = Weather { delay: (0, delay), repeats };
                self.agenda.after(lasts, Event::Calm);
            }
        }
    }

    /// The dispatcher's machine loses its power for so long.
    pub(super) fn power_cut(&mut self, down: Millis) {
        self.crash_dispatcher(Crash::PowerLoss, down);
        self.dispatcher.disk.slowness = BRISK;
        self.dispatcher.disk.least_sync = Millis(0);
    }

    /// Disk and weather are fair again.
    pub(super) fn calm_down(&mut self) {
        self.network.weather = fair(&self.plan);
        self.dispatcher.disk.slowness = BRISK;
        self.dispatcher.disk.least_sync = Millis(0);
    }

    fn crash_dispatcher(&mut self, how: Crash, down: Millis) {
        if self.dispatcher.engine.is_some() {
            self.dispatcher.paused = None;
            self.dispatcher_down(how);
            self.agenda.after(down, Event::DispatcherUp);
        }
    }

    fn pause_dispatcher(&mut self, lasts: Millis) {
        let now = self.now();
        if !self.dispatcher.answers(now) {
            return;
        }
        self.dispatcher.paused = Some(now + lasts);
        if lasts > LOOP_GAP {
            self.ledger.silence.goes_on(now + lasts);
        }
        if lasts >= IDLE_TIMEOUT {
            for link in self.network.all() {
                let jitter = self.dice.network.millis(0, 2_000);
                self.kill_link(link, lasts, Millis(IDLE_TIMEOUT.0 + jitter.0));
            }
        }
    }

    fn crash_worker(&mut self, worker: usize, how: Crash, guard: bool, down: Millis) {
        let now = self.now();
        let node = &self.workers[worker];
        if node.engine.is_none() || node.paused_until(now).is_some() {
            return;
        }
        let instance = node.instance;
        self.worker_down(worker, how);
        self.agenda.after(down, Event::WorkerUp(worker));
        if guard {
            self.guards.insert(worker, instance);
            let soon = self.dice.network.mostly_short(1, 2_000);
            self.agenda.after(soon, Event::Dial(Party::Guard(worker)));
        }
    }

    fn stop_worker(&mut self, worker: usize, down: Millis) {
        let now = self.now();
        let node = &mut self.workers[worker];
        if node.engine.is_some() && node.paused_until(now).is_none() && node.stopping.is_none() {
            node.stopping = Some(down);
            let grace = Millis(self.dice.life.one_of(&[0, 2_000, 30_000]));
            self.with_worker(worker, |engine, now| engine.stop(now, grace));
        }
    }

    fn pause_worker(&mut self, worker: usize, lasts: Millis) {
        let now = self.now();
        let node = &mut self.workers[worker];
        if node.engine.is_none() || node.paused_until(now).is_some() {
            return;
        }
        let until: Timestamp = now + lasts;
        node.stand_still(now, until);
        // Timers that are over ring first when a machine wakes up.
        self.agenda.at(until, Event::Awake(worker));
        if lasts >= IDLE_TIMEOUT {
            for link in self.network.of(Party::Worker(worker)) {
                let jitter = self.dice.network.millis(0, 2_000);
                self.kill_link(link, Millis(IDLE_TIMEOUT.0 + jitter.0), lasts);
            }
        }
    }

    fn cut_off(&mut self, party: Party, one_way: bool, lasts: Millis) {
        let until = self.now() + lasts;
        let ways = match (one_way, self.dice.network.percent(50)) {
            (false, _) => vec![Way::Up, Way::Down],
            (true, true) => vec![Way::Up],
            (true, false) => vec![Way::Down],
        };
        for way in ways {
            self.network.cut_off(party, way, until);
        }
        if lasts >= IDLE_TIMEOUT {
            for link in self.network.of(party) {
                let above = self.dice.network.millis(0, 2_000);
                let below = self.dice.network.millis(0, 2_000);
                self.kill_link(link, Millis(IDLE_TIMEOUT.0 + above.0), Millis(IDLE_TIMEOUT.0 + below.0));
            }
        }
    }
}
