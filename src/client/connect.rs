//! From a target to a welcome: dialling addresses, recognising who answers.
//!
//! The one invariant: a credential is said only over a link whose key is the
//! one it is meant for. A dispatcher that this client does not know is asked
//! under the join protocol, where nothing secret is ever said, so that both
//! sides hear that this client does not belong. Absent: coming back after a
//! broken link (`cli/session`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Client, ClientError, Expected, ExpectedBy, Target};
use crate::model::InstanceId;
use crate::model::handshake::{Credential, Hello, Intent};
use crate::model::limits::{CLIENT_TIMEOUT, PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::transport::{Alpn, Endpoint, TransportError};
use crate::trust::Identity;

impl Client {
    /// Connects to `target` and waits for its welcome, five seconds at most over all addresses.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when no address answers in time,
    /// [`ClientError::Refused`] when the dispatcher turns this client away,
    /// [`ClientError::OtherDispatcher`] or [`ClientError::OtherThanToken`] when who answers is somebody else.
    pub async fn connect(identity: &Identity, target: &Target, software: &str) -> Result<Self, ClientError> {
        let deadline = Instant::now() + CLIENT_TIMEOUT.as_duration();
        let mut dialler = Dialler { identity, software, target, sockets: [None, None] };
        let mut stranger = None;
        let mut failed = None;
        for (i, address) in target.addresses.iter().copied().enumerate() {
            // The time left is shared among the addresses left, so that a dead first one leaves room for the next.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(target.addresses.len() - i).unwrap_or(u32::MAX).max(1);
            match dialler.try_address(address, share).await {
                Ok(client) => return Ok(client),
                Err(TransportError::Refused(refusal)) => return Err(TransportError::Refused(refusal).into()),
                Err(TransportError::WrongKey { .. }) => stranger = stranger.or(Some(address)),
                Err(reason) => failed = Some((address, reason)),
            }
        }
        Err(match (stranger, failed) {
            (Some(address), _) => whose(target, address),
            (None, Some((address, reason))) => ClientError::Unreachable { address, reason: Box::new(reason) },
            (None, None) => ClientError::NoDispatcher,
        })
    }
}

/// What it means that nobody whom `target` expects is at `address`.
fn whose(target: &Target, address: SocketAddr) -> ClientError {
    match target.expected.first().map(|first| first.by) {
        Some(ExpectedBy::Token) => ClientError::OtherThanToken { address },
        Some(by @ (ExpectedBy::Access | ExpectedBy::Enrolment)) => ClientError::OtherDispatcher { address, by },
        Some(ExpectedBy::Acquaintance) | None => {
            ClientError::NotEnrolled { named: target.named.clone().unwrap_or_else(|| address.to_string()) }
        }
    }
}

/// What one attempt to connect needs.
struct Dialler<'a> {
    identity: &'a Identity,
    software: &'a str,
    target: &'a Target,
    /// Of IPv4 and IPv6, opened when needed.
    sockets: [Option<Endpoint>; 2],
}

impl Dialler<'_> {
    /// Tries everybody who may be there; the last try says that this client does not belong, unless somebody
    /// else should be there.
    async fn try_address(&mut self, address: SocketAddr, patience: Duration) -> Result<Client, TransportError> {
        let deadline = Instant::now() + patience;
        let mut wrong = None;
        for expected in &self.target.expected {
            match self.within(deadline, address, Some(expected)).await {
                Err(error @ TransportError::WrongKey { .. }) => wrong = Some(error),
                other => return other,
            }
        }
        match wrong {
            Some(error) if self.target.is_due() => Err(error),
            _ => self.within(deadline, address, None).await,
        }
    }

    async fn within(
        &mut self,
        deadline: Instant,
        address: SocketAddr,
        expected: Option<&Expected>,
    ) -> Result<Client, TransportError> {
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, self.dial(address, expected)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(TransportError::NoAnswer(address)),
        }
    }

    /// Connects to this one, or, when nobody is expected, to whoever is there: that can only end in a refusal.
    async fn dial(&mut self, address: SocketAddr, expected: Option<&Expected>) -> Result<Client, TransportError> {
        let (credential, software) = (expected.map_or(Credential::None, |one| one.credential.clone()), self.software);
        let endpoint = self.socket(address)?;
        let link = match expected {
            Some(expected) => endpoint.connect(address, expected.dispatcher, Alpn::Client).await?,
            None => endpoint.connect_join(address, None).await?,
        };
        let hello = Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: software.to_owned(),
            instance: InstanceId(u64::from(std::process::id())),
            intent: Intent::Client,
            credential,
        };
        let (welcome, send, recv) = crate::transport::hello(&link, &hello).await?;
        if expected.is_none() {
            // A welcome from somebody who has proved nothing is worth nothing.
            return Err(TransportError::NotOffered { address, alpn: Alpn::Client });
        }
        let endpoint = self.sockets[slot(address)].take().ok_or(TransportError::EndpointClosed)?;
        Ok(Client { endpoint, link, welcome, _control: (send, recv) })
    }

    fn socket(&mut self, address: SocketAddr) -> Result<&Endpoint, TransportError> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = &mut self.sockets[slot(address)];
        Ok(match socket {
            Some(endpoint) => endpoint,
            None => socket.insert(Endpoint::bind(self.identity, (any, 0).into(), &[])?),
        })
    }
}

/// Where the socket for an address is kept.
fn slot(address: SocketAddr) -> usize {
    usize::from(address.is_ipv6())
}
