//! Frames over one stream: u32 length, then CBOR or data.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TransportError;
use crate::wire::data::DataFrame;

/// The sending half of a stream.
pub struct FrameSend(());

impl FrameSend {
    /// Sends one message and everything fed before it.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), TransportError> {
        let _ = message;
        unimplemented!()
    }

    /// Puts one message into the batch; it leaves with the next `flush` or `send`, or when the batch is full.
    pub async fn feed<T: Serialize>(&mut self, message: &T) -> Result<(), TransportError> {
        let _ = message;
        unimplemented!()
    }

    /// Sends what was fed.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        unimplemented!()
    }

    /// Sends these messages as one batch.
    pub async fn send_all<'a, T: Serialize + 'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a T>,
    ) -> Result<(), TransportError> {
        let _ = messages.into_iter();
        unimplemented!()
    }

    /// Sends one data frame and everything fed before it.
    pub async fn send_data(&mut self, frame: &DataFrame<'_>) -> Result<(), TransportError> {
        let _ = frame;
        unimplemented!()
    }

    /// Sends what was fed and ends this direction in order; the other side sees the end after the last frame.
    pub async fn finish(&mut self) -> Result<(), TransportError> {
        unimplemented!()
    }
}

/// The receiving half of a stream. All its methods may be cancelled and called again without loss.
pub struct FrameRecv(());

impl FrameRecv {
    /// The next message, of at most `cap` bytes; `None` once the other side has finished.
    pub async fn recv<T: DeserializeOwned>(&mut self, cap: u32) -> Result<Option<T>, TransportError> {
        let _ = cap;
        unimplemented!()
    }

    /// The next data frame; `None` once the other side has finished.
    pub async fn recv_data(&mut self) -> Result<Option<DataFrame<'static>>, TransportError> {
        unimplemented!()
    }
}
