//! Handing out tasks ahead of time: what waits on workers, and when it is wanted
//! back.
//!
//! Invariant: nothing goes into a backlog that a better turn waits for on the
//! same worker, and a slot that stays free beside work that waits elsewhere gets
//! some of it: the peers see to that first, where they talk to each other, and
//! the dispatcher after a moment. Absent: the index of backlogs (`backlog`), and
//! what workers hand to each other (`hand_over`).

use std::cmp::Reverse;

use super::DispatcherEngine;
use super::backlog::{Entry, Place};
use super::job::Job;
use super::placement::{ClassId, Grant, Turn, WorkerKey};
use super::task::Hold;
use super::timers::Timer;
use crate::model::messages::FencedAttempt;
use crate::model::offload::{GrantedAttempt, SignedBytes};
use crate::model::{AttemptId, Fence, JobId, Millis, TaskId, Timestamp};

/// What a task is taken to cost while nothing of its job has ended: two of them wait for each slot.
const UNKNOWN: Millis = Millis::from_secs(15);

/// Tasks that take less are not worth a signature: they are handed out ahead for a second, not for half a minute,
/// and not to be handed on.
const WORTH_A_GRANT: Millis = Millis(20);
const SHORT_ONES_COST: u64 = 30;

/// How long a grant is good for: as long as the roster that it is held against.
const GRANTED_FOR: Millis = Millis::from_secs(10 * 60);

/// For how long peers may level by themselves what waits beside a free slot, and between two looks at it.
const LEVEL_AFTER: Millis = Millis::from_secs(1);

/// Classes in order, and workers in order of what they have, that are looked at before it is left for later.
const LOOKED_AT: usize = 32;

/// What could not be handed out ahead: a class, and whose turn it was.
type PassedOver = Vec<ClassId>;

impl DispatcherEngine {
    /// Hands out what fits into no slot, in order, as far as it may wait on workers; says whether anything was.
    pub(super) fn hand_out_ahead(&mut self, now: Timestamp) -> bool {
        if !self.placement.first_turn().is_some_and(|turn| self.may_find_room(turn)) {
            return false;
        }
        let mut passed = PassedOver::new();
        let mut any = false;
        for class in self.placement.in_line(LOOKED_AT) {
            while let Some(turn) = self.placement.turn_of(class).filter(|turn| self.may_find_room(*turn)) {
                let job = self.jobs.at(turn.job);
                let worker = if job.spec().may_wait_on_worker() {
                    let cost = cost(job);
                    self.find_backlog(class, turn.job, cost, &passed).or_else(|| self.displace(class, turn.job, cost))
                } else {
                    self.clear_the_way(class, turn.job);
                    None
                };
                let Some(worker) = worker else { break };
                let grant = Grant { class, job: turn.job, second: false, worker, gpus: Vec::new() };
                self.assign(now, grant, true);
                any = true;
            }
            if self.placement.turn_of(class).is_some() {
                passed.push(class);
            }
        }
        any
    }

    /// Whether a job in its turn may find room in a backlog, or make some.
    fn may_find_room(&self, turn: Turn) -> bool {
        !turn.second && (self.backlogs.has_room() || self.backlogs.has_lower(self.jobs.at(turn.job).spec().priority))
    }

    /// The worker with least waiting that could take one more task of this class.
    fn find_backlog(&self, class: ClassId, job: JobId, cost: Millis, passed: &PassedOver) -> Option<WorkerKey> {
        let demand = &self.jobs.at(job).spec().demand;
        let takes = |worker: &WorkerKey| {
            self.backlogs.takes(*worker, cost, demand)
                && self.placement.may_wait_on(class, *worker)
                && passed.iter().all(|before| !self.placement.could_hold(*before, *worker))
        };
        self.backlogs.roomiest().take(LOOKED_AT).find(takes)
    }

    /// Makes room for a task among those of lower priority.
    fn displace(&mut self, class: ClassId, job: JobId, cost: Millis) -> Option<WorkerKey> {
        let job = self.jobs.at(job);
        let (priority, demand) = (Reverse(job.spec().priority), job.spec().demand.clone());
        let lower = |worker: &WorkerKey| {
            let last = self.backlogs.of(*worker).rfind(|(_, entry)| !entry.retracting);
            last.is_some_and(|((other, _), _)| other > priority)
        };
        let able = |worker: &WorkerKey| {
            self.placement.may_wait_on(class, *worker) && self.backlogs.agrees(*worker, &demand) && lower(worker)
        };
        let worker = self.placement.holders(class).take(LOOKED_AT).find(able)?;
        while !self.backlogs.takes(worker, cost, &demand) {
            let last = self.backlogs.of(worker).rfind(|(_, entry)| !entry.retracting);
            let (place, _) = last.filter(|((other, _), _)| *other > priority)?;
            self.retract(worker, place);
        }
        Some(worker)
    }

    /// A task that cannot wait on a worker needs a slot there: what waits on one that could run it, and is of lower
    /// priority, goes.
    fn clear_the_way(&mut self, class: ClassId, job: JobId) {
        let priority = Reverse(self.jobs.at(job).spec().priority);
        let lower = |worker: WorkerKey| {
            let waits =
                self.backlogs.of(worker).filter(move |((other, _), entry)| *other > priority && !entry.retracting);
            waits.map(|(place, _)| place).collect::<Vec<Place>>()
        };
        let holders: Vec<WorkerKey> = self.placement.holders(class).take(LOOKED_AT).collect();
        let open = holders.into_iter().filter(|worker| self.placement.is_open(*worker));
        let laden: Vec<(WorkerKey, Vec<Place>)> = open.map(|worker| (worker, lower(worker))).collect();
        if laden.iter().any(|(_, places)| places.is_empty()) {
            return; // The next slot that comes free there is its own.
        }
        for (worker, places) in laden.into_iter().take(1) {
            places.into_iter().for_each(|place| self.retract(worker, place));
        }
    }

    /// Wants everything back that waits on workers, so that nothing new is started.
    pub(super) fn retract_all(&mut self) {
        let laden: Vec<(WorkerKey, Place)> = self
            .roster
            .iter()
            .flat_map(|(key, _)| self.backlogs.of(key).map(move |(place, entry)| (key, place, entry)))
            .filter(|(.., entry)| !entry.retracting)
            .map(|(key, place, _)| (key, place))
            .collect();
        laden.into_iter().for_each(|(worker, place)| self.retract(worker, place));
    }

    /// Wants an attempt back that waits on a worker.
    fn retract(&mut self, worker: WorkerKey, place: Place) {
        let Some((_, entry)) = self.backlogs.of(worker).find(|(at, _)| *at == place) else { return };
        self.backlogs.retract(worker, place);
        let Some(no) = self.attempt_no(worker, entry.task) else { return };
        if let Some(link) = self.roster.at(worker).order_link() {
            let id = AttemptId { task: entry.task, attempt: no };
            self.outbox.retract(link, FencedAttempt { id, fence: place.1 });
        }
    }

    fn attempt_no(&mut self, worker: WorkerKey, task: TaskId) -> Option<crate::model::AttemptNo> {
        let (job, position) = self.jobs.find_mut(task)?;
        Some(job.attempt_on(position, worker)?.no)
    }

    /// Sees to it that no slot stays free beside work that waits on another worker.
    pub(super) fn balance(&mut self, now: Timestamp) {
        if !self.placement.has_vacancy() || !self.backlogs.is_laden() {
            self.level_at = None;
            return;
        }
        let patience = if self.config.p2p { LEVEL_AFTER } else { Millis(0) };
        let due = *self.level_at.get_or_insert(now + patience);
        if due <= now {
            self.level();
            self.level_at = Some(now + LEVEL_AFTER);
        }
        if let Some(due) = self.level_at {
            self.timers.set(due, Timer::Level);
        }
    }

    /// Wants back as much of what waits as free slots elsewhere could run.
    fn level(&mut self) {
        let vacant: Vec<(WorkerKey, u32)> = self.placement.vacant().take(LOOKED_AT).collect();
        for (vacant, slots) in vacant {
            for _ in 0..slots {
                let donors: Vec<WorkerKey> = self.backlogs.most_laden().take(LOOKED_AT).collect();
                let movable = |donor: WorkerKey| {
                    let mut waiting = self.backlogs.of(donor).rev().filter(|(_, entry)| !entry.retracting);
                    waiting
                        .next()
                        .filter(|(_, entry)| self.could_run_now(entry.task, vacant))
                        .map(|(at, _)| (donor, at))
                };
                let Some((donor, place)) = donors.into_iter().filter(|donor| *donor != vacant).find_map(movable) else {
                    break;
                };
                self.retract(donor, place);
            }
        }
    }

    fn could_run_now(&self, task: TaskId, worker: WorkerKey) -> bool {
        let Some(job) = self.jobs.get(task.job) else { return false };
        let able = job.class.is_some_and(|class| self.placement.could_hold(class, worker));
        able && self.placement.has_room(worker, &job.spec().demand)
    }

    /// What a worker's room has come free for is started there by the worker itself, in this order.
    pub(super) fn promote(&mut self, worker: WorkerKey) {
        while let Some((place, entry)) = self.backlogs.first(worker) {
            let demand = self.jobs.at(entry.task.job).spec().demand.clone();
            if !self.placement.occupy(worker, &demand, &[]) {
                return;
            }
            self.backlogs.remove(worker, place);
            self.set_hold(entry.task, worker, Hold::Slot);
        }
    }

    /// The worker has started an attempt that was taken to wait: something else waits in its place.
    pub(super) fn started_early(&mut self, worker: WorkerKey, task: TaskId) {
        let Some((job, position)) = self.jobs.find_mut(task) else { return };
        let demand = job.spec().demand.clone();
        let Some(fence) = job.attempt_on(position, worker).map(|attempt| attempt.fence) else { return };
        let place = (Reverse(job.spec().priority), fence);
        self.backlogs.remove(worker, place);
        while self.placement.is_seated(worker) && !self.placement.occupy(worker, &demand, &[]) {
            let Some(other) = self.last_unstarted(worker) else {
                return self.set_hold(task, worker, Hold::Beside);
            };
            self.demote(worker, other);
        }
        self.set_hold(task, worker, Hold::Slot);
    }

    /// The task that was taken to start soonest before now on a worker, has not started, and may wait.
    fn last_unstarted(&self, worker: WorkerKey) -> Option<TaskId> {
        let unstarted = self.roster.at(worker).attempts.iter().filter_map(|task| {
            let job = self.jobs.at(task.job);
            let attempt = job.attempt_on(job.spec().items.position_of(task.index)?, worker)?;
            let waits = attempt.hold == Hold::Slot && attempt.started_at.is_none() && job.spec().may_wait_on_worker();
            waits.then_some(((Reverse(job.spec().priority), attempt.fence), *task))
        });
        unstarted.max().map(|(_, task)| task)
    }

    fn demote(&mut self, worker: WorkerKey, task: TaskId) {
        let demand = self.jobs.at(task.job).spec().demand.clone();
        self.placement.vacate(worker, &demand, &[]);
        self.wait_on(worker, task);
    }

    /// An attempt waits on a worker that is there.
    pub(super) fn wait_on(&mut self, worker: WorkerKey, task: TaskId) {
        self.set_hold(task, worker, Hold::Backlog);
        let job = self.jobs.at(task.job);
        let position = job.spec().items.position_of(task.index);
        let Some(attempt) = position.and_then(|position| job.attempt_on(position, worker)) else {
            unreachable!("{task} waits on a worker that does not have it")
        };
        let place = (Reverse(job.spec().priority), attempt.fence);
        let entry = Entry { task, cost: cost(job), retracting: false };
        self.backlogs.add(worker, place, entry, &job.spec().demand);
    }

    /// An attempt holds its place on its worker in another way than before.
    pub(super) fn set_hold(&mut self, task: TaskId, worker: WorkerKey, hold: Hold) {
        if let Some((job, position)) = self.jobs.find_mut(task) {
            job.set_hold(position, worker, hold);
            self.touch(task.job);
        }
    }

    /// The fence for whoever takes an attempt over that is about to wait on a worker, if anybody may.
    pub(super) fn reserve_fence(&mut self, job: JobId) -> Option<Fence> {
        let job = self.jobs.at(job);
        let worth_it = job.pace.is_none_or(|pace| pace >= WORTH_A_GRANT);
        if !self.config.p2p || !worth_it || !job.spec().may_be_handed_over() || self.backlogs.workers() < 2 {
            return None;
        }
        self.fences += 1;
        Some(Fence { epoch: self.epoch, counter: self.fences })
    }

    /// Lets an attempt that waits on a worker be handed to another one.
    pub(super) fn grant(&mut self, now: Timestamp, worker: WorkerKey, attempt: FencedAttempt, spare: Fence) {
        let Some(link) = self.roster.at(worker).order_link() else { return };
        let (expires_at, grant) = (now + GRANTED_FOR, SignedBytes::default());
        self.outbox.grant(link, GrantedAttempt { attempt, spare, expires_at, grant });
    }

    /// A second worker is there: what waits on the first may be handed to it.
    pub(super) fn grant_what_waits(&mut self, now: Timestamp) {
        let laden: Vec<WorkerKey> = self.backlogs.most_laden().collect();
        for worker in laden {
            let waiting: Vec<(Place, Entry)> = self.backlogs.of(worker).collect();
            for ((_, fence), entry) in waiting {
                let Some((job, position)) = self.jobs.find_mut(entry.task) else { continue };
                let Some(attempt) = job.attempt_on(position, worker).filter(|attempt| !attempt.granted) else {
                    continue;
                };
                let id = AttemptId { task: entry.task, attempt: attempt.no };
                let Some(spare) = self.reserve_fence(id.task.job) else { continue };
                if let Some((job, position)) = self.jobs.find_mut(entry.task)
                    && let Some(attempt) = job.attempt_on_mut(position, worker)
                {
                    (attempt.granted, attempt.spare) = (true, Some(spare));
                }
                self.grant(now, worker, FencedAttempt { id, fence }, spare);
            }
        }
    }
}

/// How long a task of this job is expected to keep a slot busy.
fn cost(job: &Job) -> Millis {
    match job.pace {
        None => UNKNOWN,
        Some(pace) if pace < WORTH_A_GRANT => Millis(pace.0.max(1) * SHORT_ONES_COST),
        Some(pace) => pace,
    }
}
