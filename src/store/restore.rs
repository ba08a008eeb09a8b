//! What a restarted dispatcher goes on from.
//!
//! Invariant: tasks that have ended are read as bare numbers into interval
//! sets, one pass a job, so a million of them cost no objects; and what is
//! returned fits together, so an engine may rely on it. Absent:
//! deciding what becomes of tasks that were running (the engine's).

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::{
    act_from, cancellation_from, fence_from, int, node_from, state_from, time, time_from, uint, unrepeatable_from,
};
use super::sweeps::{self, Standing};
use super::{StoreError, boot, membership};
use crate::model::records::{RestoredAttempt, RestoredJob, RestoredState, RestoredTask, SubmittedJob};
use crate::model::{
    AttemptId, AttemptNo, Epoch, IntervalSet, JobId, Millis, SealedSpec, TaskId, TaskIndex, TaskState, Timestamp,
};

/// Takes the next epoch and notes the machine's boot, in the caller's transaction; durable with its commit, because the
/// connection still syncs every one.
pub(super) fn take_epoch(connection: &Connection, now: Timestamp, boot_id: Option<&str>) -> Result<Epoch, StoreError> {
    boot::opened(connection, boot_id)?;
    connection.execute("UPDATE meta SET value = ?1 WHERE name = 'epoch_at'", [time(now)])?;
    let epoch: i64 =
        connection.query_row("UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value", [], |row| {
            row.get(0)
        })?;
    u32::try_from(epoch).map(Epoch).map_err(|_| StoreError::BadValue { column: "epoch" })
}

/// Everything that is not over.
pub(super) fn state(connection: &Connection, epoch: Epoch) -> Result<RestoredState, StoreError> {
    let next_job: i64 = connection.query_row("SELECT value FROM meta WHERE name = 'next_job'", [], |row| row.get(0))?;
    // An end that was recorded later than the last count of it says more.
    let uptime: i64 = connection.query_row(
        "SELECT max((SELECT value FROM meta WHERE name = 'uptime'), (SELECT coalesce(max(ended_uptime), 0) FROM jobs))",
        [],
        |row| row.get(0),
    )?;
    let mut active = connection.prepare("SELECT job FROM jobs WHERE ended_at IS NULL ORDER BY job")?;
    let mut rows = active.query([])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let number = JobId(uint(row.get(0)?));
        jobs.extend(job(connection, number)?);
    }
    Ok(RestoredState {
        epoch,
        next_job: uint(next_job),
        uptime: Millis(uint(uptime)),
        jobs,
        nodes: membership::nodes(connection)?,
        tokens: membership::tokens(connection)?,
        after_power_loss: boot::power_losses(connection)?,
    })
}

/// One job, ended or not.
pub(super) fn job(connection: &Connection, number: JobId) -> Result<Option<RestoredJob>, StoreError> {
    alone(connection, number)?.map(|job| with_tasks(connection, job)).transpose()
}

/// What was submitted as this job; costs the same however many tasks it has.
pub(super) fn submitted(connection: &Connection, number: JobId) -> Result<Option<Arc<SubmittedJob>>, StoreError> {
    Ok(alone(connection, number)?.map(|job| job.submitted))
}

/// A job without its tasks.
fn alone(connection: &Connection, number: JobId) -> Result<Option<RestoredJob>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT spec, owner, idempotency_key, submitted_at, started_at, last_attempt, rest_state,
            cancelling, cancelling_by, cancelling_text, (SELECT name FROM clients WHERE client = cancelling_by),
            retried_by, (SELECT name FROM clients WHERE client = retried_by), retried_at, reopened
         FROM jobs JOIN specs USING (job) WHERE job = ?1",
    )?;
    select.query_row([int(number.0)], |row| Ok(job_row(number, row))).optional()?.transpose()
}

fn job_row(number: JobId, row: &Row<'_>) -> Result<RestoredJob, StoreError> {
    let spec = row.get_ref(0)?.as_blob().ok().and_then(|bytes| SealedSpec::open(bytes).ok());
    Ok(RestoredJob {
        submitted: Arc::new(SubmittedJob {
            job: number,
            spec: spec.ok_or(StoreError::BadValue { column: "spec" })?,
            owner: node_from(&row.get::<_, Vec<u8>>(1)?)?,
            idempotency_key: row.get(2)?,
            at: time_from(row.get(3)?),
        }),
        started_at: row.get::<_, Option<i64>>(4)?.map(time_from),
        cancelling: cancellation_from(row, 7)?,
        retried: act_from(row, 11)?,
        reopened: row.get(14)?,
        last_attempt: AttemptNo(row.get(5)?),
        rest: state_from(row.get(6)?)?,
        succeeded: IntervalSet::new(),
        failed: IntervalSet::new(),
        cancelled: IntervalSet::new(),
        again: IntervalSet::new(),
        tasks: Vec::new(),
    })
}

/// Reads the rows of the job's tasks, in order of their numbers.
fn with_tasks(connection: &Connection, mut job: RestoredJob) -> Result<RestoredJob, StoreError> {
    let (number, submitted) = (job.submitted.job, Arc::clone(&job.submitted));
    let sweeps = sweeps::of(connection, number)?;
    let mut select = connection
        .prepare_cached(&format!("SELECT task, {} FROM tasks WHERE job = ?1 ORDER BY task", sweeps::COLUMNS))?;
    let mut rows = select.query([int(number.0)])?;
    let mut sets = Sets::default();
    while let Some(row) = rows.next()? {
        let index = uint(row.get(0)?);
        let task = TaskId { job: number, index: TaskIndex(index) };
        if submitted.spec.spec().items.position_of(task.index).is_none() {
            return Err(bad_task(task, "task"));
        }
        let state = Standing::read_state(row, 1, &sweeps)?;
        match state {
            TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled => sets.add(state, index),
            TaskState::Waiting | TaskState::Ready | TaskState::Running => {
                let Standing { counts, not_before, .. } = Standing::read(row, 1, &sweeps)?;
                if state == TaskState::Ready && counts.is_clean() {
                    sets.add(state, index);
                    continue;
                }
                let live = if state == TaskState::Running { live(connection, task)? } else { Vec::new() };
                if live.iter().any(|attempt| attempt.id.attempt.0 > counts.attempts) {
                    return Err(bad_task(task, "attempts"));
                }
                job.tasks.push(RestoredTask { task, state, counts, not_before, live });
            }
        }
    }
    for (state, indices) in sets.all() {
        match state {
            TaskState::Succeeded => job.succeeded = indices,
            TaskState::Failed => job.failed = indices,
            TaskState::Cancelled => job.cancelled = indices,
            _ => job.again = indices,
        }
    }
    Ok(job)
}

/// Ascending indices by state, added run by run: neighbours mostly went the same way.
#[derive(Default)]
struct Sets {
    by_state: BTreeMap<TaskState, IntervalSet>,
    run: Option<(TaskState, u64, u64)>,
}

impl Sets {
    fn add(&mut self, state: TaskState, index: u64) {
        match &mut self.run {
            Some((of, _, last)) if *of == state && last.checked_add(1) == Some(index) => *last = index,
            _ => {
                self.end_run();
                self.run = Some((state, index, index));
            }
        }
    }

    fn end_run(&mut self) {
        if let Some((state, first, last)) = self.run.take() {
            self.by_state.entry(state).or_default().insert_range(first, last);
        }
    }

    fn all(mut self) -> impl Iterator<Item = (TaskState, IntervalSet)> {
        self.end_run();
        self.by_state.into_iter()
    }
}

fn bad_task(task: TaskId, column: &'static str) -> StoreError {
    StoreError::BadRow { table: "tasks", key: task.to_string(), column }
}

/// Attempts of the task that have not ended.
fn live(connection: &Connection, task: TaskId) -> Result<Vec<RestoredAttempt>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT attempt, fence, node, started_at, unrepeatable FROM attempts JOIN workers USING (worker)
         WHERE job = ?1 AND task = ?2 AND ended_at IS NULL ORDER BY attempt",
    )?;
    let mut rows = select.query(params![int(task.job.0), int(task.index.0)])?;
    let mut live = Vec::new();
    while let Some(row) = rows.next()? {
        live.push(RestoredAttempt {
            id: AttemptId { task, attempt: AttemptNo(row.get(0)?) },
            fence: fence_from(row.get(1)?)?,
            worker: node_from(&row.get::<_, Vec<u8>>(2)?)?,
            started_at: row.get::<_, Option<i64>>(3)?.map(time_from),
            unrepeatable: row.get::<_, Option<i32>>(4)?.map(unrepeatable_from).transpose()?,
        });
    }
    Ok(live)
}
