//! The worker's end of one shim: starting it, ordering, hearing from it.
//!
//! The one invariant: a shim that has ended is reaped, and if it did not end by
//! itself, what it left behind is killed first. Absent: attempts.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use super::executor::ExecConfig;
use super::{family, sys};
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::shim::{SHIM_FRAME, ShimFact, ShimOrder};

/// Bytes of facts read at once: a fact is a few dozen.
const READ_BYTES: usize = 1024;

/// A shim that was started. To be ended with [`ShimProcess::end`].
#[derive(Debug)]
pub(super) struct ShimProcess {
    /// `None` once it is reaped.
    pid: Option<Pid>,
    socket: UnixStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl ShimProcess {
    /// Starts one.
    pub(super) fn start(config: &ExecConfig) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let presence = match &config.presence {
            Some(presence) => Stdio::from(presence.for_shim()?),
            None => Stdio::null(),
        };
        let mut command = Command::new(&config.shim_program);
        command.arg0("octa-shim").arg("__exec").stdin(OwnedFd::from(theirs)).stdout(presence);
        let pid = family::spawn(&mut command)?;
        Ok(Self { pid: Some(pid), socket: UnixStream::from_std(ours)?, inbox: Vec::new(), outbox: Vec::new() })
    }

    /// Sends an order, `descriptors` beside it.
    pub(super) async fn order(&mut self, order: &ShimOrder, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.outbox.clear();
        frame::encode(order, &mut self.outbox, SHIM_FRAME).map_err(io::Error::other)?;
        let first = || sys::send(self.socket.as_fd(), &self.outbox, descriptors);
        let sent = self.socket.async_io(Interest::WRITABLE, first).await?;
        if sent < self.outbox.len() {
            let rest = self.outbox.split_off(sent);
            self.socket.write_all(&rest).await?;
        }
        Ok(())
    }

    /// The next fact; `None` when the shim has died. May be cancelled.
    pub(super) async fn next_fact(&mut self) -> io::Result<Option<ShimFact>> {
        loop {
            if let Some(fact) = self.take_fact()? {
                return Ok(Some(fact));
            }
            self.inbox.reserve(READ_BYTES);
            match self.socket.read_buf(&mut self.inbox).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn take_fact(&mut self) -> io::Result<Option<ShimFact>> {
        let Some(header) = self.inbox.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = frame::body_length(*header, SHIM_FRAME).map_err(io::Error::other)?;
        let Some(body) = self.inbox.get(HEADER_BYTES..HEADER_BYTES + length) else { return Ok(None) };
        let fact = frame::decode(body).map_err(io::Error::other)?;
        self.inbox.drain(..HEADER_BYTES + length);
        Ok(Some(fact))
    }

    /// Whether it can be given another task.
    pub(super) fn is_alive(&self) -> bool {
        self.pid.is_some()
    }

    /// Lets a shim without a task go, and waits for it.
    pub(super) async fn end(self) {
        // The end of its socket is what it ends by.
        drop(self.socket);
        let Some(pid) = self.pid else { return };
        // The task cannot panic; it waits for as long as a process takes to exit.
        let _ = tokio::task::spawn_blocking(move || family::bury(pid)).await;
    }

    /// Makes sure that a shim which broke down is dead, and with it everything it contained.
    pub(super) async fn destroy(&mut self) {
        let Some(pid) = self.pid.take() else { return };
        let destroyed = tokio::task::spawn_blocking(move || {
            let _ = kill(pid, Signal::SIGKILL);
            family::bury(pid);
            family::sweep();
        });
        let _ = destroyed.await;
    }
}
