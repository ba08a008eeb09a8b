//! What a power loss leaves in doubt.
//!
//! The machine went down with records that were written and not synced: a task
//! that looks as if it waited may have been handed out, and may run. Invariant:
//! none of the jobs that were there then starts anything until every enrolled
//! worker has said what it holds, or has had the grace period to say so; what a
//! worker holds by an order that the record has forgotten is put back on
//! record. Tasks that may be started only once are not concerned: their
//! assignments are synced before they are sent. Absent: how a loss becomes
//! known (the store's).

use std::collections::BTreeSet;

use super::losses::lost_report;
use super::placement::WorkerKey;
use super::registry::Registry;
use super::task::{Attempt, Hold};
use super::timers::Timer;
use super::{DispatcherEngine, Notice};
use crate::model::messages::HeldAttempt;
use crate::model::records::{PowerLoss, Record};
use crate::model::{AttemptId, Fence, JobId, NodeId, Role, Timestamp};

/// Power losses that are not settled.
#[derive(Debug)]
pub(super) struct Doubt {
    /// Oldest first; at least one.
    losses: Vec<PowerLoss>,
    /// Enrolled workers that have not said since what they hold.
    unheard: BTreeSet<NodeId>,
    /// When they have had time enough.
    until: Timestamp,
}

impl Doubt {
    /// What `losses` leave in doubt, if anything.
    pub(super) fn new(losses: Vec<PowerLoss>, registry: &Registry, until: Timestamp) -> Option<Self> {
        let workers = registry.enrolled().filter(|node| node.role == Role::Worker);
        let unheard = workers.map(|worker| worker.node).collect();
        (!losses.is_empty()).then_some(Self { losses, unheard, until })
    }

    /// Whether the job was there when the power went. A later one is not in doubt.
    fn concerns(&self, job: JobId) -> bool {
        self.losses.last().is_some_and(|loss| job.0 < loss.next_job)
    }

    /// Whether the record may have forgotten that an attempt of this job was handed out with this fence.
    fn may_have_lost(&self, job: JobId, fence: Fence) -> bool {
        // Of the first loss at or after that epoch: what an earlier one took, no later epoch has issued.
        self.losses.iter().find(|loss| fence.epoch <= loss.epoch).is_some_and(|loss| job.0 < loss.next_job)
    }
}

impl DispatcherEngine {
    /// Whether tasks of this job must not start yet because they may run already.
    pub(super) fn is_in_doubt(&self, job: JobId) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.concerns(job))
    }

    /// Waits for the workers to say what they hold; at a start, and again when the dispatcher stood still meanwhile.
    pub(super) fn await_holdings(&mut self, now: Timestamp) {
        if let Some(doubt) = &mut self.doubt {
            doubt.until = now + self.config.restart_grace;
            self.timers.set(doubt.until, Timer::Doubt);
        }
    }

    /// A worker has said what it holds.
    pub(super) fn note_holding(&mut self, now: Timestamp, node: NodeId) {
        if let Some(doubt) = &mut self.doubt {
            doubt.unheard.remove(&node);
        }
        self.resolve_doubt(now);
    }

    /// Ends the doubt when nobody is waited for any more, or not any longer.
    pub(super) fn resolve_doubt(&mut self, now: Timestamp) {
        let Some(doubt) = &mut self.doubt else { return };
        doubt.unheard.retain(|node| self.registry.role(*node) == Some(Role::Worker));
        if !doubt.unheard.is_empty() && now < doubt.until {
            return;
        }
        self.outbox.notice(Notice::PowerLossSettled { unheard: doubt.unheard.len() as u64 });
        self.outbox.record(Record::PowerLossesSettled);
        self.doubt = None;
        let held_back: Vec<JobId> = self.jobs.iter().filter(|job| job.in_doubt).map(|job| job.id()).collect();
        for id in held_back {
            self.jobs.at_mut(id).in_doubt = false;
            self.realign(id);
            self.touch(id);
        }
    }

    /// What a job in doubt waits for, in words.
    pub(super) fn explain_doubt(&self) -> Option<String> {
        let doubt = self.doubt.as_ref()?;
        let who = match doubt.unheard.len() {
            1 => "one worker to say what it runs".to_owned(),
            workers => format!("{workers} workers to say what they run"),
        };
        let left = doubt.until.since(self.last_call);
        Some(format!("{who}, at most {left}: the dispatcher's machine lost its power"))
    }

    /// Puts back on record what a worker holds and the record has forgotten. `held` in ascending order of attempts.
    pub(super) fn reclaim_forgotten<'a>(
        &mut self,
        now: Timestamp,
        key: WorkerKey,
        held: impl DoubleEndedIterator<Item = &'a HeldAttempt>,
    ) {
        // The last try of a task first: those before it are over.
        for one in held.rev() {
            if self.was_forgotten(one) {
                self.reclaim(now, key, one);
            }
        }
    }

    fn was_forgotten(&self, one: &HeldAttempt) -> bool {
        let AttemptId { task, attempt: no } = one.id;
        let Some(job) = self.jobs.get(task.job) else { return false };
        let Some(position) = job.spec().items.position_of(task.index) else { return false };
        let possible = self.doubt.as_ref().is_some_and(|doubt| doubt.may_have_lost(task.job, one.fence));
        if !possible || job.ended_at.is_some() || job.cancelling.is_some() || job.assigns_after_sync() {
            return false;
        }
        match job.live(position) {
            // The record has an earlier try, whose end it has forgotten as well.
            Some(live) => live.iter().all(|known| known.fence < one.fence && known.no < no && known.ending.is_none()),
            None => !job.state_of(position).is_terminal() && job.counts(position).attempts < no.0,
        }
    }

    fn reclaim(&mut self, now: Timestamp, key: WorkerKey, one: &HeldAttempt) {
        let task = one.id.task;
        self.end_others(now, task, None);
        let (position, mut counts) = match self.take_attempt(task) {
            Some((position, counts, former)) => {
                let id = AttemptId { task, attempt: former.no };
                self.outbox.record(Record::AttemptEnded { id, report: lost_report(now, &former) });
                self.outbox.notice(Notice::AttemptOver { id });
                (position, counts)
            }
            None => {
                let job = self.jobs.at_mut(task.job);
                let Some(position) = job.spec().items.position_of(task.index) else {
                    unreachable!("{task} was there a moment ago")
                };
                (position, job.lift(position).0)
            }
        };
        counts.attempts = one.id.attempt.0;
        let attempt = Attempt {
            no: one.id.attempt,
            fence: one.fence,
            worker: key,
            assigned_at: now,
            started_at: None,
            gpus: one.gpus.clone(),
            ending: None,
            unrepeatable: None,
            hold: Hold::Beside,
            spare: None,
            granted: true,
        };
        let job = self.jobs.at_mut(task.job);
        job.run(position, counts, attempt);
        job.started_at.get_or_insert(now);
        job.crowded |= job.spec().max_concurrent.is_some_and(|most| job.running() > u64::from(most));
        let worker = self.roster.at_mut(key);
        let new = worker.attempts.insert(task);
        assert!(new, "{task} was reclaimed for a worker that has it");
        self.outbox.record(Record::AttemptAssigned {
            id: one.id,
            fence: one.fence,
            worker: worker.node,
            worker_name: worker.name.clone(),
            at: now,
        });
        self.outbox.notice(Notice::AttemptReclaimed { id: one.id, worker: worker.name.clone() });
        self.realign(task.job);
        self.touch(task.job);
    }

    /// Panics with what is broken about the doubt.
    pub(super) fn check_doubt(&self) {
        for job in self.jobs.iter() {
            assert_eq!(job.in_doubt, self.is_in_doubt(job.id()), "job {} is held back or not as it should", job.id());
        }
        let Some(doubt) = &self.doubt else { return };
        assert!(!doubt.unheard.is_empty(), "nobody is waited for and tasks are held back all the same");
        assert!(self.timers.is_set(Timer::Doubt, doubt.until), "nothing ends the wait for the workers");
        assert!(doubt.losses.iter().all(|loss| loss.epoch < self.epoch), "this very start is in doubt");
        for node in &doubt.unheard {
            assert_eq!(self.registry.role(*node), Some(Role::Worker), "a stranger is waited for");
        }
    }
}
