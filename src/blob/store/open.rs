//! What is found when a store is opened: an earlier process may have been killed anywhere, and the machine too.
//!
//! Invariant: what is listed as whole either was synced, or has just been verified. What is neither whole nor a part
//! of use is removed.

use std::fs::{self, DirEntry, File};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::index::Index;
use super::layout::{Layout, TREE_ENDING, digest_named, part_named};
use super::partial::Partial;
use crate::blob::BlobError;
use crate::blob::pieces::{MAX_BLOB_BYTES, NoTree, hash, pieces_of, tree_bytes};
use crate::model::{BlobRef, Digest};

/// Lists what is there.
pub(super) fn index(layout: &Layout) -> Result<Index, BlobError> {
    let mut found: Vec<(SystemTime, BlobRef, bool)> = Vec::new();
    for folder in entries(&layout.whole)? {
        for entry in entries(&folder.path())? {
            if let Some((used, blob)) = durable(layout, &entry)? {
                found.push((used, blob, false));
            }
        }
    }
    for entry in entries(&layout.fresh)? {
        if let Some((used, blob)) = verified(layout, &entry)? {
            found.push((used, blob, true));
        }
    }
    found.sort_unstable_by_key(|(used, blob, _)| (*used, *blob));
    let mut index = Index::default();
    for (_, blob, fresh) in found {
        // Both where only the second of its files had been moved.
        if !index.has(blob) {
            index.add(blob, fresh);
        }
    }
    for entry in entries(&layout.part)? {
        let blob = entry.file_name().to_str().and_then(part_named);
        let useful = |blob: &BlobRef| pieces_of(*blob) > 1 && blob.bytes <= MAX_BLOB_BYTES && !index.has(*blob);
        let resumed = blob.filter(useful).and_then(|blob| Some((blob, Partial::resume(blob, entry.path())?)));
        match resumed {
            Some((blob, partial)) => index.add_arriving(blob, Arc::new(partial)),
            None => discard(&entry.path())?,
        }
    }
    Ok(index)
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, BlobError> {
    let listing = fs::read_dir(folder).map_err(BlobError::reading(folder))?;
    listing.map(|entry| entry.map_err(BlobError::reading(folder))).collect()
}

/// A file among the durable ones. One that is not as it was left goes to the fresh ones, to be verified.
fn durable(layout: &Layout, entry: &DirEntry) -> Result<Option<(SystemTime, BlobRef)>, BlobError> {
    let path = entry.path();
    let of = entry.metadata().map_err(BlobError::reading(&path))?;
    let digest = match named(entry) {
        Some((digest, false)) if of.is_file() => digest,
        Some((digest, true)) if layout.files(digest, false).0.exists() => return Ok(None),
        _ => return discard(&path).map(|()| None),
    };
    let blob = BlobRef { digest, bytes: of.len() };
    let (data, tree) = layout.files(digest, false);
    let tree_is = fs::symlink_metadata(&tree).map_or(0, |of| of.len());
    if data == path && tree_is == tree_bytes(blob.bytes) {
        return Ok(Some((of.modified().map_err(BlobError::reading(&path))?, blob)));
    }
    fs::rename(&path, layout.files(digest, true).0).map_err(BlobError::writing(&path))?;
    Ok(None)
}

/// A file among the fresh ones, read from end to end; its tree is made anew.
fn verified(layout: &Layout, entry: &DirEntry) -> Result<Option<(SystemTime, BlobRef)>, BlobError> {
    let path = entry.path();
    let digest = match named(entry) {
        Some((digest, false)) => digest,
        // Its data is seen to by itself, and brings a tree of its own.
        Some((digest, true)) if layout.files(digest, true).0.exists() => return Ok(None),
        _ => return discard(&path).map(|()| None),
    };
    let of = entry.metadata().map_err(BlobError::reading(&path))?;
    let tree = layout.files(digest, true).1;
    discard(&tree)?;
    if !of.is_file() || of.len() > MAX_BLOB_BYTES {
        return discard(&path).map(|()| None);
    }
    let read = File::open(&path).and_then(|data| match tree_bytes(of.len()) {
        0 => hash(data, of.len(), NoTree),
        _ => hash(data, of.len(), File::create_new(&tree)?),
    });
    if read.map_err(BlobError::reading(&path))? != digest {
        discard(&path)?;
        discard(&tree)?;
        return Ok(None);
    }
    let used = of.modified().map_err(BlobError::reading(&path))?;
    Ok(Some((used, BlobRef { digest, bytes: of.len() })))
}

/// Whose file it is, and whether it is the tree.
fn named(entry: &DirEntry) -> Option<(Digest, bool)> {
    let name = entry.file_name();
    let name = name.to_str()?;
    match name.strip_suffix(TREE_ENDING) {
        Some(name) => Some((digest_named(name)?, true)),
        None => Some((digest_named(name)?, false)),
    }
}

/// Removes what is of no use, if it is there.
fn discard(path: &Path) -> Result<(), BlobError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(of) if of.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(BlobError::writing(path))
}
