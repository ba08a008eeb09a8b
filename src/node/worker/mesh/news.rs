//! What a worker tells its dispatcher of its direct links: where it listens,
//! and with whom it is linked.
//!
//! Invariant: on each link to the dispatcher the first news is everything, and
//! none is told twice. Absent: any use of it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Mesh;
use crate::model::limits::MAX_BATCH;
use crate::model::messages::WorkerMessage;
use crate::model::peers::LinkedPeer;

/// What happens within this time is told together.
const TOGETHER: Duration = Duration::from_millis(200);

/// What was told on one link to the dispatcher.
pub(in crate::node::worker) struct MeshNews {
    mesh: Mesh,
    changes: watch::Receiver<u64>,
    listening: Option<Vec<String>>,
    linked: Option<Vec<LinkedPeer>>,
}

impl MeshNews {
    /// Nothing was told yet.
    pub(in crate::node::worker) fn new(mesh: Mesh) -> Self {
        let changes = mesh.changes();
        Self { mesh, changes, listening: None, linked: None }
    }

    /// Waits for news. May be dropped while it waits; nothing is lost by that.
    pub(in crate::node::worker) async fn next(&mut self) -> WorkerMessage {
        loop {
            self.changes.mark_unchanged();
            if let Some(news) = self.compare() {
                return news;
            }
            if self.changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            sleep(TOGETHER).await;
        }
    }

    fn compare(&mut self) -> Option<WorkerMessage> {
        let listening = self.mesh.whereabouts();
        if self.listening.as_ref() != Some(&listening) {
            self.listening = Some(listening.clone());
            return Some(WorkerMessage::Listening(listening));
        }
        let peers = self.mesh.peers().into_iter().take(MAX_BATCH);
        let linked: Vec<LinkedPeer> =
            peers.map(|peer| LinkedPeer { node: peer.node, address: peer.address.to_string() }).collect();
        if self.linked.as_ref() != Some(&linked) {
            self.linked = Some(linked.clone());
            return Some(WorkerMessage::Linked(linked));
        }
        None
    }
}

impl Mesh {
    /// Where others may find this worker; nowhere while it does not listen.
    fn whereabouts(&self) -> Vec<String> {
        let bound = self.listens();
        let addresses = bound.map(|bound| self.0.config.door.addresses(bound)).unwrap_or_default();
        addresses.iter().map(ToString::to_string).collect()
    }
}
