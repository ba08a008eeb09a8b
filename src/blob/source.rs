//! Files of a client that are sent from where they lie, without a store.
//!
//! Invariant: what is sent as a piece of a blob is one, even when the file changes while it is sent: each piece is
//! verified on the way out, and a file that is not any more what it was ends in an error.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::Path;

use data_encoding::HEXLOWER;

use super::BlobError;
use super::copying::hash_of;
use super::error::What;
use super::pieces::{EncodeFault, MAX_BLOB_BYTES, ReadAt, check_size, encode, hash, pieces_of, tree_bytes};
use super::sys::{self, Folder};
use crate::model::{BlobRef, Content, FileMode};

/// Up to this size a tree is kept in memory: that of a file of 4 GiB. A larger one is in a temporary file without a name.
const TREE_IN_MEMORY: u64 = 4 * 1024 * 1024;

/// What a file is, beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// Its bytes.
    pub blob: BlobRef,
    /// Who may do what with it.
    pub mode: FileMode,
    /// When it was last written, in nanoseconds since 1970; `None` when that is centuries away.
    pub modified_ns: Option<i64>,
}

impl From<Hashed> for Content {
    fn from(file: Hashed) -> Self {
        let Hashed { blob, mode, modified_ns } = file;
        Self::File { blob, mode, modified_ns }
    }
}

/// Hashes the file at `path`, following links.
///
/// # Errors
/// [`BlobError::Kind`] for anything but a regular file (no FIFO is waited for), [`BlobError::Changed`] when it was written
/// meanwhile, or that it cannot be read.
pub fn hash_file(path: &Path) -> Result<Hashed, BlobError> {
    hash_opened(&open(path)?, path)
}

/// As [`hash_file`], for the file `name` in `folder`; a symbolic link is not followed.
pub(super) fn hash_at(folder: &Folder, name: &[u8], path: &Path) -> Result<Hashed, BlobError> {
    hash_opened(&folder.open_file(name).map_err(BlobError::reading(path))?, path)
}

fn hash_opened(file: &File, path: &Path) -> Result<Hashed, BlobError> {
    let before = regular(file, path)?;
    let digest = hash_of(file, before.bytes).map_err(BlobError::reading(path))?;
    let after = regular(file, path)?;
    if (after.bytes, after.modified) != (before.bytes, before.modified) {
        return Err(BlobError::Changed { path: path.to_owned() });
    }
    let blob = BlobRef { digest, bytes: before.bytes };
    Ok(Hashed { blob, mode: before.mode, modified_ns: before.modified_ns() })
}

/// A file that is being sent.
#[derive(Debug)]
pub struct Source {
    blob: BlobRef,
    path: std::path::PathBuf,
    data: Data,
    tree: Tree,
}

/// Where the bytes are.
#[derive(Debug)]
enum Data {
    File(File),
    Memory(Vec<u8>),
}

impl Source {
    /// Opens the file at `path`, following links, and reads it once for its tree.
    ///
    /// # Errors
    /// As [`hash_file`], and [`BlobError::Changed`] when it is not `expected`.
    pub fn open(path: &Path, expected: BlobRef) -> Result<Self, BlobError> {
        check_size(expected)?;
        let mut data = open(path)?;
        let changed = || BlobError::Changed { path: path.to_owned() };
        if regular(&data, path)?.bytes != expected.bytes {
            return Err(changed());
        }
        data.rewind().map_err(BlobError::reading(path))?;
        let (digest, tree) = Tree::of(&data, expected.bytes).map_err(BlobError::reading(path))?;
        if digest != expected.digest {
            return Err(changed());
        }
        Ok(Self { blob: expected, path: path.to_owned(), data: Data::File(data), tree })
    }

    /// Bytes in memory: a manifest that was made here.
    ///
    /// # Errors
    /// [`BlobError::Changed`] when they are not those of `expected`.
    pub fn of_bytes(bytes: Vec<u8>, expected: BlobRef) -> Result<Self, BlobError> {
        check_size(expected)?;
        let path = std::path::PathBuf::from(expected.digest.short());
        let (digest, tree) = Tree::of(&mut &bytes[..], bytes.len() as u64).map_err(BlobError::reading(&path))?;
        if (BlobRef { digest, bytes: bytes.len() as u64 }) != expected {
            return Err(BlobError::Changed { path });
        }
        Ok(Self { blob: expected, path, data: Data::Memory(bytes), tree })
    }

    /// A piece made ready to travel.
    ///
    /// # Errors
    /// [`BlobError::Changed`] when the file is not what it was, [`BlobError::MissingPiece`] when the blob has no such piece.
    pub fn encode(&mut self, piece: u64) -> Result<Vec<u8>, BlobError> {
        if piece >= pieces_of(self.blob) {
            return Err(BlobError::MissingPiece { digest: self.blob.digest, piece });
        }
        encode(self.blob, piece, &self.data, &self.tree).map_err(|fault| match fault {
            EncodeFault::Wrong => BlobError::Changed { path: self.path.clone() },
            EncodeFault::Io(source) => BlobError::reading(&self.path)(source),
        })
    }
}

/// The tree of a file that has no place of its own for one.
#[derive(Debug)]
enum Tree {
    Memory(Vec<u8>),
    File(File),
}

impl Tree {
    fn of(data: impl io::Read, bytes: u64) -> io::Result<(crate::model::Digest, Self)> {
        if tree_bytes(bytes) <= TREE_IN_MEMORY {
            let mut tree = vec![0; tree_bytes(bytes) as usize];
            return Ok((hash(data, bytes, &mut tree)?, Self::Memory(tree)));
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = std::env::temp_dir().join(format!("octaskly-{}.tree", HEXLOWER.encode(&random)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok((hash(data, bytes, file.try_clone()?)?, Self::File(file)))
    }
}

impl ReadAt for Data {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => ReadAt::read_at(file, at, buffer),
            Self::Memory(bytes) => bytes.read_at(at, buffer),
        }
    }
}

impl ReadAt for Tree {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(tree) => tree.read_at(at, buffer),
            Self::File(file) => ReadAt::read_at(file, at, buffer),
        }
    }
}

/// Opens a regular file; anything else is not even opened, since that alone may do something.
fn open(path: &Path) -> Result<File, BlobError> {
    let of = fs::metadata(path).map_err(BlobError::reading(path))?;
    if !of.is_file() {
        return Err(BlobError::Kind { path: path.to_owned(), found: sys::what_is(&of) });
    }
    sys::open_file(path).map_err(BlobError::reading(path))
}

/// What an open file is, when it is one that can be a blob.
fn regular(file: &File, path: &Path) -> Result<sys::Found, BlobError> {
    let found = sys::found(file).map_err(BlobError::reading(path))?;
    match found.what {
        What::File if found.bytes <= MAX_BLOB_BYTES => Ok(found),
        What::File => Err(BlobError::Read { path: path.to_owned(), source: io::ErrorKind::FileTooLarge.into() }),
        what => Err(BlobError::Kind { path: path.to_owned(), found: what }),
    }
}
