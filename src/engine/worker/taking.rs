//! Taking over attempts that peers hand to this worker.
//!
//! Invariant: of everything that is offered under one fence the first answer
//! stands, for as long as anybody could prove the offer: so no hand-over is
//! started twice, and what was refused once may safely run elsewhere. Absent:
//! whether an offer is genuine (the shell has checked that), and the giver's
//! side (`offering`).

use std::collections::{BTreeMap, BTreeSet};

use super::effects::{PeerOrder, ProvedOffer};
use super::held::{Held, Phase};
use super::{WorkerEngine, WorkerNotice};
use crate::engine::traits::{Kind, Traits};
use crate::model::messages::{Assignment, FencedAttempt};
use crate::model::offload::{OfferAnswer, OfferVerdict};
use crate::model::{Fence, NodeId, SealedSpec, Timestamp};

/// Answers remembered at once. Each is needed for the minutes that a grant is good for, so a healthy mesh is far
/// from it; beyond it nothing is taken over.
const MOST_REMEMBERED: usize = 65_536;

/// What was said to offers, until they run out.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    said: BTreeMap<Fence, OfferVerdict>,
    /// In dispatcher time.
    expiry: BTreeSet<(Timestamp, Fence)>,
}

impl Answers {
    fn get(&self, fence: Fence) -> Option<OfferVerdict> {
        self.said.get(&fence).copied()
    }

    fn is_full(&self) -> bool {
        self.said.len() >= MOST_REMEMBERED
    }

    fn remember(&mut self, fence: Fence, verdict: OfferVerdict, until: Timestamp) {
        self.said.insert(fence, verdict);
        self.expiry.insert((until, fence));
    }

    /// Drops what can no longer be offered at `now`.
    fn forget(&mut self, now: Timestamp) {
        while let Some((_, fence)) = self.expiry.first().copied().filter(|(until, _)| *until <= now) {
            self.expiry.pop_first();
            self.said.remove(&fence);
        }
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert_eq!(self.said.len(), self.expiry.len(), "an answer is remembered for ever");
        assert!(self.said.len() <= MOST_REMEMBERED, "{} answers are remembered", self.said.len());
    }
}

impl WorkerEngine {
    /// A peer offers an attempt, and has proved that it may.
    pub(super) fn offered(&mut self, now: Timestamp, from: NodeId, offer: ProvedOffer) {
        let then = self.link.dispatcher_time(now);
        self.answers.forget(then);
        let attempt = offer.taken.attempt;
        let known = self.answers.get(attempt.fence);
        let verdict = known.unwrap_or_else(|| self.consider(&offer));
        if known.is_none() && verdict != OfferVerdict::SpecMissing && then < offer.expires_at {
            if self.answers.is_full() {
                // Without a memory of it, it could be taken later. The giver finds out from the dispatcher.
                return;
            }
            self.answers.remember(attempt.fence, verdict, offer.expires_at);
            if let (OfferVerdict::Taken, Some(spec)) = (verdict, offer.spec.clone()) {
                self.take_over(from, offer, spec);
            }
        }
        self.effects.to_peers.push((from, PeerOrder::Answer(OfferAnswer { attempt, verdict })));
    }

    /// What to say to an offer that is new.
    fn consider(&self, offer: &ProvedOffer) -> OfferVerdict {
        let FencedAttempt { id, fence } = offer.taken.attempt;
        if self.is_stopping() || self.draining || self.is_short() {
            return OfferVerdict::Closed;
        }
        if self.recent.knows(fence) || self.outbox.has(fence) || self.attempts.contains_key(&fence) {
            return OfferVerdict::NoRoom;
        }
        let Some(spec) = &offer.spec else { return OfferVerdict::SpecMissing };
        if !self.suits(spec) || !spec.spec().items.contains(id.task.index) {
            return OfferVerdict::Unsuitable;
        }
        let ready = !self.queue.is_empty() || self.bearers.contains_key(&id);
        if ready || self.is_full() || !self.room.fits(&spec.spec().demand, &[]) {
            return OfferVerdict::NoRoom;
        }
        OfferVerdict::Taken
    }

    /// Whether tasks of this job could be handed to this worker at all.
    fn suits(&self, spec: &SealedSpec) -> bool {
        let (Some(name), spec) = (&self.name, spec.spec()) else { return false };
        let traits = Traits::of(name, &self.profile);
        spec.may_be_handed_over() && traits.could_run(&Kind::of(spec), &spec.demand)
    }

    fn take_over(&mut self, from: NodeId, offer: ProvedOffer, spec: SealedSpec) {
        let FencedAttempt { id, fence } = offer.taken.attempt;
        let assignment = Assignment { task: id.task, attempt: id.attempt, fence, gpus: Vec::new() };
        self.jobs.hold(id.task.job);
        self.jobs.lend(id.task.job, &spec);
        let held = Held { assignment, phase: Phase::Queued(spec), granted: None, refused_by: Vec::new() };
        self.queue.extend(held.place());
        let before = self.attempts.insert(fence, held);
        assert!(before.is_none(), "{id} is taken over twice");
        if self.link.is_up() {
            self.outgoing.took.push(offer.taken.clone());
        }
        self.proofs.insert(fence, offer.taken);
        self.effects.notices.push(WorkerNotice::TookOver { id, from });
    }

    /// The dispatcher has heard that these may be here.
    pub(super) fn account(&mut self, attempts: Vec<FencedAttempt>) {
        for attempt in attempts {
            if let Some(taken) = self.proofs.get(&attempt.fence) {
                self.outgoing.took.push(taken.clone());
            } else if !self.outbox.has(attempt.fence) && !self.attempts.contains_key(&attempt.fence) {
                // Whoever offers it from now on is too late.
                self.recent.remember(attempt.fence);
                self.outgoing.never.push(attempt);
            }
        }
    }
}
