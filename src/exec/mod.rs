//! Running tasks: real processes, contained, with their output captured.
//!
//! ```text
//! worker ──socketpair──▶ shim (one a slot, a session and subreaper of its own) ──posix_spawn──▶ task
//!    ▲                                                                                          │
//!    └───────────────────────────── stdout, stderr: pipes straight back ────────────────────────┘
//! guard: watches the worker; when it dies, says so and removes its scratch
//! ```
//!
//! The one invariant (G9): when an attempt's end is reported, no process of it
//! is left, whoever was killed meanwhile: the task, its shim, the guard or the
//! worker. That is isolation level `basic`; `none` asks for less and gets the
//! same, because it costs next to nothing; `strict` is not offered yet. On
//! systems other than Linux less is promised (`sys::fallback`). Deliberately
//! absent: which task runs when, time limits and reports (the worker engine's),
//! and any network.

mod allowance;
mod attempt;
mod capture;
mod command;
mod descriptors;
mod environment;
mod error;
mod executor;
mod family;
pub mod guard;
mod kept_log;
mod log;
mod oom;
mod placeholders;
mod program;
pub mod shim;
mod shim_process;
mod slot;
mod spool;
mod stdin;
mod sys;
mod tree;
mod workplace;

pub use attempt::{AttachedIo, Ending, ExecEvent, Kept, OutputChunk, StartAttempt, Unstarted};
pub use command::{check, show};
pub use descriptors::DescriptorLimit;
pub use error::ExecError;
pub use executor::{ExecConfig, Executor};
pub use guard::{Guard, GuardConfig, Presence};
pub use kept_log::KeptLogs;
pub use log::LogReader;
pub use placeholders::{Misplaced, Unfit, fill, has_placeholder};
pub use program::shortage;
pub use sys::{ignores, since_boot_us};
pub use workplace::{Scratch, clean as remove_left_work};
