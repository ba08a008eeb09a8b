//! The deterministic core: what a dispatcher and a worker decide, and how files are fetched.
//!
//! Invariant: an engine is a plain value whose next state depends only on what
//! it was told, in the order it was told, so every run can be replayed. Time is
//! passed in. Deliberately absent: sockets, clocks, files, threads, randomness,
//! and maps without an order.

pub mod dispatcher;
mod traits;
pub mod transfer;
pub mod worker;
