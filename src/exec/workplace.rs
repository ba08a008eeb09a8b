//! The directories a worker's tasks live in, and getting rid of them.
//!
//! ```text
//! WORK_ROOT/lock                  held while the folders beside it change hands
//! WORK_ROOT/run-XXXXXX/lock       held as long as its executor lives
//!                      scratch/   one directory an attempt
//!                      spool/     output too large for memory
//! ```
//! The one invariant: what a live executor uses is never removed by another,
//! and what a dead one left always is, by the next or by the guard. Nothing
//! here follows a symlink. Absent: any use of the files.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{Flock, FlockArg};

/// Name of the lock files.
const LOCK: &str = "lock";
/// Beginning of the name of an executor's folder.
const RUN_PREFIX: &str = "run-";
/// Beginning of the name of a folder that nobody owns any more.
const DEAD_PREFIX: &str = "dead-";

/// One executor's folder. Removed by [`Workplace::remove`], or later by somebody else.
#[derive(Debug)]
pub(super) struct Workplace {
    scratch: PathBuf,
    spool: PathBuf,
    folder: PathBuf,
    /// Numbers scratch directories: an attempt's own number may be given out twice.
    next_scratch: AtomicU64,
    _alive: Flock<File>,
}

impl Workplace {
    /// Makes a folder beneath `root`, and disowns those of dead executors.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        private_directory(root, true)?;
        let _turn = lock(&root.join(LOCK), FlockArg::LockExclusive)?;
        disown_dead(root)?;
        let folder = nix::unistd::mkdtemp(&root.join(format!("{RUN_PREFIX}XXXXXX")))?;
        let alive = lock(&folder.join(LOCK), FlockArg::LockExclusiveNonblock)?;
        let (scratch, spool) = (folder.join("scratch"), folder.join("spool"));
        private_directory(&scratch, false)?;
        private_directory(&spool, false)?;
        Ok(Self { scratch, spool, folder, next_scratch: AtomicU64::new(1), _alive: alive })
    }

    /// A fresh directory for the attempt called `name`.
    pub(super) fn new_scratch(&self, name: &str) -> io::Result<PathBuf> {
        let number = self.next_scratch.fetch_add(1, Ordering::Relaxed);
        let directory = self.scratch.join(format!("{name}-{number}"));
        private_directory(&directory, false)?;
        Ok(directory)
    }

    /// Where output goes that is too large for memory.
    pub(super) fn spool(&self) -> &Path {
        &self.spool
    }

    /// Removes the folder: its executor is done.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.folder)
    }
}

/// Removes what dead executors left beneath `root`; what resists is left for the next time.
pub(super) fn clean(root: &Path) -> io::Result<()> {
    {
        let _turn = lock(&root.join(LOCK), FlockArg::LockExclusive)?;
        disown_dead(root)?;
    }
    // Not under the lock: a large tree takes its time.
    for folder in folders(root, DEAD_PREFIX)? {
        remove_tree(&folder)?;
    }
    Ok(())
}

/// Renames the folders of executors that have died, so that they are nobody's.
fn disown_dead(root: &Path) -> io::Result<()> {
    for folder in folders(root, RUN_PREFIX)? {
        // Made and locked under the root's lock, so an unlocked one is a dead one.
        if let Ok(_dead) = lock(&folder.join(LOCK), FlockArg::LockExclusiveNonblock) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().replacen(RUN_PREFIX, DEAD_PREFIX, 1);
            fs::rename(&folder, root.join(name))?;
        }
    }
    Ok(())
}

fn folders(root: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn lock(path: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    Flock::lock(file, how).map_err(|(_, errno)| errno.into())
}

/// Makes a directory for this user alone.
fn private_directory(path: &Path, may_exist: bool) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(may_exist).create(path)
}

/// Removes `directory` with everything in it, read-only directories and the deepest of trees included.
///
/// Symlinks are removed and never followed. Nothing may write there meanwhile.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Read-only directories, or deeper than there are descriptors for: take it apart level by level.
        Err(_) => {
            open_up(directory)?;
            flatten(directory)?;
            fs::remove_dir(directory)
        }
    }
}

/// Empties `top` by moving what is in its subdirectories up, until there are none: no recursion and no long path.
fn flatten(top: &Path) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        let mut subdirectories = Vec::new();
        for entry in fs::read_dir(top)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                subdirectories.push(entry.path());
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        if subdirectories.is_empty() {
            return Ok(());
        }
        for subdirectory in subdirectories {
            open_up(&subdirectory)?;
            for entry in fs::read_dir(&subdirectory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    // Moving a directory writes to it too: its `..` changes.
                    open_up(&entry.path())?;
                    moved += 1;
                    fs::rename(entry.path(), top.join(format!(".moved-{moved}-{}", std::process::id())))?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            fs::remove_dir(&subdirectory)?;
        }
    }
}

/// Lets the owner list and change a directory; it was just seen to be one, so no symlink is followed.
fn open_up(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_executor_left_is_removed_and_a_live_ones_is_not() {
        let root = tempfile::tempdir().expect("a directory");
        let live = Workplace::open(root.path()).expect("a workplace");
        let dead = Workplace::open(root.path()).expect("another");
        let (kept, gone) = (live.new_scratch("1.0").expect("scratch"), dead.new_scratch("1.0").expect("scratch"));
        fs::write(gone.join("left"), "over").expect("a file");
        drop(dead);
        clean(root.path()).expect("cleaning works");
        assert!(kept.is_dir() && !gone.exists());
        assert_eq!(folders(root.path(), DEAD_PREFIX).expect("a listing"), Vec::<PathBuf>::new());
        live.remove().expect("removing works");
        assert_eq!(folders(root.path(), RUN_PREFIX).expect("a listing"), Vec::<PathBuf>::new());
    }

    #[test]
    fn read_only_directories_do_not_keep_a_tree_alive() {
        let root = tempfile::tempdir().expect("a directory");
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).expect("directories");
        fs::write(tree.join("a/b/file"), "x").expect("a file");
        for closed in ["a/b/c", "a/b", "a"] {
            fs::set_permissions(tree.join(closed), fs::Permissions::from_mode(0o500)).expect("its mode");
        }
        open_up(&tree).expect("ours");
        flatten(&tree).expect("flattening works");
        remove_tree(&tree).expect("removing works");
        assert!(!tree.exists());
    }

    #[test]
    fn a_symlink_is_removed_and_what_it_points_to_is_not() {
        let root = tempfile::tempdir().expect("a directory");
        let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
        fs::create_dir_all(tree.join("sub")).expect("directories");
        fs::create_dir_all(&outside).expect("a directory");
        fs::write(outside.join("precious"), "x").expect("a file");
        for link in ["link", "sub/link"] {
            std::os::unix::fs::symlink(&outside, tree.join(link)).expect("a link");
        }
        flatten(&tree).expect("flattening works");
        remove_tree(&tree).expect("removing works");
        assert!(!tree.exists() && outside.join("precious").exists());
    }

    #[test]
    fn a_tree_deeper_than_paths_may_be_long_is_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let tree = root.path().join("tree");
        fs::create_dir(&tree).expect("a directory");
        // Built from the inside out: each level is put into a new one, so no path is ever long.
        for _ in 0..3000 {
            let outer = root.path().join("outer");
            fs::create_dir(&outer).expect("a directory");
            fs::rename(&tree, outer.join("d")).expect("a move");
            fs::rename(&outer, &tree).expect("a move");
        }
        remove_tree(&tree).expect("removing works");
        assert!(!tree.exists());
    }
}
