//! Doing failed and cancelled tasks again.
//!
//! Invariant: a task that is done again starts with no failures counted, and
//! with an attempt number that was never used; a million of them cost a record and no objects. Absent: retries that a task's
//! policy asks for (`results`).

use std::collections::BTreeSet;

use super::placement::Requirement;
use super::requests::{Target, Touched, failure, forbidden};
use super::{Change, DispatcherEngine, Whose, restore};
use crate::model::records::{Act, Record, RestoredJob, TaskCounts};
use crate::model::requests::{Failure, FailureCode, Reply};
use crate::model::selector::Part;
use crate::model::{JobId, LinkId, TaskState, Timestamp};

impl DispatcherEngine {
    /// Queues failed and cancelled tasks again.
    pub(super) fn retry(
        &mut self,
        now: Timestamp,
        link: LinkId,
        (parts, whose): (&[Part], Whose),
        failed_only: bool,
        recalled: Vec<RestoredJob>,
    ) -> Result<Reply, Failure> {
        self.check_disk()?;
        self.make_room(now, |engine| {
            let unknown = recalled.iter().filter(|job| engine.jobs.get(job.submitted.job).is_none());
            unknown.map(|job| job.submitted.spec.encoded().len() as u64).sum()
        })?;
        let recalled: Vec<RestoredJob> =
            recalled.into_iter().filter(|job| self.jobs.get(job.submitted.job).is_none()).collect();
        if let Some(job) = recalled.iter().find(|job| !self.may_touch(link, job.submitted.owner)) {
            return Err(forbidden(job.submitted.job));
        }
        self.check_parts(link, parts, whose)?;
        for job in recalled {
            self.recall(now, job);
        }
        let act = Act { by: self.actor(link), at: now };
        let mut touched = Touched::default();
        for target in self.targets(link, parts, whose)? {
            let (id, affected) = match target {
                Target::Job(id) => (id, self.retry_job(now, id, failed_only)),
                Target::Task(id, position) => (id, self.retry_task(now, id, position, failed_only)),
            };
            if affected > 0 {
                self.jobs.at_mut(id).retried = Some(act.clone());
                self.outbox.record(Record::JobRetried { job: id, act: act.clone() });
            }
            touched.add(id, self.jobs.at(id).submitted.owner, affected);
        }
        Ok(self.changed(link, Change::Retried, &touched, None))
    }

    /// Refuses before anything has changed.
    fn check_parts(&self, link: LinkId, parts: &[Part], whose: Whose) -> Result<(), Failure> {
        for target in self.targets(link, parts, whose)? {
            let (Target::Job(id) | Target::Task(id, _)) = target;
            let job = self.jobs.at(id);
            if job.cancelling.is_some() && job.ended_at.is_none() {
                return Err(failure(FailureCode::Conflict, format!("job {id} is still being cancelled")));
            }
        }
        Ok(())
    }

    /// Takes an ended job back into memory, still ended.
    fn recall(&mut self, now: Timestamp, recalled: RestoredJob) {
        let id = recalled.submitted.job;
        let mut job = restore::job(&recalled);
        if !job.is_over() {
            // The store says it has not ended and yet it was not here: leave it alone.
            return;
        }
        job.ended_at = Some(now);
        job.in_doubt = self.is_in_doubt(id);
        self.jobs.add(job);
        self.jobs.count_end();
        self.jobs.ended.push_back((now, id));
        self.timers.set(now + super::history::KEPT, super::timers::Timer::History);
    }

    fn retry_job(&mut self, now: Timestamp, id: JobId, failed_only: bool) -> u64 {
        let job = self.jobs.at(id);
        let states = [TaskState::Failed, TaskState::Cancelled];
        let wanted: Vec<TaskState> = states.into_iter().take(if failed_only { 1 } else { 2 }).collect();
        let totals = job.shown_totals();
        let all = totals.failed + if failed_only { 0 } else { totals.cancelled };
        let rest = job.rest_ended.is_some_and(|state| wanted.contains(&state));
        if all == 0 {
            return 0;
        }
        let was_over = self.reopen(now, id);
        let mut affected = 0;
        if rest {
            affected += self.jobs.at_mut(id).reopen_rest();
            let (state, outcome) = (TaskState::Ready, None);
            self.outbox.record(Record::RestChanged { job: id, state, outcome, at: now });
        }
        for state in wanted {
            affected += self.retry_rows(now, id, state);
        }
        self.go_on(now, id, was_over);
        affected
    }

    /// Queues again what has a row of its own and ended like that: one record, however many they are. Exclusive
    /// tasks go one by one, because each may have to wait for what still runs of it.
    fn retry_rows(&mut self, now: Timestamp, id: JobId, from: TaskState) -> u64 {
        let job = self.jobs.at_mut(id);
        if !job.spec().exclusive {
            let affected = job.do_again(from);
            if affected > 0 {
                let (state, outcome) = (TaskState::Ready, None);
                self.outbox.record(Record::RowsChanged { job: id, from, state, outcome, at: now });
            }
            return affected;
        }
        let set = if from == TaskState::Failed { &job.failed } else { &job.cancelled };
        let positions: Vec<u64> = set.iter().filter(|position| !job.rest.contains(*position)).collect();
        for position in &positions {
            self.redo(now, id, *position);
        }
        positions.len() as u64
    }

    fn retry_task(&mut self, now: Timestamp, id: JobId, position: u64, failed_only: bool) -> u64 {
        let wanted = match self.jobs.at(id).state_of(position) {
            TaskState::Failed => true,
            // Whoever names one task that succeeded wants it done again: its outputs may be lost.
            TaskState::Cancelled | TaskState::Succeeded => !failed_only,
            TaskState::Waiting | TaskState::Ready | TaskState::Running => false,
        };
        if !wanted {
            return 0;
        }
        let was_over = self.reopen(now, id);
        self.redo(now, id, position);
        self.go_on(now, id, was_over);
        1
    }

    /// Takes the end of a job back; says whether it had ended.
    fn reopen(&mut self, now: Timestamp, id: JobId) -> bool {
        let job = self.jobs.at_mut(id);
        if job.ended_at.take().is_none() {
            return false;
        }
        job.cancelling = None;
        job.outcome = None;
        job.class = Some(self.placement.join_class(&Requirement::of(job.spec())));
        self.jobs.count_reopening();
        self.outbox.record(Record::JobReopened { job: id, at: now });
        true
    }

    fn redo(&mut self, now: Timestamp, id: JobId, position: u64) {
        let job = self.jobs.at_mut(id);
        job.lift(position);
        let counts = TaskCounts { attempts: job.last_attempt, failures: 0, lost: 0 };
        let task = job.task_id(position);
        let not_before = self.free_from(now, task);
        self.hold_back(now, id, position, counts, not_before, None);
    }

    /// Lets a job go on; what a reopened one depends on and what is being done again as well has to end first.
    fn go_on(&mut self, now: Timestamp, id: JobId, was_over: bool) {
        let active = |id: &JobId| self.jobs.get(*id).is_some_and(|job| job.ended_at.is_none());
        let after = &self.jobs.at(id).spec().after;
        let open: BTreeSet<JobId> = match was_over {
            true => after.iter().map(|dependency| dependency.job).filter(active).collect(),
            false => return self.follow_up(now, id),
        };
        self.wait_for(now, id, open);
    }
}
