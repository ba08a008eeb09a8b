//! Who is who: key folders, identities, certificates, verifiers, and every way to belong.
//!
//! Invariant: a node *is* its Ed25519 key; every id that leaves this room was
//! taken from a key whose possession was proved, or read from a file that only
//! this user can write. Absent: sockets (`transport/`), and the registry of
//! enrolled keys, which the dispatcher's engine owns.

pub mod access;
pub mod boot;
mod cbor;
pub mod code;
mod error;
pub mod grants;
pub mod home;
mod identity;
mod locks;
pub mod pins;
mod private;
pub mod roster;
mod server_name;
pub mod signed;
pub mod tls;
pub mod token;
mod weak;

pub use access::AccessFile;
pub use code::ApprovalCode;
pub use error::{TrustError, shell_quoted};
pub use home::{Home, NodeDir};
pub use identity::{EndpointKeys, Identity};
pub use pins::Pin;
pub use signed::Signed;
pub use tls::Alpn;
pub use token::TokenText;
