//! The last lines of a log (`logs --tail N`), found while it passes.
//!
//! Invariant: never holds more than the lines asked for, nor more bytes than a
//! log may have. Absent: reading; frames are pushed.

use std::collections::VecDeque;

use super::{DataFrame, OutputStream};
use crate::model::limits::{DATA_FRAME, MAX_LOG_BYTES};

/// Keeps the last lines of one task's log while it passes.
///
/// A line belongs to the stream it was written to; the last ones are counted
/// over both streams, in the order in which they were begun. A gap in the log
/// ends the lines it interrupts and is kept as long as something before it is.
#[derive(Debug)]
pub struct TailLines {
    lines: usize,
    max_bytes: u64,
    kept: VecDeque<Entry>,
    kept_lines: usize,
    kept_bytes: u64,
    /// Entries dropped from the front so far: `kept[i]` has the number `dropped + i`.
    dropped: usize,
    /// For each stream the number of its unfinished line.
    open: [Option<usize>; 2],
}

#[derive(Debug)]
enum Entry {
    Line { stream: OutputStream, bytes: Vec<u8> },
    Cut { omitted: u64 },
}

impl TailLines {
    /// Keeps the last `lines`.
    #[must_use]
    pub fn new(lines: usize) -> Self {
        Self {
            lines,
            max_bytes: MAX_LOG_BYTES,
            kept: VecDeque::new(),
            kept_lines: 0,
            kept_bytes: 0,
            dropped: 0,
            open: [None; 2],
        }
    }

    /// Lets one frame pass; frames that are no part of a log change nothing.
    pub fn push(&mut self, frame: &DataFrame<'_>) {
        match frame {
            DataFrame::Output { stream, bytes } => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.piece(*stream, piece);
                }
            }
            DataFrame::Cut { omitted } => {
                self.open = [None; 2];
                if self.kept_lines > 0 || self.dropped == 0 {
                    self.kept.push_back(Entry::Cut { omitted: *omitted });
                }
            }
            _ => {}
        }
    }

    /// What is left at the end: `Output` and `Cut` frames in order.
    #[must_use]
    pub fn finish(self) -> Vec<DataFrame<'static>> {
        let mut frames: Vec<DataFrame<'static>> = Vec::new();
        for entry in self.kept {
            match (entry, frames.last_mut()) {
                (Entry::Line { stream, bytes }, Some(DataFrame::Output { stream: last, bytes: before }))
                    if stream == *last && before.len() + bytes.len() <= DATA_FRAME =>
                {
                    before.to_mut().extend_from_slice(&bytes);
                }
                (Entry::Line { stream, bytes }, _) => frames.push(DataFrame::Output { stream, bytes: bytes.into() }),
                (Entry::Cut { omitted }, _) => frames.push(DataFrame::Cut { omitted }),
            }
        }
        frames
    }

    /// Adds a piece of one line; it ends the line when it ends in a newline.
    fn piece(&mut self, stream: OutputStream, piece: &[u8]) {
        let slot = match stream {
            OutputStream::Stdout => 0,
            OutputStream::Stderr => 1,
        };
        match self.open[slot] {
            // A line that was dropped while unfinished stays dropped to its end.
            Some(number) => {
                let place = number.checked_sub(self.dropped).and_then(|at| self.kept.get_mut(at));
                if let Some(Entry::Line { bytes, .. }) = place {
                    bytes.extend_from_slice(piece);
                    self.kept_bytes += piece.len() as u64;
                }
            }
            None => {
                self.open[slot] = Some(self.dropped + self.kept.len());
                self.kept.push_back(Entry::Line { stream, bytes: piece.to_vec() });
                self.kept_lines += 1;
                self.kept_bytes += piece.len() as u64;
            }
        }
        if piece.ends_with(b"\n") {
            self.open[slot] = None;
        }
        while self.kept_lines > self.lines || self.kept_bytes > self.max_bytes {
            self.drop_first_line();
        }
    }

    /// Drops the oldest line and the gaps around it that now stand before everything.
    fn drop_first_line(&mut self) {
        let mut dropped_a_line = false;
        while let Some(first) = self.kept.front() {
            match first {
                Entry::Line { .. } if dropped_a_line => break,
                Entry::Line { bytes, .. } => {
                    self.kept_bytes -= bytes.len() as u64;
                    self.kept_lines -= 1;
                    dropped_a_line = true;
                }
                Entry::Cut { .. } => {}
            }
            self.kept.pop_front();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::OutputStream::{Stderr, Stdout};
    use super::*;

    fn said(stream: OutputStream, text: &str) -> DataFrame<'static> {
        DataFrame::Output { stream, bytes: text.as_bytes().to_vec().into() }
    }

    fn tail(lines: usize, frames: &[DataFrame<'static>]) -> Vec<DataFrame<'static>> {
        let mut tail = TailLines::new(lines);
        frames.iter().for_each(|frame| tail.push(frame));
        tail.finish()
    }

    #[test]
    fn the_last_lines_are_counted_over_both_streams() {
        let log = [said(Stdout, "one\ntwo\n"), said(Stderr, "oops\n"), said(Stdout, "three\n")];
        assert_eq!(tail(2, &log), [said(Stderr, "oops\n"), said(Stdout, "three\n")]);
        assert_eq!(tail(3, &log), [said(Stdout, "two\n"), said(Stderr, "oops\n"), said(Stdout, "three\n")]);
        assert_eq!(tail(9, &log), log);
        assert_eq!(tail(0, &log), []);
    }

    #[test]
    fn a_line_written_in_pieces_is_one_line_also_without_a_newline_at_the_end() {
        let log = [said(Stdout, "a\nb"), said(Stderr, "x"), said(Stdout, "c\nlast")];
        assert_eq!(tail(1, &log), [said(Stdout, "last")]);
        assert_eq!(tail(2, &log), [said(Stderr, "x"), said(Stdout, "last")]);
        assert_eq!(tail(3, &log), [said(Stdout, "bc\n"), said(Stderr, "x"), said(Stdout, "last")]);
    }

    #[test]
    fn a_gap_is_shown_only_when_something_before_it_is() {
        let log = [said(Stdout, "head\n"), DataFrame::Cut { omitted: 5 }, said(Stdout, "tail\n")];
        assert_eq!(tail(1, &log), [said(Stdout, "tail\n")]);
        assert_eq!(tail(2, &log), log);
    }

    #[test]
    fn a_dropped_line_that_goes_on_stays_dropped() {
        let log = [said(Stderr, "begun "), said(Stdout, "a\nb\n"), said(Stderr, "ended\n"), said(Stdout, "c\n")];
        assert_eq!(tail(2, &log), [said(Stdout, "b\nc\n")]);
    }

    #[test]
    fn lines_too_long_to_hold_are_dropped_first() {
        let mut tail = TailLines { max_bytes: 10, ..TailLines::new(100) };
        for frame in [said(Stdout, "12345678901234"), said(Stdout, "5678"), said(Stdout, "\nend\n")] {
            tail.push(&frame);
        }
        assert_eq!(tail.finish(), [said(Stdout, "end\n")]);
    }

    proptest! {
        #[test]
        fn one_stream_tails_as_its_text_does(pieces in proptest::collection::vec("[ab\n]{0,6}", 0..20), lines in 0usize..6) {
            let frames: Vec<_> = pieces.iter().map(|piece| said(Stdout, piece)).collect();
            let whole = pieces.concat();
            let all: Vec<&str> = whole.split_inclusive('\n').collect();
            let expected = all[all.len().saturating_sub(lines)..].concat();
            let got: Vec<u8> = tail(lines, &frames).into_iter().flat_map(|frame| match frame {
                DataFrame::Output { bytes, .. } => bytes.into_owned(),
                _ => Vec::new(),
            }).collect();
            prop_assert_eq!(String::from_utf8_lossy(&got), expected);
        }
    }
}
