//! What `doctor` finds out: how every node of a cluster reaches, hears and
//! trusts every other one.
//!
//! A worker is asked by [`StreamPurpose::Examine`] and answers with
//! [`WorkerFindings`]; the dispatcher puts these together as [`Examination`].
//! The one invariant: it is what was observed; what is wrong with it, and what to
//! do about that, is for whoever shows it to say (`cli/`).
//!
//! [`StreamPurpose::Examine`]: super::messages::StreamPurpose::Examine

use serde::{Deserialize, Serialize};

use super::compact::{batch, rows};
use super::{NodeId, NodeName, Role, Timestamp};

/// How one worker sees the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFindings {
    /// What its wall clock showed when it answered.
    pub clock: Timestamp,
    /// Whether it has the port of beacons.
    pub listens_for_beacons: bool,
    /// Interfaces that are up and carry no multicast.
    #[serde(deserialize_with = "batch")]
    pub mute_interfaces: Vec<String>,
    /// Whose beacons came while all nodes were asked to send one.
    #[serde(deserialize_with = "batch")]
    pub heard: Vec<NodeId>,
    /// Every other worker on its roster, dialled anew.
    #[serde(deserialize_with = "batch")]
    pub peers: Vec<ProbedPeer>,
}

/// What came of dialling one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedPeer {
    /// Whom.
    pub node: NodeId,
    /// What came of it.
    pub reach: Reach,
    /// Where it was looked for.
    #[serde(deserialize_with = "batch")]
    pub tried: Vec<String>,
    /// The interface and the own address by which packets to it leave, as `eth0 192.168.1.11`.
    pub way: Option<String>,
    /// Whether a link with it stands.
    pub linked: bool,
}

/// Whether a node is reached from another one by a connection that was not there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// It was dialled at this address and proved its key there.
    Reached(String),
    /// It was not reached, for this reason; it completes "… cannot reach …: ".
    Failed(String),
    /// It never dials the other one.
    NotDialled,
}

/// A whole cluster, examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// Whether nodes of this cluster send beacons and talk to each other.
    pub p2p: bool,
    /// The port of beacons.
    pub discovery_port: u16,
    /// The dispatcher first, then workers by name.
    #[serde(deserialize_with = "rows")]
    pub nodes: Vec<ExaminedNode>,
    /// Each ordered pair of them, except where there are more than a reply may have.
    #[serde(deserialize_with = "rows")]
    pub pairs: Vec<ExaminedPair>,
    /// Enrolled clients that are not admins: they came by a token.
    pub clients: u64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExaminedNode {
    /// What it is called.
    pub name: NodeName,
    /// Its key.
    pub node: NodeId,
    /// What it is.
    pub role: Role,
    /// Its software version.
    pub version: String,
    /// Where it is.
    pub address: Option<String>,
    /// Whether it is connected and has answered; the next four say nothing otherwise.
    pub answered: bool,
    /// Round trip between it and the dispatcher in microseconds.
    pub latency_us: Option<u64>,
    /// How far its wall clock is ahead of the dispatcher's, in microseconds.
    pub clock_ahead_us: i64,
    /// Whether it has the port of beacons.
    pub listens_for_beacons: bool,
    /// Interfaces of it that are up and carry no multicast.
    #[serde(deserialize_with = "batch")]
    pub mute_interfaces: Vec<String>,
    /// Whether it was let in because it runs as the dispatcher's own user.
    pub same_user: bool,
}

/// One node as another one reaches and hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExaminedPair {
    /// Who looks.
    pub from: NodeName,
    /// At whom.
    pub to: NodeName,
    /// Whether it is reached.
    pub reach: Reach,
    /// Where it was looked for.
    #[serde(deserialize_with = "batch")]
    pub tried: Vec<String>,
    /// The interface and the own address by which packets to it leave.
    pub way: Option<String>,
    /// Whether a link between the two stands.
    pub linked: bool,
    /// Whether its beacon was heard.
    pub heard: bool,
}
