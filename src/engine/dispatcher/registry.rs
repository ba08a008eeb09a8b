//! Who may act in which role under which name, and who never may again.
//!
//! Invariant: a key has one role, and among workers (and among all others) a
//! name belongs to one key. A revoked key has no name and is never enrolled
//! again. Absent: who is connected, and how a key proved itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::limits::{MAX_REVOKED, REVOKED_SHOWN};
use crate::model::node::ME;
use crate::model::records::{Act, EnrolledNode};
use crate::model::{Actor, Digest, KeyNo, NodeId, NodeName, Role, Timestamp};

/// The enrolled keys, and the revoked ones.
#[derive(Debug, Default)]
pub(super) struct Registry {
    nodes: BTreeMap<NodeId, EnrolledNode>,
    /// Workers are told apart from clients: the name of one means nothing to the other.
    by_name: BTreeMap<(bool, NodeName), NodeId>,
    revoked: BTreeMap<NodeId, EnrolledNode>,
    /// The same in the order in which they were revoked.
    revocations: BTreeSet<(Timestamp, NodeId)>,
    /// What clients are called, the revoked ones too.
    client_names: BTreeMap<KeyNo, NodeName>,
}

fn key(role: Role, name: &NodeName) -> (bool, NodeName) {
    (role == Role::Worker, name.clone())
}

impl Registry {
    /// As it was restored.
    pub(super) fn new(nodes: Vec<EnrolledNode>) -> Self {
        let mut registry = Self::default();
        for node in nodes {
            match node.revoked_at {
                None => registry.enrol(node),
                Some(at) => registry.keep_out(node, at),
            }
        }
        registry
    }

    /// What is known of an enrolled key.
    pub(super) fn get(&self, node: NodeId) -> Option<&EnrolledNode> {
        self.nodes.get(&node)
    }

    /// Its role, when it is enrolled.
    pub(super) fn role(&self, node: NodeId) -> Option<Role> {
        self.nodes.get(&node).map(|enrolled| enrolled.role)
    }

    /// The role that a key had before it was revoked, if it was.
    pub(super) fn revoked_role(&self, node: NodeId) -> Option<Role> {
        self.revoked.get(&node).map(|revoked| revoked.role)
    }

    /// What a client is called, or was called when it was revoked.
    pub(super) fn client_name(&self, key: KeyNo) -> NodeName {
        self.client_names.get(&key).cloned().unwrap_or_else(|| NodeName::of_forgotten(key))
    }

    /// Who did something, under the name it has now.
    pub(super) fn actor(&self, key: KeyNo) -> Actor {
        Actor { key, name: self.client_name(key) }
    }

    /// Which key has this name in this role.
    pub(super) fn named(&self, role: Role, name: &NodeName) -> Option<NodeId> {
        self.by_name.get(&key(role, name)).copied()
    }

    /// Whether a key that had this name in this role was revoked.
    pub(super) fn was_revoked(&self, role: Role, name: &NodeName) -> bool {
        let lost = key(role, name);
        self.revoked.values().any(|revoked| key(revoked.role, &revoked.name) == lost)
    }

    /// The enrolled keys.
    pub(super) fn enrolled(&self) -> impl Iterator<Item = &EnrolledNode> {
        self.nodes.values()
    }

    /// Keys revoked not long ago, the newest of each name, unless that name is in use again.
    pub(super) fn lately_revoked(&self, now: Timestamp) -> impl Iterator<Item = &EnrolledNode> {
        let mut seen = BTreeSet::new();
        let newest_first = self.revocations.iter().rev().take_while(move |(at, _)| *at + REVOKED_SHOWN > now);
        newest_first.filter_map(|(_, node)| self.revoked.get(node)).filter(move |revoked| {
            self.named(revoked.role, &revoked.name).is_none() && seen.insert(key(revoked.role, &revoked.name))
        })
    }

    /// The name that a node of this role gets when it asks for none: the one it has, else `wanted` (with the smallest
    /// number from 2 that makes it free), else the smallest free number that is not `reserved`.
    pub(super) fn name_for(
        &self,
        node: NodeId,
        role: Role,
        wanted: Option<&NodeName>,
        reserved: impl Fn(&NodeName) -> bool,
    ) -> NodeName {
        if let Some(enrolled) = self.nodes.get(&node) {
            return enrolled.name.clone();
        }
        let word = if role == Role::Worker { "worker" } else { "client" };
        let numbered = |n: u64| match wanted {
            Some(wanted) if n == 1 => Some(wanted.clone()),
            Some(wanted) => Some(wanted.numbered(n)),
            None => format!("{word}-{n}").parse().ok(),
        };
        let is_free = |name: &NodeName| self.named(role, name).is_none() && !reserved(name) && name.as_str() != ME;
        match (1u64..).filter_map(numbered).find(is_free) {
            Some(name) => name,
            None => unreachable!("there are more numbers than nodes"),
        }
    }

    /// Enrols a key; drops the key that had its name.
    pub(super) fn enrol(&mut self, enrolled: EnrolledNode) {
        assert!(!self.revoked.contains_key(&enrolled.node), "a revoked key is enrolled");
        self.drop_key(enrolled.node);
        if let Some(former) = self.named(enrolled.role, &enrolled.name) {
            self.drop_key(former);
        }
        self.by_name.insert(key(enrolled.role, &enrolled.name), enrolled.node);
        self.note_client(&enrolled);
        self.nodes.insert(enrolled.node, enrolled);
    }

    /// Throws an enrolled key out for good.
    pub(super) fn revoke(&mut self, now: Timestamp, node: NodeId) -> EnrolledNode {
        let Some(enrolled) = self.drop_key(node) else { unreachable!("a stranger is revoked") };
        self.keep_out(enrolled.clone(), now);
        enrolled
    }

    /// Whether a worker is to be given new work, and who says so.
    pub(super) fn set_draining(&mut self, node: NodeId, draining: bool, act: Act) {
        let Some(enrolled) = self.nodes.get_mut(&node) else { unreachable!("a stranger drains") };
        enrolled.draining = draining;
        enrolled.drain_act = Some(act);
    }

    fn note_client(&mut self, node: &EnrolledNode) {
        if node.role != Role::Worker {
            self.client_names.insert(node.node.key_no(), node.name.clone());
        }
    }

    /// Where a worker's key was locked when it joined.
    pub(super) fn set_place(&mut self, node: NodeId, place: Digest) {
        let Some(enrolled) = self.nodes.get_mut(&node) else { unreachable!("a stranger joins") };
        enrolled.place = Some(place);
    }

    fn keep_out(&mut self, node: EnrolledNode, at: Timestamp) {
        self.revocations.insert((at, node.node));
        self.note_client(&node);
        self.revoked.insert(node.node, EnrolledNode { revoked_at: Some(at), ..node });
        if self.revoked.len() > MAX_REVOKED
            && let Some((_, oldest)) = self.revocations.pop_first()
        {
            self.revoked.remove(&oldest);
            self.client_names.remove(&oldest.key_no());
        }
    }

    fn drop_key(&mut self, node: NodeId) -> Option<EnrolledNode> {
        let former = self.nodes.remove(&node)?;
        self.by_name.remove(&key(former.role, &former.name));
        Some(former)
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert_eq!(self.nodes.len(), self.by_name.len(), "enrolled keys and their names are not as many");
        for (node, enrolled) in &self.nodes {
            assert_eq!(enrolled.node, *node, "a key is enrolled under another");
            assert_eq!(self.named(enrolled.role, &enrolled.name), Some(*node), "a name leads to another key");
            assert!(enrolled.revoked_at.is_none(), "a revoked key is enrolled");
            assert!(enrolled.role == Role::Worker || !enrolled.draining, "{} drains and is no worker", enrolled.name);
        }
        for known in self.nodes.values().chain(self.revoked.values()).filter(|known| known.role != Role::Worker) {
            assert_eq!(self.client_name(known.node.key_no()), known.name, "a client is known by another name");
        }
        assert!(self.revoked.len() <= MAX_REVOKED, "more revoked keys are kept than may be");
        assert_eq!(self.revoked.len(), self.revocations.len(), "revoked keys and revocations are not as many");
        for (node, revoked) in &self.revoked {
            assert!(!self.nodes.contains_key(node), "{} is enrolled and revoked", revoked.name);
            let at = revoked.revoked_at.map(|at| (at, *node));
            assert!(at.is_some_and(|entry| self.revocations.contains(&entry)), "a revoked key was never revoked");
        }
    }
}
