//! What becomes of attempts whose worker does not have them any more, or cannot
//! be asked.
//!
//! Invariant: an attempt that may have run is never taken for one that did not
//! (`--no-retry` is started once at most), and one that may still run keeps an
//! `--exclusive` task waiting. Absent: how a loss becomes known (`leases`,
//! `reconcile`).

use std::cmp::Reverse;

use super::placement::WorkerKey;
use super::roster::Presence;
use super::task::{Attempt, Hold};
use super::{CloseReason, DispatcherEngine, LossCause, Notice};
use crate::model::limits::MAX_LOST_ATTEMPTS;
use crate::model::outcome::OutputSummary;
use crate::model::records::{Record, TaskCounts};
use crate::model::{AttemptId, AttemptReport, JobId, Outcome, TaskId, TaskState, Timestamp};

/// What is known of an attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its worker says that it never started.
    NeverStarted,
    /// Its worker says that it could not start, because it does not have the directory that it runs in.
    Refused,
    /// Its worker says that it is gone, and does not know how it ended.
    Gone(AttemptReport),
    /// Its worker says that it could not be started, or its files not be moved, while another attempt of its task runs.
    Futile(AttemptReport),
    /// Its worker could not get an input that is lost: it never started.
    InputLost {
        /// What the worker says.
        report: AttemptReport,
        /// When its task is tried again at the latest.
        again: Timestamp,
    },
    /// It may have run, and may still run; its worker was stopped on purpose.
    Abandoned,
    /// It may have run, and may still run.
    WorkerLost,
}

impl Loss {
    /// Whether it counts towards the limit of tries that are lost with their workers.
    pub(super) fn is_counted(&self, attempt: &Attempt) -> bool {
        match self {
            Self::Gone(report) => attempt.started_at.is_some() || report.started_at.is_some(),
            Self::WorkerLost => attempt.started_at.is_some(),
            Self::NeverStarted | Self::Refused | Self::Futile(_) | Self::InputLost { .. } | Self::Abandoned => false,
        }
    }

    /// What is written down of it.
    pub(super) fn record(&self, now: Timestamp, id: AttemptId, attempt: &Attempt) -> Record {
        match self {
            Self::NeverStarted | Self::Refused => Record::AttemptReturned { id },
            Self::Gone(report) | Self::Futile(report) | Self::InputLost { report, .. } => {
                Record::AttemptEnded { id, report: report.clone() }
            }
            Self::Abandoned | Self::WorkerLost => Record::AttemptEnded { id, report: lost_report(now, attempt) },
        }
    }
}

/// What becomes of its task.
enum Next {
    /// It has ended.
    End(Outcome),
    /// It waits until then: the attempt may still run.
    Wait(Timestamp),
    /// It is queued again.
    Again {
        /// The worker that it keeps away from.
        avoid: Option<WorkerKey>,
    },
}

impl DispatcherEngine {
    /// Gives a worker up: all it held is requeued, and its link is closed.
    pub(super) fn lose_worker(&mut self, now: Timestamp, key: WorkerKey, cause: LossCause) {
        if let Some(link) = self.roster.at(key).link() {
            self.links.remove(&link);
            match cause {
                LossCause::Revoked => self.outbox.close(link, CloseReason::Revoked, "this worker's key was revoked"),
                _ => self.outbox.close(link, CloseReason::GivenUp, "this worker was given up"),
            }
        }
        self.disconnect(key);
        let worker = self.roster.at_mut(key);
        worker.presence = Presence::Lost;
        (worker.suspect, worker.covered) = (false, false);
        worker.silent_since = now;
        let notice = Notice::WorkerLost { worker: worker.name.clone(), cause, attempts: worker.attempts.len() as u64 };
        if cause != LossCause::Stopped || !worker.attempts.is_empty() {
            self.outbox.notice(notice);
        }
        let loss = if cause == LossCause::Stopped { Loss::Abandoned } else { Loss::WorkerLost };
        self.lose_attempts(now, key, &loss);
        self.arm(key);
    }

    /// Requeues everything that a worker held.
    pub(super) fn lose_attempts(&mut self, now: Timestamp, key: WorkerKey, loss: &Loss) {
        let tasks: Vec<TaskId> = self.roster.at(key).attempts.iter().copied().collect();
        for task in tasks {
            self.lose_attempt(now, key, task, loss);
        }
        assert!(self.roster.at(key).attempts.is_empty(), "a lost attempt stayed");
    }

    /// Takes a worker off the roster; it must have been lost.
    pub(super) fn leave(&mut self, key: WorkerKey) {
        assert_eq!(self.roster.at(key).presence, Presence::Lost, "a worker left that is reckoned with");
        let worker = self.roster.remove(key);
        self.note_departure(worker.node, worker.silent_since);
        self.outbox.notice(Notice::WorkerLeft { worker: worker.name });
    }

    /// Forgets a worker's link: nothing is taken from it by what it held, and it knows no specs.
    pub(super) fn disconnect(&mut self, key: WorkerKey) {
        if self.placement.is_seated(key) {
            self.placement.unseat(key);
            self.backlogs.unseat(key);
        }
        let worker = self.roster.at_mut(key);
        worker.presence = Presence::Away;
        // Told anew when it comes back.
        worker.shortage = None;
        worker.faults.clear();
        for job in std::mem::take(&mut worker.learnt) {
            if let Some(job) = self.jobs.get_mut(job) {
                job.learnt_by.remove(&key);
            }
        }
    }

    /// Gives up the attempt of a task that a worker has.
    pub(super) fn lose_attempt(&mut self, now: Timestamp, key: WorkerKey, task: TaskId, loss: &Loss) {
        if self.lose_one_of_two(now, key, task, loss) {
            return;
        }
        let Some((position, mut counts, attempt)) = self.take_attempt(task) else {
            unreachable!("a worker held an attempt of {task} that is not live")
        };
        assert_eq!(attempt.worker, key, "{task} is taken from a worker that does not have it");
        let id = AttemptId { task, attempt: attempt.no };
        if loss.is_counted(&attempt) {
            counts.lost += 1;
        }
        let next = self.next(task.job, counts, &attempt, loss);
        let may_still_run = matches!(loss, Loss::Abandoned | Loss::WorkerLost);
        if may_still_run && self.jobs.at(task.job).spec().exclusive && matches!(next, Next::End(_)) {
            self.note_unexpired(now, task, self.lease_end(&attempt));
        }
        self.outbox.record(loss.record(now, id, &attempt));
        self.outbox.notice(Notice::AttemptOver { id });
        match next {
            Next::End(outcome) => self.conclude(now, task, position, counts, outcome, None),
            Next::Wait(not_before) => self.hold_back(now, task.job, position, counts, not_before, None),
            Next::Again { avoid } => self.requeue(now, task.job, position, counts, avoid),
        }
        self.follow_up(now, task.job);
    }

    /// What becomes of a task whose attempt came to nothing.
    fn next(&self, job: JobId, counts: TaskCounts, attempt: &Attempt, loss: &Loss) -> Next {
        let spec = self.jobs.at(job).spec();
        match (&attempt.ending, loss) {
            (Some(why), _) => Next::End(Outcome::Cancelled(why.clone())),
            (None, _) if let Some(why) = attempt.unrepeatable => Next::End(Outcome::Unrepeatable(why)),
            // What waited there did not fail there, and a worker that takes nothing need not be kept away from.
            (None, Loss::NeverStarted) if attempt.hold != Hold::Slot || !self.placement.is_open(attempt.worker) => {
                Next::Again { avoid: None }
            }
            // Its job is kept from there for a while.
            (None, Loss::Refused) => Next::Again { avoid: None },
            (None, Loss::NeverStarted) => Next::Again { avoid: Some(attempt.worker) },
            (None, Loss::InputLost { again, .. }) => Next::Wait(*again),
            // Its worker says that it never had a process.
            (None, Loss::Gone(_)) if !loss.is_counted(attempt) => Next::Again { avoid: Some(attempt.worker) },
            (None, _) if spec.no_retry || counts.lost >= MAX_LOST_ATTEMPTS => Next::End(Outcome::Lost),
            (None, Loss::Gone(_) | Loss::Futile(_)) => Next::Again { avoid: Some(attempt.worker) },
            (None, Loss::Abandoned | Loss::WorkerLost) if spec.exclusive => Next::Wait(self.lease_end(attempt)),
            (None, Loss::Abandoned | Loss::WorkerLost) => Next::Again { avoid: None },
        }
    }

    /// Takes the only live attempt of a task out of everything that knows it; the task is then in no state.
    pub(super) fn take_attempt(&mut self, task: TaskId) -> Option<(u64, TaskCounts, Attempt)> {
        let (job, position) = self.jobs.find_mut(task)?;
        job.live(position)?;
        let (counts, stage) = job.lift(position);
        let Some(super::task::Stage::Running(live)) = stage else { unreachable!("it ran a moment ago") };
        let attempt = live.into_only();
        self.release(task, &attempt);
        Some((position, counts, attempt))
    }

    /// An attempt that its job has let go of takes nothing from its worker any more.
    pub(super) fn release(&mut self, task: TaskId, attempt: &Attempt) {
        let (worker, job) = (attempt.worker, self.jobs.at(task.job));
        match attempt.hold {
            Hold::Slot if self.placement.is_seated(worker) => {
                self.placement.vacate(worker, &job.submitted.spec.spec().demand, &attempt.gpus);
                self.promote(worker);
            }
            Hold::Backlog => {
                let place = (Reverse(job.spec().priority), attempt.fence);
                self.backlogs.remove(worker, place);
            }
            Hold::Slot | Hold::Awaited | Hold::Beside => {}
        }
        let held = self.roster.at_mut(attempt.worker).attempts.remove(&task);
        assert!(held, "an attempt was live of which its worker is not known to have it");
    }

    /// Lets a task that is in no state wait for an instant.
    pub(super) fn hold_back(
        &mut self,
        now: Timestamp,
        id: JobId,
        position: u64,
        counts: TaskCounts,
        not_before: Timestamp,
        avoid: Option<WorkerKey>,
    ) {
        if not_before <= now {
            return self.requeue(now, id, position, counts, avoid);
        }
        let job = self.jobs.at_mut(id);
        job.wait(position, counts, not_before, avoid);
        let task = job.task_id(position);
        self.timers.set(not_before, super::timers::Timer::Wait(id, position));
        let not_before = Some(not_before);
        self.outbox.record(Record::TaskChanged {
            task,
            state: TaskState::Waiting,
            counts,
            not_before,
            outcome: None,
            at: now,
        });
    }
}

/// What is written about an attempt that nobody will report.
pub(super) fn lost_report(now: Timestamp, attempt: &Attempt) -> AttemptReport {
    AttemptReport {
        outcome: Outcome::Lost,
        started_at: attempt.started_at,
        // A worker tells its starts in our time as well as it can: it may be ahead by half a round trip.
        ended_at: now.max(attempt.started_at.unwrap_or(now)),
        peak_memory_bytes: 0,
        output: OutputSummary::default(),
        files: None,
    }
}
