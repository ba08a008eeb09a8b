//! Everything that can happen to the engine's loop: one closed enum, one
//! bounded queue.
//!
//! The one invariant: whoever has something for the engine puts it in here and
//! waits when the queue is full; nobody calls the engine from elsewhere.

use tokio::sync::{mpsc, oneshot};

use crate::engine::dispatcher::{Call, LostInput};
use crate::model::handshake::{Answer, Hello};
use crate::model::messages::{DispatcherMessage, WorkerMessage};
use crate::model::requests::Reply;
use crate::model::trust::Voucher;
use crate::model::{JobId, LinkId, NodeId, RequestId};
use crate::transport::{CloseCode, Link};

/// Most events taken in one turn: enough to make one commit of many, few
/// enough that a turn takes milliseconds and heartbeats are seen in between.
pub(super) const TURN_EVENTS: usize = 512;

/// Events that wait for the loop: the next turn's worth, while this one is worked on.
pub(super) const EVENT_QUEUE: usize = TURN_EVENTS;

/// Messages that wait for one worker's link. What a worker is sent answers what
/// it said, or is an order of a client; a link that takes none of a thousand
/// has stopped, and its worker is better off with a new one.
pub(super) const WORKER_QUEUE: usize = 1024;

/// Words that wait for one client's or guard's link beside its requests: the answer to its hello and a close.
pub(super) const CONTROL_QUEUE: usize = 4;

/// Replies that wait for one request's stream. A watch gets at most ten a
/// second; a client that has taken none for seconds is cut off and asks again.
pub(super) const REPLY_QUEUE: usize = 64;

/// Something that happened.
pub(super) enum Event {
    /// A peer said hello.
    LinkUp(Box<Arrival>),
    /// Its link is gone.
    LinkDown(LinkId),
    /// A worker said something.
    FromWorker { link: LinkId, message: WorkerMessage },
    /// A guard was let in: that is its message.
    FromGuard(LinkId),
    /// A client asks something; replies go into the queue, which is closed after an overflow.
    Asked { link: LinkId, request: RequestId, question: Question, replies: mpsc::Sender<Reply> },
    /// A worker cannot get an input that nobody who is connected has; the answer goes into the queue.
    InputLost { link: LinkId, request: RequestId, lost: Box<LostInput>, replies: mpsc::Sender<Reply> },
    /// Its stream is gone, or was answered.
    RequestGone { link: LinkId, request: RequestId },
    /// These jobs ended longer ago than jobs are kept.
    Expired(Vec<JobId>),
    /// It is time to write down how long the dispatcher has run.
    Uptime,
    /// Finish what was taken, write it, and stop.
    Stop(oneshot::Sender<()>),
}

/// A peer that said hello.
pub(super) struct Arrival {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    pub(super) hello: Hello,
    pub(super) vouched: Option<Voucher>,
    pub(super) port: Port,
}

/// A question to the engine.
pub(super) struct Question {
    pub(super) call: Call,
    /// To a submission: what it is answered by when the store has a job under
    /// its idempotency key, and the engine does not know that job any more.
    pub(super) earlier: Option<Box<(JobId, Reply)>>,
}

impl From<Call> for Question {
    fn from(call: Call) -> Self {
        Self { call, earlier: None }
    }
}

/// The way to one link: the queue that its task drains.
pub(super) struct Port {
    pub(super) out: mpsc::Sender<LinkOut>,
    /// To close it when the queue overflows.
    pub(super) link: Link,
}

/// Something for one link's task to say.
pub(super) enum LinkOut {
    /// To its hello.
    Answer(Answer),
    /// To its worker.
    Message(DispatcherMessage),
    /// Goodbye, and why.
    Close(CloseCode, String),
}
