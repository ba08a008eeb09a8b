//! The shells: what turns the pure engines into running nodes.
//!
//! A shell owns sockets, files, timers and tasks, feeds one engine with facts
//! and performs the effects it hands back, in the order the engine fixed. The
//! one invariant: nothing here decides anything about jobs or workers. Absent
//! on purpose: scheduling, encoding, SQL and TLS, each of which has a room of
//! its own.

pub mod addresses;
pub mod clock;
pub mod dispatcher;
pub mod embedded;
pub mod error;
pub mod hardware;
mod private_home;
mod serving;
pub mod shutdown;
pub mod signals;
pub mod worker;

pub use clock::Clock;
pub use error::NodeError;
pub use shutdown::Shutdown;
pub use signals::{EndSignal, EndSignals};
