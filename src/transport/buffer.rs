//! What was read from a stream and is not yet a whole frame.
//!
//! Invariant: it grows with what has arrived, never with what was announced, so
//! a length is no way to take memory. Absent: the stream, and what frames mean.

/// Room at first; most streams carry one small request.
const SMALL: usize = 4 * 1024;
/// Room for a stream that keeps it full: two data frames.
const READ_AHEAD: usize = 128 * 1024;
/// What a buffer keeps after a large frame is gone from it.
const KEEP: usize = 1024 * 1024;

/// Bytes of one direction of one stream, in order.
#[derive(Default)]
pub(super) struct ReadBuffer {
    /// Always initialised to its whole length, so that reads need no unsafe code.
    bytes: Vec<u8>,
    /// Where the unread bytes begin and end.
    start: usize,
    end: usize,
}

impl ReadBuffer {
    /// How much is unread.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The unread bytes.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Room to read into, never empty, on the way to a frame of `wanted` bytes.
    pub(super) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let full = self.end == self.bytes.len() || self.start + wanted > self.bytes.len();
        if self.start > 0 && (full || self.start == self.end) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            // What has arrived may double: that bounds the cost of copying and what a lie about a length can take.
            let grown = wanted.max(READ_AHEAD).min(2 * self.bytes.len()).max(SMALL);
            self.bytes.resize(grown.max(self.end + SMALL), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Takes note of `count` bytes read into the room.
    pub(super) fn arrived(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "more was read than there was room for");
    }

    /// Takes the first `count` unread bytes.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        assert!(count <= self.len(), "more was taken than was there");
        self.start += count;
        &self.bytes[self.start - count..self.start]
    }

    /// Gives back what a large frame took, once it has been taken.
    pub(super) fn shrink(&mut self) {
        if self.bytes.len() > KEEP && self.len() < READ_AHEAD {
            self.bytes = self.unread().to_vec();
            (self.start, self.end) = (0, self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces` through the buffer in the given portions and takes frames of `sizes`.
    fn through(pieces: &[u8], portions: &[usize], sizes: &[usize]) -> Vec<u8> {
        let (mut buffer, mut rest, mut out) = (ReadBuffer::default(), pieces, Vec::new());
        let mut portions = portions.iter().copied().cycle();
        for &size in sizes {
            while buffer.len() < size {
                let room = buffer.room(size);
                let count = portions.next().unwrap().min(room.len()).min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                buffer.arrived(count);
            }
            out.extend_from_slice(buffer.take(size));
            buffer.shrink();
        }
        out
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_came_in_however_they_are_cut(
            portions in proptest::collection::vec(1usize..9_000, 1..8),
            sizes in proptest::collection::vec(0usize..20_000, 0..20),
        ) {
            let total: usize = sizes.iter().sum();
            let bytes: Vec<u8> = (0..total).map(|i| (i % 251) as u8).collect();
            prop_assert_eq!(through(&bytes, &portions, &sizes), bytes);
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory_until_its_bytes_arrive() {
        let mut buffer = ReadBuffer::default();
        let announced = 90 * 1024 * 1024;
        let mut arrived = 0;
        while arrived < 1024 * 1024 {
            let count = buffer.room(announced).len();
            buffer.arrived(count);
            arrived += count;
            assert!(buffer.bytes.len() <= 2 * arrived.max(READ_AHEAD));
        }
    }

    #[test]
    fn a_large_frame_does_not_keep_its_memory() {
        let large = 8 * 1024 * 1024;
        let mut buffer = ReadBuffer::default();
        while buffer.len() < large {
            let count = buffer.room(large).len();
            buffer.arrived(count);
        }
        let all = buffer.len();
        buffer.take(all - 10);
        buffer.shrink();
        assert!(buffer.len() == 10 && buffer.bytes.capacity() <= KEEP);
    }
}
