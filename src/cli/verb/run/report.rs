//! `run --json-to`: what a run came to, as one JSON object for a program.
//!
//! The one invariant: the file can be written before anything is queued, and holds one whole object when the command
//! ends, also after a signal and after an error. Tasks are written page by page.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use crate::cli::error::CliError;
use crate::cli::output::json;
use crate::client::{Client, ClientError};
use crate::model::limits::MAX_ROWS;
use crate::model::requests::TaskFilter;
use crate::model::selector::Selector;
use crate::model::views::JobView;
use crate::model::{JobId, TaskId};

use super::super::items::ItemNames;

/// Where the report goes.
pub(super) struct Report {
    path: PathBuf,
    out: BufWriter<File>,
    is_written: bool,
}

impl Report {
    /// Opens the file, or the descriptor when `target` is a number.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(target: &OsStr) -> Result<Self, CliError> {
        let is_number =
            target.to_str().is_some_and(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let path = if is_number { PathBuf::from("/dev/fd").join(target) } else { PathBuf::from(target) };
        let mut options = OpenOptions::new();
        // A descriptor is written where it stands.
        let options = if is_number { options.write(true) } else { options.write(true).create(true).truncate(true) };
        let file = options.open(&path).map_err(|source| CliError::Report { path: path.clone(), source })?;
        Ok(Self { path, out: BufWriter::new(file), is_written: false })
    }

    /// Writes the job as it ended, with its spec, and all of its tasks.
    ///
    /// # Errors
    /// When the link breaks, or the file cannot be written.
    pub(super) async fn write(&mut self, client: &Client, job: JobId, view: &JobView) -> Result<(), CliError> {
        let filter = crate::model::requests::JobFilter { only: Some(Selector::job(job)), ..Default::default() };
        let found = client.jobs(filter).await?;
        self.begin(found.first().unwrap_or(view))?;
        let (mut names, mut after, mut is_first) = (ItemNames::default(), None, true);
        loop {
            let (page, last) = page(client, job, after).await?;
            for task in &page {
                let item = names.of(client, task.task).await?.map(|item| item.to_string());
                self.bytes(if std::mem::take(&mut is_first) { "\n" } else { ",\n" })?;
                self.object(&json::Task::new(task, item))?;
            }
            match last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        self.bytes("]}\n")?;
        self.flush()
    }

    /// Writes that there is nothing to report, unless a report was written.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn end(mut self) -> Result<(), CliError> {
        if !self.is_written {
            self.bytes("{\"job\":null,\"tasks\":[]}\n")?;
        }
        self.flush()
    }

    fn begin(&mut self, job: &JobView) -> Result<(), CliError> {
        self.is_written = true;
        self.bytes("{\"job\":")?;
        self.object(&json::Job::from(job))?;
        self.bytes(",\"tasks\":[")
    }

    fn bytes(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).map_err(|source| CliError::Report { path: self.path.clone(), source })
    }

    fn object(&mut self, object: &impl serde::Serialize) -> Result<(), CliError> {
        let failed = |error: serde_json::Error| CliError::Report { path: self.path.clone(), source: error.into() };
        serde_json::to_writer(&mut self.out, object).map_err(failed)
    }

    fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(|source| CliError::Report { path: self.path.clone(), source })
    }
}

/// A page of tasks, and the last of them when there are more.
async fn page(
    client: &Client,
    job: JobId,
    after: Option<TaskId>,
) -> Result<(Vec<crate::model::views::TaskView>, Option<TaskId>), ClientError> {
    let tasks = client.tasks(TaskFilter { of: Selector::job(job), states: Vec::new(), after, limit: 0 }).await?;
    let last = tasks.last().filter(|_| tasks.len() >= MAX_ROWS as usize).map(|last| last.task);
    Ok((tasks, last))
}
