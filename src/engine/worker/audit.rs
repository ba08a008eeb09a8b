//! Every invariant of the worker's engine, checked from scratch.
//!
//! Costs a walk over everything held: for tests and simulations.

use std::collections::{BTreeMap, BTreeSet};

use super::held::Phase;
use super::room::Room;
use super::{Stop, WorkerEngine};
use crate::model::JobId;
use crate::model::limits::MAX_BATCH;

impl WorkerEngine {
    /// Panics with what is broken.
    pub(super) fn audit(&self) {
        self.link.check();
        self.recent.check();
        self.mates.check();
        self.answers.check();
        self.audit_offers();
        self.room.check();
        self.audit_attempts();
        self.audit_indices();
        self.audit_results();
        assert!(self.link.is_up() || self.outgoing.is_empty(), "something is to be said and nobody there to hear it");
        assert!(self.synced <= self.batches, "the disk has what was never written");
    }

    fn audit_attempts(&self) {
        let mut jobs: BTreeMap<JobId, (u32, usize)> = BTreeMap::new();
        for (fence, held) in &self.attempts {
            let id = held.assignment.id();
            assert_eq!(*fence, held.assignment.fence, "{id} is kept under another fence");
            assert!(!self.recent.knows(*fence), "{id} is held though this worker is done with it");
            let (count, waiting) = jobs.entry(id.task.job).or_default();
            *count += 1;
            *waiting += usize::from(matches!(held.phase, Phase::AwaitsSpec));
            if held.executing().is_some() {
                assert_eq!(self.bearers.get(&id), Some(fence), "{id} runs under a number that is another's");
            }
            let stopping = held.executing().map(|executing| executing.ending.is_some());
            let is_away = matches!(held.phase, Phase::Offered(_) | Phase::Given(_));
            match self.stop {
                Stop::No => {}
                _ if is_away => {}
                Stop::Finishing(_) => assert!(stopping.is_some(), "{id} waits on a worker that stops"),
                _ => assert_eq!(stopping, Some(true), "{id} is left alone by a worker that stops"),
            }
        }
        self.jobs.check(&jobs);
        assert!(
            matches!(self.stop, Stop::No | Stop::Finishing(_) | Stop::Ending) || self.is_through(),
            "it stopped too early"
        );
    }

    fn audit_offers(&self) {
        let offered = self.attempts.iter().filter_map(|(fence, held)| match &held.phase {
            Phase::Offered(offered) => Some((offered.due, *fence)),
            _ => None,
        });
        assert_eq!(self.offers, offered.collect(), "the offers listed are not those made");
        for fence in &self.doubted {
            let offered = self.attempts.get(fence).is_some_and(|held| held.is_offered());
            assert!(offered, "an answer is awaited to what was not offered");
        }
        for (fence, held) in &self.attempts {
            let away = matches!(held.phase, Phase::Offered(_) | Phase::Given(_));
            assert!(!away || held.spare().is_some(), "{} is handed over without a grant", held.assignment.id());
            assert!(!away || !self.proofs.contains_key(fence), "{} is handed on a second time", held.assignment.id());
        }
        for (fence, taken) in &self.proofs {
            assert_eq!(*fence, taken.attempt.fence, "a proof is kept for another attempt");
            let here = self.attempts.contains_key(fence) || self.outbox.has(*fence);
            assert!(here, "{} was taken over and is nowhere", taken.attempt.id);
        }
    }

    fn audit_indices(&self) {
        assert!(!self.is_short() || self.queue.is_empty(), "work waits on a worker that can start nothing");
        let queue: BTreeSet<_> = self.attempts.values().filter_map(|held| held.place()).collect();
        assert_eq!(self.queue, queue, "the queue is not what is queued");
        let running = || self.attempts.iter().filter_map(|(fence, held)| Some((fence, held.executing()?)));
        let deadlines: BTreeSet<_> = running().filter_map(|(fence, it)| Some((it.limit?.0, *fence))).collect();
        assert_eq!(self.deadlines, deadlines, "the deadlines are not those of what runs");
        let leased = running().filter(|(_, it)| it.ending.is_none() && it.spec.spec().exclusive);
        assert_eq!(self.leased, leased.map(|(fence, _)| *fence).collect(), "the leases are not those of what runs");
        assert!(self.leased.is_empty() || self.link.lease_end().is_some(), "a lease that was never given");
        let mut room: Room = self.room.emptied();
        for held in self.attempts.values() {
            if let Some(executing) = held.executing() {
                room.take(&executing.spec.spec().demand, &held.assignment.gpus);
            }
        }
        assert_eq!(self.room, room, "the room taken is not what the running attempts take");
    }

    fn audit_results(&self) {
        for ended in self.outbox.results() {
            let known = self.attempts.contains_key(&ended.fence) || self.recent.knows(ended.fence);
            assert!(!known, "{} has a result and is held or done with", ended.id);
            let sane = ended.report.started_at.is_none_or(|started| started <= ended.report.ended_at);
            assert!(sane, "{} ended before it started", ended.id);
        }
        let running = self.attempts.values().filter(|held| held.executing().is_some()).map(|held| held.fenced());
        let bearers: BTreeMap<_, _> =
            running.chain(self.outbox.on_disk()).map(|attempt| (attempt.id, attempt.fence)).collect();
        assert_eq!(self.bearers, bearers, "a number is with an attempt that is neither running nor kept");
        assert!(
            self.abandoned.is_empty() || self.stop != Stop::No,
            "attempts are abandoned by a worker that does not stop"
        );
        let named = self.attempts.len() + self.outbox.len() + self.abandoned.len();
        assert!(named <= MAX_BATCH, "more is held than one holding can name");
    }
}
