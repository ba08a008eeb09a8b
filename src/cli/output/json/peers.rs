//! The JSON of `peers`.

use serde::Serialize;

use super::super::text::rfc3339;
use crate::model::views::{PeerLink, PeerView};

/// One node as another one sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Peer<'a> {
    name: &'a str,
    node_id: String,
    role: String,
    address: Option<String>,
    heard_by: &'a str,
    heard_at: Option<String>,
    link: Option<PeerLink>,
}

impl<'a> From<&'a PeerView> for Peer<'a> {
    fn from(view: &'a PeerView) -> Self {
        Self {
            name: view.name.as_str(),
            node_id: view.node.to_string(),
            role: view.role.to_string(),
            address: peer_address(view),
            heard_by: view.heard_by.as_str(),
            heard_at: view.heard_at.map(rfc3339),
            link: (view.link != PeerLink::Absent).then_some(view.link),
        }
    }
}

/// Where a peer was heard from: with the port where it listens, and without one when it does not.
pub(crate) fn peer_address(view: &PeerView) -> Option<String> {
    let address = view.address.as_deref()?;
    let bare = address.strip_suffix(":0").unwrap_or(address);
    Some(if bare.len() == address.len() { bare } else { bare.trim_matches(['[', ']']) }.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Millis, NodeId, Role, Timestamp};

    /// A worker that its dispatcher heard twelve seconds ago.
    pub(crate) fn sample_peer() -> PeerView {
        PeerView {
            name: "worker-02".parse().expect("a name"),
            node: NodeId([3; 32]),
            role: Role::Worker,
            address: Some("192.168.1.12:0".to_owned()),
            heard_by: "dispatcher".parse().expect("a name"),
            heard_at: Some(Timestamp::from_millis(1_000)),
            silent_for: Some(Millis(12_300)),
            link: PeerLink::Standing,
        }
    }

    #[test]
    fn a_peer_has_the_stable_keys() {
        let expected = json!({
            "name": "worker-02",
            "node_id": NodeId([3; 32]).to_string(),
            "role": "worker",
            "address": "192.168.1.12",
            "heard_by": "dispatcher",
            "heard_at": "1970-01-01T00:00:01.000Z",
            "link": "standing",
        });
        assert_eq!(serde_json::to_value(Peer::from(&sample_peer())).expect("JSON"), expected);
        let unheard = PeerView { address: None, heard_at: None, link: PeerLink::Absent, ..sample_peer() };
        let shown = serde_json::to_value(Peer::from(&unheard)).expect("JSON");
        assert!(["address", "heard_at", "link"].iter().all(|key| shown[key].is_null()), "{shown}");
    }

    #[test]
    fn an_address_has_a_port_only_where_somebody_listens() {
        let at = |address: &str| peer_address(&PeerView { address: Some(address.to_owned()), ..sample_peer() });
        assert_eq!(at("10.0.0.1:7878").as_deref(), Some("10.0.0.1:7878"));
        assert_eq!(at("[fe80::1%2]:0").as_deref(), Some("fe80::1%2"));
        assert_eq!(at("[::1]:70").as_deref(), Some("[::1]:70"));
    }
}
