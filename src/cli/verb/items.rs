//! The items of tasks, for commands that show tasks and did not submit them.
//!
//! The one invariant: a job's spec is asked for once in a row of its tasks, and only the latest one is kept.

use crate::cli::output::item;
use crate::client::{Client, ClientError};
use crate::model::requests::JobFilter;
use crate::model::selector::Selector;
use crate::model::{JobId, JobSpec, RawString, SealedSpec, TaskId};

/// Looks items up.
#[derive(Debug, Default)]
pub(super) struct ItemNames {
    latest: Option<(JobId, Option<SealedSpec>)>,
}

impl ItemNames {
    /// What a task is about; `None` for a single task, and for one whose job was forgotten.
    ///
    /// # Errors
    /// When the link breaks.
    pub(super) async fn of(&mut self, client: &Client, task: TaskId) -> Result<Option<RawString>, ClientError> {
        let spec = self.spec(client, task.job).await?;
        Ok(spec.and_then(|spec| item::of_task(&spec.items, task)))
    }

    /// What a job was submitted as; `None` for one that was forgotten.
    ///
    /// # Errors
    /// When the link breaks.
    pub(super) async fn spec(&mut self, client: &Client, job: JobId) -> Result<Option<&JobSpec>, ClientError> {
        if self.latest.as_ref().is_none_or(|(latest, _)| *latest != job) {
            let filter = JobFilter { only: Some(Selector::job(job)), limit: 1, ..JobFilter::default() };
            let spec = client.jobs(filter).await?.into_iter().next().and_then(|job| job.spec);
            self.latest = Some((job, spec));
        }
        Ok(self.latest.as_ref().and_then(|(_, spec)| spec.as_ref()).map(SealedSpec::spec))
    }
}
