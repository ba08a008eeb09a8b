//! A whole cluster inside this process, for `octaskly run` when no dispatcher
//! is known: one dispatcher on loopback and one worker, in a private home that
//! is removed at the end.
//!
//! The one invariant: nothing of it outlives its owner and nobody else can
//! reach it; it sends no beacon and opens no port beyond loopback. Absent: the
//! client, which connects to it as to any other dispatcher; and a guard: what
//! a killed process leaves is tasks, which their shims end, and a folder, which
//! the next embedded cluster of the same user removes.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::dispatcher::{self, DispatcherOptions};
use super::{NodeError, Shutdown, worker};
use crate::model::ids::base32_text;
use crate::model::limits::MAX_JOBS;
use crate::model::{NodeId, NodeName};
use crate::trust::{AccessFile, TrustError};

/// Folders of embedded clusters in the directory for temporary files.
const PREFIX: &str = "octaskly-run-";
/// Locked while the folder's owner lives.
const LOCK: &str = "lock";
/// How long a worker may take to end its tasks, which it kills without grace.
const WORKER_END: Duration = Duration::from_secs(5);
/// A folder younger than this may still be in the making, its lock not taken yet.
const IN_THE_MAKING: Duration = Duration::from_secs(60);

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
    worker: JoinHandle<Result<(), NodeError>>,
    stop_worker: Shutdown,
    home: PrivateHome,
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
            home.path.join("work"),
            options.program,
            stop_worker.clone(),
        ));
        let dispatcher = match dispatcher::start(DispatcherOptions::loopback(home.path.clone())).await {
            Ok(dispatcher) => dispatcher,
            Err(error) => {
                stop_worker.raise();
                let _ = tokio::time::timeout(WORKER_END, worker).await;
                return Err(error);
            }
        };
        promise.send_replace(Some(dispatcher.access().clone()));
        Ok(Self { dispatcher, worker, stop_worker, home, _promise: promise })
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
        &self.home.path
    }

    /// Waits until either node cannot go on and says why; never returns while all is well.
    pub async fn failed(&mut self) -> NodeError {
        tokio::select! {
            error = self.dispatcher.failed() => error,
            ended = &mut self.worker => match ended {
                Ok(Err(error)) => error,
                // It stops only when told to, and nobody has; a panic is the process' end.
                Ok(Ok(())) | Err(_) => std::future::pending().await,
            },
        }
    }

    /// Kills what still runs, stops both nodes and removes the home. Takes milliseconds when nothing runs.
    ///
    /// # Errors
    /// When the worker had failed; what the dispatcher has to say about its store is of no interest any more.
    pub async fn stop(self) -> Result<(), NodeError> {
        // The sweep is nobody's hurry: it runs beside the rest, and what it does not get to is left to the next.
        let parent = self.home.path.parent().map(Path::to_owned);
        tokio::task::spawn_blocking(move || parent.map(|parent| sweep(&parent, IN_THE_MAKING)));
        self.stop_worker.raise();
        let worker = tokio::time::timeout(WORKER_END, self.worker).await;
        // Killed rather than stopped: what it would flush and say is for nobody.
        drop(self.dispatcher);
        drop(self.home);
        match worker {
            Ok(Ok(ended)) => ended,
            // It did not end in time, or panicked: its shims end with this process.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
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

/// A folder of this process alone, removed when dropped.
struct PrivateHome {
    path: PathBuf,
    /// Tells later processes that the owner still lives.
    _lock: File,
}

impl PrivateHome {
    fn make(parent: &Path) -> Result<Self, NodeError> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(TrustError::Random)?;
        let path = parent.join(format!("{PREFIX}{}", base32_text(&random)));
        let made = private_dir(&path).and_then(|()| {
            let lock = File::create_new(path.join(LOCK))?;
            lock.try_lock().map_err(io::Error::from)?;
            Ok(lock)
        });
        match made {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(source) => Err(NodeError::PrivateHome { parent: parent.to_owned(), source }),
        }
    }
}

impl Drop for PrivateHome {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the sweep of the next one.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(unix)]
fn private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().create(path)
}

/// Removes folders of this user whose owners were killed.
fn sweep(parent: &Path, older_than: Duration) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let age = entry.metadata().and_then(|it| it.modified()).ok().and_then(|made| made.elapsed().ok());
        if ours && age.is_some_and(|age| age >= older_than) && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nobody holds the folder's lock. Somebody else's lock cannot be opened.
fn is_abandoned(folder: &Path) -> bool {
    File::options().write(true).open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_home_is_gone_with_its_owner_and_the_sweep_spares_the_living() {
        let parent = tempfile::tempdir().expect("a directory");
        let living = PrivateHome::make(parent.path()).expect("a home");
        let killed = PrivateHome::make(parent.path()).expect("a home");
        let left = killed.path.clone();
        // As by a kill: the lock is gone, the folder is not.
        let PrivateHome { path: _, _lock } = &killed;
        _lock.unlock().expect("unlocked");
        std::mem::forget(killed);
        sweep(parent.path(), Duration::ZERO);
        assert!(living.path.exists() && !left.exists());
        let path = living.path.clone();
        drop(living);
        assert!(!path.exists());
    }

    #[test]
    fn the_embedded_worker_has_a_valid_name_and_at_least_the_usual_slots() {
        assert_eq!(own_name().as_str(), "local");
        assert!(slots() >= MAX_JOBS);
    }
}
