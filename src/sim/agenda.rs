//! Virtual time: what happens next, and when.
//!
//! Invariant: time never goes back, and of two things due at the same instant
//! the one that was scheduled first happens first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::{Millis, Timestamp};

/// Things to come, in order.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    now: Timestamp,
    scheduled: u64,
    queue: BinaryHeap<Entry<E>>,
}

#[derive(Debug)]
struct Entry<E> {
    at: Reverse<(Timestamp, u64)>,
    event: E,
}

impl<E> Agenda<E> {
    /// Nothing to come, at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, scheduled: 0, queue: BinaryHeap::new() }
    }

    /// The instant of the event that was taken last.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// `event` happens at `at`, or now when that is past.
    pub(super) fn at(&mut self, at: Timestamp, event: E) {
        self.scheduled += 1;
        self.queue.push(Entry { at: Reverse((at.max(self.now), self.scheduled)), event });
    }

    /// `event` happens `span` from now.
    pub(super) fn after(&mut self, span: Millis, event: E) {
        self.at(self.now + span, event);
    }

    /// The next event; time goes on to its instant.
    pub(super) fn next(&mut self) -> Option<E> {
        let Entry { at: Reverse((at, _)), event } = self.queue.pop()?;
        assert!(at >= self.now, "simulated time goes back");
        self.now = at;
        Some(event)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
