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
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

/// Name of the lock files.
const LOCK: &str = "lock";
/// Beginning of the name of an executor's folder.
const RUN_PREFIX: &str = "run-";
/// Beginning of the name of a folder that nobody owns any more.
const DEAD_PREFIX: &str = "dead-";

/// How much older a scratch directory says it is when it is made.
const AGE: Duration = Duration::from_secs(3600);

/// One executor's folder. Removed by [`Workplace::remove`], or later by somebody else.
#[derive(Debug)]
pub(super) struct Workplace {
    scratch: PathBuf,
    spool: PathBuf,
    folder: PathBuf,
    /// Numbers scratch directories.
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

    /// A fresh directory for an attempt.
    pub(super) fn new_scratch(&self) -> io::Result<Scratch> {
        let path = self.scratch.join(self.next_scratch.fetch_add(1, Ordering::Relaxed).to_string());
        private_directory(&path, false)?;
        let directory = File::open(&path)?;
        // The file system tells the time in steps, and a quick task is over within the step it began in: whatever
        // it adds or removes must be told from the making of the directory.
        let earlier = directory.metadata()?.modified()?.checked_sub(AGE).ok_or(io::ErrorKind::InvalidData)?;
        directory.set_modified(earlier)?;
        let made = Fingerprint::of(&directory)?;
        Ok(Scratch { path, directory, made })
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

/// The directory of one attempt, or of several in turn, as long as none of them touches it.
///
/// Most tasks never write where they run, and making and removing a directory
/// for each costs more than everything else an executor does: some file systems
/// wait for the disk in it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Open, so that looking at it is one call, and looks at it even when something else has taken its path.
    directory: File,
    made: Fingerprint,
}

/// What changes when anything is done to a directory.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    mode: u32,
    owner: (u32, u32),
    /// Changes with every entry added or removed.
    modified: (i64, i64),
    /// Changes with everything.
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(directory: &File) -> io::Result<Self> {
        let found = directory.metadata()?;
        Ok(Self {
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is as it was when it was made, so that the next attempt cannot tell that it is not the first.
    pub(super) fn is_untouched(&self) -> bool {
        Fingerprint::of(&self.directory).is_ok_and(|now| now == self.made)
    }

    /// Removes it with all that is in it. Blocks.
    ///
    /// # Errors
    /// When something in it resists; the end of its executor removes it then.
    pub fn remove(self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

/// Removes what dead executors left beneath `root`; what resists is left for the next time. Blocks.
///
/// # Errors
/// When something resists, or `root` cannot be read; that there is none is no error.
pub fn clean(root: &Path) -> io::Result<()> {
    if !fs::exists(root)? {
        return Ok(());
    }
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
fn remove_tree(directory: &Path) -> io::Result<()> {
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
        let (kept, gone) = (live.new_scratch().expect("scratch"), dead.new_scratch().expect("scratch"));
        fs::write(gone.path().join("left"), "over").expect("a file");
        drop(dead);
        clean(root.path()).expect("cleaning works");
        assert!(kept.path().is_dir() && !gone.path().exists());
        assert_eq!(folders(root.path(), DEAD_PREFIX).expect("a listing"), Vec::<PathBuf>::new());
        live.remove().expect("removing works");
        assert_eq!(folders(root.path(), RUN_PREFIX).expect("a listing"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_scratch_directory_is_used_again_only_when_nothing_was_done_to_it() {
        let root = tempfile::tempdir().expect("a directory");
        let place = Workplace::open(root.path()).expect("a workplace");
        let touched = |touch: &dyn Fn(&Path)| {
            let scratch = place.new_scratch().expect("scratch");
            touch(scratch.path());
            let untouched = scratch.is_untouched();
            scratch.remove().expect("removing works");
            !untouched
        };
        assert!(!touched(&|_| ()));
        assert!(touched(&|path| fs::write(path.join("file"), "x").expect("a file")));
        assert!(touched(&|path| fs::set_permissions(path, fs::Permissions::from_mode(0o750)).expect("its mode")));
        assert!(touched(&|path| fs::remove_dir(path).expect("it is empty")));
        assert!(touched(&|path| {
            fs::rename(path, path.with_extension("moved")).expect("a move");
            fs::create_dir(path).expect("another in its place");
        }));
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
