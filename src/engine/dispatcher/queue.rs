//! Which jobs stand in line for workers, and how a task becomes ready.
//!
//! Invariant: a job stands in the line of a class exactly while it may start
//! tasks and has a ready one of that class. Absent: whose turn it is
//! (placement's).

use super::DispatcherEngine;
use super::job::Apart;
use super::placement::{ClassId, Placement, Requirement, Turn, WorkerKey};
use super::timers::Timer;
use crate::model::records::{Record, TaskCounts};
use crate::model::{IntervalSet, JobId, Millis, TaskState, Timestamp};

/// How long a retry looks for another worker than the one it failed on. Long
/// enough for a slot to come free among short tasks, short enough that nobody
/// watches an idle machine beside waiting work.
const PATIENCE: Millis = Millis::from_secs(10);

/// Puts a job into the line of one class, or takes it out.
fn align(placement: &mut Placement, class: ClassId, turn: Turn, in_line: &mut bool, wanted: bool) {
    match (*in_line, wanted) {
        (false, true) => placement.line_up(class, turn),
        (true, false) => placement.step_out(class, turn),
        _ => {}
    }
    *in_line = wanted;
}

impl DispatcherEngine {
    /// Brings a job's places in line up to date after anything about it changed.
    pub(super) fn realign(&mut self, id: JobId) {
        let job = self.jobs.at_mut(id);
        let may_start = job.may_start();
        let turn = job.turn;
        if let Some(class) = job.class {
            align(&mut self.placement, class, turn, &mut job.in_line, may_start && !job.ready.is_empty());
            let uncertain = may_start && !job.uncertain.is_empty();
            align(&mut self.placement, class, turn.for_second(), &mut job.in_second_line, uncertain);
        }
        if job.apart.is_empty() {
            return;
        }
        for apart in job.apart.values_mut() {
            let wanted = may_start && !apart.ready.is_empty();
            align(&mut self.placement, apart.class, turn, &mut apart.in_line, wanted);
        }
        job.apart.retain(|_, apart| {
            let kept = !apart.ready.is_empty();
            if !kept {
                self.placement.leave_class(apart.class);
            }
            kept
        });
    }

    /// Makes a task that is in no state ready again, on another worker than
    /// `avoid` as long as there is one and for a while.
    pub(super) fn requeue(
        &mut self,
        now: Timestamp,
        id: JobId,
        position: u64,
        counts: TaskCounts,
        avoid: Option<WorkerKey>,
    ) {
        let avoid = avoid.filter(|worker| self.set_apart(id, *worker)).map(|worker| (worker, now + PATIENCE));
        if let Some((_, until)) = avoid {
            self.timers.set(until, Timer::Patience(id, position));
        }
        let job = self.jobs.at_mut(id);
        job.make_ready(position, counts, avoid);
        let task = job.task_id(position);
        let (state, not_before, outcome) = (TaskState::Ready, None, None);
        self.outbox.record(Record::TaskChanged { task, state, counts, not_before, outcome, at: now });
        self.realign(id);
    }

    /// Prepares a class of the job's tasks that keep away from `worker`; says
    /// whether there is another worker that could ever take them.
    fn set_apart(&mut self, id: JobId, worker: WorkerKey) -> bool {
        let job = self.jobs.at_mut(id);
        if job.apart.contains_key(&worker) {
            return true;
        }
        if !self.placement.is_seated(worker) {
            return false;
        }
        let class = self.placement.join_class(&Requirement::of(job.spec()).avoiding(worker));
        if !self.placement.has_holder(class) {
            self.placement.leave_class(class);
            return false;
        }
        job.apart.insert(worker, Apart { class, in_line: false, ready: IntervalSet::new() });
        true
    }

    /// A task's wait is over.
    pub(super) fn end_wait(&mut self, now: Timestamp, id: JobId, position: u64) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let avoid = match job.tasks.get(&position).map(|task| &task.stage) {
            Some(super::task::Stage::Waiting { not_before, avoid }) if *not_before <= now => *avoid,
            _ => return,
        };
        if self.waits_on(now, id, position) {
            return;
        }
        let (counts, _) = self.jobs.at_mut(id).lift(position);
        self.requeue(now, id, position, counts, avoid);
        self.touch(id);
    }

    /// A task has looked for another worker long enough: any will do.
    pub(super) fn end_patience(&mut self, now: Timestamp, id: JobId, position: u64) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        match job.tasks.get(&position).map(|task| &task.stage) {
            Some(super::task::Stage::Ready { avoid: Some((_, until)) }) if *until <= now => {}
            _ => return,
        }
        let (counts, _) = job.lift(position);
        job.make_ready(position, counts, None);
        self.realign(id);
    }
}
