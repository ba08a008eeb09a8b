//! The worker's end of one shim: starting it, ordering, hearing from it.
//!
//! The one invariant: a shim that has ended is reaped, and if it did not end by
//! itself, what it left behind is killed first. Absent: attempts.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::executor::ExecConfig;
use super::{DescriptorLimit, family, shim, sys};
use crate::wire::WireError;
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::shim::{SHIM_FRAME, ShimFact, ShimOrder};

/// Bytes of facts read at once: a fact is a few dozen.
const READ_BYTES: usize = 1024;

/// Exit codes of a shim that never was one: it could not get ready, or its loader could not load it.
const NEVER_READY: [i32; 2] = [shim::NOT_READY as i32, 127];

/// What is kept for the next order after a large one.
const KEEP_BYTES: usize = 64 * 1024;

/// A shim that was started. To be ended with [`ShimProcess::end`].
#[derive(Debug)]
pub(super) struct ShimProcess {
    /// `None` once it is reaped.
    pid: Option<Pid>,
    /// Watched for reading only: a shim that takes an order makes room in the
    /// socket, and being woken by that would double the wakeups of a quick task.
    socket: AsyncFd<StdUnixStream>,
    /// Received and not yet taken: part of a fact, a fact, or more.
    inbox: Vec<u8>,
    /// Where orders are encoded; kept from order to order.
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
        command.arg0("octa-shim").arg("__exec").arg(DescriptorLimit::raise().of_tasks());
        command.stdin(OwnedFd::from(theirs)).stdout(presence);
        // First: a shim that cannot be heard is not to be started.
        let socket = sys::watch(ours, Interest::READABLE)?;
        let pid = family::spawn(&mut command)?;
        Ok(Self { pid: Some(pid), socket, inbox: Vec::new(), outbox: Vec::new() })
    }

    /// Sends an order that no descriptors belong to.
    pub(super) async fn order(&mut self, order: &ShimOrder) -> io::Result<()> {
        self.load(order).map_err(io::Error::other)?;
        self.send(&[]).await
    }

    /// Encodes an order, to be sent next.
    ///
    /// # Errors
    /// When it is larger than a shim takes; the shim has heard nothing then.
    pub(super) fn load(&mut self, order: &ShimOrder) -> Result<(), WireError> {
        self.outbox.clear();
        self.outbox.shrink_to(KEEP_BYTES);
        frame::encode(order, &mut self.outbox, SHIM_FRAME)
    }

    /// Sends the order that was loaded, `descriptors` beside it. After an error that is a shortage
    /// ([`program::shortage`]) the shim has heard nothing of it, and is as before.
    pub(super) async fn send(&mut self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.outbox.len() {
            // The descriptors travel with the first byte.
            let descriptors = if sent == 0 { descriptors } else { &[] };
            match sys::send(self.socket.get_ref().as_fd(), &self.outbox[sent..], descriptors) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.room().await?,
                Err(error) if sent == 0 => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }

    /// Waits until the socket takes more: only for an order larger than its buffer.
    async fn room(&self) -> io::Result<()> {
        let again = self.socket.get_ref().try_clone()?;
        sys::watch(again, Interest::WRITABLE)?.writable().await?.retain_ready();
        Ok(())
    }

    /// The next fact; `None` when the shim has died. May be cancelled.
    pub(super) async fn next_fact(&mut self) -> io::Result<Option<ShimFact>> {
        loop {
            if let Some(fact) = self.take_fact()? {
                return Ok(Some(fact));
            }
            let mut ready = self.socket.readable().await?;
            let mut bytes = [0; READ_BYTES];
            match ready.get_inner().read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    self.inbox.extend_from_slice(&bytes[..read]);
                    // A buffer that was not filled has emptied the socket: no second call to hear that.
                    if read < bytes.len() {
                        ready.clear_ready();
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => ready.clear_ready(),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Ok(None),
                    _ => return Err(error),
                },
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

    /// Makes sure that a shim which broke down is dead, and with it everything it contained. Says whether it had broken
    /// down before it took any order.
    pub(super) async fn destroy(&mut self) -> bool {
        let Some(pid) = self.pid.take() else { return false };
        let destroyed = tokio::task::spawn_blocking(move || {
            let _ = kill(pid, Signal::SIGKILL);
            let status = family::bury(pid);
            family::sweep();
            status.and_then(|status| status.code()).is_some_and(|code| NEVER_READY.contains(&code))
        });
        destroyed.await.unwrap_or(false)
    }
}
