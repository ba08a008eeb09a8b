//! Watches for slots that stay idle beside waiting work.
//!
//! Invariant: while two workers are linked, run and are not cut off, no slot of
//! the one stays free for two seconds while the other holds attempts that wait
//! and could run there. For plans of equal workers and tasks in which no worker
//! fails: others may have reasons of their own.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Event};
use crate::model::{Millis, Timestamp};

/// How often it is looked.
const EVERY: Millis = Millis(100);

/// For how long a slot may stay free.
const PATIENCE: Millis = Millis::from_secs(2);

/// Since when which worker has been idle beside waiting work.
#[derive(Debug, Default)]
pub(super) struct Idleness(BTreeMap<usize, Timestamp>);

impl Cluster {
    /// Looks at all workers.
    pub(super) fn look_around(&mut self) {
        let now = self.agenda.now();
        for number in 0..self.workers.len() {
            if !self.is_idle_beside_work(number) {
                self.idleness.0.remove(&number);
                continue;
            }
            let since = *self.idleness.0.entry(number).or_insert(now);
            assert!(now.since(since) <= PATIENCE, "worker {number} has been idle since {since:?} beside waiting work");
        }
        self.agenda.after(EVERY, Event::LookAround);
    }

    fn is_idle_beside_work(&self, number: usize) -> bool {
        let standing = |number: usize| self.workers[number].engine.as_ref().map(|engine| engine.vacancy());
        let Some((1.., _, true)) = standing(number) else { return false };
        let waits = |other: &usize| standing(*other).is_some_and(|(_, ready, _)| ready > 0);
        let mut others = (0..self.workers.len()).filter(|other| self.are_linked(number, *other));
        others.any(|other| waits(&other))
    }
}
