//! What a store would have made of the records: the state of every task, and
//! everything that a restart needs.
//!
//! Kept as simply as possible, one entry a task, so that it can be trusted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::outcome::Cancellation;
use crate::model::records::{
    Act, EnrolledNode, PowerLoss, Record, RestoredAttempt, RestoredJob, RestoredState, RestoredTask, SubmittedJob,
    TaskCounts,
};
use crate::model::trust::Token;
use crate::model::{
    AttemptId, AttemptNo, Digest, Epoch, Fence, IntervalSet, JobId, Millis, NodeId, Outcome, TaskId, TaskIndex,
    TaskState, Timestamp,
};

#[derive(Clone)]
struct Row {
    state: TaskState,
    counts: TaskCounts,
    not_before: Option<Timestamp>,
    outcome: Option<Outcome>,
    live: Vec<RestoredAttempt>,
    /// No other attempt may follow.
    last: bool,
}

#[derive(Clone)]
struct Job {
    submitted: Arc<SubmittedJob>,
    rest: TaskState,
    rest_outcome: Option<Outcome>,
    rows: BTreeMap<u64, Row>,
    cancelling: Option<Cancellation>,
    reopened: bool,
    retried: Option<Act>,
    ended: Option<TaskState>,
    started_at: Option<Timestamp>,
    last_attempt: u32,
}

impl Row {
    fn part_with(&mut self, id: AttemptId) {
        let before = self.live.len();
        self.live.retain(|live| live.id != id);
        assert_eq!(self.live.len() + 1, before, "{id} is over and was not live");
    }
}

/// The records, interpreted.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    jobs: BTreeMap<JobId, Job>,
    nodes: BTreeMap<NodeId, EnrolledNode>,
    pub(super) tokens: BTreeMap<Digest, Token>,
    power_losses: Vec<PowerLoss>,
    uptime: Millis,
    epoch: u32,
    newest_job: u64,
    newest_fence: Option<Fence>,
}

impl Ledger {
    fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs.get_mut(&id).unwrap_or_else(|| panic!("a record of job {id}, which was not submitted"))
    }

    fn row(&mut self, task: TaskId) -> &mut Row {
        let job = self.job(task.job);
        let plain = Row {
            state: job.rest,
            counts: TaskCounts::default(),
            not_before: None,
            outcome: job.rest_outcome.clone(),
            live: Vec::new(),
            last: false,
        };
        job.rows.entry(task.index.0).or_insert(plain)
    }

    /// Takes one record.
    pub(super) fn write(&mut self, record: &Record) {
        match record {
            Record::JobSubmitted(submitted) => {
                self.newest_job = self.newest_job.max(submitted.job.0);
                let job = Job {
                    submitted: Arc::clone(submitted),
                    rest: TaskState::Ready,
                    rest_outcome: None,
                    rows: BTreeMap::new(),
                    cancelling: None,
                    reopened: false,
                    retried: None,
                    ended: None,
                    started_at: None,
                    last_attempt: 0,
                };
                let key = |job: &SubmittedJob| (job.owner, job.idempotency_key.clone());
                assert!(
                    !self.jobs.values().any(|job| key(&job.submitted) == key(submitted)),
                    "two jobs of key {:?}",
                    submitted.idempotency_key
                );
                let before = self.jobs.insert(submitted.job, job);
                assert!(before.is_none(), "two jobs of one number");
            }
            Record::AttemptAssigned { id, fence, worker, at, .. } => {
                let reclaimed = self.power_losses.iter().any(|loss| fence.epoch <= loss.epoch);
                assert!(reclaimed || Some(*fence) > self.newest_fence, "a fence that is not newer than all before");
                self.newest_fence = self.newest_fence.max(Some(*fence));
                let job = self.job(id.task.job);
                job.started_at.get_or_insert(*at);
                job.last_attempt = job.last_attempt.max(id.attempt.0);
                let row = self.row(id.task);
                assert!(!row.state.is_terminal(), "{id} was assigned too late");
                let others = row.live.iter().filter(|live| live.worker != *worker).count();
                assert!(others == row.live.len() && others < 2, "{id} was assigned beside what must not be there");
                row.state = TaskState::Running;
                row.counts.attempts = id.attempt.0;
                assert!(!row.last, "{id} was assigned after an attempt that may have no other after it");
                let (id, fence, worker) = (*id, *fence, *worker);
                row.live.push(RestoredAttempt { id, fence, worker, started_at: None, unrepeatable: None });
            }
            Record::AttemptStarted { id, at } => {
                let row = self.row(id.task);
                let live = row.live.iter_mut().find(|live| live.id == *id).expect("a live attempt starts");
                live.started_at = Some(*at);
            }
            Record::AttemptUnrepeatable { id, why } => {
                let row = self.row(id.task);
                let live = row.live.iter_mut().find(|live| live.id == *id).expect("a live attempt is marked");
                (live.unrepeatable, row.last) = (Some(*why), true);
            }
            Record::AttemptEnded { id, report } => {
                let row = self.row(id.task);
                row.part_with(*id);
                row.outcome = Some(report.outcome.clone());
            }
            Record::AttemptReturned { id } => {
                self.row(id.task).part_with(*id);
            }
            Record::TaskChanged { task, state, counts, not_before, outcome, .. } => {
                let row = self.row(*task);
                assert_eq!(
                    *state == TaskState::Running,
                    !row.live.is_empty(),
                    "{task} is {state} by its attempts or not"
                );
                (row.state, row.counts, row.not_before) = (*state, *counts, *not_before);
                row.last &= !state.is_terminal();
                if outcome.is_some() || !state.is_terminal() {
                    row.outcome.clone_from(outcome);
                }
            }
            Record::RestChanged { job, state, outcome, .. } => {
                let job = self.job(*job);
                (job.rest, job.rest_outcome) = (*state, outcome.clone());
            }
            _ => self.write_rarer(record),
        }
    }

    fn write_rarer(&mut self, record: &Record) {
        match record {
            Record::AttemptHandedOver { id, fence, receiver, .. } => {
                let row = self.row(id.task);
                assert!(row.live.iter().all(|live| live.worker != receiver.0), "{id} is handed to whoever has it");
                let live = row.live.iter_mut().find(|live| live.id == *id).expect("a live attempt is handed over");
                assert!(live.started_at.is_none(), "{id} is handed over after it started");
                (live.fence, live.worker) = (*fence, receiver.0);
            }
            Record::RowsChanged { job, from, state, outcome, .. } => {
                assert_eq!(outcome.as_ref().map(crate::model::Outcome::state), state.is_terminal().then_some(*state));
                for row in self.job(*job).rows.values_mut().filter(|row| row.state == *from) {
                    assert!(row.live.is_empty(), "a task changes among many while it runs");
                    (row.state, row.not_before, row.outcome) = (*state, None, outcome.clone());
                    if !state.is_terminal() {
                        row.counts = TaskCounts { attempts: row.counts.attempts, ..TaskCounts::default() };
                    }
                }
            }
            Record::OutputsRemade { .. } => {}
            Record::JobCancelling { job, why, .. } => self.job(*job).cancelling = Some(why.clone()),
            Record::JobEnded { job: id, state, .. } => {
                let job = self.job(*id);
                assert!(job.ended.is_none(), "job {id} ended twice");
                job.ended = Some(*state);
                let id = *id;
                let items = self.jobs[&id].submitted.spec.spec().items.clone();
                for position in 0..items.count() {
                    let task = TaskId { job: id, index: items.index_at(position) };
                    assert!(self.state(task).is_terminal(), "job {id} ended before {task}");
                }
            }
            Record::JobReopened { job, .. } => {
                let job = self.job(*job);
                (job.ended, job.cancelling, job.reopened) = (None, None, true);
            }
            Record::JobRetried { job, act } => self.job(*job).retried = Some(act.clone()),
            Record::JobForgotten { job, .. } => {
                self.jobs.remove(job);
            }
            Record::NodeEnrolled { node, role, name, at } => {
                let before = self.nodes.get(node);
                assert!(before.is_none_or(|known| known.revoked_at.is_none()), "a revoked node is enrolled");
                let (draining, drain_act, place) =
                    before.map_or((false, None, None), |known| (known.draining, known.drain_act.clone(), known.place));
                let others = |known: &EnrolledNode| known.role != *role || known.name != *name;
                self.nodes.retain(|_, known| known.revoked_at.is_some() || others(known));
                let (node, role, name) = (*node, *role, name.clone());
                let (enrolled_at, revoked_at) = (*at, None);
                let enrolled = EnrolledNode { node, role, name, draining, drain_act, place, enrolled_at, revoked_at };
                self.nodes.insert(node, enrolled);
            }
            Record::WorkerPlaced { node, place } => {
                self.nodes.get_mut(node).expect("an enrolled node is placed").place = Some(*place);
            }
            Record::WorkerDraining { node, draining, act } => {
                let known = self.nodes.get_mut(node).expect("an enrolled node drains");
                (known.draining, known.drain_act) = (*draining, Some(act.clone()));
            }
            Record::NodeRevoked { node, at } => {
                let known = self.nodes.get_mut(node).expect("an enrolled node is revoked");
                assert!(known.revoked_at.is_none(), "a node is revoked twice");
                known.revoked_at = Some(*at);
            }
            Record::TokenChanged(token) => {
                self.tokens.insert(token.hash, token.clone());
            }
            Record::TokenForgotten { hash } => {
                self.tokens.remove(hash).expect("a token that is forgotten was there");
            }
            Record::UptimeCounted { uptime } => self.uptime = *uptime,
            Record::PowerLossesSettled => self.power_losses.clear(),
            _ => unreachable!("written by the other half"),
        }
    }

    /// The power goes while this is on the disk: `now` is what was written and not synced.
    pub(super) fn lose_power(&mut self, now: &Self) {
        self.epoch = now.epoch;
        let loss = PowerLoss { epoch: Epoch(self.epoch), next_job: self.newest_job + 1 };
        self.power_losses.push(loss);
    }

    pub(super) fn state(&self, task: TaskId) -> TaskState {
        let job = &self.jobs[&task.job];
        job.rows.get(&task.index.0).map_or(job.rest, |row| row.state)
    }

    pub(super) fn counts(&self, task: TaskId) -> TaskCounts {
        self.jobs[&task.job].rows.get(&task.index.0).map(|row| row.counts).unwrap_or_default()
    }

    pub(super) fn not_before(&self, task: TaskId) -> Option<Timestamp> {
        self.jobs[&task.job].rows.get(&task.index.0).and_then(|row| row.not_before)
    }

    pub(super) fn outcome(&self, task: TaskId) -> Option<Outcome> {
        let job = &self.jobs[&task.job];
        match job.rows.get(&task.index.0) {
            Some(row) => row.outcome.clone(),
            None => job.rest_outcome.clone(),
        }
    }

    pub(super) fn ended(&self, job: JobId) -> Option<TaskState> {
        self.jobs.get(&job).and_then(|job| job.ended)
    }

    pub(super) fn has(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// How many rows a job has: what it costs to keep.
    pub(super) fn rows(&self, job: JobId) -> usize {
        self.jobs[&job].rows.len()
    }

    /// One job as the store would recall it.
    pub(super) fn recall(&self, id: JobId) -> Option<RestoredJob> {
        let job = self.jobs.get(&id)?;
        let in_state = |state: TaskState| -> IntervalSet {
            job.rows.iter().filter(|(_, row)| row.state == state).map(|(index, _)| *index).collect()
        };
        let is_again = |row: &Row| row.state == TaskState::Ready && row.counts.is_clean();
        let open = job.rows.iter().filter(|(_, row)| !row.state.is_terminal() && !is_again(row));
        let tasks = open.map(|(index, row)| RestoredTask {
            task: TaskId { job: id, index: TaskIndex(*index) },
            state: row.state,
            counts: row.counts,
            not_before: row.not_before,
            live: row.live.clone(),
        });
        Some(RestoredJob {
            submitted: Arc::clone(&job.submitted),
            cancelling: job.cancelling.clone(),
            reopened: job.reopened,
            retried: job.retried.clone(),
            started_at: job.started_at,
            last_attempt: AttemptNo(job.last_attempt),
            rest: job.rest,
            succeeded: in_state(TaskState::Succeeded),
            failed: in_state(TaskState::Failed),
            cancelled: in_state(TaskState::Cancelled),
            again: job.rows.iter().filter(|(_, row)| is_again(row)).map(|(index, _)| *index).collect(),
            tasks: tasks.collect(),
        })
    }

    /// Everything, as the store would have it at a new start.
    pub(super) fn restored(&mut self) -> RestoredState {
        self.epoch += 1;
        let unfinished = self.jobs.iter().filter(|(_, job)| job.ended.is_none()).map(|(id, _)| *id);
        RestoredState {
            epoch: Epoch(self.epoch),
            next_job: self.newest_job + 1,
            uptime: self.uptime,
            jobs: unfinished.filter_map(|id| self.recall(id)).collect(),
            nodes: self.nodes.values().cloned().collect(),
            tokens: self.tokens.values().cloned().collect(),
            after_power_loss: self.power_losses.clone(),
        }
    }
}
