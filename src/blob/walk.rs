//! All that is in a directory, as the entries of its manifest.
//!
//! Invariant: nothing outside the directory is looked at, and every entry is one that a manifest may have. At most two
//! directories are open at once, however deep they lie. Absent: what happens to each file, which the caller says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::error::What;
use super::sys::Folder;
use super::{BlobError, Hashed};
use crate::model::files::{TreeEntry, TreeKind};
use crate::model::limits::MAX_MANIFEST_ENTRIES;
use crate::model::paths::{check_link, check_path};
use crate::model::{FileMode, RawString};

/// What a file becomes. Given its folder, its name there, and its path as it is shown.
pub(super) type TakeFile<'a> = dyn FnMut(&Folder, &[u8], &Path) -> Result<Hashed, BlobError> + 'a;

/// A directory: its entries, sorted by path, the bytes of all its files, and what it is itself.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) entries: Vec<TreeEntry>,
    pub(super) total_bytes: u64,
    pub(super) mode: FileMode,
    pub(super) modified_ns: Option<i64>,
}

/// Lists `root`, which is shown as `shown`, and has `take` take every file.
pub(super) fn walk(root: &Folder, shown: &Path, take: &mut TakeFile<'_>) -> Result<Walked, BlobError> {
    let mut walked = Walked::default();
    let mut to_visit = vec![Vec::new()];
    while let Some(path) = to_visit.pop() {
        let here = shown_at(shown, &path);
        let folder = root.beneath(&path).map_err(BlobError::reading(&here))?;
        // Before any file is taken from it.
        let itself = folder.found().map_err(BlobError::reading(&here))?;
        let (mode, modified_ns) = (itself.mode, itself.modified_ns());
        if path.is_empty() {
            (walked.mode, walked.modified_ns) = (mode, modified_ns);
        } else {
            let kind = TreeKind::Directory { mode, modified_ns };
            walked.entries.push(TreeEntry { path: RawString(path.clone()), kind });
        }
        let too_many = || BlobError::TooManyEntries { path: shown.to_owned() };
        let left = MAX_MANIFEST_ENTRIES.saturating_sub(walked.entries.len() + to_visit.len());
        let found = folder.entries(left).map_err(BlobError::reading(&here))?.ok_or_else(too_many)?;
        for (name, what) in found {
            let inner = joined(&path, &name);
            check_path(&inner).map_err(|fault| BlobError::Path { path: RawString(inner.clone()), fault })?;
            match entry(&folder, &name, what, &inner, shown, take)? {
                Some(kind) => {
                    if let TreeKind::File { blob, .. } = &kind {
                        walked.total_bytes = walked.total_bytes.saturating_add(blob.bytes);
                    }
                    walked.entries.push(TreeEntry { path: RawString(inner), kind });
                }
                None => to_visit.push(inner),
            }
        }
    }
    walked.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(walked)
}

/// What stands at `path`; `None` for a directory.
fn entry(
    folder: &Folder,
    name: &[u8],
    what: What,
    path: &[u8],
    shown: &Path,
    take: &mut TakeFile<'_>,
) -> Result<Option<TreeKind>, BlobError> {
    let here = shown_at(shown, path);
    match what {
        What::Directory => Ok(None),
        What::File => {
            let Hashed { blob, mode, modified_ns } = take(folder, name, &here)?;
            Ok(Some(TreeKind::File { blob, mode, modified_ns }))
        }
        What::Symlink => {
            let target = RawString(folder.target(name).map_err(BlobError::reading(&here))?);
            match check_link(path, target.as_bytes()) {
                Ok(()) => Ok(Some(TreeKind::Symlink(target))),
                Err(fault) => Err(BlobError::Link { path: here, target, fault }),
            }
        }
        found => Err(BlobError::Kind { path: here, found }),
    }
}

/// `path` beneath `root` as it is shown and opened.
pub(super) fn shown_at(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_owned() } else { root.join(OsStr::from_bytes(path)) }
}

/// `name` in the directory at `path`, which is empty for the root.
pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}
