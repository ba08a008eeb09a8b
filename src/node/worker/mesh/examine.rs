//! How this worker reaches the others, for `doctor`.
//!
//! Invariant: each peer is dialled from a fresh port, so that a firewall which
//! lets answers in but no strangers is noticed; nobody says hello, so no link
//! that stands is touched. Absent: beacons, and what is wrong (`cli`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Mesh, dialling};
use crate::model::NodeId;
use crate::model::examination::{ProbedPeer, Reach};
use crate::model::limits::MAX_BATCH;
use crate::node::addresses;
use crate::transport::{Endpoint, TransportError};
use crate::trust::Identity;

/// How long one peer may take to answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Peers that are dialled at a time.
const AT_ONCE: usize = 64;

impl Mesh {
    /// Dials everybody on the roster once.
    pub(in crate::node::worker) async fn probe_all(&self) -> Vec<ProbedPeer> {
        let mut wanted = self.0.peers_to_probe();
        wanted.truncate(MAX_BATCH);
        if wanted.is_empty() {
            return Vec::new();
        }
        let endpoint = match fresh_endpoint(&self.0.config.identity) {
            Ok(endpoint) => Arc::new(endpoint),
            Err(error) => return wanted.into_iter().map(|peer| peer.failed(&format!("failed to {error}"))).collect(),
        };
        let mut wanted = wanted.into_iter();
        let mut probes = JoinSet::new();
        let mut probed = Vec::new();
        loop {
            while probes.len() < AT_ONCE
                && let Some(peer) = wanted.next()
            {
                probes.spawn(peer.probe(Arc::clone(&endpoint)));
            }
            match probes.join_next().await {
                Some(Ok(done)) => probed.push(done),
                Some(Err(_)) => {}
                None => break,
            }
        }
        endpoint.close("seen").await;
        probed.sort_by_key(|peer| peer.node);
        probed
    }
}

impl super::Shared {
    fn peers_to_probe(&self) -> Vec<Probe> {
        let state = self.state();
        let peers = state.pairs.iter().map(|(node, pair)| {
            let heard = self.config.hearing.as_ref().map(|hearing| hearing.whereabouts(*node)).unwrap_or_default();
            let linked = pair.standing.as_ref().is_some_and(|standing| standing.link().0.is_open());
            Probe { node: *node, places: dialling::places(heard, pair.addresses()), linked, trouble: pair.trouble() }
        });
        peers.collect()
    }
}

/// One peer that is to be dialled.
struct Probe {
    node: NodeId,
    places: Vec<SocketAddr>,
    linked: bool,
    /// Why no link stands, when none does.
    trouble: String,
}

impl Probe {
    async fn probe(self, endpoint: Arc<Endpoint>) -> ProbedPeer {
        if self.places.is_empty() {
            return self.failed("it is not known where it listens");
        }
        let way = self.places.iter().find_map(|place| addresses::way_to(*place));
        let dialled = timeout(PATIENCE, dialling::race(endpoint, self.places.clone(), self.node)).await;
        let reach = match dialled {
            Ok(Ok(link)) if self.linked => Reach::Reached(link.remote_addr().to_string()),
            // It is there, and yet no link stands: what keeps it from that is worth more than the address.
            Ok(Ok(link)) => {
                Reach::Failed(format!("it is at {}, and no link stands: {}", link.remote_addr(), self.trouble))
            }
            Ok(Err(error)) => Reach::Failed(format!("failed to {error}")),
            Err(_) => Reach::Failed(dialling::DialFailure::NoAnswer(self.places.clone()).to_string()),
        };
        ProbedPeer { node: self.node, reach, tried: self.tried(), way, linked: self.linked }
    }

    fn failed(&self, why: &str) -> ProbedPeer {
        let reach = Reach::Failed(why.to_owned());
        ProbedPeer { node: self.node, reach, tried: self.tried(), way: None, linked: self.linked }
    }

    fn tried(&self) -> Vec<String> {
        self.places.iter().map(ToString::to_string).collect()
    }
}

/// Both families by one socket where the machine has both.
fn fresh_endpoint(identity: &Identity) -> Result<Endpoint, TransportError> {
    let both = Endpoint::bind(identity, (Ipv6Addr::UNSPECIFIED, 0).into(), &[]);
    both.or_else(|_| Endpoint::bind(identity, (Ipv4Addr::UNSPECIFIED, 0).into(), &[]))
}
