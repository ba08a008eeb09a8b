//! Records become rows.
//!
//! Invariant: every record writes absolute values, so a batch applied twice
//! leaves what it left the first time; the only sums, a job's tasks by state,
//! are moved by the difference between a task's old row and its new one, within
//! the same transaction. Records of a job that does not exist change nothing.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::rows::{cancellation, fence, int, outcome, state, time};
use super::writer::Apply;
use crate::model::outcome::{AttemptReport, KeptOutput};
use crate::model::records::{Record, SubmittedJob, TaskCounts};
use crate::model::{AttemptId, Fence, Items, JobId, NodeId, NodeName, Outcome, Role, TaskId, TaskState, Timestamp};

/// Rows of one forgotten job removed at a time; a few milliseconds.
const TIDY_ROWS: i64 = 2000;
/// Free pages given back to the file system after that; also a few milliseconds.
const TIDY_PAGES: i64 = 1000;

/// Applies the dispatcher's records.
pub(super) struct Records {
    /// What this transaction has to add to the rows of jobs it touched; `None`
    /// for a job that does not exist. One update a job instead of one a task.
    jobs: BTreeMap<JobId, Option<JobChange>>,
    /// Row numbers of workers, by key and name.
    workers: HashMap<(NodeId, NodeName), i64>,
    /// Whether forgotten jobs have rows left.
    untidy: bool,
}

/// What a transaction adds to one job's row.
#[derive(Debug, Default)]
struct JobChange {
    /// Tasks with a row, by state; the index is the state's number.
    tasks: [i64; 6],
    /// When the first attempt of this transaction was assigned.
    started_at: Option<i64>,
    last_attempt: u32,
}

/// A task's row as it is to be, its key aside.
struct TaskRow<'a> {
    state: TaskState,
    counts: TaskCounts,
    at: Timestamp,
    not_before: Option<Timestamp>,
    outcome: Option<&'a Outcome>,
}

impl Apply for Records {
    type Record = Record;

    fn apply(&mut self, connection: &Connection, record: Record) -> Result<(), StoreError> {
        match record {
            Record::JobSubmitted(job) => self.job_submitted(connection, &job),
            Record::AttemptAssigned { id, fence, worker, worker_name, at } => {
                self.attempt_assigned(connection, id, fence, (worker, worker_name), at)
            }
            Record::AttemptStarted { id, at } => attempt_started(connection, id, at),
            Record::AttemptEnded { id, report } => attempt_ended(connection, id, &report),
            Record::AttemptReturned { id } => attempt_returned(connection, id),
            Record::TaskChanged { task, state, counts, not_before, outcome, at } => {
                let row = TaskRow { state, counts, at, not_before, outcome: outcome.as_ref() };
                self.task_changed(connection, task, &row)
            }
            Record::RestChanged { job, state, outcome, at } => {
                rest_changed(connection, job, state, outcome.as_ref(), at)
            }
            Record::JobCancelling { job, why, .. } => {
                let (word, text) = cancellation(&why);
                run(
                    connection,
                    "UPDATE jobs SET cancelling = ?2, cancelling_text = ?3 WHERE job = ?1",
                    params![int(job.0), word, text],
                )
            }
            Record::JobEnded { job, state: ended, at } => run(
                connection,
                "UPDATE jobs SET ended_at = ?2, ended_state = ?3 WHERE job = ?1",
                params![int(job.0), time(at), state(ended)],
            ),
            Record::JobReopened { job, .. } => run(
                connection,
                "UPDATE jobs SET ended_at = NULL, ended_state = NULL, cancelling = NULL, cancelling_text = NULL WHERE job = ?1",
                params![int(job.0)],
            ),
            Record::JobForgotten { job } => self.job_forgotten(connection, job),
            Record::NodeEnrolled { node, role, name, at } => node_enrolled(connection, node, role, &name, at),
            Record::WorkerDraining { node, draining } => {
                run(connection, "UPDATE nodes SET draining = ?2 WHERE node = ?1", params![node.0, draining])
            }
        }
    }

    fn finish(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut update = connection.prepare_cached(
            "UPDATE jobs SET waiting = waiting + ?2, ready = ready + ?3, running = running + ?4,
                succeeded = succeeded + ?5, failed = failed + ?6, cancelled = cancelled + ?7,
                started_at = coalesce(started_at, ?8), last_attempt = max(last_attempt, ?9)
             WHERE job = ?1",
        )?;
        for (job, change) in std::mem::take(&mut self.jobs) {
            let Some(change) = change.filter(JobChange::is_any) else { continue };
            let [waiting, ready, running, succeeded, failed, cancelled] = change.tasks;
            update.execute(params![
                int(job.0),
                waiting,
                ready,
                running,
                succeeded,
                failed,
                cancelled,
                change.started_at,
                change.last_attempt
            ])?;
        }
        Ok(())
    }

    fn is_untidy(&self) -> bool {
        self.untidy
    }

    fn tidy(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let job: Option<i64> = connection
            .prepare_cached("SELECT job FROM forgotten ORDER BY job LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        match job {
            Some(job) => forget_some(connection, job)?,
            None => self.untidy = give_pages_back(connection)?,
        }
        Ok(())
    }
}

impl Records {
    /// Learns which workers have a row already.
    pub(super) fn new(connection: &Connection) -> Result<Self, StoreError> {
        let mut workers = HashMap::new();
        let mut known = connection.prepare("SELECT node, name, worker FROM workers")?;
        let mut rows = known.query([])?;
        while let Some(row) = rows.next()? {
            let node = super::rows::node_from(&row.get::<_, Vec<u8>>(0)?)?;
            let name = super::rows::name_from(&row.get::<_, String>(1)?)?;
            workers.insert((node, name), row.get(2)?);
        }
        Ok(Self { jobs: BTreeMap::new(), workers, untidy: true })
    }

    /// What this transaction adds to the job's row, if there is such a job.
    fn change(&mut self, connection: &Connection, job: JobId) -> Result<Option<&mut JobChange>, StoreError> {
        use std::collections::btree_map::Entry;
        match self.jobs.entry(job) {
            Entry::Occupied(known) => Ok(known.into_mut().as_mut()),
            Entry::Vacant(new) => {
                let exists = connection.prepare_cached("SELECT 1 FROM jobs WHERE job = ?1")?.exists([int(job.0)])?;
                Ok(new.insert(exists.then(JobChange::default)).as_mut())
            }
        }
    }

    fn job_submitted(&mut self, connection: &Connection, job: &SubmittedJob) -> Result<(), StoreError> {
        let spec = job.spec.spec();
        let items = &spec.items;
        let step = match items {
            Items::Range { step, .. } => (*step).max(1),
            Items::Single | Items::List(_) => 1,
        };
        let number = int(job.job.0);
        let inserted = connection
            .prepare_cached(
                "INSERT INTO jobs (job, idempotency_key, owner, title, submitted_at, first_index, index_step,
                    task_count, rest_state, rest_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?5) ON CONFLICT (job) DO NOTHING",
            )?
            .execute(params![
                number,
                job.idempotency_key,
                job.owner.0,
                spec.title(),
                time(job.at),
                int(items.index_at(0).0),
                int(step),
                int(items.count()),
                state(TaskState::Ready)
            ])?;
        if inserted == 0 {
            return Ok(());
        }
        run(
            connection,
            "INSERT OR REPLACE INTO specs (job, spec) VALUES (?1, ?2)",
            params![number, job.spec.encoded()],
        )?;
        run(
            connection,
            "UPDATE meta SET value = max(value, ?1) WHERE name = 'next_job'",
            params![number.saturating_add(1)],
        )?;
        self.jobs.insert(job.job, Some(JobChange::default()));
        Ok(())
    }

    fn attempt_assigned(
        &mut self,
        connection: &Connection,
        id: AttemptId,
        fenced: Fence,
        worker: (NodeId, NodeName),
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let worker = self.worker_row(connection, worker)?;
        let Some(change) = self.change(connection, id.task.job)? else { return Ok(()) };
        change.last_attempt = change.last_attempt.max(id.attempt.0);
        change.started_at = change.started_at.or(Some(time(at)));
        let old = task_state(connection, id.task)?;
        change.moved(old, TaskState::Running);
        run(
            connection,
            "INSERT INTO tasks (job, task, state, attempts, failures, lost, changed_at)
             VALUES (?1, ?2, ?3, ?4, 0, 0, ?5)
             ON CONFLICT (job, task) DO UPDATE SET state = ?3, attempts = ?4, changed_at = ?5, not_before = NULL,
                outcome = NULL, outcome_number = NULL, outcome_text = NULL",
            params![int(id.task.job.0), int(id.task.index.0), state(TaskState::Running), id.attempt.0, time(at)],
        )?;
        run(
            connection,
            "INSERT OR REPLACE INTO attempts (job, task, attempt, fence, worker, assigned_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![int(id.task.job.0), int(id.task.index.0), id.attempt.0, fence(fenced), worker, time(at)],
        )
    }

    fn task_changed(&mut self, connection: &Connection, task: TaskId, row: &TaskRow<'_>) -> Result<(), StoreError> {
        let Some(change) = self.change(connection, task.job)? else { return Ok(()) };
        let old = task_state(connection, task)?;
        change.moved(old, row.state);
        let (word, number, text) = outcome(row.outcome);
        run(
            connection,
            "INSERT OR REPLACE INTO tasks (job, task, state, attempts, failures, lost, changed_at, not_before,
                outcome, outcome_number, outcome_text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                int(task.job.0),
                int(task.index.0),
                state(row.state),
                row.counts.attempts,
                row.counts.failures,
                row.counts.lost,
                time(row.at),
                row.not_before.map(time),
                word,
                number,
                text
            ],
        )
    }

    fn worker_row(&mut self, connection: &Connection, worker: (NodeId, NodeName)) -> Result<i64, StoreError> {
        if let Some(row) = self.workers.get(&worker) {
            return Ok(*row);
        }
        let row = connection
            .prepare_cached("INSERT INTO workers (node, name) VALUES (?1, ?2) RETURNING worker")?
            .query_row(params![worker.0.0, worker.1.as_str()], |row| row.get(0))?;
        self.workers.insert(worker, row);
        Ok(row)
    }

    /// Hides the job at once; its many rows go when there is time (`tidy`).
    fn job_forgotten(&mut self, connection: &Connection, job: JobId) -> Result<(), StoreError> {
        let number = params![int(job.0)];
        run(connection, "DELETE FROM jobs WHERE job = ?1", number)?;
        run(connection, "DELETE FROM specs WHERE job = ?1", number)?;
        run(connection, "INSERT OR IGNORE INTO forgotten (job) VALUES (?1)", number)?;
        self.jobs.insert(job, None);
        self.untidy = true;
        Ok(())
    }
}

impl JobChange {
    fn moved(&mut self, from: Option<i64>, to: TaskState) {
        let to = state(to);
        for (place, count) in (0..).zip(&mut self.tasks) {
            *count += i64::from(place == to) - i64::from(Some(place) == from);
        }
    }

    fn is_any(&self) -> bool {
        self.tasks != [0; 6] || self.started_at.is_some() || self.last_attempt > 0
    }
}

/// The state in a task's row, if it has one.
fn task_state(connection: &Connection, task: TaskId) -> Result<Option<i64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT state FROM tasks WHERE job = ?1 AND task = ?2")?;
    Ok(select.query_row([int(task.job.0), int(task.index.0)], |row| row.get(0)).optional()?)
}

fn attempt_started(connection: &Connection, id: AttemptId, at: Timestamp) -> Result<(), StoreError> {
    run(
        connection,
        "UPDATE attempts SET started_at = ?4 WHERE job = ?1 AND task = ?2 AND attempt = ?3",
        params![int(id.task.job.0), int(id.task.index.0), id.attempt.0, time(at)],
    )
}

fn attempt_ended(connection: &Connection, id: AttemptId, report: &AttemptReport) -> Result<(), StoreError> {
    let (word, number, text) = outcome(Some(&report.outcome));
    let kept_bytes = match &report.output.kept {
        KeptOutput::Nothing => None,
        KeptOutput::Inline(_) => Some(INLINE),
        KeptOutput::Uploaded(bytes) => Some(int(*bytes)),
    };
    let (job, task) = (int(id.task.job.0), int(id.task.index.0));
    let updated = connection
        .prepare_cached(
            "UPDATE attempts SET started_at = coalesce(?4, started_at), ended_at = ?5, outcome = ?6, outcome_number = ?7,
                outcome_text = ?8, peak_memory_bytes = ?9, stdout_bytes = ?10, stderr_bytes = ?11, kept_bytes = ?12
             WHERE job = ?1 AND task = ?2 AND attempt = ?3",
        )?
        .execute(params![
            job,
            task,
            id.attempt.0,
            report.started_at.map(time),
            time(report.ended_at),
            word,
            number,
            text,
            int(report.peak_memory_bytes),
            int(report.output.stdout_bytes),
            int(report.output.stderr_bytes),
            kept_bytes
        ])?;
    match &report.output.kept {
        KeptOutput::Inline(frames) if updated > 0 => run(
            connection,
            "INSERT OR REPLACE INTO logs (job, task, attempt, frames) VALUES (?1, ?2, ?3, ?4)",
            params![job, task, id.attempt.0, frames.as_bytes()],
        ),
        _ => Ok(()),
    }
}

/// `attempts.kept_bytes` of an attempt whose output is in `logs`.
pub(super) const INLINE: i64 = -1;

fn attempt_returned(connection: &Connection, id: AttemptId) -> Result<(), StoreError> {
    run(
        connection,
        "DELETE FROM attempts WHERE job = ?1 AND task = ?2 AND attempt = ?3",
        params![int(id.task.job.0), int(id.task.index.0), id.attempt.0],
    )
}

fn rest_changed(
    connection: &Connection,
    job: JobId,
    rest: TaskState,
    ended: Option<&Outcome>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (word, number, text) = outcome(ended);
    run(
        connection,
        "UPDATE jobs SET rest_state = ?2, rest_at = ?3, rest_outcome = ?4, rest_outcome_number = ?5,
            rest_outcome_text = ?6 WHERE job = ?1",
        params![int(job.0), state(rest), time(at), word, number, text],
    )
}

fn node_enrolled(
    connection: &Connection,
    node: NodeId,
    role: Role,
    name: &NodeName,
    at: Timestamp,
) -> Result<(), StoreError> {
    let role = role.to_string();
    run(
        connection,
        "DELETE FROM nodes WHERE role = ?2 AND name = ?3 AND node <> ?1",
        params![node.0, role, name.as_str()],
    )?;
    run(
        connection,
        "INSERT INTO nodes (node, role, name, enrolled_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (node) DO UPDATE SET role = ?2, name = ?3, enrolled_at = ?4",
        params![node.0, role, name.as_str(), time(at)],
    )
}

/// Removes a bounded number of a forgotten job's rows, and the mark when none are left.
fn forget_some(connection: &Connection, job: i64) -> Result<(), StoreError> {
    let mut removed = 0;
    for table in ["logs", "attempts", "tasks"] {
        // All rows of the first few tasks that have any.
        removed += connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE job = ?1 AND task <= (
                    SELECT max(task) FROM (SELECT task FROM {table} WHERE job = ?1 ORDER BY task LIMIT ?2))"
            ))?
            .execute([job, TIDY_ROWS])?;
    }
    if removed == 0 {
        run(connection, "DELETE FROM forgotten WHERE job = ?1", params![job])?;
    }
    Ok(())
}

/// Gives some free pages back to the file system; says whether there are more.
fn give_pages_back(connection: &Connection) -> Result<bool, StoreError> {
    let free = || connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    let before = free()?;
    if before == 0 {
        return Ok(false);
    }
    let mut give_back = connection.prepare(&format!("PRAGMA incremental_vacuum({TIDY_PAGES})"))?;
    let mut pages = give_back.query([])?;
    while pages.next()?.is_some() {}
    let after = free()?;
    // A file that somebody rewrote without automatic vacuuming keeps its free pages.
    Ok(after > 0 && after < before)
}

fn run(connection: &Connection, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}
