//! The door for attempts between workers: what is handed on is signed here, and
//! what is brought is believed here or not.
//!
//! Invariant: the engine hears of no offer whose proof does not hold for this
//! worker, this start of it, the peer at the other end of the link and this
//! moment. Absent: what is offered to whom, and what is taken (the engine's);
//! links (`mesh`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::shell::Shell;
use crate::engine::worker::{PeerFact, PeerOrder, ProvedOffer};
use crate::model::messages::FencedAttempt;
use crate::model::offload::{GrantedAttempt, HandOverProof, Offer, OfferAnswer, OfferVerdict, SignedBytes, TakenOver};
use crate::model::peers::{PeerMessage, PeerStatus};
use crate::model::{InstanceId, NodeId, SealedSpec, Timestamp};
use crate::trust::grants::{GrantError, HandOver, Known, TaskGrant};
use crate::trust::signed::SignedError;
use crate::trust::{Identity, Signed};

/// What this worker signs with, and what start of it others have to name.
pub(super) struct Porter {
    pub(super) identity: Arc<Identity>,
    pub(super) instance: InstanceId,
    /// Peers of which the engine has heard and whose link was not gone when last looked.
    linked: BTreeSet<NodeId>,
}

impl Porter {
    pub(super) fn new(identity: Arc<Identity>, instance: InstanceId) -> Self {
        Self { identity, instance, linked: BTreeSet::new() }
    }

    /// An offer of a granted attempt, signed for one start of one peer.
    fn offer(
        &self,
        granted: &GrantedAttempt,
        receiver: NodeId,
        instance: InstanceId,
        spec: Option<SealedSpec>,
    ) -> Result<Offer, SignedError> {
        let grant = Signed::<TaskGrant>::from_bytes(&granted.grant.0)?;
        let statement = HandOver { grant: grant.hash(), receiver, instance, fence: granted.spare };
        let statement = Signed::sign(&self.identity, &statement)?;
        let proof = HandOverProof { grant: granted.grant.clone(), statement: SignedBytes(statement.to_bytes()) };
        Ok(Offer { attempt: FencedAttempt { id: granted.attempt.id, fence: granted.spare }, proof, spec })
    }

    /// What an offer of `from` comes to, if it may be believed. `own` is the spec that this worker has of the job.
    fn check(
        &self,
        known: &Known<'_>,
        from: NodeId,
        offer: Offer,
        own: Option<&SealedSpec>,
    ) -> Result<ProvedOffer, GrantError> {
        let Offer { attempt, proof, spec } = offer;
        let grant = Signed::from_bytes(&proof.grant.0).map_err(GrantError::Grant)?;
        let statement = Signed::from_bytes(&proof.statement.0).map_err(GrantError::HandOver)?;
        let granted = known.handed_over(&grant, &statement, from, (self.identity.id(), self.instance))?;
        if granted.grant.attempt != attempt.id || granted.fence != attempt.fence {
            return Err(GrantError::WrongFence);
        }
        if let Some(spec) = &spec {
            granted.check_spec(spec.encoded())?;
        }
        // Another job may have had its number, of which this is the spec.
        let own = own.filter(|own| granted.check_spec(own.encoded()).is_ok());
        let (spec, expires_at) = (spec.or_else(|| own.cloned()), granted.grant.expires_at);
        Ok(ProvedOffer { taken: TakenOver { attempt, proof }, spec, expires_at })
    }
}

impl Shell {
    /// A peer said something.
    pub(super) fn heard_peer(&mut self, now: Timestamp, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::Status(status) => self.peer_stands(now, from, status),
            PeerMessage::Offer(offer) => self.offered(now, from, *offer),
            PeerMessage::Answer(answer) => self.engine.handle_peer(now, from, PeerFact::Answered(answer)),
        }
    }

    fn peer_stands(&mut self, now: Timestamp, from: NodeId, status: PeerStatus) {
        let PeerStatus { instance, free_slots, ready, accepting } = status;
        // What waits there takes a free slot first.
        let free_slots = free_slots.saturating_sub(ready);
        self.porter.linked.insert(from);
        self.engine.handle_peer(now, from, PeerFact::Stands { instance, free_slots, accepting });
    }

    fn offered(&mut self, now: Timestamp, from: NodeId, offer: Offer) {
        let attempt = offer.attempt;
        let own = self.engine.known_spec(attempt.id.task.job);
        let proved = match self.wires.mesh.roster() {
            None => Err("this worker knows no roster that is good".to_owned()),
            Some(roster) => {
                let known =
                    Known { dispatcher: self.dispatcher, roster: &roster, now: self.wires.mesh.dispatcher_time() };
                self.porter.check(&known, from, offer, own).map_err(|error| error.to_string())
            }
        };
        match proved {
            Ok(proved) => {
                self.stock.handed_over(attempt.id, from, &proved.taken.proof);
                self.engine.handle_peer(now, from, PeerFact::Offered(proved));
            }
            Err(why) => {
                let peer = self.peer_name(from);
                tracing::warn!("[P2P] Refused task {} from {peer}: failed to {why}", attempt.id.task);
                let answer = OfferAnswer { attempt, verdict: OfferVerdict::NotProved };
                self.wires.mesh.send(from, PeerMessage::Answer(answer));
            }
        }
    }

    /// Something changed about the direct links: peers whose link is gone take nothing over.
    pub(super) fn look_at_links(&mut self, now: Timestamp) {
        let present: BTreeSet<NodeId> = self.wires.mesh.peers().into_iter().map(|peer| peer.node).collect();
        let gone: Vec<NodeId> = self.porter.linked.difference(&present).copied().collect();
        for peer in gone {
            self.porter.linked.remove(&peer);
            self.engine.handle_peer(now, peer, PeerFact::Gone);
        }
    }

    /// Says to peers what the engine wants said; whatever cannot be sent comes back to it.
    pub(super) fn say_to_peers(&mut self, now: Timestamp, orders: Vec<(NodeId, PeerOrder)>) {
        for (peer, order) in orders {
            match order {
                PeerOrder::Answer(answer) => drop(self.wires.mesh.send(peer, PeerMessage::Answer(answer))),
                PeerOrder::Offer { granted, instance, spec } => self.offer_to(now, peer, &granted, instance, spec),
            }
        }
    }

    fn offer_to(
        &mut self,
        now: Timestamp,
        peer: NodeId,
        granted: &GrantedAttempt,
        instance: InstanceId,
        spec: Option<SealedSpec>,
    ) {
        let sent = match self.porter.offer(granted, peer, instance, spec) {
            Ok(offer) => self.wires.mesh.send(peer, PeerMessage::Offer(Box::new(offer))),
            Err(error) => {
                tracing::warn!("[P2P] Task {} is not handed on: failed to {error}", granted.attempt.id.task);
                false
            }
        };
        if !sent {
            let attempt = FencedAttempt { id: granted.attempt.id, fence: granted.spare };
            self.engine.handle_peer(now, peer, PeerFact::Unreachable(attempt));
        }
    }

    /// What a peer is called, as far as the roster says.
    pub(super) fn peer_name(&self, peer: NodeId) -> String {
        let roster = self.wires.mesh.roster();
        roster.and_then(|roster| Some(roster.entry(peer)?.name.to_string())).unwrap_or_else(|| peer.short())
    }
}

#[cfg(test)]
mod tests;
