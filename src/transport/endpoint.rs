//! One UDP socket and everything that goes through it.

use std::net::SocketAddr;

use super::{Alpn, Incoming, Link, TransportError};
use crate::model::NodeId;
use crate::trust::Identity;

/// A QUIC endpoint on a network thread of its own. Links die with it.
pub struct Endpoint(());

impl Endpoint {
    /// Opens `address` as `identity`; connections asking for one of `accept` are let in to say hello, all
    /// others turned away. An empty `accept` makes an endpoint that only connects.
    pub fn bind(identity: &Identity, address: SocketAddr, accept: &[Alpn]) -> Result<Self, TransportError> {
        let _ = (identity, address, accept);
        unimplemented!()
    }

    /// Connects to the node `expected` at `address`. Nobody else is accepted there. *Connected* only means
    /// that keys were exchanged; say [`super::hello`] next.
    pub async fn connect(&self, address: SocketAddr, expected: NodeId, alpn: Alpn) -> Result<Link, TransportError> {
        let _ = (address, expected, alpn);
        unimplemented!()
    }

    /// The next connection that has said hello; `None` once the endpoint is closed.
    pub async fn accept(&self) -> Option<Incoming> {
        unimplemented!()
    }

    /// Where it listens (the port that was really given, when 0 was asked for).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Closes every link with `Stopping` and `text`, and waits (at most a second) until the peers know.
    pub async fn close(&self, text: &str) {
        let _ = text;
        unimplemented!()
    }
}
