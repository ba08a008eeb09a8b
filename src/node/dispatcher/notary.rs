//! What the dispatcher signs for workers that hand tasks to each other, and what
//! it believes of what they bring.
//!
//! Invariant: a grant is signed for an attempt that its worker holds unstarted
//! when it is said, with the job's own spec and inputs; and the engine hears of
//! a hand-over only when both signatures hold for the worker that shows them.
//! However late: a grant that ran out says all the same what was granted. Absent:
//! which attempts may be handed on (the engine's).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::roster::RosterDesk;
use crate::engine::dispatcher::{DispatcherEngine, Inbound, ProvedHandOver};
use crate::model::files::InputSource;
use crate::model::messages::{FencedAttempt, WorkerMessage};
use crate::model::offload::{GrantedAttempt, SignedBytes, TakenOver};
use crate::model::{Digest, JobId, LinkId, NodeId, SealedSpec, TaskIndex};
use crate::trust::grants::{GrantError, MAX_INPUTS, TaskGrant, proved, spec_hash};
use crate::trust::{Identity, Signed};

/// Hashes of specs that are remembered; a spec may be megabytes, and its tasks are granted one by one.
const HASHES: usize = 64;

/// Signs grants and opens proofs.
pub(super) struct Notary {
    identity: Arc<Identity>,
    roster: Arc<RosterDesk>,
    hashes: BTreeMap<JobId, Digest>,
}

impl Notary {
    pub(super) fn new(identity: Arc<Identity>, roster: Arc<RosterDesk>) -> Self {
        Self { identity, roster, hashes: BTreeMap::new() }
    }

    /// Signs what can be signed of these; what cannot is not to be handed on.
    pub(super) fn sign(&mut self, engine: &DispatcherEngine, granted: &mut Vec<GrantedAttempt>) {
        granted.retain_mut(|granted| {
            let Some((worker, spec)) = engine.holder_of(granted.attempt) else { return false };
            match self.grant(worker, spec, granted) {
                Some(grant) => {
                    granted.grant = grant;
                    true
                }
                None => false,
            }
        });
    }

    fn grant(&mut self, worker: NodeId, spec: &SealedSpec, granted: &GrantedAttempt) -> Option<SignedBytes> {
        let task = granted.attempt.id.task;
        let grant = TaskGrant {
            attempt: granted.attempt.id,
            spec: self.hash(task.job, spec),
            inputs: inputs(spec, task.index)?,
            worker,
            fences: [granted.attempt.fence, granted.spare],
            roster: self.roster.epoch()?,
            expires_at: granted.expires_at,
        };
        match Signed::sign(&self.identity, &grant) {
            Ok(signed) => Some(SignedBytes(signed.to_bytes())),
            Err(error) => {
                tracing::warn!("Task {task} cannot be handed on by its worker: failed to {error}");
                None
            }
        }
    }

    fn hash(&mut self, job: JobId, spec: &SealedSpec) -> Digest {
        if let Some(known) = self.hashes.get(&job) {
            return *known;
        }
        if self.hashes.len() >= HASHES {
            // The oldest job: its tasks are the likeliest to be through.
            self.hashes.pop_first();
        }
        let hash = spec_hash(spec.encoded());
        self.hashes.insert(job, hash);
        hash
    }

    /// A worker's message as the engine takes it in: of what it says that it took over, what it proves.
    pub(super) fn open(&self, engine: &DispatcherEngine, link: LinkId, message: WorkerMessage) -> Inbound {
        let WorkerMessage::TookOver(taken) = message else { return Inbound::Worker(message) };
        let Some(receiver) = engine.worker_on(link) else { return Inbound::HandedOver(Vec::new()) };
        let believed = taken.iter().filter_map(|taken| match self.prove(receiver, taken) {
            Ok(proved) => Some(proved),
            Err(error) => {
                let (task, node) = (taken.attempt.id.task, receiver.short());
                tracing::warn!("Node {node} claims task {task} of another worker: failed to {error}");
                None
            }
        });
        Inbound::HandedOver(believed.collect())
    }

    fn prove(&self, receiver: NodeId, taken: &TakenOver) -> Result<ProvedHandOver, GrantError> {
        let grant = Signed::from_bytes(&taken.proof.grant.0).map_err(GrantError::Grant)?;
        let statement = Signed::from_bytes(&taken.proof.statement.0).map_err(GrantError::HandOver)?;
        let (grant, statement) = proved(self.identity.id(), &grant, &statement, receiver)?;
        let FencedAttempt { id, fence } = taken.attempt;
        if grant.attempt != id || statement.fence != fence {
            return Err(GrantError::WrongFence);
        }
        Ok(ProvedHandOver { attempt: taken.attempt, first: grant.fences[0], giver: grant.worker })
    }
}

/// The blobs that a task's inputs are, or describe; `None` when they are too many for a grant.
fn inputs(spec: &SealedSpec, index: TaskIndex) -> Option<Vec<Digest>> {
    let spec = spec.spec();
    let position = spec.items.position_of(index)?;
    let blobs = spec.inputs.iter().filter_map(|input| match &input.source {
        InputSource::Shared(content) => Some(content.blob()),
        InputSource::PerTask(each) => Some(each.get(usize::try_from(position).ok()?)?.blob()),
        InputSource::Output { .. } => None,
    });
    let digests: Vec<Digest> = blobs.map(|blob| blob.digest).collect();
    (digests.len() <= MAX_INPUTS).then_some(digests)
}

#[cfg(test)]
mod tests;
