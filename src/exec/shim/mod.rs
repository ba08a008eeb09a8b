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

use super::descriptors;
use super::sys::{self, ChildSignals};
use crate::wire::shim::ShimOrder;
use link::WorkerLink;

/// The exit code of a shim that could not get ready, and has taken no order.
pub(super) const NOT_READY: u8 = 70;

/// The whole life of a shim; fd 0 is a socket to its worker, fd 1 tells the guard that it lives. Its argument is the
/// soft limit of open files that its tasks get.
#[must_use]
pub fn main() -> ExitCode {
    let told = |error: &std::io::Error| eprintln!("error: failed to contain a task: {error}");
    match get_ready().inspect_err(told).map(serve) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            told(&error);
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::from(NOT_READY),
    }
}

fn get_ready() -> std::io::Result<Shim> {
    sys::shed_inheritance()?;
    descriptors::give_back(std::env::args_os().nth(2).as_deref())?;
    sys::name_process(c"octa-shim")?;
    // A terminal's Ctrl-C reaches its session only. Fails for a session leader, which is as good.
    let _ = setsid();
    sys::become_subreaper()?;
    Ok(Shim { worker: WorkerLink::inherited()?, children: ChildSignals::listen()? })
}

/// Runs tasks until the worker is gone.
fn serve(mut shim: Shim) -> std::io::Result<()> {
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
