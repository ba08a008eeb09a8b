//! Ctrl-C and its kin while a command is under way that has to do something about
//! them: the first asks its tasks to end, or says that they go on; the second ends us.

use std::io;
use std::process::ExitCode;

use tokio::sync::watch;

use crate::cli::exit;
use crate::cli::output::say;
use crate::node::{EndSignal, EndSignals};

/// What has come since [`Interrupts::listen`].
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    first: Option<EndSignal>,
    /// Never SIGHUP, which a terminal that closes sends more than once.
    second: Option<EndSignal>,
}

/// Notes the signals that ask us to end, from when it listens.
pub(super) struct Interrupts {
    seen: watch::Receiver<Seen>,
}

impl Interrupts {
    /// Begins to listen for those that are not ignored. Needs a running tokio runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let (sender, seen) = watch::channel(Seen::default());
        let mut signals = EndSignals::listen()?;
        tokio::spawn(async move {
            loop {
                let signal = signals.next().await;
                sender.send_modify(|seen| match seen.first {
                    None => seen.first = Some(signal),
                    Some(_) => seen.second = seen.second.or((signal != EndSignal::HangUp).then_some(signal)),
                });
            }
        });
        Ok(Self { seen })
    }

    /// The first one, if there was any.
    pub(super) fn seen(&self) -> Option<EndSignal> {
        self.seen.borrow().first
    }

    /// Waits for the first.
    pub(super) async fn first(&mut self) -> EndSignal {
        self.until(|seen| seen.first).await
    }

    /// Waits for the second.
    pub(super) async fn second(&mut self) -> EndSignal {
        self.until(|seen| seen.second).await
    }

    /// Waits for the first while nothing but a look at jobs is under way: says that they go on, and with which command
    /// to look again.
    pub(super) async fn while_looking(&mut self, quiet: bool, goes_on: &str) -> ExitCode {
        let signal = self.first().await;
        say::note(quiet, &format!("{signal}: {goes_on}"));
        exit::of_signal(signal)
    }

    async fn until(&mut self, which: impl Fn(&Seen) -> Option<EndSignal>) -> EndSignal {
        let seen = self.seen.wait_for(|seen| which(seen).is_some()).await;
        match seen.ok().and_then(|seen| which(&seen)) {
            Some(signal) => signal,
            // The listener ended with the runtime; nothing will come any more.
            None => std::future::pending().await,
        }
    }
}
