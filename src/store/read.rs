//! A read-only connection for listings and look-ups.
//!
//! Invariant: every call reads one consistent state, the one written at its
//! beginning, and never waits for the writer. What a viewer may not see does
//! not exist for him.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Transaction};

use super::files::Live;
use super::{StoreError, attempts, file, files, jobs, lookup, restore, tasks};
use crate::model::files::{Content, OutputFile};
use crate::model::outcome::KeptOutput;
use crate::model::records::{RestoredJob, SubmittedJob};
use crate::model::requests::{JobFilter, TaskFilter};
use crate::model::selector::{Part, Selector};
use crate::model::views::{AttemptView, JobView, TaskView};
use crate::model::{
    Actor, AttemptId, Digest, JobId, JobState, Millis, NodeId, NodeName, RawString, SealedSpec, TaskId, TaskIndex,
    Timestamp,
};

/// Who asks: what is not his does not exist for him, unless he sees all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// His key.
    pub node: NodeId,
    /// Whether everybody's jobs are his to see (an admin).
    pub sees_all: bool,
}

/// What a selector means now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Existing jobs (as ascending runs of consecutive numbers) and then tasks, each once.
    pub parts: Vec<Part>,
    /// What was asked for by number and does not exist. Of a range that exists in part, the gaps are not named.
    pub missing: Vec<Part>,
}

/// How a job was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Who forgot it; `None` when it had been kept for long enough.
    pub by: Option<Actor>,
    /// When.
    pub at: Timestamp,
}

/// A read-only connection. Not shared between threads; open one for each.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens a store that its dispatcher has open.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = file::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Jobs by filter, newest first; at most [`MAX_ROWS`](crate::model::limits::MAX_ROWS). The spec comes along
    /// when the filter names a single job. A task named in the filter stands for its job.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn jobs(&self, filter: &JobFilter, viewer: Viewer) -> Result<Vec<JobView>, StoreError> {
        jobs::list(&*self.snapshot()?, filter, viewer)
    }

    /// Tasks by filter, in order of job and index; at most [`MAX_ROWS`](crate::model::limits::MAX_ROWS).
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn tasks(&self, filter: &TaskFilter, viewer: Viewer) -> Result<Vec<TaskView>, StoreError> {
        tasks::list(&*self.snapshot()?, filter, viewer, tasks::Which::Any)
    }

    /// The same without those that were never tried, which costs nothing for however many of these there are.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn tried_tasks(&self, filter: &TaskFilter, viewer: Viewer) -> Result<Vec<TaskView>, StoreError> {
        tasks::list(&*self.snapshot()?, filter, viewer, tasks::Which::Tried)
    }

    /// What `selector` means now.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn resolve(&self, selector: &Selector, viewer: Viewer) -> Result<Resolution, StoreError> {
        lookup::resolve(&*self.snapshot()?, selector, viewer)
    }

    /// The first `most` jobs from `first` to `last` that may have a task to retry, in order of their numbers.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn retriable(&self, first: JobId, last: JobId, viewer: Viewer, most: usize) -> Result<Vec<JobId>, StoreError> {
        lookup::retriable(&self.connection, (first, last), viewer, most)
    }

    /// How `job` ended; `None` when it has not, or does not exist.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn ended(&self, job: JobId) -> Result<Option<JobState>, StoreError> {
        lookup::ended(&self.connection, job)
    }

    /// Jobs that ended before `before` and are `wanted`, those that ended first first; at most `most`.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn ended_before(
        &self,
        uptime: Millis,
        most: usize,
        wanted: impl Fn(JobId) -> bool,
    ) -> Result<Vec<JobId>, StoreError> {
        lookup::ended_before(&self.connection, uptime, most, wanted)
    }

    /// The job of this owner that was accepted with this idempotency key.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn job_by_key(&self, owner: NodeId, key: &str) -> Result<Option<JobId>, StoreError> {
        lookup::job_by_key(&self.connection, owner, key)
    }

    /// Whether a client is called this, or was when it was revoked.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn is_client(&self, name: &NodeName) -> Result<bool, StoreError> {
        lookup::is_client(&self.connection, name)
    }

    /// What a client is called, or was called last.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn client_name(&self, node: NodeId) -> Result<Option<NodeName>, StoreError> {
        lookup::client_name(&self.connection, node)
    }

    /// Names of clients that have jobs, in order; at most `most`.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn owners(&self, most: usize) -> Result<Vec<NodeName>, StoreError> {
        lookup::owners(&self.connection, most)
    }

    /// How a job was removed that `viewer` could see, when it is among the last [`REMOVED_KEPT`] that were.
    ///
    /// [`REMOVED_KEPT`]: crate::model::limits::REMOVED_KEPT
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn removed(&self, job: JobId, viewer: Viewer) -> Result<Option<Removal>, StoreError> {
        lookup::removed(&self.connection, job, viewer)
    }

    /// A job as an engine needs to know it, ended or not.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn recall(&self, job: JobId) -> Result<Option<RestoredJob>, StoreError> {
        restore::job(&*self.snapshot()?, job)
    }

    /// What was submitted as a job, ended or not.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn submitted(&self, job: JobId) -> Result<Option<Arc<SubmittedJob>>, StoreError> {
        restore::submitted(&self.connection, job)
    }

    /// Whether the attempt `id` was given to the worker with this key, and if so whether it has ended. Goes by the
    /// key, because a name may have another owner by now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn given_to(&self, id: AttemptId, worker: NodeId) -> Result<Option<bool>, StoreError> {
        attempts::given_to(&self.connection, id, worker)
    }

    /// The attempts of a task in order.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn attempts(&self, task: TaskId) -> Result<Vec<AttemptView>, StoreError> {
        attempts::of(&self.connection, task)
    }

    /// Where the stored output of an attempt is; `None` when the attempt is unknown or has not ended.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn kept_output(&self, id: AttemptId) -> Result<Option<KeptOutput>, StoreError> {
        lookup::kept_output(&*self.snapshot()?, id)
    }

    /// The stored output of an attempt, when it was small enough to be kept inline.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn inline_log(&self, id: AttemptId) -> Result<Option<RawString>, StoreError> {
        lookup::inline_log(&self.connection, id)
    }

    /// Outputs of a job by their name, with the task that each is of: of `task` alone, or of whichever task has one.
    /// At most `MAX_BATCH`, in order of the tasks.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn outputs(
        &self,
        job: JobId,
        task: Option<TaskIndex>,
        name: &RawString,
    ) -> Result<Vec<(TaskIndex, OutputFile)>, StoreError> {
        files::outputs(&self.connection, job, task, name)
    }

    /// The outputs of a task, in order of their names.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn outputs_of(&self, task: TaskId) -> Result<Vec<OutputFile>, StoreError> {
        files::outputs_of(&self.connection, task)
    }

    /// What a job's tasks have brought back, or one task of it, each content once.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn output_contents(&self, job: JobId, task: Option<TaskIndex>) -> Result<Vec<Content>, StoreError> {
        files::contents(&self.connection, job, task)
    }

    /// Workers whose recorded outputs have this digest.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn holders(&self, digest: Digest) -> Result<Vec<(NodeId, NodeName)>, StoreError> {
        files::holders(&self.connection, digest)
    }

    /// Outputs that a worker holds, in order of their digests, behind `after`; at most `MAX_BATCH`.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn held_by(&self, node: NodeId, after: Option<Digest>) -> Result<Vec<Content>, StoreError> {
        files::held_by(&self.connection, node, after)
    }

    /// The task of `job`, or only `task` of it, that made what has this digest, and the output's name.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn made_by(
        &self,
        job: JobId,
        task: Option<TaskIndex>,
        digest: Digest,
    ) -> Result<Option<(TaskId, RawString)>, StoreError> {
        files::made_by(&self.connection, job, task, digest)
    }

    /// The spec of a job.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn spec(&self, job: JobId) -> Result<Option<SealedSpec>, StoreError> {
        lookup::spec(&self.connection, job)
    }

    /// Which blobs jobs of the store still need or have brought back.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn live_blobs(&self) -> Result<Live, StoreError> {
        files::live(&*self.snapshot()?)
    }

    /// Bytes of the store's files.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        file::bytes(&self.path)
    }

    fn snapshot(&self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.connection.unchecked_transaction()?)
    }
}
