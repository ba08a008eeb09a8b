//! Single answers: what a selector means, how a job ended, where output is kept.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::attempt_rows::INLINE;
use super::read::{Resolution, Viewer};
use super::rows::{int, state_from, uint};
use crate::model::outcome::KeptOutput;
use crate::model::selector::{Part, Selector};
use crate::model::{AttemptId, JobId, JobState, RawString, TaskId};

/// What `selector` means now.
pub(super) fn resolve(connection: &Connection, selector: &Selector, viewer: Viewer) -> Result<Resolution, StoreError> {
    let mut resolution = Resolution::default();
    match selector {
        Selector::All => push_runs(connection, (JobId(0), JobId(u64::MAX)), viewer, &mut resolution.parts)?,
        Selector::Last => {
            resolution.parts.extend(last_job(connection, viewer)?.map(|job| Part::Jobs(job, job)));
        }
        Selector::These(parts) => {
            for part in parts {
                let found = match part {
                    Part::Jobs(first, last) => {
                        let before = resolution.parts.len();
                        push_runs(connection, (*first, *last), viewer, &mut resolution.parts)?;
                        resolution.parts.len() > before
                    }
                    Part::Task(task) => {
                        let exists = has_task(connection, *task, viewer)?;
                        resolution.parts.extend(exists.then_some(*part));
                        exists
                    }
                };
                if !found {
                    resolution.missing.push(*part);
                }
            }
        }
    }
    Ok(resolution)
}

/// The job that the viewer submitted last.
pub(super) fn last_job(connection: &Connection, viewer: Viewer) -> Result<Option<JobId>, StoreError> {
    let mut select = connection.prepare_cached("SELECT max(job) FROM jobs WHERE owner = ?1")?;
    let last: Option<i64> = select.query_row([viewer.node.0], |row| row.get(0))?;
    Ok(last.map(|job| JobId(uint(job))))
}

/// Appends the visible jobs of a range as runs of consecutive numbers.
fn push_runs(
    connection: &Connection,
    (first, last): (JobId, JobId),
    viewer: Viewer,
    runs: &mut Vec<Part>,
) -> Result<(), StoreError> {
    let mut select = connection
        .prepare_cached("SELECT job FROM jobs WHERE job BETWEEN ?1 AND ?2 AND (?3 OR owner = ?4) ORDER BY job")?;
    let mut rows = select.query(params![int(first.0), int(last.0), viewer.sees_all, viewer.node.0])?;
    let mut run: Option<(JobId, JobId)> = None;
    while let Some(row) = rows.next()? {
        let job = JobId(uint(row.get(0)?));
        run = match run {
            Some((start, end)) if end.0 + 1 == job.0 => Some((start, job)),
            Some((start, end)) => {
                runs.push(Part::Jobs(start, end));
                Some((job, job))
            }
            None => Some((job, job)),
        };
    }
    runs.extend(run.map(|(start, end)| Part::Jobs(start, end)));
    Ok(())
}

fn has_task(connection: &Connection, task: TaskId, viewer: Viewer) -> Result<bool, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT 1 FROM jobs WHERE job = ?1 AND (?3 OR owner = ?4) AND ?2 >= first_index
            AND (?2 - first_index) % index_step = 0 AND (?2 - first_index) / index_step < task_count",
    )?;
    Ok(select.exists(params![int(task.job.0), int(task.index.0), viewer.sees_all, viewer.node.0])?)
}

/// How `job` ended.
pub(super) fn ended(connection: &Connection, job: JobId) -> Result<Option<JobState>, StoreError> {
    let mut select = connection.prepare_cached("SELECT ended_state FROM jobs WHERE job = ?1")?;
    let state: Option<Option<i64>> = select.query_row([int(job.0)], |row| row.get(0)).optional()?;
    state.flatten().map(state_from).transpose()
}

/// The job that was accepted with this key.
pub(super) fn job_by_key(connection: &Connection, key: &str) -> Result<Option<JobId>, StoreError> {
    let mut select = connection.prepare_cached("SELECT job FROM jobs WHERE idempotency_key = ?1")?;
    let job: Option<i64> = select.query_row([key], |row| row.get(0)).optional()?;
    Ok(job.map(|job| JobId(uint(job))))
}

/// Where the stored output of an attempt is.
pub(super) fn kept_output(connection: &Connection, id: AttemptId) -> Result<Option<KeptOutput>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT kept_bytes FROM attempts WHERE job = ?1 AND task = ?2 AND attempt = ?3 AND ended_at IS NOT NULL",
    )?;
    let key = params![int(id.task.job.0), int(id.task.index.0), id.attempt.0];
    let kept: Option<Option<i64>> = select.query_row(key, |row| row.get(0)).optional()?;
    Ok(match kept {
        None => None,
        Some(None) => Some(KeptOutput::Nothing),
        Some(Some(INLINE)) => {
            let frames = inline_log(connection, id)?;
            Some(KeptOutput::Inline(frames.ok_or(StoreError::BadValue { column: "kept_bytes" })?))
        }
        Some(Some(bytes)) => Some(KeptOutput::Uploaded(uint(bytes))),
    })
}

/// The stored output of an attempt, when it is kept inline.
pub(super) fn inline_log(connection: &Connection, id: AttemptId) -> Result<Option<RawString>, StoreError> {
    let mut select =
        connection.prepare_cached("SELECT frames FROM logs WHERE job = ?1 AND task = ?2 AND attempt = ?3")?;
    let key = params![int(id.task.job.0), int(id.task.index.0), id.attempt.0];
    let frames: Option<Vec<u8>> = select.query_row(key, |row| row.get(0)).optional()?;
    Ok(frames.map(RawString))
}
