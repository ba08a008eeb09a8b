//! Stored output: a log is a sequence of `Output` and `Cut` data frames, in the
//! order in which the task wrote.
//!
//! Invariant: reading never yields anything else, and never holds more than one
//! frame at once. Absent: where logs are kept (the worker's spool, the
//! dispatcher's folder, a row of the store).

use std::io::{ErrorKind, Read};

use super::data::{DATA_HEADER_BYTES, DataFrame, DataHeader};
use super::{OutputStream, WireError};

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

/// The frames of a log held in memory (one kept inline in a result). Ends after the first error.
#[derive(Debug, Clone)]
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
        let frame = DataFrame::take(&mut self.rest).and_then(|frame| frame.map(in_logs).transpose()).transpose()?;
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}

/// The frames of a log that comes from a file or a stream; holds one frame at a time. Ends after the first error.
#[derive(Debug)]
pub struct LogReader<R> {
    source: R,
    failed: bool,
}

impl<R: Read> LogReader<R> {
    /// Reads from `source`, which should be buffered.
    pub fn new(source: R) -> Self {
        Self { source, failed: false }
    }

    fn read_frame(&mut self) -> Result<Option<DataFrame<'static>>, LogError> {
        let mut front = [0; DATA_HEADER_BYTES];
        if !self.fill(&mut front)? {
            return Ok(None);
        }
        let header = DataHeader::parse(front)?;
        let mut payload = vec![0; header.payload_bytes()];
        if !payload.is_empty() && !self.fill(&mut payload)? {
            return Err(WireError::Truncated.into());
        }
        Ok(Some(in_logs(DataFrame::from_parts(header, payload)?)?))
    }

    /// Fills `buffer`, or says that the source had ended already.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, LogError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(WireError::Truncated.into()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

impl<R: Read> Iterator for LogReader<R> {
    type Item = Result<DataFrame<'static>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let frame = self.read_frame().transpose()?;
        self.failed = frame.is_err();
        Some(frame)
    }
}

/// What the frames of a log add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Kept bytes of stdout.
    pub stdout_bytes: u64,
    /// Kept bytes of stderr.
    pub stderr_bytes: u64,
    /// Bytes that were left out.
    pub omitted_bytes: u64,
}

impl LogSummary {
    /// Counts one frame in.
    pub fn add(&mut self, frame: &DataFrame<'_>) {
        match frame {
            DataFrame::Output { stream: OutputStream::Stdout, bytes } => self.stdout_bytes += bytes.len() as u64,
            DataFrame::Output { stream: OutputStream::Stderr, bytes } => self.stderr_bytes += bytes.len() as u64,
            DataFrame::Cut { omitted } => self.omitted_bytes = self.omitted_bytes.saturating_add(*omitted),
            _ => {}
        }
    }
}

fn in_logs(frame: DataFrame<'_>) -> Result<DataFrame<'_>, WireError> {
    match frame {
        DataFrame::Output { .. } | DataFrame::Cut { .. } => Ok(frame),
        other => Err(WireError::NotInLogs(other.kind_byte())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(frames: &[DataFrame<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        bytes
    }

    fn said(stream: OutputStream, text: &str) -> DataFrame<'static> {
        DataFrame::Output { stream, bytes: text.as_bytes().to_vec().into() }
    }

    #[test]
    fn a_log_reads_the_same_from_memory_and_from_a_file() {
        let frames = [
            said(OutputStream::Stdout, "a"),
            DataFrame::Cut { omitted: 9 },
            said(OutputStream::Stderr, ""),
            said(OutputStream::Stderr, "b"),
        ];
        let bytes = log(&frames);
        let from_memory: Vec<_> = LogFrames::new(&bytes).collect::<Result<_, _>>().expect("a log");
        let from_file: Vec<_> = LogReader::new(&bytes[..]).collect::<Result<_, _>>().expect("a log");
        assert_eq!((&from_memory[..], &from_file[..]), (&frames[..], &frames[..]));
        let mut summary = LogSummary::default();
        from_file.iter().for_each(|frame| summary.add(frame));
        assert_eq!(summary, LogSummary { stdout_bytes: 1, stderr_bytes: 1, omitted_bytes: 9 });
    }

    #[test]
    fn a_log_cut_short_by_a_crash_yields_its_whole_frames_and_then_one_error() {
        let mut bytes = log(&[said(OutputStream::Stdout, "whole"), said(OutputStream::Stdout, "half")]);
        bytes.truncate(bytes.len() - 1);
        let results: Vec<_> = LogReader::new(&bytes[..]).collect();
        assert!(matches!(&results[..], [Ok(_), Err(LogError::Wire(WireError::Truncated))]), "{results:?}");
    }

    #[test]
    fn a_frame_that_is_no_output_has_no_place_in_a_log() {
        let bytes = log(&[DataFrame::StdinEnd, said(OutputStream::Stdout, "x")]);
        let results: Vec<_> = LogFrames::new(&bytes).collect();
        assert_eq!(results, [Err(WireError::NotInLogs(7))]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_log_or_an_error_alike_from_memory_and_file(bytes in proptest::collection::vec(0u8..9, 0..120)) {
            let memory: Vec<_> = LogFrames::new(&bytes).map(Result::ok).collect();
            let file: Vec<_> = LogReader::new(&bytes[..]).map(Result::ok).collect();
            prop_assert_eq!(memory, file);
        }
    }
}
