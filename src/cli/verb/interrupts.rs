//! Ctrl-C and its kin while a command has tasks of its own under way: the first
//! asks them to end, the second ends us.

use std::io;

use tokio::sync::watch;

/// Counts SIGINT, SIGTERM and SIGHUP from when it listens.
pub(super) struct Interrupts {
    count: watch::Receiver<u32>,
}

impl Interrupts {
    /// Begins to count. Needs a running tokio runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let (sender, count) = watch::channel(0);
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            loop {
                signals.next().await;
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count })
    }

    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Waits for the first.
    pub(super) async fn first(&mut self) {
        self.reached(1).await;
    }

    /// Waits for the second.
    pub(super) async fn second(&mut self) {
        self.reached(2).await;
    }

    async fn reached(&mut self, wanted: u32) {
        if self.count.wait_for(|count| *count >= wanted).await.is_err() {
            // The counter ended with the runtime; nothing will come any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
