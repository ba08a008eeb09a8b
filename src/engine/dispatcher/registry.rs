//! Who may act in which role under which name.
//!
//! Invariant: a key has one role, and among workers (and among all others) a
//! name belongs to one key. Absent: who is connected, and how a key proved
//! itself.

use std::collections::BTreeMap;

use crate::model::records::EnrolledNode;
use crate::model::{NodeId, NodeName, Role};

/// The enrolled keys.
#[derive(Debug, Default)]
pub(super) struct Registry {
    nodes: BTreeMap<NodeId, EnrolledNode>,
    /// Workers are told apart from clients: the name of one means nothing to the other.
    by_name: BTreeMap<(bool, NodeName), NodeId>,
}

fn key(role: Role, name: &NodeName) -> (bool, NodeName) {
    (role == Role::Worker, name.clone())
}

impl Registry {
    /// What is known of a key.
    pub(super) fn get(&self, node: NodeId) -> Option<&EnrolledNode> {
        self.nodes.get(&node)
    }

    /// Its role, when it is enrolled.
    pub(super) fn role(&self, node: NodeId) -> Option<Role> {
        self.nodes.get(&node).map(|enrolled| enrolled.role)
    }

    /// Which key has this name in this role.
    pub(super) fn named(&self, role: Role, name: &NodeName) -> Option<NodeId> {
        self.by_name.get(&key(role, name)).copied()
    }

    /// The name that a node of this role gets when it asks for none: the one it has, else the smallest free number.
    pub(super) fn name_for(&self, node: NodeId, role: Role) -> NodeName {
        if let Some(enrolled) = self.nodes.get(&node) {
            return enrolled.name.clone();
        }
        let word = if role == Role::Worker { "worker" } else { "client" };
        let numbered = (1u64..).filter_map(|n| format!("{word}-{n}").parse::<NodeName>().ok());
        match numbered.into_iter().find(|name| self.named(role, name).is_none()) {
            Some(name) => name,
            None => unreachable!("there are more numbers than nodes"),
        }
    }

    /// Enrols a key; drops the key that had its name.
    pub(super) fn enrol(&mut self, enrolled: EnrolledNode) {
        self.drop_key(enrolled.node);
        if let Some(former) = self.named(enrolled.role, &enrolled.name) {
            self.drop_key(former);
        }
        self.by_name.insert(key(enrolled.role, &enrolled.name), enrolled.node);
        self.nodes.insert(enrolled.node, enrolled);
    }

    fn drop_key(&mut self, node: NodeId) {
        if let Some(former) = self.nodes.remove(&node) {
            self.by_name.remove(&key(former.role, &former.name));
        }
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert_eq!(self.nodes.len(), self.by_name.len(), "enrolled keys and their names are not as many");
        for (node, enrolled) in &self.nodes {
            assert_eq!(enrolled.node, *node, "a key is enrolled under another");
            assert_eq!(self.named(enrolled.role, &enrolled.name), Some(*node), "a name leads to another key");
        }
    }
}
