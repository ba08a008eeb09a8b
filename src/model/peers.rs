//! What two workers say to each other on a direct link.
//!
//! The link opens as every other does, with a hello ([`Intent::Peer`]) and an
//! answer to it; its stream then carries [`PeerMessage`]s both ways. Every other
//! stream begins with a [`PeerPurpose`]. Everything may be lost with its link,
//! so every message is safe to receive twice. The one invariant: nothing here is
//! a right to anything; what one worker may ask of another is in the
//! dispatcher's roster and grants (`trust/`).
//!
//! [`Intent::Peer`]: super::handshake::Intent::Peer

use serde::{Deserialize, Serialize};

use super::compact::blobs;
use super::offload::{Offer, OfferAnswer};
use super::pieces::ReadPass;
use super::{BlobRef, InstanceId, NodeId, Timestamp};

/// What a worker answers a peer that it lets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerWelcome {
    /// The protocol version both sides use from here on.
    pub protocol: u16,
    /// Its software version.
    pub software: String,
    /// This start of it.
    pub instance: InstanceId,
}

/// On the stream that the hello opened, both ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// How the sender stands. Said when it changes, and every [`super::limits::PEER_STATUS_INTERVAL`] anyway.
    Status(PeerStatus),
    /// Run this instead of the sender; answered by `Answer`.
    Offer(Box<Offer>),
    /// What becomes of an offer.
    Answer(OfferAnswer),
}

/// What a worker could do for its peers just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// This start of it.
    pub instance: InstanceId,
    /// Job slots in which nothing runs.
    pub free_slots: u32,
    /// Attempts that it holds and that wait for room.
    pub ready: u32,
    /// Whether it takes new work at all: it neither drains nor stops.
    pub accepting: bool,
}

/// The first frame of every stream between two workers but the one that the hello opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerPurpose {
    /// Who are you, and what time is it there? Answered with one [`PeerSelf`].
    Probe,
    /// A conversation about pieces (see [`super::pieces`]) of blobs that the sender may read.
    Pieces {
        /// By which right.
        pass: ReadPass,
        /// Which.
        #[serde(deserialize_with = "blobs")]
        blobs: Vec<BlobRef>,
    },
}

/// What a worker says of itself when it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSelf {
    /// Its software version.
    pub software: String,
    /// Its wall clock.
    pub clock: Timestamp,
}

/// A direct link as a worker tells its dispatcher of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedPeer {
    /// With whom.
    pub node: NodeId,
    /// Where that one is, as address and port.
    pub address: String,
}
