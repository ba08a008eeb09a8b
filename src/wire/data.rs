//! Data frames: raw bytes of output, input, stored logs and pieces of blobs.
//!
//! `u32` big-endian length of what follows, one byte of kind, the payload as it
//! is. Invariant: a payload of bytes is at most [`DATA_FRAME`] long, so nobody
//! has to hold more than that of a stream. Absent: compression and checksums;
//! QUIC and SQLite have their own.

use std::borrow::Cow;

use super::WireError;
use crate::model::limits::DATA_FRAME;
use crate::model::{AttemptNo, TaskId};

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
    /// To the client of a `run`: what follows is of this attempt. When the client knew of another one, the output of
    /// that is void and stdin starts over.
    AttemptBegins {
        /// Which.
        attempt: AttemptNo,
        /// Output bytes of it that a client has already: what follows comes behind them.
        from: u64,
    },
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
    /// A piece of a blob follows, as [`DataFrame::Bytes`] of this length in all.
    PieceBegins {
        /// Place of its blob in the list that opened the stream.
        blob: u32,
        /// Number of the piece.
        piece: u64,
        /// Bytes of its verified encoding.
        length: u32,
    },
    /// Bytes of a piece.
    Bytes(Cow<'a, [u8]>),
    /// Nothing more of this comes; a reply that says why not follows, and is the last on its stream.
    Fails,
}

/// The byte that names a frame's kind. Never reused for another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Stdout = 1,
    Stderr = 2,
    Cut = 3,
    TaskBegins = 4,
    End = 5,
    Stdin = 6,
    StdinEnd = 7,
    Ack = 8,
    PieceBegins = 9,
    Bytes = 10,
    Fails = 11,
    AttemptBegins = 12,
}

impl Kind {
    fn from_byte(byte: u8) -> Result<Self, WireError> {
        Ok(match byte {
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Cut,
            4 => Self::TaskBegins,
            5 => Self::End,
            6 => Self::Stdin,
            7 => Self::StdinEnd,
            8 => Self::Ack,
            9 => Self::PieceBegins,
            10 => Self::Bytes,
            11 => Self::Fails,
            12 => Self::AttemptBegins,
            other => return Err(WireError::UnknownKind(other)),
        })
    }

    /// Whether a payload of `length` bytes can be of this kind.
    fn admits(self, length: usize) -> bool {
        match self {
            Self::Stdout | Self::Stderr | Self::Stdin | Self::Bytes => length <= DATA_FRAME,
            Self::Cut | Self::Ack => length == 8,
            Self::AttemptBegins => length == 12,
            Self::TaskBegins | Self::PieceBegins => length == 16,
            Self::End | Self::StdinEnd | Self::Fails => length == 0,
        }
    }
}

/// The front of a data frame, checked: what kind it is and how long its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    kind: Kind,
    payload: usize,
}

impl DataHeader {
    /// Reads the front of a frame; its payload follows.
    ///
    /// # Errors
    /// When the kind is unknown or the length is not one that the kind can have.
    pub fn parse(front: [u8; DATA_HEADER_BYTES]) -> Result<Self, WireError> {
        let [a, b, c, d, kind] = front;
        let kind = Kind::from_byte(kind)?;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        match length.checked_sub(1) {
            Some(payload) if kind.admits(payload) => Ok(Self { kind, payload }),
            _ => Err(WireError::WrongLength { kind: kind as u8, length }),
        }
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
        let bytes = payload.into();
        let wrong = WireError::WrongLength { kind: header.kind as u8, length: bytes.len() };
        if bytes.len() != header.payload {
            return Err(wrong);
        }
        let number = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
        Ok(match header.kind {
            Kind::Stdout => Self::Output { stream: OutputStream::Stdout, bytes },
            Kind::Stderr => Self::Output { stream: OutputStream::Stderr, bytes },
            Kind::Cut => Self::Cut { omitted: number(0).ok_or(wrong)? },
            Kind::TaskBegins => match (number(0), number(8)) {
                (Some(job), Some(index)) => Self::TaskBegins(TaskId::new(job, index)),
                _ => return Err(wrong),
            },
            Kind::End => Self::End,
            Kind::Stdin => Self::Stdin(bytes),
            Kind::StdinEnd => Self::StdinEnd,
            Kind::Ack => Self::Ack { received: number(0).ok_or(wrong)? },
            Kind::AttemptBegins => {
                let attempt = bytes.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
                let (Some(attempt), Some(from)) = (attempt, number(4)) else { return Err(wrong) };
                Self::AttemptBegins { attempt: AttemptNo(attempt), from }
            }
            Kind::PieceBegins => {
                let (Some(piece), Some(both)) = (number(0), number(8)) else { return Err(wrong) };
                Self::PieceBegins { piece, blob: (both >> 32) as u32, length: both as u32 }
            }
            Kind::Bytes => Self::Bytes(bytes),
            Kind::Fails => Self::Fails,
        })
    }

    /// Takes the first frame off `bytes`, borrowing from them; `None` when they are empty.
    ///
    /// # Errors
    /// When what is there is no whole frame; `bytes` are then as they were.
    pub fn take(bytes: &mut &'a [u8]) -> Result<Option<Self>, WireError> {
        let whole = *bytes;
        if whole.is_empty() {
            return Ok(None);
        }
        let (front, rest) = whole.split_first_chunk::<DATA_HEADER_BYTES>().ok_or(WireError::Truncated)?;
        let header = DataHeader::parse(*front)?;
        let (payload, rest) = rest.split_at_checked(header.payload).ok_or(WireError::Truncated)?;
        let frame = Self::from_parts(header, payload)?;
        *bytes = rest;
        Ok(Some(frame))
    }

    /// Appends the frame to `out`; bytes beyond [`DATA_FRAME`] go into further frames of the same kind.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Output { bytes, .. } | Self::Stdin(bytes) | Self::Bytes(bytes) if bytes.len() > DATA_FRAME => {
                for chunk in bytes.chunks(DATA_FRAME) {
                    put(self.kind(), chunk, out);
                }
            }
            Self::Output { bytes, .. } | Self::Stdin(bytes) | Self::Bytes(bytes) => put(self.kind(), bytes, out),
            Self::Cut { omitted: number } | Self::Ack { received: number } => {
                put(self.kind(), &number.to_be_bytes(), out);
            }
            Self::TaskBegins(task) => {
                let mut payload = [0; 16];
                payload[..8].copy_from_slice(&task.job.0.to_be_bytes());
                payload[8..].copy_from_slice(&task.index.0.to_be_bytes());
                put(self.kind(), &payload, out);
            }
            Self::AttemptBegins { attempt, from } => {
                let mut payload = [0; 12];
                payload[..4].copy_from_slice(&attempt.0.to_be_bytes());
                payload[4..].copy_from_slice(&from.to_be_bytes());
                put(self.kind(), &payload, out);
            }
            Self::End | Self::StdinEnd | Self::Fails => put(self.kind(), &[], out),
            Self::PieceBegins { blob, piece, length } => {
                let mut payload = [0; 16];
                payload[..8].copy_from_slice(&piece.to_be_bytes());
                payload[8..12].copy_from_slice(&blob.to_be_bytes());
                payload[12..].copy_from_slice(&length.to_be_bytes());
                put(self.kind(), &payload, out);
            }
        }
    }

    /// Output payload in it, as [`DataFrame::Ack`] counts it.
    #[must_use]
    pub fn output_bytes(&self) -> u64 {
        match self {
            Self::Output { bytes, .. } => bytes.len() as u64,
            _ => 0,
        }
    }

    /// The same frame, owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> DataFrame<'static> {
        match self {
            Self::Output { stream, bytes } => DataFrame::Output { stream, bytes: Cow::Owned(bytes.into_owned()) },
            Self::Stdin(bytes) => DataFrame::Stdin(Cow::Owned(bytes.into_owned())),
            Self::Cut { omitted } => DataFrame::Cut { omitted },
            Self::TaskBegins(task) => DataFrame::TaskBegins(task),
            Self::AttemptBegins { attempt, from } => DataFrame::AttemptBegins { attempt, from },
            Self::End => DataFrame::End,
            Self::StdinEnd => DataFrame::StdinEnd,
            Self::Ack { received } => DataFrame::Ack { received },
            Self::PieceBegins { blob, piece, length } => DataFrame::PieceBegins { blob, piece, length },
            Self::Bytes(bytes) => DataFrame::Bytes(Cow::Owned(bytes.into_owned())),
            Self::Fails => DataFrame::Fails,
        }
    }

    /// The kind's byte, for error texts.
    #[must_use]
    pub fn kind_byte(&self) -> u8 {
        self.kind() as u8
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Output { stream: OutputStream::Stdout, .. } => Kind::Stdout,
            Self::Output { stream: OutputStream::Stderr, .. } => Kind::Stderr,
            Self::Cut { .. } => Kind::Cut,
            Self::TaskBegins(_) => Kind::TaskBegins,
            Self::AttemptBegins { .. } => Kind::AttemptBegins,
            Self::End => Kind::End,
            Self::Stdin(_) => Kind::Stdin,
            Self::StdinEnd => Kind::StdinEnd,
            Self::Ack { .. } => Kind::Ack,
            Self::PieceBegins { .. } => Kind::PieceBegins,
            Self::Bytes(_) => Kind::Bytes,
            Self::Fails => Kind::Fails,
        }
    }
}

fn put(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(kind.admits(payload.len()), "a frame that its reader would refuse");
    let length = payload.len() as u32 + 1;
    out.reserve(DATA_HEADER_BYTES + payload.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn output(bytes: &[u8]) -> DataFrame<'_> {
        DataFrame::Output { stream: OutputStream::Stdout, bytes: bytes.into() }
    }

    #[test]
    fn a_large_output_travels_as_several_frames_of_at_most_the_bound() {
        let large = vec![7; 2 * DATA_FRAME + 1];
        let mut wire = Vec::new();
        output(&large).encode(&mut wire);
        let mut rest = &wire[..];
        let mut sizes = Vec::new();
        while let Some(frame) = DataFrame::take(&mut rest).expect("whole frames") {
            sizes.push(frame.output_bytes() as usize);
        }
        assert_eq!(sizes, [DATA_FRAME, DATA_FRAME, 1]);
    }

    #[test]
    fn a_frame_is_refused_by_its_front_before_its_payload_is_read() {
        let front = |length: u32, kind: u8| {
            let [a, b, c, d] = length.to_be_bytes();
            DataHeader::parse([a, b, c, d, kind])
        };
        assert_eq!(front(DATA_FRAME as u32 + 1, 1).map(|h| h.payload_bytes()), Ok(DATA_FRAME));
        assert_eq!(front(DATA_FRAME as u32 + 2, 1), Err(WireError::WrongLength { kind: 1, length: DATA_FRAME + 2 }));
        assert_eq!(front(u32::MAX, 6), Err(WireError::WrongLength { kind: 6, length: u32::MAX as usize }));
        assert_eq!(front(0, 5), Err(WireError::WrongLength { kind: 5, length: 0 }), "a length counts its kind");
        assert_eq!(front(2, 5), Err(WireError::WrongLength { kind: 5, length: 2 }), "an end carries nothing");
        assert_eq!(front(1, 13), Err(WireError::UnknownKind(13)));
        assert_eq!(front(1, 0), Err(WireError::UnknownKind(0)));
    }

    #[test]
    fn half_a_frame_is_left_where_it_is() {
        let mut wire = Vec::new();
        output(b"half").encode(&mut wire);
        for end in 1..wire.len() {
            let mut rest = &wire[..end];
            assert_eq!(DataFrame::take(&mut rest), Err(WireError::Truncated));
            assert_eq!(rest.len(), end);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut rest = &bytes[..];
            while let Ok(Some(frame)) = DataFrame::take(&mut rest) {
                prop_assert!(frame.output_bytes() <= DATA_FRAME as u64);
            }
        }

        #[test]
        fn frames_read_back_as_they_were_written(kind in 1u8..=11, number: u64, other: u64, bytes: Vec<u8>) {
            let frame = match kind {
                1 => output(&bytes),
                2 => DataFrame::Output { stream: OutputStream::Stderr, bytes: (&bytes[..]).into() },
                3 => DataFrame::Cut { omitted: number },
                4 => DataFrame::TaskBegins(TaskId::new(number, other)),
                5 => DataFrame::End,
                6 => DataFrame::Stdin((&bytes[..]).into()),
                7 => DataFrame::StdinEnd,
                8 => DataFrame::Ack { received: number },
                9 => DataFrame::PieceBegins { blob: other as u32, piece: number, length: (other >> 32) as u32 },
                10 => DataFrame::AttemptBegins { attempt: AttemptNo(other as u32), from: number },
                _ => DataFrame::Bytes((&bytes[..]).into()),
            };
            let mut wire = Vec::new();
            frame.encode(&mut wire);
            let mut rest = &wire[..];
            prop_assert_eq!(DataFrame::take(&mut rest), Ok(Some(frame.clone())));
            prop_assert_eq!(rest.len(), 0);
            prop_assert_eq!(frame.clone().into_owned(), frame);
        }
    }
}
