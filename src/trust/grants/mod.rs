//! What a worker may do for another worker: run a task, hand out a file.
//!
//! Invariant: nobody but the dispatcher decides what runs where. A
//! [`TaskGrant`] names the worker; that worker may pass it on once, with a
//! [`HandOver`] of its own signature, to a worker on a roster that is not older
//! than the grant. So a worker that was taken over can make no other run
//! anything of its own, and a node that was thrown out gets nothing. Every
//! check is a function of what was shown, who showed it and the time, and every
//! refusal a variant of its own. Absent: what was handed over before (the
//! engines remember), and the bytes of tasks and files.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::roster::{Roster, RosterEpoch};
use super::signed::{Signed, SignedError, Statement};
use crate::model::limits::{BLOBS_A_STREAM, MAX_BATCH};
use crate::model::{AttemptId, Digest, Fence, InstanceId, Millis, NodeId, Timestamp};

/// Inputs that one grant may list.
pub const MAX_INPUTS: usize = MAX_BATCH;

/// The dispatcher's word that this attempt is to be made, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGrant {
    /// Which try at which task.
    pub attempt: AttemptId,
    /// Hash of the job spec's sealed bytes.
    pub spec: Digest,
    /// The files that it needs.
    pub inputs: Vec<Digest>,
    /// Who is to run it.
    pub worker: NodeId,
    /// The assigned worker's fence, and the one for whoever it hands the attempt to.
    pub fences: [Fence; 2],
    /// The roster when this was granted. Whoever checks it must know one at least as new.
    pub roster: RosterEpoch,
    /// Dispatcher time from which it is good for nothing.
    pub expires_at: Timestamp,
}

/// The dispatcher's word that a node may read some files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobGrant {
    /// Which files: one signature for all that an attempt asks for at once.
    pub digests: Vec<Digest>,
    /// Who may read it.
    pub reader: NodeId,
    /// Dispatcher time from which it is good for nothing.
    pub expires_at: Timestamp,
}

/// An assigned worker's word that it gave its attempt to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// [`Signed::hash`] of the grant that is handed on.
    pub grant: Digest,
    /// Who is to run it instead.
    pub receiver: NodeId,
    /// The receiver's start that this is for; a later start knows nothing of it.
    pub instance: InstanceId,
    /// The second of the grant's fences.
    pub fence: Fence,
}

impl Statement for TaskGrant {
    const DOMAIN: &'static str = "task grant";
    const CAP: usize = 40 * MAX_INPUTS + 1024;

    fn is_sound(&self) -> bool {
        self.inputs.len() <= MAX_INPUTS && self.fences[0] < self.fences[1]
    }
}

impl Statement for BlobGrant {
    const DOMAIN: &'static str = "blob grant";
    const CAP: usize = 40 * BLOBS_A_STREAM + 256;

    fn is_sound(&self) -> bool {
        self.digests.len() <= BLOBS_A_STREAM
    }
}

impl Statement for HandOver {
    const DOMAIN: &'static str = "hand-over";
    const CAP: usize = 256;
}

/// Why a grant is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The grant is not one that this dispatcher signed.
    #[error("honour the grant: failed to {0}")]
    Grant(#[source] SignedError),
    /// The hand-over is not one that the assigned worker signed.
    #[error("honour the hand-over: failed to {0}")]
    HandOver(#[source] SignedError),
    /// The grant ran out.
    #[error("honour the grant: it ran out {0} ago")]
    Expired(Millis),
    /// It is for somebody else.
    #[error("honour the grant: it is for node {}", .0.short())]
    ForAnother(NodeId),
    /// It is for another file.
    #[error("honour the grant: it does not cover file {}", .0.short())]
    OtherBlob(Digest),
    /// The job spec that came along is not the one that was granted.
    #[error("honour the grant: the task that came with it is another one")]
    OtherSpec,
    /// The hand-over is of another grant.
    #[error("honour the hand-over: it is of another grant")]
    OtherGrant,
    /// The hand-over is for an earlier start of this node.
    #[error("honour the hand-over: it is for another start of this node")]
    OtherInstance,
    /// The hand-over does not carry the fence that was reserved for it.
    #[error("honour the hand-over: it carries a fence that was not reserved for it")]
    WrongFence,
    /// It comes from a node that is not the one the attempt was assigned to: whoever received an attempt
    /// may not hand it on.
    #[error("honour the hand-over: node {} was not assigned the attempt", .0.short())]
    NotTheGiver(NodeId),
    /// A worker handed the attempt to itself.
    #[error("honour the hand-over: giver and receiver are one")]
    ToItself,
    /// The node is not on the roster as a worker.
    #[error("honour the grant: node {} is on no roster", .0.short())]
    NotOnRoster(NodeId),
    /// The known roster is older than the grant, so it may still name nodes that were thrown out.
    #[error("honour the grant: the known roster is older than it")]
    RosterTooOld,
    /// The known roster ran out.
    #[error("honour the grant: the known roster ran out {0} ago")]
    RosterExpired(Millis),
}

/// What a node knows when it is shown a grant.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The dispatcher's key.
    pub dispatcher: NodeId,
    /// The newest roster.
    pub roster: &'a Roster,
    /// Dispatcher time.
    pub now: Timestamp,
}

/// An attempt that may be run here, and what its result must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What was granted.
    pub grant: TaskGrant,
    /// The fence of whoever runs it.
    pub fence: Fence,
}

impl Known<'_> {
    /// Opens a grant for its assigned worker `reader`.
    ///
    /// # Errors
    /// Why it is not honoured.
    pub fn assigned(&self, grant: &Signed<TaskGrant>, reader: NodeId) -> Result<Granted, GrantError> {
        let grant = self.task(grant)?;
        if grant.worker != reader {
            return Err(GrantError::ForAnother(grant.worker));
        }
        self.is_listed(reader)?;
        Ok(Granted { fence: grant.fences[0], grant })
    }

    /// Opens a grant that `from`, the peer at the other end of the link, hands to `receiver`.
    ///
    /// # Errors
    /// Why it is not honoured.
    pub fn handed_over(
        &self,
        grant: &Signed<TaskGrant>,
        hand_over: &Signed<HandOver>,
        from: NodeId,
        (receiver, instance): (NodeId, InstanceId),
    ) -> Result<Granted, GrantError> {
        let (opened, statement) = self.handed_to(grant, hand_over, receiver)?;
        if from != opened.worker {
            return Err(GrantError::NotTheGiver(from));
        }
        if statement.instance != instance {
            return Err(GrantError::OtherInstance);
        }
        Ok(Granted { fence: statement.fence, grant: opened })
    }

    /// Until when `reader` may have all of the files `digests`, by a grant for them, or for more.
    ///
    /// # Errors
    /// Why it may not.
    pub fn may_read(
        &self,
        grant: &Signed<BlobGrant>,
        reader: NodeId,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Result<Timestamp, GrantError> {
        let grant = grant.open(self.dispatcher).map_err(GrantError::Grant)?;
        self.is_current(grant.expires_at)?;
        if grant.reader != reader {
            return Err(GrantError::ForAnother(grant.reader));
        }
        if !self.roster.is_valid(self.now) {
            return Err(GrantError::RosterExpired(self.now.since(self.roster.expires_at())));
        }
        self.is_listed(reader)?;
        cover(grant.digests, digests)?;
        Ok(grant.expires_at)
    }

    /// Until when `reader` may have all of the files `digests`, as inputs of a task that it was handed, or, without
    /// a hand-over, that it was assigned.
    ///
    /// # Errors
    /// Why it may not.
    pub fn may_read_inputs(
        &self,
        grant: &Signed<TaskGrant>,
        hand_over: Option<&Signed<HandOver>>,
        reader: NodeId,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Result<Timestamp, GrantError> {
        let grant = match hand_over {
            None => self.assigned(grant, reader)?.grant,
            Some(hand_over) => self.handed_to(grant, hand_over, reader)?.0,
        };
        cover(grant.inputs, digests)?;
        Ok(grant.expires_at)
    }

    /// Opens a grant and its hand-over to `receiver`, whoever shows them.
    fn handed_to(
        &self,
        grant: &Signed<TaskGrant>,
        hand_over: &Signed<HandOver>,
        receiver: NodeId,
    ) -> Result<(TaskGrant, HandOver), GrantError> {
        let hash = grant.hash();
        let grant = self.task(grant)?;
        let statement = handed(hash, &grant, hand_over, receiver)?;
        self.is_listed(grant.worker)?;
        self.is_listed(receiver)?;
        Ok((grant, statement))
    }

    /// Opens a task's grant and holds it against the time and the roster.
    fn task(&self, grant: &Signed<TaskGrant>) -> Result<TaskGrant, GrantError> {
        let grant = grant.open(self.dispatcher).map_err(GrantError::Grant)?;
        self.is_current(grant.expires_at)?;
        if !self.roster.is_valid(self.now) {
            return Err(GrantError::RosterExpired(self.now.since(self.roster.expires_at())));
        }
        if self.roster.epoch < grant.roster {
            return Err(GrantError::RosterTooOld);
        }
        Ok(grant)
    }

    fn is_current(&self, expires_at: Timestamp) -> Result<(), GrantError> {
        if self.now < expires_at { Ok(()) } else { Err(GrantError::Expired(self.now.since(expires_at))) }
    }

    fn is_listed(&self, worker: NodeId) -> Result<(), GrantError> {
        if self.roster.has_worker(worker) { Ok(()) } else { Err(GrantError::NotOnRoster(worker)) }
    }
}

/// What a hand-over to `receiver` proves to the `dispatcher` itself, whoever shows it and however late: that it granted
/// this attempt, and that the worker it granted it to gave it to `receiver`.
///
/// # Errors
/// Why it proves nothing.
pub fn proved(
    dispatcher: NodeId,
    grant: &Signed<TaskGrant>,
    hand_over: &Signed<HandOver>,
    receiver: NodeId,
) -> Result<(TaskGrant, HandOver), GrantError> {
    let hash = grant.hash();
    let grant = grant.open(dispatcher).map_err(GrantError::Grant)?;
    let statement = handed(hash, &grant, hand_over, receiver)?;
    Ok((grant, statement))
}

/// Opens the hand-over of an opened grant to `receiver`.
fn handed(
    hash: Digest,
    grant: &TaskGrant,
    hand_over: &Signed<HandOver>,
    receiver: NodeId,
) -> Result<HandOver, GrantError> {
    // With the key that the dispatcher named: what a receiver signs to hand it on is not believed here.
    let statement = hand_over.open(grant.worker).map_err(GrantError::HandOver)?;
    if statement.grant != hash {
        return Err(GrantError::OtherGrant);
    }
    if statement.receiver != receiver {
        return Err(GrantError::ForAnother(statement.receiver));
    }
    if receiver == grant.worker {
        return Err(GrantError::ToItself);
    }
    if statement.fence != grant.fences[1] {
        return Err(GrantError::WrongFence);
    }
    Ok(statement)
}

impl Granted {
    /// Whether these sealed bytes of a job spec are the ones that were granted.
    ///
    /// # Errors
    /// [`GrantError::OtherSpec`] when they are not.
    pub fn check_spec(&self, sealed: &[u8]) -> Result<(), GrantError> {
        if spec_hash(sealed) == self.grant.spec { Ok(()) } else { Err(GrantError::OtherSpec) }
    }
}

/// Refuses the first of `digests` that was not granted.
fn cover(granted: Vec<Digest>, digests: impl IntoIterator<Item = Digest>) -> Result<(), GrantError> {
    let granted: BTreeSet<Digest> = granted.into_iter().collect();
    match digests.into_iter().find(|digest| !granted.contains(digest)) {
        Some(other) => Err(GrantError::OtherBlob(other)),
        None => Ok(()),
    }
}

/// What a grant knows a job spec by.
#[must_use]
pub fn spec_hash(sealed: &[u8]) -> Digest {
    Digest(blake3::hash(sealed).into())
}

#[cfg(test)]
mod tests;
