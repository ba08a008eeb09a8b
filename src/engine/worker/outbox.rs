//! Ended attempts that the dispatcher has not acknowledged.
//!
//! Invariant: a result leaves only when the dispatcher has said that it is
//! recorded. Those of attempts that the executor had are on disk as well, so
//! that they outlive this worker; an attempt that never got that far is known
//! to have done nothing and needs no such care.

use std::collections::BTreeMap;

use crate::model::Fence;
use crate::model::messages::{EndedAttempt, FencedAttempt, HeldAttempt};
use crate::model::records::OutboxRecord;

/// Results by fence.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    results: BTreeMap<Fence, Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    ended: EndedAttempt,
    on_disk: bool,
}

impl Outbox {
    /// What an earlier start has left, all of it on disk.
    pub(super) fn restore(results: Vec<EndedAttempt>) -> Self {
        let keep = |ended: EndedAttempt| (ended.fence, Kept { ended, on_disk: true });
        Self { results: results.into_iter().map(keep).collect() }
    }

    /// Keeps the result of an attempt the executor had; returns what to write down.
    #[must_use]
    pub(super) fn keep(&mut self, ended: EndedAttempt) -> OutboxRecord {
        let before = self.results.insert(ended.fence, Kept { ended: ended.clone(), on_disk: true });
        assert!(before.is_none(), "{} ended twice", ended.id);
        OutboxRecord::Kept(ended)
    }

    /// Keeps, in memory only, how an attempt ended that the executor never had.
    pub(super) fn keep_unstarted(&mut self, ended: EndedAttempt) {
        let id = ended.id;
        let before = self.results.insert(ended.fence, Kept { ended, on_disk: false });
        assert!(before.is_none(), "{id} ended twice");
    }

    /// The dispatcher has this result. Returns what to write down, if it was on disk, and whether it was here at all.
    #[must_use]
    pub(super) fn settle(&mut self, attempt: FencedAttempt) -> (Option<OutboxRecord>, bool) {
        let Some(kept) = self.results.get(&attempt.fence).filter(|kept| kept.ended.id == attempt.id) else {
            return (None, false);
        };
        let record = kept.on_disk.then_some(OutboxRecord::Settled(attempt));
        self.results.remove(&attempt.fence);
        (record, true)
    }

    /// Whether the result with `fence` is here.
    pub(super) fn has(&self, fence: Fence) -> bool {
        self.results.contains_key(&fence)
    }

    /// How many results are here.
    pub(super) fn len(&self) -> usize {
        self.results.len()
    }

    /// All results, oldest assignment first.
    pub(super) fn results(&self) -> impl Iterator<Item = &EndedAttempt> {
        self.results.values().map(|kept| &kept.ended)
    }

    /// The attempts that have a result on disk.
    pub(super) fn on_disk(&self) -> impl Iterator<Item = FencedAttempt> + '_ {
        let named = |kept: &Kept| FencedAttempt { id: kept.ended.id, fence: kept.ended.fence };
        self.results.values().filter(|kept| kept.on_disk).map(named)
    }

    /// All of them as they are told after a reconnect; their GPUs are free again.
    pub(super) fn as_told(&self) -> impl Iterator<Item = HeldAttempt> + '_ {
        let told = |ended: &EndedAttempt| HeldAttempt {
            id: ended.id,
            fence: ended.fence,
            started_at: ended.report.started_at,
            gpus: Vec::new(),
            ended: true,
        };
        self.results().map(told)
    }
}
