//! A directory of a client's, made ready to be uploaded from where it lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::BlobError;
use super::source::hash_at;
use super::sys::Folder;
use super::walk::{Walked, walk};
use crate::model::files::TreeEntry;
use crate::model::{BlobRef, FileMode};

/// A directory as it was when it was looked at.
#[derive(Debug)]
pub struct ScannedTree {
    /// The entries of its manifest, sorted by path; every directory beneath it is one.
    pub entries: Vec<TreeEntry>,
    /// Who may do what with the directory itself.
    pub mode: FileMode,
    /// When an entry of it was last made or removed, in nanoseconds since 1970; `None` when that is centuries away.
    pub modified_ns: Option<i64>,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Each different file in it, and one place to read it from (a [`Source`](super::Source)). The empty file is not
    /// among them: it needs no reading.
    pub files: BTreeMap<BlobRef, PathBuf>,
}

/// Reads the directory at `root`, which may be a symbolic link, and hashes all files in it.
///
/// Symbolic links are kept as they are when they lead to something inside. Nothing beneath one is visited.
///
/// # Errors
/// [`BlobError::Link`] for one that is absolute or leads out of `root`, [`BlobError::Kind`] for what is neither file nor
/// directory, [`BlobError::Changed`] for a file that was written meanwhile, or that something cannot be read.
pub fn scan_tree(root: &Path) -> Result<ScannedTree, BlobError> {
    let folder = Folder::open(root).map_err(BlobError::reading(root))?;
    let mut files = BTreeMap::new();
    let walked = walk(&folder, root, &mut |folder, name, path| {
        let hashed = hash_at(folder, name, path)?;
        if hashed.blob.bytes > 0 {
            files.entry(hashed.blob).or_insert_with(|| path.to_owned());
        }
        Ok(hashed)
    })?;
    let Walked { entries, total_bytes, mode, modified_ns } = walked;
    Ok(ScannedTree { entries, mode, modified_ns, total_bytes, files })
}
