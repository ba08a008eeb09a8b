//! Bytes of tasks on our own stdout and stderr, as they are.
//!
//! The one invariant: a frame is out when `write` returns, whatever blocks or
//! not on the other side. A descriptor that somebody has set to non-blocking
//! is waited for.

use std::io::{self, Write};

use super::screen;
use crate::cli::error::CliError;
use crate::wire::OutputStream;

/// Our two outputs without line buffering in between.
pub(crate) struct RawOutput {
    _private: (),
}

impl RawOutput {
    /// Takes both outputs as they are.
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }

    /// Writes all of `bytes` and hands them to the system.
    pub(crate) fn write(&mut self, stream: OutputStream, bytes: &[u8]) -> Result<(), CliError> {
        let written = screen::aside(stream, bytes, || match stream {
            OutputStream::Stdout => write_through(&mut io::stdout().lock(), bytes),
            OutputStream::Stderr => write_through(&mut io::stderr().lock(), bytes),
        });
        written.map_err(CliError::output)
    }
}

#[cfg(unix)]
fn write_through(out: &mut (impl Write + std::os::fd::AsFd), bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) => again(out, error)?,
        }
    }
    loop {
        match out.flush() {
            Ok(()) => return Ok(()),
            Err(error) => again(out, error)?,
        }
    }
}

/// Waits until writing makes sense again, when it only would have blocked.
#[cfg(unix)]
fn again(out: &impl std::os::fd::AsFd, error: io::Error) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => {
            let mut waited = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut waited, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        }
        _ => Err(error),
    }
}

#[cfg(not(unix))]
fn write_through(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}
