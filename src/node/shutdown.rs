//! The wish to stop: one flag that everything in a node watches.
//!
//! It goes up once and never comes down. Who raises it (a signal, a test, the
//! embedded cluster's owner) and what a node does about it are elsewhere; here
//! is only the flag and its connection to signals.

use std::sync::Arc;

use tokio::sync::watch;

use super::EndSignals;

/// A wish to stop that many can wait for. Clones share one flag.
#[derive(Debug, Clone)]
pub struct Shutdown {
    flag: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// A flag that nobody has raised.
    #[must_use]
    pub fn new() -> Self {
        Self { flag: Arc::new(watch::Sender::new(false)) }
    }

    /// A flag that SIGINT, SIGTERM or SIGHUP raises, unless this process ignores it. Needs a running tokio runtime.
    ///
    /// Further signals change nothing: a stop that is under way goes on in its order.
    ///
    /// # Errors
    /// When the system refuses the signal handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let raised = shutdown.clone();
        let mut signals = EndSignals::listen()?;
        tokio::spawn(async move {
            signals.next().await;
            raised.raise();
        });
        Ok(shutdown)
    }

    /// Raises the flag; raising it again changes nothing.
    pub fn raise(&self) {
        self.flag.send_replace(true);
    }

    /// Whether the flag is up.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.flag.borrow()
    }

    /// Waits until the flag is up; at once when it already is.
    pub async fn raised(&self) {
        let mut watch = self.flag.subscribe();
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = watch.wait_for(|up| *up).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_raised_flag_is_seen_by_every_clone_before_and_after() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.raised().await }
        });
        assert!(!shutdown.is_raised());
        shutdown.raise();
        early.await.expect("the waiter ends");
        shutdown.raised().await;
        assert!(shutdown.is_raised());
    }
}
