//! Room that is set aside on the store's disk, as a file beside it.
//!
//! When the disk is full the file goes, and what runs has room to end and to be
//! recorded while no new work is taken; only when as much is free again twice
//! over does it come back. Invariant: the file is there whole or does not count. Absent:
//! when it is given up and what follows from that (`writer`'s and the engine's).

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::ffi::SQLITE_IOERR_WRITE;

use super::StoreError;
use super::file::{StoreFile, private, sibling};

/// What is set aside: a write-ahead log that is due to be copied (4 MiB) and its copy in the database would fit, or the
/// results of five hundred tasks with as much output as a result carries.
const BYTES: u64 = 8 * 1024 * 1024;
/// Written at once.
const PIECE: usize = 64 * 1024;

/// The room set aside for one store.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// 0: nothing is ever set aside.
    bytes: u64,
    stands: bool,
}

impl Reserve {
    /// For a store that new work is taken into.
    pub(super) fn of(file: &StoreFile) -> Self {
        let path = path(&file.path);
        let stands = path.metadata().is_ok_and(|metadata| metadata.len() == BYTES);
        Self { path, bytes: BYTES, stands }
    }

    /// For a file that has nothing to refuse.
    pub(super) fn none(file: &StoreFile) -> Self {
        Self { path: path(&file.path), bytes: 0, stands: true }
    }

    /// Whether everything is there that is to be.
    pub(super) fn stands(&self) -> bool {
        self.stands
    }

    /// Gives the room back, for what has to be written now; says whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        let gone = self.stands && self.bytes > 0 && std::fs::remove_file(&self.path).is_ok();
        // Without a reserve it only says that the disk is to be looked at.
        self.stands = false;
        gone
    }

    /// Sets the room aside, when the disk has twice as much; says whether it stands.
    pub(super) fn set_aside(&mut self) -> bool {
        if self.stands {
            return true;
        }
        // Asked first, so that trying does not take the last room from others.
        if free(&self.path).is_none_or(|free| free >= 2 * self.bytes) {
            self.stands = fill(&self.path, self.bytes).is_ok();
            if !self.stands {
                let _ = std::fs::remove_file(&self.path);
            }
        }
        self.stands
    }

    /// Whether `error` says that the disk has no room. A quota says so in another way than a full disk.
    pub(super) fn is_for(&self, error: &StoreError) -> bool {
        is_lack_of_room(&self.path, error)
    }
}

fn is_lack_of_room(beside: &Path, error: &StoreError) -> bool {
    match error {
        StoreError::Full(_) => true,
        StoreError::Io(cause) => {
            let code = cause.sqlite_error().map(|error| error.extended_code);
            code == Some(SQLITE_IOERR_WRITE) && has_no_room(&probe(beside))
        }
        _ => false,
    }
}

/// Removes what is set aside for the store at `store` when `error` says that its disk is too full for it to be opened;
/// says whether that has made room. A dispatcher that was killed while it set room aside leaves twice as much.
pub(super) fn remove_for(store: &Path, error: &StoreError) -> bool {
    is_lack_of_room(store, error) && std::fs::remove_file(path(store)).is_ok()
}

fn path(store: &Path) -> PathBuf {
    sibling(store, ".reserve")
}

/// Bytes that the file system of `path` has for this user, where it can be asked; quotas are not in it.
#[cfg(unix)]
fn free(path: &Path) -> Option<u64> {
    let says = nix::sys::statvfs::statvfs(path.parent()?).ok()?;
    Some((says.blocks_available() as u64).saturating_mul(says.fragment_size() as u64))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// Writes twice as much as is to stay, so that there is room beside it. With content, because some file systems
/// give no room to zeros.
fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let mut file = private().open(path)?;
    file.set_len(0)?;
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = vec![0; PIECE];
    for _ in 0..2 * bytes / PIECE as u64 {
        for word in piece.chunks_exact_mut(8) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_le_bytes());
        }
        file.write_all(&piece)?;
    }
    file.set_len(bytes)
}

/// Writes a little beside the store, to hear what the system says to it.
fn probe(beside: &Path) -> std::io::Result<()> {
    let path = sibling(beside, ".probe");
    let written = File::create(&path).and_then(|mut file| file.write_all(&[1; PIECE]));
    let _ = std::fs::remove_file(&path);
    written
}

fn has_no_room(probed: &std::io::Result<()>) -> bool {
    let kind = probed.as_ref().err().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::file::{Safety, open};
    use crate::store::schema;

    #[test]
    fn what_is_set_aside_is_given_up_once_and_found_again_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, _connection) =
            open(&directory.path().join("jobs.db"), &schema::DISPATCHER, Safety::Full).expect("opens");
        let mut reserve = Reserve::of(&file);
        assert!(!reserve.stands() && !reserve.give_up());
        assert!(reserve.set_aside());
        assert_eq!(std::fs::metadata(&reserve.path).expect("is there").len(), BYTES);
        assert!(Reserve::of(&file).stands());
        assert!(reserve.give_up() && !reserve.give_up() && !reserve.path.exists());
        assert!(!Reserve::of(&file).stands());
    }

    #[test]
    fn half_a_reserve_does_not_count() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, _connection) =
            open(&directory.path().join("jobs.db"), &schema::DISPATCHER, Safety::Full).expect("opens");
        std::fs::write(path(&file.path), [1; 1000]).expect("writes");
        assert!(!Reserve::of(&file).stands());
    }
}
