//! A whole cluster inside this process, for `octaskly run` when no dispatcher
//! is known: one dispatcher on loopback and one worker, in a private home that
//! is removed at the end.
//!
//! The one invariant: nothing of it outlives its owner and nobody else can
//! reach it; it sends no beacon and opens no port beyond loopback. Absent: the
//! client, which connects to it as to any other dispatcher; and a guard: what
//! a killed process leaves is tasks, which their shims end, and a folder, which
//! the next embedded cluster of the same user removes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::dispatcher::{self, DispatcherOptions};
use super::private_home::{PrivateHome, Sweeper};
use super::{NodeError, Shutdown, worker};
use crate::model::limits::MAX_JOBS;
use crate::model::{NodeId, NodeName};
use crate::trust::AccessFile;

/// How long a worker may take to end its tasks, which it kills without grace.
const WORKER_END: Duration = Duration::from_secs(5);

/// What an embedded cluster is told at its start; the defaults fit `run`.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedOptions {
    /// Tasks at once; `None` is the number of processors, at least 4.
    pub max_jobs: Option<u32>,
    /// Where to make the private home; `None` is the directory for temporary files (`$TMPDIR`). Tasks get
    /// their fresh directories there, so it should not be a small file system.
    pub parent: Option<PathBuf>,
    /// The `octaskly` binary that shims are started from; `None` is the running one.
    pub program: Option<PathBuf>,
}

/// A dispatcher and a worker in this process. Dropping it without
/// [`Embedded::stop`] removes its home and leaves the rest to the process' end.
pub struct Embedded {
    dispatcher: dispatcher::Running,
    /// `None` once its end was seen.
    worker: Option<JoinHandle<Result<(), NodeError>>>,
    stop_worker: Shutdown,
    home: PrivateHome,
    sweeper: Sweeper,
    /// Kept as long as the worker may want to read it again.
    _promise: watch::Sender<Option<AccessFile>>,
}

impl Embedded {
    /// Starts both and waits until the dispatcher listens; the worker joins meanwhile.
    ///
    /// # Errors
    /// When there is no place for the private home, or the dispatcher cannot start.
    pub async fn start(options: EmbeddedOptions) -> Result<Self, NodeError> {
        let parent = options.parent.unwrap_or_else(std::env::temp_dir);
        let home = PrivateHome::make(&parent)?;
        // The worker's processes start while the dispatcher opens its store.
        let (promise, access) = watch::channel(None);
        let stop_worker = Shutdown::new();
        let worker = tokio::spawn(worker::run_embedded(
            access,
            own_name(),
            options.max_jobs.unwrap_or_else(slots),
            home.work(),
            options.program,
            stop_worker.clone(),
        ));
        let dispatcher = match dispatcher::start(DispatcherOptions::loopback(home.path().to_owned())).await {
            Ok(dispatcher) => dispatcher,
            Err(error) => {
                stop_worker.raise();
                let _ = tokio::time::timeout(WORKER_END, worker).await;
                return Err(error);
            }
        };
        promise.send_replace(Some(dispatcher.access().clone()));
        let sweeper = Sweeper::start(parent);
        Ok(Self { dispatcher, worker: Some(worker), stop_worker, home, sweeper, _promise: promise })
    }

    /// Where the dispatcher listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.dispatcher.local_addr()
    }

    /// The dispatcher's key.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.dispatcher.node_id()
    }

    /// What a client needs to be let in as admin: whom, where, and the secret.
    #[must_use]
    pub fn access(&self) -> &AccessFile {
        self.dispatcher.access()
    }

    /// The private home, which is gone after [`Embedded::stop`].
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Waits until either node cannot go on and says why; never returns while all is well.
    pub async fn failed(&mut self) -> NodeError {
        tokio::select! {
            error = self.dispatcher.failed() => error,
            error = fault(&mut self.worker) => error,
        }
    }

    /// Kills what still runs, stops both nodes and removes the home. Takes milliseconds when nothing runs.
    ///
    /// # Errors
    /// When the worker had failed; what the dispatcher has to say about its store is of no interest any more.
    pub async fn stop(self) -> Result<(), NodeError> {
        self.stop_worker.raise();
        let worker = match self.worker {
            Some(worker) => tokio::time::timeout(WORKER_END, worker).await,
            None => Ok(Ok(Ok(()))),
        };
        // Killed rather than stopped: what it would flush and say is for nobody.
        drop(self.dispatcher);
        drop(self.home);
        self.sweeper.stop().await;
        match worker {
            Ok(Ok(ended)) => ended,
            // It did not end in time, or panicked: its shims end with this process.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// Waits until a worker has failed, and says why.
async fn fault(worker: &mut Option<JoinHandle<Result<(), NodeError>>>) -> NodeError {
    if let Some(running) = worker {
        let ended = running.await;
        *worker = None;
        if let Ok(Err(error)) = ended {
            return error;
        }
    }
    // It stops only when told to, and nobody has; a panic is the process' end.
    std::future::pending().await
}

/// What the worker is called, in logs and in `OCTASKLY_WORKER`.
fn own_name() -> NodeName {
    #[expect(clippy::expect_used, reason = "a constant, covered by a test below")]
    "local".parse().expect("a valid node name")
}

/// A private cluster is there to use this machine.
fn slots() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors).unwrap_or(u32::MAX).max(MAX_JOBS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_worker_has_a_valid_name_and_at_least_the_usual_slots() {
        assert_eq!(own_name().as_str(), "local");
        assert!(slots() >= MAX_JOBS);
    }
}
