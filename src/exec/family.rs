//! Which children of this process are its own doing, and getting rid of the rest.
//!
//! The worker is a subreaper for one case: a shim is killed, and its task's
//! processes, however deep, become the worker's children. The one invariant:
//! what a dead shim left is killed and reaped before its attempt is reported as
//! ended, and nothing else is touched: neither shims and guards, nor children
//! of whoever else shares this process. Those stay in this process's session,
//! which no task is ever in. Absent: the ordinary end of a task (`shim`).

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use nix::poll::{PollTimeout, poll};
use nix::unistd::{Pid, getsid};

use super::sys::{self, Waited};
use super::tree;

/// Between two looks at what is left: about what a killed process takes to be gone.
const ROUND_MS: u8 = 2;

/// Shims and guards of this process, and the children it had before there were any.
static KNOWN: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());

fn known() -> MutexGuard<'static, BTreeSet<Pid>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process the one that orphans of its descendants come to.
pub(super) fn become_reaper() -> io::Result<()> {
    static ELDERS: Once = Once::new();
    ELDERS.call_once(|| known().extend(sys::children_of(Pid::this())));
    sys::become_subreaper()
}

/// Starts a shim or a guard.
pub(super) fn spawn(command: &mut Command) -> io::Result<Pid> {
    // Locked throughout: a sweep in between would take it for an orphan once it is in a session of its own.
    let mut known = known();
    let child: Child = command.spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    known.insert(pid);
    Ok(pid)
}

/// Waits for a shim or guard that has ended or is about to; says how it did.
pub(super) fn bury(pid: Pid) -> Option<ExitStatus> {
    // Whatever else this says, there is nothing left to wait for.
    let reaped = sys::reap_blocking(pid);
    known().remove(&pid);
    match reaped {
        Ok(Waited::Reaped(reaped)) => Some(reaped.status),
        _ => None,
    }
}

/// Kills and reaps what dead shims left behind, until there is nothing. Blocks.
///
/// To be called once the shim itself was reaped: its orphans are ours only from then on.
pub(super) fn sweep() {
    loop {
        let known = known();
        let ours = getsid(None);
        let is_orphan = |pid: &Pid| !known.contains(pid) && getsid(Some(*pid)) != ours;
        let orphans: Vec<Pid> = sys::children_of(Pid::this()).into_iter().filter(is_orphan).collect();
        if orphans.is_empty() {
            return;
        }
        tree::kill(orphans.clone());
        drop(known);
        let dead = orphans.iter().filter(|orphan| !matches!(sys::reap(Some(**orphan)), Ok(Waited::Running))).count();
        if dead < orphans.len() {
            let _ = poll(&mut [], PollTimeout::from(ROUND_MS));
        }
    }
}
