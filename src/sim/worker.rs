//! A simulated worker's shell: its engine, its outbox, its processes and its link.
//!
//! Invariant: it keeps the engine's contract as the real shell does; its
//! processes never outlive it, and never take more than it has.

use std::collections::{BTreeMap, BTreeSet};

use super::clock::NodeClock;
use super::cluster::{Cluster, Event, instance};
use super::disk::{Crash, Disk};
use super::network::{IDLE_TIMEOUT, Party, Upward, Way};
use super::process::{Process, Stage};
use crate::engine::dispatcher::Inbound;
use crate::engine::worker::{ExecFact, ExecOrder, WorkerConfig, WorkerEffects, WorkerEngine, WorkerLinkChange};
use crate::model::limits::HEARTBEAT_INTERVAL;
use crate::model::messages::{Assignment, EndedAttempt};
use crate::model::node::WorkerProfile;
use crate::model::offload::TakenOver;
use crate::model::outcome::{OutputSummary, SpawnFailure, SpawnFailureKind};
use crate::model::records::{BatchNo, OutboxRecord, Unsettled};
use crate::model::{
    AttemptId, AttemptReport, Demand, Digest, Fence, InstanceId, LinkId, Millis, NodeId, NodeName, Outcome, SealedSpec,
    Timestamp,
};

/// A worker and what is its own.
pub(super) struct WorkerNode {
    pub(super) key: NodeId,
    pub(super) profile: WorkerProfile,
    /// What it was told it is called.
    pub(super) name: Option<NodeName>,
    /// What it brings instead of the access file's secret.
    pub(super) token: Option<Digest>,
    /// Whether its key was revoked and it has no token yet for its new one.
    pub(super) is_out: bool,
    pub(super) engine: Option<WorkerEngine>,
    pub(super) instance: InstanceId,
    start: u64,
    clock: Option<NodeClock>,
    /// From and until when it stands still.
    pub(super) pause: Option<(Timestamp, Timestamp)>,
    /// How long it stood still in all; processes may be late by as much.
    stood_still: Millis,
    outbox: Disk<OutboxRecord>,
    /// The outbox as far as it is synced.
    kept: BTreeMap<Fence, EndedAttempt>,
    /// Likewise, why the dispatcher may believe them.
    proofs: BTreeMap<Fence, TakenOver>,
    pub(super) link: Option<LinkId>,
    pub(super) dialing: Option<LinkId>,
    pub(super) processes: BTreeMap<Fence, Process>,
    /// Attempts whose output is kept here.
    logs: BTreeSet<AttemptId>,
    armed: Option<Timestamp>,
    /// When it is stopping: for how long it will be down.
    pub(super) stopping: Option<Millis>,
}

impl WorkerNode {
    /// One that never ran.
    pub(super) fn new(key: NodeId, profile: WorkerProfile) -> Self {
        Self {
            key,
            profile,
            name: None,
            token: None,
            is_out: false,
            engine: None,
            instance: InstanceId(0),
            start: 0,
            clock: None,
            pause: None,
            stood_still: Millis(0),
            outbox: Disk::new(),
            kept: BTreeMap::new(),
            proofs: BTreeMap::new(),
            link: None,
            dialing: None,
            processes: BTreeMap::new(),
            logs: BTreeSet::new(),
            armed: None,
            stopping: None,
        }
    }

    /// Until when it stands still, if it does.
    pub(super) fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.pause.map(|(_, until)| until).filter(|until| *until > now)
    }

    /// When something due at `now` happens instead because its node stands still.
    pub(super) fn resumed(&self, now: Timestamp) -> Option<Timestamp> {
        self.pause.filter(|(_, until)| *until > now).map(|(from, until)| until + now.since(from) + Millis(1))
    }

    /// It stands still from `now` to `until`.
    pub(super) fn stand_still(&mut self, now: Timestamp, until: Timestamp) {
        self.pause = Some((now, until));
        self.stood_still = Millis(self.stood_still.0 + until.since(now).0);
    }

    /// Whether nothing of any attempt is left here.
    pub(super) fn is_idle(&self) -> bool {
        self.engine.is_some() && self.processes.is_empty() && self.kept.is_empty()
    }
}

impl Cluster {
    /// A worker starts.
    pub(super) fn worker_up(&mut self, number: usize) {
        let now = self.agenda.now();
        let node = &mut self.workers[number];
        if node.engine.is_some() || node.is_out {
            return;
        }
        node.start += 1;
        node.instance = instance(&mut self.dice.life);
        node.stopping = None;
        let clock = NodeClock::start(now, &mut self.dice.life);
        node.clock = Some(clock);
        let config = WorkerConfig { profile: node.profile.clone(), heartbeat_interval: HEARTBEAT_INTERVAL };
        let proofs = node.proofs.values().cloned().collect();
        let outbox = Unsettled { results: node.kept.values().cloned().collect(), proofs };
        node.logs = outbox.results.iter().map(|ended| ended.id).collect();
        node.engine = Some(WorkerEngine::restore(config, clock.says(now), outbox));
        self.ledger.tallies.worker_restarts += 1;
        self.agenda.after(Millis(1), Event::Dial(Party::Worker(number)));
        self.meet_peers(number);
    }

    /// What a worker takes for the dispatcher's time.
    pub(super) fn says_dispatcher_time(&self, number: usize) -> Option<Timestamp> {
        let node = &self.workers[number];
        Some(node.engine.as_ref()?.dispatcher_time(node.clock?.says(self.agenda.now())))
    }

    /// A worker goes down, and its processes with it.
    pub(super) fn worker_down(&mut self, number: usize, how: Crash) {
        let now = self.agenda.now();
        self.leave_peers(number);
        let node = &mut self.workers[number];
        node.engine = None;
        node.start += 1;
        node.armed = None;
        node.pause = None;
        for batch in node.outbox.crash(how, &mut self.dice.disk) {
            apply(node, &batch);
        }
        node.link = None;
        node.dialing = None;
        for (fence, process) in std::mem::take(&mut node.processes) {
            if matches!(process.stage, Stage::Running(_)) {
                self.ledger.process_ended(now, fence, Outcome::Signalled(9), node.stood_still);
            }
        }
        for link in self.network.of(Party::Worker(number)) {
            let above = self.dice.network.mostly_short(0, IDLE_TIMEOUT.0);
            self.network.kill(link, &mut self.dice.network);
            self.network.give_up(link, Way::Down);
            self.agenda.after(above, Event::Notice(link, Way::Up));
        }
    }

    /// A worker was thrown out: it ends, and nothing of what it kept is of use under another key.
    pub(super) fn worker_thrown_out(&mut self, number: usize) {
        self.worker_down(number, Crash::Kill);
        let node = &mut self.workers[number];
        node.kept.clear();
        node.proofs.clear();
        node.logs.clear();
        node.stopping = None;
    }

    /// Calls a worker's engine, if it runs, and carries out what it wants.
    pub(super) fn with_worker(&mut self, number: usize, call: impl FnOnce(&mut WorkerEngine, Timestamp)) {
        let now = self.agenda.now();
        let node = &mut self.workers[number];
        let (Some(engine), Some(clock)) = (&mut node.engine, node.clock) else { return };
        call(engine, clock.says(now));
        let effects = engine.take_effects();
        if self.auditing {
            engine.check_invariants();
        }
        self.perform(number, effects);
        let node = &mut self.workers[number];
        let due = node.engine.as_ref().and_then(WorkerEngine::poll_timeout).map(|due| clock.when(due).max(now));
        if let Some(due) = due.filter(|due| node.armed.is_none_or(|armed| *due < armed)) {
            node.armed = Some(due);
            self.agenda.at(due, Event::WorkerTimer(number, node.start, due));
        }
        if node.stopping.is_some() && node.engine.as_ref().is_some_and(WorkerEngine::is_stopped) {
            return self.worker_stopped(number);
        }
        self.tell_peers(number);
    }

    fn worker_stopped(&mut self, number: usize) {
        let node = &mut self.workers[number];
        assert!(node.processes.is_empty(), "a worker stops before its processes");
        let down = node.stopping.take().unwrap_or_default();
        let link = node.link;
        if let Some(link) = link {
            self.send_up(link, Upward::Closed);
            self.network.give_up(link, Way::Down);
        }
        self.leave_peers(number);
        let node = &mut self.workers[number];
        node.engine = None;
        node.start += 1;
        node.armed = None;
        node.link = None;
        node.dialing = None;
        for batch in node.outbox.crash(Crash::Kill, &mut self.dice.disk) {
            apply(node, &batch);
        }
        self.agenda.after(down, Event::WorkerUp(number));
    }

    fn perform(&mut self, number: usize, effects: WorkerEffects) {
        let now = self.agenda.now();
        if self.plan.trace_messages && !effects.orders.is_empty() {
            self.trace.note(now, format_args!("worker {number} orders {:?}", effects.orders));
        }
        let node = &mut self.workers[number];
        if !effects.records.is_empty() {
            let (batch, _) = node.outbox.append(now, effects.records, &mut self.dice.disk);
            assert_eq!(node.outbox.written(batch).count(), 1, "an outbox is written at once");
            if let Some((upto, at)) = node.outbox.sync(now, &mut self.dice.disk) {
                self.agenda.at(at, Event::OutboxSynced(number, node.start, upto));
            }
        }
        if let Some(link) = node.link {
            for message in effects.messages {
                self.send_up(link, Upward::Say(Inbound::Worker(message)));
            }
        }
        self.say_to_peers(number, effects.to_peers);
        for order in effects.orders {
            match order {
                ExecOrder::Start { assignment, spec } => self.process_ordered(number, assignment, spec),
                ExecOrder::Terminate { id, grace } => self.process_terminated(number, id, grace),
                ExecOrder::ForgetLog(id) => _ = self.workers[number].logs.remove(&id),
            }
        }
    }

    /// A worker's timer rings.
    pub(super) fn worker_timer(&mut self, number: usize, start: u64, due: Timestamp) {
        if self.workers[number].start == start && self.workers[number].armed == Some(due) {
            self.workers[number].armed = None;
            self.with_worker(number, WorkerEngine::handle_timeout);
        }
    }

    /// A worker's outbox is synced up to `upto`.
    pub(super) fn outbox_synced(&mut self, number: usize, start: u64, upto: BatchNo) {
        let node = &mut self.workers[number];
        if node.start == start {
            for batch in node.outbox.synced(upto) {
                apply(node, &batch);
            }
            self.with_worker(number, |engine, _| engine.handle_synced(upto));
        }
    }

    /// The link a worker believed in is gone.
    pub(super) fn worker_unlinked(&mut self, number: usize, link: LinkId) {
        let node = &mut self.workers[number];
        if node.dialing == Some(link) {
            node.dialing = None;
        } else if node.link == Some(link) {
            node.link = None;
            self.with_worker(number, |engine, now| engine.handle_link(now, WorkerLinkChange::Down));
        } else {
            return;
        }
        if self.workers[number].engine.is_some() {
            let pause = self.dice.network.mostly_short(1, 3_000);
            self.agenda.after(pause, Event::Dial(Party::Worker(number)));
        }
    }

    fn process_ordered(&mut self, number: usize, assignment: Assignment, spec: SealedSpec) {
        let node = &mut self.workers[number];
        assert!(node.logs.insert(assignment.id()), "{} starts while a namesake's output is kept", assignment.id());
        let name = spec.spec().name.as_deref().unwrap_or_default();
        let Some(character) = self.characters.get(name).copied() else { panic!("nobody wished for {name:?}") };
        let fence = assignment.fence;
        let process = Process { assignment, spec, character, stage: Stage::Spawning, plan: 0, told: false };
        let before = node.processes.insert(fence, process);
        assert!(before.is_none(), "an attempt is started twice");
        check_room(node);
        let takes = self.dice.life.mostly_short(0, 50);
        self.agenda.after(takes, Event::Process { worker: number, start: node.start, fence, plan: 0 });
    }

    fn process_terminated(&mut self, number: usize, id: AttemptId, grace: Millis) {
        let node = &mut self.workers[number];
        let start = node.start;
        let Some((fence, process)) = node.processes.iter_mut().find(|(_, process)| process.assignment.id() == id)
        else {
            return;
        };
        process.told = true;
        if matches!(process.stage, Stage::Running(_)) {
            let (takes, outcome) = process.end(grace, &mut self.dice.life);
            process.stage = Stage::Running(outcome);
            process.plan += 1;
            self.agenda.after(takes, Event::Process { worker: number, start, fence: *fence, plan: process.plan });
        }
    }

    /// A process does what it does next.
    pub(super) fn process_step(&mut self, number: usize, start: u64, fence: Fence, plan: u64) {
        let now = self.agenda.now();
        let node = &mut self.workers[number];
        let current = node.start == start && node.processes.get(&fence).is_some_and(|process| process.plan == plan);
        let (true, Some(clock), Some(process)) = (current, node.clock, node.processes.get_mut(&fence)) else { return };
        process.plan += 1;
        let id = process.assignment.id();
        match process.stage.clone() {
            Stage::Spawning => {
                let unstartable = process.told || self.dice.life.percent(process.character.unstartable);
                if unstartable {
                    let failure = SpawnFailure { kind: SpawnFailureKind::NotFound, reason: "simulated".to_owned() };
                    process.stage = Stage::Gone(Outcome::SpawnFailed(failure), clock.says(now));
                    self.agenda.after(Millis(0), Event::Process { worker: number, start, fence, plan: plan + 1 });
                    return;
                }
                let (takes, outcome) = process.fate(&mut self.dice.life);
                process.stage = Stage::Running(outcome);
                let (assignment, spec) = (process.assignment.clone(), process.spec.clone());
                let frozen =
                    (0..self.workers.len()).filter(|it| self.workers[*it].paused_until(now).is_some()).collect();
                self.ledger.process_started(now, number, &assignment, spec.spec(), &frozen);
                self.agenda.after(takes, Event::Process { worker: number, start, fence, plan: plan + 1 });
                self.with_worker(number, |engine, now| engine.handle_exec(now, ExecFact::Started { id, at: now }));
            }
            Stage::Running(outcome) => {
                process.stage = Stage::Gone(outcome.clone(), clock.says(now));
                self.ledger.process_ended(now, fence, outcome, node.stood_still);
                let takes = self.dice.life.mostly_short(0, 100);
                self.agenda.after(takes, Event::Process { worker: number, start, fence, plan: plan + 1 });
            }
            Stage::Gone(outcome, ended_at) => {
                node.processes.remove(&fence);
                let output = OutputSummary::default();
                let report =
                    AttemptReport { outcome, started_at: None, ended_at, peak_memory_bytes: 0, output, files: None };
                self.with_worker(number, |engine, now| engine.handle_exec(now, ExecFact::Ended { id, report }));
            }
        }
    }
}

/// Applies outbox records as the real outbox does.
fn apply(node: &mut WorkerNode, batch: &[OutboxRecord]) {
    for record in batch {
        match record {
            OutboxRecord::Kept(ended) => _ = node.kept.insert(ended.fence, ended.clone()),
            OutboxRecord::Proved(taken) => _ = node.proofs.insert(taken.attempt.fence, taken.clone()),
            OutboxRecord::Settled(attempt) => {
                node.kept.remove(&attempt.fence);
                node.proofs.remove(&attempt.fence);
            }
        }
    }
}

/// What is asked for is never oversubscribed. Counted here independently of the engines.
fn check_room(node: &WorkerNode) {
    let capacity = &node.profile.capacity;
    let demands = || node.processes.values().map(|process| &process.spec.spec().demand);
    let name = &node.profile.name;
    assert!(node.processes.len() <= capacity.slots as usize, "{name:?} runs {} tasks", node.processes.len());
    let sum = |amount: fn(&Demand) -> u64| demands().map(amount).sum::<u64>();
    assert!(sum(|demand| demand.cpu.0.into()) <= capacity.cpu.0.into(), "{name:?} is out of CPU");
    assert!(sum(|demand| demand.memory_bytes) <= capacity.memory_bytes, "{name:?} is out of memory");
    for (resource, whole) in &capacity.resources {
        let taken: u64 = demands().filter_map(|demand| demand.resources.get(resource)).sum();
        assert!(taken <= *whole, "{name:?} is out of {resource}");
    }
    let mut gpus = BTreeSet::new();
    for gpu in node.processes.values().flat_map(|process| &process.assignment.gpus) {
        assert!(*gpu < capacity.gpus && gpus.insert(*gpu), "{name:?} gives GPU {gpu} to two tasks");
    }
}
