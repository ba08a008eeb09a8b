//! Single answers: what a selector means, how a job ended, where output is kept.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::attempt_rows::INLINE;
use super::read::{Removal, Resolution, Viewer};
use super::rows::{actor_from, int, name_from, state, state_from, time_from, uint};
use super::{StoreError, numbering};
use crate::model::outcome::KeptOutput;
use crate::model::selector::{Part, Selector, whole_jobs};
use crate::model::{AttemptId, JobId, JobState, Millis, NodeId, NodeName, RawString, SealedSpec, TaskId, TaskState};

/// What `selector` means now.
pub(super) fn resolve(connection: &Connection, selector: &Selector, viewer: Viewer) -> Result<Resolution, StoreError> {
    let mut resolution = Resolution::default();
    match selector {
        Selector::All | Selector::Everyone => {
            resolution.parts = whole(runs(connection, (JobId(0), JobId(u64::MAX)), viewer)?);
        }
        Selector::Last => {
            resolution.parts.extend(last_job(connection, viewer)?.map(|job| Part::Jobs(job, job)));
        }
        Selector::These(parts) => return these(connection, parts, viewer),
    }
    Ok(resolution)
}

/// What these parts mean: every job and task once, in however many parts it is named.
fn these(connection: &Connection, parts: &[Part], viewer: Viewer) -> Result<Resolution, StoreError> {
    let mut found = Vec::new();
    for (first, last) in whole_jobs(parts).ranges() {
        found.append(&mut runs(connection, (JobId(first), JobId(last)), viewer)?);
    }
    let (tasks, mut missing) = (existing(connection, parts, viewer)?, Vec::new());
    for part in parts {
        let exists = match part {
            Part::Jobs(first, last) => {
                // The runs ascend: the first that does not end before the range is the one that may be in it.
                let nearest = found.get(found.partition_point(|(_, end)| end < first));
                nearest.is_some_and(|(start, _)| start <= last)
            }
            Part::Task(task) => tasks.contains(task),
        };
        if !exists {
            missing.push(*part);
        }
    }
    let mut parts = whole(found);
    parts.extend(tasks.into_iter().map(Part::Task));
    Ok(Resolution { parts, missing })
}

fn whole(runs: Vec<(JobId, JobId)>) -> Vec<Part> {
    runs.into_iter().map(|(first, last)| Part::Jobs(first, last)).collect()
}

/// The job that the viewer submitted last.
pub(super) fn last_job(connection: &Connection, viewer: Viewer) -> Result<Option<JobId>, StoreError> {
    let mut select = connection.prepare_cached("SELECT max(job) FROM jobs WHERE owner = ?1")?;
    let last: Option<i64> = select.query_row([viewer.node.0], |row| row.get(0))?;
    Ok(last.map(|job| JobId(uint(job))))
}

/// The visible jobs of a range as ascending runs of consecutive numbers.
fn runs(
    connection: &Connection,
    (first, last): (JobId, JobId),
    viewer: Viewer,
) -> Result<Vec<(JobId, JobId)>, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT job FROM jobs WHERE job BETWEEN ?1 AND ?2 AND (?3 OR owner = ?4) ORDER BY job")?;
    let mut rows = select.query(params![int(first.0), int(last.0), viewer.sees_all, viewer.node.0])?;
    let mut runs: Vec<(JobId, JobId)> = Vec::new();
    while let Some(row) = rows.next()? {
        let job = JobId(uint(row.get(0)?));
        match runs.last_mut() {
            Some((_, end)) if end.0 + 1 == job.0 => *end = job,
            _ => runs.push((job, job)),
        }
    }
    Ok(runs)
}

/// The first `most` visible jobs of a range that may have a task to retry: all but those that succeeded.
pub(super) fn retriable(
    connection: &Connection,
    (first, last): (JobId, JobId),
    viewer: Viewer,
    most: usize,
) -> Result<Vec<JobId>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT job FROM jobs WHERE job BETWEEN ?1 AND ?2 AND (?3 OR owner = ?4)
            AND (ended_at IS NULL OR ended_state <> ?5) ORDER BY job LIMIT ?6",
    )?;
    let (range, most) = ((int(first.0), int(last.0)), int(most as u64));
    let values = params![range.0, range.1, viewer.sees_all, viewer.node.0, state(TaskState::Succeeded), most];
    let mut rows = select.query(values)?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(JobId(uint(row.get(0)?)));
    }
    Ok(jobs)
}

/// Those of the tasks that `parts` name one by one which there are.
fn existing(connection: &Connection, parts: &[Part], viewer: Viewer) -> Result<BTreeSet<TaskId>, StoreError> {
    let named = parts.iter().filter_map(|part| if let Part::Task(task) = part { Some(*task) } else { None });
    let mut named: Vec<TaskId> = named.collect();
    named.sort_unstable();
    let mut found = BTreeSet::new();
    let sql = format!("SELECT {} FROM jobs WHERE job = ?1 AND (?2 OR owner = ?3)", numbering::COLUMNS);
    let mut select = connection.prepare_cached(&sql)?;
    for of_job in named.chunk_by(|one, next| one.job == next.job) {
        let values = params![int(of_job[0].job.0), viewer.sees_all, viewer.node.0];
        let numbers = select.query_row(values, |row| Ok(numbering::read(row, 0))).optional()?;
        let Some(numbers) = numbers.transpose()? else { continue };
        found.extend(of_job.iter().filter(|task| numbers.position_of(task.index.0).is_some()));
    }
    Ok(found)
}

/// How `job` ended.
pub(super) fn ended(connection: &Connection, job: JobId) -> Result<Option<JobState>, StoreError> {
    let mut select = connection.prepare_cached("SELECT ended_state FROM jobs WHERE job = ?1")?;
    let state: Option<Option<i64>> = select.query_row([int(job.0)], |row| row.get(0)).optional()?;
    state.flatten().map(state_from).transpose()
}

/// Jobs that ended when the dispatcher had run for less than `uptime` and are `wanted`, in the order of their ends.
pub(super) fn ended_before(
    connection: &Connection,
    uptime: Millis,
    most: usize,
    wanted: impl Fn(JobId) -> bool,
) -> Result<Vec<JobId>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT job FROM jobs WHERE ended_uptime IS NOT NULL AND ended_uptime < ?1 ORDER BY ended_uptime",
    )?;
    let mut rows = select.query([int(uptime.0)])?;
    let mut jobs = Vec::new();
    while jobs.len() < most
        && let Some(row) = rows.next()?
    {
        let job = JobId(uint(row.get(0)?));
        if wanted(job) {
            jobs.push(job);
        }
    }
    Ok(jobs)
}

/// The job that was accepted of this owner with this key.
pub(super) fn job_by_key(connection: &Connection, owner: NodeId, key: &str) -> Result<Option<JobId>, StoreError> {
    let mut select = connection.prepare_cached("SELECT job FROM jobs WHERE owner = ?1 AND idempotency_key = ?2")?;
    let job: Option<i64> = select.query_row(params![owner.0, key], |row| row.get(0)).optional()?;
    Ok(job.map(|job| JobId(uint(job))))
}

/// Whether a client is called this, or was when it was revoked.
pub(super) fn is_client(connection: &Connection, name: &NodeName) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("SELECT 1 FROM clients WHERE name = ?1")?.exists([name.as_str()])?)
}

/// What a client is called, or was called last.
pub(super) fn client_name(connection: &Connection, node: NodeId) -> Result<Option<NodeName>, StoreError> {
    let mut select = connection.prepare_cached("SELECT name FROM clients WHERE node = ?1")?;
    let name: Option<String> = select.query_row([node.0], |row| row.get(0)).optional()?;
    name.map(|name| name_from(&name)).transpose()
}

/// The first `most` names of clients that have jobs.
pub(super) fn owners(connection: &Connection, most: usize) -> Result<Vec<NodeName>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT DISTINCT name FROM clients WHERE EXISTS (SELECT 1 FROM jobs WHERE owner = node) ORDER BY name LIMIT ?1",
    )?;
    let mut rows = select.query([int(most as u64)])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        names.push(name_from(&row.get::<_, String>(0)?)?);
    }
    Ok(names)
}

/// Who had a job removed that the viewer could see, when it is one of those removed last.
pub(super) fn removed(connection: &Connection, job: JobId, viewer: Viewer) -> Result<Option<Removal>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT removed_by, (SELECT name FROM clients WHERE client = removed_by), removed_at FROM removed
         WHERE job = ?1 AND (?2 OR owner = ?3)",
    )?;
    let values = params![int(job.0), viewer.sees_all, viewer.node.0];
    let removal = |row: &Row<'_>| Ok(Removal { by: actor_from(row, 0, 1)?, at: time_from(row.get(2)?) });
    select.query_row(values, |row| Ok(removal(row))).optional()?.transpose()
}

/// What a job is to run.
pub(super) fn spec(connection: &Connection, job: JobId) -> Result<Option<SealedSpec>, StoreError> {
    let mut select = connection.prepare_cached("SELECT spec FROM specs WHERE job = ?1")?;
    let encoded: Option<Vec<u8>> = select.query_row([int(job.0)], |row| row.get(0)).optional()?;
    let Some(encoded) = encoded else { return Ok(None) };
    SealedSpec::open(&encoded).map(Some).map_err(|_| StoreError::BadValue { column: "spec" })
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
