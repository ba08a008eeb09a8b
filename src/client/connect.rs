//! From a target to a welcome: dialling addresses, recognising who answers.
//!
//! The one invariant: a credential is said only over a link whose key is the
//! one it is meant for. A dispatcher that this client does not know is asked
//! under the join protocol, where nothing secret is ever said, so that both
//! sides hear that this client does not belong. Absent: coming back after a
//! broken link (`cli/session`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Client, ClientError, Expected, ExpectedBy, Target};
use crate::model::InstanceId;
use crate::model::handshake::{Credential, Hello, Intent};
use crate::model::limits::{CLIENT_TIMEOUT, PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::transport::{self, Alpn, Endpoint, Link, TransportError};
use crate::trust::Identity;

impl Client {
    /// Connects to `target` at whichever of its addresses the key is proved first, and waits for its welcome, five
    /// seconds at most.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when no address answers in time,
    /// [`ClientError::Refused`] when the dispatcher turns this client away,
    /// [`ClientError::OtherDispatcher`] or [`ClientError::OtherThanToken`] when who answers is somebody else.
    pub async fn connect(identity: &Identity, target: &Target, software: &str) -> Result<Self, ClientError> {
        let deadline = Instant::now() + CLIENT_TIMEOUT.as_duration();
        let mut dialler = Dialler { identity, software, deadline, sockets: [None, None] };
        // Where somebody answered, and not with a key that was expected so far.
        let (mut strangers, mut failed) = (target.addresses.clone(), None);
        for expected in &target.expected {
            let unreached = match dialler.dial(&strangers, expected).await? {
                Ok(client) => return Ok(client),
                Err(unreached) => unreached,
            };
            strangers.clear();
            for (address, reason) in unreached {
                match reason {
                    TransportError::WrongKey { .. } => strangers.push(address),
                    reason => failed = failed.or(Some((address, reason))),
                }
            }
        }
        // The last try says to both sides that this client does not belong, unless somebody else should be there.
        let mut stranger = strangers.first().copied().filter(|_| !target.expected.is_empty());
        if !target.is_due() {
            for address in strangers {
                match dialler.say_who(address).await {
                    TransportError::Refused(refusal) => return Err(TransportError::Refused(refusal).into()),
                    TransportError::WrongKey { .. } => stranger = stranger.or(Some(address)),
                    reason => failed = failed.or(Some((address, reason))),
                }
            }
            // What came of that says more than that the key is another.
            stranger = stranger.filter(|_| failed.is_none());
        }
        Err(match (stranger, failed) {
            (Some(address), _) => whose(target, address),
            (None, Some((_, reason))) => {
                ClientError::Unreachable { tried: target.addresses.clone(), reason: Box::new(reason) }
            }
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
    deadline: Instant,
    /// Of IPv4 and IPv6, opened when needed.
    sockets: [Option<Arc<Endpoint>>; 2],
}

impl Dialler<'_> {
    /// Dials this one at all `addresses`. The outer error is its refusal.
    async fn dial(
        &mut self,
        addresses: &[SocketAddr],
        expected: &Expected,
    ) -> Result<Result<Client, transport::Unreached>, ClientError> {
        let (mut places, mut unreached) = (Vec::new(), Vec::new());
        for address in addresses {
            match self.socket(*address) {
                Ok(endpoint) => places.push((endpoint, *address)),
                Err(error) => unreached.push((*address, error)),
            }
        }
        let patience = self.left();
        let address = match transport::connect_first(places, expected.dispatcher, Alpn::Client, patience).await {
            Ok((address, link)) => match self.greet(address, link, expected.credential.clone()).await {
                Ok(client) => return Ok(Ok(client)),
                Err(TransportError::Refused(refusal)) => return Err(TransportError::Refused(refusal).into()),
                Err(error) => (address, error),
            },
            Err(mut others) => {
                unreached.append(&mut others);
                return Ok(Err(unreached));
            }
        };
        unreached.push(address);
        Ok(Err(unreached))
    }

    /// Says hello to whoever is at `address` and is not known: that can only end in a refusal.
    async fn say_who(&mut self, address: SocketAddr) -> TransportError {
        let endpoint = match self.socket(address) {
            Ok(endpoint) => endpoint,
            Err(error) => return error,
        };
        let asked = async {
            let link = endpoint.connect_join(address, None).await?;
            transport::hello(&link, &self.hello(Credential::None)).await
        };
        match timeout(self.left(), asked).await {
            // A welcome from somebody who has proved nothing is worth nothing.
            Ok(Ok(_)) => TransportError::NotOffered { address, alpn: Alpn::Client },
            Ok(Err(error)) => error,
            Err(_) => TransportError::NoAnswer(address),
        }
    }

    async fn greet(
        &mut self,
        address: SocketAddr,
        link: Link,
        credential: Credential,
    ) -> Result<Client, TransportError> {
        let hello = self.hello(credential);
        let answer = timeout(self.left(), transport::hello(&link, &hello)).await;
        let (welcome, send, recv) = answer.map_err(|_| TransportError::NoAnswer(address))??;
        let endpoint = self.sockets[slot(address)].take().ok_or(TransportError::EndpointClosed)?;
        Ok(Client { endpoint, link, welcome, _control: (send, recv) })
    }

    fn hello(&self, credential: Credential) -> Hello {
        Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: self.software.to_owned(),
            instance: InstanceId(u64::from(std::process::id())),
            intent: Intent::Client,
            credential,
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn socket(&mut self, address: SocketAddr) -> Result<Arc<Endpoint>, TransportError> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = &mut self.sockets[slot(address)];
        Ok(match socket {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::clone(socket.insert(Arc::new(Endpoint::bind(self.identity, (any, 0).into(), &[])?))),
        })
    }
}

/// Where the socket for an address is kept.
fn slot(address: SocketAddr) -> usize {
    usize::from(address.is_ipv6())
}
