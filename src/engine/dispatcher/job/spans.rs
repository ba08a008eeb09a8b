//! What becomes of many tasks of a job at once: all without a row, all that are done again, all of a state.
//!
//! Invariant: each costs what the gaps among its positions cost, and leaves no object behind, however many tasks it
//! is about. Absent: the records that say the same to the store (`retry`, `endings`).

use super::Job;
use crate::model::{IntervalSet, TaskState};

impl Job {
    /// Ends all tasks that have no row of their own; says how many.
    pub(in crate::engine::dispatcher) fn end_rest(&mut self, state: TaskState) -> u64 {
        assert!(self.rest_ended.is_none(), "the rest ended twice");
        let rest = std::mem::take(&mut self.rest);
        for (first, last) in rest.ranges() {
            self.ready.remove_range(first, last);
            self.ended_set(state).0.insert_range(first, last);
        }
        let ended = rest.len();
        self.totals.ready -= ended;
        *self.ended_set(state).1 += ended;
        self.rest = rest;
        self.rest_ended = (ended > 0).then_some(state);
        ended
    }

    /// Ends ready tasks without an object that have rows of their own, as the store has them.
    pub(in crate::engine::dispatcher) fn end_restored(&mut self, first: u64, last: u64, state: TaskState) {
        let count = last - first + 1;
        self.ready.remove_range(first, last);
        self.rest.remove_range(first, last);
        self.totals.ready -= count;
        let (set, total) = self.ended_set(state);
        set.insert_range(first, last);
        *total += count;
    }

    /// Makes all tasks of a terminal state that have rows of their own ready again, without an object for any;
    /// says how many that are.
    pub(in crate::engine::dispatcher) fn do_again(&mut self, state: TaskState) -> u64 {
        let rest = if self.rest_ended == Some(state) { self.rest.clone() } else { IntervalSet::new() };
        let (set, count) = self.ended_set(state);
        let mut again = std::mem::replace(set, rest);
        for (first, last) in set.ranges() {
            again.remove_range(first, last);
        }
        let number = again.len();
        *count -= number;
        self.totals.ready += number;
        self.mark_again(&again);
        number
    }

    /// These have a row, are ready, and have no object.
    fn mark_again(&mut self, again: &IntervalSet) {
        for (first, last) in again.ranges() {
            self.ready.insert_range(first, last);
            self.again.insert_range(first, last);
        }
        // Greater than any of them has had, also of those that wait here since an earlier time.
        self.again_after = self.last_attempt;
    }

    /// Ready tasks without an object that have rows of their own, as the store has them.
    pub(in crate::engine::dispatcher) fn restore_again(&mut self, first: u64, last: u64) {
        self.rest.remove_range(first, last);
        self.mark_again(&IntervalSet::from_range(first, last));
    }

    /// Ends all tasks that are done again and were not tried yet; says how many.
    pub(in crate::engine::dispatcher) fn end_again(&mut self, state: TaskState) -> u64 {
        let again = std::mem::take(&mut self.again);
        for (first, last) in again.ranges() {
            self.ready.remove_range(first, last);
            self.ended_set(state).0.insert_range(first, last);
        }
        let ended = again.len();
        self.totals.ready -= ended;
        *self.ended_set(state).1 += ended;
        ended
    }

    /// Makes the ended rest ready again; says how many tasks that are.
    pub(in crate::engine::dispatcher) fn reopen_rest(&mut self) -> u64 {
        let Some(state) = self.rest_ended.take() else { return 0 };
        let rest = std::mem::take(&mut self.rest);
        for (first, last) in rest.ranges() {
            self.ended_set(state).0.remove_range(first, last);
            self.ready.insert_range(first, last);
        }
        let reopened = rest.len();
        *self.ended_set(state).1 -= reopened;
        self.totals.ready += reopened;
        self.rest = rest;
        reopened
    }
}
