//! How many files this process may have open.
//!
//! A node raises its own limit as far as it may: the usual soft limit of 1024 is there for programs that use `select`,
//! and is enough for some two hundred tasks. Invariant: tasks get the limit that this process was started with. Absent:
//! what becomes of a task when there are none left (the worker's engine).

use std::ffi::OsStr;
use std::io;
use std::sync::OnceLock;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

/// Descriptors that a worker has open beside its tasks', and a few more that it needs for a moment.
const OWN: u64 = 48;
/// Descriptors of one task: its shim's socket, two pipes of output and one of input, its directory, two files of stored
/// output, and one in passing.
const A_TASK: u64 = 8;

/// The limits at the start of this process and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The soft limit that it was started with.
    before: rlim_t,
    /// How many it may have open now.
    pub now: u64,
}

impl DescriptorLimit {
    /// Raises the limit of this process to the most that it may set, the first time that it is called.
    pub fn raise() -> Self {
        static LIMIT: OnceLock<DescriptorLimit> = OnceLock::new();
        *LIMIT.get_or_init(|| {
            // Without a limit to be read there is none to be raised.
            let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
                return Self { before: RLIM_INFINITY, now: u64::MAX };
            };
            let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
            Self { before: soft, now: if raised { hard } else { soft } }
        })
    }

    /// Tasks that may run at once, by the descriptors that they take: at least one.
    #[must_use]
    pub fn tasks(&self) -> u32 {
        u32::try_from(self.now.saturating_sub(OWN) / A_TASK).unwrap_or(u32::MAX).max(1)
    }

    /// What a shim is told, for its tasks.
    pub(super) fn of_tasks(self) -> String {
        self.before.to_string()
    }
}

/// Sets the soft limit of this process to what [`DescriptorLimit::of_tasks`] said, if it was said.
pub(super) fn give_back(soft: Option<&OsStr>) -> io::Result<()> {
    let Some(soft) = soft.and_then(OsStr::to_str).and_then(|text| text.parse::<rlim_t>().ok()) else { return Ok(()) };
    let (now, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < now {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_by_the_descriptors_that_their_tasks_take() {
        let tasks = |now| DescriptorLimit { before: 64, now }.tasks();
        assert_eq!((tasks(8), tasks(64), tasks(1024)), (1, 2, 122));
        assert!(tasks(524_288) > 60_000 && tasks(u64::MAX) == u32::MAX);
    }
}
