//! One connection between two nodes that have proved their keys.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Alpn, CloseCode, FrameRecv, FrameSend, LinkEnd, TransportError};
use crate::model::NodeId;

/// One authenticated connection; clones share it. It stays open until somebody closes it or the
/// last clone and the last of its streams are dropped.
#[derive(Clone)]
pub struct Link(());

impl Link {
    /// The other side's key.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        unimplemented!()
    }

    /// What the connection is for.
    #[must_use]
    pub fn alpn(&self) -> Alpn {
        unimplemented!()
    }

    /// Where the other side is now.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Current estimate of the round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        unimplemented!()
    }

    /// Opens a stream both ways; waits while the other side allows no more of them.
    pub async fn open_bi(&self) -> Result<(FrameSend, FrameRecv), TransportError> {
        unimplemented!()
    }

    /// The next stream that the other side opened both ways.
    pub async fn accept_bi(&self) -> Result<(FrameSend, FrameRecv), TransportError> {
        unimplemented!()
    }

    /// Opens a stream to the other side only.
    pub async fn open_uni(&self) -> Result<FrameSend, TransportError> {
        unimplemented!()
    }

    /// The next stream that the other side opened to this one only.
    pub async fn accept_uni(&self) -> Result<FrameRecv, TransportError> {
        unimplemented!()
    }

    /// Closes the link at once; what was not yet delivered may be lost.
    pub fn close(&self, code: CloseCode, text: &str) {
        let _ = (code, text);
        unimplemented!()
    }

    /// Waits for the link's end and says how it came.
    pub async fn closed(&self) -> LinkEnd {
        unimplemented!()
    }
}
