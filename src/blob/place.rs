//! Inputs, put into the directory in which a task is about to run.
//!
//! Invariant: whatever is placed was hashed as it was written, so that a task never sees a byte that is not its
//! input's (G7); and nothing outside the directory is touched, even when an earlier input or the directory itself has
//! links in it. Absent: removing anything but a file that could not be written to its end.

use std::io;
use std::path::{Path, PathBuf};

use super::copying::{copy_hashed, hash_of};
use super::error::What;
use super::sys::{self, Folder};
use super::walk::{shown_at, split};
use super::{BlobError, BlobStore};
use crate::model::files::TreeKind;
use crate::model::limits::MAX_MANIFEST_BYTES;
use crate::model::paths::check_path;
use crate::model::{BlobRef, Content, RawString};
use crate::wire::manifest;

/// Puts `content` at `name` beneath `root`, as open as the umask lets it be; `.` is `root` itself, which only a tree can be.
/// All blobs it needs have to be in `store`, and pinned.
///
/// # Errors
/// [`BlobError::Conflict`] when something else is there already; the same file, link or directory may be.
/// [`BlobError::Missing`] or [`BlobError::Damaged`] when a blob is not in the store.
pub fn place(store: &BlobStore, root: &Path, name: &[u8], content: &Content) -> Result<(), BlobError> {
    let base = match name {
        b"." => &[],
        name => check_path(name)
            .map(|()| name)
            .map_err(|fault| BlobError::Path { path: RawString(name.to_vec()), fault })?,
    };
    let root_folder = Folder::open(root).map_err(BlobError::reading(root))?;
    match content {
        Content::File { .. } if base.is_empty() => Err(BlobError::FileAsRoot),
        Content::File { blob, executable, modified_ns } => {
            let kind = TreeKind::File { blob: *blob, executable: *executable, modified_ns: *modified_ns };
            Placing::new(store, root_folder, root).put(base, &kind)
        }
        Content::Tree { manifest, .. } => {
            let shown = shown_at(root, base);
            let entries = manifest::decode(&store.read(*manifest, MAX_MANIFEST_BYTES)?)
                .map_err(|source| BlobError::Manifest { path: shown.clone(), source })?;
            let folder = root_folder.beneath_made(base).map_err(BlobError::making_way(&shown))?;
            let mut placing = Placing::new(store, folder, &shown);
            entries.iter().try_for_each(|entry| placing.put(entry.path.as_bytes(), &entry.kind))
        }
    }
}

/// Entries that are put beneath one directory.
struct Placing<'a> {
    store: &'a BlobStore,
    root: Folder,
    shown: PathBuf,
    /// The directory of the last entry: most have theirs in common with the one before.
    last: Option<(Vec<u8>, Folder)>,
}

impl<'a> Placing<'a> {
    fn new(store: &'a BlobStore, root: Folder, shown: &Path) -> Self {
        Self { store, root, shown: shown.to_owned(), last: None }
    }

    fn put(&mut self, path: &[u8], kind: &TreeKind) -> Result<(), BlobError> {
        let shown = shown_at(&self.shown, path);
        if *kind == TreeKind::Directory {
            return self.root.beneath_made(path).map(drop).map_err(BlobError::making_way(&shown));
        }
        let (parent, name) = split(path);
        let folder = match self.last.take() {
            Some((last, folder)) if last == parent => folder,
            _ => self.root.beneath_made(parent).map_err(BlobError::making_way(&shown))?,
        };
        let put = match kind {
            TreeKind::File { blob, executable, modified_ns } => {
                put_file(self.store, &folder, name, *blob, (*executable, *modified_ns), &shown)
            }
            TreeKind::Symlink(target) => put_link(&folder, name, target, &shown),
            TreeKind::Directory => Ok(()),
        };
        self.last = Some((parent.to_vec(), folder));
        put
    }
}

fn put_file(
    store: &BlobStore,
    folder: &Folder,
    name: &[u8],
    blob: BlobRef,
    (executable, modified_ns): (bool, Option<i64>),
    shown: &Path,
) -> Result<(), BlobError> {
    let to = match folder.create(name, executable) {
        Ok(to) => to,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return if is_same(folder, name, blob, executable).map_err(BlobError::reading(shown))? {
                Ok(())
            } else {
                Err(BlobError::Conflict { path: shown.to_owned() })
            };
        }
        Err(error) => return Err(BlobError::making_way(shown)(error)),
    };
    let filled = fill(store, blob, &to, shown).and_then(|()| match modified_ns {
        Some(at) => sys::set_modified(&to, at).map_err(BlobError::writing(shown)),
        None => Ok(()),
    });
    if filled.is_err() {
        // The first error is the one to tell.
        let _ = folder.remove(name);
    }
    filled
}

fn fill(store: &BlobStore, blob: BlobRef, to: &std::fs::File, shown: &Path) -> Result<(), BlobError> {
    if blob.bytes == 0 {
        return super::pieces::check_size(blob);
    }
    let data = store.open_data(blob)?;
    match copy_hashed(&data, to, blob.bytes, None) {
        Ok(digest) if digest == blob.digest => Ok(()),
        Ok(_) => Err(store.damaged(blob.digest)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(store.damaged(blob.digest)),
        Err(error) => Err(BlobError::writing(shown)(error)),
    }
}

/// Whether just this file is there.
fn is_same(folder: &Folder, name: &[u8], blob: BlobRef, executable: bool) -> io::Result<bool> {
    let found = folder.look(name)?;
    if (found.what, found.bytes, found.executable) != (What::File, blob.bytes, executable) {
        return Ok(false);
    }
    Ok(hash_of(&folder.open_file(name)?, blob.bytes)? == blob.digest)
}

fn put_link(folder: &Folder, name: &[u8], target: &RawString, shown: &Path) -> Result<(), BlobError> {
    match folder.link(name, target.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match folder.target(name) {
            Ok(there) if there == target.as_bytes() => Ok(()),
            _ => Err(BlobError::Conflict { path: shown.to_owned() }),
        },
        linked => linked.map_err(BlobError::writing(shown)),
    }
}
