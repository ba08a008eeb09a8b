//! Outputs, written beneath a directory of the user's as their pieces arrive.
//!
//! Invariant: a file is there with all its bytes or as it was before; what failed leaves nothing behind. No name leads
//! out of the directory, and no link beneath it is followed. What was there before is never made more open, and nothing
//! is more open while it arrives than it is at its end. Absent: asking for pieces.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::error::What;
use super::pieces::{check_size, extent, pieces_of, verify};
use super::source::hash_at;
use super::sys::{self, Folder, Found, split};
use super::walk::shown_at;
use super::{Accepted, BlobError, Hashed};
use crate::model::paths::{check_link, check_path};
use crate::model::{FileMode, IntervalSet, RawString};

/// A directory into which outputs are written.
#[derive(Debug)]
pub struct Delivery {
    root: Folder,
    shown: PathBuf,
}

impl Delivery {
    /// Opens `destination`, which is made when missing, and may be a link to a directory.
    ///
    /// # Errors
    /// When it cannot be made, or is something else.
    pub fn new(destination: &Path) -> Result<Self, BlobError> {
        fs::create_dir_all(destination).map_err(BlobError::writing(destination))?;
        let root = Folder::open(destination).map_err(BlobError::reading(destination))?;
        Ok(Self { root, shown: destination.to_owned() })
    }

    /// Begins to write a file at `name`, making the directories that it is in. Its permissions are those that `file` has,
    /// that the umask leaves, and that the file has which it replaces.
    ///
    /// # Errors
    /// [`BlobError::Path`] when the name is no path beneath a directory, [`BlobError::Conflict`] when a directory is there or
    /// a file is in the way, [`BlobError::ThroughLink`] when a link is.
    pub fn file(&self, name: &[u8], file: Hashed) -> Result<FileDelivery, BlobError> {
        check_size(file.blob)?;
        let place = self.prepare(name)?;
        let draft = draft_name(&place.shown)?;
        let mode = place.mode_left(file.mode)?;
        let data = place.folder.create(&draft, mode).map_err(BlobError::writing(&place.shown))?;
        Ok(FileDelivery { place, draft: Some(draft), data, file, have: IntervalSet::new() })
    }

    /// Whether a file with these bytes is at `name` already; then it gets the rest of what [`Delivery::file`] would give it.
    #[must_use]
    pub fn has(&self, name: &[u8], file: Hashed) -> bool {
        let Ok(place) = self.prepare(name) else { return false };
        let is_alike = |there: Found| there.what == What::File && there.bytes == file.blob.bytes;
        if !place.folder.look_for(&place.name).is_ok_and(|there| there.is_some_and(is_alike)) {
            return false;
        }
        // What cannot be read or changed is replaced.
        let has = hash_at(&place.folder, &place.name, &place.shown).is_ok_and(|there| there.blob == file.blob);
        let finish = |there: File| sys::finish(&there, file.mode, file.modified_ns);
        has && place.folder.open_file(&place.name).and_then(finish).is_ok()
    }

    /// Makes the directory `name`, unless it exists, and lets its owner fill it: to be called before anything is put into
    /// it that is closed to its owner. [`Delivery::finish`] ends that.
    ///
    /// # Errors
    /// As [`Delivery::file`].
    pub fn directory(&self, name: &[u8], mode: FileMode) -> Result<(), BlobError> {
        check(name)?;
        let made = self.root.beneath_to_fill(name, mode);
        made.map(drop).map_err(BlobError::making_way(&shown_at(&self.shown, name)))
    }

    /// Gives a directory that was filled its permissions, those that it had before or that the umask left and that are in
    /// `mode`, and its time. What is in it comes first.
    ///
    /// # Errors
    /// As [`Delivery::file`].
    pub fn finish(&self, name: &[u8], mode: FileMode, modified_ns: Option<i64>) -> Result<(), BlobError> {
        check(name)?;
        let finished = self.root.beneath(name).and_then(|folder| folder.finish(mode, modified_ns));
        finished.map_err(BlobError::writing(&shown_at(&self.shown, name)))
    }

    /// Makes a symbolic link at `name`, instead of whatever file or link is there.
    ///
    /// # Errors
    /// As [`Delivery::file`], and [`BlobError::Link`] when it would lead out of the destination.
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> Result<(), BlobError> {
        check(name)?;
        if let Err(fault) = check_link(name, target) {
            let path = shown_at(&self.shown, name);
            return Err(BlobError::Link { path, target: RawString(target.to_vec()), fault });
        }
        let place = self.prepare(name)?;
        let draft = draft_name(&place.shown)?;
        let linked = place.folder.link(&draft, target).map_err(BlobError::writing(&place.shown));
        linked.and_then(|()| place.put(&draft))
    }

    /// Where `name` is to be.
    fn prepare(&self, name: &[u8]) -> Result<Place, BlobError> {
        check(name)?;
        let shown = shown_at(&self.shown, name);
        let (parent, name) = split(name);
        let folder = self.root.beneath_made(parent).map_err(BlobError::making_way(&shown))?;
        let there = folder.look_for(name).map_err(BlobError::reading(&shown))?;
        if there.is_some_and(|there| there.what == What::Directory) {
            return Err(BlobError::Conflict { path: shown });
        }
        Ok(Place { folder, name: name.to_vec(), shown })
    }
}

fn check(name: &[u8]) -> Result<(), BlobError> {
    check_path(name).map_err(|fault| BlobError::Path { path: RawString(name.to_vec()), fault })
}

/// A name that nothing has, beside the one it will get.
fn draft_name(shown: &Path) -> Result<Vec<u8>, BlobError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| BlobError::writing(shown)(io::Error::other(error)))?;
    Ok(format!(".octaskly-{}.part", HEXLOWER.encode(&random)).into_bytes())
}

/// A name in a directory.
#[derive(Debug)]
struct Place {
    folder: Folder,
    name: Vec<u8>,
    shown: PathBuf,
}

impl Place {
    /// What is left of `mode` when the file at this place is not made more open.
    fn mode_left(&self, mode: FileMode) -> Result<FileMode, BlobError> {
        let there = self.folder.look_for(&self.name).map_err(BlobError::reading(&self.shown))?;
        Ok(match there {
            Some(there) if there.what == What::File => mode.and(there.mode),
            _ => mode,
        })
    }

    /// Gives the draft its name, or removes it.
    fn put(&self, draft: &[u8]) -> Result<(), BlobError> {
        self.folder.rename(draft, &self.folder, &self.name).map_err(|error| {
            // The first error is the one to tell.
            let _ = self.folder.remove(draft);
            BlobError::writing(&self.shown)(error)
        })
    }
}

/// A file that is arriving. Dropped before [`FileDelivery::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct FileDelivery {
    place: Place,
    /// Its name until it is finished; `None` once it has its own, or none any more.
    draft: Option<Vec<u8>>,
    data: File,
    file: Hashed,
    have: IntervalSet,
}

impl FileDelivery {
    /// The pieces that are still wanted: none of an empty file.
    #[must_use]
    pub fn missing(&self) -> IntervalSet {
        let mut missing = match pieces_of(self.file.blob) {
            0 => IntervalSet::new(),
            pieces => IntervalSet::from_range(0, pieces - 1),
        };
        for (first, last) in self.have.ranges() {
            missing.remove_range(first, last);
        }
        missing
    }

    /// Takes a piece that came from anywhere.
    ///
    /// # Errors
    /// [`BlobError::Corrupt`] when the bytes are not exactly that piece, or that the disk cannot be written; either way
    /// the piece is still missing.
    pub fn accept(&mut self, piece: u64, encoded: &[u8]) -> Result<Accepted, BlobError> {
        if !self.have.contains(piece) {
            let verified = verify(self.file.blob, piece, encoded)?;
            let written = self.data.write_all_at(&verified.bytes, extent(self.file.blob, piece).0);
            written.map_err(BlobError::writing(&self.place.shown))?;
            self.have.insert(piece);
        }
        let whole = self.have.len() == pieces_of(self.file.blob);
        Ok(if whole { Accepted::Complete } else { Accepted::More })
    }

    /// Gives the file its name, instead of whatever file was there.
    ///
    /// # Errors
    /// [`BlobError::Unfinished`] when pieces are missing, or that it cannot be renamed.
    pub fn finish(mut self) -> Result<(), BlobError> {
        if self.have.len() < pieces_of(self.file.blob) {
            return Err(BlobError::Unfinished { path: self.place.shown.clone() });
        }
        // The file that it replaces may be another one by now.
        let mode = self.place.mode_left(self.file.mode)?;
        sys::finish(&self.data, mode, self.file.modified_ns).map_err(BlobError::writing(&self.place.shown))?;
        match self.draft.take() {
            Some(draft) => self.place.put(&draft),
            None => Ok(()),
        }
    }
}

impl Drop for FileDelivery {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            let _ = self.place.folder.remove(&draft);
        }
    }
}
