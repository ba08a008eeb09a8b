//! What the tasks of all links share: the way to the engine, the store's
//! readers, and where streams meet.
//!
//! The one invariant: nothing here is a second truth about jobs or workers;
//! whoever wants to know asks the engine or the store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use super::directory::Directory;
use super::event::{Event, Question, REPLY_QUEUE};
use super::files::Files;
use super::granting::Granter;
use super::history::History;
use super::joining::Joiners;
use super::live::Live;
use super::log_files::LogFiles;
use super::neighbourhood::Neighbourhood;
use super::refusals::Refusals;
use super::roster::{Enrolled, RosterDesk};
use crate::engine::dispatcher::LostInput;
use crate::model::requests::Reply;
use crate::model::{LinkId, NodeId, RequestId, Role};
use crate::node::Shutdown;
use crate::store::Viewer;
use crate::trust::AccessFile;

/// Shared by the tasks of all links.
pub(super) struct Shell {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) history: History,
    pub(super) live: Live,
    pub(super) directory: Directory,
    pub(super) log_files: LogFiles,
    pub(super) files: Files,
    pub(super) access: AccessFile,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Raised first of all when it stops: nobody is let in any more.
    pub(super) stopping: Shutdown,
    /// How many links there are; a stop waits for their last words.
    pub(super) links: watch::Sender<usize>,
    pub(super) numbers: Numbers,
    pub(super) joiners: Joiners,
    /// Who hears whom by beacon.
    pub(super) neighbourhood: Neighbourhood,
    /// What workers are granted of each other.
    pub(super) granter: Granter,
    /// Which keys are enrolled.
    pub(super) enrolled: watch::Receiver<Arc<Enrolled>>,
    /// Held while the cluster is examined.
    pub(super) examining: tokio::sync::Mutex<()>,
    /// Where beacons go; `None` where there are none, and no direct links.
    pub(super) discovery_port: Option<u16>,
    /// Who belongs, for the workers.
    pub(super) roster: Arc<RosterDesk>,
    /// What is told of those who were not let in, and of those who ask to be.
    pub(super) refusals: Refusals,
    pub(super) knocks: Refusals,
}

/// Links and requests of this process, counted from 1.
#[derive(Default)]
pub(super) struct Numbers {
    links: AtomicU64,
    requests: AtomicU64,
}

impl Numbers {
    pub(super) fn link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn request(&self) -> RequestId {
        RequestId(self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Who asks, on which link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    pub(super) from: SocketAddr,
    pub(super) role: Role,
}

impl Asker {
    /// What of the store he may see.
    pub(super) fn viewer(&self) -> Viewer {
        Viewer { node: self.node, sees_all: self.role == Role::Admin }
    }
}

/// One question to the engine and the way back. [`Inquiry::over`] ends one that
/// is answered by more than one reply.
pub(super) struct Inquiry {
    id: RequestId,
    link: LinkId,
    replies: mpsc::Receiver<Reply>,
}

impl Shell {
    /// Puts `question` to the engine.
    pub(super) async fn ask(&self, asker: &Asker, question: Question) -> Inquiry {
        let (replies, receiver) = mpsc::channel(REPLY_QUEUE);
        let inquiry = Inquiry { id: self.numbers.request(), link: asker.link, replies: receiver };
        self.tell(Event::Asked { link: inquiry.link, request: inquiry.id, question, replies }).await;
        inquiry
    }

    /// Asks what becomes of an input of a worker's attempt that nobody who is connected has; `None` when the
    /// dispatcher ends, or the worker's link has.
    pub(super) async fn ask_of_lost(&self, link: LinkId, lost: LostInput) -> Option<Reply> {
        let (replies, mut receiver) = mpsc::channel(1);
        self.tell(Event::InputLost { link, request: self.numbers.request(), lost: Box::new(lost), replies }).await;
        receiver.recv().await
    }

    /// Puts an event into the loop's queue. When the loop has ended, so does everything else soon.
    pub(super) async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }
}

impl Inquiry {
    /// The next reply; `None` when the request was cut off or the dispatcher ends.
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }

    /// A reply that is there by now.
    pub(super) fn said(&mut self) -> Option<Reply> {
        self.replies.try_recv().ok()
    }

    /// Nobody listens any more.
    pub(super) async fn over(self, shell: &Shell) {
        shell.tell(Event::RequestGone { link: self.link, request: self.id }).await;
    }
}
