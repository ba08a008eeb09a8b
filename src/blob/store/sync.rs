//! Making what has come in durable.
//!
//! Invariant: a blob is moved out of `fresh` only after its bytes are on the disk. What is still in there when the
//! store is opened is verified, so a lost write costs a transfer and never lies.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use super::BlobStore;
use super::layout::make_private;
use crate::blob::BlobError;
use crate::blob::sys;
use crate::model::Digest;

/// From so many files on, the file system is synced as a whole instead: each file alone waits for the disk once.
const SYNC_AT_ONCE: usize = 4;

impl BlobStore {
    /// Makes every blob that was whole when this was called durable. Many blobs share one wait for the disk.
    ///
    /// # Errors
    /// When the disk cannot be written; then nothing more may be said of what came in since the last success.
    pub fn sync(&self) -> Result<(), BlobError> {
        let _turn = self.inner.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.index().fresh.clone();
        if fresh.is_empty() {
            return Ok(());
        }
        let layout = &self.inner.layout;
        let as_one =
            fresh.len() >= SYNC_AT_ONCE && sys::sync_all(&layout.root).map_err(BlobError::writing(&layout.root))?;
        if !as_one {
            for (digest, _) in &fresh {
                let (data, tree) = layout.files(*digest, true);
                [data, tree].iter().try_for_each(|path| sync_file(path))?;
            }
        }
        let mut folders = BTreeSet::from([layout.fresh.clone(), layout.whole.clone()]);
        for (digest, number) in fresh {
            if let Some(folder) = self.promote(digest, number)? {
                folders.insert(folder);
            }
        }
        folders.iter().try_for_each(|folder| sync_file(folder))
    }

    /// Moves a blob whose bytes are on the disk to where durable ones are, and says to which folder.
    fn promote(&self, digest: Digest, number: u64) -> Result<Option<std::path::PathBuf>, BlobError> {
        let mut index = self.index();
        // Removed meanwhile, perhaps even come in anew: that one was not synced.
        let listed = index.whole.get_mut(&digest).filter(|whole| whole.fresh == Some(number));
        let Some(whole) = listed else { return Ok(None) };
        let layout = &self.inner.layout;
        let ((data, tree), (to, tree_to)) = (layout.files(digest, true), layout.files(digest, false));
        let folder = to.parent().unwrap_or(&layout.whole).to_owned();
        make_private(&folder, false)?;
        match fs::rename(tree, tree_to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(BlobError::writing(&to)(error)),
            _ => {}
        }
        match fs::rename(data, &to) {
            // Somebody else has removed it; whoever reads it will find out.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(BlobError::writing(&to)(error)),
            _ => {}
        }
        whole.fresh = None;
        index.fresh.retain(|(_, other)| *other != number);
        Ok(Some(folder))
    }
}

/// Syncs a file or folder; one that is not there any more needs no syncing.
fn sync_file(path: &Path) -> Result<(), BlobError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BlobError::writing(path)(error)),
        _ => Ok(()),
    }
}
