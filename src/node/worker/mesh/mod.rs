//! Direct links between this worker and the others of its dispatcher.
//!
//! ```text
//! connector ─ welcome, rosters ▶ Mesh ◀ status, questions ─ shell
//!                                 │
//!        door (socket) ─▶ visitors┤      one `pair` a peer: dial, wait, begin again
//!                                 └────▶ pair ─▶ dialling, conversation, streams
//! ```
//!
//! The one invariant: whoever is linked is on the newest valid roster that the
//! dispatcher signed; a roster without a peer ends its link at once, and without
//! a valid roster there is no link. The mesh outlives the link to the
//! dispatcher. Deliberately absent: what peers may ask of each other (`trust`
//! has the grants), and any decision about tasks (the engine's).

mod clock;
mod conversation;
mod dialling;
mod door;
mod examine;
mod members;
mod news;
mod pair;
mod streams;
mod visitors;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use door::Door;
pub(super) use news::MeshNews;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use self::clock::DispatcherClock;
use self::conversation::Standing;
use self::door::Open;
use self::pair::Pair;
use super::files::Giver;
use super::shell::Event;
use crate::discovery::Hearing;
use crate::model::handshake::Welcome;
use crate::model::limits::PEER_DOUBTED_AFTER;
use crate::model::peers::{PeerMessage, PeerStatus};
use crate::model::{InstanceId, NodeId, NodeName, Timestamp};
use crate::node::{Clock, NodeError};
use crate::transport::{CloseCode, Link};
use crate::trust::Identity;
use crate::trust::grants::Known;
use crate::trust::roster::Roster;

/// How long somebody waits for a link that does not stand yet.
const LINK_PATIENCE: Duration = Duration::from_millis(1500);

/// How often a wish for a link is repeated.
const WAKE_AGAIN: Duration = Duration::from_millis(100);

/// The direct links of this worker. Clones share them.
#[derive(Clone)]
pub(super) struct Mesh(Arc<Shared>);

/// What a mesh is made with.
pub(super) struct MeshConfig {
    pub(super) identity: Arc<Identity>,
    pub(super) instance: InstanceId,
    pub(super) clock: Clock,
    pub(super) door: Door,
    /// Beacons may say where somebody on the roster is by now.
    pub(super) hearing: Option<Hearing>,
    /// To the shell.
    pub(super) events: mpsc::Sender<Event>,
}

struct Shared {
    own: NodeId,
    config: MeshConfig,
    time: DispatcherClock,
    state: Mutex<State>,
    /// Counts whatever changes about peers: links that come and go, and what peers say of themselves.
    changes: watch::Sender<u64>,
    /// What this worker says of itself.
    status: watch::Sender<PeerStatus>,
    /// What it gives of its files, once these are open.
    giver: Mutex<Option<Giver>>,
}

#[derive(Default)]
struct State {
    /// `None` while there is no dispatcher yet, and where it wants no direct links.
    open: Option<Open>,
    /// The newest that was accepted.
    roster: Option<Arc<Roster>>,
    /// Every other worker on it.
    pairs: BTreeMap<NodeId, Pair>,
}

/// A peer with which a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerState {
    pub(super) node: NodeId,
    pub(super) name: NodeName,
    /// The last that it said of itself.
    pub(super) status: Option<PeerStatus>,
    /// When the link came to stand.
    pub(super) since: Timestamp,
    /// Where it is.
    pub(super) address: SocketAddr,
}

/// Why there is no link to a peer; completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MeshError {
    /// The dispatcher wants no direct links, or has not let this worker in yet.
    #[error("reach another worker directly: this worker has no direct links")]
    Closed,
    /// It is not on the roster that this worker knows.
    #[error("reach node {} directly: it is not on the roster", .0.short())]
    NotOnRoster(NodeId),
    /// It was dialled, and no link stands yet.
    #[error("reach {name} directly: {why}")]
    Unreachable {
        /// Its name.
        name: NodeName,
        /// What the last try came to.
        why: String,
    },
}

impl Mesh {
    /// A mesh without links; [`Mesh::open`] lets it have some.
    pub(super) fn new(config: MeshConfig) -> Self {
        let status = PeerStatus { instance: config.instance, free_slots: 0, ready: 0, accepting: false };
        Self(Arc::new(Shared {
            own: config.identity.id(),
            time: DispatcherClock::new(config.clock),
            config,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            status: watch::Sender::new(status),
            giver: Mutex::default(),
        }))
    }

    /// The dispatcher has let this worker in: opens the door for peers where it wants that, and shuts it where not.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// When the address that the user gave cannot be had; a port of our own choice is tried again later.
    pub(super) async fn open(&self, dispatcher: NodeId, welcome: &Welcome) -> Result<(), NodeError> {
        self.0.time.set(welcome.now);
        if !welcome.p2p {
            self.shut("the dispatcher wants no direct links");
            return Ok(());
        }
        let present = self.0.state().open.as_ref().map(|open| open.dispatcher);
        if present == Some(dispatcher) {
            return Ok(());
        }
        self.shut("another dispatcher");
        if let Some(endpoint) = self.0.config.door.open(&self.0.config.identity).await? {
            let open = Open::new(dispatcher, endpoint, &self.0);
            self.0.state().open = Some(open);
            self.0.changed();
        }
        Ok(())
    }

    /// Where this worker listens for peers, if it does.
    pub(super) fn listens(&self) -> Option<SocketAddr> {
        self.0.state().open.as_ref().map(Open::address)
    }

    /// Takes the bytes of a roster that the dispatcher has sent; one that is not to be believed is dropped.
    pub(super) fn show(&self, signed: &[u8]) {
        self.0.show(signed);
    }

    /// The newest roster that was accepted, while it is good.
    pub(super) fn roster(&self) -> Option<Arc<Roster>> {
        let now = self.dispatcher_time();
        self.0.state().roster.clone().filter(|roster| roster.is_valid(now))
    }

    /// What is needed to judge a grant; `None` without a good roster, when nobody is granted anything.
    pub(super) fn known<R>(&self, judge: impl FnOnce(Known<'_>) -> R) -> Option<R> {
        let dispatcher = self.0.state().open.as_ref()?.dispatcher;
        let roster = self.roster()?;
        Some(judge(Known { dispatcher, roster: &roster, now: self.dispatcher_time() }))
    }

    /// From now on peers may ask for files.
    pub(super) fn give_files(&self, giver: Giver) {
        *self.0.giver.lock().unwrap_or_else(PoisonError::into_inner) = Some(giver);
    }

    /// Now, as the dispatcher would say it: its own word, carried on by this machine's clock.
    pub(super) fn dispatcher_time(&self) -> Timestamp {
        self.0.time.now()
    }

    /// What the engine knows: how this worker stands, and what time it is at the dispatcher.
    pub(super) fn stand(&self, (free_slots, ready, accepting): (u32, u32, bool), dispatcher_time: Timestamp) {
        self.0.time.set(dispatcher_time);
        let status = PeerStatus { instance: self.0.config.instance, free_slots, ready, accepting };
        self.0.status.send_if_modified(|said| std::mem::replace(said, status) != status);
    }

    /// The peers with which a link stands, by key.
    pub(super) fn peers(&self) -> Vec<PeerState> {
        let state = self.0.state();
        let standing = state.pairs.iter().filter_map(|(node, pair)| Some((node, &pair.name, pair.standing.as_ref()?)));
        standing.map(|(node, name, standing)| standing.describe(*node, name)).collect()
    }

    /// Sees every change of [`Mesh::peers`] from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Says `message` to `peer`, if a link stands and takes it. Whether it arrives nobody knows.
    pub(super) fn send(&self, peer: NodeId, message: PeerMessage) -> bool {
        let state = self.0.state();
        let standing = state.pairs.get(&peer).and_then(|pair| pair.standing.as_ref());
        standing.is_some_and(|standing| standing.outgoing.try_send(message).is_ok())
    }

    /// The link to `peer`: the one that stands, if it answers, or a new one.
    ///
    /// # Errors
    /// After [`LINK_PATIENCE`] without one, or when there can be none.
    pub(super) async fn link(&self, peer: NodeId) -> Result<Link, MeshError> {
        let mut changes = self.changes();
        let deadline = Instant::now() + LINK_PATIENCE;
        if let Some((link, heard_at)) = self.0.standing_link(peer)? {
            if heard_at.elapsed() < PEER_DOUBTED_AFTER.as_duration() || streams::probe(&link).await.is_ok() {
                return Ok(link);
            }
            link.close(CloseCode::TooSlow, "it does not answer");
            self.0.dismiss(peer, &link);
        }
        while Instant::now() < deadline {
            // Again and again, because a try that began before this wish may end in vain.
            self.0.wake(peer);
            let _ = timeout(WAKE_AGAIN, changes.changed()).await;
            if let Some((link, _)) = self.0.standing_link(peer)? {
                return Ok(link);
            }
        }
        Err(self.0.why_not(peer))
    }

    /// Lets go of every link and of the socket, and waits until that is said.
    pub(super) async fn close(&self, text: &str) {
        let endpoint = self.0.state().open.as_ref().map(Open::endpoint);
        self.shut(text);
        if let Some(endpoint) = endpoint {
            let _ = timeout(LINK_PATIENCE, endpoint.close(text)).await;
        }
    }

    fn shut(&self, text: &str) {
        let closed = std::mem::take(&mut *self.0.state());
        closed.pairs.into_values().for_each(|pair| pair.end(CloseCode::Stopping, text));
        if closed.open.is_some() {
            self.0.changed();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete when the lock is released, a panic elsewhere included.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The link that stands with `peer`, and when anything was heard on it last.
    fn standing_link(&self, peer: NodeId) -> Result<Option<(Link, Instant)>, MeshError> {
        let state = self.state();
        if state.open.is_none() {
            return Err(MeshError::Closed);
        }
        let pair = state.pairs.get(&peer).ok_or(MeshError::NotOnRoster(peer))?;
        Ok(pair.standing.as_ref().map(Standing::link).filter(|(link, _)| link.is_open()))
    }

    fn wake(&self, peer: NodeId) {
        if let Some(pair) = self.state().pairs.get(&peer) {
            pair.wake();
        }
    }

    fn why_not(&self, peer: NodeId) -> MeshError {
        match self.state().pairs.get(&peer) {
            Some(pair) => MeshError::Unreachable { name: pair.name.clone(), why: pair.trouble() },
            None => MeshError::NotOnRoster(peer),
        }
    }
}
