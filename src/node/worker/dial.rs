//! One try at joining a dispatcher: where to look, whom to expect, what to say.
//!
//! The one invariant: nobody is believed to be the dispatcher but the key that
//! the access file names. Absent: trying again (`connector`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::options::DispatcherAddress;
use crate::model::NodeId;
use crate::model::handshake::{Hello, Refusal, Welcome};
use crate::node::NodeError;
use crate::node::dispatcher::DISPATCHER_PORT;
use crate::transport::{Alpn, Endpoint, FrameRecv, FrameSend, Link, TransportError};
use crate::trust::{AccessFile, Identity, TrustError, access};

/// Where a worker learns which key its dispatcher has.
#[derive(Clone)]
pub(super) enum AccessSource {
    /// The access file of its home, read anew at every try: a dispatcher may come later, or come back elsewhere.
    File(PathBuf),
    /// Told once by the dispatcher of the same process, which starts at the same time (an embedded cluster).
    Promised(watch::Receiver<Option<AccessFile>>),
}

/// What joining takes. Sockets are opened at the first use and kept.
pub(super) struct Dialler {
    identity: Arc<Identity>,
    source: AccessSource,
    address: DispatcherAddress,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

/// A link on which the dispatcher said welcome.
pub(super) struct Joined {
    pub(super) dispatcher: NodeId,
    pub(super) address: SocketAddr,
    pub(super) link: Link,
    pub(super) welcome: Welcome,
    pub(super) send: FrameSend,
    pub(super) recv: FrameRecv,
}

/// Why a try did not lead to a welcome.
#[derive(Debug)]
pub(super) enum DialError {
    /// No dispatcher has left its access file here yet.
    NoneKnown {
        /// Where it would be.
        access_file: PathBuf,
    },
    /// The dispatcher of the same process did not start.
    Forsaken,
    /// The access file is there and cannot be used.
    Trust(TrustError),
    /// The host given cannot be resolved.
    UnknownHost {
        /// The host as it was given.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// Nobody let us talk to the dispatcher; the error is of the last address tried.
    Unreachable {
        /// The addresses tried.
        tried: Vec<SocketAddr>,
        /// The last failure.
        source: TransportError,
    },
    /// It answered, with no.
    Refused(Refusal),
    /// This node has no socket to dial from.
    NoSocket(TransportError),
}

impl Dialler {
    pub(super) fn new(identity: Arc<Identity>, source: AccessSource, address: DispatcherAddress) -> Self {
        Self { identity, source, address, v4: None, v6: None }
    }

    /// Tries every address in order and stops at the first answer, be it yes or no.
    pub(super) async fn dial(&mut self, hello: impl Fn(&AccessFile) -> Hello) -> Result<Joined, DialError> {
        let access = self.access().await?;
        let candidates = candidates(&self.address, &access).await?;
        let mut failed = TransportError::EndpointClosed;
        for address in &candidates {
            match self.join(*address, &access, &hello(&access)).await {
                Ok(joined) => return Ok(joined),
                Err(DialError::Unreachable { source, .. }) => failed = source,
                Err(other) => return Err(other),
            }
        }
        Err(DialError::Unreachable { tried: candidates, source: failed })
    }

    /// Closes the sockets; what was sent gets a moment to arrive.
    pub(super) async fn close(self, text: &str) {
        for endpoint in [self.v4, self.v6].into_iter().flatten() {
            endpoint.close(text).await;
        }
    }

    async fn access(&self) -> Result<AccessFile, DialError> {
        match &self.source {
            AccessSource::Promised(promise) => match promise.clone().wait_for(Option::is_some).await {
                Ok(access) => access.clone().ok_or(DialError::Forsaken),
                Err(_gone) => Err(DialError::Forsaken),
            },
            AccessSource::File(path) => match access::read(path) {
                Ok(Some(access)) => Ok(access),
                Ok(None) => Err(DialError::NoneKnown { access_file: path.clone() }),
                Err(error) => Err(DialError::Trust(error)),
            },
        }
    }

    async fn join(&mut self, address: SocketAddr, access: &AccessFile, hello: &Hello) -> Result<Joined, DialError> {
        let endpoint = self.endpoint(address)?;
        let unreachable = |source| match source {
            TransportError::Refused(refusal) => DialError::Refused(refusal),
            source => DialError::Unreachable { tried: vec![address], source },
        };
        let link = endpoint.connect(address, access.dispatcher, Alpn::Worker).await.map_err(unreachable)?;
        let (welcome, send, recv) = crate::transport::hello(&link, hello).await.map_err(unreachable)?;
        Ok(Joined { dispatcher: access.dispatcher, address, link, welcome, send, recv })
    }

    /// The socket of `address`' family.
    fn endpoint(&mut self, address: SocketAddr) -> Result<&Endpoint, DialError> {
        let (slot, any): (_, IpAddr) = match address {
            SocketAddr::V4(_) => (&mut self.v4, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (&mut self.v6, Ipv6Addr::UNSPECIFIED.into()),
        };
        match slot {
            Some(endpoint) => Ok(endpoint),
            None => {
                let endpoint = Endpoint::bind(&self.identity, (any, 0).into(), &[]).map_err(DialError::NoSocket)?;
                Ok(slot.insert(endpoint))
            }
        }
    }
}

/// Fails when `--dispatcher` names a host that cannot be resolved: most likely it is misspelt,
/// and a worker that waits for it would wait for ever.
pub(super) async fn check_host(address: &DispatcherAddress) -> Result<(), NodeError> {
    match &address.host {
        None => Ok(()),
        Some(host) => match resolve(host, 1).await {
            Ok(_) => Ok(()),
            Err(source) => Err(NodeError::UnknownHost { host: host.clone(), source }),
        },
    }
}

/// Where to try, in order.
///
/// What the user gave is kept to; what was left open comes from the access
/// file. A host without a port is tried at the seed's port first, then at the
/// one that the dispatcher really has.
async fn candidates(address: &DispatcherAddress, access: &AccessFile) -> Result<Vec<SocketAddr>, DialError> {
    let mut candidates: Vec<SocketAddr> = match &address.host {
        None => access.addresses.iter().map(|at| with_port(*at, address.port)).collect(),
        Some(host) => {
            let ports = address.port.map_or(vec![DISPATCHER_PORT, access.port], |port| vec![port]);
            let resolved = resolve(host, ports[0]).await;
            let resolved = resolved.map_err(|source| DialError::UnknownHost { host: host.clone(), source })?;
            ports.iter().flat_map(|port| resolved.iter().map(|at| with_port(*at, Some(*port)))).collect()
        }
    };
    let mut seen = Vec::new();
    candidates.retain(|at| {
        let new = !seen.contains(at);
        seen.push(*at);
        new
    });
    Ok(candidates)
}

/// The addresses of `host`, IPv4 first: a dispatcher listens on IPv4 unless told otherwise.
async fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

fn with_port(address: SocketAddr, port: Option<u16>) -> SocketAddr {
    SocketAddr::new(address.ip(), port.unwrap_or(address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> AccessFile {
        AccessFile {
            dispatcher: NodeId([1; 32]),
            port: 8080,
            addresses: vec!["127.0.0.1:8080".parse().expect("an address"), "[::1]:8080".parse().expect("an address")],
            secret: [0; 32],
        }
    }

    async fn tried(host: Option<&str>, port: Option<u16>) -> Vec<String> {
        let address = DispatcherAddress { host: host.map(str::to_owned), port };
        let candidates = candidates(&address, &access()).await.expect("candidates");
        candidates.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn without_options_the_access_file_says_where_to_look() {
        assert_eq!(tried(None, None).await, ["127.0.0.1:8080", "[::1]:8080"]);
    }

    #[tokio::test]
    async fn a_given_port_replaces_the_one_of_the_access_file() {
        assert_eq!(tried(None, Some(9)).await, ["127.0.0.1:9", "[::1]:9"]);
    }

    #[tokio::test]
    async fn a_given_host_is_tried_at_the_usual_port_and_then_at_the_dispatchers_own() {
        assert_eq!(tried(Some("10.0.0.1"), None).await, ["10.0.0.1:7878", "10.0.0.1:8080"]);
        assert_eq!(tried(Some("[::1]"), Some(9)).await, ["[::1]:9"]);
    }

    #[tokio::test]
    async fn an_unknown_host_is_named_at_the_start() {
        let address = DispatcherAddress { host: Some("no-such-host.invalid".to_owned()), port: None };
        let error = check_host(&address).await.expect_err("nobody has this name");
        assert!(matches!(error, NodeError::UnknownHost { host, .. } if host == "no-such-host.invalid"));
    }
}
