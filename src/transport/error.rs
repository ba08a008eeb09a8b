//! What can go wrong between two endpoints: one variant a cause.
//!
//! Each text is a fragment that completes "failed to …".

use std::io;
use std::net::SocketAddr;

use super::LinkEnd;
use crate::model::NodeId;
use crate::model::handshake::Refusal;

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
    /// The TLS configuration was not accepted.
    #[error("configure TLS")]
    Trust(#[from] crate::trust::TrustError),
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
    /// The dispatcher answered the hello with a refusal.
    #[error("join: {}", .0.text)]
    Refused(Refusal),
    /// The link is gone.
    #[error("keep the link: {0}")]
    LinkLost(LinkEnd),
    /// The other side ended or reset this stream alone.
    #[error("use the stream: the other side closed it")]
    StreamClosed,
    /// The other side took too long over a frame.
    #[error("receive a frame in time")]
    FrameTooSlow,
    /// The other side announced a frame over the cap.
    #[error("receive a frame of {announced} bytes: the cap is {cap}")]
    FrameTooLarge {
        /// Announced length.
        announced: u32,
        /// What was allowed.
        cap: u32,
    },
    /// The other side ended the stream in the middle of a frame.
    #[error("receive a whole frame: the stream ended inside one")]
    FrameCut,
}
