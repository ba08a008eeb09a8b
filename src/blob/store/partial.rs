//! A blob that is arriving: its pieces come in any order, from anybody, more than once, and each is on disk with the
//! hashes that prove it before it is marked as there.
//!
//! Invariant: a piece that was marked by this process is right. What an earlier one marked is right unless the machine
//! went down, which is not known here: so those pieces are **unproven**, are verified like all others when they are
//! passed on, and are read once more before the blob counts as whole. Absent: the step from arriving to whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::make_private;
use crate::blob::BlobError;
use crate::blob::pieces::{EncodeFault, Verified, encode, extent, pieces_of, tree_bytes};
use crate::model::{BlobRef, IntervalSet};

/// One arriving blob.
#[derive(Debug)]
pub(super) struct Partial {
    blob: BlobRef,
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    have: IntervalSet,
    unproven: IntervalSet,
    /// Somebody is about to make it whole.
    finishing: bool,
    /// It is not in this folder any more: whole, or removed.
    pub(super) gone: bool,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is there; others are missing.
    More,
    /// It was the last. Whoever is told so makes the blob whole, or calls [`Partial::give_up`].
    Last,
    /// The blob is not here any more.
    Gone,
}

impl Partial {
    /// Begins one.
    pub(super) fn begin(blob: BlobRef, folder: PathBuf) -> Result<Self, BlobError> {
        make_private(&folder, false)?;
        Ok(Self { blob, folder, state: Mutex::default() })
    }

    /// Goes on with what an earlier process left; `None` when that was nothing of use.
    pub(super) fn resume(blob: BlobRef, folder: PathBuf) -> Option<Self> {
        let bits = fs::read(folder.join("have")).ok()?;
        let whole_file = |name: &str| fs::symlink_metadata(folder.join(name)).is_ok_and(|found| found.is_file());
        if !whole_file("data") || (tree_bytes(blob.bytes) > 0 && !whole_file("tree")) {
            return None;
        }
        let set = |piece: &u64| bits.get((piece / 8) as usize).is_some_and(|byte| byte & bit(*piece) != 0);
        let mut have: IntervalSet = (0..pieces_of(blob).min(bits.len() as u64 * 8)).filter(set).collect();
        // One that was about to become whole is to be asked for a piece, so that somebody makes it so.
        if have.len() == pieces_of(blob) {
            have.remove(0);
        }
        let state = State { unproven: have.clone(), have, ..State::default() };
        (!state.have.is_empty()).then(|| Self { blob, folder, state: Mutex::new(state) })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pieces that are still wanted: one at least, because what is being made whole is not there yet.
    pub(super) fn missing(&self) -> IntervalSet {
        let last_piece = pieces_of(self.blob) - 1;
        let mut missing = IntervalSet::from_range(0, last_piece);
        for (first, last) in self.state().have.ranges() {
            missing.remove_range(first, last);
        }
        if missing.is_empty() {
            missing.insert(last_piece);
        }
        missing
    }

    /// The encoding of a piece that is there.
    pub(super) fn encode(&self, piece: u64) -> Result<Vec<u8>, BlobError> {
        let missing = BlobError::MissingPiece { digest: self.blob.digest, piece };
        let files = {
            let state = self.state();
            if state.gone || !state.have.contains(piece) {
                return Err(missing);
            }
            self.open(false)?
        };
        match encode(self.blob, piece, &files.0, &files.1) {
            Ok(encoded) => Ok(encoded),
            Err(EncodeFault::Io(source)) => Err(BlobError::reading(&self.folder)(source)),
            Err(EncodeFault::Wrong) => {
                self.unmark(&mut self.state(), piece)?;
                Err(missing)
            }
        }
    }

    /// Writes a piece that was verified, and marks it.
    pub(super) fn write(&self, piece: u64, verified: &Verified) -> Result<Written, BlobError> {
        let (data, tree) = {
            let state = self.state();
            if state.gone {
                return Ok(Written::Gone);
            }
            if state.have.contains(piece) {
                return Ok(Written::More);
            }
            self.open(true)?
        };
        // Two may write the same piece at once: they write the same bytes.
        let written = || -> io::Result<()> {
            data.write_all_at(&verified.bytes, extent(self.blob, piece).0)?;
            verified.pairs.iter().try_for_each(|(at, pair)| tree.write_all_at(pair, *at))
        };
        written().map_err(BlobError::writing(&self.folder))?;
        let mut state = self.state();
        if state.gone {
            return Ok(Written::Gone);
        }
        if state.have.insert(piece) {
            self.write_mark(&state, piece)?;
        }
        if state.have.len() < pieces_of(self.blob) || state.finishing {
            return Ok(Written::More);
        }
        state.finishing = true;
        Ok(Written::Last)
    }

    /// Reads what an earlier process marked; says whether all of it is right. What is not is missing again.
    pub(super) fn prove(&self) -> Result<bool, BlobError> {
        let unproven = std::mem::take(&mut self.state().unproven);
        if unproven.is_empty() {
            return Ok(true);
        }
        let proven = self.prove_pieces(&unproven);
        if proven.is_err() {
            let mut state = self.state();
            let still = unproven.iter().filter(|piece| state.have.contains(*piece)).collect();
            state.unproven = still;
        }
        proven
    }

    fn prove_pieces(&self, unproven: &IntervalSet) -> Result<bool, BlobError> {
        let (data, tree) = self.open(false)?;
        let mut all = true;
        for piece in unproven.iter() {
            match encode(self.blob, piece, &data, &tree) {
                Ok(_) => {}
                Err(EncodeFault::Io(source)) => return Err(BlobError::reading(&self.folder)(source)),
                Err(EncodeFault::Wrong) => {
                    all = false;
                    self.unmark(&mut self.state(), piece)?;
                }
            }
        }
        Ok(all)
    }

    /// It could not be made whole: with `piece` missing again, somebody will try once more.
    pub(super) fn give_up(&self, piece: Option<u64>) {
        let mut state = self.state();
        state.finishing = false;
        if let Some(piece) = piece {
            // Failing to write that down only means that the next process does this again.
            let _ = self.unmark(&mut state, piece);
        }
    }

    fn unmark(&self, state: &mut State, piece: u64) -> Result<(), BlobError> {
        state.have.remove(piece);
        state.unproven.remove(piece);
        if state.gone { Ok(()) } else { self.write_mark(state, piece) }
    }

    /// Writes down whether `piece` and its neighbours are there.
    fn write_mark(&self, state: &State, piece: u64) -> Result<(), BlobError> {
        let path = self.folder.join("have");
        let first = piece / 8 * 8;
        let byte = (first..first + 8).filter(|piece| state.have.contains(*piece)).fold(0, |byte, p| byte | bit(p));
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        file.and_then(|file| file.write_all_at(&[byte], piece / 8)).map_err(BlobError::writing(&path))
    }

    /// Its data and its tree.
    fn open(&self, to_write: bool) -> Result<(File, File), BlobError> {
        let open = |name: &str| {
            let path = self.folder.join(name);
            let mut options = File::options();
            options.read(true).write(to_write).create(to_write).truncate(false);
            options.open(&path).map_err(BlobError::reading(&path))
        };
        Ok((open("data")?, open("tree")?))
    }
}

fn bit(piece: u64) -> u8 {
    1 << (piece % 8)
}
