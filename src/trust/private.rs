//! Files and folders that nobody but this user may touch: how they are made, checked, read and replaced.
//!
//! Invariant: no byte of a secret is in a file before that file is private.
//! Absent: what the files mean. On systems without Unix permissions the
//! folder's inherited access list is all there is, and nothing is checked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::TrustError;
use crate::model::ids::base32_text;

/// What a private folder may allow: everything to its owner.
const DIR_MODE: u32 = 0o700;
/// What a private file may allow.
const FILE_MODE: u32 = 0o600;

/// Creates `path` and what is missing above it, then demands that it is this user's alone.
pub(super) fn create_dir(path: &Path) -> Result<(), TrustError> {
    create_missing(path)?;
    check(path, &metadata(path)?, DIR_MODE)
}

/// Creates `path` and what is missing above it, then demands that nobody else may write there.
///
/// Weaker than [`create_dir`], for the folders above the private ones: a home
/// made by a plain `mkdir` is fine as long as nobody else can swap its contents.
pub(super) fn create_shared_dir(path: &Path) -> Result<(), TrustError> {
    create_missing(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        const WRITABLE_BY_OTHERS: u32 = 0o022;
        let mode = metadata(path)?.mode() & 0o7777;
        if mode & WRITABLE_BY_OTHERS != 0 {
            return Err(TrustError::LoosePermissions { path: path.to_owned(), mode, wanted: DIR_MODE });
        }
    }
    Ok(())
}

/// Opens `path` for locking, created when missing.
pub(super) fn open_lock(path: &Path) -> Result<File, TrustError> {
    private_options().read(true).write(true).create(true).truncate(false).open(path).map_err(|e| write_error(path, e))
}

/// The contents of the private file at `path`; `None` when there is none.
///
/// Reads at most `cap` bytes more than which no sound file of its kind has.
pub(super) fn read(path: &Path, cap: u64) -> Result<Option<Vec<u8>>, TrustError> {
    let read_error = |source| TrustError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        // A part of the path that is a file (HOME=/dev/null) holds no other files.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(read_error(error)),
    };
    check(path, &file.metadata().map_err(read_error)?, FILE_MODE)?;
    let mut bytes = Vec::new();
    file.take(cap).read_to_end(&mut bytes).map_err(read_error)?;
    Ok(Some(bytes))
}

/// Puts `bytes` at `path` in one step, durable, whatever was there before.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    let draft = write_draft(path, bytes)?;
    fs::rename(&draft, path).and_then(|()| sync_parent(path)).map_err(|e| {
        let _ = fs::remove_file(&draft);
        write_error(path, e)
    })
}

/// Puts `bytes` at `path` in one step, durable, unless something is there; says whether it did.
///
/// Of two processes that try at once exactly one is told `true`.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<bool, TrustError> {
    let draft = write_draft(path, bytes)?;
    let linked = fs::hard_link(&draft, path);
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => sync_parent(path).map(|()| true).map_err(|e| write_error(path, e)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Some file systems know no second name for a file. Then a crash may leave a part of it, which its reader refuses.
        Err(_) => match write_new(path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            written => written.map(|()| true).map_err(|e| write_error(path, e)),
        },
    }
}

/// Removes the file at `path`; that there is none is no error.
pub(super) fn remove(path: &Path) -> Result<(), TrustError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(path, error)),
        _ => Ok(()),
    }
}

/// Random text for names that must not collide.
pub(super) fn random_name() -> Result<String, TrustError> {
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes).map_err(TrustError::Random)?;
    Ok(base32_text(&bytes))
}

/// A synced private file with `bytes` beside `path`.
fn write_draft(path: &Path, bytes: &[u8]) -> Result<PathBuf, TrustError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", random_name()?));
    let draft = path.with_file_name(name);
    match write_new(&draft, bytes) {
        Ok(()) => Ok(draft),
        Err(error) => {
            let _ = fs::remove_file(&draft);
            Err(write_error(path, error))
        }
    }
}

/// A synced private file at `path`, where none was.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn create_missing(path: &Path) -> Result<(), TrustError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, DIR_MODE);
    builder.create(path).map_err(|source| TrustError::CreateDir { path: path.to_owned(), source })
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    options
}

fn metadata(path: &Path) -> Result<fs::Metadata, TrustError> {
    fs::metadata(path).map_err(|source| TrustError::Read { path: path.to_owned(), source })
}

fn write_error(path: &Path, source: io::Error) -> TrustError {
    TrustError::Write { path: path.to_owned(), source }
}

/// Demands that this user owns what `metadata` describes and that it allows no more than `wanted`.
#[cfg(unix)]
fn check(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), TrustError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TrustError::LoosePermissions { path: path.to_owned(), mode, wanted });
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(TrustError::ForeignOwner { path: path.to_owned(), owner: metadata.uid() });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(_path: &Path, _metadata: &fs::Metadata, _wanted: u32) -> Result<(), TrustError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_private_from_its_first_byte_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(create(&path, b"one").unwrap());
        assert!(!create(&path, b"two").unwrap(), "the second to create it is told so");
        assert_eq!(read(&path, 100).unwrap().as_deref(), Some(&b"one"[..]));
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path, 100).unwrap().as_deref(), Some(&b"three"[..]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
        assert_eq!(read(&dir.path().join("nothing"), 100).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_command_that_fixes_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's");
        create(&path, b"secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path, 100).unwrap_err();
        assert!(error.to_string().contains("0640"), "{error}");
        let quoted = format!("chmod 600 '{}'", path.display().to_string().replace('\'', r"'\''"));
        assert_eq!(error.hint(), Some(quoted));
    }
}
