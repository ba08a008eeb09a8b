//! Handing attempts that wait here to peers that have room for them.
//!
//! Invariant: an attempt that was offered is neither run nor offered to anybody
//! else until its receiver has refused it, or the dispatcher has said that it is
//! settled. Once the dispatcher was told that it may be another's, the receiver's
//! refusal alone does not bring it back: the dispatcher may have given it out
//! anew by then. Absent: signatures (the shell's), and the receiver (`taking`).

use super::effects::PeerOrder;
use super::held::{GivenTo, Held, Offered, Phase, Place, Wish};
use super::{WorkerEngine, WorkerNotice};
use crate::model::limits::MAX_PEER_FRAME;
use crate::model::messages::FencedAttempt;
use crate::model::offload::{GivenAway, GrantedAttempt, OfferAnswer, OfferVerdict};
use crate::model::{Fence, InstanceId, Millis, NodeId, Outcome, SealedSpec, Timestamp};

/// How long an answer may take before the attempt is in doubt, and between two questions about one that is.
const ANSWER_WITHIN: Millis = Millis::from_secs(1);

/// Attempts at the head of the queue that are looked at for one that a peer may have.
const LOOKED_AT: usize = 64;

/// Largest spec that goes from worker to worker, in a message with its grant; who lacks a larger one gets none of its
/// tasks from a peer.
const MOST_SPEC_BYTES: usize = MAX_PEER_FRAME as usize / 2;

impl WorkerEngine {
    /// The dispatcher lets an attempt be handed on.
    pub(super) fn granted(&mut self, granted: GrantedAttempt) {
        let held = self.attempts.get_mut(&granted.attempt.fence);
        if let Some(held) = held.filter(|held| held.fenced() == granted.attempt && held.executing().is_none()) {
            held.granted = Some(granted);
        }
    }

    /// Offers what waits here to peers with room. Called when what fits here was started.
    pub(super) fn hand_on(&mut self, now: Timestamp) {
        if self.is_stopping() || self.draining || self.queue.is_empty() || !self.mates.any_free(now) {
            return;
        }
        let waiting: Vec<Place> = self.queue.iter().take(LOOKED_AT).copied().collect();
        for place in waiting {
            if !self.mates.any_free(now) {
                return;
            }
            self.offer(now, place);
        }
    }

    fn offer(&mut self, now: Timestamp, place: Place) {
        let then = self.link.dispatcher_time(now) + ANSWER_WITHIN;
        let Some(held) = self.attempts.get_mut(&place.1) else { panic!("the queue names an attempt that is not held") };
        let job = held.assignment.task.job;
        let (Phase::Queued(spec), Some(granted)) = (&held.phase, &held.granted) else { return };
        if granted.expires_at <= then {
            return;
        }
        let (spec, granted) = (spec.clone(), granted.clone());
        let refused = &held.refused_by;
        let Some((to, instance)) = self.mates.take_slot(now, job, |peer| !refused.contains(&peer)) else { return };
        let offered = Offered { spec, to, instance, due: now + ANSWER_WITHIN, told: false, wish: None };
        self.offers.insert((offered.due, place.1));
        held.phase = Phase::Offered(offered);
        let queued = self.queue.remove(&place);
        assert!(queued, "an attempt is offered that does not wait");
        self.effects.to_peers.push((to, PeerOrder::Offer { granted, instance, spec: None }));
    }

    /// A receiver has answered.
    pub(super) fn answered(&mut self, now: Timestamp, from: NodeId, answer: OfferAnswer) {
        let Some((fence, to)) = self.offered_as(answer.attempt) else { return };
        if to != from {
            return;
        }
        match answer.verdict {
            OfferVerdict::Taken => self.given(fence),
            OfferVerdict::SpecMissing => self.offer_with_spec(now, fence),
            OfferVerdict::Unsuitable => {
                self.mates.unsuitable(from, answer.attempt.id.task.job);
                self.refused(now, fence);
            }
            OfferVerdict::NoRoom | OfferVerdict::Closed | OfferVerdict::NotProved => {
                self.mates.refused(from);
                self.refused(now, fence);
            }
        }
    }

    /// An offer could not be sent at all.
    pub(super) fn unreachable(&mut self, now: Timestamp, peer: NodeId, attempt: FencedAttempt) {
        self.mates.refused(peer);
        if let Some((fence, to)) = self.offered_as(attempt).filter(|(fence, _)| !self.was_asked_again(*fence))
            && to == peer
        {
            self.take_back(now, fence);
        }
    }

    /// An offer that was repeated was sent before, or may have been.
    fn was_asked_again(&self, fence: Fence) -> bool {
        let held = self.attempts.get(&fence).map(|held| &held.phase);
        matches!(held, Some(Phase::Offered(offered)) if offered.told || self.doubted.contains(&fence))
    }

    /// The attempt here that was offered under this other fence, and to whom.
    fn offered_as(&self, attempt: FencedAttempt) -> Option<(Fence, NodeId)> {
        let offered = self.offers.iter().map(|(_, fence)| *fence);
        offered.filter_map(|fence| Some((fence, self.attempts.get(&fence)?))).find_map(|(fence, held)| {
            let same = held.assignment.id() == attempt.id && held.spare() == Some(attempt.fence);
            match &held.phase {
                Phase::Offered(offered) if same => Some((fence, offered.to)),
                _ => None,
            }
        })
    }

    /// The receiver has it.
    fn given(&mut self, fence: Fence) {
        let Some(offered) = self.end_offer(fence) else { return };
        let Some(held) = self.attempts.get_mut(&fence) else { panic!("what was offered is not held") };
        let id = held.assignment.id();
        held.phase = Phase::Given(GivenTo { receiver: offered.to, instance: offered.instance });
        self.effects.notices.push(WorkerNotice::HandedOver { id, to: offered.to });
        self.tell_given(fence);
    }

    /// Tells the dispatcher that an attempt is another's, or may be.
    fn tell_given(&mut self, fence: Fence) {
        if self.link.is_up() {
            let given = self.attempts.get(&fence).and_then(Held::given_away);
            self.outgoing.gave.extend(given);
        }
    }

    /// The receiver lacks the spec.
    fn offer_with_spec(&mut self, now: Timestamp, fence: Fence) {
        let Some(held) = self.attempts.get(&fence) else { return };
        let Phase::Offered(offered) = &held.phase else { return };
        let (to, instance, spec) = (offered.to, offered.instance, offered.spec.clone());
        let Some(granted) = held.granted.clone() else { return };
        if spec.encoded().len() > MOST_SPEC_BYTES {
            self.mates.unsuitable(to, granted.attempt.id.task.job);
            return self.refused(now, fence);
        }
        self.effects.to_peers.push((to, PeerOrder::Offer { granted, instance, spec: Some(spec) }));
    }

    /// The receiver does not have it and never will.
    fn refused(&mut self, now: Timestamp, fence: Fence) {
        let Some(held) = self.attempts.get_mut(&fence) else { panic!("what was offered is not held") };
        let Phase::Offered(offered) = &held.phase else { panic!("what was refused was not offered") };
        // The dispatcher knows that it may be there, and finds out by itself.
        if !offered.told {
            let to = offered.to;
            held.refused_by.push(to);
            self.take_back(now, fence);
        }
    }

    /// An attempt that was offered waits here again, or does what it was told to do meanwhile.
    fn take_back(&mut self, now: Timestamp, fence: Fence) {
        let Some(offered) = self.end_offer(fence) else { return };
        let Some(held) = self.attempts.get_mut(&fence) else { panic!("what was offered is not held") };
        held.phase = Phase::Queued(offered.spec);
        self.queue.extend(held.place());
        match offered.wish {
            None => {}
            Some(Wish::GiveBack) => self.give_back(fence),
            Some(Wish::End(why)) => self.end_unstarted(now, fence, Outcome::Cancelled(why)),
        }
    }

    /// Takes an offer off the list of those that wait for an answer.
    fn end_offer(&mut self, fence: Fence) -> Option<Offered> {
        let held = self.attempts.get(&fence)?;
        let Phase::Offered(offered) = held.phase.clone() else { return None };
        assert!(self.offers.remove(&(offered.due, fence)), "{} is offered and not listed", held.assignment.id());
        self.doubted.remove(&fence);
        Some(offered)
    }

    /// Offers whose answer is late are in doubt: the dispatcher is told, or the receiver asked again.
    pub(super) fn doubt_late_answers(&mut self, now: Timestamp) {
        while let Some((due, fence)) = self.offers.first().copied().filter(|(due, _)| *due <= now) {
            self.offers.remove(&(due, fence));
            let due = now + ANSWER_WITHIN;
            self.offers.insert((due, fence));
            self.doubted.insert(fence);
            let is_up = self.link.is_up();
            let Some(held) = self.attempts.get_mut(&fence) else { panic!("an offer of what is not held") };
            let Phase::Offered(offered) = &mut held.phase else { panic!("an answer is awaited to no offer") };
            offered.due = due;
            let (to, instance) = (offered.to, offered.instance);
            if offered.told {
                continue;
            }
            if is_up {
                offered.told = true;
                self.tell_given(fence);
            } else if let Some(granted) = held.granted.clone()
                && self.mates.instance(to) == Some(instance)
            {
                self.effects.to_peers.push((to, PeerOrder::Offer { granted, instance, spec: None }));
            }
        }
    }

    /// How many attempts were offered to a peer and not answered.
    pub(super) fn offered_to(&self, peer: NodeId) -> u32 {
        let to_it = self.offers.iter().filter(|(_, fence)| {
            let phase = self.attempts.get(fence).map(|held| &held.phase);
            matches!(phase, Some(Phase::Offered(offered)) if offered.to == peer)
        });
        u32::try_from(to_it.count()).unwrap_or(u32::MAX)
    }

    /// Everything that is another's, or may be, for a dispatcher that was not there to be told.
    pub(super) fn tell_all_given(&mut self) {
        let doubted: Vec<Fence> = self.doubted.iter().copied().collect();
        for fence in doubted {
            if let Some(Phase::Offered(offered)) = self.attempts.get_mut(&fence).map(|held| &mut held.phase) {
                offered.told = true;
            }
        }
        let given = self.attempts.values().filter(|held| !held.is_offered() || held.is_told());
        self.outgoing.gave.extend(given.filter_map(Held::given_away));
    }

    /// This worker stops: whatever is under way is the dispatcher's to find out.
    pub(super) fn leave_offers(&mut self) {
        let offered: Vec<Fence> = self.offers.iter().map(|(_, fence)| *fence).collect();
        self.doubted.extend(offered);
        if self.link.is_up() {
            self.outgoing.gave.clear();
            self.tell_all_given();
        }
    }

    /// The dispatcher knows where an attempt is that was handed over: nothing is left to do about it.
    pub(super) fn forget_given(&mut self, attempt: FencedAttempt) {
        let phase = self.attempts.get(&attempt.fence).filter(|held| held.fenced() == attempt).map(|held| &held.phase);
        match phase {
            Some(Phase::Offered(_)) => _ = self.end_offer(attempt.fence),
            Some(Phase::Given(_)) => {}
            _ => return,
        }
        self.let_go(attempt.fence);
        self.recent.remember(attempt.fence);
    }

    /// The spec of `job`, for the shell to hold against a grant.
    #[must_use]
    pub fn known_spec(&self, job: crate::model::JobId) -> Option<&SealedSpec> {
        self.jobs.spec(job)
    }
}

impl Held {
    /// The fence of whoever takes it over.
    pub(super) fn spare(&self) -> Option<Fence> {
        self.granted.as_ref().map(|granted| granted.spare)
    }

    /// Whether it was offered and is not answered.
    pub(super) fn is_offered(&self) -> bool {
        matches!(self.phase, Phase::Offered(_))
    }

    /// Whether the dispatcher was told that it may be another's.
    fn is_told(&self) -> bool {
        matches!(&self.phase, Phase::Offered(offered) if offered.told)
    }

    /// Whose it is, or may be.
    fn given_away(&self) -> Option<GivenAway> {
        let (receiver, instance): (NodeId, InstanceId) = match &self.phase {
            Phase::Offered(offered) => (offered.to, offered.instance),
            Phase::Given(given) => (given.receiver, given.instance),
            _ => return None,
        };
        Some(GivenAway { attempt: self.fenced(), spare: self.spare()?, receiver, instance })
    }
}
