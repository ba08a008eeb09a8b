//! Our own standard input, and files that stand in for it.
//!
//! The one invariant: what cannot be read is an error with its cause, never an
//! end of file. The standard library reads a closed or unreadable stdin as
//! empty; here it is read through a descriptor of our own.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

/// The process was started without a stdin. Its number has since been given to `/dev/null`.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Notes that the process was started without a stdin.
pub(super) fn was_closed() {
    CLOSED.store(true, Ordering::Relaxed);
}

/// Opens our own standard input once more, at the same place in it.
///
/// # Errors
/// When there is none, it is a directory, or it is open for writing only.
pub(crate) fn own() -> io::Result<File> {
    let file = duplicate()?;
    if CLOSED.load(Ordering::Relaxed) {
        return Err(not_open());
    }
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // nohup gives its command a /dev/null that cannot be read, for one that need not be.
    if !is_null(&about) && !is_for_reading(&file)? {
        return Err(not_open());
    }
    Ok(file)
}

/// Whether this path means our own standard input.
pub(crate) fn means_own(path: &std::ffi::OsStr) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == *name)
}

/// Reads as a blocking file does, also from one that somebody has set to non-blocking.
#[derive(Debug)]
pub(crate) struct Blocking<'a>(pub(crate) &'a File);

impl Read for Blocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_readable(self.0)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

#[cfg(unix)]
fn duplicate() -> io::Result<File> {
    use std::os::fd::AsFd as _;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(unix)]
fn not_open() -> io::Error {
    nix::errno::Errno::EBADF.into()
}

#[cfg(unix)]
fn is_for_reading(file: &File) -> io::Result<bool> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    Ok(flags & OFlag::O_ACCMODE != OFlag::O_WRONLY)
}

/// Whether it is `/dev/null`: always at its end.
#[cfg(unix)]
pub(crate) fn is_null(about: &Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let null = || std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == about.rdev());
    about.file_type().is_char_device() && null()
}

/// Whether opening it waits for somebody who writes to it.
#[cfg(unix)]
pub(crate) fn is_fifo(about: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    about.file_type().is_fifo()
}

#[cfg(unix)]
fn wait_readable(file: &File) -> io::Result<()> {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(unix))]
fn duplicate() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn not_open() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[cfg(not(unix))]
fn is_for_reading(_: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(not(unix))]
pub(crate) fn is_null(_: &Metadata) -> bool {
    false
}

#[cfg(not(unix))]
pub(crate) fn is_fifo(_: &Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn wait_readable(_: &File) -> io::Result<()> {
    Ok(())
}
