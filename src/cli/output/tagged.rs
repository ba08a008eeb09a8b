//! Lines of many tasks, whole, and each behind a tag where there is one.
//!
//! The one invariant: a line comes out whole, so lines of tasks that write at
//! the same time never mix; what never ends is ended for it. Absent: where it
//! is written.

use std::collections::BTreeMap;

use crate::cli::error::CliError;
use crate::model::TaskId;
use crate::wire::OutputStream;

/// A line longer than this is broken, so that a task without line ends is not held in memory.
const LONGEST_LINE: usize = 1024 * 1024;

/// Lines that have begun, by task and stream.
#[derive(Debug, Default)]
pub(crate) struct Tagged {
    begun: BTreeMap<(TaskId, OutputStream), Begun>,
}

/// A line that has begun.
#[derive(Debug, Default)]
struct Begun {
    tag: String,
    bytes: Vec<u8>,
}

impl Tagged {
    /// The lines that `bytes` complete, each behind `tag`.
    pub(crate) fn lines(&mut self, task: TaskId, stream: OutputStream, tag: &str, bytes: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = self.begun.entry((task, stream)).or_default();
            line.bytes.extend_from_slice(piece);
            if line.bytes.ends_with(b"\n") || line.bytes.len() >= LONGEST_LINE {
                append(&mut whole, tag, &line.bytes);
                line.bytes.clear();
            }
        }
        match self.begun.get_mut(&(task, stream)) {
            Some(line) if !line.bytes.is_empty() => tag.clone_into(&mut line.tag),
            _ => _ = self.begun.remove(&(task, stream)),
        }
        whole
    }

    /// Ends the lines that a task has left unfinished.
    pub(crate) fn end_of(
        &mut self,
        task: TaskId,
        mut write: impl FnMut(TaskId, OutputStream, &[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if let Some(line) = self.begun.remove(&(task, stream)) {
                let mut whole = Vec::new();
                append(&mut whole, &line.tag, &line.bytes);
                write(task, stream, &whole)?;
            }
        }
        Ok(())
    }

    /// Ends all unfinished lines.
    pub(crate) fn end(
        &mut self,
        mut write: impl FnMut(TaskId, OutputStream, &[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        while let Some((task, _)) = self.begun.keys().next().copied() {
            self.end_of(task, &mut write)?;
        }
        Ok(())
    }
}

fn append(whole: &mut Vec<u8>, tag: &str, line: &[u8]) {
    whole.extend_from_slice(tag.as_bytes());
    whole.extend_from_slice(line);
    if !line.ends_with(b"\n") {
        whole.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_out_whole_and_an_unfinished_one_is_ended() {
        let (one, two) = (TaskId::new(5, 1), TaskId::new(5, 2));
        let mut tagged = Tagged::default();
        assert_eq!(tagged.lines(one, OutputStream::Stdout, "5.1\t", b"half a"), b"");
        assert_eq!(tagged.lines(two, OutputStream::Stdout, "5.2\t", b"x\n\ny\n"), b"5.2\tx\n5.2\t\n5.2\ty\n");
        assert_eq!(tagged.lines(one, OutputStream::Stdout, "5.1\t", b" line\nrest"), b"5.1\thalf a line\n");
        let mut ended = Vec::new();
        let mut write = |_, _, line: &[u8]| {
            ended.extend_from_slice(line);
            Ok(())
        };
        tagged.end_of(two, &mut write).expect("nothing to end");
        tagged.end(&mut write).expect("written");
        assert_eq!(ended, b"5.1\trest\n");
        assert!(tagged.begun.is_empty());
    }
}
