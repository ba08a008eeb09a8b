//! Attempts that workers hand to each other.
//!
//! Invariant: an attempt is taken for its receiver's only when the receiver has
//! proved it (the shell has checked the signatures); what its giver alone says
//! makes it *awaited* there: it is live, but nothing it brings counts until it is
//! proved, and its receiver is asked for it. Hand-overs are no attempts and are
//! never counted. Absent: grants (`ahead`), and second attempts (`doubling`).

use super::links::Peer;
use super::losses::Loss;
use super::placement::WorkerKey;
use super::roster::Presence;
use super::task::Hold;
use super::{DispatcherEngine, Notice, ProvedHandOver};
use crate::model::limits::KILL_GRACE;
use crate::model::messages::{CancelAttempt, FencedAttempt};
use crate::model::offload::GivenAway;
use crate::model::outcome::Cancellation;
use crate::model::records::Record;
use crate::model::{AttemptId, Fence, InstanceId, LinkId, NodeId, SealedSpec, TaskId, Timestamp};

impl DispatcherEngine {
    /// Who holds an attempt, and the spec of its job: what the shell signs a grant for.
    #[must_use]
    pub fn holder_of(&self, attempt: FencedAttempt) -> Option<(NodeId, &SealedSpec)> {
        let job = self.jobs.get(attempt.id.task.job)?;
        let live = job.live(job.spec().items.position_of(attempt.id.task.index)?)?;
        let held = live.iter().find(|live| live.no == attempt.id.attempt && live.fence == attempt.fence)?;
        Some((self.roster.get(held.worker)?.node, &job.submitted.spec))
    }

    /// The worker behind a link.
    #[must_use]
    pub fn worker_on(&self, link: LinkId) -> Option<NodeId> {
        match self.links.get(&link) {
            Some(Peer::Worker(key)) => Some(self.roster.get(*key)?.node),
            _ => None,
        }
    }

    /// A worker has proved that these were handed to it.
    pub(super) fn note_taken(&mut self, now: Timestamp, link: LinkId, key: WorkerKey, list: Vec<ProvedHandOver>) {
        for proved in list {
            let id = proved.attempt.id;
            let known = self.hold_of(key, proved.attempt);
            if known == Some(Hold::Awaited) {
                self.settle_in(key, id.task);
            } else if known.is_none() {
                if self.moves(&proved) && self.move_attempt(now, proved, key) {
                    self.settle_in(key, id.task);
                } else {
                    self.unwanted(link, key, proved.attempt);
                }
            }
        }
    }

    /// How the live attempt that is meant holds its place on a worker.
    fn hold_of(&mut self, key: WorkerKey, attempt: FencedAttempt) -> Option<Hold> {
        let (job, position) = self.jobs.find_mut(attempt.id.task)?;
        let live = job.attempt_on(position, key)?;
        (live.no == attempt.id.attempt && live.fence == attempt.fence).then_some(live.hold)
    }

    /// Whether the giver's attempt is live and has not started, as far as anybody has said.
    fn moves(&mut self, proved: &ProvedHandOver) -> bool {
        let Some(giver) = self.roster.find(proved.giver) else { return false };
        let Some((job, position)) = self.jobs.find_mut(proved.attempt.id.task) else { return false };
        let Some(live) = job.attempt_on(position, giver) else { return false };
        let same = live.no == proved.attempt.id.attempt && live.fence == proved.first;
        same && live.started_at.is_none() && live.spare.is_none_or(|spare| spare == proved.attempt.fence)
    }

    /// An attempt is another worker's from now on. Not when that one has an attempt of the same task already: then the
    /// giver's is given up, and this says so.
    fn move_attempt(&mut self, now: Timestamp, proved: ProvedHandOver, to: WorkerKey) -> bool {
        let ProvedHandOver { attempt: FencedAttempt { id, fence }, giver, .. } = proved;
        let Some(from) = self.roster.find(giver) else { return false };
        let Some((job, position)) = self.jobs.find_mut(id.task) else { return false };
        if job.attempt_on(position, to).is_some() {
            self.lose_attempt(now, from, id.task, &Loss::Abandoned);
            return false;
        }
        let Some(attempt) = job.attempt_on(position, from).cloned() else { return false };
        self.release(id.task, &attempt);
        if let Some((job, position)) = self.jobs.find_mut(id.task) {
            job.set_hold(position, from, Hold::Awaited);
            if let Some(attempt) = job.attempt_on_mut(position, from) {
                (attempt.worker, attempt.fence, attempt.spare) = (to, fence, None);
            }
        }
        let new = self.roster.at_mut(to).attempts.insert(id.task);
        assert!(new, "{} is handed to a worker that has it", id.task);
        let (giver, receiver) = (self.roster.at(from), self.roster.at(to));
        self.outbox.record(Record::AttemptHandedOver {
            id,
            fence,
            giver: (giver.node, giver.name.clone()),
            receiver: (receiver.node, receiver.name.clone()),
        });
        let (from, to) = (giver.name.clone(), receiver.name.clone());
        self.outbox.notice(Notice::TaskOffloaded { task: id.task, from, to });
        self.reconsider(id.task);
        true
    }

    /// Whether a task may be started a second time depends on who has it.
    fn reconsider(&mut self, task: TaskId) {
        self.trust_task(task);
        self.doubt_task(task);
        self.touch(task.job);
    }

    /// An attempt is where it is awaited, and takes its place there.
    pub(super) fn settle_in(&mut self, key: WorkerKey, task: TaskId) {
        if !self.placement.is_seated(key) {
            return; // It takes it when the worker has said what else it holds.
        }
        let job = self.jobs.at(task.job);
        let demand = job.spec().demand.clone();
        if self.backlogs.len(key) == 0 && self.placement.occupy(key, &demand, &[]) {
            self.set_hold(task, key, Hold::Slot);
        } else {
            self.wait_on(key, task);
            self.promote(key);
        }
        self.pass_on_ending(key, task);
    }

    /// It was to end before it was handed over.
    fn pass_on_ending(&mut self, key: WorkerKey, task: TaskId) {
        let Some(link) = self.roster.at(key).order_link() else { return };
        let Some((job, position)) = self.jobs.find_mut(task) else { return };
        let Some(attempt) = job.attempt_on(position, key) else { return };
        if let Some(why) = attempt.ending.clone() {
            let id = AttemptId { task, attempt: attempt.no };
            let cancel = CancelAttempt { id, fence: attempt.fence, grace: KILL_GRACE, why };
            self.outbox.cancel(link, cancel, false);
        }
    }

    /// What a worker took over is not live any more, or never was.
    fn unwanted(&mut self, link: LinkId, key: WorkerKey, attempt: FencedAttempt) {
        // One that is arriving names it among what it holds, and is told then.
        if self.roster.at(key).order_link().is_some() {
            let why = Cancellation::requested(Some("it is not wanted here any more".to_owned()));
            let cancel = CancelAttempt { id: attempt.id, fence: attempt.fence, grace: KILL_GRACE, why };
            self.outbox.cancel(link, cancel, true);
        }
    }

    /// A worker says that it has handed these to others, or may have: it need not remember them any longer.
    pub(super) fn note_given(&mut self, now: Timestamp, link: LinkId, key: WorkerKey, list: Vec<GivenAway>) {
        let giver = self.roster.at(key).node;
        for GivenAway { attempt, spare, receiver, instance } in list {
            self.outbox.recorded(link, attempt);
            let proved =
                ProvedHandOver { attempt: FencedAttempt { id: attempt.id, fence: spare }, first: attempt.fence, giver };
            if !self.moves(&proved) {
                continue;
            }
            match self.reachable(now, receiver, instance) {
                Some(to) if to != key => {
                    if self.move_attempt(now, proved, to) {
                        self.ask_for(to, proved.attempt);
                    }
                }
                _ => self.lose_attempt(now, key, attempt.id.task, &Loss::WorkerLost),
            }
        }
    }

    /// The receiver of a hand-over, as long as the start of it that was given it may still be there.
    fn reachable(&mut self, now: Timestamp, receiver: NodeId, instance: InstanceId) -> Option<WorkerKey> {
        // Soon after a start not everybody is back.
        let is_early = now < self.started_at + self.config.restart_grace;
        let key = if is_early { self.expect_node(now, receiver)? } else { self.roster.find(receiver)? };
        let worker = self.roster.at(key);
        let current = match worker.presence {
            Presence::Lost => return None,
            Presence::Arriving { instance, .. } => Some(instance),
            Presence::Expected | Presence::Away | Presence::Present(_) => worker.instance,
        };
        current.is_none_or(|current| current == instance).then_some(key)
    }

    /// Asks a worker whether it has an attempt that it is said to have taken over.
    pub(super) fn ask_for(&mut self, key: WorkerKey, attempt: FencedAttempt) {
        if let Some(link) = self.roster.at(key).order_link() {
            self.outbox.account(link, attempt);
        }
    }

    /// A worker says of attempts that it was asked for that they never came, and will not be taken.
    pub(super) fn note_missing(&mut self, now: Timestamp, key: WorkerKey, list: Vec<FencedAttempt>) {
        for attempt in list {
            if self.hold_of(key, attempt) == Some(Hold::Awaited) {
                self.lose_attempt(now, key, attempt.id.task, &Loss::NeverStarted);
            }
        }
    }

    /// Whether nothing that a worker says of this attempt counts, because it has not proved that it has it.
    pub(super) fn is_awaited(&mut self, key: WorkerKey, id: AttemptId, fence: Fence) -> bool {
        self.hold_of(key, FencedAttempt { id, fence }) == Some(Hold::Awaited)
    }
}
