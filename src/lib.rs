//! Octaskly: one binary that turns the machines on a local network into one
//! computer for shell commands.
//!
//! The library is divided into rooms; `docs/ARCHITECTURE.md` is the map and
//! `tests/imports.rs` holds the walls. Without the `node` feature only the pure
//! core is built: no socket, disk, clock or process is reachable from it.

pub mod engine;
pub mod model;
pub mod sim;
pub mod wire;

#[cfg(feature = "node")]
pub mod bench;
#[cfg(feature = "node")]
pub mod blob;
#[cfg(feature = "node")]
pub mod cli;
#[cfg(feature = "node")]
pub mod client;
#[cfg(feature = "node")]
pub mod discovery;
#[cfg(feature = "node")]
pub mod exec;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod store;
#[cfg(feature = "node")]
pub mod telemetry;
#[cfg(feature = "node")]
pub mod transport;
#[cfg(feature = "node")]
pub mod trust;
