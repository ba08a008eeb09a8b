//! The ways out: one queue a link, one queue a request.
//!
//! The one invariant: handing something out never waits. A link whose queue is
//! full is closed, and a request whose queue is full is cut off; both come back
//! and ask for what they missed, so a slow peer slows down nobody else.

use std::collections::HashMap;

use tokio::sync::mpsc;
use tracing::warn;

use super::event::{LinkOut, Port};
use crate::engine::dispatcher::{CloseReason, Outbound};
use crate::model::requests::Reply;
use crate::model::{LinkId, RequestId};
use crate::transport::CloseCode;

/// What travels for a reason of the engine.
fn close_code(reason: CloseReason) -> CloseCode {
    match reason {
        CloseReason::Done => CloseCode::Done,
        CloseReason::Superseded | CloseReason::GivenUp => CloseCode::Superseded,
        CloseReason::Malformed => CloseCode::Malformed,
        CloseReason::Revoked => CloseCode::Revoked,
    }
}

/// All links and open requests, as the engine's loop sees them.
#[derive(Default)]
pub(super) struct Ports {
    links: HashMap<LinkId, Port>,
    requests: HashMap<RequestId, (LinkId, mpsc::Sender<Reply>)>,
}

impl Ports {
    pub(super) fn open(&mut self, link: LinkId, port: Port) {
        self.links.insert(link, port);
    }

    /// Forgets the link and its requests; says whether it was known.
    pub(super) fn close(&mut self, link: LinkId) -> bool {
        self.requests.retain(|_, (of, _)| *of != link);
        self.links.remove(&link).is_some()
    }

    pub(super) fn ask(&mut self, link: LinkId, request: RequestId, replies: mpsc::Sender<Reply>) {
        self.requests.insert(request, (link, replies));
    }

    /// Forgets the request; says whether it was known.
    pub(super) fn hang_up(&mut self, request: RequestId) -> bool {
        self.requests.remove(&request).is_some()
    }

    /// Hands `outbound` to its link; what is for a link or request that has gone is dropped.
    pub(super) fn send(&mut self, link: LinkId, outbound: Outbound) {
        match outbound {
            Outbound::Answer(answer) => self.push(link, LinkOut::Answer(answer)),
            Outbound::ToWorker(message) => self.push(link, LinkOut::Message(message)),
            Outbound::Close { reason, text } => {
                if reason == CloseReason::Revoked
                    && let Some(port) = self.links.get(&link)
                {
                    // At once: what still waits to be written is not for it any more.
                    port.link.close(CloseCode::Revoked, &text);
                }
                self.push(link, LinkOut::Close(close_code(reason), text));
                self.close(link);
            }
            Outbound::Reply { request, reply } => self.reply(request, reply),
        }
    }

    /// Answers one request.
    pub(super) fn reply(&mut self, request: RequestId, reply: Reply) {
        let Some((link, replies)) = self.requests.get(&request) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = replies.try_send(reply) {
            warn!(link = link.0, request = request.0, "a client takes no replies; its request is cut off");
            self.requests.remove(&request);
        }
    }

    /// Lets go of every link; each writes out what waits for it and ends.
    pub(super) fn close_all(&mut self) {
        self.requests.clear();
        self.links.clear();
    }

    fn push(&mut self, link: LinkId, out: LinkOut) {
        let Some(port) = self.links.get(&link) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = port.out.try_send(out) {
            warn!(peer = port.link.peer().short(), "a peer takes no messages; its link is closed");
            port.link.close(CloseCode::TooSlow, "messages were not taken in time");
            // The engine learns of it from the link's task, as of every other end.
            self.links.remove(&link);
        }
    }
}
