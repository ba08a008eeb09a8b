//! Going on after a restart.
//!
//! Invariant: nothing that the store has is forgotten, and nothing that may
//! still run is started again before its worker had the grace period to say so.
//! Absent: how rows are read (the store's).

use super::doubt::Doubt;
use super::job::Job;
use super::placement::{Placement, Requirement, WorkerKey};
use super::roster::{Presence, Roster, Worker};
use super::task::{Attempt, Hold, Stage};
use super::timers::Timers;
use super::{DispatcherConfig, DispatcherEngine, backlog, jobs, joining, outbox, registry, throughput, tokens, watch};
use crate::model::limits::EXCLUSIVE_REASSIGN_AFTER;
use crate::model::records::{BatchNo, DiskSpace, Record, RestoredAttempt, RestoredJob, RestoredState, RestoredTask};
use crate::model::{JobId, JobSpec, NodeId, Outcome, Role, TaskState, Timestamp, Uptime};
use std::collections::BTreeMap;

/// A job as the store has it; those of its tasks that have not ended are ready.
pub(super) fn job(restored: &RestoredJob) -> Job {
    let mut job = Job::new(restored.submitted.clone());
    let items = &restored.submitted.spec.spec().items;
    let ended = [
        (&restored.succeeded, TaskState::Succeeded),
        (&restored.failed, TaskState::Failed),
        (&restored.cancelled, TaskState::Cancelled),
    ];
    for (indices, state) in ended {
        for (first, last) in indices.ranges() {
            let position = |index| items.position_of(crate::model::TaskIndex(index));
            match (position(first), position(last)) {
                (Some(first), Some(last)) => job.end_restored(first, last, state),
                _ => unreachable!("job {} has an ended task that it does not have", job.id()),
            }
        }
    }
    job.last_attempt = restored.last_attempt.0;
    for (first, last) in restored.again.ranges() {
        let position = |index| items.position_of(crate::model::TaskIndex(index));
        match (position(first), position(last)) {
            (Some(first), Some(last)) => job.restore_again(first, last),
            _ => unreachable!("job {} has a task to do again that it does not have", job.id()),
        }
    }
    for task in &restored.tasks {
        let Some(position) = items.position_of(task.task.index) else {
            unreachable!("job {} has a row of a task that it does not have", job.id())
        };
        job.lift(position);
        job.last_attempt = job.last_attempt.max(task.counts.attempts);
        job.make_ready(position, task.counts, None);
    }
    if restored.rest.is_terminal() && !job.rest.is_empty() {
        job.end_rest(restored.rest);
    }
    job.cancelling.clone_from(&restored.cancelling);
    job.retried.clone_from(&restored.retried);
    job.started_at = restored.started_at;
    job
}

/// The end of a wait that began before this start, whose clock may tell quite
/// another time. An exclusive task may still run somewhere, so it waits anew.
fn believable(now: Timestamp, not_before: Timestamp, spec: &JobSpec) -> Timestamp {
    if spec.exclusive { now + EXCLUSIVE_REASSIGN_AFTER } else { not_before.min(now + spec.retry.backoff.max) }
}

impl DispatcherEngine {
    /// Goes on where `state` left off. Running tasks wait `restart_grace` for
    /// their workers to report them.
    #[must_use]
    pub fn restore(config: DispatcherConfig, now: Timestamp, state: RestoredState) -> Self {
        let registry = registry::Registry::new(state.nodes);
        let newest = state.jobs.iter().map(|job| job.submitted.job.0).max().unwrap_or(0);
        let mut engine = Self {
            epoch: state.epoch,
            fences: 0,
            next_job: state.next_job.max(newest + 1),
            doubt: Doubt::new(state.after_power_loss, &registry, now),
            registry,
            tokens: tokens::Tokens::new(state.tokens),
            lobby: joining::Lobby::default(),
            roster: Roster::default(),
            links: BTreeMap::new(),
            jobs: jobs::Jobs::default(),
            unexpired: BTreeMap::new(),
            placement: Placement::default(),
            timers: Timers::default(),
            watchers: watch::Watchers::default(),
            outbox: outbox::Outbox::default(),
            backlogs: backlog::Backlogs::new(config.backlog),
            level_at: None,
            throughput: throughput::Throughput::new(),
            whereabouts: super::whereabouts::Whereabouts::default(),
            remakes: super::remake::Remakes::default(),
            started_at: now,
            uptime: Uptime { before: state.uptime, since: now },
            last_call: now,
            synced: BatchNo(0),
            disk: DiskSpace::Enough,
            config,
        };
        engine.await_holdings(now);
        let unfinished: Vec<JobId> = state.jobs.iter().map(|job| job.submitted.job).collect();
        for restored in &state.jobs {
            engine.restore_job(now, restored);
        }
        for restored in &state.jobs {
            for task in &restored.tasks {
                engine.restore_task(now, restored, task);
            }
        }
        for id in unfinished {
            engine.resume_job(now, id);
        }
        engine.resolve_doubt(now);
        engine.settle(now);
        engine
    }

    fn restore_job(&mut self, now: Timestamp, restored: &RestoredJob) {
        let mut job = job(restored);
        let id = job.id();
        job.in_doubt = self.is_in_doubt(id);
        job.class = Some(self.placement.join_class(&Requirement::of(job.spec())));
        if !restored.reopened {
            job.attendance.grace = job.spec().client_grace();
        }
        // A dependency that is not among the unfinished jobs ended as it had to,
        // or this job would have ended in the same batch of records.
        let after = job.spec().after.iter().map(|dependency| dependency.job);
        job.open_dependencies = after.filter(|dependency| self.jobs.get(*dependency).is_some()).collect();
        for dependency in &job.open_dependencies {
            self.jobs.dependents.entry(*dependency).or_default().insert(id);
        }
        if restored.rest == TaskState::Waiting && job.open_dependencies.is_empty() && !job.rest.is_empty() {
            let (state, outcome) = (TaskState::Ready, None);
            self.outbox.record(Record::RestChanged { job: id, state, outcome, at: now });
        }
        self.remakes.restore(&job);
        self.jobs.add(job);
        self.await_client(now, id);
    }

    fn restore_task(&mut self, now: Timestamp, restored: &RestoredJob, task: &RestoredTask) {
        let id = task.task.job;
        let live = self.restore_attempts(now, restored, task);
        let job = self.jobs.at_mut(id);
        let Some(position) = job.spec().items.position_of(task.task.index) else { unreachable!("it was restored") };
        match (task.state, task.not_before) {
            (TaskState::Running, _) if !live.is_empty() => {
                let (mut counts, _) = job.lift(position);
                counts.attempts = live.iter().fold(counts.attempts, |most, attempt| most.max(attempt.no.0));
                for attempt in live {
                    let new = self.roster.at_mut(attempt.worker).attempts.insert(task.task);
                    assert!(new, "a task was restored twice");
                    match job.live(position) {
                        None => job.run(position, counts, attempt),
                        Some(_) => job.run_beside(position, counts, attempt),
                    }
                }
            }
            (TaskState::Waiting, Some(not_before)) => {
                let not_before = believable(now, not_before, job.spec());
                let (counts, _) = job.lift(position);
                self.hold_back(now, id, position, counts, not_before, None);
            }
            (TaskState::Ready, _) => {}
            _ => {
                let (counts, _) = job.lift(position);
                match task.live.iter().find_map(|attempt| attempt.unrepeatable) {
                    Some(why) => self.conclude(now, task.task, position, counts, Outcome::Unrepeatable(why), None),
                    None => self.requeue(now, id, position, counts, None),
                }
            }
        }
    }

    /// The live attempts of a restored task whose workers are expected back, in the order in which they were handed
    /// out: the latest two at most, and of a worker the latest.
    fn restore_attempts(&mut self, now: Timestamp, restored: &RestoredJob, task: &RestoredTask) -> Vec<Attempt> {
        let mut on_record: Vec<&RestoredAttempt> = task.live.iter().collect();
        on_record.sort_unstable_by_key(|attempt| std::cmp::Reverse(attempt.fence));
        let mut live: Vec<Attempt> = Vec::new();
        for attempt in on_record {
            let Some(worker) = self.expect(now, attempt) else { continue };
            if live.len() == 2 || live.iter().any(|later| later.worker == worker) {
                continue;
            }
            live.push(Attempt {
                no: attempt.id.attempt,
                fence: attempt.fence,
                worker,
                assigned_at: now,
                started_at: attempt.started_at,
                gpus: Vec::new(),
                ending: restored.cancelling.clone(),
                unrepeatable: attempt.unrepeatable,
                hold: Hold::Slot,
                spare: None,
                granted: true,
            });
        }
        live.reverse();
        live
    }

    /// The worker that has a restored attempt, expected back; `None` when its key is no longer enrolled.
    fn expect(&mut self, now: Timestamp, attempt: &RestoredAttempt) -> Option<WorkerKey> {
        self.expect_node(now, attempt.worker)
    }

    /// A worker that is on the roster, or expected back from now on; `None` when its key is no longer enrolled.
    pub(super) fn expect_node(&mut self, now: Timestamp, node: NodeId) -> Option<WorkerKey> {
        if let Some(key) = self.roster.find(node) {
            return Some(key);
        }
        let enrolled = self.registry.get(node).filter(|known| known.role == Role::Worker)?;
        let mut worker = Worker::new(enrolled.node, enrolled.name.clone(), Presence::Expected, now);
        worker.draining = enrolled.draining;
        let key = self.roster.add(worker);
        self.arm(key);
        Some(key)
    }

    /// Lets a restored job go on from where it is.
    fn resume_job(&mut self, now: Timestamp, id: JobId) {
        if let Some(why) = self.jobs.at(id).cancelling.clone() {
            self.end_untried(now, id, &Outcome::Cancelled(why));
        }
        let running = self.jobs.at(id).tasks.values().filter(|task| matches!(task.stage, Stage::Running(_))).count();
        assert_eq!(running as u64, self.jobs.at(id).running(), "restored attempts are miscounted");
        self.follow_up(now, id);
    }
}
