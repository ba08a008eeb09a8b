//! Stored output that outlives its executor: that of results which the
//! dispatcher has not recorded yet.
//!
//! ```text
//! FOLDER/JOB.TASK.ATTEMPT.list    the segments, one a line; written last
//!                        .0 .7 …  the segments' files
//! ```
//! The one invariant: an attempt's output is here as a whole or not at all; what
//! a crash left half-way is removed at the next start. Absent: which results
//! those are (the outbox).

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Executor;
use super::spool::Spool;
use crate::model::AttemptId;

/// Where such output is kept: one folder for each worker and dispatcher. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeptLogs {
    folder: Arc<Path>,
}

impl KeptLogs {
    /// The folder at `folder`, made when missing, without what belongs to none of `attempts`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(folder: &Path, attempts: impl Iterator<Item = AttemptId>) -> io::Result<Self> {
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        let wanted: BTreeSet<String> = attempts.map(name).collect();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let of = file_name.to_str().and_then(|name| name.rsplit_once('.'));
            if of.is_none_or(|(of, _)| !wanted.contains(of)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder: folder.into() })
    }

    fn prefix(&self, id: AttemptId) -> PathBuf {
        self.folder.join(name(id))
    }
}

fn name(id: AttemptId) -> String {
    format!("{}.{}", id.task, id.attempt.0)
}

impl Executor {
    /// Has the stored output of an ended attempt outlive this process, until [`Executor::forget_log`]. Nothing when
    /// there is none here. Blocks.
    ///
    /// # Errors
    /// When the system refuses: the output then goes with this process.
    pub fn keep_log(&self, id: AttemptId, kept: &KeptLogs) -> io::Result<()> {
        match self.log_of(id) {
            Some(spool) => spool.keep_at(&kept.prefix(id)),
            None => Ok(()),
        }
    }

    /// Takes up the output of an attempt that an earlier process kept. Blocks.
    ///
    /// # Errors
    /// When it is not there, or not whole.
    pub fn restore_log(&self, id: AttemptId, kept: &KeptLogs) -> io::Result<()> {
        let spool = Spool::restore(&kept.prefix(id))?;
        self.add_log(id, spool);
        Ok(())
    }
}
