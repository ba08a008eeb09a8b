//! Durable state: SQLite behind one writer thread.
//!
//! Records come in as numbered batches, become rows in groups, and the store
//! says which batches are written and which are durable. Invariant: batches are
//! committed whole and in order, and after the first failure nothing further is
//! written. Listings are read from here, on connections of their own. Absent:
//! decisions about jobs (the engine's) and log files (the shell's).

mod error;
mod outbox;
mod read;
mod writer;

pub use error::StoreError;
pub use outbox::Outbox;
pub use read::{Reader, Resolution, Viewer};
pub use writer::{Durability, Progress, Store, open};

pub use crate::model::records::BatchNo;
