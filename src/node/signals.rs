//! Signals that ask this process to end.
//!
//! Invariant: one that was ignored when the process started (`nohup`, a
//! background job of a script) stays ignored. Absent: what is done about them.

use std::{fmt, io};

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::exec::ignores;

/// What asks a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGHUP: its terminal was closed, or the connection to it was lost.
    HangUp,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: `kill`, or a service manager.
    Terminate,
}

/// What it did to the process.
impl fmt::Display for EndSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HangUp => "interrupted by SIGHUP",
            Self::Interrupt => "interrupted",
            Self::Terminate => "interrupted by SIGTERM",
        })
    }
}

/// The signals that arrive after [`EndSignals::listen`], one after another.
#[derive(Debug)]
pub struct EndSignals {
    hang_up: Option<unix::Signal>,
    interrupt: Option<unix::Signal>,
    terminate: Option<unix::Signal>,
}

impl EndSignals {
    /// Handles, from here on, each of them that this process does not ignore. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let heeded = |which, kind| if ignores(which) { Ok(None) } else { signal(kind).map(Some) };
        Ok(Self {
            hang_up: heeded(Signal::SIGHUP, SignalKind::hangup())?,
            interrupt: heeded(Signal::SIGINT, SignalKind::interrupt())?,
            terminate: heeded(Signal::SIGTERM, SignalKind::terminate())?,
        })
    }

    /// The next one. Cancel safe.
    pub async fn next(&mut self) -> EndSignal {
        tokio::select! {
            () = arrives(&mut self.interrupt) => EndSignal::Interrupt,
            () = arrives(&mut self.terminate) => EndSignal::Terminate,
            () = arrives(&mut self.hang_up) => EndSignal::HangUp,
        }
    }
}

async fn arrives(signal: &mut Option<unix::Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
