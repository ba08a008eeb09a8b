//! The JSON of `doctor`.

use std::net::IpAddr;

use serde::Serialize;

use crate::model::NodeName;
use crate::model::examination::{Examination, ExaminedNode, ExaminedPair, Reach};

/// A cluster that was examined.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis<'a> {
    ok: bool,
    p2p: bool,
    discovery_port: u16,
    nodes: Vec<Node<'a>>,
    pairs: Vec<Pair<'a>>,
    findings: Vec<FindingShown<'a>>,
}

#[derive(Debug, Serialize)]
struct Node<'a> {
    name: &'a str,
    node_id: String,
    role: String,
    version: &'a str,
    address: Option<&'a str>,
    answered: bool,
    latency_ms: Option<f64>,
    clock_ahead_ms: Option<i64>,
    listens_for_beacons: Option<bool>,
    interfaces_without_multicast: &'a [String],
}

#[derive(Debug, Serialize)]
struct Pair<'a> {
    from: &'a str,
    to: &'a str,
    /// `null` where the one never dials the other.
    direct: Option<bool>,
    address: Option<&'a str>,
    error: Option<&'a str>,
    via: Option<&'a str>,
    linked: bool,
    beacon: bool,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct FindingShown<'a> {
    /// `problem` or `warning`.
    pub(crate) severity: &'a str,
    /// Whom it concerns.
    pub(crate) nodes: Vec<&'a str>,
    /// One line.
    pub(crate) text: &'a str,
    /// What to do.
    pub(crate) fix: &'a str,
}

impl<'a> Diagnosis<'a> {
    /// All of it.
    pub(crate) fn new(found: &'a Examination, findings: Vec<FindingShown<'a>>, ok: bool) -> Self {
        Self {
            ok,
            p2p: found.p2p,
            discovery_port: found.discovery_port,
            nodes: found.nodes.iter().map(Node::from).collect(),
            pairs: found.pairs.iter().map(Pair::from).collect(),
            findings,
        }
    }
}

impl<'a> From<&'a ExaminedNode> for Node<'a> {
    fn from(node: &'a ExaminedNode) -> Self {
        Self {
            name: node.name.as_str(),
            node_id: node.node.to_string(),
            role: node.role.to_string(),
            version: &node.version,
            address: node.address.as_deref(),
            answered: node.answered,
            latency_ms: node.latency_us.map(|us| us as f64 / 1000.0),
            clock_ahead_ms: node.answered.then_some(node.clock_ahead_us / 1000),
            listens_for_beacons: node.answered.then_some(node.listens_for_beacons),
            interfaces_without_multicast: &node.mute_interfaces,
        }
    }
}

impl<'a> From<&'a ExaminedPair> for Pair<'a> {
    fn from(pair: &'a ExaminedPair) -> Self {
        let (direct, address, error) = match &pair.reach {
            Reach::Reached(address) => (Some(true), Some(address.as_str()), None),
            Reach::Failed(why) => (Some(false), None, Some(why.as_str())),
            Reach::NotDialled => (None, None, None),
        };
        Self {
            from: NodeName::as_str(&pair.from),
            to: pair.to.as_str(),
            direct,
            address,
            error,
            via: pair.way.as_deref(),
            linked: pair.linked,
            beacon: pair.heard,
        }
    }
}

/// This machine, where no dispatcher answers.
#[derive(Debug, Serialize)]
pub(crate) struct Lonely<'a> {
    ok: bool,
    addresses: Vec<String>,
    listens_for_beacons: bool,
    interfaces_without_multicast: &'a [String],
    dispatchers_heard: &'a [String],
}

impl<'a> Lonely<'a> {
    /// What was seen here.
    pub(crate) fn new(addresses: &[IpAddr], listens: bool, mute: &'a [String], heard: &'a [String]) -> Self {
        Self {
            ok: false,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            listens_for_beacons: listens,
            interfaces_without_multicast: mute,
            dispatchers_heard: heard,
        }
    }
}
