//! Frames over one stream: messages and data, one behind the other.
//!
//! Invariant: what comes out of a [`FrameRecv`] is what was put into the
//! [`FrameSend`] at the other end, whole frames in order. A frame that breaks a
//! bound or makes no sense closes the link it came by, and nothing else.
//! Absent: queues; a reader that does not read holds back the writer through
//! the stream's window.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::budget::{Budget, LARGE_FRAME, Permit};
use super::buffer::ReadBuffer;
use super::{CloseCode, TransportError, close};
use crate::model::limits::MAX_FRAME;
use crate::wire::data::{DATA_HEADER_BYTES, DataFrame, DataHeader};
use crate::wire::frame::{self, HEADER_BYTES, Message};

/// A batch leaves when it is this long, whether it is complete or not.
const BATCH_BYTES: usize = 64 * 1024;
/// What a sender's batch keeps after a large frame.
const KEEP_BYTES: usize = 2 * BATCH_BYTES;
/// With this a receiver stops a stream of which it has everything, for good. Dropping one stops it with zero.
const KEPT: u32 = 1;
/// A frame has this long from its first byte, and a second more for each of these bytes.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);
const BYTES_PER_EXTRA_SECOND: usize = 1024 * 1024;

/// The sending half of a stream.
///
/// Every method may be cancelled: frames that were fed and not sent stay in the
/// batch, whole, and leave with the next call. Dropping it ends the stream in
/// order, behind what was sent; [`FrameSend::abandon`] does not.
pub struct FrameSend {
    stream: quinn::SendStream,
    /// Frames not yet given to quinn, of which `sent` bytes are.
    batch: Vec<u8>,
    sent: usize,
}

impl FrameSend {
    pub(super) fn new(stream: quinn::SendStream) -> Self {
        Self { stream, batch: Vec::new(), sent: 0 }
    }

    /// Sends one message and everything fed before it.
    ///
    /// # Errors
    /// When the message is beyond its bounds (then nothing of it was sent), or the stream or link is gone.
    pub async fn send<T: Message>(&mut self, message: &T) -> Result<(), TransportError> {
        frame::encode(message, &mut self.batch, MAX_FRAME)?;
        self.flush().await
    }

    /// Puts one message into the batch; it leaves with the next `flush` or `send`, or when the batch is full.
    ///
    /// # Errors
    /// As for [`FrameSend::send`].
    pub async fn feed<T: Message>(&mut self, message: &T) -> Result<(), TransportError> {
        frame::encode(message, &mut self.batch, MAX_FRAME)?;
        self.flush_when_full().await
    }

    /// Sends these messages as one batch.
    ///
    /// # Errors
    /// As for [`FrameSend::send`].
    pub async fn send_all<'a, T: Message + 'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a T>,
    ) -> Result<(), TransportError> {
        for message in messages {
            self.feed(message).await?;
        }
        self.flush().await
    }

    /// Sends one data frame and everything fed before it.
    ///
    /// # Errors
    /// When the stream or link is gone.
    pub async fn send_data(&mut self, data: &DataFrame<'_>) -> Result<(), TransportError> {
        data.encode(&mut self.batch);
        self.flush().await
    }

    /// Puts one data frame into the batch.
    ///
    /// # Errors
    /// When the stream or link is gone.
    pub async fn feed_data(&mut self, data: &DataFrame<'_>) -> Result<(), TransportError> {
        data.encode(&mut self.batch);
        self.flush_when_full().await
    }

    /// Sends what was fed. Waits while the other side does not read.
    ///
    /// # Errors
    /// When the stream or link is gone.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        while self.sent < self.batch.len() {
            self.sent += self.stream.write(&self.batch[self.sent..]).await?;
        }
        self.sent = 0;
        self.batch.clear();
        self.batch.shrink_to(KEEP_BYTES);
        Ok(())
    }

    /// Sends what was fed and ends this direction in order; the other side sees the end after the last frame.
    ///
    /// # Errors
    /// When the stream or link is gone.
    pub async fn finish(&mut self) -> Result<(), TransportError> {
        self.flush().await?;
        self.stream.finish().map_err(|_| TransportError::StreamClosed)
    }

    /// Sends what was fed and waits until the other side's program has done with all of it what it is for
    /// ([`FrameRecv::kept`]). Not to be finished before: a stream that has ended cannot be answered.
    ///
    /// # Errors
    /// When the other side gave up the stream, or the link is gone.
    pub async fn until_kept(&mut self) -> Result<(), TransportError> {
        self.flush().await?;
        match self.stream.stopped().await {
            Ok(Some(code)) if code == KEPT.into() => Ok(()),
            Ok(_) | Err(quinn::StoppedError::ZeroRttRejected) => Err(TransportError::StreamClosed),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(error.into()),
        }
    }

    /// Breaks this direction off: the other side sees that it is incomplete.
    pub fn abandon(mut self) {
        let _ = self.stream.reset(CloseCode::Done.number().into());
    }

    /// Lets this stream go first among those of its link.
    pub(super) fn prefer(&self) {
        let _ = self.stream.set_priority(1);
    }

    async fn flush_when_full(&mut self) -> Result<(), TransportError> {
        if self.batch.len() >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }
}

/// The receiving half of a stream. All its methods may be cancelled and called
/// again without loss. Dropping it tells the other side to stop sending.
pub struct FrameRecv {
    stream: quinn::RecvStream,
    /// For closing it over what came by this stream.
    connection: quinn::Connection,
    buffer: ReadBuffer,
    /// When the frame that has begun must be complete.
    deadline: Option<Instant>,
    budget: Budget,
    /// While the frame that has begun is a large one.
    permit: Option<Permit>,
}

impl FrameRecv {
    pub(super) fn new(stream: quinn::RecvStream, connection: quinn::Connection, budget: Budget) -> Self {
        Self { stream, connection, buffer: ReadBuffer::default(), deadline: None, budget, permit: None }
    }

    /// The next message, of at most `cap` bytes; `None` once the other side has finished.
    ///
    /// # Errors
    /// When what came is no such message (the link is then closed), came too slowly, or the stream or link is gone.
    pub async fn recv<T: Message>(&mut self, cap: u32) -> Result<Option<T>, TransportError> {
        let Some(header) = self.peek::<HEADER_BYTES>().await? else { return Ok(None) };
        let length = frame::body_length(header, cap).map_err(|error| self.protest(error))?;
        if length > LARGE_FRAME && self.permit.is_none() {
            self.permit = self.budget.permit().await;
            // Waiting for others is not its sender's fault.
            self.deadline = None;
        }
        self.fill(HEADER_BYTES + length).await?;
        let message = frame::decode(&self.buffer.take(HEADER_BYTES + length)[HEADER_BYTES..]);
        self.taken();
        message.map(Some).map_err(|error| self.protest(error))
    }

    /// The next data frame, borrowed until the next call; `None` once the other side has finished.
    ///
    /// # Errors
    /// When what came is no data frame (the link is then closed), came too slowly, or the stream or link is gone.
    pub async fn recv_data(&mut self) -> Result<Option<DataFrame<'_>>, TransportError> {
        let Some(front) = self.peek::<DATA_HEADER_BYTES>().await? else { return Ok(None) };
        let header = DataHeader::parse(front).map_err(|error| self.protest(error))?;
        let length = DATA_HEADER_BYTES + header.payload_bytes();
        self.fill(length).await?;
        self.taken();
        let connection = &self.connection;
        let payload = &self.buffer.take(length)[DATA_HEADER_BYTES..];
        DataFrame::from_parts(header, payload).map(Some).map_err(|error| protest(connection, error))
    }

    /// Ends the stream, and tells the other side that everything it has sent is kept ([`FrameSend::until_kept`]).
    pub fn kept(mut self) {
        // A stream that is gone already has an other side that knows.
        let _ = self.stream.stop(KEPT.into());
    }

    /// The first `N` bytes of the next frame; `None` at an end between frames.
    async fn peek<const N: usize>(&mut self) -> Result<Option<[u8; N]>, TransportError> {
        if !self.fill(N).await? {
            return Ok(None);
        }
        Ok(self.buffer.unread().first_chunk().copied())
    }

    /// Reads until `wanted` bytes of the next frame are there; `false` at an end between frames.
    async fn fill(&mut self, wanted: usize) -> Result<bool, TransportError> {
        while self.buffer.len() < wanted {
            let begun = self.buffer.len() > 0;
            let room = self.buffer.room(wanted);
            let read = if begun {
                // Kept across cancelled calls: otherwise a reader that also listens to something else never gives up.
                let extra = Duration::from_secs((wanted / BYTES_PER_EXTRA_SECOND) as u64);
                let start = *self.deadline.get_or_insert_with(|| Instant::now() + FRAME_DEADLINE);
                timeout_at(start + extra, self.stream.read(room)).await.map_err(|_| TransportError::FrameTooSlow)?
            } else {
                self.stream.read(room).await
            };
            match read? {
                Some(count) => self.buffer.arrived(count),
                None if begun => return Err(TransportError::FrameCut),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A frame is complete: the next one gets a deadline of its own.
    fn taken(&mut self) {
        self.deadline = None;
        self.buffer.shrink();
        self.permit = None;
    }

    fn protest(&self, error: crate::wire::WireError) -> TransportError {
        protest(&self.connection, error)
    }
}

/// Closes a link over what came by it.
fn protest(connection: &quinn::Connection, error: crate::wire::WireError) -> TransportError {
    close::close(connection, CloseCode::Malformed, &format!("failed to {error}"));
    error.into()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::model::NodeId;
    use crate::model::handshake::Hello;
    use crate::model::requests::Request;
    use crate::transport::budget::SharedBudget;
    use crate::trust::{Alpn, Identity};
    use crate::wire::WireError;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Word(String);

    impl Message for Word {}

    /// Two plain QUIC connections' worth of our settings, without any hello.
    struct Wire {
        from: crate::transport::Endpoint,
        to: quinn::Endpoint,
        id: NodeId,
        address: SocketAddr,
    }

    impl Wire {
        fn lay() -> Self {
            let (from, to) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let server = crate::transport::settings::server(&to, &Alpn::ALL).unwrap();
            let endpoint = quinn::Endpoint::server(server, any).unwrap();
            let address = endpoint.local_addr().unwrap();
            let from = crate::transport::Endpoint::bind(&from, any, &[]).unwrap();
            Self { from, to: endpoint, id: to.id(), address }
        }

        /// What a reader finds when exactly `bytes` are written to it, and then an end.
        async fn carry(&self, bytes: &[u8], end: bool) -> (FrameRecv, FrameSend, crate::transport::Link) {
            let accept = async { self.to.accept().await.unwrap().await.unwrap() };
            let (link, inner) = tokio::join!(self.from.connect(self.address, self.id, Alpn::Client), accept);
            let link = link.unwrap();
            let (mut send, _) = link.open_bi().await.unwrap();
            send.stream.write_all(bytes).await.unwrap();
            if end {
                send.finish().await.unwrap();
            }
            let (_, recv) = inner.accept_bi().await.unwrap();
            let budget = SharedBudget::default().of_a_link(Alpn::Client);
            (FrameRecv::new(recv, inner, budget), send, link)
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_frame_is_cut_and_not_complete() {
        let wire = Wire::lay();
        let (mut recv, _send, _link) = wire.carry(&[0, 0, 0, 9, 1, 2], true).await;
        assert!(matches!(recv.recv::<Word>(100).await, Err(TransportError::FrameCut)));
    }

    #[tokio::test]
    async fn a_frame_that_begins_and_never_ends_is_given_up() {
        let wire = Wire::lay();
        let (mut recv, _send, _link) = wire.carry(&[0, 0, 0, 9, 1, 2], false).await;
        recv.deadline = Some(Instant::now());
        assert!(matches!(recv.recv::<Word>(100).await, Err(TransportError::FrameTooSlow)));
    }

    #[tokio::test]
    async fn a_message_beyond_its_cap_is_refused_by_its_header_alone() {
        let wire = Wire::lay();
        let (mut recv, _send, _link) = wire.carry(&[5, 0, 0, 0], false).await;
        let error = recv.recv::<Word>(100).await.unwrap_err();
        assert!(matches!(error, TransportError::Wire(WireError::TooLong { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn a_large_message_arrives_whole_and_leaves_no_memory_behind() {
        let word = Word("x".repeat(40_000_000));
        let wire = Wire::lay();
        let mut first = Vec::new();
        frame::encode(&Word("a".to_owned()), &mut first, 100).unwrap();
        let (mut recv, mut send, _link) = wire.carry(&first, false).await;
        assert_eq!(recv.recv::<Word>(100).await.unwrap(), Some(Word("a".to_owned())));
        let (sent, received) = tokio::join!(send.send(&word), recv.recv::<Word>(MAX_FRAME));
        sent.unwrap();
        assert!(received.unwrap().unwrap() == word);
        assert!(send.batch.capacity() <= KEEP_BYTES);
    }

    /// Whatever bytes come by a stream, each reader ends with a message, an end or an error.
    #[tokio::test]
    async fn no_bytes_on_a_stream_hang_or_break_its_readers() {
        let wire = Wire::lay();
        let body = proptest::collection::vec(any::<u8>(), 0..200);
        let framed = (any::<bool>(), 0u32..220, body).prop_map(|(honest, length, body)| {
            let length = if honest { u32::try_from(body.len()).unwrap() } else { length };
            [&length.to_be_bytes()[..], &body[..]].concat()
        });
        let mut runner = TestRunner::deterministic();
        for _ in 0..48 {
            let bytes = framed.new_tree(&mut runner).unwrap().current();
            for reader in 0..3 {
                let (mut recv, _send, _link) = wire.carry(&bytes, true).await;
                loop {
                    let more = match reader {
                        0 => recv.recv::<Hello>(4096).await.map(|m| m.is_some()),
                        1 => recv.recv::<Request>(MAX_FRAME).await.map(|m| m.is_some()),
                        _ => recv.recv_data().await.map(|frame| frame.is_some()),
                    };
                    if !matches!(more, Ok(true)) {
                        break;
                    }
                }
            }
        }
    }
}
