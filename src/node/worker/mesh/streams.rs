//! Streams between peers beside the one that carries messages: each says first
//! what it is for.
//!
//! Invariant: a stream that does not say so within [`PURPOSE_PATIENCE`] is
//! closed, and as many are open as a link allows. Absent: any right to what is
//! asked for, which each purpose has to check.

use std::sync::{PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::visitors::SOFTWARE;
use super::{Mesh, Shared};
use crate::model::NodeId;
use crate::model::limits::{MAX_FRAME_UNAUTHENTICATED, MAX_PEER_FRAME};
use crate::model::peers::{PeerPurpose, PeerSelf};
use crate::node::Clock;
use crate::node::serving::ServeError;
use crate::transport::{FrameRecv, FrameSend, Link, TransportError};

/// How long a stream may take to say what it is for.
const PURPOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a peer may take to say that it is there.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// Takes the streams that the peer opens, until the link ends; says how it did.
pub(super) async fn take_all(shared: &Weak<Shared>, link: &Link) -> String {
    // Bounded by the number of streams that a link allows at once.
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = link.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let (shared, peer) = (Weak::clone(shared), link.peer());
                    streams.spawn(async move {
                        if let Err(error) = take(&shared, peer, send, recv).await {
                            tracing::debug!("A stream of another worker broke: failed to {error}");
                        }
                    });
                }
                Err(error) => return format!("failed to {error}"),
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn take(shared: &Weak<Shared>, peer: NodeId, mut send: FrameSend, mut recv: FrameRecv) -> Result<(), ServeError> {
    let first = timeout(PURPOSE_PATIENCE, recv.recv::<PeerPurpose>(MAX_PEER_FRAME)).await;
    let Some(purpose) = first.map_err(|_| ServeError::from(TransportError::FrameTooSlow))?? else { return Ok(()) };
    match purpose {
        PeerPurpose::Probe => {
            let here = PeerSelf { software: SOFTWARE.to_owned(), clock: Clock::wall_now() };
            send.send(&here).await?;
            Ok(send.finish().await?)
        }
        PeerPurpose::Pieces { pass, blobs } => {
            let Some(mesh) = shared.upgrade().map(Mesh) else { return Ok(()) };
            let giver = mesh.0.giver.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match giver {
                Some(giver) => giver.to_peer(&mesh, peer, pass, &blobs, &mut send, &mut recv).await,
                None => Ok(()),
            }
        }
    }
}

/// Asks the peer at the other end whether it is there.
pub(super) async fn probe(link: &Link) -> Result<PeerSelf, TransportError> {
    let exchange = async {
        let (mut send, mut recv) = link.open_bi().await?;
        send.send(&PeerPurpose::Probe).await?;
        recv.recv::<PeerSelf>(MAX_FRAME_UNAUTHENTICATED).await?.ok_or(TransportError::StreamClosed)
    };
    timeout(PROBE_PATIENCE, exchange).await.map_err(|_| TransportError::NoAnswer(link.remote_addr()))?
}
