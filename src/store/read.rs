//! Listings and look-ups, on a read-only connection.

use super::StoreError;
use crate::model::outcome::KeptOutput;
use crate::model::records::RestoredJob;
use crate::model::requests::{JobFilter, TaskFilter};
use crate::model::selector::{Part, Selector};
use crate::model::views::{AttemptView, JobView, TaskView};
use crate::model::{AttemptId, JobId, JobState, NodeId, RawString, TaskId};

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
    /// Existing jobs (as runs of consecutive numbers) and tasks, in the order asked for.
    pub parts: Vec<Part>,
    /// What was asked for by number and does not exist.
    pub missing: Vec<Part>,
}

/// A read-only connection. Every call sees one consistent state.
pub struct Reader {}

impl Reader {
    /// Jobs by filter, newest first.
    pub fn jobs(&self, filter: &JobFilter, viewer: Viewer) -> Result<Vec<JobView>, StoreError> {
        let _ = (filter, viewer);
        unimplemented!()
    }

    /// Tasks by filter, in order of job and index.
    pub fn tasks(&self, filter: &TaskFilter, viewer: Viewer) -> Result<Vec<TaskView>, StoreError> {
        let _ = (filter, viewer);
        unimplemented!()
    }

    /// What `selector` means now.
    pub fn resolve(&self, selector: &Selector, viewer: Viewer) -> Result<Resolution, StoreError> {
        let _ = (selector, viewer);
        unimplemented!()
    }

    /// How `job` ended; `None` when it has not, or does not exist.
    pub fn ended(&self, job: JobId) -> Result<Option<JobState>, StoreError> {
        let _ = job;
        unimplemented!()
    }

    /// The job that was accepted with this idempotency key.
    pub fn job_by_key(&self, key: &str) -> Result<Option<JobId>, StoreError> {
        let _ = key;
        unimplemented!()
    }

    /// A job as an engine needs to know it, ended or not.
    pub fn recall(&self, job: JobId) -> Result<Option<RestoredJob>, StoreError> {
        let _ = job;
        unimplemented!()
    }

    /// The attempts of a task in order.
    pub fn attempts(&self, task: TaskId) -> Result<Vec<AttemptView>, StoreError> {
        let _ = task;
        unimplemented!()
    }

    /// Where the stored output of an attempt is; `None` when the attempt is unknown or has not ended.
    pub fn kept_output(&self, id: AttemptId) -> Result<Option<KeptOutput>, StoreError> {
        let _ = id;
        unimplemented!()
    }

    /// The stored output of an attempt, when it was small enough to be kept inline.
    pub fn inline_log(&self, id: AttemptId) -> Result<Option<RawString>, StoreError> {
        let _ = id;
        unimplemented!()
    }

    /// Bytes of the store's files.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        unimplemented!()
    }
}
