//! What can go wrong between two endpoints: one variant a cause.
//!
//! Each text is a fragment that completes "failed to …".

use std::io;
use std::net::SocketAddr;

use super::{Alpn, LinkEnd};
use crate::model::NodeId;
use crate::model::handshake::Refusal;
use crate::trust::TrustError;
use crate::wire::WireError;

/// Why an endpoint, a link or a stream failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Another process listens at this address.
    #[error("listen on {0}: the port is in use")]
    PortInUse(SocketAddr),
    /// The socket could not be opened otherwise.
    #[error("listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The endpoint's thread could not be started.
    #[error("start the network thread")]
    Thread(#[source] io::Error),
    /// This endpoint was closed.
    #[error("use a closed endpoint")]
    EndpointClosed,
    /// The identity could not be made into a TLS configuration.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// An address that cannot be dialled from this socket (wrong family, port 0).
    #[error("connect to {0}: not an address this node can reach")]
    BadAddress(SocketAddr),
    /// The machine answers that nothing listens there.
    #[error("connect to {0}: nothing listens there")]
    NothingListens(SocketAddr),
    /// No answer within the deadline.
    #[error("connect to {0}: no answer")]
    NoAnswer(SocketAddr),
    /// The node at this address has another key than the one expected.
    #[error("connect to {address}: it is not node {}", expected.short())]
    WrongKey {
        /// Where.
        address: SocketAddr,
        /// Who was expected.
        expected: NodeId,
    },
    /// What answers at this address has no key of a node.
    #[error("connect to {0}: what answers there is no octaskly node")]
    NoNode(SocketAddr),
    /// The node at this address takes no connections for this purpose.
    #[error("connect to {address}: it does not speak {}", String::from_utf8_lossy(alpn.as_bytes()))]
    NotOffered {
        /// Where.
        address: SocketAddr,
        /// What was asked for.
        alpn: Alpn,
    },
    /// The dispatcher answered the hello with a refusal.
    #[error("join: {}", .0.text)]
    Refused(Refusal),
    /// As many nodes wait for approval as may.
    #[error("hold the link: as many nodes wait for approval as may")]
    TooManyWaiting,
    /// The link's keys gave no value to prove something with; only a bug of ours can cause it.
    #[error("derive a value from the link's keys")]
    NoExporter,
    /// The link is gone.
    #[error("keep the link: {0}")]
    LinkLost(LinkEnd),
    /// The other side gave up this stream alone.
    #[error("use the stream: the other side closed it")]
    StreamClosed,
    /// The other side took too long over a frame.
    #[error("receive a frame in time")]
    FrameTooSlow,
    /// The other side ended the stream in the middle of a frame.
    #[error("receive a whole frame: the stream ended inside one")]
    FrameCut,
    /// A frame is beyond its bounds or makes no sense. Received ones have closed the link.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl From<quinn::ConnectionError> for TransportError {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::LinkLost(error.into())
    }
}

impl From<quinn::WriteError> for TransportError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::ConnectionLost(error) => error.into(),
            // Early data is switched off, so what is left is one stream that one side gave up.
            quinn::WriteError::Stopped(_) | quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => {
                Self::StreamClosed
            }
        }
    }
}

impl From<quinn::ReadError> for TransportError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(error) => error.into(),
            quinn::ReadError::Reset(_)
            | quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::StreamClosed,
        }
    }
}
