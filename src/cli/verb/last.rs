//! Which job is meant by `last`, for what a selector cannot say by itself.
//!
//! The one invariant: it is asked once a command, so that a job submitted meanwhile changes nothing. Absent: `last`
//! alone, which the dispatcher looks up.

use crate::cli::error::CliError;
use crate::cli::resolve::Selection;
use crate::client::Client;
use crate::model::JobId;
use crate::model::requests::JobFilter;
use crate::model::selector::Selector;

/// The job that this client submitted last.
pub(super) async fn job(client: &Client) -> Result<JobId, CliError> {
    let filter = JobFilter { only: Some(Selector::Last), states: Vec::new(), limit: 1, ..JobFilter::default() };
    let jobs = client.jobs(filter).await?;
    jobs.first().map(|job| job.job).ok_or_else(|| CliError::NothingSelected("last".to_owned()))
}

/// What was typed, with `last.3` as the task that it is.
pub(super) async fn meant(client: &Client, typed: Selection) -> Result<Selector, CliError> {
    match typed {
        Selection::Known(selector) => Ok(selector),
        Selection::OfLast(of_last) => Ok(of_last.within(job(client).await?)),
    }
}
