//! What this room needs of the operating system: directories that are held open, and names resolved in them.
//!
//! Invariant: no call here follows a symbolic link in what it is told to resolve, and none waits for another process
//! (a FIFO is opened without blocking). Linux resolves a path in one call (`openat2`) and clones files where the file
//! system can; elsewhere, and on kernels without it, a path is walked part by part, which is as strict and slower, and
//! files are copied. Absent: any opinion on which files.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::error::What;
use crate::model::FileMode;

/// A directory is only ever opened as one, and never through a link.
const AS_DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The names in a directory, and what stands at each.
pub(super) type Listing = Vec<(Vec<u8>, What)>;

/// An open directory. A name given to it is one part, without `/`; a path is one that `check_path` let through, or empty.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// What a name stands for, the link itself when it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) what: What,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    pub(super) bytes: u64,
    /// Names that the file has.
    pub(super) links: u64,
    /// Who may do what with it.
    pub(super) mode: FileMode,
    /// When it was last written, to the nanosecond.
    pub(super) modified: (i64, i64),
}

impl Found {
    /// When it was last written, as one number.
    pub(super) fn modified_ns(&self) -> Option<i64> {
        self.modified.0.checked_mul(1_000_000_000)?.checked_add(self.modified.1)
    }
}

/// Gives an open file or directory of ours what it has at its end: takes away the permissions that `mode` lacks, adds
/// none, and sets when it was last written, in nanoseconds since 1970.
///
/// So the umask and what was there before bound the mode. What belongs to somebody else, or is on a file system without
/// modes or times, stays as it is.
pub(super) fn finish(made: &impl AsFd, mode: FileMode, modified_ns: Option<i64>) -> io::Result<()> {
    let skipped = |done: nix::Result<()>| match done {
        Err(Errno::EPERM | Errno::EOPNOTSUPP) => Ok(()),
        other => other,
    };
    if let Some(at) = modified_ns {
        let (second, rest) = (at.div_euclid(1_000_000_000), at.rem_euclid(1_000_000_000));
        skipped(futimens(made, &TimeSpec::UTIME_OMIT, &TimeSpec::new(second as _, rest as _)))?;
    }
    let now = found(made)?.mode;
    if now.and(mode) != now {
        skipped(fchmod(made, Mode::from_bits_truncate(now.and(mode).bits().into())))?;
    }
    Ok(())
}

impl Folder {
    /// Opens `path`, following links: it is the user's or the program's own.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = AS_DIRECTORY.difference(OFlag::O_NOFOLLOW);
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// The directory at `path` beneath this one; itself when that is empty. A link on the way is `ELOOP` or `ENOTDIR`.
    pub(super) fn beneath(&self, path: &[u8]) -> io::Result<Self> {
        if path.is_empty() {
            return Ok(Self(self.0.try_clone()?));
        }
        match open_beneath(&self.0, path) {
            Some(opened) => opened,
            None => self.walk(path, Self::folder),
        }
    }

    /// As [`Folder::beneath`], making the directories that are missing, as open as the umask lets them be.
    pub(super) fn beneath_made(&self, path: &[u8]) -> io::Result<Self> {
        match self.beneath(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.walk(path, |folder, name| folder.folder_made(name, FileMode::ALL))
            }
            other => other,
        }
    }

    /// As [`Folder::beneath_made`], for a directory that is to get `mode` by [`finish`] when it is filled: others never
    /// have more than that, and its owner can fill it. One that was there stays closed when `mode` does not close it.
    pub(super) fn beneath_to_fill(&self, path: &[u8], mode: FileMode) -> io::Result<Self> {
        let (parent, name) = split(path);
        if name.is_empty() {
            return self.beneath(path);
        }
        let folder = self.beneath_made(parent)?.folder_made(name, mode.open_to_owner())?;
        if mode.open_to_owner() != mode {
            let now = folder.found()?.mode;
            // One that is not ours says so when it is written to.
            let _ = fchmod(&folder.0, Mode::from_bits_truncate(now.open_to_owner().bits().into()));
        }
        Ok(folder)
    }

    /// The directory `name` in this one, made with what the umask leaves of `mode` when it is missing.
    fn folder_made(&self, name: &[u8], mode: FileMode) -> io::Result<Self> {
        match mkdirat(&self.0, OsStr::from_bytes(name), Mode::from_bits_truncate(mode.bits().into())) {
            Ok(()) | Err(Errno::EEXIST) => self.folder(name),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Goes down `path` by `step`, holding one directory at a time.
    fn walk(&self, path: &[u8], step: impl Fn(&Self, &[u8]) -> io::Result<Self>) -> io::Result<Self> {
        let mut parts = path.split(|byte| *byte == b'/');
        let first = parts.next().unwrap_or_default();
        parts.try_fold(step(self, first)?, |folder, name| step(&folder, name))
    }

    /// The directory `name` in this one.
    fn folder(&self, name: &[u8]) -> io::Result<Self> {
        match openat(&self.0, OsStr::from_bytes(name), AS_DIRECTORY, Mode::empty()) {
            Ok(opened) => Ok(Self(opened)),
            // A link is no directory either, but there is something else to say about it.
            Err(Errno::ENOTDIR) if self.look(name)?.what == What::Symlink => Err(Errno::ELOOP.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the file `name` for reading. Does not wait, whatever it is.
    pub(super) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        Ok(openat(&self.0, OsStr::from_bytes(name), flags, Mode::empty())?.into())
    }

    /// Makes the file `name`, which must not exist, with what the umask leaves of `mode`: it is never more open than that.
    pub(super) fn create(&self, name: &[u8], mode: FileMode) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode.bits().into());
        Ok(openat(&self.0, OsStr::from_bytes(name), flags, mode)?.into())
    }

    /// What is at `name`.
    pub(super) fn look(&self, name: &[u8]) -> io::Result<Found> {
        Ok(found_in(&fstatat(&self.0, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW)?))
    }

    /// Gives it what it has at its end; see [`finish`].
    pub(super) fn finish(&self, mode: FileMode, modified_ns: Option<i64>) -> io::Result<()> {
        finish(&self.0, mode, modified_ns)
    }

    /// What this directory is.
    pub(super) fn found(&self) -> io::Result<Found> {
        found(&self.0)
    }

    /// As [`Folder::look`]; `None` when there is nothing.
    pub(super) fn look_for(&self, name: &[u8]) -> io::Result<Option<Found>> {
        match self.look(name) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the link `name` leads.
    pub(super) fn target(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.0, OsStr::from_bytes(name))?.into_vec())
    }

    /// Makes the link `name`, which must not exist.
    pub(super) fn link(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(symlinkat(OsStr::from_bytes(target), &self.0, OsStr::from_bytes(name))?)
    }

    /// Removes `name`, anything but a directory.
    pub(super) fn remove(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(&self.0, OsStr::from_bytes(name), UnlinkatFlags::NoRemoveDir)?)
    }

    /// Renames `name` to `other` in `folder`, replacing what is there.
    pub(super) fn rename(&self, name: &[u8], folder: &Self, other: &[u8]) -> io::Result<()> {
        Ok(renameat(&self.0, OsStr::from_bytes(name), &folder.0, OsStr::from_bytes(other))?)
    }

    /// All that is in it, in no order; `None` when that is more than `bound`.
    pub(super) fn entries(&self, bound: usize) -> io::Result<Option<Listing>> {
        // A descriptor of its own, since listing moves a position in it.
        let mut listing = Dir::openat(&self.0, ".", AS_DIRECTORY, Mode::empty())?;
        let mut found = Vec::new();
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if found.len() == bound {
                return Ok(None);
            }
            let what = match entry.file_type() {
                Some(Type::File) => What::File,
                Some(Type::Directory) => What::Directory,
                Some(Type::Symlink) => What::Symlink,
                Some(Type::Fifo) => What::Fifo,
                Some(Type::Socket) => What::Socket,
                Some(Type::BlockDevice | Type::CharacterDevice) => What::Device,
                // Some file systems do not say.
                None => self.look(name)?.what,
            };
            found.push((name.to_vec(), what));
        }
        Ok(Some(found))
    }
}

/// The directory that `path` is in, empty for the root, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// Whether a name could not be resolved because a part of it is a symbolic link.
pub(super) fn is_through_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ELOOP as i32)
}

fn what(mode: SFlag) -> What {
    match mode & SFlag::S_IFMT {
        SFlag::S_IFREG => What::File,
        SFlag::S_IFDIR => What::Directory,
        SFlag::S_IFLNK => What::Symlink,
        SFlag::S_IFIFO => What::Fifo,
        SFlag::S_IFSOCK => What::Socket,
        _ => What::Device,
    }
}

/// What was looked at.
pub(super) fn what_is(of: &Metadata) -> What {
    what(SFlag::from_bits_truncate(of.mode() as _))
}

/// What an open file or directory is.
pub(super) fn found(file: &impl AsFd) -> io::Result<Found> {
    Ok(found_in(&fstat(file)?))
}

#[allow(clippy::unnecessary_cast, reason = "these types differ between systems")]
fn found_in(stat: &FileStat) -> Found {
    Found {
        what: what(SFlag::from_bits_truncate(stat.st_mode)),
        identity: (stat.st_dev as u64, stat.st_ino as u64),
        bytes: stat.st_size as u64,
        links: stat.st_nlink as u64,
        mode: FileMode::of(stat.st_mode as u32),
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
    }
}

/// Opens the file at `path` for reading, following links. Does not wait, whatever it is.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?.into())
}

/// Sets when a file of ours was last written to now, and nothing else.
pub(super) fn touch(file: &File) -> io::Result<()> {
    Ok(futimens(file, &TimeSpec::UTIME_OMIT, &TimeSpec::UTIME_NOW)?)
}

/// Whether a file could not be read for a reason that stays: its disk, or that it was cut short.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}

/// Free bytes for this user, and all bytes, of the file system that `path` is on.
pub(super) fn disk_space(path: &Path) -> io::Result<(u64, u64)> {
    let of = nix::sys::statvfs::statvfs(path)?;
    #[allow(clippy::unnecessary_cast, reason = "these types differ between systems")]
    let (unit, free, all) = (of.fragment_size() as u64, of.blocks_available() as u64, of.blocks() as u64);
    Ok((free.saturating_mul(unit), all.saturating_mul(unit)))
}

/// Makes all that was written to the file system of `folder` durable; `false` where only single files can be.
#[cfg(target_os = "linux")]
pub(super) fn sync_all(folder: &Path) -> io::Result<bool> {
    nix::unistd::syncfs(File::open(folder)?)?;
    Ok(true)
}

/// As on Linux, where it can be done.
#[cfg(not(target_os = "linux"))]
pub(super) fn sync_all(_folder: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Opens the directory at `path` in one call; `None` where that cannot be done, so that the path has to be walked.
#[cfg(target_os = "linux")]
fn open_beneath(folder: &OwnedFd, path: &[u8]) -> Option<io::Result<Folder>> {
    use nix::fcntl::{OpenHow, ResolveFlag, openat2};

    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    // Without O_NOFOLLOW, so that a link in the last place is told from a file.
    let how = OpenHow::new().flags(AS_DIRECTORY.difference(OFlag::O_NOFOLLOW)).resolve(resolve);
    match openat2(folder, OsStr::from_bytes(path), how) {
        // No such call, a sandbox that forbids it, or a path longer than one call takes.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::ENAMETOOLONG | Errno::EAGAIN) => None,
        opened => Some(opened.map(Folder).map_err(io::Error::from)),
    }
}

/// As on Linux, where there is such a call.
#[cfg(not(target_os = "linux"))]
fn open_beneath(_folder: &OwnedFd, _path: &[u8]) -> Option<io::Result<Folder>> {
    None
}

/// Makes the empty file `to` share the bytes of `from`; `false` where they have to be copied.
#[cfg(target_os = "linux")]
pub(super) fn clone_file(from: &File, to: &File) -> bool {
    use std::os::fd::AsRawFd as _;

    // FICLONE of linux/fs.h.
    nix::ioctl_write_int!(ficlone, 0x94, 9);
    // SAFETY: both descriptors are open for the length of the call, which takes a number and touches no memory of ours.
    unsafe { ficlone(to.as_fd().as_raw_fd(), from.as_fd().as_raw_fd() as _) }.is_ok()
}

/// As on Linux, where files can be cloned by descriptor.
#[cfg(not(target_os = "linux"))]
pub(super) fn clone_file(from: &File, to: &File) -> bool {
    let _ = (from.as_fd(), to.as_fd());
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_resolved_alike_in_one_call_and_part_by_part() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        std::fs::write(root.path().join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("b", root.path().join("a/link")).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("a/out")).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for (path, opens) in [
            ("a/b/c", true),
            ("a/link/c", false),
            ("a/link", false),
            ("a/out/etc", false),
            ("a/file", false),
            ("a/none", false),
        ] {
            let at_once = folder.beneath(path.as_bytes()).map(drop);
            let walked = folder.walk(path.as_bytes(), Folder::folder).map(drop);
            assert_eq!(at_once.is_ok(), opens, "{path}");
            assert_eq!(
                at_once.map_err(|error| error.raw_os_error()),
                walked.map_err(|error| error.raw_os_error()),
                "{path}"
            );
        }
        assert!(folder.beneath_made(b"a/link/d").is_err());
        assert!(!root.path().join("a/b/d").exists(), "nothing is made behind a link");
        folder.beneath_made(b"x/y/z").unwrap();
        assert!(root.path().join("x/y/z").is_dir());
    }
}
