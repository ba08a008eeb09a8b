//! Draining a task's stdout and stderr, together and in the order of arrival.
//!
//! ```text
//! pipes ──▶ spool (for `logs`)
//!       └─▶ attached client, when there is one: not read further while it is full
//! ```
//! The one invariant: every byte that was read is counted, spooled, and handed
//! to the client that is attached. Nothing is read before its place is sure, so
//! memory stays flat however slow the client is. Absent: when a task has ended.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::OutputChunk;
use super::slot::raised;
use super::spool::Spool;
use crate::model::limits::DATA_FRAME;
use crate::wire::OutputStream;

/// How long a pipe may stay open and silent once no process of the task is
/// left: somebody outside its tree was handed a copy of it, and is not waited for.
const LINGER: Duration = Duration::from_secs(2);

/// Both outputs of one attempt.
#[derive(Debug)]
pub(super) struct Capture {
    stdout: Source,
    stderr: Source,
    spool: Arc<Spool>,
    attached: Option<mpsc::Sender<OutputChunk>>,
    buffer: Box<[u8]>,
}

/// One output.
#[derive(Debug)]
struct Source {
    stream: OutputStream,
    pipe: Pipe,
    /// Bytes read so far.
    bytes: u64,
}

/// The reading end of a pipe. Most tasks are over before it is worth telling the poller about it.
#[derive(Debug)]
enum Pipe {
    /// Not known to the poller yet; does not block.
    Unwatched(OwnedFd),
    /// Known to it.
    Watched(pipe::Receiver),
    /// Its end was read.
    Closed,
}

impl Capture {
    /// Captures the reading ends `stdout` and `stderr`, which must not block.
    pub(super) fn new(
        [stdout, stderr]: [OwnedFd; 2],
        spool: Arc<Spool>,
        attached: Option<mpsc::Sender<OutputChunk>>,
        buffer: Box<[u8]>,
    ) -> Self {
        let source = |stream, pipe| Source { stream, pipe: Pipe::Unwatched(pipe), bytes: 0 };
        let (stdout, stderr) = (source(OutputStream::Stdout, stdout), source(OutputStream::Stderr, stderr));
        Self { stdout, stderr, spool, attached, buffer }
    }

    /// A buffer for [`Capture::new`]; to be reused from attempt to attempt.
    pub(super) fn new_buffer() -> Box<[u8]> {
        vec![0; DATA_FRAME].into_boxed_slice()
    }

    /// Whether somebody sees the output while the task runs.
    pub(super) fn has_client(&self) -> bool {
        self.attached.is_some()
    }

    /// Whether the ends of both were read.
    pub(super) fn is_complete(&self) -> bool {
        matches!((&self.stdout.pipe, &self.stderr.pipe), (Pipe::Closed, Pipe::Closed))
    }

    /// Reads what is there without waiting: a task that has ended has left little, and nothing more comes.
    ///
    /// Not for an attached attempt, whose client may have to be waited for.
    pub(super) fn read_rest(&mut self) -> io::Result<()> {
        for source in [&mut self.stdout, &mut self.stderr] {
            while let Some(read) = source.read_unwatched(&mut self.buffer)? {
                self.spool.append(source.stream, &self.buffer[..read]);
            }
        }
        Ok(())
    }

    /// Reads until both ends are read, waiting for the task and for its client.
    ///
    /// Once `gone` says that no process of the task is left, silence is an end too.
    pub(super) async fn drain(&mut self, mut gone: watch::Receiver<bool>) -> io::Result<()> {
        self.stdout.pipe.watch()?;
        self.stderr.pipe.watch()?;
        while !self.is_complete() {
            let place = match &self.attached {
                Some(output) => output.clone().reserve_owned().await.ok(),
                None => None,
            };
            if place.is_none() {
                // Its client is gone for good: from here on, output is stored only.
                self.attached = None;
            }
            let source = tokio::select! {
                () = self.stdout.pipe.readable() => &mut self.stdout,
                () = self.stderr.pipe.readable() => &mut self.stderr,
                () = silence(&mut gone) => break,
            };
            let Some(read) = source.read_watched(&mut self.buffer)? else { continue };
            let bytes = &self.buffer[..read];
            let full = self.spool.append(source.stream, bytes);
            if let Some(place) = place {
                place.send(OutputChunk { stream: source.stream, bytes: bytes.to_vec() });
            }
            if full {
                self.spool.write_out().await;
            }
        }
        self.stdout.pipe = Pipe::Closed;
        self.stderr.pipe = Pipe::Closed;
        Ok(())
    }

    /// The bytes read from stdout and stderr, and the buffer for the next attempt.
    pub(super) fn finish(self) -> (u64, u64, Box<[u8]>) {
        (self.stdout.bytes, self.stderr.bytes, self.buffer)
    }
}

/// Ends when the task has been gone for so long that nothing can be expected any more.
async fn silence(gone: &mut watch::Receiver<bool>) {
    raised(gone).await;
    tokio::time::sleep(LINGER).await;
}

impl Source {
    /// Reads without waiting; `None` when there is nothing now, or ever.
    fn read_unwatched(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Pipe::Unwatched(pipe) = &self.pipe else { return Ok(None) };
        let read = loop {
            match nix::unistd::read(pipe.as_fd(), buffer) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                other => break other?,
            }
        };
        Ok(self.count(read))
    }

    /// The same for a pipe that the poller knows.
    fn read_watched(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Pipe::Watched(pipe) = &self.pipe else { return Ok(None) };
        match pipe.try_read(buffer) {
            Ok(read) => Ok(self.count(read)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn count(&mut self, read: usize) -> Option<usize> {
        if read == 0 {
            self.pipe = Pipe::Closed;
            return None;
        }
        self.bytes += read as u64;
        Some(read)
    }
}

impl Pipe {
    fn watch(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Closed) {
            Self::Unwatched(pipe) => Self::Watched(pipe::Receiver::from_owned_fd_unchecked(pipe)?),
            other => other,
        };
        Ok(())
    }

    /// Waits until a read will not block; for ever once there is nothing to read.
    async fn readable(&self) {
        match self {
            // An error is found, and reported, by the read.
            Self::Watched(pipe) => drop(pipe.readable().await),
            Self::Unwatched(_) | Self::Closed => std::future::pending().await,
        }
    }
}
