//! An attempt on its way from the worker that it was assigned to, to another one.
//!
//! The dispatcher grants (`GrantedAttempt`), the giver offers, the receiver
//! answers, and each of the two tells the dispatcher (`GivenAway`, `TakenOver`).
//! The one invariant: an attempt has two fences at most, the giver's and the one
//! that the dispatcher reserved for whoever takes it over, so nobody can pass on
//! what was passed to it. Absent: what the signed bytes say and who may believe
//! them (`trust/grants`); here they are only carried.

use serde::{Deserialize, Serialize};

use super::compact::as_array;
use super::messages::FencedAttempt;
use super::{Fence, InstanceId, NodeId, SealedSpec, Timestamp};

/// Signed bytes, as they travel.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignedBytes(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl std::fmt::Debug for SignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} signed bytes", self.0.len())
    }
}

/// The dispatcher's word to a worker that it may pass an attempt on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedAttempt {
    /// The attempt as it was assigned.
    pub attempt: FencedAttempt,
    /// The fence of whoever takes it over.
    pub spare: Fence,
    /// Dispatcher time from which nobody may take it over any more.
    pub expires_at: Timestamp,
    /// The signed grant. The engine leaves it empty; its shell signs.
    pub grant: SignedBytes,
}

/// Two signed statements that together prove a hand-over: the dispatcher's grant and the giver's word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandOverProof {
    /// The dispatcher's.
    pub grant: SignedBytes,
    /// The giver's.
    pub statement: SignedBytes,
}

/// From the giver to the receiver: run this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The attempt, with the receiver's fence.
    pub attempt: FencedAttempt,
    /// Why the receiver may believe it.
    pub proof: HandOverProof,
    /// The job's spec, when the receiver has said that it does not have it.
    pub spec: Option<SealedSpec>,
}

/// From the receiver to the giver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferAnswer {
    /// The attempt as it was offered.
    pub attempt: FencedAttempt,
    /// What becomes of it.
    pub verdict: OfferVerdict,
}

/// What a receiver says of an attempt that it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfferVerdict {
    /// It is the receiver's now.
    Taken,
    /// Offer it again with its job's spec.
    SpecMissing,
    /// There is no room for it after all. It stays with the giver, and this receiver will not take it later.
    NoRoom,
    /// Such a task cannot run here at all. Likewise.
    Unsuitable,
    /// The receiver takes nothing: it drains or stops. Likewise.
    Closed,
    /// The proof does not hold. Likewise.
    NotProved,
}

/// From the receiver to the dispatcher: this attempt is mine. Said again after every reconnect, until its
/// result is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// The attempt, with the receiver's fence.
    pub attempt: FencedAttempt,
    /// Why the dispatcher may believe it.
    pub proof: HandOverProof,
}

/// From the giver to the dispatcher: this attempt is another's, or may be. The giver has nothing more to do
/// with it; it says so again after every reconnect, until the dispatcher has recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenAway {
    /// The attempt as it was assigned.
    pub attempt: FencedAttempt,
    /// The receiver's fence.
    pub spare: Fence,
    /// Whose it is.
    pub receiver: NodeId,
    /// The receiver's start that it was given to.
    pub instance: InstanceId,
}

// Hot: they travel as arrays. The order is part of the protocol.
as_array!(GrantedAttempt { attempt, spare, expires_at, grant });
as_array!(HandOverProof { grant, statement });
as_array!(TakenOver { attempt, proof });
as_array!(GivenAway { attempt, spare, receiver, instance });
