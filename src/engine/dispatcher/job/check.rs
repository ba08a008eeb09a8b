//! The audit of one job: what its sets and counts have to have in common.
//!
//! Invariant: reads everything, changes nothing. Absent: what jobs have in common with each other (`jobs`, `audit`).

use super::Job;
use crate::engine::dispatcher::task::{Hold, Stage};
use crate::model::views::TaskTotals;

impl Job {
    /// Panics with what is broken about its sets and counts.
    pub(in crate::engine::dispatcher) fn check(&self) {
        let mut apart = 0;
        let mut by_object = TaskTotals::default();
        let (mut doubled, mut ahead) = (0, 0);
        for (worker, apart_here) in &self.apart {
            assert!(
                !apart_here.ready.is_empty(),
                "tasks of job {} keep away from {worker:?}, but none does",
                self.id()
            );
            apart += apart_here.ready.len();
        }
        for (position, task) in &self.tasks {
            assert!(!self.rest.contains(*position), "a task with an object has no row");
            assert!(!self.again.contains(*position), "a task with an object is done again without one");
            let in_ready = self.ready.contains(*position);
            match &task.stage {
                Stage::Waiting { .. } => by_object.waiting += 1,
                Stage::Running(live) => {
                    by_object.running += 1;
                    doubled += u64::from(live.is_doubled());
                    ahead += live.iter().filter(|attempt| attempt.hold == Hold::Backlog).count() as u64;
                    let numbered = live.iter().all(|attempt| attempt.no.0 <= task.counts.attempts);
                    assert!(numbered, "a live attempt has a number that was not given out");
                    let settled = live.is_doubled() || live.iter().any(|attempt| attempt.ending.is_some());
                    let uncertain = self.uncertain.contains(*position);
                    assert!(!(settled && uncertain), "a task is to be started a third time, or after its cancel");
                }
                Stage::Ready { avoid } => {
                    let kept = avoid.and_then(|(worker, _)| self.apart.get(&worker));
                    let is_apart = kept.is_some_and(|apart| apart.ready.contains(*position));
                    assert!(in_ready != is_apart, "a ready task is in no ready set or in two");
                    by_object.ready += 1;
                }
            }
            assert!(task.counts.attempts <= self.last_attempt, "an attempt number above the job's greatest");
            let ended = [&self.succeeded, &self.failed, &self.cancelled].iter().any(|set| set.contains(*position));
            assert!(!ended, "a task with an object has ended");
        }
        assert_eq!(self.totals.waiting, by_object.waiting, "waiting tasks are miscounted");
        assert_eq!(self.totals.running, by_object.running, "running tasks are miscounted");
        assert_eq!(self.doubled, doubled, "tasks with two attempts are miscounted");
        assert_eq!(self.waiting_ahead, ahead, "attempts that wait on workers are miscounted");
        let running = self.uncertain.iter().all(|position| self.live(position).is_some());
        assert!(running, "a task that does not run is to be started a second time");
        let may_double = (self.uncertain.is_empty() && doubled == 0) || self.may_double();
        assert!(may_double, "a task has two attempts that may have one");
        assert_eq!(self.totals.ready, self.ready.len() + apart, "ready tasks are miscounted");
        assert_eq!(self.totals.succeeded, self.succeeded.len(), "succeeded tasks are miscounted");
        assert_eq!(self.totals.failed, self.failed.len(), "failed tasks are miscounted");
        assert_eq!(self.totals.cancelled, self.cancelled.len(), "cancelled tasks are miscounted");
        let plain_ready = self.totals.ready - by_object.ready;
        let all = self.totals.ready + self.totals.waiting + self.totals.running + self.totals.ended();
        assert_eq!(all, self.totals.total, "some task is in no state or in two");
        let rest_ready = if self.rest_ended.is_none() { self.rest.len() } else { 0 };
        for (first, last) in self.again.ranges() {
            assert!((first..=last).all(|position| self.ready.contains(position)), "a task is done again and not ready");
            assert!(!(first..=last).any(|position| self.rest.contains(position)), "a task is done again without a row");
        }
        assert!(self.again_after <= self.last_attempt, "tasks that are done again had an attempt nobody made");
        let rest_ready = rest_ready + self.again.len();
        assert_eq!(plain_ready, rest_ready, "ready tasks without an object are neither of the rest nor done again");
        assert_eq!(self.ended_at.is_some(), self.is_over(), "a job's end and its tasks' ends differ");
    }
}
