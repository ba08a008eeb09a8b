//! Workers that wait until an admin has typed the code which they show.
//!
//! Invariant: a waiting worker has a name that nobody else waits under, one
//! link, and no rights at all. Absent: the code and its proofs, which never
//! come to the engine: the shell says only whom to let in.

use std::collections::BTreeMap;

use super::admission::Arrival;
use super::{CloseReason, DispatcherEngine, Notice, Outbound, Peer, refusals};
use crate::model::handshake::{Answer, Refusal, Waiting};
use crate::model::limits::MAX_JOINING;
use crate::model::{LinkId, NodeId, NodeName, Role, Timestamp};

/// A worker that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joiner {
    /// Its key.
    pub(super) node: NodeId,
    /// Where it waits.
    pub(super) link: LinkId,
    /// Its software version.
    pub(super) software: String,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    waiting: BTreeMap<NodeName, Joiner>,
}

impl Lobby {
    /// Who waits under this name.
    pub(super) fn named(&self, name: &NodeName) -> Option<&Joiner> {
        self.waiting.get(name)
    }

    /// Where this key waits.
    fn link_of(&self, node: NodeId) -> Option<LinkId> {
        self.waiting.values().find(|joiner| joiner.node == node).map(|joiner| joiner.link)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeName, &Joiner)> {
        self.waiting.iter()
    }

    /// Somebody no longer waits under this name.
    pub(super) fn remove(&mut self, name: &NodeName) {
        let joiner = self.waiting.remove(name);
        assert!(joiner.is_some(), "nobody waits as {name}");
    }
}

impl DispatcherEngine {
    /// A node wants to wait for approval.
    pub(super) fn admit_joiner(
        &mut self,
        now: Timestamp,
        arrival: &Arrival<'_>,
        protocol: u16,
        asked: Option<&NodeName>,
    ) -> Result<(), Refusal> {
        match self.registry.role(arrival.node) {
            // A worker that no longer knows its dispatcher is approved anew.
            None | Some(Role::Worker) => {}
            Some(other) => return Err(refusals::wrong_role(other, Role::Worker)),
        }
        let name = self.joiners_name(now, arrival.node, asked)?;
        let before = self.lobby.link_of(arrival.node);
        if before.is_none() && self.lobby.waiting.len() >= MAX_JOINING {
            return Err(refusals::too_many_joining());
        }
        if let Some(link) = before {
            self.forget_joiner(link);
            self.outbox.close(link, CloseReason::Superseded, "this worker has connected anew");
        }
        let (node, link) = (arrival.node, arrival.link);
        self.links.insert(link, Peer::Joining { node, name: name.clone() });
        let software = arrival.hello.software.clone();
        self.lobby.waiting.insert(name.clone(), Joiner { node, link, software: software.clone() });
        self.outbox.notice(Notice::NodeWaiting { link, node, name: name.clone() });
        let waiting = Waiting { protocol, software: self.config.software.clone(), name };
        self.outbox.send(link, Outbound::Answer(Answer::Waiting(waiting)));
        Ok(())
    }

    /// The name under which a node may wait, unless it may not.
    fn joiners_name(&self, now: Timestamp, node: NodeId, asked: Option<&NodeName>) -> Result<NodeName, Refusal> {
        let taken = |name: &NodeName| self.lobby.named(name).is_some_and(|joiner| joiner.node != node);
        let name = asked.cloned().unwrap_or_else(|| self.registry.name_for(node, Role::Worker, None, taken));
        if taken(&name) {
            return Err(refusals::name_of_joiner(&name));
        }
        if self.is_live_name_of_another(now, node, &name) {
            return Err(refusals::name_of_live_worker(&name));
        }
        Ok(name)
    }

    /// Somebody no longer waits on this link.
    pub(super) fn forget_joiner(&mut self, link: LinkId) {
        match self.links.remove(&link) {
            Some(Peer::Joining { name, .. }) => self.lobby.remove(&name),
            _ => unreachable!("nobody waits on this link"),
        }
    }

    /// Panics with what is broken about those who wait.
    pub(super) fn check_lobby(&self) {
        assert!(self.lobby.waiting.len() <= MAX_JOINING, "more wait for approval than may");
        let mut known = 0;
        for (link, peer) in &self.links {
            if let Peer::Joining { node, name } = peer {
                let joiner = self.lobby.named(name);
                let same = joiner.is_some_and(|joiner| joiner.node == *node && joiner.link == *link);
                assert!(same, "the lobby does not know who waits as {name}");
                known += 1;
            }
        }
        assert_eq!(self.lobby.waiting.len(), known, "the lobby knows somebody who is not there");
        for (name, joiner) in self.lobby.iter() {
            assert!(self.registry.revoked_role(joiner.node).is_none(), "a revoked key waits as {name}");
        }
    }
}
