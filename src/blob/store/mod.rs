//! The blobs of one node, on disk.
//!
//! A blob is **arriving** (some pieces are here), or **whole**; a whole one is durable once [`BlobStore::sync`] has
//! returned. Invariant: what is listed as whole was right when it was listed, and is verified again by whatever reads
//! it, so that a file that somebody changed behind the store's back is noticed and dropped instead of passed on.
//! A store belongs to one process at a time; whoever opens it holds the lock of the home that it is in. Absent: what
//! is to be kept (the caller says what is live), and when (the caller says when to collect).

mod index;
mod keep;
mod layout;
mod open;
mod partial;
mod room;
mod sync;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::index::Index;
use self::layout::{Layout, Scratch};
use self::partial::{Partial, Written};
use super::BlobError;
use super::copying::hash_of;
use super::pieces::{EncodeFault, check_size, digest_of, encode, pieces_of, tree_bytes, verify};
use super::sys::{is_unreadable, touch};
use crate::model::{BlobRef, Digest, IntervalSet};

/// A store of blobs; clones are the same store. All calls block, and may be made from any number of threads.
///
/// Blobs come in by [`accept`](Self::accept), [`insert_bytes`](Self::insert_bytes) and
/// [`insert_file`](Self::insert_file), and go out by [`encode`](Self::encode), [`read`](Self::read) and
/// [`place`](super::place()). Room is made by [`make_room`](Self::make_room) *before* a blob comes in, never by
/// itself; a blob that must stay while it is worked with is held by [`pin`](Self::pin).
#[derive(Debug, Clone)]
pub struct BlobStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    quota_bytes: u64,
    index: Mutex<Index>,
    /// Held by who makes things durable, so that a second one waits for the first.
    syncing: Mutex<()>,
    /// Held by who makes room, until it is taken: nobody else is to count on the same.
    making_room: Mutex<()>,
}

/// What an accepted piece means for its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Others are missing.
    More,
    /// All of it is here.
    Complete,
}

/// How a file becomes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It is not there any more afterwards, unless its directory is closed to its owner. Costs no copy when it is on the
    /// store's file system and has no other name.
    Move,
    /// It stays where it is.
    Copy,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of whole blobs, and of arriving ones what they will have when they are whole.
    pub bytes: u64,
    /// Whole and arriving blobs.
    pub blobs: u64,
    /// What [`BlobStore::collect`] gets the bytes down to.
    pub quota_bytes: u64,
}

/// Keeps blobs, whole and arriving, from being collected as long as it lives.
#[derive(Debug)]
#[must_use = "nothing is pinned any more once this is dropped"]
pub struct Pins {
    inner: Arc<Inner>,
    digests: Vec<Digest>,
}

/// The files of a whole blob, opened.
#[derive(Debug)]
struct Opened {
    data: File,
    /// `None` when the blob is one group.
    tree: Option<File>,
}

impl BlobStore {
    /// Opens the store in `folder`, which is made when missing. Blobs that had come in since the last
    /// [`sync`](Self::sync) of an earlier process are read and verified; all others are believed for now.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, quota_bytes: u64) -> Result<Self, BlobError> {
        let layout = Layout::open(folder)?;
        let index = open::index(&layout)?;
        let inner = Inner {
            layout,
            quota_bytes,
            index: Mutex::new(index),
            syncing: Mutex::new(()),
            making_room: Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether all of the blob is here. The empty blob always is.
    #[must_use]
    pub fn has(&self, digest: Digest) -> bool {
        digest == super::EMPTY || self.index().whole.contains_key(&digest)
    }

    /// The pieces of the blob that are not here: none when it is whole, or empty.
    #[must_use]
    pub fn missing(&self, blob: BlobRef) -> IntervalSet {
        if pieces_of(blob) == 0 {
            return IntervalSet::new();
        }
        let index = self.index();
        if index.has(blob) {
            return IntervalSet::new();
        }
        match index.arriving.get(&blob) {
            Some(arriving) => arriving.partial.missing(),
            None => IntervalSet::from_range(0, pieces_of(blob) - 1),
        }
    }

    /// A piece made ready to travel, at most [`MAX_ENCODED_PIECE`](super::MAX_ENCODED_PIECE) bytes. A piece of an
    /// arriving blob will do, when it is here.
    ///
    /// # Errors
    /// [`BlobError::MissingPiece`], [`BlobError::Damaged`], or that the disk cannot be read.
    pub fn encode(&self, blob: BlobRef, piece: u64) -> Result<Vec<u8>, BlobError> {
        check_size(blob)?;
        let missing = BlobError::MissingPiece { digest: blob.digest, piece };
        if piece >= pieces_of(blob) {
            return Err(missing);
        }
        let partial = match self.open_whole(blob) {
            Ok(opened) => return self.encode_whole(blob, piece, &opened),
            Err(BlobError::Missing { .. }) => self.index().arriving.get(&blob).map(|found| found.partial.clone()),
            Err(error) => return Err(error),
        };
        partial.ok_or(missing)?.encode(piece)
    }

    /// Takes a piece that came from anywhere. One that is here already changes nothing.
    ///
    /// # Errors
    /// [`BlobError::Corrupt`] when the bytes are not exactly that piece; then nothing has changed. Else that the disk
    /// cannot be written; then the piece is still missing.
    pub fn accept(&self, blob: BlobRef, piece: u64, encoded: &[u8]) -> Result<Accepted, BlobError> {
        check_size(blob)?;
        if pieces_of(blob) == 0 || self.index().has(blob) {
            return Ok(Accepted::Complete);
        }
        let verified = verify(blob, piece, encoded)?;
        if pieces_of(blob) == 1 {
            self.keep_piece(blob, &verified)?;
            return Ok(Accepted::Complete);
        }
        loop {
            let Some(partial) = self.partial(blob)? else { return Ok(Accepted::Complete) };
            match partial.write(piece, &verified)? {
                Written::More => return Ok(Accepted::More),
                Written::Last => return self.finish(blob, &partial, piece),
                // Removed, or made whole by another thread: look again which.
                Written::Gone => {}
            }
        }
    }

    /// All bytes of a small blob, verified.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`], [`BlobError::TooLarge`] beyond `at_most` bytes.
    pub fn read(&self, blob: BlobRef, at_most: usize) -> Result<Vec<u8>, BlobError> {
        check_size(blob)?;
        if blob.bytes > at_most as u64 {
            return Err(BlobError::TooLarge { digest: blob.digest, bytes: blob.bytes, bound: at_most as u64 });
        }
        if blob.bytes == 0 {
            return Ok(Vec::new());
        }
        let data = self.open_data(blob)?;
        let mut bytes = Vec::with_capacity(blob.bytes as usize);
        let path = self.inner.layout.files(blob.digest, false).0;
        (&data).take(blob.bytes + 1).read_to_end(&mut bytes).map_err(BlobError::reading(&path))?;
        if digest_of(&bytes) == blob.digest { Ok(bytes) } else { Err(self.damaged(blob.digest)) }
    }

    /// Keeps these blobs, whether they are here or not yet, from being collected.
    pub fn pin(&self, digests: impl IntoIterator<Item = Digest>) -> Pins {
        let digests: Vec<_> = digests.into_iter().collect();
        let mut index = self.index();
        for digest in &digests {
            index.pin(*digest);
        }
        Pins { inner: self.inner.clone(), digests }
    }

    /// How much is kept.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let index = self.index();
        let blobs = index.whole.len() + index.arriving.len();
        Usage { bytes: index.bytes, blobs: blobs as u64, quota_bytes: self.inner.quota_bytes }
    }

    /// The data of a whole blob; whoever reads it has to verify it, and call [`BlobStore::damaged`].
    pub(super) fn open_data(&self, blob: BlobRef) -> Result<File, BlobError> {
        let opened = self.open_whole(blob)?;
        // When it was used last outlives this process as the file's own time; that it cannot be set harms nobody.
        let _ = touch(&opened.data);
        Ok(opened.data)
    }

    /// Drops a whole blob whose bytes are not what they were, and says so.
    pub(super) fn damaged(&self, digest: Digest) -> BlobError {
        let mut index = self.index();
        let removed = self.inner.remove_whole(&mut index, digest);
        drop(index);
        drop(removed);
        BlobError::Damaged { digest }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.inner.index()
    }

    fn open_whole(&self, blob: BlobRef) -> Result<Opened, BlobError> {
        let missing = BlobError::Missing { digest: blob.digest };
        // Under the lock, so that the files do not move meanwhile.
        let mut index = self.index();
        let Some(whole) = index.used(blob) else {
            drop(index);
            return Err(self.question(blob.digest).unwrap_or(missing));
        };
        let (data, tree) = self.inner.layout.files(blob.digest, whole.fresh.is_some());
        let open = |path: PathBuf| File::open(&path).map_err(|error| (path, error));
        let opened = open(data).and_then(|data| {
            let tree = if tree_bytes(blob.bytes) == 0 { None } else { Some(open(tree)?) };
            Ok(Opened { data, tree })
        });
        opened.map_err(|(path, error)| {
            if error.kind() != io::ErrorKind::NotFound {
                return BlobError::reading(&path)(error);
            }
            // Somebody has removed it.
            drop(self.inner.remove_whole(&mut index, blob.digest));
            missing
        })
    }

    /// A blob is asked for under a size that it has not here. Who asks may be wrong, or what is here was cut short
    /// behind the store's back; then it is dropped. That is looked at once, since it costs a reading of the whole.
    fn question(&self, digest: Digest) -> Option<BlobError> {
        let (path, bytes) = {
            let mut index = self.index();
            let whole = index.whole.get_mut(&digest).filter(|whole| !whole.questioned)?;
            whole.questioned = true;
            (self.inner.layout.files(digest, whole.fresh.is_some()).0, whole.bytes)
        };
        let found = File::open(&path).and_then(|data| hash_of(&data, bytes));
        found.is_ok_and(|found| found != digest).then(|| self.damaged(digest))
    }

    fn encode_whole(&self, blob: BlobRef, piece: u64, opened: &Opened) -> Result<Vec<u8>, BlobError> {
        if piece == 0 {
            let _ = touch(&opened.data);
        }
        let encoded = match &opened.tree {
            Some(tree) => encode(blob, piece, &opened.data, tree),
            None => encode(blob, piece, &opened.data, &[0; 0][..]),
        };
        encoded.map_err(|fault| match fault {
            EncodeFault::Wrong => self.damaged(blob.digest),
            // A sector that cannot be read, or a file that was cut: it is not here any more, and somebody else may have it.
            EncodeFault::Io(error) if is_unreadable(&error) => self.damaged(blob.digest),
            EncodeFault::Io(error) => BlobError::reading(&self.inner.layout.files(blob.digest, false).0)(error),
        })
    }

    /// The arriving blob, begun when need be; `None` when it is whole already.
    fn partial(&self, blob: BlobRef) -> Result<Option<Arc<Partial>>, BlobError> {
        let mut index = self.index();
        if index.has(blob) {
            return Ok(None);
        }
        let used = index.next_use();
        if let Some(arriving) = index.arriving.get_mut(&blob) {
            arriving.used = used;
            return Ok(Some(arriving.partial.clone()));
        }
        let partial = Arc::new(Partial::begin(blob, self.inner.layout.part(blob))?);
        index.add_arriving(blob, partial.clone());
        Ok(Some(partial))
    }

    /// Makes a blob whole whose last piece, `piece`, was written.
    fn finish(&self, blob: BlobRef, partial: &Arc<Partial>, piece: u64) -> Result<Accepted, BlobError> {
        match partial.prove() {
            Ok(true) => {}
            Ok(false) => {
                partial.give_up(None);
                return Ok(Accepted::More);
            }
            Err(error) => {
                partial.give_up(Some(piece));
                return Err(error);
            }
        }
        let settled = self.settle_partial(blob, partial);
        if settled.is_err() {
            partial.give_up(Some(piece));
        }
        settled
    }
}

impl Inner {
    fn index(&self) -> MutexGuard<'_, Index> {
        // Whoever panicked under it was not between two changes that belong together.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a whole blob; its files go when what is returned is dropped, which takes time and needs no lock.
    fn remove_whole(&self, index: &mut Index, digest: Digest) -> Vec<Scratch> {
        let Some(whole) = index.drop_whole(digest) else { return Vec::new() };
        let (data, tree) = self.layout.files(digest, whole.fresh.is_some());
        // The data first: a tree without data is swept away by the next start.
        [data, tree].iter().map(|path| self.set_aside(path)).collect()
    }

    /// Forgets an arriving blob, as above.
    fn remove_arriving(&self, index: &mut Index, blob: BlobRef) -> Option<Scratch> {
        let partial = index.drop_arriving(blob)?;
        let mut state = partial.state();
        state.gone = true;
        Some(self.set_aside(partial.folder()))
    }

    /// Moves what is at `path`, if anything is, to where it will be removed.
    fn set_aside(&self, path: &Path) -> Scratch {
        let scratch = self.layout.scratch();
        if std::fs::rename(path, scratch.path()).is_err() {
            // What cannot even be renamed stays; the next start finds it.
            let _ = std::fs::remove_file(path);
        }
        scratch
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut index = self.inner.index();
        for digest in &self.digests {
            let left = index.pins.get_mut(digest).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 {
                index.pins.remove(digest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
