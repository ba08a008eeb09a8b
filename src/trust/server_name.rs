//! Server names: how a TLS client names the node that it expects.
//!
//! Invariant: a name that [`server_name_text`] made is read back as the same node; every other name is none.

use rustls::pki_types::ServerName;

use crate::model::NodeId;

/// What follows a node id in a server name. `.invalid` is never resolved (RFC 6761 §6.4).
const NAME_SUFFIX: &str = ".octaskly.invalid";

/// The server name that asks for nobody in particular; it is no node id, so no pinned verifier takes it.
pub const JOIN_NAME: &str = "join.octaskly.invalid";

/// The server name that asks for the node `id` and no other.
#[must_use]
pub fn server_name_text(id: NodeId) -> String {
    format!("{id}{NAME_SUFFIX}")
}

/// The node that a server name asks for.
#[must_use]
pub(super) fn named_node(name: &ServerName<'_>) -> Option<NodeId> {
    match name {
        ServerName::DnsName(name) => name.as_ref().strip_suffix(NAME_SUFFIX)?.parse().ok(),
        _ => None,
    }
}
