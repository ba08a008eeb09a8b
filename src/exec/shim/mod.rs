//! `octaskly __exec`: the process between a worker and its tasks.
//!
//! Single-threaded, in a session of its own, the reaper of everything its task
//! starts. It runs one task at a time, as many after each other as its worker
//! orders, and passes no byte of theirs: tasks write to the worker's pipes.
//! The one invariant (G9): it says `Ended` only when no descendant of the task
//! is left, and it ends only in that state too, whoever died before it.
//! A lease, which holds while the worker itself stands still, is counted here. Deliberately absent: time limits and
//! everything else that is a decision.

mod link;
mod memory;
mod run;
mod spawn;

use std::process::ExitCode;

use nix::unistd::setsid;

use super::sys::{self, ChildSignals};
use crate::wire::shim::ShimOrder;
use link::WorkerLink;

/// The whole life of a shim; fd 0 is a socket to its worker, fd 1 tells the guard that it lives.
#[must_use]
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to contain a task: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs tasks until the worker is gone.
fn serve() -> std::io::Result<()> {
    sys::shed_inheritance()?;
    sys::name_process(c"octa-shim")?;
    // A terminal's Ctrl-C reaches its session only. Fails for a session leader, which is as good.
    let _ = setsid();
    sys::become_subreaper()?;
    let mut shim = Shim { worker: WorkerLink::inherited()?, children: ChildSignals::listen()? };
    while let Some(order) = shim.worker.next_order()? {
        match order {
            ShimOrder::Start(task) => shim.run(&task)?,
            // Crossed the news that the task had ended.
            ShimOrder::Terminate { .. } | ShimOrder::Renew(_) => {}
        }
    }
    Ok(())
}

/// What a shim has.
struct Shim {
    /// Orders in, facts out; its end is the worker's death.
    worker: WorkerLink,
    /// Readable when a descendant has ended.
    children: ChildSignals,
}
