//! What admins do about workers: drain and resume them, revoke them, and let
//! them in again under fresh keys.
//!
//! Invariant: what is begun is asked for until it is answered, so a drained
//! worker is resumed and a revoked one comes back in the end. Absent: clients'
//! own jobs (`client`).

use super::client::Question;
use super::cluster::{Cluster, Event, key};
use crate::engine::dispatcher::{Call, WantedToken};
use crate::model::requests::Reply;
use crate::model::{Digest, Millis, RequestId, Role};

/// Nobody here waits for a token to expire.
const LIFETIME: Millis = Millis::from_secs(30 * 24 * 3600);

/// What an admin wants done about one worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chore {
    worker: usize,
    /// Who asks for it.
    client: usize,
    what: What,
    done: bool,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// No new work, for so long.
    Drain(Millis),
    /// Work again.
    Resume,
    /// Out, for good.
    Revoke,
    /// A token, for a worker that has made itself a new key.
    Admit,
}

impl Cluster {
    /// An admin begins with something.
    pub(super) fn begin_chore(&mut self, worker: usize, what: What) {
        let client = self.dice.life.index(self.clients.len());
        self.chores.push(Chore { worker, client, what, done: false });
        self.ask_chore(self.chores.len() - 1);
    }

    /// Whether nothing is left that admins wanted.
    pub(super) fn chores_are_done(&self) -> bool {
        self.chores.iter().all(|chore| chore.done)
    }

    /// A client has a link: what it asked for and was not told of is asked for again.
    pub(super) fn take_up_chores(&mut self, client: usize) {
        for number in 0..self.chores.len() {
            if self.chores[number].client == client {
                self.ask_chore(number);
            }
        }
    }

    /// Asks for something that was not answered.
    pub(super) fn ask_chore(&mut self, number: usize) {
        let Chore { worker, client, what, done } = self.chores[number];
        let Some(link) = self.clients[client].link.filter(|_| !done) else { return };
        let named = self.workers[worker].name.is_some() || what == What::Admit;
        if !named {
            // It was never let in, so there is nothing to be done about it.
            self.chores[number].done = true;
            return;
        }
        self.requests += 1;
        let request = RequestId(self.requests);
        self.clients[client].await_chore(request, number);
        let delay = self.network.delay(&mut self.dice.network);
        self.agenda.after(delay, Event::Ask(link, request, Question::Chore(number)));
    }

    /// What a chore comes to for the engine. A secret is made up anew whenever a token is asked for.
    pub(super) fn chore_call(&self, number: usize, request: RequestId) -> Option<Call> {
        let Chore { worker, what, .. } = self.chores[number];
        let name = || self.workers[worker].name.clone();
        Some(match what {
            What::Drain(_) => Call::Drain { name: name()?, draining: true },
            What::Resume => Call::Drain { name: name()?, draining: false },
            What::Revoke => Call::Revoke { name: name()?, kind: None },
            What::Admit => Call::CreateToken(WantedToken {
                hash: secret(request),
                role: Role::Worker,
                name: None,
                uses: 1,
                lifetime: LIFETIME,
            }),
        })
    }

    /// A chore is answered.
    pub(super) fn chore_answered(&mut self, number: usize, request: RequestId, reply: &Reply) {
        let Chore { worker, what, done, .. } = self.chores[number];
        if done {
            return;
        }
        self.chores[number].done = true;
        match (what, reply) {
            (What::Drain(lasts), Reply::Done { .. }) => self.agenda.after(lasts, Event::Resume(worker)),
            (What::Admit, Reply::Done { .. }) => {
                let node = &mut self.workers[worker];
                node.token = Some(secret(request));
                node.is_out = false;
                self.agenda.after(Millis(1), Event::WorkerUp(worker));
            }
            (What::Revoke, Reply::Done { .. }) => self.ledger.tallies.revocations += 1,
            // Somebody else has revoked it meanwhile.
            (What::Drain(_) | What::Revoke, Reply::Failed(_)) | (What::Resume, _) => {}
            (what, reply) => panic!("{what:?} of worker {worker} is answered by {reply:?}"),
        }
    }

    /// A worker learns that it was revoked: it ends, and makes itself a new key.
    pub(super) fn worker_revoked(&mut self, number: usize) {
        assert!(
            self.ledger.was_revoked(self.workers[number].key),
            "worker {number} is told that it is revoked, which nobody wrote down"
        );
        self.worker_thrown_out(number);
        self.guards.remove(&number);
        self.keys += 1;
        let node = &mut self.workers[number];
        node.key = key(3, self.keys);
        node.token = None;
        node.is_out = true;
        self.begin_chore(number, What::Admit);
    }

    /// Whatever still drains when all faults are over works again.
    pub(super) fn resume_all(&mut self) {
        for number in 0..self.workers.len() {
            self.begin_chore(number, What::Resume);
        }
    }
}

/// The hash of a secret that was made up for a request.
fn secret(request: RequestId) -> Digest {
    let mut hash = [0; 32];
    for (piece, bytes) in hash.chunks_exact_mut(8).enumerate() {
        let mixed = (request.0 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(u32::try_from(piece).unwrap_or(0));
        bytes.copy_from_slice(&mixed.to_be_bytes());
    }
    Digest(hash)
}
