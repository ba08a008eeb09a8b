//! How many bytes of files this worker has received, and by which way.
//!
//! The one invariant: counts only grow while the process lives, and the dispatcher is told of each change within
//! [`TELL_EVERY`]. Absent: what was sent (`node::serving` counts that).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Giver;
use crate::model::files::{FileTraffic, TransferPath};
use crate::node::worker::reads::FilesSlot;

/// How often it is looked whether there is something to tell.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Bytes received. Clones share them.
#[derive(Debug, Clone, Default)]
pub(in crate::node::worker) struct Traffic {
    direct: Arc<AtomicU64>,
    relay: Arc<AtomicU64>,
    dispatcher: Arc<AtomicU64>,
}

impl Traffic {
    /// So many came this way.
    pub(super) fn received(&self, path: TransferPath, bytes: u64) {
        let count = match path {
            TransferPath::Direct => &self.direct,
            TransferPath::Relay => &self.relay,
            TransferPath::Dispatcher => &self.dispatcher,
            TransferPath::Local => return,
        };
        count.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Giver {
    /// Everything that was moved.
    fn traffic(&self) -> FileTraffic {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FileTraffic {
            sent_direct: self.uploads.sent_bytes(),
            received_direct: count(&self.traffic.direct),
            received_relay: count(&self.traffic.relay),
            received_dispatcher: count(&self.traffic.dispatcher),
        }
    }
}

/// What the dispatcher was told on one link.
pub(in crate::node::worker) struct TrafficNews {
    files: FilesSlot,
    told: FileTraffic,
}

impl TrafficNews {
    /// Nothing was told yet.
    pub(in crate::node::worker) fn new(files: FilesSlot) -> Self {
        Self { files, told: FileTraffic::default() }
    }

    /// Waits for news. May be dropped while it waits; nothing is lost by that.
    pub(in crate::node::worker) async fn next(&mut self) -> FileTraffic {
        loop {
            let now = self.files.borrow().as_ref().map(Giver::traffic).unwrap_or_default();
            if std::mem::replace(&mut self.told, now) != now {
                return now;
            }
            tokio::time::sleep(TELL_EVERY).await;
        }
    }
}
