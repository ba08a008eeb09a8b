//! Every way in which a grant is not what it is shown as.

use proptest::prelude::*;

use super::*;
use crate::model::{AttemptNo, Epoch, Role, TaskId};
use crate::trust::Identity;
use crate::trust::roster::RosterEntry;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const SOON: Timestamp = Timestamp::from_millis(1_060_000);
const SPEC: &[u8] = b"sealed bytes of a spec";
const INPUT: Digest = Digest([5; 32]);
const START: InstanceId = InstanceId(77);

fn fence(counter: u64) -> Fence {
    Fence { epoch: Epoch(1), counter }
}

fn at_change(change: u64) -> RosterEpoch {
    RosterEpoch { start: Epoch(1), change }
}

/// A dispatcher, the worker it assigned an attempt to, another worker and somebody who does not belong.
struct Mesh {
    dispatcher: Identity,
    giver: Identity,
    receiver: Identity,
    stranger: Identity,
    roster: Roster,
    now: Timestamp,
}

impl Mesh {
    fn new() -> Self {
        let [dispatcher, giver, receiver, stranger] = [(); 4].map(|()| Identity::ephemeral().unwrap());
        let entry = |node: &Identity, name: &str| RosterEntry {
            node: node.id(),
            name: name.parse().unwrap(),
            addresses: Vec::new(),
            role: Role::Worker,
        };
        let entries = vec![entry(&giver, "giver"), entry(&receiver, "receiver")];
        let roster = Roster { epoch: at_change(3), issued_at: NOW, entries };
        Self { dispatcher, giver, receiver, stranger, roster, now: NOW }
    }

    fn known(&self) -> Known<'_> {
        Known { dispatcher: self.dispatcher.id(), roster: &self.roster, now: self.now }
    }

    fn grant(&self) -> TaskGrant {
        TaskGrant {
            attempt: AttemptId { task: TaskId::new(5, 0), attempt: AttemptNo(1) },
            spec: spec_hash(SPEC),
            inputs: vec![INPUT],
            worker: self.giver.id(),
            fences: [fence(1), fence(2)],
            roster: at_change(3),
            expires_at: SOON,
        }
    }

    fn granted(&self) -> Signed<TaskGrant> {
        Signed::sign(&self.dispatcher, &self.grant()).unwrap()
    }

    fn statement(&self) -> HandOver {
        HandOver { grant: self.granted().hash(), receiver: self.receiver.id(), instance: START, fence: fence(2) }
    }

    /// What the receiver says to the giver's grant with this hand-over, signed by the giver.
    fn handed(&self, statement: &HandOver) -> Result<Granted, GrantError> {
        let hand_over = Signed::sign(&self.giver, statement).unwrap();
        self.known().handed_over(&self.granted(), &hand_over, self.giver.id(), (self.receiver.id(), START))
    }
}

#[test]
fn an_assigned_worker_runs_what_it_was_granted_under_the_first_fence() {
    let mesh = Mesh::new();
    let granted = mesh.known().assigned(&mesh.granted(), mesh.giver.id()).unwrap();
    assert_eq!((granted.fence, &granted.grant), (fence(1), &mesh.grant()));
    assert_eq!(granted.check_spec(SPEC), Ok(()));
    assert_eq!(granted.check_spec(b"something else"), Err(GrantError::OtherSpec));
}

#[test]
fn a_receiver_runs_what_it_was_handed_under_the_second_fence() {
    let mesh = Mesh::new();
    assert_eq!(mesh.handed(&mesh.statement()).unwrap().fence, fence(2));
}

#[test]
fn a_grant_that_the_dispatcher_did_not_sign_is_refused() {
    let mesh = Mesh::new();
    let forged = Signed::sign(&mesh.giver, &mesh.grant()).unwrap();
    let not_signed = GrantError::Grant(SignedError::NotSignedBy { signer: mesh.dispatcher.id() });
    assert_eq!(mesh.known().assigned(&forged, mesh.giver.id()), Err(not_signed));
}

#[test]
fn a_grant_is_good_for_nobody_else() {
    let mesh = Mesh::new();
    let for_another = Err(GrantError::ForAnother(mesh.giver.id()));
    assert_eq!(mesh.known().assigned(&mesh.granted(), mesh.receiver.id()), for_another);
}

#[test]
fn a_grant_runs_out() {
    let mut mesh = Mesh::new();
    mesh.now = SOON;
    mesh.roster.issued_at = SOON;
    assert_eq!(mesh.known().assigned(&mesh.granted(), mesh.giver.id()), Err(GrantError::Expired(Millis(0))));
    assert_eq!(mesh.handed(&mesh.statement()), Err(GrantError::Expired(Millis(0))));
}

#[test]
fn a_hand_over_to_somebody_who_does_not_belong_is_refused() {
    let mesh = Mesh::new();
    let statement = HandOver { receiver: mesh.stranger.id(), ..mesh.statement() };
    let hand_over = Signed::sign(&mesh.giver, &statement).unwrap();
    let receiver = (mesh.stranger.id(), START);
    let refused = mesh.known().handed_over(&mesh.granted(), &hand_over, mesh.giver.id(), receiver);
    assert_eq!(refused, Err(GrantError::NotOnRoster(mesh.stranger.id())));
}

#[test]
fn a_giver_that_was_thrown_out_hands_nothing_over() {
    let mut mesh = Mesh::new();
    mesh.roster.entries.remove(0);
    mesh.roster.epoch = at_change(4);
    assert_eq!(mesh.handed(&mesh.statement()), Err(GrantError::NotOnRoster(mesh.giver.id())));
}

#[test]
fn a_client_on_the_roster_is_handed_no_task() {
    let mut mesh = Mesh::new();
    mesh.roster.entries[1].role = Role::Client;
    assert_eq!(mesh.handed(&mesh.statement()), Err(GrantError::NotOnRoster(mesh.receiver.id())));
}

#[test]
fn a_hand_over_for_one_receiver_is_none_for_another() {
    let mesh = Mesh::new();
    let statement = HandOver { receiver: mesh.stranger.id(), ..mesh.statement() };
    assert_eq!(mesh.handed(&statement), Err(GrantError::ForAnother(mesh.stranger.id())));
}

#[test]
fn a_hand_over_that_the_giver_did_not_sign_is_refused() {
    let mesh = Mesh::new();
    let forged = Signed::sign(&mesh.receiver, &mesh.statement()).unwrap();
    let refused = mesh.known().handed_over(&mesh.granted(), &forged, mesh.giver.id(), (mesh.receiver.id(), START));
    let not_signed = SignedError::NotSignedBy { signer: mesh.giver.id() };
    assert_eq!(refused, Err(GrantError::HandOver(not_signed)));
}

#[test]
fn a_receiver_cannot_hand_on_what_it_was_handed() {
    let mut mesh = Mesh::new();
    let third = Identity::ephemeral().unwrap();
    let name = "third".parse().unwrap();
    let entry = RosterEntry { node: third.id(), name, addresses: Vec::new(), role: Role::Worker };
    mesh.roster.entries.push(entry);
    let onward = HandOver { receiver: third.id(), ..mesh.statement() };
    let to_third = |signer: &Identity| {
        let hand_over = Signed::sign(signer, &onward).unwrap();
        mesh.known().handed_over(&mesh.granted(), &hand_over, mesh.receiver.id(), (third.id(), START))
    };
    let not_signed = SignedError::NotSignedBy { signer: mesh.giver.id() };
    assert_eq!(to_third(&mesh.receiver), Err(GrantError::HandOver(not_signed)));
    assert_eq!(to_third(&mesh.giver), Err(GrantError::NotTheGiver(mesh.receiver.id())), "not even with its help");
}

#[test]
fn a_hand_over_is_of_one_grant_to_one_start_with_one_fence() {
    let mesh = Mesh::new();
    let whole = mesh.statement();
    assert_eq!(mesh.handed(&HandOver { grant: Digest([9; 32]), ..whole.clone() }), Err(GrantError::OtherGrant));
    let earlier = HandOver { instance: InstanceId(76), ..whole.clone() };
    assert_eq!(mesh.handed(&earlier), Err(GrantError::OtherInstance));
    for wrong in [fence(1), fence(3)] {
        assert_eq!(mesh.handed(&HandOver { fence: wrong, ..whole.clone() }), Err(GrantError::WrongFence));
    }
}

#[test]
fn nobody_hands_over_to_itself_to_get_a_second_fence() {
    let mesh = Mesh::new();
    let statement = HandOver { receiver: mesh.giver.id(), ..mesh.statement() };
    let hand_over = Signed::sign(&mesh.giver, &statement).unwrap();
    let giver = mesh.giver.id();
    let refused = mesh.known().handed_over(&mesh.granted(), &hand_over, giver, (giver, START));
    assert_eq!(refused, Err(GrantError::ToItself));
}

#[test]
fn a_roster_older_than_the_grant_or_run_out_is_not_relied_on() {
    let mut mesh = Mesh::new();
    mesh.roster.epoch = at_change(2);
    assert_eq!(mesh.handed(&mesh.statement()), Err(GrantError::RosterTooOld));
    mesh.roster.epoch = at_change(4);
    assert!(mesh.handed(&mesh.statement()).is_ok(), "a later one will do");
    mesh.roster.issued_at = Timestamp::from_millis(0);
    assert!(matches!(mesh.handed(&mesh.statement()), Err(GrantError::RosterExpired(_))));
}

#[test]
fn files_are_handed_out_to_their_reader_alone_and_for_a_while() {
    let mut mesh = Mesh::new();
    let grant = BlobGrant { digests: vec![Digest([4; 32]), INPUT], reader: mesh.receiver.id(), expires_at: SOON };
    let signed = Signed::sign(&mesh.dispatcher, &grant).unwrap();
    let forged = Signed::sign(&mesh.receiver, &grant).unwrap();
    let (reader, other) = (mesh.receiver.id(), Digest([6; 32]));
    assert_eq!(mesh.known().may_read(&signed, reader, [INPUT]), Ok(SOON));
    assert_eq!(mesh.known().may_read(&signed, reader, [INPUT, Digest([4; 32])]), Ok(SOON));
    assert_eq!(mesh.known().may_read(&signed, mesh.giver.id(), [INPUT]), Err(GrantError::ForAnother(reader)));
    assert_eq!(mesh.known().may_read(&signed, reader, [INPUT, other]), Err(GrantError::OtherBlob(other)));
    assert!(matches!(mesh.known().may_read(&forged, reader, [INPUT]), Err(GrantError::Grant(_))));
    mesh.now = SOON + Millis(250);
    assert_eq!(mesh.known().may_read(&signed, reader, [INPUT]), Err(GrantError::Expired(Millis(250))));
}

#[test]
fn a_reader_that_was_thrown_out_reads_nothing_with_the_grant_that_it_kept() {
    let mut mesh = Mesh::new();
    let grant = BlobGrant { digests: vec![INPUT], reader: mesh.receiver.id(), expires_at: SOON };
    let signed = Signed::sign(&mesh.dispatcher, &grant).unwrap();
    let reader = mesh.receiver.id();
    mesh.roster.entries.remove(1);
    assert_eq!(mesh.known().may_read(&signed, reader, [INPUT]), Err(GrantError::NotOnRoster(reader)));
    mesh.roster.issued_at = Timestamp::from_millis(0);
    assert!(matches!(mesh.known().may_read(&signed, reader, [INPUT]), Err(GrantError::RosterExpired(_))));
}

#[test]
fn whoever_runs_a_task_may_read_its_inputs_and_nothing_else() {
    let mesh = Mesh::new();
    let (grant, hand_over) = (mesh.granted(), Signed::sign(&mesh.giver, &mesh.statement()).unwrap());
    let (giver, receiver, other) = (mesh.giver.id(), mesh.receiver.id(), Digest([6; 32]));
    let known = mesh.known();
    assert_eq!(known.may_read_inputs(&grant, None, giver, [INPUT]), Ok(SOON));
    assert_eq!(known.may_read_inputs(&grant, Some(&hand_over), receiver, [INPUT]), Ok(SOON));
    assert_eq!(known.may_read_inputs(&grant, None, receiver, [INPUT]), Err(GrantError::ForAnother(giver)));
    assert_eq!(known.may_read_inputs(&grant, Some(&hand_over), giver, [INPUT]), Err(GrantError::ForAnother(receiver)));
    let refused = known.may_read_inputs(&grant, Some(&hand_over), receiver, [INPUT, other]);
    assert_eq!(refused, Err(GrantError::OtherBlob(other)));
}

#[test]
fn the_largest_statements_fit_their_caps() {
    let mesh = Mesh::new();
    let widest = Fence { epoch: Epoch(u32::MAX), counter: (1 << Fence::COUNTER_BITS) - 1 };
    let grant = TaskGrant {
        attempt: AttemptId { task: TaskId::new(u64::MAX, u64::MAX), attempt: AttemptNo(u32::MAX) },
        inputs: vec![Digest([255; 32]); MAX_INPUTS],
        fences: [fence(1), widest],
        roster: RosterEpoch { start: Epoch(u32::MAX), change: u64::MAX },
        expires_at: Timestamp(u64::MAX),
        ..mesh.grant()
    };
    assert!(Signed::sign(&mesh.dispatcher, &grant).is_ok());
    let statement = HandOver { instance: InstanceId(u64::MAX), fence: widest, ..mesh.statement() };
    assert!(Signed::sign(&mesh.giver, &statement).is_ok());
    let digests = vec![Digest([255; 32]); BLOBS_A_STREAM];
    let blob = BlobGrant { digests, reader: NodeId([255; 32]), expires_at: Timestamp(u64::MAX) };
    assert!(Signed::sign(&mesh.dispatcher, &blob).is_ok());
}

proptest! {
    #[test]
    fn no_altered_grant_or_hand_over_is_honoured(at in any::<prop::sample::Index>(), bit in 0u8..8, which: bool) {
        let mesh = Mesh::new();
        let mut grant = mesh.granted().to_bytes();
        let mut hand_over = Signed::sign(&mesh.giver, &mesh.statement()).unwrap().to_bytes();
        let altered = if which { &mut grant } else { &mut hand_over };
        let at = at.index(altered.len());
        altered[at] ^= 1 << bit;
        let both = (Signed::from_bytes(&grant), Signed::from_bytes(&hand_over));
        if let (Ok(grant), Ok(hand_over)) = both {
            let receiver = (mesh.receiver.id(), START);
            let honoured = mesh.known().handed_over(&grant, &hand_over, mesh.giver.id(), receiver);
            prop_assert!(honoured.is_err());
        }
    }

    #[test]
    fn no_bytes_break_the_decoders(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Signed::<TaskGrant>::from_bytes(&bytes);
        let _ = Signed::<BlobGrant>::from_bytes(&bytes);
        let _ = Signed::<HandOver>::from_bytes(&bytes);
    }
}
