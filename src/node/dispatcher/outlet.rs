//! The way back to a client: a stream of replies or frames that is either
//! finished or visibly broken off.
//!
//! The one invariant: an answer that is incomplete never looks complete. A
//! stream that is dropped before [`Outlet::finish`], by an error, a stop or the
//! end of its task, is reset, and the client asks again.

use crate::model::requests::{Failure, Reply};
use crate::transport::{FrameSend, TransportError};
use crate::wire::data::DataFrame;

/// The sending half of a request's stream.
pub(super) struct Outlet {
    /// `None` once it is finished.
    send: Option<FrameSend>,
    /// Whether data frames were said to follow.
    streams: bool,
}

impl Outlet {
    pub(super) fn new(send: FrameSend) -> Self {
        Self { send: Some(send), streams: false }
    }

    pub(super) async fn reply(&mut self, reply: &Reply) -> Result<(), TransportError> {
        self.streams |= matches!(reply, Reply::Streaming);
        self.open()?.send(reply).await
    }

    /// Says why there is nothing, or nothing more, and that this was all.
    pub(super) async fn fail(&mut self, failure: Failure) -> Result<(), TransportError> {
        if self.streams {
            self.feed(&DataFrame::Fails).await?;
        }
        self.reply(&Reply::Failed(failure)).await?;
        self.finish().await
    }

    /// Puts one frame into the batch; it leaves when that is full, or with the next flush.
    pub(super) async fn feed(&mut self, frame: &DataFrame<'_>) -> Result<(), TransportError> {
        self.open()?.feed_data(frame).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), TransportError> {
        self.open()?.flush().await
    }

    /// The stream itself, for what is no reply.
    pub(super) fn stream(&mut self) -> Result<&mut FrameSend, TransportError> {
        self.open()
    }

    /// Says that this was all.
    pub(super) async fn finish(&mut self) -> Result<(), TransportError> {
        self.open()?.finish().await?;
        self.send = None;
        Ok(())
    }

    fn open(&mut self) -> Result<&mut FrameSend, TransportError> {
        self.send.as_mut().ok_or(TransportError::StreamClosed)
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(send) = self.send.take() {
            send.abandon();
        }
    }
}
