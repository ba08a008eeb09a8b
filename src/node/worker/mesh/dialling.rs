//! One try at reaching a peer, at all addresses that are known of it.
//!
//! Invariant: only one of several connections says hello, so that a peer with
//! two addresses is not visited twice. Absent: trying again (`pair`).

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::conversation::Talk;
use crate::model::handshake::{Credential, Hello, Intent};
use crate::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::model::{InstanceId, NodeId};
use crate::transport::{Alpn, Endpoint, Link, TransportError, greet_peer};

/// How long a dial may take; an answer on a local network takes a thousandth of it.
const PATIENCE: Duration = Duration::from_millis(1200);
/// How long an address has before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(100);
/// Addresses tried.
const MOST_ADDRESSES: usize = 12;

/// Why a dial came to nothing; the text follows "failed to reach … directly: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum DialFailure {
    /// Nobody said where it is.
    #[error("it is not known where it listens")]
    NoAddress,
    /// Nothing of it answered in time.
    #[error("it does not answer at {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))]
    NoAnswer(Vec<SocketAddr>),
    /// It answered, with no, or the link broke.
    #[error("failed to {0}")]
    Transport(#[from] TransportError),
    /// This worker has no direct links any more.
    #[error("this worker has no direct links")]
    Closed,
}

/// What a worker says to a peer first.
pub(super) fn hello(instance: InstanceId) -> Hello {
    Hello {
        protocol_oldest: PROTOCOL_OLDEST,
        protocol_newest: PROTOCOL_VERSION,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        instance,
        intent: Intent::Peer,
        credential: Credential::None,
    }
}

/// Dials `peer` where it was heard lately, and where it is `known` to be.
pub(super) async fn dial(shared: Weak<Shared>, peer: NodeId, known: Vec<SocketAddr>) -> Result<Talk, DialFailure> {
    let (endpoint, addresses, hello) = {
        let Some(shared) = shared.upgrade() else { return Err(DialFailure::Closed) };
        let endpoint = shared.state().open.as_ref().map(|open| open.endpoint()).ok_or(DialFailure::Closed)?;
        let heard = shared.config.hearing.as_ref().map(|hearing| hearing.whereabouts(peer)).unwrap_or_default();
        (endpoint, places(heard, known), hello(shared.config.instance))
    };
    if addresses.is_empty() {
        return Err(DialFailure::NoAddress);
    }
    let tried = addresses.clone();
    let reached = async {
        let link = race(endpoint, addresses, peer).await?;
        let (welcome, send, recv) = greet_peer(&link, &hello).await?;
        Ok(Talk { link, instance: welcome.instance, send, recv })
    };
    timeout(PATIENCE, reached).await.unwrap_or(Err(DialFailure::NoAnswer(tried)))
}

/// Where to try, each once, in order.
pub(super) fn places(heard: Vec<SocketAddr>, known: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut places: Vec<SocketAddr> = Vec::new();
    for place in heard.into_iter().chain(known).filter(|place| place.port() != 0) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.truncate(MOST_ADDRESSES);
    places
}

/// The first connection that comes about; the others are dropped before they say anything.
pub(super) async fn race(
    endpoint: Arc<Endpoint>,
    addresses: Vec<SocketAddr>,
    peer: NodeId,
) -> Result<Link, TransportError> {
    let mut dials = JoinSet::new();
    for (number, address) in (0..).zip(addresses) {
        let endpoint = Arc::clone(&endpoint);
        dials.spawn(async move {
            sleep(STAGGER * number).await;
            endpoint.connect(address, peer, Alpn::Peer).await
        });
    }
    let mut failed = TransportError::EndpointClosed;
    while let Some(dialled) = dials.join_next().await {
        match dialled {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(error)) => failed = error,
            // Aborted or crashed; the others go on.
            Err(_) => {}
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_comes_first_and_no_address_twice_and_no_port_of_nothing() {
        let at = |list: &[&str]| list.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>();
        let heard = at(&["10.0.0.2:7880", "10.0.0.3:0"]);
        let known = at(&["10.0.0.1:7879", "10.0.0.2:7880"]);
        assert_eq!(places(heard, known), at(&["10.0.0.2:7880", "10.0.0.1:7879"]));
    }
}
