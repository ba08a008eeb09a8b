//! One worker's link: its messages in, the engine's out, and its streams of
//! output.
//!
//! The one invariant: a stream is taken only for an attempt that the store says
//! this worker was given, so no worker can write into another's task. Absent:
//! any meaning of a message (the engine's).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::event::{Event, LinkOut};
use super::files::{self, Holder};
use super::live::WorkerStream;
use super::roster::Signature;
use super::shell::Shell;
use crate::model::limits::{MAX_FRAME, UNSENT_KEPT};
use crate::model::messages::{DispatcherMessage, StreamPurpose, WorkerMessage};
use crate::model::{AttemptId, LinkId, NodeId, NodeName};
use crate::store::StoreError;
use crate::transport::{CloseCode, FrameRecv, FrameSend, Link, TransportError};

/// Messages that leave in one write.
const WRITE_AT_ONCE: usize = 256;

/// An attempt that was handed over may be asked about on one stream before that is told on another: so long is waited.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked meanwhile.
const HAND_OVER_LOOK: Duration = Duration::from_millis(50);
/// A stream says what it is for within this time, or is closed.
const PURPOSE_PATIENCE: Duration = Duration::from_secs(10);

/// A worker that was let in.
pub(super) struct Connected {
    pub(super) id: LinkId,
    pub(super) name: NodeName,
    pub(super) link: Link,
    /// It could read this dispatcher's access file.
    pub(super) of_own_user: bool,
}

/// How serving a worker ended.
enum End {
    /// Its link broke or was closed, or it broke the protocol.
    Failed(TransportError),
    /// It finished its control stream.
    Left,
    /// The engine closes it.
    Closed(CloseCode, String),
    /// The dispatcher is stopping.
    Stopping,
}

/// Serves a worker until its link ends.
pub(super) async fn serve(
    shell: &Arc<Shell>,
    worker: Connected,
    send: FrameSend,
    recv: FrameRecv,
    queue: mpsc::Receiver<LinkOut>,
) {
    let Connected { id, name, link, of_own_user } = worker;
    shell.directory.join(id, name.clone(), link.clone(), of_own_user);
    let end = tokio::select! {
        end = listen(shell, id, &link, &name, recv) => end,
        end = speak(send, queue, shell.roster.newest()) => end,
        error = take_streams(shell, id, &link, &name) => End::Failed(error),
    };
    shell.directory.leave(link.peer(), id);
    shell.neighbourhood.leave(link.peer(), id);
    shell.roster.leave(link.peer(), id, matches!(end, End::Left), shell.neighbourhood.now());
    match end {
        End::Left => link.close(CloseCode::Done, "goodbye"),
        End::Closed(code, text) => link.close(code, &text),
        End::Stopping => stop(&link).await,
        End::Failed(error) => {
            debug!(worker = name.as_str(), "The link has ended: failed to {error}");
            link.close(CloseCode::Malformed, &format!("failed to {error}"));
        }
    }
}

/// Leaves what was said a moment to arrive: closing a link drops what is still on its way.
pub(super) async fn stop(link: &Link) {
    let _ = tokio::time::timeout(Duration::from_millis(200), link.closed()).await;
    link.close(CloseCode::Stopping, "the dispatcher is stopping");
}

async fn listen(shell: &Shell, id: LinkId, link: &Link, name: &NodeName, mut recv: FrameRecv) -> End {
    loop {
        match recv.recv::<WorkerMessage>(MAX_FRAME).await {
            // Whom it hears is nothing that the engine decides by.
            Ok(Some(WorkerMessage::Neighbours(news))) => shell.neighbourhood.report(id, link.peer(), name, news),
            Ok(Some(WorkerMessage::Listening(addresses))) => {
                shell.roster.listens(link.peer(), id, link.remote_addr().ip(), &addresses);
            }
            Ok(Some(WorkerMessage::Moved(traffic))) => shell.directory.moved(link.peer(), id, traffic),
            Ok(Some(WorkerMessage::Linked(peers))) => shell.neighbourhood.linked(id, link.peer(), name, peers),
            Ok(Some(message)) => {
                note_files(shell, link, name, &message);
                shell.tell(Event::FromWorker { link: id, message }).await;
            }
            Ok(None) => return End::Left,
            Err(error) => return End::Failed(error),
        }
    }
}

/// Where files are is nothing that the engine writes down.
fn note_files(shell: &Shell, link: &Link, name: &NodeName, message: &WorkerMessage) {
    if let WorkerMessage::Ended(ended) = message {
        let moved = ended.iter().filter_map(|ended| ended.report.files.as_deref());
        moved.for_each(|files| shell.files.note_result(link.peer(), name, files));
    }
}

async fn speak(mut send: FrameSend, mut queue: mpsc::Receiver<LinkOut>, mut roster: watch::Receiver<Signature>) -> End {
    let mut waiting = Vec::with_capacity(WRITE_AT_ONCE);
    loop {
        let newest = tokio::select! {
            taken = queue.recv_many(&mut waiting, WRITE_AT_ONCE) => match taken {
                0 => return End::Stopping,
                _ => None,
            },
            // Never ends before the queue does: this dispatcher has it.
            Ok(()) = roster.changed() => roster.borrow_and_update().clone(),
        };
        let (mut messages, close) = sort(&mut waiting);
        messages.extend(newest.map(|signed| DispatcherMessage::Roster(signed.to_vec())));
        if let Err(error) = send.send_all(&messages).await {
            return End::Failed(error);
        }
        if let Some((code, text)) = close {
            return End::Closed(code, text);
        }
    }
}

/// The messages among `waiting`, up to the goodbye if there is one.
fn sort(waiting: &mut Vec<LinkOut>) -> (Vec<DispatcherMessage>, Option<(CloseCode, String)>) {
    let mut messages = Vec::with_capacity(waiting.len());
    for out in waiting.drain(..) {
        match out {
            LinkOut::Message(message) => messages.push(message),
            LinkOut::Close(code, text) => return (messages, Some((code, text))),
            // A link is answered once, before it comes here.
            LinkOut::Answer(_) => {}
        }
    }
    (messages, None)
}

/// Takes the streams that the worker opens; returns when its link is gone.
async fn take_streams(shell: &Arc<Shell>, id: LinkId, link: &Link, name: &NodeName) -> TransportError {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            opened = link.accept_bi() => match opened {
                Ok((send, recv)) => {
                    drop(streams.spawn(both_ways(Arc::clone(shell), id, link.clone(), name.clone(), send, recv)));
                }
                Err(error) => return error,
            },
            opened = link.accept_uni() => match opened {
                Ok(recv) => {
                    let worker = Holder { node: link.peer(), name: name.clone() };
                    drop(streams.spawn(upload(Arc::clone(shell), worker, recv)));
                }
                Err(error) => return error,
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

/// Serves a stream of which both directions are used.
async fn both_ways(shell: Arc<Shell>, id: LinkId, link: Link, name: NodeName, send: FrameSend, mut recv: FrameRecv) {
    match purpose(&mut recv).await {
        Some(StreamPurpose::Attached { id, from }) => {
            attached(shell, link, name, WorkerStream { id, from, send, recv }).await
        }
        Some(
            about @ (StreamPurpose::BlobOffer { .. }
            | StreamPurpose::OutputsOf { .. }
            | StreamPurpose::WhoHas { .. }
            | StreamPurpose::PieceFetch { .. }),
        ) => {
            about_files(&shell, id, Holder { node: link.peer(), name }, about, send, recv).await;
        }
        Some(about @ (StreamPurpose::Keeping | StreamPurpose::BlobCopy { .. })) => {
            held_alone(&shell, &link, about, send, recv).await;
        }
        Some(
            StreamPurpose::LogUpload { .. }
            | StreamPurpose::LogRead { .. }
            | StreamPurpose::BlobRead { .. }
            | StreamPurpose::PieceRead { .. }
            | StreamPurpose::Examine,
        )
        | None => {}
    }
}

/// Speaks with a worker about the outputs that it holds.
async fn held_alone(shell: &Shell, link: &Link, about: StreamPurpose, mut send: FrameSend, mut recv: FrameRecv) {
    let done = match about {
        StreamPurpose::BlobCopy { contents, blobs } => {
            files::copy(shell, link.peer(), contents, blobs, &mut send, &mut recv).await
        }
        _ => files::tell_needed(shell, link.peer(), &mut send, &mut recv).await,
    };
    if let Err(error) = done {
        debug!("A worker's outputs stay with it for now: failed to {error}");
        send.abandon();
    }
}

/// Moves files of an attempt that the worker holds.
async fn about_files(
    shell: &Shell,
    link: LinkId,
    worker: Holder,
    about: StreamPurpose,
    mut send: FrameSend,
    mut recv: FrameRecv,
) {
    let (StreamPurpose::BlobOffer { id, .. }
    | StreamPurpose::OutputsOf { id, .. }
    | StreamPurpose::WhoHas { id, .. }
    | StreamPurpose::PieceFetch { id, .. }) = about
    else {
        return;
    };
    let name = worker.name.clone();
    let is_recorded = match settled_standing(shell, id, worker.node).await {
        Ok(Standing::Live) => false,
        Ok(Standing::Ended) if matches!(about, StreamPurpose::BlobOffer { .. }) => true,
        Ok(standing @ (Standing::NotIts | Standing::Ended)) => {
            match standing {
                // Whoever is done needs no inputs any more. It asked before that, while nobody was here to answer.
                Standing::Ended => debug!("Worker {name} asked for files of task {id}, which has ended meanwhile"),
                _ => warn!("Worker {name} asks for files of task {id}, which it does not have"),
            }
            let _ = files::refuse_stranger(id, &about, &mut send).await;
            return;
        }
        Err(error) => return warn!("The files of task {id} cannot be moved: failed to {error}"),
    };
    let moved = match about {
        StreamPurpose::BlobOffer { blobs, .. } => {
            files::take(shell, id, blobs, is_recorded, &mut send, &mut recv).await
        }
        StreamPurpose::OutputsOf { input, output, .. } => {
            files::name_outputs(shell, id, input, output, &mut send).await
        }
        StreamPurpose::WhoHas { blobs, .. } => files::guide(shell, link, worker, id, blobs, &mut send, &mut recv).await,
        StreamPurpose::PieceFetch { holder, blobs, .. } => {
            files::converse(shell, link, id, holder, blobs, &mut send, &mut recv).await
        }
        _ => return,
    };
    if let Err(error) = moved {
        debug!(worker = name.as_str(), "Files of task {id} stay where they are for now: failed to {error}");
        send.abandon();
    }
}

/// Leaves an attached attempt's stream for its client, for as long as one may come.
async fn attached(shell: Arc<Shell>, link: Link, name: NodeName, stream: WorkerStream) {
    let id = stream.id;
    match standing(&shell, id, link.peer()).await {
        Ok(Standing::Live) => {}
        Ok(Standing::Ended) if shell.live.is_awaited(id.task) => {}
        Ok(Standing::Ended) => return,
        Ok(Standing::NotIts) => return warn!("Worker {name} offers output of task {id}, which it was not given"),
        Err(error) => return warn!("The output of task {id} cannot be passed on: failed to {error}"),
    }
    let parking = shell.live.park(stream);
    let abandoned = async {
        parking.ended().await;
        tokio::time::sleep(UNSENT_KEPT.as_duration()).await;
    };
    tokio::select! {
        () = parking.taken() => {}
        _ = link.closed() => {}
        () = abandoned => {}
    }
}

/// Receives the stored output of an ended attempt.
async fn upload(shell: Arc<Shell>, worker: Holder, mut recv: FrameRecv) {
    let Holder { node, name } = worker;
    let Some(StreamPurpose::LogUpload { id, bytes }) = purpose(&mut recv).await else { return };
    if !shell.history.disk().is_enough() {
        return warn!("The output of task {id} from {name} was not kept: the disk is full");
    }
    let kept = match standing(&shell, id, node).await {
        Ok(Standing::Live) => shell.log_files.receive(id, bytes, &mut recv).await,
        // A result of it is recorded already, and what that promised is here: nobody waits for this.
        Ok(Standing::Ended) => Ok(()),
        Ok(Standing::NotIts) => return warn!("Worker {name} uploads output of task {id}, which it was not given"),
        Err(error) => return warn!("The output of task {id} cannot be kept: failed to {error}"),
    };
    match kept {
        Ok(()) => recv.kept(),
        // Dropping the stream says so to the worker, which tries again.
        Err(error) => warn!("The output of task {id} from {name} was not kept: failed to {error}"),
    }
}

async fn purpose(recv: &mut FrameRecv) -> Option<StreamPurpose> {
    let first = tokio::time::timeout(PURPOSE_PATIENCE, recv.recv(MAX_FRAME)).await;
    first.ok()?.ok()?
}

/// What an attempt is to a worker.
enum Standing {
    /// It was given it, and no result is recorded.
    Live,
    /// It was given it, and its result is recorded.
    Ended,
    /// It was never given it.
    NotIts,
}

/// What an attempt is to a worker, once what that says at about this time was heard.
async fn settled_standing(shell: &Shell, id: AttemptId, worker: NodeId) -> Result<Standing, StoreError> {
    let until = tokio::time::Instant::now() + HAND_OVER_PATIENCE;
    loop {
        match standing(shell, id, worker).await? {
            Standing::NotIts if tokio::time::Instant::now() < until => tokio::time::sleep(HAND_OVER_LOOK).await,
            known => return Ok(known),
        }
    }
}

async fn standing(shell: &Shell, id: AttemptId, worker: NodeId) -> Result<Standing, StoreError> {
    // No flush: the order to run it left only after its row was written.
    Ok(match shell.history.read(move |reader| reader.given_to(id, worker)).await? {
        Some(false) => Standing::Live,
        Some(true) => Standing::Ended,
        None => Standing::NotIts,
    })
}
