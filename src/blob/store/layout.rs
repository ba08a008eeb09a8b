//! Where the files of a store are.
//!
//! ```text
//! whole/xx/HEX      a blob that is durable; xx is the beginning of HEX, its digest
//! whole/xx/HEX.tree its tree, when it has one
//! fresh/            the same, flat: whole, but not yet durable; verified when the store is opened
//! part/HEX-BYTES/   a blob of BYTES bytes that is arriving: `data`, `tree`, and `have`, one bit for each piece
//! tmp/              what is being made or removed; emptied when the store is opened
//! ```
//! Invariant: a file moves from one of these to the next by rename, so each is complete for what its folder says.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blob::BlobError;
use crate::model::{BlobRef, Digest};

/// Ending of the name of a tree.
pub(super) const TREE_ENDING: &str = ".tree";

/// The folders of a store.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) whole: PathBuf,
    pub(super) fresh: PathBuf,
    pub(super) part: PathBuf,
    pub(super) tmp: PathBuf,
    /// Numbers what is in `tmp`.
    next: AtomicU64,
}

impl Layout {
    /// Makes what is missing, for this user alone, and empties `tmp`.
    pub(super) fn open(root: &Path) -> Result<Self, BlobError> {
        let within = |name| root.join(name);
        let layout = Self {
            root: root.to_owned(),
            whole: within("whole"),
            fresh: within("fresh"),
            part: within("part"),
            tmp: within("tmp"),
            next: AtomicU64::new(0),
        };
        make_private(root, true)?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(BlobError::writing(root))?;
        if layout.tmp.exists() {
            fs::remove_dir_all(&layout.tmp).map_err(BlobError::writing(&layout.tmp))?;
        }
        for folder in [&layout.whole, &layout.fresh, &layout.part, &layout.tmp] {
            make_private(folder, false)?;
        }
        Ok(layout)
    }

    /// The data and the tree of a whole blob.
    pub(super) fn files(&self, digest: Digest, fresh: bool) -> (PathBuf, PathBuf) {
        let name = digest.to_string();
        let folder = if fresh { self.fresh.clone() } else { self.whole.join(&name[..2]) };
        (folder.join(&name), folder.join(name + TREE_ENDING))
    }

    /// The folder of a blob that is arriving.
    pub(super) fn part(&self, blob: BlobRef) -> PathBuf {
        self.part.join(format!("{}-{}", blob.digest, blob.bytes))
    }

    /// A name that nothing has.
    pub(super) fn scratch(&self) -> Scratch {
        Scratch { path: self.tmp.join(self.next.fetch_add(1, Ordering::Relaxed).to_string()) }
    }
}

/// The digest that a file is named after.
pub(super) fn digest_named(name: &str) -> Option<Digest> {
    let bytes = data_encoding::HEXLOWER.decode(name.as_bytes()).ok()?;
    Some(Digest(bytes.try_into().ok()?))
}

/// The blob that a folder of `part` is named after.
pub(super) fn part_named(name: &str) -> Option<BlobRef> {
    let (digest, bytes) = name.split_once('-')?;
    Some(BlobRef { digest: digest_named(digest)?, bytes: bytes.parse().ok()? })
}

/// Makes a folder for this user alone, unless it exists.
pub(super) fn make_private(path: &Path, with_parents: bool) -> Result<(), BlobError> {
    match DirBuilder::new().mode(0o700).recursive(with_parents).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(BlobError::writing(path)(error)),
        _ => Ok(()),
    }
}

/// A path in `tmp`. Whatever is there when it is dropped goes: a file, or a folder of files.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file there.
    pub(super) fn create(&self) -> Result<File, BlobError> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        options.open(&self.path).map_err(BlobError::writing(&self.path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays, the next start removes.
        if fs::remove_file(&self.path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
