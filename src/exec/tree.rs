//! Signalling whole process trees.
//!
//! A tree can change while it is looked at, so nothing here promises to reach
//! everything in one go. The promise (G9) is made by those who call it: a
//! reaper repeats [`kill`] until it has no child left, and because it is a
//! subreaper, whoever escapes one look is its own child at the next.
//! Deliberately absent: waiting and reaping.

use std::collections::BTreeSet;

use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, getpgid, getpgrp};

use super::sys;

/// `roots` and all their descendants, parents before children.
pub(super) fn members(roots: Vec<Pid>) -> Vec<Pid> {
    let mut seen: BTreeSet<Pid> = roots.iter().copied().collect();
    let mut members = roots;
    let mut next = 0;
    while let Some(parent) = members.get(next).copied() {
        next += 1;
        for child in sys::children_of(parent) {
            if seen.insert(child) {
                members.push(child);
            }
        }
    }
    members
}

/// Asks every member of the trees at `roots` to end, once each.
pub(super) fn terminate(roots: Vec<Pid>) {
    for member in members(roots) {
        let _ = signal::kill(member, Signal::SIGTERM);
        // A stopped process would not hear it before the grace is over.
        let _ = signal::kill(member, Signal::SIGCONT);
    }
}

/// Kills what can be seen of the trees at `roots`.
///
/// Group by group where possible: a group is killed at one instant, which ends
/// a fork storm that would otherwise keep one step ahead.
pub(super) fn kill(roots: Vec<Pid>) {
    let mut spared_groups = BTreeSet::from([getpgrp()]);
    let mut seen: BTreeSet<Pid> = roots.iter().copied().collect();
    let mut members = roots;
    let mut next = 0;
    while let Some(member) = members.get(next).copied() {
        next += 1;
        // Looked at before it dies: then its children are others' to be found.
        members.extend(sys::children_of(member).into_iter().filter(|child| seen.insert(*child)));
        // Only a descendant can be in a descendant's group, but for our own: groups never span sessions.
        if let Ok(group) = getpgid(Some(member))
            && spared_groups.insert(group)
        {
            let _ = signal::killpg(group, Signal::SIGKILL);
        }
        let _ = signal::kill(member, Signal::SIGKILL);
    }
}
