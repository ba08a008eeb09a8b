//! What other Unix systems can do in place of the Linux half.
//!
//! They have no subreaper: a task's descendants are found through its process
//! group and its own children only, so a process that leaves both (a
//! double-forked daemon in a session of its own) may outlive its task here. No
//! Windows: its job objects will have a file of their own.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::MsgFlags;
use nix::time::ClockId;
use nix::unistd::{Pid, pipe};

/// Plain waits.
pub(super) const WAIT_FLAGS: libc::c_int = 0;
/// Nothing to ask for: a spawn closes what it is not told to pass on.
pub(super) const RECEIVE_FLAGS: MsgFlags = MsgFlags::empty();
/// The Rust runtime ignores SIGPIPE, which is as good here.
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::empty();

/// The greatest signal number: `SIGUSR2` ends the list of the BSDs.
pub(super) fn last_signal() -> libc::c_int {
    libc::SIGUSR2
}

/// The clock that comes nearest to one that goes on while the machine sleeps; on some systems it does not.
pub(super) const ALWAYS_ON: ClockId = ClockId::CLOCK_MONOTONIC;

/// There is no such thing here; orphans go to `init`.
pub(in crate::exec) fn become_subreaper() -> io::Result<()> {
    Ok(())
}

/// The name stays that of the program.
pub(in crate::exec) fn name_process(_name: &CStr) -> io::Result<()> {
    Ok(())
}

/// Stands in for a signal descriptor: never readable, so polls are kept short instead.
#[derive(Debug)]
pub(in crate::exec) struct ChildSignals {
    silent: OwnedFd,
    _writer: OwnedFd,
}

impl ChildSignals {
    /// Makes the silent descriptor.
    pub(in crate::exec) fn listen() -> io::Result<Self> {
        let (silent, writer) = pipe()?;
        Ok(Self { silent, _writer: writer })
    }

    /// Nothing is blocked here.
    pub(in crate::exec) fn unblocked<T>(&self, spawn: impl FnOnce() -> T) -> io::Result<T> {
        Ok(spawn())
    }

    /// Nothing was heard.
    pub(in crate::exec) fn clear(&self) {}

    /// How long a poll may last at most, because nothing wakes it when a child ends.
    pub(in crate::exec) const POLL_AT_MOST_MS: Option<u64> = Some(20);
}

impl AsFd for ChildSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.silent.as_fd()
    }
}

/// Unknown here.
pub(in crate::exec) fn children_of(_parent: Pid) -> Vec<Pid> {
    Vec::new()
}

/// Whether [`held_memory`] can say anything.
pub(in crate::exec) const TELLS_MEMORY: bool = false;

/// Unknown here.
pub(in crate::exec) fn held_memory(_pid: Pid) -> u64 {
    0
}

/// Unknown here.
pub(in crate::exec) fn fair_memory(_pid: Pid) -> u64 {
    0
}
