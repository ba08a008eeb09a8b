//! Bytes and files that become blobs.
//!
//! Invariant: a file is hashed after nobody else has a name for it, or from the very bytes that are written into the
//! store; so the digest is that of what is kept, even when somebody writes to the file meanwhile.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::Scratch;
use super::partial::Partial;
use super::{Accepted, BlobStore, Take};
use crate::blob::copying::{copy_hashed, hash_to};
use crate::blob::error::{Limit, What};
use crate::blob::pieces::{EMPTY, MAX_BLOB_BYTES, Verified, digest_of, tree_bytes};
use crate::blob::sys::{self, Folder, Found};
use crate::blob::{BlobError, Hashed};
use crate::model::BlobRef;

/// Nobody changes a blob: said to everybody who looks at the file.
const READ_ONLY: u32 = 0o400;

/// The files of a blob on their way into the store.
struct Draft {
    blob: BlobRef,
    data: Scratch,
    tree: Option<Scratch>,
}

impl BlobStore {
    /// Keeps some bytes.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn insert_bytes(&self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let blob = BlobRef { digest: digest_of(bytes), bytes: bytes.len() as u64 };
        if blob.bytes == 0 || self.index().used(blob).is_some() {
            return Ok(blob);
        }
        let data = self.inner.layout.scratch();
        data.create()?.write_all(bytes).map_err(BlobError::writing(data.path()))?;
        let tree = self.new_tree(blob.bytes)?;
        let made =
            hash_to(bytes, blob.bytes, tree.as_ref().map(|(_, file)| file)).map_err(BlobError::writing(data.path()))?;
        debug_assert_eq!(made, blob.digest);
        self.settle(Draft { blob, data, tree: tree.map(|(scratch, _)| scratch) })?;
        Ok(blob)
    }

    /// Keeps a file, and says what it was. `path` itself must not be a symbolic link.
    ///
    /// # Errors
    /// [`BlobError::Kind`] when it is no regular file, [`BlobError::Full`] when it alone is larger than the quota,
    /// [`BlobError::Changed`] when it was cut short while it was copied.
    pub fn insert_file(&self, path: &Path, how: Take) -> Result<Hashed, BlobError> {
        use std::os::unix::ffi::OsStrExt as _;

        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Some(name) = path.file_name() else {
            return Err(BlobError::Kind { path: path.to_owned(), found: What::Directory });
        };
        let folder = Folder::open(folder).map_err(BlobError::reading(path))?;
        self.take(&folder, name.as_bytes(), path, how)
    }

    /// As [`BlobStore::insert_file`], for the file `name` in `folder`; errors name `path`.
    pub(in crate::blob) fn take(
        &self,
        folder: &Folder,
        name: &[u8],
        path: &Path,
        how: Take,
    ) -> Result<Hashed, BlobError> {
        let (file, found) = self.open_to_take(folder, name, path)?;
        let hashed = |blob| Hashed { blob, mode: found.mode, modified_ns: found.modified_ns() };
        let remove = || {
            if how == Take::Move {
                // A directory that is closed to its owner keeps it; whoever removes the directory removes it.
                let _ = folder.remove(name);
            }
        };
        if found.bytes == 0 {
            remove();
            return Ok(hashed(BlobRef { digest: EMPTY, bytes: 0 }));
        }
        let moved = match how {
            Take::Move if found.links == 1 => self.move_in(folder, name, path, &found)?,
            _ => None,
        };
        let draft = match moved {
            Some(data) => self.draft_of_moved(data, &file, &found, path)?,
            None => {
                let draft = self.draft_of_copy(&file, found.bytes, path)?;
                remove();
                draft
            }
        };
        let blob = draft.blob;
        self.settle(draft)?;
        Ok(hashed(blob))
    }

    /// Opens a regular file that is not too large.
    fn open_to_take(&self, folder: &Folder, name: &[u8], path: &Path) -> Result<(File, Found), BlobError> {
        let named = folder.look(name).map_err(BlobError::reading(path))?;
        if named.what != What::File {
            return Err(BlobError::Kind { path: path.to_owned(), found: named.what });
        }
        let file = folder.open_file(name).map_err(BlobError::reading(path))?;
        let found = sys::found(&file).map_err(BlobError::reading(path))?;
        if found.what != What::File || found.identity != named.identity {
            return Err(BlobError::Changed { path: path.to_owned() });
        }
        let bound = self.inner.quota_bytes.min(MAX_BLOB_BYTES);
        if found.bytes > bound {
            return Err(BlobError::Full { bytes: found.bytes, limit: Limit::Quota(self.inner.quota_bytes) });
        }
        Ok((file, found))
    }

    /// Moves a file to where nobody else reaches it; `None` when it has to be copied.
    fn move_in(&self, folder: &Folder, name: &[u8], path: &Path, found: &Found) -> Result<Option<Scratch>, BlobError> {
        let tmp = Folder::open(&self.inner.layout.tmp).map_err(BlobError::reading(&self.inner.layout.tmp))?;
        let scratch = self.inner.layout.scratch();
        let new_name = scratch.path().file_name().unwrap_or_default().as_encoded_bytes();
        if folder.rename(name, &tmp, new_name).is_err() {
            return Ok(None);
        }
        let moved = tmp.look(new_name).map_err(BlobError::reading(path))?;
        // Somebody has put another file under this name since.
        if moved.identity != found.identity || moved.links != 1 {
            return Err(BlobError::Changed { path: path.to_owned() });
        }
        Ok(Some(scratch))
    }

    /// Hashes a file that was moved in. Whoever had it open can still write to it: then it is copied after all.
    fn draft_of_moved(&self, data: Scratch, file: &File, found: &Found, path: &Path) -> Result<Draft, BlobError> {
        let tree = self.new_tree(found.bytes)?;
        let digest = hash_to(file, found.bytes, tree.as_ref().map(|(_, file)| file));
        let now = sys::found(file).map_err(BlobError::reading(path))?;
        if now.bytes != found.bytes || now.modified != found.modified {
            return self.draft_of_copy(file, now.bytes, path);
        }
        let digest = digest.map_err(BlobError::reading(path))?;
        let blob = BlobRef { digest, bytes: found.bytes };
        Ok(Draft { blob, data, tree: tree.map(|(scratch, _)| scratch) })
    }

    /// Copies the first `bytes` bytes of a file, and hashes what it wrote.
    fn draft_of_copy(&self, file: &File, bytes: u64, path: &Path) -> Result<Draft, BlobError> {
        let data = self.inner.layout.scratch();
        let copy = data.create()?;
        let tree = self.new_tree(bytes)?;
        let digest = copy_hashed(file, &copy, bytes, tree.as_ref().map(|(_, file)| file));
        let blob = BlobRef { digest: digest.map_err(BlobError::reading(path))?, bytes };
        Ok(Draft { blob, data, tree: tree.map(|(scratch, _)| scratch) })
    }

    /// Keeps the only piece of a blob.
    pub(super) fn keep_piece(&self, blob: BlobRef, verified: &Verified) -> Result<(), BlobError> {
        let data = self.inner.layout.scratch();
        data.create()?.write_all(&verified.bytes).map_err(BlobError::writing(data.path()))?;
        let tree = self.new_tree(blob.bytes)?;
        if let Some((scratch, file)) = &tree {
            let mut pairs = verified.pairs.iter();
            pairs
                .try_for_each(|(at, pair)| file.write_all_at(pair, *at))
                .map_err(BlobError::writing(scratch.path()))?;
        }
        self.settle(Draft { blob, data, tree: tree.map(|(scratch, _)| scratch) })
    }

    /// A file for the tree of a blob that has one.
    fn new_tree(&self, bytes: u64) -> Result<Option<(Scratch, File)>, BlobError> {
        if tree_bytes(bytes) == 0 {
            return Ok(None);
        }
        let scratch = self.inner.layout.scratch();
        let file = scratch.create()?;
        Ok(Some((scratch, file)))
    }

    /// Lists a blob whose bytes are all there; under its digest there may be another size, which is then wrong. Another thread may have been faster: then these are not needed.
    fn settle(&self, draft: Draft) -> Result<(), BlobError> {
        let blob = draft.blob;
        let mut index = self.index();
        if index.has(blob) {
            return Ok(());
        }
        let wrong = self.inner.remove_whole(&mut index, blob.digest);
        let tree = draft.tree.as_ref().map(|tree| tree.path().to_owned());
        self.put_in_place(blob, draft.data.path(), tree.as_deref())?;
        let arriving = self.inner.remove_arriving(&mut index, blob);
        index.add(blob, true);
        drop(index);
        drop((wrong, arriving));
        Ok(())
    }

    /// Lists a blob that has arrived.
    pub(super) fn settle_partial(&self, blob: BlobRef, partial: &Arc<Partial>) -> Result<Accepted, BlobError> {
        let mut index = self.index();
        let mut state = partial.state();
        if state.gone {
            // Whole by another way, or removed just now; then all of it is missing again.
            return Ok(if index.has(blob) { Accepted::Complete } else { Accepted::More });
        }
        let wrong = self.inner.remove_whole(&mut index, blob.digest);
        self.put_in_place(blob, &partial.folder().join("data"), Some(&partial.folder().join("tree")))?;
        state.gone = true;
        drop(state);
        index.drop_arriving(blob);
        let rest = self.inner.set_aside(partial.folder());
        index.add(blob, true);
        drop(index);
        drop((wrong, rest));
        Ok(Accepted::Complete)
    }

    fn put_in_place(&self, blob: BlobRef, data: &Path, tree: Option<&Path>) -> Result<(), BlobError> {
        let (to, tree_to): (PathBuf, PathBuf) = self.inner.layout.files(blob.digest, true);
        let put = || {
            if let Some(tree) = tree {
                fs::rename(tree, &tree_to)?;
            }
            fs::set_permissions(data, Permissions::from_mode(READ_ONLY))?;
            // Last: a tree without its data is nothing.
            fs::rename(data, &to)
        };
        put().map_err(BlobError::writing(&to))
    }
}
