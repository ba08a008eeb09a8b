//! A file copied and hashed in one go.
//!
//! Invariant: the digest is that of the bytes that the copy has, whatever happens to the original meanwhile. Where the
//! file system can, the copy shares its bytes with the original until one of them is written to; never is it a second
//! name of the same file, through which a task could change what others are given.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;

use super::pieces::{NoTree, hash};
use super::sys::clone_file;
use crate::model::Digest;

/// Makes the empty file `to` a copy of the first `bytes` bytes of `from`; writes their tree where there is one.
///
/// # Errors
/// `UnexpectedEof` when `from` is shorter.
pub(super) fn copy_hashed(from: &File, to: &File, bytes: u64, tree: Option<&File>) -> io::Result<Digest> {
    if clone_file(from, to) {
        if to.metadata()?.len() == bytes {
            return hash_to(to, bytes, tree);
        }
        to.set_len(0)?;
    }
    hash_to(Copying { from, to, at: 0 }, bytes, tree)
}

/// Hashes exactly `bytes` bytes; writes their tree where there is one.
pub(super) fn hash_to(data: impl Read, bytes: u64, tree: Option<&File>) -> io::Result<Digest> {
    match tree {
        Some(tree) => hash(data, bytes, tree.try_clone()?),
        None => hash(data, bytes, NoTree),
    }
}

/// The digest of an open file of `bytes` bytes, from its beginning.
pub(super) fn hash_of(mut file: &File, bytes: u64) -> io::Result<Digest> {
    file.rewind()?;
    hash(file, bytes, NoTree)
}

/// Reads from one file, and writes what it read to another.
struct Copying<'a> {
    from: &'a File,
    to: &'a File,
    at: u64,
}

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read_at(buffer, self.at)?;
        self.to.write_all_at(&buffer[..read], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
