//! What workers report of attempts: started, given back, ended.
//!
//! Invariant: only the worker that was given an attempt can say anything about
//! it, and only while (attempt, fence) is live in the record; everything else
//! is discarded and counted. Absent: time limits, which the worker keeps.

use super::losses::Loss;
use super::placement::WorkerKey;
use super::task::{Attempt, Hold};
use super::{DispatcherEngine, Notice, backoff};
use crate::model::messages::{EndedAttempt, FencedAttempt, StartedAttempt};
use crate::model::outcome::Cancellation;
use crate::model::records::{Record, TaskCounts};
use crate::model::{AttemptId, AttemptReport, Fence, JobId, LinkId, Millis, Outcome, TaskId, Timestamp};

/// What follows from the end of an attempt.
enum Verdict {
    /// The task has ended.
    Final(Outcome),
    /// Another try, after a wait.
    Again(Millis),
}

/// Who ran the last try of a task, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct RanOn {
    pub(super) worker: WorkerKey,
    pub(super) elapsed: Millis,
}

impl DispatcherEngine {
    /// The live attempt that a worker means, if that is what it means.
    pub(super) fn live_attempt(&mut self, key: WorkerKey, id: AttemptId, fence: Fence) -> Option<&mut Attempt> {
        let (job, position) = self.jobs.find_mut(id.task)?;
        let attempt = job.attempt_on_mut(position, key)?;
        let meant = attempt.no == id.attempt && attempt.fence == fence && attempt.hold != Hold::Awaited;
        meant.then_some(attempt)
    }

    /// Attempts have a process.
    pub(super) fn note_started(&mut self, key: WorkerKey, list: Vec<StartedAttempt>) {
        for StartedAttempt { id, fence, at } in list {
            let Some(attempt) = self.live_attempt(key, id, fence) else { continue };
            if attempt.started_at.is_none() {
                attempt.started_at = Some(at);
                let waited = attempt.hold == Hold::Backlog;
                if waited {
                    self.started_early(key, id.task);
                }
                self.outbox.record(Record::AttemptStarted { id, at });
            }
        }
    }

    /// Attempts are given back. One that is known to have started was not unstarted, whatever its worker says.
    pub(super) fn take_back(&mut self, now: Timestamp, key: WorkerKey, list: Vec<FencedAttempt>) {
        for FencedAttempt { id, fence } in list {
            let Some(attempt) = self.live_attempt(key, id, fence) else { continue };
            let loss = if attempt.started_at.is_none() { Loss::NeverStarted } else { Loss::WorkerLost };
            self.lose_attempt(now, key, id.task, &loss);
        }
    }

    /// Attempts ended.
    pub(super) fn take_results(&mut self, now: Timestamp, link: LinkId, key: WorkerKey, list: Vec<EndedAttempt>) {
        for EndedAttempt { id, fence, report } in list {
            // Thanked for in either case, or the worker would repeat it for ever; and after
            // sync in either case, because what makes a copy superfluous may not be durable yet.
            self.outbox.recorded(link, FencedAttempt { id, fence });
            if self.live_attempt(key, id, fence).is_some() {
                self.take_result(now, key, id, report);
            } else if report.outcome != Outcome::Cancelled(Cancellation::Superseded) {
                // One that was ended because another attempt had brought a result is what was asked for.
                self.throughput.discarded += 1;
                let worker = self.roster.at(key).name.clone();
                self.outbox.notice(Notice::ResultDiscarded { id, worker });
            }
        }
    }

    fn take_result(&mut self, now: Timestamp, key: WorkerKey, id: AttemptId, mut report: AttemptReport) {
        // Both were told in our time as well as the worker could, perhaps by different corrections of its clock.
        let heard = self.jobs.find_mut(id.task).and_then(|(job, position)| job.attempt_on(position, key)?.started_at);
        report.ended_at = report.ended_at.max(report.started_at.or(heard).unwrap_or_default());
        if report.outcome == Outcome::Lost {
            // The worker itself has lost sight of it.
            return self.lose_attempt(now, key, id.task, &Loss::Gone(report));
        }
        if let Outcome::InputLost(_) = report.outcome {
            // One that has started had its inputs, and may have done its work, whatever its worker says.
            let live = self.jobs.find_mut(id.task).and_then(|(job, position)| job.attempt_on(position, key));
            let has_started = report.started_at.is_some() || live.is_some_and(|live| live.started_at.is_some());
            return match has_started {
                true => self.lose_attempt(now, key, id.task, &Loss::Gone(report)),
                false => self.take_input_lost(now, key, id, report),
            };
        }
        if self.is_futile(id.task, &report.outcome) {
            return self.lose_attempt(now, key, id.task, &Loss::Futile(report));
        }
        if let Outcome::Cancelled(why) = &mut report.outcome {
            self.set_right(id, key, why);
        }
        self.end_others(now, id.task, Some(key));
        let Some((position, mut counts, attempt)) = self.take_attempt(id.task) else {
            unreachable!("{id} was live a moment ago")
        };
        let begun = report.started_at.or(attempt.started_at).unwrap_or(attempt.assigned_at);
        if report.started_at.is_some() {
            self.jobs.at_mut(id.task.job).learn_pace(report.ended_at.since(begun));
        }
        let ran_on = RanOn { worker: key, elapsed: report.ended_at.since(begun) };
        let outcome = report.outcome.clone();
        if let Some(files) = &report.files {
            self.whereabouts.learn(key, id.task, files);
        }
        self.outbox.record(Record::AttemptEnded { id, report });
        self.outbox.notice(Notice::AttemptOver { id });
        self.roster.at_mut(key).tasks_done += 1;
        self.throughput.count(now);
        match self.judge(id, &mut counts, &attempt, outcome) {
            Verdict::Final(outcome) => self.conclude(now, id.task, position, counts, outcome, Some(ran_on)),
            Verdict::Again(wait) => self.hold_back(now, id.task.job, position, counts, now + wait, Some(key)),
        }
        self.follow_up(now, id.task.job);
    }

    /// Says of a reported cancellation who asked for it: as it was ordered here, or, when that was before the last
    /// start, the client that the worker names, under the name that it has here.
    fn set_right(&self, id: AttemptId, key: WorkerKey, why: &mut Cancellation) {
        let live = self.jobs.get(id.task.job).and_then(|job| {
            let position = job.spec().items.position_of(id.task.index)?;
            job.attempt_on(position, key)
        });
        if let Some(ordered) = live.and_then(|attempt| attempt.ending.as_ref()) {
            why.clone_from(ordered);
        } else if let Cancellation::Requested { by: Some(by), .. } = why {
            by.name = self.registry.client_name(by.key);
        }
    }

    /// Decides whether a task is tried again.
    fn judge(&mut self, id: AttemptId, counts: &mut TaskCounts, attempt: &Attempt, outcome: Outcome) -> Verdict {
        if outcome.is_success() || matches!(outcome, Outcome::Cancelled(_)) {
            return Verdict::Final(outcome);
        }
        counts.failures += 1;
        let spec = self.jobs.at(id.task.job).spec();
        let limit = spec.retry.limit.unwrap_or(self.config.task_retries);
        let worth_it = spec.retry.on.covers(&outcome) && counts.failures <= limit && !spec.no_retry;
        if attempt.ending.is_some() || attempt.unrepeatable.is_some() || !worth_it {
            return Verdict::Final(outcome);
        }
        let wait = backoff::wait(spec.retry.backoff, counts.failures, id, self.epoch);
        self.outbox.notice(Notice::TaskRetrying { task: id.task, attempt: id.attempt, outcome, wait });
        Verdict::Again(wait)
    }

    /// A worker does not have a spec that it needs.
    pub(super) fn teach_again(&mut self, link: LinkId, key: WorkerKey, job: JobId) {
        let wanted = |task: &TaskId| task.job == job;
        let worker = self.roster.at_mut(key);
        if worker.attempts.range(TaskId::new(job.0, 0)..).next().is_some_and(wanted) {
            worker.learnt.insert(job);
            self.jobs.at_mut(job).learnt_by.insert(key);
            self.teach(link, job);
        }
    }
}
