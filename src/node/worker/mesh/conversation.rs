//! What is said on a link that stands: messages both ways, and streams.
//!
//! Invariant: no message counts whose sender is not on the roster when it comes;
//! a peer that says nothing for [`PEER_LOST_AFTER`] is gone. Absent: what
//! messages mean (the shell's and its engine's), and what streams are for
//! (`streams`).

use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{PeerState, Shared, streams};
use crate::model::limits::{MAX_PEER_FRAME, PEER_LOST_AFTER, PEER_STATUS_INTERVAL};
use crate::model::peers::{PeerMessage, PeerStatus};
use crate::model::{InstanceId, NodeId, NodeName, Timestamp};
use crate::node::worker::shell::Event;
use crate::transport::{CloseCode, FrameRecv, FrameSend, Link};

/// Messages that wait for one peer: what does not fit is not sent, and whoever wanted that is told so.
const OUTGOING: usize = 256;
/// Changes within this time are told together.
const TOGETHER: Duration = Duration::from_millis(20);

/// A link on which both sides have said hello.
pub(super) struct Talk {
    pub(super) link: Link,
    /// The peer's start.
    pub(super) instance: InstanceId,
    pub(super) send: FrameSend,
    pub(super) recv: FrameRecv,
}

/// A link that stands, as the mesh keeps it.
pub(super) struct Standing {
    link: Link,
    instance: InstanceId,
    since: Timestamp,
    status: Option<PeerStatus>,
    heard_at: Instant,
    pub(super) outgoing: mpsc::Sender<PeerMessage>,
}

impl Standing {
    /// The link, and when anything was heard on it last.
    pub(super) fn link(&self) -> (Link, Instant) {
        (self.link.clone(), self.heard_at)
    }

    pub(super) fn describe(&self, node: NodeId, name: &NodeName) -> PeerState {
        // What an earlier start said of itself is no news of this one.
        let status = self.status.filter(|status| status.instance == self.instance);
        PeerState { node, name: name.clone(), status, since: self.since, address: self.link.remote_addr() }
    }
}

/// Holds it until the link ends. When this future is dropped, the link that took this one's place stands already.
pub(super) async fn hold(shared: Weak<Shared>, peer: NodeId, talk: Talk) {
    let Talk { link, instance, send, recv } = talk;
    let (outgoing, queue) = mpsc::channel(OUTGOING);
    let (status, name) = {
        let Some(shared) = shared.upgrade() else { return };
        let Some(name) = shared.settle(peer, &link, instance, outgoing) else {
            return link.close(CloseCode::Refused, "not on the roster any more");
        };
        (shared.status.subscribe(), name)
    };
    tracing::debug!("[P2P] Direct link to {name} at {} stands", link.remote_addr());
    let end = tokio::select! {
        end = listen(&shared, peer, &link, recv) => end,
        end = speak(send, queue, status) => end,
        end = streams::take_all(&shared, &link) => end,
    };
    tracing::debug!("[P2P] Direct link to {name} has ended: {end}");
    link.close(CloseCode::Done, "the link is of no more use");
    if let Some(shared) = shared.upgrade() {
        shared.dismiss(peer, &link);
    }
}

async fn listen(shared: &Weak<Shared>, peer: NodeId, link: &Link, mut recv: FrameRecv) -> String {
    loop {
        let message = match timeout(PEER_LOST_AFTER.as_duration(), recv.recv::<PeerMessage>(MAX_PEER_FRAME)).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return "the peer has nothing more to say".to_owned(),
            Ok(Err(error)) => return format!("failed to {error}"),
            Err(_silence) => return format!("nothing was heard for {}", PEER_LOST_AFTER),
        };
        let events = {
            let Some(shared) = shared.upgrade() else { return "this worker stops".to_owned() };
            if !shared.heard(peer, link, &message) {
                return "the peer is not on the roster".to_owned();
            }
            shared.config.events.clone()
        };
        if events.send(Event::Peer { from: peer, message }).await.is_err() {
            return "this worker stops".to_owned();
        }
    }
}

async fn speak(
    mut send: FrameSend,
    mut queue: mpsc::Receiver<PeerMessage>,
    mut status: watch::Receiver<PeerStatus>,
) -> String {
    let mut due = Instant::now();
    loop {
        let message = tokio::select! {
            biased;
            message = queue.recv() => match message {
                Some(message) => message,
                // The mesh has another link with this peer, or none.
                None => pending().await,
            },
            () = sleep_until(due) => PeerMessage::Status(*status.borrow_and_update()),
            Ok(()) = status.changed() => {
                sleep(TOGETHER).await;
                PeerMessage::Status(*status.borrow_and_update())
            }
        };
        if matches!(message, PeerMessage::Status(_)) {
            due = Instant::now() + PEER_STATUS_INTERVAL.as_duration();
        }
        if let Err(error) = send.send(&message).await {
            return format!("failed to {error}");
        }
    }
}

impl Shared {
    /// The link stands from now on; `None` when its peer is none any more.
    fn settle(
        self: &Arc<Self>,
        peer: NodeId,
        link: &Link,
        instance: InstanceId,
        outgoing: mpsc::Sender<PeerMessage>,
    ) -> Option<NodeName> {
        let (since, heard_at) = (self.time.local(), Instant::now());
        let mut state = self.state();
        let pair = state.pairs.get_mut(&peer)?;
        pair.standing = Some(Standing { link: link.clone(), instance, since, status: None, heard_at, outgoing });
        let name = pair.name.clone();
        drop(state);
        self.changed();
        Some(name)
    }

    /// Takes note of a message; `false` when its sender may not say anything here any more.
    fn heard(&self, peer: NodeId, link: &Link, message: &PeerMessage) -> bool {
        let mut state = self.state();
        let Some(pair) = state.pairs.get_mut(&peer) else { return false };
        let Some(standing) = pair.standing.as_mut().filter(|standing| standing.link.is_same(link)) else {
            return false;
        };
        standing.heard_at = Instant::now();
        let is_news = match message {
            PeerMessage::Status(status) => standing.status.replace(*status) != Some(*status),
            PeerMessage::Offer(_) | PeerMessage::Answer(_) => false,
        };
        drop(state);
        if is_news {
            self.changed();
        }
        true
    }

    /// `link` stands no more.
    pub(super) fn dismiss(&self, peer: NodeId, link: &Link) {
        let mut state = self.state();
        let standing = state.pairs.get_mut(&peer).map(|pair| &mut pair.standing);
        let Some(standing) = standing.filter(|it| it.as_ref().is_some_and(|it| it.link.is_same(link))) else { return };
        *standing = None;
        drop(state);
        self.changed();
    }
}
