//! The store of a simulated dispatcher: records in, the state to restore out.
//!
//! Invariant: what it holds is what the real store's rows would say after the
//! same records. It is a judge as well: a record that no sane dispatcher could
//! write, such as a second end of one task, panics here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::{JobRow, TaskRow};
use crate::model::records::{
    EnrolledNode, PowerLoss, Record, RestoredAttempt, RestoredJob, RestoredState, SubmittedJob, TaskCounts,
};
use crate::model::trust::Token;
use crate::model::views::JobView;
use crate::model::{AttemptId, Digest, Epoch, Fence, JobId, Millis, NodeId, Outcome, TaskId, TaskState, Timestamp};

/// All rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Projection {
    pub(super) jobs: BTreeMap<JobId, JobRow>,
    nodes: BTreeMap<NodeId, EnrolledNode>,
    tokens: BTreeMap<Digest, Token>,
    /// Not settled yet.
    power_losses: Vec<PowerLoss>,
    uptime: Millis,
    keys: BTreeMap<(NodeId, String), JobId>,
    epoch: u32,
    last_job: u64,
    /// Greatest fence of any assignment.
    last_fence: Option<Fence>,
}

impl Projection {
    /// Takes a new epoch and says all that a starting dispatcher needs.
    pub(super) fn open(&mut self) -> RestoredState {
        self.epoch += 1;
        RestoredState {
            epoch: Epoch(self.epoch),
            next_job: self.last_job + 1,
            uptime: self.uptime,
            jobs: self.jobs.values().filter(|job| job.ended.is_none()).map(JobRow::restored).collect(),
            nodes: self.nodes.values().cloned().collect(),
            tokens: self.tokens.values().cloned().collect(),
            after_power_loss: self.power_losses.clone(),
        }
    }

    /// The machine lost its power with this on its disk.
    pub(super) fn power_lost(&mut self) {
        self.power_losses.push(PowerLoss { epoch: Epoch(self.epoch), next_job: self.last_job + 1 });
    }

    /// Whether a key was thrown out.
    pub(super) fn is_revoked(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|known| known.revoked_at.is_some())
    }

    /// One job as `retry` recalls it.
    pub(super) fn recall(&self, job: JobId) -> Option<RestoredJob> {
        self.jobs.get(&job).filter(|job| job.ended.is_some()).map(JobRow::restored)
    }

    /// One job as a listing shows it.
    pub(super) fn view(&self, job: JobId) -> Option<JobView> {
        let row = self.jobs.get(&job)?;
        let submitted = &row.submitted;
        Some(JobView {
            job,
            name: submitted.idempotency_key.clone(),
            state: row.ended.unwrap_or_else(|| row.totals().state()),
            tasks: row.totals(),
            owner: submitted.owner,
            owner_name: self.nodes.get(&submitted.owner)?.name.clone(),
            submitted_at: submitted.at,
            started_at: None,
            ended_at: None,
            outcome: None,
            cancelling: row.cancelling.clone(),
            retried: row.retried.clone(),
            spec: None,
        })
    }

    /// The job that `owner` submitted with `key`.
    pub(super) fn job_by_key(&self, owner: NodeId, key: &str) -> Option<JobId> {
        self.keys.get(&(owner, key.to_owned())).copied()
    }

    /// The fence of a live attempt.
    pub(super) fn live_fence(&self, id: AttemptId) -> Option<Fence> {
        let row = self.jobs.get(&id.task.job)?.tasks.get(&id.task.index.0)?;
        row.live.iter().find(|attempt| attempt.id == id).map(|attempt| attempt.fence)
    }

    /// How many attempts of a task are live.
    pub(super) fn live_attempts(&self, task: TaskId) -> usize {
        let row = self.jobs.get(&task.job).and_then(|job| job.tasks.get(&task.index.0));
        row.map_or(0, |row| row.live.len())
    }

    /// Applies one batch, which happens as a whole or not at all.
    pub(super) fn apply(&mut self, batch: &[Record]) {
        for record in batch {
            self.apply_one(record);
        }
        for task in batch.iter().filter_map(task_of) {
            if let Some(row) = self.jobs.get(&task.job).and_then(|job| job.tasks.get(&task.index.0)) {
                row.check(task);
            }
        }
    }

    fn apply_one(&mut self, record: &Record) {
        match record {
            Record::JobSubmitted(submitted) => self.submitted(submitted),
            Record::AttemptAssigned { id, fence, worker, at, .. } => self.assigned(*id, *fence, *worker, *at),
            Record::AttemptStarted { id, at } => self.live(*id).started_at = Some(*at),
            Record::AttemptUnrepeatable { id, why } => {
                self.live(*id).unrepeatable = Some(*why);
                self.job(id.task.job).row(id.task).is_last = true;
            }
            Record::AttemptEnded { id, report } => {
                let outcome = report.outcome.clone();
                let worker = self.live(*id).worker;
                let heard = outcome != Outcome::Lost;
                assert!(!heard || !self.is_revoked(worker), "a result of {id} is recorded, whose worker is revoked");
                let row = self.job(id.task.job).row(id.task);
                row.live.retain(|attempt| attempt.id != *id);
                row.outcome = Some(outcome);
            }
            Record::AttemptHandedOver { id, fence, receiver, .. } => {
                assert!(!self.is_revoked(receiver.0), "{id} is handed to a revoked worker");
                let live = self.live(*id);
                assert!(live.started_at.is_none(), "{id} is handed over after it started");
                (live.fence, live.worker) = (*fence, receiver.0);
            }
            Record::AttemptReturned { id } => {
                self.live(*id);
                self.job(id.task.job).row(id.task).live.retain(|attempt| attempt.id != *id);
            }
            Record::TaskChanged { task, state, counts, not_before, outcome, .. } => {
                self.changed(*task, *state, *counts, outcome.as_ref());
                self.job(task.job).row(*task).not_before = *not_before;
            }
            Record::RestChanged { job, state, .. } => self.job(*job).change_rest(*state),
            Record::RowsChanged { job, from, state, outcome, .. } => {
                self.job(*job).change_rows(*from, *state, outcome.as_ref());
            }
            Record::JobCancelling { job, why, .. } => self.job(*job).cancelling = Some(why.clone()),
            Record::JobEnded { job, state, .. } => self.job(*job).end(*state),
            Record::JobReopened { job, .. } => self.job(*job).reopen(),
            // Outputs are not followed here.
            Record::OutputsRemade { .. } => {}
            Record::JobRetried { job, act } => self.job(*job).retried = Some(act.clone()),
            Record::JobForgotten { job, .. } => {
                // Written twice when a client asks again before the first is known to be done.
                if let Some(gone) = self.jobs.remove(job) {
                    assert!(gone.ended.is_some(), "job {job} is forgotten before it ended");
                    self.keys.remove(&(gone.submitted.owner, gone.submitted.idempotency_key.clone()));
                }
            }
            Record::NodeEnrolled { node, role, name, at } => {
                assert!(!self.is_revoked(*node), "a revoked key is enrolled again");
                let (draining, drain_act, place) = match self.nodes.get(node) {
                    Some(known) => (known.draining, known.drain_act.clone(), known.place),
                    None => (false, None, None),
                };
                let same_name = |known: &EnrolledNode| known.role == *role && known.name == *name;
                self.nodes.retain(|other, known| other == node || known.revoked_at.is_some() || !same_name(known));
                let (node, role, name, enrolled_at, revoked_at) = (*node, *role, name.clone(), *at, None);
                let enrolled = EnrolledNode { node, role, name, draining, drain_act, place, enrolled_at, revoked_at };
                self.nodes.insert(node, enrolled);
            }
            Record::WorkerPlaced { node, place } => {
                let Some(known) = self.nodes.get_mut(node) else { panic!("a stranger is placed") };
                known.place = Some(*place);
            }
            Record::WorkerDraining { node, draining, act } => {
                let Some(known) = self.nodes.get_mut(node) else { panic!("a stranger drains") };
                known.draining = *draining;
                known.drain_act = Some(act.clone());
            }
            Record::NodeRevoked { node, at } => {
                let Some(known) = self.nodes.get_mut(node) else { panic!("a stranger is revoked") };
                assert!(known.revoked_at.is_none(), "{} is revoked twice", known.name);
                known.revoked_at = Some(*at);
            }
            Record::TokenChanged(token) => {
                assert!(token.used_by.len() <= token.uses as usize, "token {} is used too often", token.id());
                self.tokens.insert(token.hash, token.clone());
            }
            Record::TokenForgotten { hash } => _ = self.tokens.remove(hash),
            Record::UptimeCounted { uptime } => self.uptime = *uptime,
            Record::PowerLossesSettled => self.power_losses.clear(),
        }
    }

    fn submitted(&mut self, submitted: &Arc<SubmittedJob>) {
        let job = submitted.job;
        assert!(job.0 > self.last_job, "job {job} is not newer than job {}", self.last_job);
        self.last_job = job.0;
        let before = self.keys.insert((submitted.owner, submitted.idempotency_key.clone()), job);
        assert!(before.is_none(), "key {} makes a second job", submitted.idempotency_key);
        self.jobs.insert(job, JobRow::new(submitted.clone()));
    }

    fn assigned(&mut self, id: AttemptId, fence: Fence, worker: NodeId, at: Timestamp) {
        // What a power loss made the record forget comes back under the fence that it has.
        let reclaimed = self.power_losses.iter().any(|loss| fence.epoch <= loss.epoch && id.task.job.0 < loss.next_job);
        if !reclaimed {
            let newest = self.last_fence.is_none_or(|last| last < fence);
            assert!(newest, "{id} gets fence {fence:?} after {:?}", self.last_fence);
            self.last_fence = Some(fence);
            assert_eq!(fence.epoch.0, self.epoch, "{id} gets a fence of another epoch");
        }
        let Some(holder) = self.nodes.get(&worker) else { panic!("{id} is assigned to a stranger") };
        assert!(holder.revoked_at.is_none(), "{id} is assigned to {}, which is revoked", holder.name);
        assert!(reclaimed || !holder.draining, "{id} is assigned to {}, which drains", holder.name);
        let job = self.job(id.task.job);
        assert!(job.ended.is_none(), "{id} of a job that has ended is assigned");
        let spec = job.submitted.spec.spec();
        let (max, once) = (spec.max_concurrent, spec.exclusive || spec.no_retry);
        job.started_at = job.started_at.or(Some(at));
        job.last_attempt = job.last_attempt.max(id.attempt);
        job.set_state(id.task, TaskState::Running);
        let running = job.tally(TaskState::Running) + job.doubled();
        assert!(
            reclaimed || max.is_none_or(|max| running <= u64::from(max)),
            "{id} is assigned as number {running} of {max:?}"
        );
        let may_retry = job.may_retry;
        let row = job.row(id.task);
        assert!(row.live.is_empty() || !once, "{id} is assigned while another attempt is live");
        assert!(row.live.len() < 2, "{id} is assigned while two others are live");
        assert!(id.attempt.0 > row.counts.attempts, "{id} is assigned after attempt {}", row.counts.attempts);
        row.counts.attempts = id.attempt.0;
        row.not_before = None;
        row.outcome = None;
        row.is_last &= !may_retry;
        assert!(!row.is_last, "{id} is assigned after an attempt that may have no other after it");
        row.live.push(RestoredAttempt { id, fence, worker, started_at: None, unrepeatable: None });
    }

    fn changed(&mut self, task: TaskId, state: TaskState, counts: TaskCounts, outcome: Option<&Outcome>) {
        let job = self.job(task.job);
        job.set_state(task, state);
        let row = job.row(task);
        row.counts = counts;
        if let Some(outcome) = outcome {
            row.outcome = Some(outcome.clone());
        }
    }

    fn job(&mut self, job: JobId) -> &mut JobRow {
        match self.jobs.get_mut(&job) {
            Some(row) => row,
            None => panic!("a record names job {job}, which does not exist"),
        }
    }

    fn live(&mut self, id: AttemptId) -> &mut RestoredAttempt {
        match self.job(id.task.job).row(id.task).live.iter_mut().find(|attempt| attempt.id == id) {
            Some(attempt) => attempt,
            None => panic!("a record names {id}, which is not live"),
        }
    }
}

/// The task whose row a record touches.
fn task_of(record: &Record) -> Option<TaskId> {
    match record {
        Record::AttemptAssigned { id, .. }
        | Record::AttemptStarted { id, .. }
        | Record::AttemptEnded { id, .. }
        | Record::AttemptReturned { id } => Some(id.task),
        Record::TaskChanged { task, .. } => Some(*task),
        _ => None,
    }
}

impl TaskRow {
    fn check(&self, task: TaskId) {
        let running = self.state == TaskState::Running;
        assert_eq!(
            running,
            !self.live.is_empty(),
            "task {task} is {} with {} live attempts",
            self.state,
            self.live.len()
        );
        let state = self.outcome.as_ref().map(Outcome::state);
        assert!(!self.state.is_terminal() || state == Some(self.state), "task {task} is {} by {state:?}", self.state);
    }
}
