//! Standard input on its way to a task.
//!
//! The one invariant: every byte is kept until the worker has it, so that a
//! broken stream loses none; and nothing is read before a task is there to
//! take it. At most a window of it is under way. Absent: the stream itself
//! (`live`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

use tokio::sync::mpsc;

use crate::cli::output::say;
use crate::cli::resolve::StdinPlan;
use crate::model::limits::{DATA_FRAME, STDIN_WINDOW};

/// Chunks between the reading thread and the stream.
const QUEUED: usize = 2;

/// What is to be sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These bytes.
    Bytes(Vec<u8>),
    /// That there is no more.
    End,
}

/// The input of one run.
pub(super) struct Input {
    plan: StdinPlan,
    /// Chunks as they are read; `None` before anybody wants them.
    chunks: Option<mpsc::Receiver<Vec<u8>>>,
    /// Read, and not yet known to be with the worker: oldest first.
    kept: VecDeque<Vec<u8>>,
    /// How many bytes of the first kept chunk the worker has.
    taken_of_first: usize,
    /// Bytes known to be with the worker.
    taken: u64,
    /// Bytes sent on the present stream, those of earlier ones that it has included.
    sent: u64,
    /// There is no more to read.
    ended: bool,
    /// Whether the end was said on the present stream.
    said_end: bool,
    /// The worker has said how much it has, on the present stream.
    is_open: bool,
    /// What the worker's count is behind ours: bytes that an earlier try has taken with it.
    lost: u64,
    quiet: bool,
}

impl Input {
    pub(super) fn new(plan: StdinPlan, quiet: bool) -> Self {
        Self {
            plan,
            chunks: None,
            kept: VecDeque::new(),
            taken_of_first: 0,
            taken: 0,
            sent: 0,
            ended: false,
            said_end: false,
            is_open: false,
            lost: 0,
            quiet,
        }
    }

    /// A new stream begins: nothing is sent until the worker has said how much it has.
    pub(super) fn stream_begins(&mut self) {
        self.is_open = false;
        self.said_end = false;
    }

    /// The worker has `count` bytes, all of them in its own count.
    pub(super) fn acknowledged(&mut self, count: u64) {
        if !self.is_open {
            self.is_open = true;
            if count + self.lost < self.taken {
                let gone = self.taken - count;
                say::warning(
                    self.quiet,
                    &format!("an earlier try has taken the first {gone} bytes of stdin with it"),
                    None,
                );
                self.lost = gone;
            }
            self.start_reading();
            self.forget(count + self.lost);
            self.sent = self.taken;
        } else {
            self.forget(count + self.lost);
        }
    }

    /// Drops what the worker has.
    fn forget(&mut self, upto: u64) {
        let mut more = upto.saturating_sub(self.taken);
        while more > 0 {
            let Some(first) = self.kept.front() else { break };
            let left = (first.len() - self.taken_of_first) as u64;
            let now = left.min(more);
            self.taken += now;
            more -= now;
            if now == left {
                self.kept.pop_front();
                self.taken_of_first = 0;
            } else {
                self.taken_of_first += usize::try_from(now).unwrap_or(usize::MAX);
            }
        }
        self.sent = self.sent.max(self.taken);
    }

    /// What to send now; waits while there is nothing, or no room for it.
    ///
    /// Cancel safe: nothing is lost when it is dropped while it waits.
    pub(super) async fn next(&mut self) -> Next {
        if !self.is_open || self.said_end {
            return std::future::pending().await;
        }
        if let Some(bytes) = self.unsent() {
            self.sent += bytes.len() as u64;
            return Next::Bytes(bytes);
        }
        if !self.ended {
            let in_flight = self.sent.saturating_sub(self.taken);
            if in_flight + DATA_FRAME as u64 > STDIN_WINDOW as u64 {
                return std::future::pending().await;
            }
            let read = match &mut self.chunks {
                Some(chunks) => chunks.recv().await,
                None => None,
            };
            if let Some(bytes) = read {
                self.kept.push_back(bytes.clone());
                self.sent += bytes.len() as u64;
                return Next::Bytes(bytes);
            }
            self.ended = true;
        }
        self.said_end = true;
        Next::End
    }

    /// The next kept bytes that the present stream has not brought yet.
    fn unsent(&self) -> Option<Vec<u8>> {
        let mut at = self.taken;
        for (i, chunk) in self.kept.iter().enumerate() {
            let from = if i == 0 { self.taken_of_first } else { 0 };
            let length = (chunk.len() - from) as u64;
            if at >= self.sent {
                return chunk.get(from..).map(<[u8]>::to_vec);
            }
            at += length;
        }
        None
    }

    /// Starts to read, once.
    fn start_reading(&mut self) {
        if self.chunks.is_some() || self.ended {
            return;
        }
        let (sender, chunks) = mpsc::channel(QUEUED);
        let plan = self.plan.clone();
        let quiet = self.quiet;
        let work = move || {
            let ended = match &plan {
                StdinPlan::Nothing => Ok(()),
                StdinPlan::Own => read_all(io::stdin().lock(), &sender),
                StdinPlan::File(path) => File::open(path).and_then(|file| read_all(file, &sender)),
            };
            if let Err(error) = ended {
                say::warning(quiet, &format!("stdin ends here: {error}"), None);
            }
        };
        // A thread of its own, because reading a terminal can wait for ever and nothing may wait for that.
        match std::thread::Builder::new().name("input".to_owned()).spawn(work) {
            Ok(_) => self.chunks = Some(chunks),
            Err(error) => {
                say::warning(self.quiet, &format!("stdin cannot be read: {error}"), None);
                self.ended = true;
            }
        }
    }
}

fn read_all(mut source: impl Read, sender: &mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let mut buffer = vec![0; DATA_FRAME];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let Some(bytes) = buffer.get(..length) else { return Ok(()) };
                if sender.blocking_send(bytes.to_vec()).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_readable()?,
            Err(error) => return Err(error),
        }
    }
}

/// Waits for input on a stdin that somebody has set to non-blocking.
#[cfg(unix)]
fn wait_readable() -> io::Result<()> {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let stdin = io::stdin();
    match poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(unix))]
fn wait_readable() -> io::Result<()> {
    Ok(())
}

/// Whether our stdin is a terminal that we must not read: a background job
/// that does is stopped by the system.
#[cfg(unix)]
pub(super) fn is_out_of_reach() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && nix::unistd::tcgetpgrp(&stdin).is_ok_and(|foreground| foreground != nix::unistd::getpgrp())
}

#[cfg(not(unix))]
pub(super) fn is_out_of_reach() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An input that has read these chunks and no more.
    async fn with_chunks(chunks: &[&[u8]]) -> Input {
        let mut input = Input::new(StdinPlan::Nothing, true);
        let (sender, receiver) = mpsc::channel(chunks.len().max(1));
        for chunk in chunks {
            sender.send(chunk.to_vec()).await.expect("queued");
        }
        input.chunks = Some(receiver);
        input
    }

    #[tokio::test]
    async fn nothing_is_sent_before_the_worker_has_spoken() {
        let mut input = with_chunks(&[b"ab"]).await;
        let early = tokio::time::timeout(std::time::Duration::from_millis(5), input.next()).await;
        assert!(early.is_err());
        input.acknowledged(0);
        assert_eq!(input.next().await, Next::Bytes(b"ab".to_vec()));
        assert_eq!(input.next().await, Next::End);
    }

    #[tokio::test]
    async fn a_new_stream_brings_what_the_old_one_lost_and_nothing_twice() {
        let mut input = with_chunks(&[b"abcd", b"efgh"]).await;
        input.acknowledged(0);
        assert_eq!(input.next().await, Next::Bytes(b"abcd".to_vec()));
        assert_eq!(input.next().await, Next::Bytes(b"efgh".to_vec()));
        assert_eq!(input.next().await, Next::End);
        input.stream_begins();
        input.acknowledged(3);
        assert_eq!(input.next().await, Next::Bytes(b"d".to_vec()));
        assert_eq!(input.next().await, Next::Bytes(b"efgh".to_vec()));
        assert_eq!(input.next().await, Next::End);
        input.acknowledged(8);
        assert!(input.kept.is_empty());
    }

    #[tokio::test]
    async fn input_that_is_not_acknowledged_is_bounded() {
        let frame = vec![1; DATA_FRAME];
        let chunks: Vec<&[u8]> = (0..40).map(|_| frame.as_slice()).collect();
        let mut input = with_chunks(&chunks).await;
        input.acknowledged(0);
        let mut sent = 0;
        while let Ok(next) = tokio::time::timeout(std::time::Duration::from_millis(5), input.next()).await {
            assert!(matches!(next, Next::Bytes(_)));
            sent += DATA_FRAME;
        }
        assert_eq!(sent, STDIN_WINDOW);
        input.acknowledged(DATA_FRAME as u64);
        assert!(matches!(input.next().await, Next::Bytes(_)), "room for one more");
    }

    #[tokio::test]
    async fn a_second_try_goes_on_where_the_first_stopped_reading() {
        let mut input = with_chunks(&[b"abcd", b"ef"]).await;
        input.acknowledged(0);
        assert_eq!(input.next().await, Next::Bytes(b"abcd".to_vec()));
        input.acknowledged(4);
        input.stream_begins();
        input.acknowledged(0);
        assert_eq!(input.next().await, Next::Bytes(b"ef".to_vec()));
        input.acknowledged(2);
        assert!(input.kept.is_empty(), "its count begins at what the first try took");
    }
}
