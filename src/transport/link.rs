//! One connection between two nodes that have proved their keys.
//!
//! Invariant: `peer()` is the key with which the other side signed this very
//! handshake. Absent: roles, and the state of whatever is said over the link.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;
use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;

use super::budget::{Budget, SharedBudget};
use super::gate::HeldPlace;
use super::{Alpn, CloseCode, FrameRecv, FrameSend, LinkEnd, TransportError, close, settings};
use crate::model::NodeId;
use crate::trust::tls;

/// One authenticated connection; clones share it. It stays open until somebody
/// closes it, or until the last clone and the last of its streams are dropped.
#[derive(Clone)]
pub struct Link {
    connection: quinn::Connection,
    peer: NodeId,
    alpn: Alpn,
    /// What a node that waits for approval counts by.
    place: Option<Arc<HeldPlace>>,
    /// For the large frames of all its streams.
    budget: Budget,
}

impl Link {
    /// The link that a finished handshake made; `None` when TLS let through what it must not, which it does not.
    pub(super) fn new(connection: quinn::Connection, budget: &SharedBudget) -> Option<Self> {
        let certificates = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let peer = tls::peer_id(certificates.first()?).ok()?;
        let agreed = connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol?;
        let alpn = Alpn::from_bytes(&agreed)?;
        Some(Self { connection, peer, alpn, place: None, budget: budget.of_a_link(alpn) })
    }

    /// The other side's key.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// What the connection is for.
    #[must_use]
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }

    /// Whether both are clones of one link.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.connection.stable_id() == other.connection.stable_id()
    }

    /// Whether it stands, as far as is known here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Where the other side is now.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    /// Current estimate of the round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// 32 bytes that only the two ends of this very connection know (RFC 8446 §7.5). Somebody between
    /// them has two connections and finds two values, whichever keys he shows.
    ///
    /// # Errors
    /// Only by a bug of ours: TLS is finished before there is a link.
    pub fn exporter(&self, label: &[u8]) -> Result<[u8; 32], TransportError> {
        let mut bytes = [0; 32];
        let derived = self.connection.export_keying_material(&mut bytes, label, &[]);
        derived.map(|()| bytes).map_err(|_| TransportError::NoExporter)
    }

    /// Opens a stream both ways; waits while the other side allows no more of them. The other side
    /// hears of it with the first frame sent.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn open_bi(&self) -> Result<(FrameSend, FrameRecv), TransportError> {
        Ok(self.framed(self.connection.open_bi().await?))
    }

    /// The next stream that the other side opened both ways.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn accept_bi(&self) -> Result<(FrameSend, FrameRecv), TransportError> {
        Ok(self.framed(self.connection.accept_bi().await?))
    }

    /// Opens a stream to the other side only; waits while it allows no more of them.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn open_uni(&self) -> Result<FrameSend, TransportError> {
        Ok(FrameSend::new(self.connection.open_uni().await?))
    }

    /// The next stream that the other side opened to this one only.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn accept_uni(&self) -> Result<FrameRecv, TransportError> {
        Ok(FrameRecv::new(self.connection.accept_uni().await?, self.connection.clone(), self.budget.clone()))
    }

    /// Closes the link at once; the other side can read `code` and `text`. What was not yet delivered
    /// may be lost.
    pub fn close(&self, code: CloseCode, text: &str) {
        close::close(&self.connection, code, text);
    }

    /// Waits for the link's end and says how it came.
    pub async fn closed(&self) -> LinkEnd {
        self.connection.closed().await.into()
    }

    /// Gives a welcome peer the streams and the window that strangers do not get.
    pub(super) fn raise_limits(&self) {
        self.connection.set_receive_window(VarInt::from_u32(settings::LINK_WINDOW));
        self.connection.set_max_concurrent_bi_streams(VarInt::from_u32(settings::MAX_BIDI_STREAMS));
        self.connection.set_max_concurrent_uni_streams(VarInt::from_u32(settings::MAX_UNI_STREAMS));
    }

    /// Lets this link and its clones count as one that waits for approval.
    pub(super) fn hold(&mut self, place: Arc<HeldPlace>) {
        self.place = Some(place);
    }

    pub(super) fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    fn framed(&self, (send, recv): (quinn::SendStream, quinn::RecvStream)) -> (FrameSend, FrameRecv) {
        (FrameSend::new(send), FrameRecv::new(recv, self.connection.clone(), self.budget.clone()))
    }
}

/// An IPv4 address as such, also when it came over a socket for both families.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
