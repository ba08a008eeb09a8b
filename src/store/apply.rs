//! Records become rows.
//!
//! Invariant: every record writes absolute values, so a batch applied twice
//! leaves what it left the first time (the one kind of sum is kept in
//! `task_rows`). Records of a job that does not exist change nothing.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::attempt_rows::{self, WorkerRows};
use super::folding::{self, Pace};
use super::rows::{cancellation, int, outcome, run, state, time};
use super::sweeps::Sweep;
use super::task_rows::{TaskRow, TaskRows};
use super::writer::Apply;
use super::{StoreError, boot, files, membership, numbering};
use crate::model::limits::REMOVED_KEPT;
use crate::model::records::{Record, SubmittedJob};
use crate::model::{Actor, Items, JobId, Outcome, TaskState, Timestamp};

/// Rows of one forgotten job removed at a time; a few milliseconds.
const TIDY_ROWS: i64 = 2000;
/// Free pages given back to the file system after that; also a few milliseconds.
const TIDY_PAGES: i64 = 1000;

/// Applies the dispatcher's records.
pub(super) struct Records {
    tasks: TaskRows,
    workers: WorkerRows,
    /// Whether forgotten jobs have rows left, or the file free pages.
    untidy: bool,
}

impl Apply for Records {
    type Record = Record;

    fn apply(&mut self, connection: &Connection, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::JobSubmitted(job) => self.job_submitted(connection, job),
            Record::AttemptAssigned { id, fence, worker, worker_name, at } => {
                if !self.tasks.assigned(connection, *id, *at)? {
                    return Ok(());
                }
                let worker = self.workers.number(connection, (*worker, worker_name))?;
                attempt_rows::assigned(connection, *id, *fence, worker, *at)
            }
            Record::AttemptStarted { id, at } => attempt_rows::started(connection, *id, *at),
            Record::AttemptUnrepeatable { id, why } => attempt_rows::unrepeatable(connection, *id, *why),
            Record::AttemptHandedOver { id, fence, giver, receiver } => {
                let giver = self.workers.number(connection, (giver.0, &giver.1))?;
                let receiver = self.workers.number(connection, (receiver.0, &receiver.1))?;
                attempt_rows::handed_over(connection, *id, *fence, giver, receiver)
            }
            Record::AttemptEnded { id, report } => attempt_rows::ended(connection, *id, report),
            Record::AttemptReturned { id } => attempt_rows::returned(connection, *id),
            Record::TaskChanged { task, state, counts, not_before, outcome, at } => {
                let (state, counts, at, not_before) = (*state, *counts, *at, *not_before);
                let row = TaskRow { state, counts, at, not_before, outcome: outcome.as_ref() };
                self.tasks.changed(connection, *task, &row)
            }
            Record::RestChanged { job, state, outcome, at } => {
                rest_changed(connection, *job, *state, outcome.as_ref(), *at)
            }
            Record::RowsChanged { job, from, state, outcome, at } => {
                let sweep = Sweep { number: 0, from: *from, to: *state, at: *at, outcome: outcome.clone() };
                self.tasks.all_changed(connection, *job, sweep)
            }
            Record::JobCancelling { job, why, .. } => {
                let (word, by, text) = cancellation(Some(why));
                run(
                    connection,
                    "UPDATE jobs SET cancelling = ?2, cancelling_by = ?3, cancelling_text = ?4 WHERE job = ?1",
                    params![int(job.0), word, by, text],
                )
            }
            Record::JobEnded { job, state: ended, at, uptime } => run(
                connection,
                "UPDATE jobs SET ended_at = ?2, ended_state = ?3, ended_uptime = ?4 WHERE job = ?1",
                params![int(job.0), time(*at), state(*ended), int(uptime.0)],
            ),
            Record::JobReopened { job, .. } => run(
                connection,
                "UPDATE jobs SET ended_at = NULL, ended_state = NULL, ended_uptime = NULL, cancelling = NULL,
                    cancelling_by = NULL, cancelling_text = NULL, reopened = 1 WHERE job = ?1",
                params![int(job.0)],
            ),
            Record::JobRetried { job, act } => run(
                connection,
                "UPDATE jobs SET retried_by = ?2, retried_at = ?3 WHERE job = ?1",
                params![int(job.0), int(act.by.key.0), time(act.at)],
            ),
            Record::OutputsRemade { task, by } => files::remade(connection, *task, *by),
            Record::JobForgotten { job, by, at } => self.job_forgotten(connection, *job, by.as_ref(), *at),
            Record::NodeEnrolled { node, role, name, at } => membership::enrolled(connection, *node, *role, name, *at),
            Record::WorkerDraining { node, draining, act } => membership::draining(connection, *node, *draining, act),
            Record::WorkerPlaced { node, place } => membership::placed(connection, *node, place),
            Record::NodeRevoked { node, at } => membership::revoked(connection, *node, *at),
            Record::TokenChanged(token) => membership::token_changed(connection, token),
            Record::TokenForgotten { hash } => membership::token_forgotten(connection, hash),
            Record::UptimeCounted { uptime } => {
                run(connection, "UPDATE meta SET value = ?1 WHERE name = 'uptime'", params![int(uptime.0)])
            }
            Record::PowerLossesSettled => boot::settled(connection),
        }
    }

    fn finish(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.tasks.add_up(connection)
    }

    fn undone(&mut self, connection: &Connection) -> Result<(), StoreError> {
        *self = Self::new(connection)?;
        Ok(())
    }

    fn is_untidy(&self) -> bool {
        self.untidy || self.tasks.is_unfolded()
    }

    fn close(&mut self, connection: &Connection) -> Result<(), StoreError> {
        boot::closed(connection)
    }

    fn tidy(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.tasks.is_unfolded() {
            return self.tasks.fold_some(connection);
        }
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
        Self::paced(connection, folding::PACE)
    }

    /// The same at another pace.
    pub(super) fn paced(connection: &Connection, pace: Pace) -> Result<Self, StoreError> {
        let (tasks, workers) = (TaskRows::new(connection, pace)?, WorkerRows::read(connection)?);
        Ok(Self { tasks, workers, untidy: true })
    }

    fn job_submitted(&mut self, connection: &Connection, job: &SubmittedJob) -> Result<(), StoreError> {
        let spec = job.spec.spec();
        let items = &spec.items;
        let step = match items {
            Items::Range { step, .. } => (*step).max(1),
            _ => 1,
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
        if let Items::Numbers(numbers) | Items::Subset { numbers, .. } = items {
            numbering::insert(connection, job.job, numbers)?;
        }
        run(
            connection,
            "INSERT OR REPLACE INTO specs (job, spec, has_files) VALUES (?1, ?2, ?3)",
            params![number, job.spec.encoded(), !spec.inputs.is_empty()],
        )?;
        run(
            connection,
            "UPDATE meta SET value = max(value, ?1) WHERE name = 'next_job'",
            params![number.saturating_add(1)],
        )?;
        self.tasks.submitted(job.job);
        Ok(())
    }

    /// Hides the job at once; its many rows go when there is time (`tidy`).
    fn job_forgotten(
        &mut self,
        connection: &Connection,
        job: JobId,
        by: Option<&Actor>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let number = params![int(job.0)];
        run(
            connection,
            "INSERT OR IGNORE INTO removed (job, owner, removed_by, removed_at)
             SELECT job, owner, ?2, ?3 FROM jobs WHERE job = ?1",
            params![int(job.0), by.map(|by| int(by.key.0)), time(at)],
        )?;
        run(
            connection,
            "DELETE FROM removed WHERE place <= (SELECT max(place) FROM removed) - ?1",
            params![int(REMOVED_KEPT)],
        )?;
        run(connection, "DELETE FROM jobs WHERE job = ?1", number)?;
        run(connection, "DELETE FROM specs WHERE job = ?1", number)?;
        run(connection, "DELETE FROM numberings WHERE job = ?1", number)?;
        run(connection, "INSERT OR IGNORE INTO forgotten (job) VALUES (?1)", number)?;
        self.untidy = true;
        self.tasks.forgotten(connection, job)
    }
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

/// Removes a bounded number of a forgotten job's rows, and the mark when none are left.
fn forget_some(connection: &Connection, job: i64) -> Result<(), StoreError> {
    let mut removed = 0;
    for table in ["logs", "outputs", "attempts", "tasks"] {
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
