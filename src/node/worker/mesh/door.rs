//! The socket by which peers come in, and by which this worker goes to them.
//!
//! The one invariant: it is open only between a welcome that wants direct links
//! and the end of that membership. One socket serves both ways, so that a
//! firewall which lets out lets the answers in. Absent: who may come in
//! (`visitors`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{Shared, members, visitors};
use crate::model::NodeId;
use crate::model::limits::MAX_PEER_ADDRESSES;
use crate::node::{NodeError, addresses};
use crate::transport::{Alpn, Endpoint, TransportError};
use crate::trust::Identity;

/// Ports of workers, one each, unless `--listen` says otherwise: few, so that a firewall rule can name them.
const PORTS: RangeInclusive<u16> = 7879..=7899;

/// Tries at a port that the user gave, and the pause between them.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Where the user wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::node::worker) struct Door {
    /// `--listen`.
    pub(in crate::node::worker) listen: Option<SocketAddr>,
    /// `--advertise`.
    pub(in crate::node::worker) advertise: Option<SocketAddr>,
}

impl Door {
    /// Opens it. `None`, with a warning, when no port of our own choice is free: then this worker has no direct links.
    pub(super) async fn open(&self, identity: &Identity) -> Result<Option<Endpoint>, NodeError> {
        if let Some(address) = self.listen {
            return exactly(identity, address).await.map(Some);
        }
        match first_free(identity) {
            Ok(Some(endpoint)) => Ok(Some(endpoint)),
            Ok(None) => {
                let (first, last) = (PORTS.start(), PORTS.end());
                tracing::warn!(
                    "This worker has no direct links to others: the ports {first} to {last} are taken; \
                     give it another one with --listen"
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// At which addresses others may find a worker that listens at `bound`, the likeliest first.
    pub(super) fn addresses(&self, bound: SocketAddr) -> Vec<SocketAddr> {
        let mut found: Vec<SocketAddr> = self.advertise.into_iter().map(|it| with_port(it, bound.port())).collect();
        let reachable = addresses::reachable_at(bound).into_iter().map(|ip| SocketAddr::new(ip, bound.port()));
        found.extend(reachable.filter(|at| Some(*at) != self.advertise));
        if bound.ip().is_loopback() {
            found.push(bound);
        }
        found.truncate(MAX_PEER_ADDRESSES);
        found
    }
}

/// The address that the user gave. A start of this worker that is just ending may still have it.
async fn exactly(identity: &Identity, address: SocketAddr) -> Result<Endpoint, NodeError> {
    let mut tries = 1;
    loop {
        match Endpoint::bind(identity, address, &[Alpn::Peer]) {
            Err(TransportError::PortInUse(_)) if tries < TRIES => tries += 1,
            bound => return bound.map_err(|source| NodeError::PeerSocket { address, source }),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// Port 0 stands for the one that was bound.
fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    if address.port() == 0 {
        address.set_port(port);
    }
    address
}

fn first_free(identity: &Identity) -> Result<Option<Endpoint>, TransportError> {
    for port in PORTS {
        match on_all_interfaces(identity, port) {
            Err(TransportError::PortInUse(_)) => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// Both families by one socket; IPv4 alone on a machine without IPv6.
fn on_all_interfaces(identity: &Identity, port: u16) -> Result<Endpoint, TransportError> {
    match Endpoint::bind(identity, (Ipv6Addr::UNSPECIFIED, port).into(), &[Alpn::Peer]) {
        Err(TransportError::Bind { source, .. }) if lacks_ipv6(&source) => {
            Endpoint::bind(identity, (Ipv4Addr::UNSPECIFIED, port).into(), &[Alpn::Peer])
        }
        other => other,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

/// An open door, and those who stand at it.
pub(super) struct Open {
    pub(super) dispatcher: NodeId,
    endpoint: Arc<Endpoint>,
    tasks: [tokio::task::AbortHandle; 2],
}

impl Open {
    /// Begins to let peers in.
    pub(super) fn new(dispatcher: NodeId, endpoint: Endpoint, shared: &Arc<Shared>) -> Self {
        let endpoint = Arc::new(endpoint);
        tracing::debug!("Listening for other workers on UDP {}", endpoint.local_addr().port());
        let visitors = tokio::spawn(visitors::receive_all(Arc::downgrade(shared), Arc::clone(&endpoint)));
        let expiry = tokio::spawn(members::watch_expiry(Arc::downgrade(shared)));
        Self { dispatcher, endpoint, tasks: [visitors.abort_handle(), expiry.abort_handle()] }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.endpoint)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}
