//! A simulated cluster: the real engines of a dispatcher and its workers in one
//! thread, on a virtual clock, over a network and disks that fail.
//!
//! Invariant: a plan and a seed decide everything; two runs of the same are the
//! same to the last message, and [`Report::trace`] proves it. Every rule is
//! checked while it runs; a breach panics. Deliberately absent: real time,
//! threads, sockets, files, processes, and any knowledge of how the engines
//! work inside.
//!
//! Killed processes keep what was written, machines that lose their power what
//! was synced; links lose what was under way and are noticed dead at different
//! times at their ends; nodes stand still, their clocks are a day off, disks
//! take seconds, and messages come twice. Admins drain workers and revoke them; those
//! come back under fresh keys, by tokens. What is assumed of the real nodes: a
//! worker's processes are gone when its guard speaks or its next instance
//! starts, and a machine that wakes up rings its timers before anything else.

mod admin;
mod agenda;
mod client;
mod clock;
mod cluster;
mod dice;
mod disk;
mod dispatcher;
mod faults;
mod idle;
mod ledger;
mod links;
mod network;
mod peers;
mod plan;
mod process;
mod projection;
mod rows;
mod silence;
mod trace;
mod upset;
mod verdict;
mod worker;
mod workload;

pub use ledger::Tallies;
pub use plan::{Plan, Variety};
pub use verdict::Report;

/// Simulates `plan` with `seed` until everything is done.
///
/// # Panics
/// When any rule is broken; the message says which.
#[must_use]
pub fn simulate(plan: &Plan, seed: u64) -> Report {
    cluster::Cluster::new(plan.clone(), seed).run(seed)
}
