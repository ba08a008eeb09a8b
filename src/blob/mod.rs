//! Files that travel with tasks, on disk: kept under the name of their bytes, moved in pieces that are verified one
//! by one, put where a task runs and taken from there.
//!
//! Invariant: no byte leaves this room that was not verified by the digest it is asked for under, and no file is
//! read or written outside the directory that was named, whatever a task or a peer made of names and links. All of it
//! blocks, and a blob of any size takes a few MiB of memory. Deliberately absent: sockets, clocks, threads, and any
//! opinion on which blob is to be where.

mod collect;
mod copying;
mod deliver;
mod error;
mod pattern;
mod pieces;
mod place;
mod scan;
mod source;
mod store;
mod sys;
mod walk;

pub use collect::{Collected, collect};
pub use deliver::{Delivery, FileDelivery};
pub use error::{BlobError, Limit, What};
pub use pattern::{has_glob, match_files, matches_pattern};
pub use pieces::{EMPTY, MAX_BLOB_BYTES, MAX_ENCODED_PIECE, digest_of, open_piece, pieces_of};
pub use place::place;
pub use scan::{ScannedTree, scan_tree};
pub use source::{Hashed, Source, hash_file};
pub use store::{Accepted, BlobStore, Pins, Take, Usage};
