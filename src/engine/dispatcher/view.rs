//! The cluster as people see it.
//!
//! Reads everything, changes nothing; addresses, latencies and the store's size
//! are the shell's to fill in.

use std::collections::BTreeMap;

use super::DispatcherEngine;
use super::placement::Traits;
use super::roster::{Presence, Worker};
use super::task::Hold;
use crate::model::files::FileTraffic;
use crate::model::records::Act;
use crate::model::views::{StatusView, TaskTotals, Usage, WorkerState, WorkerView};
use crate::model::{Demand, Epoch, NodeId, NodeName, Role, TaskId, Timestamp};

impl DispatcherEngine {
    /// The roster by name; addresses and latencies are left to the shell.
    #[must_use]
    pub fn workers(&self, now: Timestamp) -> Vec<WorkerView> {
        let mut workers: Vec<WorkerView> = self.roster.iter().map(|(_, worker)| self.view_worker(worker)).collect();
        workers.extend(self.lobby.iter().map(|(name, joiner)| WorkerView {
            version: joiner.software.clone(),
            ..view_idle(name, joiner.node, WorkerState::Pending)
        }));
        let revoked = self.registry.lately_revoked(now).filter(|node| node.role == Role::Worker);
        let unused = revoked.filter(|node| self.lobby.named(&node.name).is_none());
        workers.extend(unused.map(|node| view_idle(&node.name, node.node, WorkerState::Revoked)));
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        workers
    }

    /// The durable number of this start.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Every key that may act as a worker, by key, with its name.
    pub fn enrolled_workers(&self) -> impl Iterator<Item = (NodeId, &NodeName)> {
        let workers = self.registry.enrolled().filter(|enrolled| enrolled.role == Role::Worker);
        workers.map(|enrolled| (enrolled.node, &enrolled.name))
    }

    /// How many keys may act as a client and are no admin's.
    #[must_use]
    pub fn enrolled_clients(&self) -> u64 {
        self.registry.enrolled().filter(|enrolled| enrolled.role == Role::Client).count() as u64
    }

    /// The cluster on one screen; the address and the store's size are left to the shell.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> StatusView {
        let (mut workers, mut slots) = (0, Usage::default());
        for (_, worker) in self.roster.iter().filter(|(_, worker)| worker.link().is_some()) {
            let usage = self.slots_of(worker);
            workers += 1;
            slots.total += usage.total;
            slots.used += usage.used;
        }
        let mut tasks = TaskTotals::default();
        for job in self.jobs.iter().filter(|job| job.ended_at.is_none()) {
            add(&mut tasks, &job.shown_totals());
        }
        StatusView {
            dispatcher: self.config.node,
            version: self.config.software.clone(),
            epoch: self.epoch.0,
            started_at: self.started_at,
            now,
            address: String::new(),
            workers,
            max_workers: self.config.max_workers,
            slots,
            jobs_active: self.jobs.active(),
            tasks,
            tasks_done: self.throughput.done,
            tasks_last_minute: self.throughput.last_minute(now),
            store_bytes: 0,
            files_bytes: 0,
            disk: self.disk,
            results_discarded: self.throughput.discarded,
        }
    }

    /// The tasks that a worker has, without those that wait there.
    fn running_on<'a>(&'a self, worker: &'a Worker) -> impl Iterator<Item = TaskId> + 'a {
        let key = self.roster.find(worker.node);
        let waits = move |task: &TaskId| {
            let job = self.jobs.at(task.job);
            let position = job.spec().items.position_of(task.index);
            let attempt = position.zip(key).and_then(|(position, key)| job.attempt_on(position, key));
            attempt.is_some_and(|attempt| attempt.hold == Hold::Backlog)
        };
        worker.attempts.iter().copied().filter(move |task| !waits(task))
    }

    fn slots_of(&self, worker: &Worker) -> Usage {
        let slots = worker.profile.as_ref().map_or(0, |profile| profile.capacity.slots);
        Usage { total: u64::from(slots), used: self.running_on(worker).count() as u64 }
    }

    /// Who drained or resumed a worker last, under the name that they have now.
    pub(super) fn drain_act(&self, node: NodeId) -> Option<Act> {
        let act = self.registry.get(node)?.drain_act.as_ref()?;
        Some(Act { by: self.registry.actor(act.by.key), at: act.at })
    }

    fn view_worker(&self, worker: &Worker) -> WorkerView {
        let capacity = worker.profile.as_ref().map(|profile| profile.capacity.clone()).unwrap_or_default();
        let mut used = Demand::default();
        for task in self.running_on(worker) {
            let demand = &self.jobs.at(task.job).spec().demand;
            used.cpu.0 = used.cpu.0.saturating_add(demand.cpu.0);
            used.memory_bytes = used.memory_bytes.saturating_add(demand.memory_bytes);
            used.gpus = used.gpus.saturating_add(demand.gpus);
        }
        let usage = |total: u64, used: u64| Usage { total, used };
        let labels = worker.profile.as_ref().map(|profile| Traits::of(&worker.name, profile).labels);
        WorkerView {
            name: worker.name.clone(),
            node: worker.node,
            state: state(worker),
            slots: self.slots_of(worker),
            cpu: usage(u64::from(capacity.cpu.0), u64::from(used.cpu.0)),
            memory_bytes: usage(capacity.memory_bytes, used.memory_bytes),
            gpus: usage(u64::from(capacity.gpus), u64::from(used.gpus)),
            address: None,
            latency_us: None,
            version: worker.software.clone(),
            labels: labels.unwrap_or_default(),
            tasks_done: worker.tasks_done,
            shortage: worker.shortage,
            is_drained: worker.draining,
            drain_act: self.drain_act(worker.node),
            outputs_to_copy: None,
            traffic: FileTraffic::default(),
        }
    }
}

/// A worker that has no work because it is not let in.
fn view_idle(name: &NodeName, node: NodeId, state: WorkerState) -> WorkerView {
    WorkerView {
        name: name.clone(),
        node,
        state,
        slots: Usage::default(),
        cpu: Usage::default(),
        memory_bytes: Usage::default(),
        gpus: Usage::default(),
        address: None,
        latency_us: None,
        version: String::new(),
        labels: BTreeMap::new(),
        tasks_done: 0,
        shortage: None,
        is_drained: false,
        drain_act: None,
        outputs_to_copy: None,
        traffic: FileTraffic::default(),
    }
}

/// What a worker is doing. One whose link is gone is as suspect as one that is silent.
fn state(worker: &Worker) -> WorkerState {
    match worker.presence {
        Presence::Lost => WorkerState::Lost,
        Presence::Expected | Presence::Away => WorkerState::Suspect,
        _ if worker.suspect => WorkerState::Suspect,
        _ if worker.draining || worker.stopping => WorkerState::Draining,
        _ if worker.attempts.is_empty() => WorkerState::Idle,
        _ => WorkerState::Busy,
    }
}

fn add(sum: &mut TaskTotals, more: &TaskTotals) {
    sum.total += more.total;
    sum.waiting += more.waiting;
    sum.ready += more.ready;
    sum.running += more.running;
    sum.succeeded += more.succeeded;
    sum.failed += more.failed;
    sum.cancelled += more.cancelled;
}
