//! Inputs, put into the directory in which a task is about to run.
//!
//! Invariant: whatever is placed was hashed as it was written, so that a task never sees a byte that is not its
//! input's (G7); and nothing outside the directory is touched, even when an earlier input or the directory itself has
//! links in it. Absent: removing anything but a file that could not be written to its end.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::copying::{copy_hashed, hash_of};
use super::error::What;
use super::sys::{self, Folder, split};
use super::walk::{joined, shown_at};
use super::{BlobError, BlobStore, Hashed};
use crate::model::files::TreeKind;
use crate::model::limits::MAX_MANIFEST_BYTES;
use crate::model::paths::check_path;
use crate::model::{BlobRef, Content, FileMode, RawString};
use crate::wire::manifest;

/// Puts each content at its name beneath `root`; `.` is `root` itself, which only a tree can be, and keeps its own mode.
/// All blobs they need have to be in `store`, and pinned. The umask applies to their permission bits.
///
/// # Errors
/// [`BlobError::Conflict`] when something else is there already; the same file, link or directory may be.
/// [`BlobError::Missing`] or [`BlobError::Damaged`] when a blob is not in the store.
pub fn place(store: &BlobStore, root: &Path, inputs: &[(RawString, Content)]) -> Result<(), BlobError> {
    let root_folder = Folder::open(root).map_err(BlobError::reading(root))?;
    let mut placing = Placing { store, root: root_folder, shown: root, last: None, directories: BTreeMap::new() };
    inputs.iter().try_for_each(|(name, content)| placing.input(name.as_bytes(), content))?;
    placing.finish()
}

/// Inputs that are put beneath one directory.
struct Placing<'a> {
    store: &'a BlobStore,
    root: Folder,
    shown: &'a Path,
    /// The directory of the last entry: most have theirs in common with the one before.
    last: Option<(Vec<u8>, Folder)>,
    /// What directories get when everything is in them.
    directories: BTreeMap<Vec<u8>, (FileMode, Option<i64>)>,
}

impl Placing<'_> {
    fn input(&mut self, name: &[u8], content: &Content) -> Result<(), BlobError> {
        let base = match name {
            b"." => &[],
            name => check_path(name)
                .map(|()| name)
                .map_err(|fault| BlobError::Path { path: RawString(name.to_vec()), fault })?,
        };
        match *content {
            Content::File { .. } if base.is_empty() => Err(BlobError::FileAsRoot),
            Content::File { blob, mode, modified_ns } => self.file(base, Hashed { blob, mode, modified_ns }),
            Content::Tree { manifest, mode, modified_ns, .. } => {
                let shown = shown_at(self.shown, base);
                let entries = manifest::decode(&self.store.read(manifest, MAX_MANIFEST_BYTES)?)
                    .map_err(|source| BlobError::Manifest { path: shown, source })?;
                if !base.is_empty() {
                    self.directory(base, mode, modified_ns)?;
                }
                entries.iter().try_for_each(|entry| self.entry(&joined(base, entry.path.as_bytes()), &entry.kind))
            }
        }
    }

    fn entry(&mut self, path: &[u8], kind: &TreeKind) -> Result<(), BlobError> {
        match *kind {
            TreeKind::Directory { mode, modified_ns } => self.directory(path, mode, modified_ns),
            TreeKind::File { blob, mode, modified_ns } => self.file(path, Hashed { blob, mode, modified_ns }),
            TreeKind::Symlink(ref target) => {
                let shown = shown_at(self.shown, path);
                self.within(path, |_, folder, name| put_link(folder, name, target, &shown))
            }
        }
    }

    fn directory(&mut self, path: &[u8], mode: FileMode, modified_ns: Option<i64>) -> Result<(), BlobError> {
        let shown = shown_at(self.shown, path);
        self.root.beneath_to_fill(path, mode).map_err(BlobError::making_way(&shown))?;
        let found = self.directories.entry(path.to_vec()).or_default();
        *found = (found.0.and(mode), modified_ns);
        Ok(())
    }

    fn file(&mut self, path: &[u8], file: Hashed) -> Result<(), BlobError> {
        let shown = shown_at(self.shown, path);
        self.within(path, |store, folder, name| put_file(store, folder, name, file, &shown))
    }

    /// Does `put` in the directory of `path`.
    fn within(
        &mut self,
        path: &[u8],
        put: impl FnOnce(&BlobStore, &Folder, &[u8]) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        let (parent, name) = split(path);
        let folder = match self.last.take() {
            Some((last, folder)) if last == parent => folder,
            _ => self.root.beneath_made(parent).map_err(BlobError::making_way(&shown_at(self.shown, path)))?,
        };
        let done = put(self.store, &folder, name);
        self.last = Some((parent.to_vec(), folder));
        done
    }

    /// Gives every directory its mode and time, those that are in others first.
    fn finish(self) -> Result<(), BlobError> {
        self.directories.iter().rev().try_for_each(|(path, (mode, modified_ns))| {
            let finished = self.root.beneath(path).and_then(|folder| folder.finish(*mode, *modified_ns));
            finished.map_err(BlobError::writing(&shown_at(self.shown, path)))
        })
    }
}

fn put_file(store: &BlobStore, folder: &Folder, name: &[u8], file: Hashed, shown: &Path) -> Result<(), BlobError> {
    let to = match folder.create(name, file.mode) {
        Ok(to) => to,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return if is_same(folder, name, file).map_err(BlobError::reading(shown))? {
                Ok(())
            } else {
                Err(BlobError::Conflict { path: shown.to_owned() })
            };
        }
        Err(error) => return Err(BlobError::making_way(shown)(error)),
    };
    let filled = fill(store, file.blob, &to, shown)
        .and_then(|()| sys::finish(&to, file.mode, file.modified_ns).map_err(BlobError::writing(shown)));
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

/// Whether just this file is there; it gets the permissions that both allow.
fn is_same(folder: &Folder, name: &[u8], file: Hashed) -> io::Result<bool> {
    let found = folder.look(name)?;
    let is_alike = (found.what, found.bytes) == (What::File, file.blob.bytes);
    if !is_alike || found.mode.is_executable() != file.mode.is_executable() {
        return Ok(false);
    }
    let there = folder.open_file(name)?;
    if hash_of(&there, file.blob.bytes)? != file.blob.digest {
        return Ok(false);
    }
    sys::finish(&there, file.mode, file.modified_ns)?;
    Ok(true)
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
