//! What an attached task wrote and its client has not acknowledged: the bytes
//! that are sent again after a broken stream.
//!
//! Invariant: the window holds exactly the output from the acknowledged offset
//! on, in the order in which it was written. Absent: streams and waiting; this
//! is a plain value.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::exec::OutputChunk;
use crate::model::limits::ATTACH_WINDOW;

/// Output that may have to be sent again.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Chunks that are not wholly acknowledged, oldest first. Shared, so that
    /// one can be on its way while its acknowledgement arrives.
    chunks: VecDeque<Arc<OutputChunk>>,
    /// Chunks that were acknowledged and dropped: the number of the first in `chunks`.
    dropped: u64,
    /// Offset of the first chunk's first byte.
    start: u64,
    /// Bytes acknowledged; lies within the first chunk, or at its start.
    acknowledged: u64,
    /// Offset behind the last chunk.
    end: u64,
    /// Whether nothing more will come.
    closed: bool,
}

/// A place between two chunks, from which a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor(u64);

/// One piece to be sent.
#[derive(Debug)]
pub(super) struct Piece {
    /// The chunk it is part of.
    pub(super) chunk: Arc<OutputChunk>,
    /// Bytes of the chunk that are not to be sent, because they were acknowledged.
    pub(super) skip: usize,
}

impl Window {
    /// Whether the task may write more before its client acknowledges something.
    pub(super) fn has_room(&self) -> bool {
        self.end - self.acknowledged < ATTACH_WINDOW as u64
    }

    /// Takes one chunk that the task wrote.
    pub(super) fn push(&mut self, chunk: OutputChunk) {
        debug_assert!(!self.closed && !chunk.bytes.is_empty(), "output after its end, or none at all");
        self.end += chunk.bytes.len() as u64;
        self.chunks.push_back(Arc::new(chunk));
    }

    /// The task's outputs are closed.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the task's outputs are closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether the client has everything there will ever be.
    pub(super) fn is_complete(&self) -> bool {
        self.closed && self.acknowledged == self.end
    }

    /// The client has `received` bytes. Less than before, or more than was ever
    /// written, is nonsense and counts as what is nearest to it.
    pub(super) fn acknowledge(&mut self, received: u64) {
        self.acknowledged = received.clamp(self.acknowledged, self.end);
        while let Some(chunk) = self.chunks.front() {
            let behind = self.start + chunk.bytes.len() as u64;
            if behind > self.acknowledged {
                break;
            }
            self.start = behind;
            self.dropped += 1;
            self.chunks.pop_front();
        }
    }

    /// Where a new stream starts: at the first byte that was not acknowledged.
    pub(super) fn first(&self) -> Cursor {
        Cursor(self.dropped)
    }

    /// What comes at `cursor`, and the cursor behind it; `None` while there is nothing.
    pub(super) fn at(&self, cursor: Cursor) -> Option<(Piece, Cursor)> {
        // Acknowledgements may have overtaken a stream that resends.
        let number = cursor.0.max(self.dropped);
        let chunk = self.chunks.get(usize::try_from(number - self.dropped).ok()?)?;
        let skip =
            if number == self.dropped { usize::try_from(self.acknowledged - self.start).unwrap_or(0) } else { 0 };
        Some((Piece { chunk: Arc::clone(chunk), skip }, Cursor(number + 1)))
    }
}

impl Piece {
    /// The bytes to be sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.chunk.bytes[self.skip..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::OutputStream;

    fn chunk(bytes: &[u8]) -> OutputChunk {
        OutputChunk { stream: OutputStream::Stdout, bytes: bytes.to_vec() }
    }

    /// Everything a stream opened now would send.
    fn resent(window: &Window) -> Vec<u8> {
        let mut cursor = window.first();
        let mut bytes = Vec::new();
        while let Some((piece, next)) = window.at(cursor) {
            bytes.extend_from_slice(piece.bytes());
            cursor = next;
        }
        bytes
    }

    #[test]
    fn a_new_stream_resends_from_the_acknowledged_byte_on() {
        let mut window = Window::default();
        window.push(chunk(b"hello "));
        window.push(chunk(b"world"));
        window.acknowledge(8);
        assert_eq!((window.acknowledged(), resent(&window)), (8, b"rld".to_vec()));
        window.acknowledge(3);
        assert_eq!(window.acknowledged(), 8, "an acknowledgement is never taken back");
        window.close();
        assert!(!window.is_complete());
        window.acknowledge(11);
        assert!(window.is_complete() && resent(&window).is_empty());
    }

    #[test]
    fn a_full_window_has_room_again_only_after_an_acknowledgement() {
        let mut window = Window::default();
        let block = vec![0; 1024 * 1024];
        while window.has_room() {
            window.push(chunk(&block));
        }
        assert_eq!(window.end, ATTACH_WINDOW as u64);
        window.acknowledge(1);
        assert!(window.has_room());
    }

    #[test]
    fn an_acknowledgement_beyond_the_output_is_cut_to_it() {
        let mut window = Window::default();
        window.push(chunk(b"abc"));
        window.acknowledge(u64::MAX);
        assert_eq!(window.acknowledged(), 3);
        window.push(chunk(b"def"));
        assert_eq!(resent(&window), b"def");
    }

    proptest! {
        #[test]
        fn whatever_is_acknowledged_the_rest_is_resent_whole(
            sizes in proptest::collection::vec(1usize..9, 1..20),
            acks in proptest::collection::vec(0u64..100, 0..20),
        ) {
            let mut window = Window::default();
            let mut written = Vec::new();
            for (i, size) in sizes.iter().enumerate() {
                let bytes: Vec<u8> = (0..*size).map(|k| (i * 16 + k) as u8).collect();
                written.extend_from_slice(&bytes);
                window.push(chunk(&bytes));
                if let Some(ack) = acks.get(i) {
                    window.acknowledge(*ack);
                }
                let from = usize::try_from(window.acknowledged()).expect("small");
                prop_assert_eq!(resent(&window), &written[from..]);
            }
        }
    }
}
