//! How everything that leaves a process looks as bytes.
//!
//! Two kinds of frames share a stream, each behind a `u32` length: messages
//! ([`frame`], CBOR) and raw bytes of files and output ([`data`]). Beside them
//! stands what lists the files of a directory ([`manifest`]). The one
//! invariant: whatever a peer sends, decoding it never panics, never recurses
//! deeper than [`CBOR_DEPTH`](crate::model::limits::CBOR_DEPTH) and never holds
//! more than a small multiple of the frame's own cap. Deliberately absent:
//! sockets, files and any opinion on when a frame is sent.

pub mod beacon;
pub mod data;
mod error;
pub mod frame;
pub mod log;
pub mod manifest;
mod messages;
pub mod shim;
mod tail;

pub use data::{DataFrame, DataHeader, OutputStream};
pub use error::WireError;
pub use frame::Message;
pub use tail::TailLines;
