//! QUIC: the only room that names quinn.
//!
//! An [`Endpoint`] is one UDP socket; a [`Link`] is one connection whose both
//! ends have proved their keys; [`FrameSend`] and [`FrameRecv`] are the two
//! directions of one stream of frames. Invariant: nothing a stranger sends
//! makes this room hold more than a bounded amount of memory for a bounded
//! time. Absent: roles and enrolment (the engine decides who is welcome).

mod accept;
mod bare;
mod budget;
mod buffer;
mod close;
mod endpoint;
mod error;
mod gate;
mod handshake;
mod link;
mod piece;
mod probe;
mod race;
mod settings;
mod socket;
mod stream;

pub use bare::BareLink;
pub use close::{CloseCode, LinkEnd};
pub use endpoint::Endpoint;
pub use error::TransportError;
pub use handshake::{Incoming, ask_to_join, greet_peer, hello};
pub use link::Link;
pub use piece::{MAX_PIECE_ON_WIRE, Piece};
pub use race::{Unreached, connect_first};
pub use stream::{FrameRecv, FrameSend};

pub use crate::trust::Alpn;
