//! What really happened, as only the simulation can know it, and the rules it
//! must obey.
//!
//! Invariant: every rule that can be broken at an instant is checked at that
//! instant, so that the first panic is close to its cause.

use std::collections::{BTreeMap, BTreeSet};

use super::projection::Projection;
use super::silence::Silence;
use crate::engine::dispatcher::Outbound;
use crate::model::limits::{KILL_GRACE, TASK_TIMEOUT};
use crate::model::messages::{Assignment, DispatcherMessage};
use crate::model::offload::GrantedAttempt;
use crate::model::records::{Record, RestoredState};
use crate::model::requests::Reply;
use crate::model::spec::{DependencyCondition, TimeLimit};
use crate::model::views::JobView;
use crate::model::{
    AttemptId, Epoch, Fence, JobId, JobSpec, JobState, Millis, NodeId, Outcome, TaskId, TaskState, Timestamp,
};

/// The book of one simulation.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Every process there ever was.
    runs: BTreeMap<Fence, Run>,
    /// Processes that exist now, by task.
    alive: BTreeMap<TaskId, BTreeSet<Fence>>,
    /// Processes there ever were of tasks that may be started once.
    starts: BTreeMap<TaskId, u32>,
    /// Submissions that were acknowledged.
    pub(super) acknowledged: BTreeMap<String, JobId>,
    /// Ends of jobs that clients were shown.
    pub(super) shown: BTreeMap<JobId, JobState>,
    /// Jobs that have succeeded at some time, even if that was lost again.
    succeeded: BTreeSet<JobId>,
    /// How often a retry was asked for.
    retries: BTreeMap<JobId, u32>,
    /// Jobs that somebody wanted forgotten.
    pub(super) forgettable: BTreeSet<JobId>,
    /// Results that are written down but not synced.
    unsynced_results: BTreeSet<AttemptId>,
    /// Assignments that are synced, of tasks for which that matters.
    synced_assignments: BTreeSet<Fence>,
    /// Keys that were ever thrown out, even if that was lost again.
    revoked: BTreeSet<NodeId>,
    /// Since a power loss of the dispatcher and until that is settled: which jobs are in doubt, by the first
    /// number that is not, and in which epoch that is.
    doubt: Option<(u64, Epoch)>,
    /// Both fences of attempts that may be handed over, each to the other.
    twins: BTreeMap<Fence, Fence>,
    /// Fences of those who take over.
    spares: BTreeSet<Fence>,
    /// Processes that ran when the dispatcher lost its power and that it has not given up since.
    spared: BTreeSet<Fence>,
    /// When tasks may be started a second time.
    pub(super) silence: Silence,
    /// Counted for the report.
    pub(super) tallies: Tallies,
}

/// One process.
#[derive(Debug)]
struct Run {
    id: AttemptId,
    worker: usize,
    started: Timestamp,
    /// The longest it may take, when that is limited.
    limit: Option<Millis>,
    outcome: Option<Outcome>,
}

/// Numbers for the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Processes that were started.
    pub processes: u64,
    /// Results that were recorded.
    pub results: u64,
    /// Attempts that were recorded as lost.
    pub lost: u64,
    /// Attempts that were given back unstarted.
    pub returned: u64,
    /// Messages that were delivered twice.
    pub repeats: u64,
    /// Restarts of the dispatcher.
    pub dispatcher_restarts: u64,
    /// Restarts of workers.
    pub worker_restarts: u64,
    /// Workers that were thrown out.
    pub revocations: u64,
    /// Attempts that a power loss made the dispatcher forget and that it has put back on record.
    pub reclaimed: u64,
    /// Tasks that were started a second time because their worker was silent.
    pub seconds: u64,
    /// Attempts that workers offered to each other.
    pub offers: u64,
    /// Attempts that were started by a worker that took them over.
    pub handed_over: u64,
    /// Attempts that the dispatcher wanted back unstarted.
    pub retracted: u64,
}

impl Ledger {
    /// A process for `assignment` exists from now on at `worker`. Processes of
    /// workers that are `frozen` exist but do nothing.
    pub(super) fn process_started(
        &mut self,
        now: Timestamp,
        worker: usize,
        assignment: &Assignment,
        spec: &JobSpec,
        frozen: &BTreeSet<usize>,
    ) {
        let (id, fence, task) = (assignment.id(), assignment.fence, assignment.task);
        let others = self.alive.entry(task).or_default();
        let running = others.iter().find(|other| self.runs.get(other).is_some_and(|run| !frozen.contains(&run.worker)));
        assert!(!spec.exclusive || running.is_none(), "{id} starts while {running:?} of this exclusive task runs");
        // A client that asks for a retry wants it done again, whatever runs.
        let spared = others.iter().find(|other| self.spared.contains(other));
        let again = spared.is_none() || self.retries.contains_key(&task.job);
        assert!(again, "{id} starts though {spared:?} has run since before a power loss and was not given up");
        others.insert(fence);
        if spec.exclusive || spec.no_retry {
            assert!(self.synced_assignments.contains(&fence), "{id} starts by an order that may yet be lost");
        }
        if spec.no_retry {
            let starts = self.starts.entry(task).or_default();
            *starts += 1;
            let allowed = 1 + self.retries.get(&task.job).copied().unwrap_or(0);
            assert!(*starts <= allowed, "{id} is start {starts} of a task that may be started once");
        }
        for dependency in spec.after.iter().filter(|it| it.condition == DependencyCondition::Succeeded) {
            // Who asks for a retry wants it done whatever became of its dependencies.
            let fine = self.succeeded.contains(&dependency.job) || self.may_retry(task.job);
            assert!(fine, "{id} starts though job {} has not succeeded", dependency.job);
        }
        let limit = match spec.time_limit {
            TimeLimit::Dispatcher => Some(TASK_TIMEOUT),
            TimeLimit::Unlimited => None,
            TimeLimit::Limited(limit) => Some(limit),
        };
        let twin = self.twins.get(&fence).and_then(|twin| self.runs.get(twin));
        assert!(twin.is_none(), "{id} was handed over and starts on both workers: {twin:?}");
        self.tallies.handed_over += u64::from(self.spares.contains(&fence));
        let before = self.runs.insert(fence, Run { id, worker, started: now, limit, outcome: None });
        assert!(before.is_none(), "{id} starts a second time by the same order");
        self.tallies.processes += 1;
    }

    /// The dispatcher lets workers hand attempts over.
    pub(super) fn granted(&mut self, granted: &[GrantedAttempt]) {
        for granted in granted {
            self.twins.insert(granted.attempt.fence, granted.spare);
            self.twins.insert(granted.spare, granted.attempt.fence);
            self.spares.insert(granted.spare);
        }
    }

    /// The process is gone. `held_up` is for how long its node stood still meanwhile, at most.
    pub(super) fn process_ended(&mut self, now: Timestamp, fence: Fence, outcome: Outcome, held_up: Millis) {
        let Some(run) = self.runs.get_mut(&fence) else { panic!("a process ends that never was") };
        let before = run.outcome.replace(outcome);
        assert!(before.is_none(), "{} ends twice", run.id);
        let took = now.since(run.started);
        // Room for a clock that runs a little slow and for orders on their way to the process.
        let slack = Millis(KILL_GRACE.0 + held_up.0 + 100 + took.0 / 100);
        let in_time = run.limit.is_none_or(|limit| took <= Millis(limit.0 + slack.0));
        assert!(in_time, "{} took {took} of {:?}", run.id, run.limit);
        let task = run.id.task;
        let rest = self.alive.get_mut(&task).map(|alive| {
            assert!(alive.remove(&fence), "a process ends that does not exist");
            alive.len()
        });
        if rest == Some(0) {
            self.alive.remove(&task);
        }
    }

    /// A retry of `job` was asked for.
    pub(super) fn retry_asked(&mut self, job: JobId) {
        *self.retries.entry(job).or_default() += 1;
    }

    /// Whether a retry of `job` was ever asked for.
    pub(super) fn may_retry(&self, job: JobId) -> bool {
        self.retries.contains_key(&job)
    }

    /// The dispatcher has appended `batch`, before anything of it is applied to `store`.
    pub(super) fn appended(&mut self, now: Timestamp, batch: &[Record]) {
        for record in batch {
            self.silence.decided(now, record);
            match record {
                Record::AttemptEnded { id, .. } => {
                    self.unsynced_results.insert(*id);
                    self.give_up(*id);
                }
                Record::AttemptReturned { id } => self.give_up(*id),
                Record::NodeRevoked { node, .. } => _ = self.revoked.insert(*node),
                Record::AttemptAssigned { id, fence, .. } => {
                    self.assigned(*id, *fence);
                    self.spare_no_more(id.task);
                }
                Record::JobEnded { job, state: TaskState::Succeeded, .. } => _ = self.succeeded.insert(*job),
                _ => {}
            }
        }
    }

    /// `batch` is synced and about to be applied to `store`.
    pub(super) fn synced(&mut self, batch: &[Record], store: &Projection) {
        let mut fences = BTreeMap::new();
        for record in batch {
            match record {
                Record::AttemptAssigned { id, fence, .. } => {
                    fences.insert(*id, *fence);
                    self.synced_assignments.insert(*fence);
                }
                Record::AttemptEnded { id, report } => {
                    self.unsynced_results.remove(id);
                    let Some(fence) = fences.get(id).copied().or_else(|| store.live_fence(*id)) else {
                        panic!("a result of {id} is recorded, which is not live");
                    };
                    self.result_recorded(*id, fence, &report.outcome);
                }
                Record::AttemptReturned { id } => {
                    self.tallies.returned += 1;
                    let fence = fences.get(id).copied().or_else(|| store.live_fence(*id));
                    let started = fence.and_then(|fence| self.runs.get(&fence));
                    assert!(started.is_none(), "{id} was started and is recorded as given back unstarted");
                }
                _ => {}
            }
        }
    }

    /// What a result says is what the process of this very attempt did.
    fn result_recorded(&mut self, id: AttemptId, fence: Fence, outcome: &Outcome) {
        let run = self.runs.get(&fence);
        assert!(run.is_none_or(|run| run.id == id), "{id} is recorded by another attempt's fence");
        match outcome {
            Outcome::Exited(_) | Outcome::Signalled(_) | Outcome::OutOfMemory | Outcome::OomKilled => {
                let did = run.and_then(|run| run.outcome.as_ref());
                assert_eq!(did, Some(outcome), "{id} is recorded to have ended otherwise than it did");
            }
            Outcome::TimedOut(..) => {
                let over = run.is_some_and(|run| run.outcome.is_some());
                assert!(over, "{id} is recorded as timed out but runs");
            }
            Outcome::SpawnFailed(_) => assert!(run.is_none(), "{id} could not start but did"),
            Outcome::Lost => self.tallies.lost += 1,
            Outcome::Cancelled(_) => {}
            Outcome::TransferFailed(_)
            | Outcome::OutputMissing(_)
            | Outcome::InputLost(_)
            | Outcome::Unrepeatable(_)
            | Outcome::DependencyFailed(_) => panic!("{id} is recorded as {outcome}"),
        }
        self.tallies.results += 1;
    }

    /// Whether the dispatcher ever decided to throw this key out.
    pub(super) fn was_revoked(&self, key: NodeId) -> bool {
        self.revoked.contains(&key)
    }

    fn give_up(&mut self, id: AttemptId) {
        let runs = &self.runs;
        self.spared.retain(|fence| runs.get(fence).is_none_or(|run| run.id != id));
    }

    /// What a task runs may be joined by another attempt: by the rules of `silence`, which was asked first.
    fn spare_no_more(&mut self, task: TaskId) {
        let runs = &self.runs;
        self.spared.retain(|fence| runs.get(fence).is_none_or(|run| run.id.task != task));
    }

    fn assigned(&mut self, id: AttemptId, fence: Fence) {
        let Some((first_new, epoch)) = self.doubt else { return };
        let in_doubt = id.task.job.0 < first_new;
        assert!(fence.epoch < epoch || !in_doubt, "{id} is handed out before all workers have said what they hold");
        self.tallies.reclaimed += u64::from(fence.epoch < epoch);
    }

    /// The machine of the dispatcher loses its power; `written` is what it had written.
    pub(super) fn power_lost(&mut self, written: &Projection) {
        let runs = &self.runs;
        let on_record = |fence: &&Fence| {
            let id = runs.get(fence).map(|run| run.id);
            // One that was handed out a second time before may start late, beside the first.
            id.is_some_and(|id| written.live_fence(id) == Some(**fence) && written.live_attempts(id.task) == 1)
        };
        self.spared = self.alive.values().flatten().filter(on_record).copied().collect();
    }

    /// The dispatcher starts with `state`, which `store` has.
    pub(super) fn dispatcher_starts(&mut self, state: &RestoredState, store: &Projection) {
        self.silence.starts(state);
        self.doubt = state.after_power_loss.last().map(|loss| (loss.next_job, state.epoch));
        // The number of a job that was lost whole goes to another one.
        let runs = &self.runs;
        let known = |fence: &Fence| runs.get(fence).is_some_and(|run| store.jobs.contains_key(&run.id.task.job));
        self.spared.retain(known);
    }

    /// The dispatcher hands tasks out again; `unheard` workers have not said in time what they hold.
    pub(super) fn power_loss_settled(&mut self, unheard: u64) {
        self.doubt = None;
        if unheard > 0 {
            self.spared.clear();
        }
    }

    /// The dispatcher crashed: what was not synced is settled by what survived, which was applied already.
    pub(super) fn crashed(&mut self) {
        self.unsynced_results.clear();
    }

    /// The dispatcher lets go of a message: what it promises must be on disk.
    pub(super) fn said(&mut self, message: &Outbound, synced: &Projection, written: &Projection) {
        match message {
            Outbound::ToWorker(DispatcherMessage::Retract(attempts)) => self.tallies.retracted += attempts.len() as u64,
            Outbound::ToWorker(DispatcherMessage::Recorded(attempts)) => {
                for attempt in attempts {
                    let id = attempt.id;
                    let live = written.live_fence(id) == Some(attempt.fence);
                    assert!(!live, "{id} is acknowledged to its worker though it has no result");
                    let other = written.live_fence(id).is_some();
                    let safe = other || !self.unsynced_results.contains(&id);
                    assert!(safe, "{id} is acknowledged to its worker before its result is synced");
                }
            }
            Outbound::Reply { reply: Reply::Submitted { job, .. }, .. } => {
                let durable = synced.jobs.contains_key(job) || self.forgettable.contains(job);
                assert!(durable, "job {job} is acknowledged before it is synced");
            }
            Outbound::Reply { reply: Reply::Progress(jobs), .. } => {
                jobs.iter().for_each(|job| self.shown(job, synced));
            }
            _ => {}
        }
    }

    /// A client is shown how a job stands: no end may be shown that is not synced.
    fn shown(&self, view: &JobView, synced: &Projection) {
        let Some(job) = synced.jobs.get(&view.job) else {
            assert!(self.forgettable.contains(&view.job), "job {} is shown before it is synced", view.job);
            return;
        };
        let (shown, durable) = (view.tasks, job.totals());
        let fine = self.may_retry(view.job)
            || (shown.succeeded <= durable.succeeded
                && shown.failed <= durable.failed
                && shown.cancelled <= durable.cancelled);
        assert!(fine, "job {} is shown with {shown:?} while {durable:?} is synced", view.job);
    }

    /// Processes that exist.
    pub(super) fn alive(&self) -> usize {
        self.alive.len()
    }
}
