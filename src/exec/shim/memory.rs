//! The watch over the memory that a task asked for.
//!
//! Invariant: a task is over its limit only when what its processes hold together, each shared page counted once, is
//! more than that at the instant of one look. Page cache is not counted: files that are read or mapped are the kernel's
//! to keep or to drop. Absent: looking between two looks, and ending anything (`run`).

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::exec::{sys, tree};

/// Between two looks. A look at one process costs some 20 µs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks at one task's memory now and then.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    limit: u64,
    next: Instant,
}

impl MemoryWatch {
    /// Watches from `now` on; `None` when there is no limit, or nothing to look with.
    pub(super) fn of(limit: u64, now: Instant) -> Option<Self> {
        (limit > 0 && sys::TELLS_MEMORY).then_some(Self { limit, next: now + LOOK_EVERY })
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Looks, when it is time to: what the trees at `roots` hold when that is more than the limit.
    pub(super) fn excess(&mut self, now: Instant, roots: impl FnOnce() -> Vec<Pid>) -> Option<u64> {
        if now < self.next {
            return None;
        }
        self.next = now + LOOK_EVERY;
        let members = tree::members(roots());
        // Cheap, and too much where pages are shared: only whoever is over by this is looked at closely.
        let most: u64 = members.iter().map(|member| sys::held_memory(*member)).sum();
        if most <= self.limit {
            return None;
        }
        let fair: u64 = members.iter().map(|member| sys::fair_memory(*member)).sum();
        (fair > self.limit).then_some(fair)
    }
}
