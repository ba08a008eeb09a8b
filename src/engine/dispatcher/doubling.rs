//! Second attempts: what runs on a worker that has fallen silent may be started once more, where nothing else is to be
//! done.
//!
//! Invariant (G3): of a task at most two attempts are live, on two workers; the first result that is recorded ends the
//! other one, whichever that is, and no retry is used up by there having been two. A task that is `--exclusive`,
//! `--no-retry` or heard by a client has one. Absent: when a worker is suspect (`leases`), and what is idle (placement).

use super::losses::{Loss, lost_report};
use super::placement::WorkerKey;
use super::{DispatcherEngine, Notice};
use crate::model::limits::KILL_GRACE;
use crate::model::messages::CancelAttempt;
use crate::model::outcome::Cancellation;
use crate::model::records::Record;
use crate::model::{AttemptId, AttemptNo, AttemptReport, JobId, Outcome, TaskId, Timestamp};

impl DispatcherEngine {
    /// A worker has been silent for too long: what runs there may be started elsewhere as well.
    pub(super) fn cover(&mut self, key: WorkerKey) {
        self.roster.at_mut(key).covered = true;
        for task in self.roster.at(key).attempts.iter().copied().collect::<Vec<TaskId>>() {
            self.doubt_task(task);
        }
    }

    /// A worker is heard again, or is to be given the time to be: what runs there is not started elsewhere any more.
    pub(super) fn uncover(&mut self, key: WorkerKey) {
        if !std::mem::take(&mut self.roster.at_mut(key).covered) {
            return;
        }
        for task in self.roster.at(key).attempts.iter().copied().collect::<Vec<TaskId>>() {
            self.trust_task(task);
        }
    }

    /// Lets a task be started a second time if its only attempt is on a worker that is covered.
    pub(super) fn doubt_task(&mut self, task: TaskId) {
        let Some((job, position)) = self.jobs.find_mut(task) else { return };
        let Some(live) = job.live(position).filter(|live| !live.is_doubled()) else { return };
        let roster = &self.roster;
        let uncertain = live.iter().all(|attempt| attempt.ending.is_none() && roster.at(attempt.worker).covered);
        if uncertain && job.may_double() && job.uncertain.insert(position) {
            self.realign(task.job);
        }
    }

    /// Lets a task not be started a second time.
    pub(super) fn trust_task(&mut self, task: TaskId) {
        let Some((job, position)) = self.jobs.find_mut(task) else { return };
        if job.uncertain.remove(position) {
            self.realign(task.job);
        }
    }

    /// A task is started a second time.
    pub(super) fn note_second(&mut self, task: TaskId, attempt: AttemptNo, worker: WorkerKey) {
        let Some((job, position)) = self.jobs.find_mut(task) else { return };
        let first = job.live(position).and_then(|live| live.iter().find(|attempt| attempt.worker != worker));
        let Some(first) = first.map(|first| first.worker) else { unreachable!("a second attempt without a first") };
        let (worker, silent) = (self.roster.at(worker).name.clone(), self.roster.at(first).name.clone());
        self.outbox.notice(Notice::TaskDoubled { task, attempt, worker, silent });
    }

    /// One of a task's two attempts came to nothing: it goes on with the other, and may get a second one again.
    pub(super) fn lose_one_of_two(&mut self, now: Timestamp, key: WorkerKey, task: TaskId, loss: &Loss) -> bool {
        let Some((job, position)) = self.jobs.find_mut(task) else { return false };
        let Some((mut counts, attempt)) = job.part_with(position, key) else { return false };
        if loss.is_counted(&attempt) {
            counts.lost += 1;
        }
        job.recount(position, counts);
        self.release(task, &attempt);
        let id = AttemptId { task, attempt: attempt.no };
        self.outbox.record(loss.record(now, id, &attempt));
        let (state, not_before, outcome) = (crate::model::TaskState::Running, None, None);
        self.outbox.record(Record::TaskChanged { task, state, counts, not_before, outcome, at: now });
        self.outbox.notice(Notice::AttemptOver { id });
        // What could not be started or brought there is not tried anywhere else while the other may still bring a result.
        if !matches!(loss, Loss::Futile(_) | Loss::InputLost { .. }) {
            self.doubt_task(task);
        }
        self.realign(task.job);
        self.touch(task.job);
        true
    }

    /// A result of a task is recorded: its attempts on other workers than `but` are ended.
    pub(super) fn end_others(&mut self, now: Timestamp, task: TaskId, but: Option<WorkerKey>) {
        while let Some(key) = self.other_than(task, but) {
            let Some((job, position)) = self.jobs.find_mut(task) else { return };
            let after_sync = job.assigns_after_sync();
            let Some((_, attempt)) = job.part_with(position, key) else { return };
            self.release(task, &attempt);
            let id = AttemptId { task, attempt: attempt.no };
            let why = Cancellation::Superseded;
            if let Some(link) = self.roster.at(key).order_link() {
                let cancel = CancelAttempt { id, fence: attempt.fence, grace: KILL_GRACE, why: why.clone() };
                self.outbox.cancel(link, cancel, after_sync);
            }
            let report = AttemptReport { outcome: Outcome::Cancelled(why), ..lost_report(now, &attempt) };
            self.outbox.record(Record::AttemptEnded { id, report });
            self.outbox.notice(Notice::AttemptOver { id });
        }
    }

    fn other_than(&self, task: TaskId, but: Option<WorkerKey>) -> Option<WorkerKey> {
        let job = self.jobs.get(task.job)?;
        let live = job.live(job.spec().items.position_of(task.index)?).filter(|live| live.is_doubled())?;
        live.iter().map(|attempt| attempt.worker).find(|worker| Some(*worker) != but)
    }

    /// Panics with what is broken about second attempts.
    pub(super) fn check_doubling(&self) {
        for (_, worker) in self.roster.iter() {
            assert!(worker.suspect || !worker.covered, "{} is covered for without being suspect", worker.name);
        }
        for job in self.jobs.iter() {
            let wanted = job.may_start() && job.ended_at.is_none() && !job.uncertain.is_empty();
            assert_eq!(job.in_second_line, wanted, "job {} stands in line for second attempts or not", job.id());
            for position in job.uncertain.iter() {
                let silent = |live: &super::task::Live| live.iter().all(|it| self.roster.at(it.worker).covered);
                assert!(job.live(position).is_some_and(silent), "a task of a worker that is heard is doubted");
            }
        }
    }

    /// Whether an attempt that ends without a result of its own leaves its task to another one: it could not be
    /// started, or its files could not be moved, which says nothing about the task while another attempt runs.
    pub(super) fn is_futile(&self, task: TaskId, outcome: &Outcome) -> bool {
        let nothing = matches!(outcome, Outcome::SpawnFailed(_) | Outcome::TransferFailed(_));
        nothing && self.other_than(task, None).is_some()
    }
}

impl super::jobs::Jobs {
    /// The job of a task and the task's position in it.
    pub(super) fn find_mut(&mut self, task: TaskId) -> Option<(&mut super::job::Job, u64)> {
        let job = self.get_mut(JobId(task.job.0))?;
        let position = job.spec().items.position_of(task.index)?;
        Some((job, position))
    }
}
