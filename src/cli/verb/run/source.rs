//! Where the standard input of a `run` comes from, and the thread that reads it.
//!
//! The one invariant: a file is read again from where it stood, anything else
//! once. Absent: what is kept of it, and sending it (`input`).

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::cli::error::CliError;
use crate::cli::resolve::StdinPlan;
use crate::cli::stdin::{self, Blocking};
use crate::model::limits::DATA_FRAME;

/// Chunks between the reading thread and the stream.
const QUEUED: usize = 2;

/// An input that was found to be there.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// Nothing.
    Nothing,
    /// A file that is read again for each attempt, from this offset.
    File(Arc<File>, u64),
    /// A pipe, a terminal, a device or a socket.
    Stream(Arc<File>),
    /// A named pipe, opened when a task wants it: that waits for somebody who writes.
    Fifo(PathBuf),
}

impl Source {
    /// What `plan` means, and what its errors call it.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(super) fn open(plan: &StdinPlan) -> Result<(Self, String), CliError> {
        Ok(match plan {
            StdinPlan::Nothing => (Self::Nothing, String::new()),
            StdinPlan::Own if is_out_of_reach() => (Self::Nothing, String::new()),
            StdinPlan::Own => {
                let name = "stdin".to_owned();
                let source = stdin::own().and_then(Self::of);
                (source.map_err(|source| CliError::Stdin { name: name.clone(), source })?, name)
            }
            StdinPlan::File(path) => {
                let unreadable = |source| CliError::Unreadable { path: path.clone(), option: "--stdin", source };
                (Self::named(path).map_err(unreadable)?, path.display().to_string())
            }
        })
    }

    fn named(path: &Path) -> io::Result<Self> {
        let about = std::fs::metadata(path)?;
        if about.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if stdin::is_fifo(&about) {
            check_access(path)?;
            return Ok(Self::Fifo(path.to_owned()));
        }
        Self::of(File::open(path)?)
    }

    fn of(mut file: File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(if stdin::is_null(&about) {
            Self::Nothing
        } else if about.is_file() {
            let start = file.stream_position()?;
            Self::File(Arc::new(file), start)
        } else {
            Self::Stream(Arc::new(file))
        })
    }

    /// Starts to read it, from its start once `before` has ended.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn read(&self, before: Option<Reader>) -> io::Result<Reader> {
        let (sender, chunks) = mpsc::channel(QUEUED);
        let source = self.clone();
        let work = move || {
            if let Some(Reader { chunks, thread }) = before {
                // It shares the place in the file, and ends at once: nobody takes what it reads.
                drop(chunks);
                let _ = thread.join();
            }
            if let Err(error) = source.read_all(&sender) {
                let _ = sender.blocking_send(Err(error));
            }
        };
        // A thread of its own, because reading a terminal can wait for ever and nothing may wait for that.
        let thread = std::thread::Builder::new().name("input".to_owned()).spawn(work)?;
        Ok(Reader { chunks, thread })
    }

    fn read_all(&self, sender: &mpsc::Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::File(file, start) => {
                (&**file).seek(SeekFrom::Start(*start))?;
                copy(file, sender)
            }
            Self::Stream(file) => {
                let is_terminal = file.is_terminal();
                let read = copy(file, sender);
                if is_terminal && !file.is_terminal() {
                    // It was closed, which is no end of what its user has to say: another client may go on.
                    loop {
                        std::thread::park();
                    }
                }
                read
            }
            Self::Fifo(path) => copy(&File::open(path)?, sender),
        }
    }
}

/// A thread that reads a source.
pub(super) struct Reader {
    /// What it has read; ends with the source, or with an error.
    pub(super) chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    thread: JoinHandle<()>,
}

fn copy(file: &File, sender: &mpsc::Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut buffer = vec![0; DATA_FRAME];
    loop {
        let length = Blocking(file).read(&mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() || sender.blocking_send(Ok(bytes.to_vec())).is_err() {
            return Ok(());
        }
    }
}

/// Whether a named pipe may be read. Opening it to find out would take what somebody writes there.
#[cfg(unix)]
fn check_access(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::access(path, nix::unistd::AccessFlags::R_OK)?)
}

#[cfg(not(unix))]
fn check_access(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether our stdin is a terminal that we must not read: a background job
/// that does is stopped by the system.
#[cfg(unix)]
fn is_out_of_reach() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && nix::unistd::tcgetpgrp(&stdin).is_ok_and(|foreground| foreground != nix::unistd::getpgrp())
}

#[cfg(not(unix))]
fn is_out_of_reach() -> bool {
    false
}
