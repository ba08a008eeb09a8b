//! Every way in which a worker claims what was not handed to it.

use super::*;
use crate::model::offload::HandOverProof;
use crate::model::{AttemptId, AttemptNo, Epoch, Fence, InstanceId, TaskId, Timestamp};
use crate::trust::grants::HandOver;
use crate::trust::roster::RosterEpoch;

fn fence(counter: u64) -> Fence {
    Fence { epoch: Epoch(1), counter }
}

/// A dispatcher, the worker that it assigned an attempt to, and two others.
struct Yard {
    notary: Notary,
    giver: Identity,
    receiver: Identity,
    third: Identity,
}

impl Yard {
    fn new() -> Self {
        let key = || Identity::ephemeral().expect("a key");
        let notary = Notary::new(Arc::new(key()), Arc::new(RosterDesk::new()));
        Self { notary, giver: key(), receiver: key(), third: key() }
    }

    fn grant(&self) -> TaskGrant {
        TaskGrant {
            attempt: AttemptId { task: TaskId::new(5, 0), attempt: AttemptNo(1) },
            spec: Digest([5; 32]),
            inputs: Vec::new(),
            worker: self.giver.id(),
            fences: [fence(1), fence(2)],
            roster: RosterEpoch { start: Epoch(1), change: 3 },
            // Long ago: what was granted then was granted.
            expires_at: Timestamp(1),
        }
    }

    /// What `receiver` shows: a grant by `dispatcher`, handed over by `giver`.
    fn shown(&self, dispatcher: &Identity, giver: &Identity, receiver: &Identity) -> TakenOver {
        let grant = Signed::sign(dispatcher, &self.grant()).expect("it is sound");
        let (receiver, instance) = (receiver.id(), InstanceId(7));
        let statement = HandOver { grant: grant.hash(), receiver, instance, fence: fence(2) };
        let statement = Signed::sign(giver, &statement).expect("it is sound");
        let proof =
            HandOverProof { grant: SignedBytes(grant.to_bytes()), statement: SignedBytes(statement.to_bytes()) };
        TakenOver { attempt: FencedAttempt { id: self.grant().attempt, fence: fence(2) }, proof }
    }

    fn genuine(&self) -> TakenOver {
        self.shown(&self.notary.identity, &self.giver, &self.receiver)
    }
}

#[test]
fn a_hand_over_with_both_signatures_is_believed_however_late() {
    let yard = Yard::new();
    let proved = yard.notary.prove(yard.receiver.id(), &yard.genuine()).expect("it holds");
    let attempt = yard.genuine().attempt;
    assert_eq!(proved, ProvedHandOver { attempt, first: fence(1), giver: yard.giver.id() });
}

#[test]
fn a_worker_that_claims_what_was_never_handed_to_it_is_not_believed() {
    let yard = Yard::new();
    let own_word = yard.shown(&yard.notary.identity, &yard.receiver, &yard.receiver);
    assert!(matches!(yard.notary.prove(yard.receiver.id(), &own_word), Err(GrantError::HandOver(_))));
    let own_grant = yard.shown(&yard.receiver, &yard.giver, &yard.receiver);
    assert!(matches!(yard.notary.prove(yard.receiver.id(), &own_grant), Err(GrantError::Grant(_))));
    let others = yard.notary.prove(yard.third.id(), &yard.genuine());
    assert_eq!(others, Err(GrantError::ForAnother(yard.receiver.id())), "it was handed to somebody else");
}

#[test]
fn a_proof_is_good_for_the_attempt_that_it_names_and_no_other() {
    let yard = Yard::new();
    let id = AttemptId { task: TaskId::new(6, 0), attempt: AttemptNo(1) };
    let named = yard.genuine().attempt;
    for attempt in [FencedAttempt { id, ..named }, FencedAttempt { fence: fence(1), ..named }] {
        let claim = TakenOver { attempt, ..yard.genuine() };
        assert_eq!(yard.notary.prove(yard.receiver.id(), &claim), Err(GrantError::WrongFence));
    }
}
