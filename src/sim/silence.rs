//! When a task may be started a second time, as only the simulation can know it.
//!
//! Invariant: it is so only while the worker of its one live attempt has really been silent for as long as the
//! dispatcher waits, counted from when that worker was last heard by a dispatcher that was awake; and not after a
//! restart before the worker has been heard again. No task has a third.

use std::collections::BTreeMap;

use crate::model::limits::SUSPECT_AFTER;
use crate::model::records::{Record, RestoredState};
use crate::model::{AttemptId, Millis, NodeId, TaskId, Timestamp};

/// Room for clocks that run at different rates.
const SLACK: Millis = Millis(20);

/// What was heard, and what is live by the dispatcher's own decisions, written or not.
#[derive(Debug, Default)]
pub(super) struct Silence {
    heard: BTreeMap<NodeId, Timestamp>,
    /// When the dispatcher last stood still.
    awake_since: Timestamp,
    live: BTreeMap<TaskId, Vec<(AttemptId, NodeId)>>,
    /// Second attempts so far.
    pub(super) seconds: u64,
}

impl Silence {
    /// A dispatcher starts with this.
    pub(super) fn starts(&mut self, state: &RestoredState) {
        self.heard.clear();
        self.live.clear();
        for task in state.jobs.iter().flat_map(|job| &job.tasks) {
            let live = task.live.iter().map(|attempt| (attempt.id, attempt.worker));
            self.live.insert(task.task, live.collect());
        }
    }

    /// A dispatcher that stood still goes on at this instant.
    pub(super) fn goes_on(&mut self, at: Timestamp) {
        self.awake_since = self.awake_since.max(at);
    }

    /// A worker is heard.
    pub(super) fn heard(&mut self, now: Timestamp, worker: NodeId) {
        self.heard.insert(worker, now);
    }

    /// The dispatcher has decided this.
    pub(super) fn decided(&mut self, now: Timestamp, record: &Record) {
        match record {
            Record::AttemptAssigned { id, worker, .. } => {
                let live = self.live.entry(id.task).or_default();
                assert!(live.len() < 2, "{id} is a third live attempt: {live:?}");
                for (first, holder) in live.iter() {
                    assert!(holder != worker, "{id} is a second attempt on the worker of {first}");
                    let Some(heard) = self.heard.get(holder) else {
                        panic!("{id} is a second attempt, though nobody has heard of the worker of {first} yet")
                    };
                    let silent = now.since((*heard).max(self.awake_since));
                    let long = Millis(silent.0 + SLACK.0) >= SUSPECT_AFTER;
                    assert!(long, "{id} is a second attempt, though the worker of {first} is silent for {silent}");
                    self.seconds += 1;
                }
                live.push((*id, *worker));
            }
            Record::AttemptHandedOver { id, receiver, .. } => {
                for (other, holder) in self.live.entry(id.task).or_default() {
                    if other == id {
                        *holder = receiver.0;
                    }
                }
            }
            Record::AttemptEnded { id, .. } | Record::AttemptReturned { id } => {
                if let Some(live) = self.live.get_mut(&id.task) {
                    live.retain(|(other, _)| other != id);
                    if live.is_empty() {
                        self.live.remove(&id.task);
                    }
                }
            }
            _ => {}
        }
    }
}
