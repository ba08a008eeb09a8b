//! The long-lived streams of a client: watching jobs, being a `run`'s client,
//! reading logs.
//!
//! The one invariant: bytes are handed out in the order in which the task wrote
//! them, each once; after a reconnect a stream continues behind what
//! [`OutputReceiver::received`] counted. Absent on purpose: reconnecting itself.

use std::borrow::Cow;

use super::ClientError;
use crate::model::limits::{DATA_FRAME, MAX_FRAME};
use crate::model::requests::Reply;
use crate::model::views::JobView;
use crate::transport::{FrameRecv, FrameSend};
use crate::wire::data::DataFrame;

/// Output bytes after which a receiver tells how far it is: a fraction of the
/// worker's window, so that the window never runs dry for want of a word.
const ACK_EVERY: u64 = (crate::model::limits::ATTACH_WINDOW / 16) as u64;

/// News of watched jobs.
pub struct Watch {
    _send: FrameSend,
    recv: FrameRecv,
}

impl Watch {
    pub(super) fn new(send: FrameSend, recv: FrameRecv) -> Self {
        Self { _send: send, recv }
    }

    /// How jobs stand now; `None` once all of them have ended and the last news was given.
    ///
    /// # Errors
    /// When the dispatcher refuses, or the link breaks.
    pub async fn next(&mut self) -> Result<Option<Vec<JobView>>, ClientError> {
        match self.recv.recv::<Reply>(MAX_FRAME).await? {
            Some(Reply::Progress(jobs)) => Ok(Some(jobs)),
            Some(other) => Err(super::unexpected("watch", other)),
            None => Ok(None),
        }
    }
}

/// A stream that says whose client this process is.
pub struct AttendedJob {
    _send: FrameSend,
    recv: FrameRecv,
}

impl AttendedJob {
    pub(super) fn new(send: FrameSend, recv: FrameRecv) -> Self {
        Self { _send: send, recv }
    }

    /// Waits until another client has taken over. Never ends when the link breaks, which other streams say as well.
    pub async fn taken_over(&mut self) -> ClientError {
        match self.recv.recv::<Reply>(MAX_FRAME).await {
            Ok(Some(reply)) => super::unexpected("attend", reply),
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// Both directions between a `run` and its task.
pub struct Attachment {
    /// What the client types.
    pub stdin: StdinSender,
    /// What the task writes.
    pub output: OutputReceiver,
}

impl Attachment {
    pub(super) fn new(send: FrameSend, recv: FrameRecv, received: u64) -> Self {
        // Acks travel beside stdin in the same direction, so one owner sends both.
        Self { stdin: StdinSender { send }, output: OutputReceiver { recv, received, told: received } }
    }
}

/// Sends standard input, and acknowledges output, towards the task.
pub struct StdinSender {
    send: FrameSend,
}

impl StdinSender {
    /// Sends these bytes; waits while the task does not read.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(DATA_FRAME) {
            self.send.send_data(&DataFrame::Stdin(Cow::Borrowed(piece))).await?;
        }
        Ok(())
    }

    /// Says that there is no more input.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn end(&mut self) -> Result<(), ClientError> {
        Ok(self.send.send_data(&DataFrame::StdinEnd).await?)
    }

    /// Says that `received` bytes of output are safe on this side.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn acknowledge(&mut self, received: u64) -> Result<(), ClientError> {
        Ok(self.send.send_data(&DataFrame::Ack { received }).await?)
    }
}

/// Receives a task's output as it is written.
pub struct OutputReceiver {
    recv: FrameRecv,
    received: u64,
    told: u64,
}

impl OutputReceiver {
    /// The next frame: `AttemptBegins`, `Output`, `Cut`, an `Ack` of stdin, or nothing more (`None`, after the task
    /// has finished and all output of its last attempt has come).
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn next(&mut self) -> Result<Option<DataFrame<'static>>, ClientError> {
        match self.recv.recv_data().await? {
            Some(DataFrame::End) => Ok(None),
            Some(DataFrame::Fails) => Err(failure(&mut self.recv, "attach").await?),
            Some(frame) => {
                match &frame {
                    DataFrame::AttemptBegins { from, .. } => {
                        self.received = *from;
                        self.told = self.told.min(*from);
                    }
                    frame => self.received += frame.output_bytes(),
                }
                Ok(Some(frame.into_owned()))
            }
            None => Err(ClientError::NoReply),
        }
    }

    /// Output payload bytes of the present attempt so far, those before a reconnect included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How far to acknowledge, when enough has come since the last time; to be
    /// called after the bytes were written out.
    pub fn acknowledgement_due(&mut self) -> Option<u64> {
        (self.received - self.told >= ACK_EVERY).then(|| {
            self.told = self.received;
            self.received
        })
    }
}

/// Why a stream of frames ends early.
async fn failure(recv: &mut FrameRecv, what: &'static str) -> Result<ClientError, ClientError> {
    let said = recv.recv::<Reply>(MAX_FRAME).await?.ok_or(ClientError::NoReply)?;
    Ok(super::unexpected(what, said))
}

/// Output of tasks from the logs.
pub struct LogStream {
    _send: FrameSend,
    recv: FrameRecv,
}

impl LogStream {
    pub(super) fn new(send: FrameSend, recv: FrameRecv) -> Self {
        Self { _send: send, recv }
    }

    /// The next frame: `TaskBegins`, `Output` or `Cut`; `None` at the end.
    ///
    /// # Errors
    /// When the dispatcher cannot read on, or the link breaks.
    pub async fn next(&mut self) -> Result<Option<DataFrame<'static>>, ClientError> {
        match self.recv.recv_data().await? {
            Some(DataFrame::End) => Ok(None),
            Some(DataFrame::Fails) => Err(failure(&mut self.recv, "logs").await?),
            Some(frame) => Ok(Some(frame.into_owned())),
            None => Err(ClientError::NoReply),
        }
    }
}
