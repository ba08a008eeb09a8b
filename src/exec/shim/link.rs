//! The shim's end of the socket to its worker.
//!
//! Invariant: a `Start` is handed out only together with its three
//! descriptors. Orders are waited for only while no task runs; meanwhile the
//! socket is polled. Absent: what orders mean.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::MsgFlags;

use crate::exec::sys;
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::shim::{SHIM_FRAME, ShimFact, ShimOrder};

/// What one read takes at most: most orders are smaller.
const READ_BYTES: usize = 64 * 1024;

/// Orders in, facts out.
pub(super) struct WorkerLink {
    socket: OwnedFd,
    /// Received and not yet taken: part of a frame, a frame, or more.
    inbox: Vec<u8>,
    /// Where reads go; kept, because clearing 64 KiB for every order would be a cost.
    buffer: Box<[u8]>,
    /// Received and not yet taken.
    descriptors: Vec<OwnedFd>,
    /// Whether the end was read.
    gone: bool,
}

impl WorkerLink {
    /// Takes over the socket that this process was started with.
    pub(super) fn inherited() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { socket, inbox: Vec::new(), buffer, descriptors: Vec::new(), gone: false })
    }

    /// Whether the worker is known to be gone.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Waits for the next order; `None` when the worker is gone.
    pub(super) fn next_order(&mut self) -> io::Result<Option<ShimOrder>> {
        loop {
            if let Some(order) = self.take_order()? {
                return Ok(Some(order));
            }
            if self.gone || self.receive(MsgFlags::empty())? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes what has arrived without waiting, after a poll found the socket ready.
    pub(super) fn poll_orders(&mut self) -> io::Result<Polled> {
        match self.receive(MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(Polled::WorkerGone),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut orders = Vec::new();
        while let Some(order) = self.take_order()? {
            orders.push(order);
        }
        Ok(Polled::Orders(orders))
    }

    /// The descriptors beside the order taken last.
    pub(super) fn take_descriptors(&mut self) -> Option<[OwnedFd; sys::MAX_DESCRIPTORS]> {
        std::mem::take(&mut self.descriptors).try_into().ok()
    }

    /// Tells the worker. That it cannot be told is no error: the next read says why.
    pub(super) fn tell(&self, fact: &ShimFact) {
        let mut bytes = Vec::new();
        if frame::encode(fact, &mut bytes, SHIM_FRAME).is_err() {
            return;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match sys::send(self.socket.as_fd(), rest, &[]) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn receive(&mut self, flags: MsgFlags) -> io::Result<usize> {
        match sys::receive(self.socket.as_fd(), &mut self.buffer, &mut self.descriptors, flags) {
            Ok(received) => {
                self.gone |= received == 0;
                self.inbox.extend_from_slice(&self.buffer[..received]);
                Ok(received)
            }
            // A worker that dies with something of ours unread looks like this.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.gone = true;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn take_order(&mut self) -> io::Result<Option<ShimOrder>> {
        let Some(header) = self.inbox.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = frame::body_length(*header, SHIM_FRAME).map_err(io::Error::other)?;
        let Some(body) = self.inbox.get(HEADER_BYTES..HEADER_BYTES + length) else { return Ok(None) };
        let order = frame::decode(body).map_err(io::Error::other)?;
        self.inbox.drain(..HEADER_BYTES + length);
        Ok(Some(order))
    }
}

impl AsFd for WorkerLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What polling the worker's socket found.
pub(super) enum Polled {
    /// These, perhaps none.
    Orders(Vec<ShimOrder>),
    /// The end.
    WorkerGone,
}
