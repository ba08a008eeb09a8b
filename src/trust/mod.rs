//! Who is who: key folders, identities, certificates, verifiers and the access file.
//!
//! Invariant: a node *is* its Ed25519 key; every id that leaves this room was
//! taken from a key whose possession was proved, or read from a file that only
//! this user can write. Absent: sockets (`transport/`), and the registry of
//! enrolled keys, which the dispatcher's engine owns.

pub mod access;
mod error;
pub mod home;
mod identity;
mod private;
pub mod tls;

pub use access::AccessFile;
pub use error::TrustError;
pub use home::{Home, NodeDir};
pub use identity::{EndpointKeys, Identity};
pub use tls::Alpn;
