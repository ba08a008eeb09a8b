//! What the executor needs of the operating system and no safe crate offers.
//!
//! The only files of the project with `unsafe` in them, beside one call in
//! `blob/sys.rs`; each use is as small as a call. The one invariant: every
//! descriptor made here is closed on exec and owned. Deliberately absent: any
//! decision about tasks.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
use fallback::{ALWAYS_ON, RECEIVE_FLAGS, SEND_FLAGS, WAIT_FLAGS, last_signal};
#[cfg(not(target_os = "linux"))]
pub(super) use fallback::{
    ChildSignals, TELLS_MEMORY, become_subreaper, children_of, fair_memory, held_memory, name_process,
};
#[cfg(target_os = "linux")]
use linux::{ALWAYS_ON, RECEIVE_FLAGS, SEND_FLAGS, WAIT_FLAGS, last_signal};
#[cfg(target_os = "linux")]
pub(super) use linux::{
    ChildSignals, TELLS_MEMORY, become_subreaper, children_of, fair_memory, held_memory, name_process,
};

/// Descriptors that can travel beside one message: stdin, stdout, stderr.
pub(super) const MAX_DESCRIPTORS: usize = 3;

/// What waiting without blocking found.
#[derive(Debug)]
pub(super) enum Waited {
    /// This child ended and is reaped.
    Reaped(Reaped),
    /// There are children, none of them ended.
    Running,
    /// There is no (such) child.
    Childless,
}

/// A child that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reaped {
    /// Its process id, free for reuse now.
    pub(super) pid: Pid,
    /// How it ended.
    pub(super) status: ExitStatus,
    /// Largest resident set of it and of the children that it waited for.
    pub(super) peak_memory_bytes: u64,
}

/// Microseconds since the machine was started, those in which it slept among them; the same for all its processes.
#[must_use]
pub fn since_boot_us() -> u64 {
    // Without this clock no lease can be kept: then every lease is over.
    nix::time::clock_gettime(ALWAYS_ON)
        .ok()
        .and_then(|time| u64::try_from(Duration::from(time).as_micros()).ok())
        .unwrap_or(u64::MAX)
}

/// Reaps one ended child, `which` or any, without blocking.
pub(super) fn reap(which: Option<Pid>) -> io::Result<Waited> {
    wait(which, libc::WNOHANG)
}

/// Waits until `child` has ended, and reaps it.
pub(super) fn reap_blocking(child: Pid) -> io::Result<Waited> {
    wait(Some(child), 0)
}

fn wait(which: Option<Pid>, flags: libc::c_int) -> io::Result<Waited> {
    let flags = flags | WAIT_FLAGS;
    loop {
        let mut status = 0;
        // SAFETY: all-zero bytes are a valid `rusage`: it is integers throughout.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live, writable values of the right types.
        let pid = unsafe { libc::wait4(which.map_or(-1, Pid::as_raw), &raw mut status, flags, &raw mut usage) };
        match Errno::result(pid) {
            Ok(0) => return Ok(Waited::Running),
            Ok(pid) => {
                return Ok(Waited::Reaped(Reaped {
                    pid: Pid::from_raw(pid),
                    status: ExitStatus::from_raw(status),
                    peak_memory_bytes: resident_set_bytes(&usage),
                }));
            }
            Err(Errno::ECHILD) => return Ok(Waited::Childless),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn resident_set_bytes(usage: &libc::rusage) -> u64 {
    // Linux counts in KiB, the BSDs' descendants in bytes.
    let unit = if cfg!(target_os = "linux") { 1024 } else { 1 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(unit)
}

/// Whether this process ignores `signal`: it was told so when it started (`nohup`, a background job of a script), for
/// nothing here ignores one by itself but SIGPIPE.
#[must_use]
pub fn ignores(signal: Signal) -> bool {
    // SAFETY: all-zero bytes are a valid `sigaction`: integers, a set of bits and no handler.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed, and `now` is live and writable.
    let asked = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Signals that a shim or guard survives: whatever asks a process to end or to stop. Its life is its worker's.
const SURVIVED: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXCPU,
    Signal::SIGIO,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Undoes what this process inherited and its children must not: ignored or
/// blocked signals (`nohup`, a shell's background jobs), core dumps, open
/// descriptors. Then makes it survive what would end an ordinary process.
///
/// To be called first in `main`, while there is one thread and nothing is open.
pub(super) fn shed_inheritance() -> io::Result<()> {
    for signal in 1..=last_signal() {
        // The standard library resets SIGPIPE in children itself.
        if signal != libc::SIGPIPE && signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: the default disposition runs no code of ours. What the C library keeps for itself is refused.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // Neither ignored nor blocked, which children would inherit: a handler is reset when they start their program.
    let survive = SigAction::new(SigHandler::Handler(survive), SaFlags::SA_RESTART, SigSet::empty());
    for signal in SURVIVED {
        // SAFETY: the handler does nothing, which is safe at any moment.
        unsafe { sigaction(*signal, &survive)? };
    }
    SigSet::empty().thread_set_mask()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    close_from(libc::STDERR_FILENO + 1)
}

extern "C" fn survive(_signal: libc::c_int) {}

/// Closes every descriptor from `first` on.
fn close_from(first: RawFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: nobody owns these descriptors; the caller runs before anything is opened.
        if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } == 0 {
            return Ok(());
        }
    }
    // Kernels before 5.9, other systems: what can be open is listed, or guessed.
    let listed = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"))?;
    let open: Vec<RawFd> = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= first) {
        // SAFETY: as above; the listing's own descriptor is closed already and fails harmlessly.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// Makes `socket` known to the runtime's poller, for `interest` only.
///
/// # Errors
/// When the poller has no room. Call it inside a runtime.
pub(super) fn watch(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a `UnixStream` owns one open descriptor and keeps it the same until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest)? })
}

/// A second descriptor for the open file behind `descriptor`, which has to be open.
pub(super) fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: duplicating touches no memory; a number that is not open is an error.
    let copy = Errno::result(unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel made it for us this moment.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Receives bytes, and the descriptors that came beside them, from a stream socket.
///
/// Returns how many bytes; 0 is the end. `flags` may ask not to block.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    flags: MsgFlags,
) -> io::Result<usize> {
    let mut space = cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(buffer)];
    loop {
        let received = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags | RECEIVE_FLAGS) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(arrived) = message {
                // SAFETY: the kernel made these descriptors for us this moment; nobody else owns them.
                descriptors.extend(arrived.into_iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }));
            }
        }
        return Ok(received.bytes);
    }
}

/// Sends bytes with `descriptors` beside the first of them; returns how many bytes went.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    let beside = [ControlMessage::ScmRights(&raw)];
    let beside = if raw.is_empty() { &[] } else { &beside[..] };
    Ok(sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], beside, SEND_FLAGS, None)?)
}
