//! One client's link: every request is a stream, every stream a task.
//!
//! The one invariant: a link that ends takes its requests with it. Absent: what
//! requests mean (`requests`).

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::event::LinkOut;
use super::shell::{Asker, Shell};
use super::{requests, worker_link};
use crate::transport::Link;

/// Serves a client until its link ends.
pub(super) async fn serve(shell: &Arc<Shell>, asker: Asker, link: &Link, queue: mpsc::Receiver<LinkOut>) {
    answer(shell, asker, link, queue).await;
    shell.files.link_ended(asker.link);
}

async fn answer(shell: &Arc<Shell>, asker: Asker, link: &Link, mut queue: mpsc::Receiver<LinkOut>) {
    // The transport bounds how many streams a peer may have open.
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            opened = link.accept_bi() => match opened {
                Ok((send, recv)) => drop(streams.spawn(requests::serve(Arc::clone(shell), asker, send, recv))),
                Err(end) => return debug!(peer = asker.node.short(), "A client's link has ended: failed to {end}"),
            },
            Some(ended) = streams.join_next() => {
                if ended.is_err_and(|crash| crash.is_panic()) {
                    error!(peer = asker.node.short(), "The task of a request has crashed; its stream is closed");
                }
            }
            out = queue.recv() => match out {
                Some(LinkOut::Close(code, text)) => return link.close(code, &text),
                Some(LinkOut::Answer(_) | LinkOut::Message(_)) => {}
                None => {
                    // Answers that were let go a moment ago are still being written.
                    let _ = tokio::time::timeout(DRAIN, async { while streams.join_next().await.is_some() {} }).await;
                    return worker_link::stop(link).await;
                }
            },
        }
    }
}

/// How long the last answers may take when the dispatcher stops.
const DRAIN: std::time::Duration = std::time::Duration::from_millis(300);
