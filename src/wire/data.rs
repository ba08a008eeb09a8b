//! Data frames: raw bytes of output, input and stored logs.
//!
//! `u32` big-endian length of what follows, one byte of kind, the payload as it
//! is. Invariant: a payload of bytes is at most [`DATA_FRAME`] long, so nobody
//! has to hold more than that of a stream. Absent: compression and checksums;
//! QUIC and SQLite have their own.

use std::borrow::Cow;

use super::WireError;
use crate::model::TaskId;
use crate::model::limits::DATA_FRAME;

/// Bytes in front of a payload: the length and the kind.
pub const DATA_HEADER_BYTES: usize = 5;

/// Which of a task's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the two outputs of a process")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// One data frame; borrows its bytes where the caller has them already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataFrame<'a> {
    /// A task wrote this.
    Output {
        /// Where to.
        stream: OutputStream,
        /// What.
        bytes: Cow<'a, [u8]>,
    },
    /// The log had to leave out this many payload bytes here.
    Cut {
        /// That many.
        omitted: u64,
    },
    /// In the logs of several tasks: what follows is this task's.
    TaskBegins(TaskId),
    /// This direction is complete.
    End,
    /// For the task's standard input.
    Stdin(Cow<'a, [u8]>),
    /// The task's standard input ends here.
    StdinEnd,
    /// Output payload bytes received so far, both streams together.
    Ack {
        /// That many.
        received: u64,
    },
}

/// The front of a data frame, checked: what kind it is and how long its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    kind: u8,
    payload: usize,
}

impl DataHeader {
    /// Reads the front of a frame; its payload follows.
    ///
    /// # Errors
    /// When the kind is unknown or the length is not one that the kind can have.
    pub fn parse(front: [u8; DATA_HEADER_BYTES]) -> Result<Self, WireError> {
        let _ = front;
        unimplemented!()
    }

    /// Bytes of payload that follow.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload
    }
}

impl<'a> DataFrame<'a> {
    /// Puts a frame together from its checked front and its payload, without copying it.
    ///
    /// # Errors
    /// When the payload is not as long as the front said.
    pub fn from_parts(header: DataHeader, payload: impl Into<Cow<'a, [u8]>>) -> Result<Self, WireError> {
        let (_, _) = (header, payload.into());
        unimplemented!()
    }

    /// Takes the first frame off `bytes`, borrowing from them; `None` when they are empty.
    ///
    /// # Errors
    /// When what is there is no whole frame.
    pub fn take(bytes: &mut &'a [u8]) -> Result<Option<Self>, WireError> {
        let _ = bytes;
        unimplemented!()
    }

    /// Appends the frame to `out`; bytes beyond [`DATA_FRAME`] go into further frames of the same kind.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let _ = (out, DATA_FRAME);
        unimplemented!()
    }

    /// Output payload in it, as [`DataFrame::Ack`] counts it.
    #[must_use]
    pub fn output_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// The same frame, owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> DataFrame<'static> {
        unimplemented!()
    }
}
