//! Stored output: a log is a sequence of `Output` and `Cut` data frames, in the
//! order in which the task wrote.
//!
//! Invariant: reading never yields anything else, and never more at once than
//! one frame. Absent: where logs are kept (the worker's spool, the
//! dispatcher's folder, a row of the store).

use std::io::Read;

use super::{DataFrame, WireError};

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its bytes are no log.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its file or stream failed.
    #[error("read a log")]
    Io(#[from] std::io::Error),
}

/// The frames of a log held in memory (one kept inline in a result).
pub struct LogFrames<'a> {
    rest: &'a [u8],
}

impl<'a> LogFrames<'a> {
    /// Reads `log`.
    #[must_use]
    pub fn new(log: &'a [u8]) -> Self {
        Self { rest: log }
    }
}

impl<'a> Iterator for LogFrames<'a> {
    type Item = Result<DataFrame<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.rest;
        unimplemented!()
    }
}

/// The frames of a log that comes from a file or a stream; holds one frame at a time.
pub struct LogReader<R> {
    source: R,
}

impl<R: Read> LogReader<R> {
    /// Reads from `source`, which should be buffered.
    pub fn new(source: R) -> Self {
        Self { source }
    }
}

impl<R: Read> Iterator for LogReader<R> {
    type Item = Result<DataFrame<'static>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = &mut self.source;
        unimplemented!()
    }
}

/// Keeps the last lines of a log while it passes (`logs --tail N`).
///
/// A line belongs to the stream it was written to; the last ones are counted
/// over both, in the order in which they were begun.
pub struct TailLines {
    lines: usize,
}

impl TailLines {
    /// Keeps the last `lines`.
    #[must_use]
    pub fn new(lines: usize) -> Self {
        Self { lines }
    }

    /// Lets one frame pass.
    pub fn push(&mut self, frame: &DataFrame<'_>) {
        let _ = (frame, self.lines);
        unimplemented!()
    }

    /// What is left at the end: `Output` and `Cut` frames in order.
    #[must_use]
    pub fn finish(self) -> Vec<DataFrame<'static>> {
        unimplemented!()
    }
}
