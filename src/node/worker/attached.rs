//! The live side of a `run`: a task's output on its way to the attached client,
//! and the client's input on its way to the task, across any number of streams.
//!
//! Invariant: every byte is handed on once and in order; what the client has
//! not acknowledged is kept ([`Window`]) and sent again on the next stream.
//! Nothing here blocks anything there: stdin that the task does not read never
//! stands before an acknowledgement, because it is taken off the stream into a
//! queue that the client keeps within `STDIN_WINDOW`. Absent: storing output
//! for `logs` (`exec`), and pairing streams with clients (the dispatcher).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::window::{Cursor, Window};
use crate::exec::{AttachedIo, OutputChunk};
use crate::model::AttemptId;
use crate::model::limits::{STDIN_WINDOW, UNSENT_KEPT};
use crate::model::messages::StreamPurpose;
use crate::transport::{FrameRecv, FrameSend, Link, TransportError};
use crate::wire::DataFrame;

/// Chunks between the executor and the window: enough that reading a pipe and
/// filling the window take turns without waiting for each other.
const OUTPUT_QUEUE: usize = 4;

/// First pause before a stream that broke alone is opened again on the same link; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The two ends of an attached attempt's channels.
pub(super) struct Attached {
    id: AttemptId,
    /// Whether the client's stdin goes to the task.
    takes_stdin: bool,
    output: mpsc::Receiver<OutputChunk>,
    stdin: mpsc::Sender<Vec<u8>>,
    /// The current link, if there is one.
    link: watch::Receiver<Option<Link>>,
    /// Fires (or is dropped) when the attempt's result is recorded: nobody waits for ever from then on.
    recorded: oneshot::Receiver<()>,
}

/// What the halves of this room share. Locked for a few instructions only.
#[derive(Default)]
struct Shared {
    window: Window,
    /// Input that the task has not taken yet.
    input: VecDeque<Vec<u8>>,
    /// Bytes of input taken off streams.
    accepted: u64,
    /// Bytes of input given to the task.
    delivered: u64,
    /// The client has no more input.
    input_ended: bool,
}

/// [`Shared`] with the wakeups of those who wait for a change of it.
#[derive(Default)]
struct Desk {
    shared: Mutex<Shared>,
    /// There is something to be sent, or everything is done.
    to_send: Notify,
    /// The window may have room.
    room: Notify,
    /// There is input, or its end.
    input: Notify,
    /// The input queue may have room.
    input_room: Notify,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every change is complete when the lock is released, a panic elsewhere included.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attached {
    /// Makes the channels of attempt `id`: one end for the executor, one to be [`Attached::run`].
    pub(super) fn new(
        id: AttemptId,
        takes_stdin: bool,
        link: watch::Receiver<Option<Link>>,
    ) -> (Self, AttachedIo, oneshot::Sender<()>) {
        let (output_in, output) = mpsc::channel(OUTPUT_QUEUE);
        let (stdin, stdin_out) = mpsc::channel(1);
        let (recorded_in, recorded) = oneshot::channel();
        let io = AttachedIo { output: output_in, stdin: stdin_out };
        (Self { id, takes_stdin, output, stdin, link, recorded }, io, recorded_in)
    }

    /// Moves bytes both ways until the client has all output, or the result was
    /// recorded and the client has not come for the rest in time.
    pub(super) async fn run(self) {
        let Self { id, takes_stdin, output, stdin, link, recorded } = self;
        let desk = Desk::default();
        let overdue = async {
            let _ = recorded.await;
            tokio::time::sleep(UNSENT_KEPT.as_duration()).await;
        };
        tokio::select! {
            () = serve(id, takes_stdin, link, &desk) => {}
            () = overdue => {}
            // Never ends before the others, it only has to run beside them.
            _ = async { tokio::join!(fill(output, &desk), feed(stdin, &desk), std::future::pending::<()>()) } => {}
        }
    }
}

/// Takes what the task writes into the window, as far as it has room.
async fn fill(mut output: mpsc::Receiver<OutputChunk>, desk: &Desk) {
    loop {
        while !desk.lock().window.has_room() {
            desk.room.notified().await;
        }
        let chunk = output.recv().await;
        let ended = chunk.is_none();
        match chunk {
            Some(chunk) => desk.lock().window.push(chunk),
            None => desk.lock().window.close(),
        }
        desk.to_send.notify_one();
        if ended {
            return;
        }
    }
}

/// Gives the task its input, piece by piece. Input of a task that reads no more is dropped.
async fn feed(stdin: mpsc::Sender<Vec<u8>>, desk: &Desk) {
    loop {
        let (piece, ended) = {
            let mut shared = desk.lock();
            (shared.input.pop_front(), shared.input_ended)
        };
        match piece {
            Some(piece) => {
                let length = piece.len() as u64;
                let _ = stdin.send(piece).await;
                desk.lock().delivered += length;
                desk.input_room.notify_one();
                desk.to_send.notify_one();
            }
            // Dropping the sender is the task's end of file.
            None if ended => return,
            None => desk.input.notified().await,
        }
    }
}

/// Opens a stream on every link there is, until one of them has brought the client everything.
async fn serve(id: AttemptId, takes_stdin: bool, mut link: watch::Receiver<Option<Link>>, desk: &Desk) {
    let mut pause = FIRST_PAUSE;
    loop {
        let current = link.borrow_and_update().clone();
        let reopen = async {
            match current {
                Some(current) => match stream(id, takes_stdin, &current, desk).await {
                    Ok(()) => return true,
                    Err(error) => tracing::debug!(%id, "The stream of an attached task broke: failed to {error}"),
                },
                None => std::future::pending().await,
            }
            tokio::time::sleep(pause).await;
            false
        };
        tokio::select! {
            through = reopen => if through { return },
            // A stream dies with its link: there is nothing to wait for on the old one.
            changed = link.changed() => match changed {
                Ok(()) => pause = FIRST_PAUSE,
                Err(_gone) => return,
            },
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One stream from its opening to the client's last word.
async fn stream(id: AttemptId, takes_stdin: bool, link: &Link, desk: &Desk) -> Result<(), TransportError> {
    let (mut send, mut recv) = link.open_bi().await?;
    let (from, first, accepted) = {
        let shared = desk.lock();
        (shared.window.acknowledged(), shared.window.first(), shared.accepted)
    };
    send.send(&StreamPurpose::Attached { id, from }).await?;
    if takes_stdin {
        send.send_data(&DataFrame::Ack { received: accepted }).await?;
    }
    tokio::try_join!(send_output(&mut send, takes_stdin, first, accepted, desk), receive(&mut recv, desk))?;
    send.finish().await
}

/// Sends what the window gets, and how much input was taken, up to the end of the output.
async fn send_output(
    send: &mut FrameSend,
    takes_stdin: bool,
    mut cursor: Cursor,
    mut told: u64,
    desk: &Desk,
) -> Result<(), TransportError> {
    enum Next {
        Ack(u64),
        Output(super::window::Piece, Cursor),
        End,
        Nothing,
    }
    loop {
        let next = {
            let shared = desk.lock();
            // A quarter of the window at a time: often enough never to stop the client, rarely enough to be cheap.
            let due = takes_stdin && shared.delivered >= told + STDIN_WINDOW as u64 / 4;
            match shared.window.at(cursor) {
                _ if due => Next::Ack(shared.delivered),
                Some((piece, behind)) => Next::Output(piece, behind),
                None if shared.window.is_closed() => Next::End,
                None => Next::Nothing,
            }
        };
        match next {
            Next::Ack(received) => {
                told = received;
                send.feed_data(&DataFrame::Ack { received }).await?;
            }
            Next::Output(piece, behind) => {
                let frame = DataFrame::Output { stream: piece.chunk.stream, bytes: Cow::Borrowed(piece.bytes()) };
                send.feed_data(&frame).await?;
                cursor = behind;
            }
            Next::End => return send.send_data(&DataFrame::End).await,
            Next::Nothing => {
                send.flush().await?;
                desk.to_send.notified().await;
            }
        }
    }
}

/// Takes acknowledgements and input until the client is through.
async fn receive(recv: &mut FrameRecv, desk: &Desk) -> Result<(), TransportError> {
    loop {
        if desk.lock().window.is_complete() {
            return Ok(());
        }
        match recv.recv_data().await? {
            Some(DataFrame::Ack { received }) => {
                desk.lock().window.acknowledge(received);
                desk.room.notify_one();
            }
            // No input, and no client of ours sends it: the queue is bounded by bytes alone.
            Some(DataFrame::Stdin(bytes)) if bytes.is_empty() => {}
            Some(DataFrame::Stdin(bytes)) => take_input(bytes.into_owned(), desk).await,
            Some(DataFrame::StdinEnd) => {
                desk.lock().input_ended = true;
                desk.input.notify_one();
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// Queues input; waits only for a client that sends more than it was allowed.
async fn take_input(bytes: Vec<u8>, desk: &Desk) {
    loop {
        let waiting = {
            let shared = desk.lock();
            shared.accepted - shared.delivered
        };
        if waiting < STDIN_WINDOW as u64 {
            break;
        }
        desk.input_room.notified().await;
    }
    let mut shared = desk.lock();
    if !shared.input_ended {
        shared.accepted += bytes.len() as u64;
        shared.input.push_back(bytes);
    }
    drop(shared);
    desk.input.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::handshake::{Credential, Hello, Intent, Welcome};
    use crate::model::limits::{ATTACH_WINDOW, DATA_FRAME, MAX_FRAME};
    use crate::model::{AttemptNo, Epoch, InstanceId, Millis, Role, TaskId, Timestamp};
    use crate::transport::{Alpn, Endpoint};
    use crate::trust::Identity;
    use crate::wire::OutputStream;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn id() -> AttemptId {
        AttemptId { task: TaskId::new(1, 0), attempt: AttemptNo(1) }
    }

    /// A worker's link and the dispatcher's end of it, with what keeps them alive.
    struct Pair {
        worker: Link,
        dispatcher: Link,
        _kept: (Endpoint, Endpoint, Vec<(FrameSend, FrameRecv)>),
    }

    async fn pair() -> Pair {
        let (a, b) = (Identity::ephemeral().expect("a key"), Identity::ephemeral().expect("a key"));
        let any = "127.0.0.1:0".parse().expect("an address");
        let outer = Endpoint::bind(&a, any, &[]).expect("a socket");
        let inner = Endpoint::bind(&b, any, &[Alpn::Worker]).expect("a socket");
        let hello = Hello {
            protocol_oldest: 1,
            protocol_newest: 1,
            software: "1.0.0".to_owned(),
            instance: InstanceId(1),
            intent: Intent::Guard,
            credential: Credential::None,
        };
        let welcome = Welcome {
            protocol: 1,
            software: "1.0.0".to_owned(),
            role: Role::Worker,
            name: "a".parse().expect("a name"),
            epoch: Epoch(1),
            now: Timestamp(1),
            heartbeat_interval: Millis(1),
            task_timeout: Millis(1),
            p2p: false,
        };
        let connect = async {
            let link = outer.connect(inner.local_addr(), b.id(), Alpn::Worker).await.expect("a link");
            let (_, send, recv) = crate::transport::hello(&link, &hello).await.expect("a welcome");
            (link, (send, recv))
        };
        let accept = async {
            let incoming = inner.accept().await.expect("a connection");
            let (link, send, recv) = incoming.welcome(welcome).await.expect("let in");
            (link, (send, recv))
        };
        let ((worker, one), (dispatcher, two)) = tokio::join!(connect, accept);
        Pair { worker, dispatcher, _kept: (outer, inner, vec![one, two]) }
    }

    /// The stream that the worker opens next, and where it says it begins.
    async fn opened(pair: &Pair) -> (u64, FrameSend, FrameRecv) {
        let (send, mut recv) = pair.dispatcher.accept_bi().await.expect("a stream");
        let purpose = recv.recv::<StreamPurpose>(MAX_FRAME).await.expect("a purpose");
        let Some(StreamPurpose::Attached { id: of, from }) = purpose else { panic!("{purpose:?}") };
        assert_eq!(of, id());
        (from, send, recv)
    }

    async fn write(io: &AttachedIo, bytes: &[u8]) {
        let chunk = OutputChunk { stream: OutputStream::Stdout, bytes: bytes.to_vec() };
        io.output.send(chunk).await.expect("taken");
    }

    /// Reads output until there are so many bytes of it.
    async fn read(recv: &mut FrameRecv, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            match recv.recv_data().await.expect("a frame").expect("more") {
                DataFrame::Output { bytes, .. } => all.extend_from_slice(&bytes),
                DataFrame::Ack { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        all
    }

    #[tokio::test]
    async fn a_broken_stream_is_opened_again_and_resends_what_was_not_acknowledged() {
        let pair = pair().await;
        let (live, link) = watch::channel(Some(pair.worker.clone()));
        let (attached, io, _recorded) = Attached::new(id(), false, link);
        let running = tokio::spawn(attached.run());
        let body = async {
            write(&io, b"hello ").await;
            write(&io, b"world").await;
            let (from, mut send, mut recv) = opened(&pair).await;
            assert_eq!((from, read(&mut recv, 11).await), (0, b"hello world".to_vec()));
            send.send_data(&DataFrame::Ack { received: 4 }).await.expect("sent");
            write(&io, b"!").await;
            assert_eq!(read(&mut recv, 1).await, b"!");
            send.abandon();
            drop(recv);
            let (from, mut send, mut recv) = opened(&pair).await;
            // A reset may overtake the acknowledgement before it: then all of it comes again.
            assert!(from == 0 || from == 4, "from {from}");
            let rest = &b"hello world!"[if from == 0 { 0 } else { 4 }..];
            assert_eq!(read(&mut recv, rest.len()).await, rest);
            drop(io);
            assert!(matches!(recv.recv_data().await, Ok(Some(DataFrame::End))));
            send.finish().await.expect("finished");
            running.await.expect("it ends with its client");
        };
        tokio::time::timeout(PATIENCE, body).await.expect("in time");
        drop(live);
    }

    #[tokio::test]
    async fn a_client_that_acknowledges_nothing_holds_the_task_back() {
        let pair = pair().await;
        let (_live, link) = watch::channel(Some(pair.worker.clone()));
        let (attached, io, _recorded) = Attached::new(id(), false, link);
        tokio::spawn(attached.run());
        let body = async {
            let (_, mut send, mut recv) = opened(&pair).await;
            let piece = vec![7; DATA_FRAME];
            let reader = tokio::spawn(async move {
                let all = read(&mut recv, ATTACH_WINDOW).await;
                (all.len(), recv)
            });
            let mut written = 0;
            // More than the window and what lies between it and us is never taken.
            while let Ok(()) = tokio::time::timeout(Duration::from_millis(300), write(&io, &piece)).await {
                written += piece.len();
                assert!(written <= ATTACH_WINDOW + (OUTPUT_QUEUE + 1) * DATA_FRAME);
            }
            assert!(written >= ATTACH_WINDOW);
            let (length, mut recv) = reader.await.expect("read");
            assert!(length >= ATTACH_WINDOW);
            send.send_data(&DataFrame::Ack { received: ATTACH_WINDOW as u64 }).await.expect("sent");
            write(&io, &piece).await;
            read(&mut recv, DATA_FRAME).await;
        };
        tokio::time::timeout(PATIENCE, body).await.expect("in time");
    }

    #[tokio::test]
    async fn empty_input_is_never_queued() {
        let pair = pair().await;
        let desk = Desk::default();
        let body = async {
            let (mut send, recv) = pair.dispatcher.open_bi().await.expect("a stream");
            for _ in 0..100_000 {
                send.feed_data(&DataFrame::Stdin(Cow::Borrowed(b""))).await.expect("sent");
            }
            send.feed_data(&DataFrame::Stdin(Cow::Borrowed(b"x"))).await.expect("sent");
            send.finish().await.expect("sent");
            drop(recv);
            let (_send, mut recv) = pair.worker.accept_bi().await.expect("the stream");
            receive(&mut recv, &desk).await.expect("received");
        };
        tokio::time::timeout(PATIENCE, body).await.expect("in time");
        assert_eq!(desk.lock().input, [b"x"]);
    }

    #[tokio::test]
    async fn input_that_the_task_does_not_read_stands_in_nobodys_way() {
        let pair = pair().await;
        let (_live, link) = watch::channel(Some(pair.worker.clone()));
        let (attached, mut io, _recorded) = Attached::new(id(), true, link);
        tokio::spawn(attached.run());
        let body = async {
            let (_, mut send, mut recv) = opened(&pair).await;
            assert!(matches!(recv.recv_data().await, Ok(Some(DataFrame::Ack { received: 0 }))));
            let piece = vec![1; DATA_FRAME];
            for _ in 0..STDIN_WINDOW / DATA_FRAME {
                send.send_data(&DataFrame::Stdin(Cow::Borrowed(&piece))).await.expect("sent");
            }
            write(&io, b"out").await;
            assert_eq!(read(&mut recv, 3).await, b"out");
            send.send_data(&DataFrame::Ack { received: 3 }).await.expect("sent");
            send.send_data(&DataFrame::StdinEnd).await.expect("sent");
            // Only now the task reads; it gets everything, and the client is told as it does.
            let mut input = 0;
            while let Some(bytes) = io.stdin.recv().await {
                input += bytes.len();
            }
            assert_eq!(input, STDIN_WINDOW);
            let told = recv.recv_data().await.expect("a frame");
            assert!(matches!(told, Some(DataFrame::Ack { received }) if received >= STDIN_WINDOW as u64 / 4));
        };
        tokio::time::timeout(PATIENCE, body).await.expect("in time");
    }
}
