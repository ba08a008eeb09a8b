//! Making room: what was used least recently goes, unless somebody needs it.
//!
//! Invariant: nothing that is pinned or live is ever removed here, nor what was pinned or used while it was asked what
//! is live. Absent: what is live, which the caller says.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::index::Victim;
use super::{BlobStore, Index};
use crate::blob::error::Limit;
use crate::blob::sys::disk_space;
use crate::blob::{BlobError, pieces_of};
use crate::model::Digest;
use crate::model::files::{BlobRef, BlobWish};

/// Bytes of the disk that stay free: others live on it too.
const SPARED_BYTES: u64 = 1024 * 1024 * 1024;
/// Of a smaller disk this part of it.
const SPARED_PART: u64 = 20;

impl BlobStore {
    /// When more is kept than the quota allows, removes what was used least recently and is neither pinned nor live,
    /// arriving blobs included, until it is not; returns how many bytes went.
    ///
    /// # Errors
    /// None at present: what cannot be removed is left to the next start.
    pub fn collect(&self, is_live: &dyn Fn(Digest) -> bool) -> Result<u64, BlobError> {
        let surplus = self.index().bytes.saturating_sub(self.inner.quota_bytes);
        Ok(self.free(surplus, is_live))
    }

    /// Sees to it that what is `coming` may come in, by removing others as [`collect`](Self::collect) does.
    ///
    /// Of the quota the room is taken at once, as that of a blob that is arriving, which so needs no more of it; but
    /// for what comes in one piece. Of the disk it is not.
    ///
    /// # Errors
    /// [`BlobError::Full`] when the quota or the disk cannot take it all the same. 1 GiB of the disk stays free, or 5 %
    /// of it when that is less.
    pub fn make_room(&self, coming: &[BlobWish], is_live: &dyn Fn(Digest) -> bool) -> Result<(), BlobError> {
        let _one = self.inner.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = self.inner.quota_bytes;
        let blobs: BTreeSet<BlobRef> = coming.iter().map(|wish| wish.blob).collect();
        let unlisted = |index: &Index| {
            let unlisted = blobs.iter().filter(|blob| !index.has(**blob) && !index.arriving.contains_key(blob));
            unlisted.map(|blob| blob.bytes).fold(0, u64::saturating_add)
        };
        let over_quota = |index: &Index| match unlisted(index) {
            0 => 0,
            bytes => index.bytes.saturating_add(bytes).saturating_sub(quota),
        };
        let surplus = over_quota(&self.index());
        if self.free(surplus, is_live) < surplus && over_quota(&self.index()) > 0 {
            let bytes = unlisted(&self.index());
            return Err(BlobError::Full { bytes, limit: Limit::Quota(quota) });
        }
        let bytes = coming.iter().map(BlobWish::bytes).fold(0, u64::saturating_add);
        let free = self.disk_free()?;
        if free < bytes {
            self.free(bytes - free, is_live);
            self.check_disk(bytes)?;
        }
        blobs.into_iter().filter(|blob| pieces_of(*blob) > 1).try_for_each(|blob| self.partial(blob).map(drop))
    }

    /// Whether the disk has so much room, beside what is to stay free.
    ///
    /// # Errors
    /// [`BlobError::Full`] when it has not.
    pub fn check_disk(&self, bytes: u64) -> Result<(), BlobError> {
        let free = self.disk_free()?;
        if free < bytes { Err(BlobError::Full { bytes, limit: Limit::Disk(free) }) } else { Ok(()) }
    }

    /// Bytes of the disk that may still be taken.
    fn disk_free(&self) -> Result<u64, BlobError> {
        let root = &self.inner.layout.root;
        let (free, all) = disk_space(root).map_err(BlobError::reading(root))?;
        Ok(free.saturating_sub(SPARED_BYTES.min(all / SPARED_PART)))
    }

    /// Removes at least so many bytes, if there are that many nobody needs; returns how many.
    fn free(&self, wanted: u64, is_live: &dyn Fn(Digest) -> bool) -> u64 {
        if wanted == 0 {
            return 0;
        }
        let unpinned = self.index().unpinned();
        let mut freed = 0;
        for candidate in unpinned {
            if freed >= wanted {
                break;
            }
            // Asked without the lock: whoever answers may read from this very store.
            if is_live(candidate.victim.digest()) {
                continue;
            }
            let mut index = self.index();
            if !index.is_as_found(&candidate) {
                continue;
            }
            let removed: Vec<_> = match candidate.victim {
                Victim::Whole(digest) => self.inner.remove_whole(&mut index, digest),
                Victim::Arriving(blob) => self.inner.remove_arriving(&mut index, blob).into_iter().collect(),
            };
            // The files go without the lock.
            drop(index);
            drop(removed);
            freed += candidate.bytes;
        }
        freed
    }
}
