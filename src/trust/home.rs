//! The places of docs/HELP.md: one folder a node, private to its user, locked while in use.
//!
//! Invariant: while a [`NodeDir`] with a lock lives, no other process has the
//! identity in it. Absent: the environment; whoever calls decides what
//! `--home` and `OCTASKLY_HOME` come to.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{TrustError, boot, locks, private};
use crate::model::{Digest, NodeName};

/// In a node's folder: held with an exclusive lock by the process that runs the node.
const LOCK: &str = "lock";
/// In a worker's folder: its name came from a dispatcher, so a worker started without a name may take it up again.
const UNNAMED: &str = "unnamed";
/// What the folder of an unnamed worker is called until a dispatcher has named the worker; no
/// node name begins so.
const FRESH: &str = "_new-";

/// The folder that holds all nodes of this user on this machine.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home at `explicit` (what `--home` and `OCTASKLY_HOME` came to), else `$XDG_DATA_HOME/octaskly`,
    /// else `~/.local/share/octaskly`, where `~` is `$HOME` or, when that is unset or no absolute path, the home
    /// of this user in the password database (`%LOCALAPPDATA%\octaskly` on Windows). Creates nothing yet.
    ///
    /// # Errors
    /// [`TrustError::NoHome`] when nothing names a place.
    pub fn locate(explicit: Option<PathBuf>) -> Result<Self, TrustError> {
        let root = explicit.or_else(default_root).ok_or(TrustError::NoHome)?;
        // Later steps create folders in it and hand paths to other processes, so a relative one is fixed here.
        let root = std::path::absolute(&root).map_err(|source| TrustError::Read { path: root.clone(), source })?;
        Ok(Self { root })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The dispatcher's folder, created, checked and locked.
    ///
    /// # Errors
    /// [`TrustError::Locked`] while another dispatcher runs from it; otherwise what is wrong with the folder.
    pub fn dispatcher(&self) -> Result<NodeDir, TrustError> {
        self.locked(self.root.join("dispatcher"))
    }

    /// The folder of the worker called `name`, created, checked and locked.
    ///
    /// # Errors
    /// [`TrustError::Locked`] while another worker runs from it; otherwise what is wrong with the folder.
    pub fn worker(&self, name: &NodeName) -> Result<NodeDir, TrustError> {
        self.locked(self.workers().join(name.as_str()))
    }

    /// A folder for a worker without a name: the lowest unlocked one that an earlier unnamed worker left,
    /// else a fresh one. Call [`NodeDir::adopt_name`] once the dispatcher has named it.
    ///
    /// # Errors
    /// What is wrong with a folder; never [`TrustError::Locked`].
    pub fn unnamed_worker(&self) -> Result<NodeDir, TrustError> {
        let workers = self.workers();
        self.create_above(&workers)?;
        for name in left_by_unnamed_workers(&workers)? {
            match NodeDir::lock(workers.join(name)) {
                // Somebody else was faster, or has just renamed it.
                Err(TrustError::Locked { .. } | TrustError::Write { .. }) => {}
                other => return other,
            }
        }
        let path = workers.join(format!("{FRESH}{}", private::random_name()?));
        let dir = self.locked(path)?;
        private::create(&dir.path.join(UNNAMED), b"")?;
        Ok(dir)
    }

    /// This user's client folder, created and checked; shared by all clients, so not locked.
    ///
    /// # Errors
    /// What is wrong with the folder.
    pub fn client(&self) -> Result<NodeDir, TrustError> {
        let path = self.client_folder();
        if let Some(above) = path.parent() {
            self.create_above(above)?;
        }
        private::create_dir(&path)?;
        Ok(NodeDir { path, lock: None })
    }

    /// Where that is; nothing is created.
    #[must_use]
    pub fn client_folder(&self) -> PathBuf {
        self.root.join("clients").join("default")
    }

    /// Where this user's dispatcher on this machine leaves its access file.
    #[must_use]
    pub fn access_file(&self) -> PathBuf {
        self.root.join("dispatcher").join("access.cbor")
    }

    fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }

    fn locked(&self, path: PathBuf) -> Result<NodeDir, TrustError> {
        if let Some(above) = path.parent() {
            self.create_above(above)?;
        }
        private::create_dir(&path)?;
        NodeDir::lock(path)
    }

    /// The home, which others may look into, and `folder` in it, which is private as all that is in it.
    fn create_above(&self, folder: &Path) -> Result<(), TrustError> {
        private::create_shared_dir(&self.root)?;
        if folder == self.root { Ok(()) } else { private::create_dir(folder) }
    }
}

/// One node's folder. Its lock is held as long as this value lives.
#[derive(Debug)]
pub struct NodeDir {
    path: PathBuf,
    lock: Option<File>,
}

impl NodeDir {
    /// The folder of a worker that has died, for the guard that speaks for it once. Not locked: the
    /// worker's next start may have it already.
    #[must_use]
    pub fn of_dead_worker(path: PathBuf) -> Self {
        Self { path, lock: None }
    }

    /// Where it is; changes with [`NodeDir::adopt_name`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process alone uses it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Renames an unnamed worker's folder to `name`, the one that the dispatcher gave the worker. Stays
    /// where it is when it was named by its user, or when another folder already has the name: the key is
    /// what the dispatcher knows the worker by, the folder's name is for people.
    ///
    /// # Errors
    /// When the system refuses to rename it.
    pub fn adopt_name(&mut self, name: &NodeName) -> Result<(), TrustError> {
        let wanted = self.path.with_file_name(name.as_str());
        if !self.path.join(UNNAMED).exists() || wanted.exists() {
            return Ok(());
        }
        fs::rename(&self.path, &wanted).map_err(|source| TrustError::Write { path: wanted.clone(), source })?;
        self.path = wanted;
        Ok(())
    }

    /// Takes the lock of the existing folder at `path`, without waiting.
    fn lock(path: PathBuf) -> Result<Self, TrustError> {
        private::create_dir(&path)?;
        let lock_path = path.join(LOCK);
        let lock = private::open_lock(&lock_path)?;
        // Not so when it was renamed by its last owner between our opening it and its giving up the lock.
        match locks::try_take(&lock, &lock_path)? && is_file_at(&lock, &lock_path) {
            true => Ok(Self { path, lock: Some(lock) }),
            false => Err(TrustError::Locked { path }),
        }
    }

    /// Where this folder is locked: the lock file, and the boot of the machine that has it open. Two processes that
    /// have one key and are at one place are one after the other; a copy of the folder is at another. `None` where it
    /// is not locked.
    #[must_use]
    pub fn place(&self) -> Option<Digest> {
        let metadata = self.lock.as_ref()?.metadata().ok()?;
        let mut hasher = blake3::Hasher::new_derive_key("octaskly 1 place of a lock");
        hasher.update(boot::id().unwrap_or_default().as_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            hasher.update(&metadata.dev().to_le_bytes()).update(&metadata.ino().to_le_bytes());
        }
        #[cfg(not(unix))]
        hasher.update(&metadata.len().to_le_bytes());
        Some(Digest(*hasher.finalize().as_bytes()))
    }
}

/// Whether `path` still names the open `file`.
#[cfg(unix)]
fn is_file_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_file_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Names of folders in `workers` that a worker without a name may take, `worker-2` before `worker-10`.
fn left_by_unnamed_workers(workers: &Path) -> Result<Vec<String>, TrustError> {
    let read_error = |source| TrustError::Read { path: workers.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(workers).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().join(UNNAMED).exists()) {
            names.push(name.to_owned());
        }
    }
    // Numbered names by number; folders that no dispatcher has named yet come last.
    let number = |name: &str| name.rsplit('-').next().and_then(|tail| tail.parse::<u64>().ok());
    names.sort_by_key(|name| (name.starts_with(FRESH), number(name).unwrap_or(u64::MAX), name.clone()));
    Ok(names)
}

#[cfg(windows)]
fn default_root() -> Option<PathBuf> {
    folder_in_environment("LOCALAPPDATA").map(|data| data.join("octaskly"))
}

#[cfg(not(windows))]
fn default_root() -> Option<PathBuf> {
    let home = || folder_in_environment("HOME").or_else(folder_in_user_database);
    let data = || home().map(|home| home.join(".local").join("share"));
    folder_in_environment("XDG_DATA_HOME").or_else(data).map(|data| data.join("octaskly"))
}

/// Where a service manager or a container leaves `HOME` out.
#[cfg(not(windows))]
fn folder_in_user_database() -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten()?;
    Some(user.dir).filter(|dir| dir.is_absolute())
}

/// An absolute path from the environment; the XDG rules say to ignore a relative one.
fn folder_in_environment(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(dir.path().join("home"))).unwrap();
        (dir, home)
    }

    fn folder(dir: &NodeDir) -> String {
        dir.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn two_nodes_on_one_identity_are_refused_by_the_lock() {
        let (_dir, home) = home();
        let name: NodeName = "a".parse().unwrap();
        let first = home.worker(&name).unwrap();
        let error = home.worker(&name).unwrap_err();
        assert!(matches!(error, TrustError::Locked { .. }) && error.hint().is_some());
        assert!(home.dispatcher().unwrap().is_locked(), "another node is none of its business");
        drop(first);
        home.worker(&name).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_has_one_place_through_restarts_and_renames_and_its_copy_has_another() {
        let (_dir, home) = home();
        let mut first = home.unnamed_worker().unwrap();
        let place = first.place();
        assert!(place.is_some());
        first.adopt_name(&"a".parse().unwrap()).unwrap();
        assert_eq!(first.place(), place);
        drop(first);
        assert_eq!(home.worker(&"a".parse().unwrap()).unwrap().place(), place);
        let copied = home.root().join("workers").join("b");
        fs::create_dir(&copied).unwrap();
        fs::copy(home.root().join("workers/a/lock"), copied.join("lock")).unwrap();
        fs::set_permissions(&copied, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_ne!(home.worker(&"b".parse().unwrap()).unwrap().place(), place);
        assert_eq!(home.client().unwrap().place(), None, "clients share theirs");
    }

    #[test]
    fn clients_share_their_identity() {
        let (_dir, home) = home();
        let (one, two) = (home.client().unwrap(), home.client().unwrap());
        assert!(one.path() == two.path() && !one.is_locked());
    }

    #[cfg(unix)]
    #[test]
    fn loose_permissions_are_refused_with_the_fix_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, home) = home();
        let path = home.dispatcher().unwrap().path().to_owned();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let error = home.dispatcher().unwrap_err();
        assert!(matches!(error, TrustError::LoosePermissions { mode: 0o750, .. }), "{error}");
        assert_eq!(error.hint(), Some(format!("chmod 700 {}", path.display())));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(home.root(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(home.dispatcher(), Err(TrustError::LoosePermissions { mode: 0o777, .. })));
        fs::set_permissions(home.root(), fs::Permissions::from_mode(0o755)).unwrap();
        home.dispatcher().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_above_keys_that_others_may_enter_is_refused_as_well() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, home) = home();
        home.client().unwrap();
        home.worker(&"a".parse().unwrap()).unwrap();
        for folder in ["clients", "workers"] {
            let path = home.root().join(folder);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            let refused = match folder {
                "clients" => home.client().unwrap_err(),
                _ => home.worker(&"a".parse().unwrap()).unwrap_err(),
            };
            assert!(matches!(refused, TrustError::LoosePermissions { mode: 0o755, .. }), "{refused}");
            assert_eq!(refused.hint(), Some(format!("chmod 700 {}", path.display())));
        }
    }

    #[test]
    fn an_unnamed_worker_takes_up_the_lowest_identity_that_is_free() {
        let (_dir, home) = home();
        let mut running = Vec::new();
        for name in ["worker-10", "worker-2"] {
            let mut dir = home.unnamed_worker().unwrap();
            dir.adopt_name(&name.parse().unwrap()).unwrap();
            assert_eq!(folder(&dir), name);
            running.push(dir);
        }
        home.worker(&"worker-1".parse().unwrap()).unwrap();
        running.clear();
        let (two, ten) = (home.unnamed_worker().unwrap(), home.unnamed_worker().unwrap());
        assert_eq!((folder(&two), folder(&ten)), ("worker-2".into(), "worker-10".into()), "worker-1 is its user's");
        assert!(folder(&home.unnamed_worker().unwrap()).starts_with(FRESH));
    }

    #[test]
    fn a_name_that_is_taken_here_leaves_the_folder_where_it_is() {
        let (_dir, home) = home();
        let name: NodeName = "worker-1".parse().unwrap();
        let _named = home.worker(&name).unwrap();
        let mut unnamed = home.unnamed_worker().unwrap();
        let before = unnamed.path().to_owned();
        unnamed.adopt_name(&name).unwrap();
        assert_eq!(unnamed.path(), before);
    }

    #[test]
    fn a_renamed_folder_stays_locked() {
        let (_dir, home) = home();
        let name: NodeName = "worker-1".parse().unwrap();
        let mut unnamed = home.unnamed_worker().unwrap();
        unnamed.adopt_name(&name).unwrap();
        assert!(matches!(home.worker(&name), Err(TrustError::Locked { .. })));
    }
}
