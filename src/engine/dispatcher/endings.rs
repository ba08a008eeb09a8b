//! How tasks and jobs end, and what else ends or begins with them.
//!
//! Invariant: a task ends once, a job ends when its last task does, and a job
//! that waited for another learns of that end in the same batch of records. No
//! chain of dependencies is followed by recursion. Absent: why anything ended.

use super::results::RanOn;
use super::task::Stage;
use super::timers::Timer;
use super::{DispatcherEngine, Notice};
use crate::model::limits::KILL_GRACE;
use crate::model::messages::CancelAttempt;
use crate::model::outcome::Cancellation;
use crate::model::records::{Record, TaskCounts};
use crate::model::spec::DependencyCondition;
use crate::model::{AttemptId, JobId, JobState, Outcome, TaskId, TaskState, Timestamp};

impl DispatcherEngine {
    /// Ends a task that is in no state.
    pub(super) fn conclude(
        &mut self,
        now: Timestamp,
        task: TaskId,
        position: u64,
        counts: TaskCounts,
        outcome: Outcome,
        ran_on: Option<RanOn>,
    ) {
        let state = outcome.state();
        let job = self.jobs.at_mut(task.job);
        job.end(position, state);
        if job.shown_totals().total == 1 {
            job.outcome = Some(outcome.clone());
        }
        let not_before = None;
        let untried = ran_on.is_none().then(|| outcome.clone());
        self.outbox.record(Record::TaskChanged { task, state, counts, not_before, outcome: untried, at: now });
        let worker = ran_on.and_then(|ran_on| self.roster.get(ran_on.worker)).map(|worker| worker.name.clone());
        let elapsed = ran_on.map(|ran_on| ran_on.elapsed).unwrap_or_default();
        self.outbox.notice(Notice::TaskEnded { task, worker, outcome, elapsed });
    }

    /// Draws the consequences of whatever changed about a job's tasks.
    pub(super) fn follow_up(&mut self, now: Timestamp, id: JobId) {
        self.touch(id);
        let job = self.jobs.at(id);
        let too_many = job.spec().max_fails.is_some_and(|most| job.failures() >= u64::from(most.max(1)));
        if too_many && job.cancelling.is_none() && !job.is_over() {
            self.cancel_job(now, id, &Cancellation::MaxFails);
            return;
        }
        self.realign(id);
        let job = self.jobs.at(id);
        if job.is_over() && job.ended_at.is_none() {
            self.finish_job(now, id);
        }
    }

    fn finish_job(&mut self, now: Timestamp, id: JobId) {
        self.forget_dependencies(id);
        let job = self.jobs.at_mut(id);
        let state = job.state();
        assert!(state.is_terminal() && !job.in_line, "a job ended that goes on");
        job.ended_at = Some(now);
        if let Some(class) = job.class.take() {
            self.placement.leave_class(class);
        }
        self.needs_no_client(id);
        self.keep_for_watchers(id);
        self.outbox.record(Record::JobEnded { job: id, state, at: now, uptime: self.uptime.at(now) });
        self.outbox.notice(Notice::JobEnded { job: id, state });
        self.jobs.count_end();
        self.jobs.to_resolve.push_back((id, state));
        self.jobs.ended.push_back((now, id));
        self.timers.set(now + super::history::KEPT, Timer::History);
    }

    /// Lets the jobs that waited for ended ones go on, or fail with them.
    pub(super) fn resolve_dependencies(&mut self, now: Timestamp) {
        while let Some((ended, state)) = self.jobs.to_resolve.pop_front() {
            for dependent in self.jobs.dependents.remove(&ended).unwrap_or_default() {
                self.resolve(now, dependent, ended, state);
            }
            self.end_remake(now, ended, state);
        }
    }

    fn resolve(&mut self, now: Timestamp, dependent: JobId, ended: JobId, state: JobState) {
        let job = self.jobs.at_mut(dependent);
        let was_open = job.open_dependencies.remove(&ended);
        assert!(was_open, "job {dependent} did not wait for {ended}");
        let must_succeed = |condition| matches!(condition, DependencyCondition::Succeeded);
        let mut on_ended = job.spec().after.iter().filter(|dependency| dependency.job == ended);
        if state != TaskState::Succeeded && on_ended.any(|dependency| must_succeed(dependency.condition)) {
            return self.fail_by_dependency(now, dependent, ended);
        }
        if job.open_dependencies.is_empty() {
            if job.rest_ended.is_none() && !job.rest.is_empty() {
                let (state, outcome) = (TaskState::Ready, None);
                self.outbox.record(Record::RestChanged { job: dependent, state, outcome, at: now });
            }
            self.follow_up(now, dependent);
        }
    }

    /// Ends all of a job that has not been tried, because `ended` did not succeed.
    pub(super) fn fail_by_dependency(&mut self, now: Timestamp, id: JobId, ended: JobId) {
        self.forget_dependencies(id);
        self.end_untried(now, id, &Outcome::DependencyFailed(ended));
        self.follow_up(now, id);
    }

    /// A job waits for nothing any more.
    fn forget_dependencies(&mut self, id: JobId) {
        for dependency in std::mem::take(&mut self.jobs.at_mut(id).open_dependencies) {
            if let Some(waiting) = self.jobs.dependents.get_mut(&dependency) {
                waiting.remove(&id);
                if waiting.is_empty() {
                    self.jobs.dependents.remove(&dependency);
                }
            }
        }
    }

    /// Ends every task of a job that no worker has; says how many.
    pub(super) fn end_untried(&mut self, now: Timestamp, id: JobId, outcome: &Outcome) -> u64 {
        let state = outcome.state();
        let job = self.jobs.at_mut(id);
        let mut ended = 0;
        if job.rest_ended.is_none() && !job.rest.is_empty() {
            ended += job.end_rest(state);
            if job.shown_totals().total == 1 {
                job.outcome = Some(outcome.clone());
            }
            self.outbox.record(Record::RestChanged { job: id, state, outcome: Some(outcome.clone()), at: now });
        }
        let job = self.jobs.at(id);
        let untried = |stage: &Stage| !matches!(stage, Stage::Running(_));
        let positions: Vec<u64> =
            job.tasks.iter().filter(|(_, task)| untried(&task.stage)).map(|(position, _)| *position).collect();
        for position in positions {
            let job = self.jobs.at_mut(id);
            let (task, (counts, _)) = (job.task_id(position), job.lift(position));
            self.conclude(now, task, position, counts, outcome.clone(), None);
            ended += 1;
        }
        // Behind those, whose rows are in the same state until then.
        let job = self.jobs.at_mut(id);
        let again = job.end_again(state);
        if again > 0 {
            if job.shown_totals().total == 1 {
                job.outcome = Some(outcome.clone());
            }
            let (from, outcome) = (TaskState::Ready, Some(outcome.clone()));
            self.outbox.record(Record::RowsChanged { job: id, from, state, outcome, at: now });
        }
        ended + again
    }

    /// Ends a whole job; says how many tasks that concerns. Attempts that run are told to end.
    pub(super) fn cancel_job(&mut self, now: Timestamp, id: JobId, why: &Cancellation) -> u64 {
        let job = self.jobs.at_mut(id);
        if job.ended_at.is_some() || job.cancelling.is_some() {
            return 0;
        }
        job.cancelling = Some(why.clone());
        self.outbox.record(Record::JobCancelling { job: id, why: why.clone(), at: now });
        let mut concerned = self.end_untried(now, id, &Outcome::Cancelled(why.clone()));
        let positions: Vec<u64> = self.jobs.at(id).tasks.keys().copied().collect();
        for position in positions {
            concerned += u64::from(self.end_attempt(id, position, why));
        }
        self.follow_up(now, id);
        concerned
    }

    /// Ends one task; says whether it had not ended.
    pub(super) fn cancel_task(&mut self, now: Timestamp, id: JobId, position: u64, why: &Cancellation) -> bool {
        let job = self.jobs.at_mut(id);
        let concerned = match job.state_of(position) {
            _ if job.live(position).is_some() => self.end_attempt(id, position, why),
            TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled => false,
            TaskState::Waiting | TaskState::Ready | TaskState::Running => {
                let (task, (counts, _)) = (job.task_id(position), job.lift(position));
                self.conclude(now, task, position, counts, Outcome::Cancelled(why.clone()), None);
                true
            }
        };
        self.follow_up(now, id);
        concerned
    }

    /// Tells the workers of a running task to end it, unless they were told already.
    fn end_attempt(&mut self, id: JobId, position: u64, why: &Cancellation) -> bool {
        let job = self.jobs.at_mut(id);
        let after_sync = job.assigns_after_sync();
        let task = job.task_id(position);
        job.uncertain.remove(position);
        let mut told = false;
        for attempt in job.live_mut(position).into_iter().flat_map(|live| live.iter_mut()) {
            if attempt.ending.is_some() {
                continue;
            }
            told = true;
            attempt.ending = Some(why.clone());
            if let Some(link) = self.roster.at(attempt.worker).order_link() {
                let id = AttemptId { task, attempt: attempt.no };
                let cancel = CancelAttempt { id, fence: attempt.fence, grace: KILL_GRACE, why: why.clone() };
                self.outbox.cancel(link, cancel, after_sync);
            }
        }
        told
    }
}
