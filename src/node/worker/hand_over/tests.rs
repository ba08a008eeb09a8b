//! Every way in which an offer at a worker's door is not what it is shown as.

use super::*;
use crate::model::spec::CommandLine;
use crate::model::{AttemptId, AttemptNo, Epoch, Fence, JobSpec, Millis, Role, TaskId};
use crate::trust::grants::spec_hash;
use crate::trust::roster::{Roster, RosterEntry, RosterEpoch};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const START: InstanceId = InstanceId(77);

fn fence(counter: u64) -> Fence {
    Fence { epoch: Epoch(1), counter }
}

fn spec(line: &str) -> SealedSpec {
    SealedSpec::seal(JobSpec::single(CommandLine::Shell(line.into())))
}

/// A dispatcher, the worker that it assigned an attempt to, and two others.
struct Yard {
    dispatcher: Identity,
    giver: Porter,
    receiver: Porter,
    third: Porter,
    roster: Roster,
    now: Timestamp,
}

impl Yard {
    fn new() -> Self {
        let porter = |start| Porter::new(Arc::new(Identity::ephemeral().expect("a key")), InstanceId(start));
        let (giver, receiver, third) = (porter(1), porter(START.0), porter(3));
        let mut yard = Self {
            dispatcher: Identity::ephemeral().expect("a key"),
            roster: Roster { epoch: RosterEpoch { start: Epoch(1), change: 3 }, issued_at: NOW, entries: Vec::new() },
            giver,
            receiver,
            third,
            now: NOW,
        };
        yard.roster.entries = [&yard.giver, &yard.receiver, &yard.third].map(entry).to_vec();
        yard
    }

    fn grant(&self) -> TaskGrant {
        TaskGrant {
            attempt: AttemptId { task: TaskId::new(5, 0), attempt: AttemptNo(1) },
            spec: spec_hash(spec("true").encoded()),
            inputs: Vec::new(),
            worker: self.giver.identity.id(),
            fences: [fence(1), fence(2)],
            roster: RosterEpoch { start: Epoch(1), change: 3 },
            expires_at: NOW + Millis::from_secs(60),
        }
    }

    /// The grant as its worker has it, signed by `signer`.
    fn granted(&self, signer: &Identity) -> GrantedAttempt {
        let grant = self.grant();
        let bytes = Signed::sign(signer, &grant).expect("it is sound").to_bytes();
        let attempt = FencedAttempt { id: grant.attempt, fence: fence(1) };
        GrantedAttempt { attempt, spare: fence(2), expires_at: grant.expires_at, grant: SignedBytes(bytes) }
    }

    /// What the giver offers to the receiver, as it should.
    fn offer(&self) -> Offer {
        let granted = self.granted(&self.dispatcher);
        self.giver.offer(&granted, self.receiver.identity.id(), START, Some(spec("true"))).expect("it signs")
    }

    fn known(&self) -> Known<'_> {
        Known { dispatcher: self.dispatcher.id(), roster: &self.roster, now: self.now }
    }

    /// What `door` says to an offer that comes from `from`.
    fn at(&self, door: &Porter, from: &Porter, offer: Offer) -> Result<ProvedOffer, GrantError> {
        door.check(&self.known(), from.identity.id(), offer, None)
    }
}

fn entry(porter: &Porter) -> RosterEntry {
    let name = format!("w-{}", porter.instance.0).parse().expect("a name");
    RosterEntry { node: porter.identity.id(), name, addresses: Vec::new(), role: Role::Worker }
}

#[test]
fn an_offer_of_the_assigned_worker_is_believed_with_the_spec_that_was_granted() {
    let yard = Yard::new();
    let proved = yard.at(&yard.receiver, &yard.giver, yard.offer()).expect("it holds");
    assert_eq!(proved.taken.attempt.fence, fence(2));
    assert_eq!(proved.spec, Some(spec("true")));
    let bare = || Offer { spec: None, ..yard.offer() };
    let with = |own: SealedSpec| {
        let from = yard.giver.identity.id();
        yard.receiver.check(&yard.known(), from, bare(), Some(&own)).expect("it holds").spec
    };
    assert_eq!(with(spec("true")), Some(spec("true")));
    assert_eq!(with(spec("rm -rf /")), None, "another job that once had its number");
}

#[test]
fn a_forged_grant_is_refused() {
    let yard = Yard::new();
    let forged = yard.granted(&yard.giver.identity);
    let offer = yard.giver.offer(&forged, yard.receiver.identity.id(), START, None).expect("it signs");
    assert!(matches!(yard.at(&yard.receiver, &yard.giver, offer), Err(GrantError::Grant(_))));
    let mut bent = yard.offer();
    bent.proof.grant.0[70] ^= 1;
    assert!(matches!(yard.at(&yard.receiver, &yard.giver, bent), Err(GrantError::Grant(_))));
    let empty = Offer { proof: HandOverProof::default(), ..yard.offer() };
    assert!(matches!(yard.at(&yard.receiver, &yard.giver, empty), Err(GrantError::Grant(_))));
}

#[test]
fn an_offer_that_is_replayed_to_a_later_start_or_by_another_peer_is_refused() {
    let yard = Yard::new();
    let later = Porter::new(Arc::clone(&yard.receiver.identity), InstanceId(78));
    assert_eq!(yard.at(&later, &yard.giver, yard.offer()), Err(GrantError::OtherInstance));
    let by_third = GrantError::NotTheGiver(yard.third.identity.id());
    assert_eq!(yard.at(&yard.receiver, &yard.third, yard.offer()), Err(by_third));
}

#[test]
fn an_offer_that_ran_out_is_refused() {
    let mut yard = Yard::new();
    let offer = yard.offer();
    yard.now = NOW + Millis::from_secs(61);
    assert_eq!(yard.at(&yard.receiver, &yard.giver, offer), Err(GrantError::Expired(Millis::from_secs(1))));
}

#[test]
fn an_offer_that_is_addressed_to_another_worker_is_refused() {
    let yard = Yard::new();
    let for_receiver = GrantError::ForAnother(yard.receiver.identity.id());
    assert_eq!(yard.at(&yard.third, &yard.giver, yard.offer()), Err(for_receiver));
    let stolen = yard.third.offer(&yard.granted(&yard.dispatcher), yard.receiver.identity.id(), START, None);
    let refused = yard.at(&yard.receiver, &yard.third, stolen.expect("it signs"));
    assert!(matches!(refused, Err(GrantError::HandOver(_))), "only the assigned worker may hand it on: {refused:?}");
}

#[test]
fn what_was_taken_over_cannot_be_handed_on() {
    let yard = Yard::new();
    let on = yard.receiver.offer(&yard.granted(&yard.dispatcher), yard.third.identity.id(), InstanceId(3), None);
    let refused = yard.at(&yard.third, &yard.receiver, on.expect("it signs"));
    assert!(matches!(refused, Err(GrantError::HandOver(_))), "{refused:?}");
}

#[test]
fn another_task_or_fence_or_spec_than_was_granted_is_refused() {
    let yard = Yard::new();
    let other = FencedAttempt { id: AttemptId { task: TaskId::new(6, 0), attempt: AttemptNo(1) }, fence: fence(2) };
    for attempt in [other, FencedAttempt { fence: fence(1), ..yard.offer().attempt }] {
        let offer = Offer { attempt, ..yard.offer() };
        assert_eq!(yard.at(&yard.receiver, &yard.giver, offer), Err(GrantError::WrongFence));
    }
    let swapped = Offer { spec: Some(spec("rm -rf /")), ..yard.offer() };
    assert_eq!(yard.at(&yard.receiver, &yard.giver, swapped), Err(GrantError::OtherSpec));
}

#[test]
fn a_revoked_worker_gets_nothing_and_hands_nothing_on() {
    for gone in [0, 1] {
        let mut yard = Yard::new();
        let removed = yard.roster.entries.remove(gone).node;
        let offer = yard.offer();
        assert_eq!(yard.at(&yard.receiver, &yard.giver, offer), Err(GrantError::NotOnRoster(removed)));
    }
    let mut yard = Yard::new();
    yard.roster.epoch.change = 2;
    assert_eq!(yard.at(&yard.receiver, &yard.giver, yard.offer()), Err(GrantError::RosterTooOld));
    yard.roster.epoch.change = 3;
    yard.roster.issued_at = Timestamp::from_millis(1);
    assert!(matches!(yard.at(&yard.receiver, &yard.giver, yard.offer()), Err(GrantError::RosterExpired(_))));
}
