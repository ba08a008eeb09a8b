//! Who was heard, as the rest of the node asks for it while the station goes on.
//!
//! Invariant: no lock is held while anything else is waited for. Absent: sockets and beacons (`station`), and who is
//! kept for how long (`neighbours`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::neighbours::{Neighbour, Neighbours, Offer, Scope};
use super::station::Standing;
use crate::model::{NodeId, Timestamp};

/// How long answers to a first question may take; who is not heard until then may not be there.
const ANSWERED_AFTER: Duration = Duration::from_millis(1500);

/// Who was heard, for whoever wants to know. Cheap to clone.
#[derive(Clone)]
pub struct Hearing {
    pub(super) shared: Arc<Shared>,
}

/// What the task and its listeners share.
pub(super) struct Shared {
    neighbours: Mutex<Neighbours>,
    /// Counts arrivals, departures and moves.
    changes: watch::Sender<u64>,
    /// Where the node stands.
    pub(super) standing: watch::Sender<Standing>,
    /// Whether the port is open.
    pub(super) is_listening: watch::Sender<bool>,
    /// Counts wishes that the node speak now.
    pub(super) wishes: watch::Sender<u64>,
    /// When it began to ask for dispatchers, while it does.
    asking_since: Mutex<Option<Instant>>,
    started_at: Timestamp,
    /// The same instant as `started_at`.
    pub(super) began: Instant,
}

impl Hearing {
    /// Nobody was heard yet. Time begins now, at `started_at`.
    pub(super) fn start(me: NodeId, scope: Scope, standing: &Standing, started_at: Timestamp) -> Self {
        let shared = Arc::new(Shared {
            neighbours: Mutex::new(Neighbours::new(me, scope)),
            changes: watch::Sender::new(0),
            standing: watch::Sender::new(standing.clone()),
            is_listening: watch::Sender::new(false),
            wishes: watch::Sender::new(0),
            asking_since: Mutex::new(None),
            started_at,
            began: Instant::now(),
        });
        let hearing = Self { shared };
        hearing.note_asking(standing);
        hearing
    }

    /// Everybody of this cluster who was heard lately, by key.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        self.table().present().cloned().collect()
    }

    /// Whose beacons came since then, by key.
    #[must_use]
    pub fn heard_since(&self, since: Timestamp) -> Vec<NodeId> {
        let table = self.table();
        table.present().filter(|neighbour| neighbour.heard_at >= since).map(|neighbour| neighbour.node).collect()
    }

    /// Sends a beacon now, if the node speaks at all.
    pub fn speak_now(&self) {
        self.shared.wishes.send_modify(|count| *count += 1);
    }

    /// Dispatchers that were heard and can be dialled, by key.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        self.table().offers().collect()
    }

    /// Where this node was heard and can be dialled, the newest address first.
    #[must_use]
    pub fn whereabouts(&self, node: NodeId) -> Vec<SocketAddr> {
        let mut addresses = self.table().find(node).map(|neighbour| neighbour.addresses.clone()).unwrap_or_default();
        addresses.retain(|address| address.port() != 0);
        addresses
    }

    /// Says from now on that the node stands there, which begins with a beacon at once.
    pub fn stand(&self, standing: Standing) {
        self.note_asking(&standing);
        self.shared.standing.send_if_modified(|now| {
            let is_news = *now != standing;
            *now = standing;
            is_news
        });
    }

    /// Sees every arrival, departure and move from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Whether the port is open.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        *self.shared.is_listening.borrow()
    }

    /// Whether it has asked for dispatchers so long ago that whoever is there has answered.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        self.asking_since().is_some_and(|since| since.elapsed() >= ANSWERED_AFTER)
    }

    /// Now, in the time of [`Neighbour::heard_at`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.shared.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.shared.started_at.0.saturating_add(elapsed))
    }

    fn note_asking(&self, standing: &Standing) {
        let mut since = self.asking_since();
        *since = match standing {
            Standing::Seeking { .. } => since.or_else(|| Some(Instant::now())),
            _ => None,
        };
    }

    fn asking_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.shared.asking_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who is known.
    pub(super) fn table(&self) -> MutexGuard<'_, Neighbours> {
        self.shared.neighbours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that somebody came, went or moved.
    pub(super) fn changed(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }
}
