//! The private home of an embedded cluster, and the removal of homes whose
//! process was killed.
//!
//! The one invariant: a home that is partly removed is still recognised as an
//! abandoned one, so a removal that was interrupted anywhere is finished by a
//! later sweep; a home in use is never touched. A home in use is locked twice:
//! its `lock` file, which is removed last, and the directory itself, for the
//! case that a cleaner of temporary files removes the lock file. Absent: what
//! is in a home.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::NodeError;
use crate::exec;
use crate::model::ids::base32_text;
use crate::trust::TrustError;

/// Homes of embedded clusters in the directory for temporary files are called this and [`RANDOM_CHARACTERS`] more.
const PREFIX: &str = "octaskly-run-";
/// Random bytes in a home's name; in base 32, five bits are one character.
const RANDOM_BYTES: usize = 10;
const RANDOM_CHARACTERS: usize = RANDOM_BYTES * 8 / 5;
/// Locked while the home's owner lives. Removed last.
const LOCK: &str = "lock";
/// Where its worker's tasks live.
const WORK: &str = "work";
/// A home younger than this may still be in the making, its lock not taken yet.
const IN_THE_MAKING: Duration = Duration::from_secs(60);
/// Attempts at making a home: a sweep takes away one that was not locked in time because its process was suspended.
const ATTEMPTS: u32 = 3;
/// How long each run sweeps at least when there is something to sweep, so that short runs get on with it, too.
const SWEEP_AT_LEAST: Duration = Duration::from_millis(100);

/// A folder of this process alone, removed when dropped.
pub(super) struct PrivateHome {
    path: PathBuf,
    /// Tell other processes that the owner lives.
    _locks: [File; 2],
}

impl PrivateHome {
    /// Makes one in `parent`.
    ///
    /// # Errors
    /// When `parent` does not exist, or this user cannot write to it.
    pub(super) fn make(parent: &Path) -> Result<Self, NodeError> {
        let mut attempts = 1;
        loop {
            let mut random = [0; RANDOM_BYTES];
            getrandom::fill(&mut random).map_err(TrustError::Random)?;
            let path = parent.join(format!("{PREFIX}{}", base32_text(&random)));
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(|source| NodeError::PrivateHome { parent: parent.to_owned(), source })?;
            match lock(&path) {
                Ok(locks) => return Ok(Self { path, _locks: locks }),
                Err(_) if attempts < ATTEMPTS => attempts += 1,
                Err(source) => return Err(NodeError::PrivateHome { parent: parent.to_owned(), source }),
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where its worker's tasks live.
    pub(super) fn work(&self) -> PathBuf {
        self.path.join(WORK)
    }
}

impl Drop for PrivateHome {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later sweep.
        let _ = remove(&self.path, &|| true);
    }
}

/// Locks a home that was just made.
fn lock(path: &Path) -> io::Result<[File; 2]> {
    let folder = open_folder(path)?;
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        // Some file systems lock no directories (NFS).
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let lock = File::create_new(path.join(LOCK))?;
    lock.try_lock()?;
    Ok([folder, lock])
}

/// Removes, in a thread of its own, homes of this user whose owners were killed.
pub(super) struct Sweeper {
    stop: Arc<AtomicBool>,
    done: oneshot::Receiver<()>,
    at_least_until: Instant,
}

impl Sweeper {
    /// Starts to sweep `parent`. Nothing waits for it: the end of the process ends it anywhere.
    pub(super) fn start(parent: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (done_in, done) = oneshot::channel();
        let stopped = Arc::clone(&stop);
        // Without a thread for it there is no sweep this time.
        let _ = std::thread::Builder::new().name("octa-sweep".to_owned()).spawn(move || {
            sweep(&parent, IN_THE_MAKING, &|| !stopped.load(Ordering::Relaxed));
            let _ = done_in.send(());
        });
        Self { stop, done, at_least_until: Instant::now() + SWEEP_AT_LEAST }
    }

    /// Stops it as soon as it is done or has had [`SWEEP_AT_LEAST`].
    pub(super) async fn stop(self) {
        let _ = tokio::time::timeout_at(self.at_least_until, self.done).await;
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Removes abandoned homes in `parent` as long as `goes_on` says so; what resists is left where it is.
fn sweep(parent: &Path, older_than: Duration, goes_on: &dyn Fn() -> bool) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(is_name) {
            continue;
        }
        if !goes_on() {
            return;
        }
        let path = entry.path();
        if let Some(_claim) = claim(&path, older_than) {
            let _ = remove(&path, goes_on);
        }
    }
}

/// Whether a home has this name.
fn is_name(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX);
    random.is_some_and(|random| {
        random.len() == RANDOM_CHARACTERS && random.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
    })
}

/// Takes the locks of a home of this user that is old enough and that nobody has; `None` of any other directory.
fn claim(path: &Path, older_than: Duration) -> Option<[Option<File>; 2]> {
    let folder = open_folder(path).ok()?;
    let made = folder.metadata().ok()?;
    let ours = made.uid() == nix::unistd::geteuid().as_raw() && made.mode() & 0o077 == 0;
    if !ours || made.modified().ok()?.elapsed().ok()? < older_than {
        return None;
    }
    let folder = match folder.try_lock() {
        Ok(()) => Some(folder),
        Err(TryLockError::WouldBlock) => return None,
        Err(TryLockError::Error(_)) => None,
    };
    let nofollow = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    match File::options().write(true).custom_flags(nofollow).open(path.join(LOCK)) {
        Ok(lock) => lock.try_lock().ok().map(|()| [folder, Some(lock)]),
        // The removal was interrupted after it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some([folder, None]),
        Err(_) => None,
    }
}

/// The directory itself: no symbolic link is followed.
fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    File::options().read(true).custom_flags(flags.bits()).open(path)
}

/// Removes a home as long as `goes_on` says so: what can be removed, and if that was everything, its lock.
fn remove(path: &Path, goes_on: &dyn Fn() -> bool) -> io::Result<()> {
    // What tasks made may resist more than other files do.
    let mut removed = exec::remove_left_work(&path.join(WORK));
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !goes_on() {
            return Ok(());
        }
        let gone = match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false if entry.file_name() == LOCK => Ok(()),
            false => fs::remove_file(entry.path()),
        };
        removed = removed.and(gone);
    }
    removed?;
    match fs::remove_file(path.join(LOCK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if goes_on() { fs::remove_dir(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A home as a kill leaves it: with everything in it, and no lock held.
    fn killed(parent: &Path) -> PathBuf {
        let home = PrivateHome::make(parent).expect("a home");
        let path = home.path().to_owned();
        for folder in ["dispatcher/files", "work/run-abc/scratch/1", "more"] {
            fs::create_dir_all(path.join(folder)).expect("a folder");
            fs::write(path.join(folder).join("file"), "x").expect("a file");
        }
        home._locks.iter().for_each(|lock| lock.unlock().expect("unlocked"));
        std::mem::forget(home);
        path
    }

    fn is_swept(parent: &Path, path: &Path) -> bool {
        sweep(parent, Duration::ZERO, &|| true);
        !path.exists()
    }

    #[test]
    fn a_home_is_gone_with_its_owner_and_the_sweep_spares_the_living() {
        let parent = tempfile::tempdir().expect("a directory");
        let living = PrivateHome::make(parent.path()).expect("a home");
        let left = killed(parent.path());
        assert!(is_swept(parent.path(), &left) && living.path().exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }

    #[test]
    fn a_sweep_that_is_interrupted_anywhere_is_finished_by_the_next() {
        let parent = tempfile::tempdir().expect("a directory");
        let mut finished = false;
        for steps in 0.. {
            let left = killed(parent.path());
            let taken = Cell::new(0);
            sweep(parent.path(), Duration::ZERO, &|| {
                taken.set(taken.get() + 1);
                taken.get() <= steps
            });
            finished = !left.exists();
            if finished {
                break;
            }
            assert!(is_swept(parent.path(), &left), "interrupted after {steps} steps");
        }
        assert!(finished);
    }

    #[test]
    fn a_home_whose_lock_file_a_cleaner_removed_is_spared_while_its_owner_lives() {
        let parent = tempfile::tempdir().expect("a directory");
        let living = PrivateHome::make(parent.path()).expect("a home");
        fs::remove_file(living.path().join(LOCK)).expect("removed");
        assert!(!is_swept(parent.path(), living.path()));
    }

    #[test]
    fn what_is_no_home_of_this_user_is_left_alone() {
        let parent = tempfile::tempdir().expect("a directory");
        let (path, name) = (parent.path(), "octaskly-run-aaaaaaaaaaaaaaaa");
        let precious = path.join("precious");
        fs::create_dir(&precious).expect("a folder");
        std::os::unix::fs::symlink(&precious, path.join(name)).expect("a link");
        let (shared, other) = (path.join("octaskly-run-bbbbbbbbbbbbbbbb"), path.join("octaskly-run-results"));
        DirBuilder::new().mode(0o755).create(&shared).expect("a folder");
        DirBuilder::new().mode(0o700).create(&other).expect("a folder");
        let young = PrivateHome::make(path).expect("a home");
        young._locks.iter().for_each(|lock| lock.unlock().expect("unlocked"));
        sweep(path, IN_THE_MAKING, &|| true);
        assert!(young.path().exists(), "it may still be in the making");
        sweep(path, Duration::ZERO, &|| true);
        assert!(precious.exists() && path.join(name).exists() && shared.exists() && other.exists());
    }

    #[test]
    fn read_only_directories_of_a_task_do_not_keep_a_home_alive() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().expect("a directory");
        let left = killed(parent.path());
        let closed = left.join("work/run-abc/scratch/1");
        fs::write(left.join("work/run-abc/lock"), "").expect("a file");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("its mode");
        assert!(is_swept(parent.path(), &left));
    }
}
