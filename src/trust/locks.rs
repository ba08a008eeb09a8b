//! Locks on the files of a home, which several machines may share.
//!
//! Invariant: whoever has a lock is alone, on every machine that sees the file;
//! where the file system gives no such lock, that is an error and never taken
//! for success. Absent: what is locked, and for how long.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::TrustError;

/// Takes the lock of `file`, which is at `path`, without waiting; `false` when another process has it.
///
/// # Errors
/// When the file system there locks nothing, or keeps its locks to this machine while others may see the file.
pub(super) fn try_take(file: &File, path: &Path) -> Result<bool, TrustError> {
    if let Some(file_system) = keeps_locks_here(path) {
        return Err(TrustError::LocalLocks { path: path.to_owned(), file_system });
    }
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(TrustError::NoLocks { path: path.to_owned(), source }),
    }
}

/// Takes the lock of `file`, which is at `path`, as soon as nobody else has it.
///
/// # Errors
/// When the file system there locks nothing.
pub(super) fn take(file: &File, path: &Path) -> Result<(), TrustError> {
    file.lock().map_err(|source| TrustError::NoLocks { path: path.to_owned(), source })
}

/// The file system at `path`, when other machines may see it and none of them would hear of a lock.
fn keeps_locks_here(path: &Path) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    local_locks(&mounts, &path.canonicalize().ok()?)
}

/// The same, by the table of mounts (proc_pid_mountinfo(5)).
fn local_locks(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let mut of = file_system.splitn(3, ' ');
        let (kind, _source, options) = (of.next()?, of.next()?, of.next()?);
        path.starts_with(&point).then_some((point.len(), kind, options))
    });
    // Of several on one point the last one covers the others.
    let (_, kind, options) = mounted.max_by_key(|(length, ..)| *length)?;
    let has = |wanted: &str| options.split(',').any(|option| option == wanted);
    let is_local = match kind {
        "nfs" | "nfs4" => has("nolock") || has("local_lock=all") || has("local_lock=flock"),
        "fuse.sshfs" => true,
        _ => false,
    };
    is_local.then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2,local_lock=none,addr=10.0.0.1
41 40 0:41 / /home/old rw - nfs server:/old rw,vers=3,nolock,local_lock=all,addr=10.0.0.1
42 40 0:42 / /home/my\\040files rw - fuse.sshfs me@there: rw,user_id=0
43 41 0:43 / /home/old/local rw - ext4 /dev/sdb1 rw
";

    #[test]
    fn locks_that_no_other_machine_hears_of_are_known_by_the_mount() {
        let there = |path: &str| local_locks(MOUNTS, Path::new(path));
        assert_eq!(there("/home/a/.local/share/octaskly/workers/a/lock"), None);
        assert_eq!(there("/var/lib/octaskly/lock"), None);
        assert_eq!(there("/home/old/octaskly/lock").as_deref(), Some("nfs"));
        assert_eq!(there("/home/old/local/octaskly/lock"), None, "another disk is mounted there");
        assert_eq!(there("/home/my files/lock").as_deref(), Some("fuse.sshfs"));
        assert_eq!(local_locks("nonsense\n - \n", Path::new("/")), None);
    }

    #[test]
    fn a_lock_is_taken_once_and_free_when_its_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open = || File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        let first = open();
        assert!(try_take(&first, &path).unwrap());
        assert!(!try_take(&open(), &path).unwrap());
        drop(first);
        assert!(try_take(&open(), &path).unwrap());
    }
}
