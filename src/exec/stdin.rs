//! Where a task's standard input comes from.
//!
//! The one invariant: the task sees end of file exactly when its source ends,
//! and a task that does not read holds nothing up but its own source. Absent:
//! output.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, write};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::model::spec::StdinSource;
use crate::model::{RawString, SealedSpec};

/// What goes to the task, and what goes on feeding it.
pub(super) struct Stdin {
    /// The task's end of a pipe; `None` stands for `/dev/null`.
    pub(super) theirs: Option<OwnedFd>,
    /// What is still to be fed, once the task has its end.
    pub(super) feed: Option<Feed>,
}

/// The writing end of a pipe and what is to go through it.
pub(super) struct Feed {
    pipe: OwnedFd,
    source: Source,
}

enum Source {
    /// The spec's inline bytes from there on.
    Inline(SealedSpec, usize),
    /// Whatever the attached client sends.
    Attached(mpsc::Receiver<Vec<u8>>),
}

impl Stdin {
    /// Prepares the input that `spec` asks for.
    pub(super) fn prepare(spec: &SealedSpec, attached: Option<mpsc::Receiver<Vec<u8>>>) -> io::Result<Self> {
        match (&spec.spec().stdin, attached) {
            (StdinSource::Inline(bytes), _) => Self::inline(spec, bytes),
            (StdinSource::Attached, Some(source)) => {
                let (theirs, pipe) = pipe_to_task()?;
                Ok(Self { theirs: Some(theirs), feed: Some(Feed { pipe, source: Source::Attached(source) }) })
            }
            (StdinSource::Empty, _) | (StdinSource::Attached, None) => Ok(Self { theirs: None, feed: None }),
        }
    }

    /// What fits into the pipe is there before the task is; mostly that is all.
    fn inline(spec: &SealedSpec, bytes: &RawString) -> io::Result<Self> {
        let (theirs, pipe) = pipe_to_task()?;
        let mut written = 0;
        while written < bytes.len() {
            match write(&pipe, &bytes.as_bytes()[written..]) {
                Ok(more) => written += more,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        let rest = written < bytes.len();
        let feed = rest.then(|| Feed { pipe, source: Source::Inline(spec.clone(), written) });
        Ok(Self { theirs: Some(theirs), feed })
    }
}

impl Feed {
    /// Feeds until the source ends or the task closes its input; then the pipe is closed.
    pub(super) async fn run(self) {
        let Ok(mut pipe) = pipe::Sender::from_owned_fd_unchecked(self.pipe) else { return };
        match self.source {
            Source::Inline(spec, from) => {
                if let StdinSource::Inline(bytes) = &spec.spec().stdin {
                    // That the task has had enough is its right.
                    let _ = pipe.write_all(&bytes.as_bytes()[from..]).await;
                }
            }
            Source::Attached(mut source) => {
                while let Some(bytes) = next(&mut source, &pipe).await {
                    if pipe.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The next bytes to feed; `None` at their end, or as soon as nobody can read them any more.
async fn next(source: &mut mpsc::Receiver<Vec<u8>>, pipe: &pipe::Sender) -> Option<Vec<u8>> {
    tokio::select! {
        bytes = source.recv() => bytes,
        () = closed(pipe) => None,
    }
}

/// Waits until the reading end is closed, which a task that ignores its input does by ending.
async fn closed(pipe: &pipe::Sender) {
    match pipe.ready(tokio::io::Interest::ERROR).await {
        Ok(_) => {}
        Err(_) => std::future::pending().await,
    }
}

/// A pipe whose reading end is for the task and whose writing end does not block.
fn pipe_to_task() -> io::Result<(OwnedFd, OwnedFd)> {
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
    unblock(ours.as_fd())?;
    Ok((theirs, ours))
}

/// A pipe whose writing end is for the task and whose reading end does not block: `(ours, theirs)`.
///
/// The task's end must block: programs do not expect otherwise.
pub(super) fn pipe_from_task() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    unblock(ours.as_fd())?;
    Ok((ours, theirs))
}

fn unblock(pipe: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}
