//! When a simulation is over, and what must be true then.
//!
//! Invariant: after the faults everything finishes. Nothing acknowledged is
//! missing, and every end that anybody was shown still stands.

use super::cluster::Cluster;
use super::ledger::Tallies;
use super::worker::WorkerNode;
use crate::engine::dispatcher::DispatcherEngine;
use crate::model::records::Record;
use crate::model::{Millis, Timestamp};

/// What a simulation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed that repeats it.
    pub seed: u64,
    /// Fingerprint of everything that happened.
    pub trace: u64,
    /// Things that happened.
    pub steps: u64,
    /// Simulated time.
    pub took: Millis,
    /// Jobs that were accepted.
    pub jobs: u64,
    /// Their tasks.
    pub tasks: u64,
    /// What happened how often.
    pub tallies: Tallies,
}

/// How many steps pass between two looks at whether all is done.
const LOOK_EVERY: u64 = 64;

impl Cluster {
    /// Runs until everything is done.
    ///
    /// # Panics
    /// When a rule is broken, or when something is still not done long after the last fault.
    pub(super) fn run(mut self, seed: u64) -> Report {
        loop {
            self.step();
            if self.steps().is_multiple_of(LOOK_EVERY) {
                if self.is_done() {
                    break;
                }
                let limit = Millis(self.plan.span.0 + self.plan.patience.0);
                assert!(self.elapsed() < limit, "{}", self.unfinished());
            }
        }
        self.judge();
        let totals = self.dispatcher.synced.jobs.values().map(|job| job.submitted.spec.spec().items.count());
        Report {
            seed,
            trace: self.trace.hash(),
            steps: self.steps(),
            took: self.elapsed(),
            jobs: self.ledger.acknowledged.len() as u64,
            tasks: totals.sum(),
            tallies: Tallies { seconds: self.ledger.silence.seconds, ..self.ledger.tallies },
        }
    }

    fn is_done(&self) -> bool {
        self.elapsed() > self.plan.span
            && self.errands.iter().all(|errand| errand.is_done())
            && self.chores_are_done()
            && self.ledger.alive() == 0
            && self.workers.iter().all(|worker| worker.is_idle() || self.is_left_out(worker))
            && self.dispatcher.engine.is_some()
            && self.dispatcher.written.jobs.values().all(|job| job.ended.is_some())
    }

    /// Whether a worker may never get in again: where not all have a place or a name.
    fn is_left_out(&self, worker: &WorkerNode) -> bool {
        let scarce = self.plan.twins || (self.plan.max_workers as usize) < self.plan.workers;
        scarce && worker.link.is_none()
    }

    /// The last audit.
    fn judge(&mut self) {
        let engine = self.dispatcher.engine.as_ref();
        assert!(engine.is_some(), "there is no dispatcher in the end");
        engine.into_iter().for_each(DispatcherEngine::check_invariants);
        self.workers.iter().filter_map(|worker| worker.engine.as_ref()).for_each(|engine| engine.check_invariants());
        let store = &self.dispatcher.written;
        for (key, job) in &self.ledger.acknowledged {
            let forgettable = self.ledger.forgettable.contains(job);
            let Some(row) = store.jobs.get(job) else {
                assert!(forgettable, "job {job} was acknowledged and is gone");
                continue;
            };
            assert_eq!(&row.submitted.idempotency_key, key, "job {job} is another one");
            let shown = self.ledger.shown.get(job).copied();
            let stands = self.ledger.may_retry(*job) || shown == row.ended;
            assert!(stands, "job {job} was shown as {shown:?} and is {:?}", row.ended);
        }
        self.start_once_more();
    }

    /// A dispatcher that starts with what is left finds nothing to do.
    fn start_once_more(&mut self) {
        let state = self.dispatcher.written.clone().open();
        assert!(state.jobs.is_empty(), "jobs are left that have not ended");
        let mut engine = DispatcherEngine::restore(self.dispatcher_config(), Timestamp::from_millis(1), state);
        engine.check_invariants();
        let effects = engine.take_effects();
        let assigns = effects.records.iter().any(|record| matches!(record, Record::AttemptAssigned { .. }));
        assert!(!assigns, "a dispatcher without jobs hands out tasks");
    }

    /// What is still not done, for the one who has to find out why.
    fn unfinished(&self) -> String {
        let mut text = format!("not finished after {}:", self.elapsed());
        for (number, errand) in self.errands.iter().enumerate().filter(|(_, errand)| !errand.is_done()) {
            text +=
                &format!("\n wish {number}, job {:?}: next is {:?}, {:?}", errand.job, errand.next, errand.wish.spec);
        }
        for (job, row) in self.dispatcher.written.jobs.iter().filter(|(_, row)| row.ended.is_none()) {
            text += &format!("\n job {job}: {:?}, cancelling {:?}", row.totals(), row.cancelling);
            for (index, task) in row.tasks.iter().filter(|(_, task)| !task.state.is_terminal()).take(5) {
                text += &format!("\n  task {index}: {task:?}");
            }
        }
        for (number, worker) in self.workers.iter().enumerate().filter(|(_, worker)| !worker.is_idle()) {
            text += &format!("\n worker {number}: up {}, link {:?}", worker.engine.is_some(), worker.link);
            text += &format!(", processes {:?}", worker.processes.keys());
        }
        text
    }
}
