//! Standard input on its way to a task.
//!
//! The one invariant: every attempt gets it from its first byte. What a pipe
//! has brought is kept until the worker has it, and up to a bound beyond that,
//! for another attempt; a file is read again. Nothing is read before a task is
//! there to take it, and at most a window of it is under way. Absent: the
//! stream itself (`live`), and reading (`source`).

use std::collections::VecDeque;
use std::io::IsTerminal as _;

use super::source::{Reader, Source};
use crate::cli::error::CliError;
use crate::model::limits::{DATA_FRAME, STDIN_KEPT, STDIN_WINDOW};
use crate::model::outcome::Unrepeatable;

/// What is to be sent next.
#[derive(Debug)]
pub(super) enum Next {
    /// These bytes.
    Bytes(Vec<u8>),
    /// That there is no more.
    End,
    /// Nothing ever: it cannot be read any further.
    Failed(CliError),
}

/// The input of one run. Places in it are counted from its first byte.
pub(super) struct Input {
    source: Source,
    /// What errors call it.
    name: String,
    /// `None` before anybody wants it.
    reader: Option<Reader>,
    /// Reads for an attempt that is over.
    former: Option<Reader>,
    /// Read, from `start` on.
    kept: VecDeque<u8>,
    start: u64,
    /// With the worker up to here.
    taken: u64,
    /// Sent up to here on the present stream.
    sent: u64,
    /// There is no more to read.
    ended: bool,
    /// Whether the end was said on the present stream.
    said_end: bool,
    /// The worker has said how much it has, on the present stream.
    is_open: bool,
    /// It goes on where another client stopped, until the worker has said where that is.
    joins: bool,
    /// Its end is the task's: not while a client that goes on for another one has brought nothing.
    ends: bool,
}

impl Input {
    pub(super) fn new(source: Source, name: String) -> Self {
        Self {
            source,
            name,
            reader: None,
            former: None,
            kept: VecDeque::new(),
            start: 0,
            taken: 0,
            sent: 0,
            ended: false,
            said_end: false,
            is_open: false,
            joins: false,
            ends: true,
        }
    }

    /// The input of a client that goes on for another one. Where that one stopped, the task waits: an input with
    /// nothing in it (a script's, `ssh -n`) does not end it, but Ctrl-D on a terminal does.
    pub(super) fn joining(source: Source, name: String) -> Self {
        // A file is what comes next, too, and not what another attempt begins with.
        let source = if let Source::File(file, _) = source { Source::Stream(file) } else { source };
        let ends = matches!(&source, Source::Stream(file) if file.is_terminal());
        Self { joins: true, ends, ..Self::new(source, name) }
    }

    /// How many of its first bytes can be sent to another attempt.
    pub(super) fn resends(&self) -> u64 {
        match self.source {
            _ if self.joins || self.start > 0 && !matches!(self.source, Source::File(..)) => 0,
            Source::Nothing | Source::File(..) => u64::MAX,
            Source::Stream(_) | Source::Fifo(_) => STDIN_KEPT,
        }
    }

    /// A new stream begins: nothing is sent until the worker has said how much it has.
    pub(super) fn stream_begins(&mut self) {
        self.is_open = false;
        self.said_end = false;
    }

    /// Another attempt begins, and has nothing of it yet.
    ///
    /// # Errors
    /// When its first bytes cannot be sent again.
    pub(super) fn attempt_begins(&mut self) -> Result<(), Unrepeatable> {
        self.stream_begins();
        (self.taken, self.sent) = (0, 0);
        if let Source::File(..) = self.source {
            self.kept.clear();
            self.start = 0;
            self.ended = false;
            self.former = self.reader.take().or(self.former.take());
        }
        if self.start == 0 { Ok(()) } else { Err(Unrepeatable::StdinConsumed) }
    }

    /// The worker has `count` bytes of it.
    pub(super) fn acknowledged(&mut self, count: u64) {
        if self.is_open {
            self.taken = count.clamp(self.taken, self.sent);
        } else {
            self.is_open = true;
            if std::mem::take(&mut self.joins) {
                self.start = count;
            }
            let read = self.start + self.kept.len() as u64;
            self.taken = count.clamp(self.start, read);
            self.sent = self.taken;
        }
        // Once the worker has more than can be sent again, no part of it can.
        if self.taken > self.resends() || matches!(self.source, Source::File(..)) {
            let done = usize::try_from(self.taken - self.start).unwrap_or(usize::MAX);
            self.kept.drain(..done.min(self.kept.len()));
            self.start = self.taken;
        }
    }

    /// What to send now; waits while there is nothing, or no room for it.
    ///
    /// Cancel safe: nothing is lost when it is dropped while it waits.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            let room = (STDIN_WINDOW as u64).saturating_sub(self.sent - self.taken);
            if !self.is_open || self.said_end || room == 0 {
                return std::future::pending().await;
            }
            if let Some(bytes) = self.unsent(room) {
                self.sent += bytes.len() as u64;
                return Next::Bytes(bytes);
            }
            if self.ended && !self.ends {
                return std::future::pending().await;
            }
            if self.ended {
                self.said_end = true;
                return Next::End;
            }
            if self.reader.is_none() {
                match self.source.read(self.former.take()) {
                    Ok(reader) => self.reader = Some(reader),
                    Err(source) => return self.failed(source),
                }
            }
            let Some(reader) = &mut self.reader else { continue };
            match reader.chunks.recv().await {
                Some(Ok(bytes)) => {
                    self.ends = true;
                    self.kept.extend(bytes);
                }
                Some(Err(source)) => return self.failed(source),
                None => self.ended = true,
            }
        }
    }

    fn failed(&self, source: std::io::Error) -> Next {
        Next::Failed(CliError::Stdin { name: self.name.clone(), source })
    }

    /// The next bytes that the present stream has not brought yet, a frame of them at most.
    fn unsent(&self, room: u64) -> Option<Vec<u8>> {
        let from = usize::try_from(self.sent - self.start).ok()?;
        let most = room.min(DATA_FRAME as u64) as usize;
        let (front, back) = self.kept.as_slices();
        let part = front.get(from..).filter(|part| !part.is_empty()).or_else(|| back.get(from - front.len()..))?;
        let bytes = part.get(..most).unwrap_or(part).to_vec();
        (!bytes.is_empty()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};
    use std::sync::Arc;

    use super::*;

    /// The input of `bytes` from a pipe.
    fn from_pipe(bytes: Vec<u8>) -> Input {
        let (reading, mut writing) = std::io::pipe().expect("a pipe");
        std::thread::spawn(move || writing.write_all(&bytes));
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(reading));
        Input::new(Source::Stream(Arc::new(file)), "stdin".to_owned())
    }

    /// What comes up to the end while the worker takes everything at once.
    async fn rest(input: &mut Input) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match input.next().await {
                Next::Bytes(bytes) => all.extend(bytes),
                Next::End => return all,
                Next::Failed(error) => panic!("{error}"),
            }
            input.acknowledged(input.sent);
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_before_the_worker_has_spoken() {
        let mut input = from_pipe(b"ab".to_vec());
        let early = tokio::time::timeout(std::time::Duration::from_millis(5), input.next()).await;
        assert!(early.is_err() && input.reader.is_none());
        input.acknowledged(0);
        assert_eq!(rest(&mut input).await, b"ab");
    }

    #[tokio::test]
    async fn a_new_stream_brings_what_the_old_one_lost_and_nothing_twice() {
        let mut input = from_pipe(b"abcdefgh".to_vec());
        input.acknowledged(0);
        assert_eq!(rest(&mut input).await, b"abcdefgh");
        input.stream_begins();
        input.acknowledged(3);
        assert_eq!(rest(&mut input).await, b"defgh");
    }

    #[tokio::test]
    async fn input_that_is_not_acknowledged_is_bounded() {
        let mut input = from_pipe(vec![1; 2 * STDIN_WINDOW]);
        input.acknowledged(0);
        while input.sent < STDIN_WINDOW as u64 {
            assert!(matches!(input.next().await, Next::Bytes(_)));
        }
        let full = tokio::time::timeout(std::time::Duration::from_millis(5), input.next()).await;
        assert!(full.is_err() && input.sent == STDIN_WINDOW as u64);
        input.acknowledged(DATA_FRAME as u64);
        assert!(matches!(input.next().await, Next::Bytes(_)), "room for more");
    }

    #[tokio::test]
    async fn every_attempt_gets_a_pipe_from_its_first_byte_up_to_the_bound() {
        for (length, again) in [(STDIN_KEPT, Ok(())), (STDIN_KEPT + 1, Err(Unrepeatable::StdinConsumed))] {
            let mut input = from_pipe(vec![3; length as usize]);
            input.acknowledged(0);
            assert_eq!(rest(&mut input).await.len() as u64, length);
            input.acknowledged(length);
            assert_eq!(input.attempt_begins(), again, "after {length} bytes");
            if again.is_ok() {
                input.acknowledged(0);
                assert_eq!(rest(&mut input).await.len() as u64, length);
            }
        }
    }

    #[tokio::test]
    async fn every_attempt_gets_a_file_from_where_it_stood_however_long_it_is() {
        let mut file = tempfile::tempfile().expect("a file");
        let bytes: Vec<u8> = (0..STDIN_KEPT + 7).map(|at| at as u8).collect();
        file.write_all(&bytes).expect("written");
        file.seek(std::io::SeekFrom::Start(3)).expect("moved");
        let mut input = Input::new(Source::File(Arc::new(file), 3), "stdin".to_owned());
        for attempt in 1..=3 {
            input.acknowledged(0);
            // The second one ends in the middle.
            if attempt == 2 {
                assert!(matches!(input.next().await, Next::Bytes(_)));
            } else {
                assert!(rest(&mut input).await == bytes[3..], "attempt {attempt} got something else");
            }
            assert!(input.kept.len() <= STDIN_WINDOW, "a file is not kept in memory");
            assert_eq!(input.attempt_begins(), Ok(()));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_and_no_end() {
        let directory = std::fs::File::open("/").expect("a directory");
        let mut input = Input::new(Source::Stream(Arc::new(directory)), "stdin".to_owned());
        input.acknowledged(0);
        let Next::Failed(error) = input.next().await else { panic!("it was read") };
        assert_eq!((error.line().as_str(), error.exit_code()), ("cannot read stdin: Is a directory", 125));
    }
}
