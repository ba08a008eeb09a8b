//! Why a worker does not start an attempt although nothing is wrong with it.
//!
//! Invariant: what is named here is never counted against a task. A fault of the task itself is an
//! [`Outcome`](super::Outcome). Absent: what is done about it (the engines').

use std::fmt;

use serde::{Deserialize, Serialize};

/// What keeps an attempt from being started on this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Obstacle {
    /// The job's `--cwd` cannot be used here; other jobs can run.
    Directory(DirectoryFault),
    /// The worker is short of something that every task needs.
    Shortage(Shortage),
}

/// Why a directory cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectoryFault {
    /// There is none.
    Missing,
    /// Something else is there.
    NotDirectory,
    /// The worker's user may not enter it, or the system cannot read it.
    Forbidden,
}

/// What a worker is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shortage {
    /// File descriptors: `ulimit -n`, or the system's table of open files.
    Descriptors,
    /// Processes: `ulimit -u`, the cgroup's `pids.max`, or the system's limit.
    Processes,
    /// Memory to start a process.
    Memory,
    /// Space or quota on the disk where its tasks run.
    Disk,
    /// Something else that its log names.
    Other,
}

impl fmt::Display for DirectoryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no such directory",
            Self::NotDirectory => "not a directory",
            Self::Forbidden => "permission denied",
        })
    }
}

/// What the worker has not got: "no … left" as people say it.
impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "no file descriptors left",
            Self::Processes => "no more processes allowed",
            Self::Memory => "no memory left for a process",
            Self::Disk => "no disk space left",
            Self::Other => "cannot start tasks, as its log says",
        })
    }
}
