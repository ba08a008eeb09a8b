//! A manifest: the files of a directory as one blob.
//!
//! ```text
//! "OTM" 02                      what it is, and the version of its form
//! then, for each entry, in the order of their paths as bytes:
//!   kind     u8                 0 directory, 1 file, 2 symbolic link; 4 directory with a time, 5 file with a time
//!   length   u16 LE, path
//!   of links: length u16 LE, target
//!   of others: permission bits, u16 LE; of those with a time: when it was last written, i64 LE, ns since 1970
//!   of files: digest, 32 bytes; size, u64 LE
//! ```
//! Invariant: one set of entries has one encoding, so equal directories are one
//! blob; and whatever decodes can be written out beneath any directory without
//! leaving it. Absent: files.

use std::borrow::Borrow;

use super::WireError;
pub use super::error::ManifestFault;
use crate::model::FileMode;
use crate::model::files::{TreeEntry, TreeKind};
use crate::model::limits::{MAX_MANIFEST_BYTES, MAX_MANIFEST_ENTRIES, MAX_PATH_BYTES};
use crate::model::paths::check_link;
pub use crate::model::paths::{PathFault, check_path};
use crate::model::{BlobRef, Digest, RawString};

/// What a manifest begins with: three letters, and the version of what follows.
const MAGIC: [u8; 4] = *b"OTM\x02";

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
/// Added to the kind of what has a time.
const DATED: u8 = 4;
const DATED_DIRECTORY: u8 = DATED + DIRECTORY;
const DATED_FILE: u8 = DATED + FILE;

const _: () = assert!(MAX_PATH_BYTES <= u16::MAX as usize, "a path's length fits into its field");

/// The bytes of the manifest with these entries, whatever order they come in.
///
/// # Errors
/// When two have the same path, one is beneath another that is no directory, a path or target is not what
/// [`check_path`] allows, or there are more than a manifest may have.
pub fn encode(entries: &[TreeEntry]) -> Result<Vec<u8>, WireError> {
    at_most("entries of a manifest", entries.len(), MAX_MANIFEST_ENTRIES)?;
    let mut sorted: Vec<&TreeEntry> = entries.iter().collect();
    sorted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut bytes = MAGIC.to_vec();
    for (index, entry) in sorted.iter().enumerate() {
        check(&sorted[..index], entry)?;
        write_entry(entry, &mut bytes);
        at_most("bytes of a manifest", bytes.len(), MAX_MANIFEST_BYTES)?;
    }
    Ok(bytes)
}

/// The entries of a manifest, sorted by path.
///
/// # Errors
/// When the bytes are not exactly what [`encode`] makes of some entries.
pub fn decode(bytes: &[u8]) -> Result<Vec<TreeEntry>, WireError> {
    at_most("bytes of a manifest", bytes.len(), MAX_MANIFEST_BYTES)?;
    let mut rest = bytes.strip_prefix(&MAGIC).ok_or(WireError::NoManifest)?;
    let mut entries: Vec<TreeEntry> = Vec::new();
    while !rest.is_empty() {
        at_most("entries of a manifest", entries.len() + 1, MAX_MANIFEST_ENTRIES)?;
        let entry = read_entry(entries.len(), &mut rest)?;
        check(&entries, &entry)?;
        entries.push(entry);
    }
    Ok(entries)
}

/// Checks `entry`, the next behind `before`.
fn check<E: Borrow<TreeEntry>>(before: &[E], entry: &TreeEntry) -> Result<(), WireError> {
    let fault = |fault| WireError::Manifest { entry: before.len(), fault };
    let path = entry.path.as_bytes();
    check_path(path).map_err(|path| fault(ManifestFault::Path(path)))?;
    if let TreeKind::Symlink(target) = &entry.kind {
        check_link(path, target.as_bytes()).map_err(|link| fault(ManifestFault::Link(link)))?;
    }
    let Some(last) = before.last().map(Borrow::borrow) else { return Ok(()) };
    if last.path >= entry.path {
        return Err(fault(ManifestFault::Order));
    }
    // What is above the last entry was looked at with it; most entries are its siblings.
    if parent(last.path.as_bytes()) == parent(path) {
        return Ok(());
    }
    let mut above = parent(path);
    while let Some(folder) = above {
        let found = before.binary_search_by(|other| other.borrow().path.as_bytes().cmp(folder));
        if found.is_ok_and(|at| !matches!(before[at].borrow().kind, TreeKind::Directory { .. })) {
            return Err(fault(ManifestFault::Beneath));
        }
        above = parent(folder);
    }
    Ok(())
}

/// The path of the directory that `path` is in, when it is not the root.
fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|byte| *byte == b'/').map(|at| &path[..at])
}

fn write_entry(entry: &TreeEntry, bytes: &mut Vec<u8>) {
    let (kind, attributes) = match &entry.kind {
        TreeKind::Directory { mode, modified_ns } => (DIRECTORY, Some((mode, modified_ns))),
        TreeKind::File { mode, modified_ns, .. } => (FILE, Some((mode, modified_ns))),
        TreeKind::Symlink(_) => (SYMLINK, None),
    };
    let is_dated = attributes.is_some_and(|(_, modified_ns)| modified_ns.is_some());
    bytes.push(if is_dated { DATED + kind } else { kind });
    write_text(&entry.path, bytes);
    if let Some((mode, modified_ns)) = attributes {
        bytes.extend_from_slice(&mode.bits().to_le_bytes());
        bytes.extend(modified_ns.iter().flat_map(|at| at.to_le_bytes()));
    }
    match &entry.kind {
        TreeKind::Directory { .. } => {}
        TreeKind::File { blob, .. } => {
            bytes.extend_from_slice(&blob.digest.0);
            bytes.extend_from_slice(&blob.bytes.to_le_bytes());
        }
        TreeKind::Symlink(target) => write_text(target, bytes),
    }
}

/// The entry has passed `check`, so its texts are at most [`MAX_PATH_BYTES`] long.
fn write_text(text: &RawString, bytes: &mut Vec<u8>) {
    debug_assert!(text.len() <= MAX_PATH_BYTES);
    bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn read_entry(index: usize, rest: &mut &[u8]) -> Result<TreeEntry, WireError> {
    let fault = |fault| WireError::Manifest { entry: index, fault };
    let [kind] = take(rest)?;
    let path = read_text(rest)?;
    let kind = match kind {
        DIRECTORY | FILE | DATED_DIRECTORY | DATED_FILE => {
            let bits = u16::from_le_bytes(take(rest)?);
            let mode = FileMode::try_from(bits).map_err(|bits| fault(ManifestFault::Mode(bits)))?;
            let modified_ns = if kind >= DATED { Some(i64::from_le_bytes(take(rest)?)) } else { None };
            match kind {
                DIRECTORY | DATED_DIRECTORY => TreeKind::Directory { mode, modified_ns },
                _ => {
                    let digest = Digest(take(rest)?);
                    let blob = BlobRef { digest, bytes: u64::from_le_bytes(take(rest)?) };
                    TreeKind::File { blob, mode, modified_ns }
                }
            }
        }
        SYMLINK => TreeKind::Symlink(read_text(rest)?),
        unknown => return Err(fault(ManifestFault::Kind(unknown))),
    };
    Ok(TreeEntry { path, kind })
}

fn read_text(rest: &mut &[u8]) -> Result<RawString, WireError> {
    let length = usize::from(u16::from_le_bytes(take(rest)?));
    at_most("bytes of a path", length, MAX_PATH_BYTES)?;
    let (text, behind) = rest.split_at_checked(length).ok_or(WireError::Truncated)?;
    *rest = behind;
    Ok(RawString(text.to_vec()))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (front, behind) = rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
    *rest = behind;
    Ok(*front)
}

fn at_most(what: &'static str, length: usize, bound: usize) -> Result<(), WireError> {
    if length > bound { Err(WireError::ListTooLong { what, length, bound }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::paths::LinkFault;

    fn file(path: &str, byte: u8) -> TreeEntry {
        let blob = BlobRef { digest: Digest([byte; 32]), bytes: u64::from(byte) };
        TreeEntry {
            path: path.into(),
            kind: TreeKind::File { blob, mode: FileMode::of(0o600 + u32::from(byte)), modified_ns: None },
        }
    }

    fn link(path: &str, target: &str) -> TreeEntry {
        TreeEntry { path: path.into(), kind: TreeKind::Symlink(target.into()) }
    }

    fn directory(path: &str) -> TreeEntry {
        TreeEntry { path: path.into(), kind: TreeKind::Directory { mode: FileMode::of(0o750), modified_ns: None } }
    }

    fn fault(entries: &[TreeEntry]) -> Option<ManifestFault> {
        match encode(entries) {
            Err(WireError::Manifest { fault, .. }) => Some(fault),
            other => other.map(|_| None).expect("only faults of an entry"),
        }
    }

    #[test]
    fn a_manifest_has_one_form_whatever_order_its_entries_come_in() {
        let entries = [directory("a"), file("a/b", 3), file("a-b", 2), link("a/l", "../a-b"), file("é\n", 1)];
        let bytes = encode(&entries).expect("a directory");
        let mut turned = entries.clone();
        turned.reverse();
        assert_eq!(encode(&turned), Ok(bytes.clone()));
        let decoded = decode(&bytes).expect("a manifest");
        let paths: Vec<_> = decoded.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(paths, ["a", "a-b", "a/b", "a/l", "é\n"]);
        assert_eq!(encode(&decoded), Ok(bytes));
    }

    #[test]
    fn what_has_a_time_takes_eight_bytes_more_and_keeps_it() {
        for (plain, kind) in [(file("a", 1), DATED_FILE), (directory("a"), DATED_DIRECTORY)] {
            let mut dated = plain.clone();
            match &mut dated.kind {
                TreeKind::File { modified_ns, .. } | TreeKind::Directory { modified_ns, .. } => {
                    *modified_ns = Some(-1_234_567_890_123);
                }
                TreeKind::Symlink(_) => panic!("links have no time"),
            }
            let (plain, bytes) =
                (encode(&[plain]).expect("encodes"), encode(std::slice::from_ref(&dated)).expect("encodes"));
            assert_eq!((bytes.len(), bytes[4]), (plain.len() + 8, kind));
            assert_eq!(decode(&bytes).expect("decodes"), [dated]);
        }
    }

    #[test]
    fn a_mode_with_setuid_is_refused() {
        let mut bytes = encode(&[directory("d")]).expect("a directory");
        let mode = bytes.len() - 2;
        bytes[mode + 1] |= 0o4000u16.to_le_bytes()[1];
        let refused = decode(&bytes).expect_err("setuid does not travel");
        assert_eq!(refused, WireError::Manifest { entry: 0, fault: ManifestFault::Mode(0o4750) });
    }

    #[test]
    fn the_bytes_of_a_manifest_are_pinned() {
        let bytes = encode(&[file("x", 1), link("l", "x"), directory("d")]).expect("a directory");
        let mut pinned = b"OTM\x02\x00\x01\x00d\xe8\x01\x02\x01\x00l\x01\x00x\x01\x01\x00x\x81\x01".to_vec();
        pinned.extend([1; 32]);
        pinned.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, pinned);
        assert_eq!(encode(&[]), Ok(MAGIC.to_vec()), "an empty directory");
    }

    #[test]
    fn nothing_stands_beneath_a_file_or_a_link() {
        assert_eq!(fault(&[file("a", 1), file("a-b", 1), file("a/b", 1)]), Some(ManifestFault::Beneath));
        assert_eq!(fault(&[link("d/l", "x"), file("d/l/m/n", 1)]), Some(ManifestFault::Beneath));
        assert_eq!(fault(&[file("a", 1), file("a", 2)]), Some(ManifestFault::Order));
        assert_eq!(fault(&[file("a/../b", 1)]), Some(ManifestFault::Path(PathFault::DotDot)));
        assert_eq!(fault(&[link("a", "../b")]), Some(ManifestFault::Link(LinkFault::Escapes)));
        assert_eq!(fault(&[directory("a"), directory("a/b"), file("a/b/c", 1)]), None);
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            entries in proptest::collection::vec(("[ab./-]{0,4}", 0u8..4, "[ab./]{0,3}"), 0..6),
            cut in any::<prop::sample::Index>(),
            flip in any::<(prop::sample::Index, u8)>(),
        ) {
            // Written without any check, as a stranger would.
            let mut bytes = MAGIC.to_vec();
            for (path, kind, target) in &entries {
                let entry = match kind {
                    0 => directory(path),
                    3 => link(path, target),
                    odd => file(path, *odd),
                };
                write_entry(&entry, &mut bytes);
            }
            let at = flip.0.index(bytes.len());
            let mut flipped = bytes.clone();
            flipped[at] = flip.1;
            let short = &bytes[..cut.index(bytes.len())];
            for tried in [&bytes[..], &flipped, short] {
                if let Ok(decoded) = decode(tried) {
                    prop_assert_eq!(encode(&decoded).expect("what was decoded can be said again"), tried);
                    prop_assert!(decoded.iter().all(|entry| check_path(entry.path.as_bytes()).is_ok()));
                }
            }
        }
    }
}
