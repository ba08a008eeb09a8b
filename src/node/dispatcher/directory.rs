//! Which workers are connected, by name and key, with their links.
//!
//! The one invariant: a link stands here from its welcome to its end, so what
//! is found here was let in by the engine. Absent: the roster (the engine's);
//! this only knows where to send and how far away it is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::model::files::FileTraffic;
use crate::model::views::WorkerView;
use crate::model::{LinkId, NodeId, NodeName};
use crate::transport::Link;

/// The connected workers.
pub(super) struct Directory {
    workers: Mutex<HashMap<NodeId, Seat>>,
    /// Counts joins and ends, for those who wait for a worker to come back.
    changes: watch::Sender<u64>,
}

struct Seat {
    id: LinkId,
    name: NodeName,
    link: Link,
    traffic: FileTraffic,
    /// It could read this dispatcher's access file.
    of_own_user: bool,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { workers: Mutex::new(HashMap::new()), changes: watch::Sender::new(0) }
    }

    /// A worker was welcomed; an older link of the same key is forgotten.
    pub(super) fn join(&self, id: LinkId, name: NodeName, link: Link, of_own_user: bool) {
        self.seats().insert(link.peer(), Seat { id, name, link, traffic: FileTraffic::default(), of_own_user });
        self.changes.send_modify(|count| *count += 1);
    }

    /// The link `id` of `node` has ended.
    pub(super) fn leave(&self, node: NodeId, id: LinkId) {
        let mut seats = self.seats();
        if seats.get(&node).is_some_and(|seat| seat.id == id) {
            seats.remove(&node);
        }
        drop(seats);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The link of the worker called `name`, when it is connected.
    pub(super) fn link_of(&self, name: &NodeName) -> Option<Link> {
        self.seats().values().find(|seat| seat.name == *name).map(|seat| seat.link.clone())
    }

    /// The link of the worker with this key, when it is connected.
    pub(super) fn link_to(&self, node: NodeId) -> Option<Link> {
        self.seats().get(&node).map(|seat| seat.link.clone())
    }

    /// Whether this worker runs as the user who runs this dispatcher, as far as that is known.
    pub(super) fn is_of_own_user(&self, node: NodeId) -> bool {
        self.seats().get(&node).is_some_and(|seat| seat.of_own_user)
    }

    /// Whether a worker with this key is connected.
    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        self.seats().contains_key(&node)
    }

    /// What the worker `node` says, on its link `id`, that it has moved.
    pub(super) fn moved(&self, node: NodeId, id: LinkId, traffic: FileTraffic) {
        if let Some(seat) = self.seats().get_mut(&node).filter(|seat| seat.id == id) {
            seat.traffic = traffic;
        }
    }

    /// Sees every join and end from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Fills in what only the shell knows of a worker.
    pub(super) fn complete(&self, workers: &mut [WorkerView]) {
        let seats = self.seats();
        for view in workers {
            if let Some(seat) = seats.get(&view.node) {
                view.address = Some(seat.link.remote_addr().to_string());
                view.traffic = seat.traffic;
                view.latency_us = u64::try_from(seat.link.rtt().as_micros()).ok();
            }
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<NodeId, Seat>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
