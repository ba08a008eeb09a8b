//! Rows of attempts, of the workers that made them, and of the output kept with them.
//!
//! Invariant: only an assignment makes an attempt's row; what is said of an
//! attempt that has none changes nothing.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::StoreError;
use super::files;
use super::rows::{self, fence, int, name_from, node_from, outcome, run, time};
use crate::model::outcome::{AttemptReport, KeptOutput, Unrepeatable};
use crate::model::{AttemptId, Fence, NodeId, NodeName, Timestamp};

/// `attempts.kept_bytes` of an attempt whose output is in `logs`.
pub(super) const INLINE: i64 = -1;

/// Row numbers of workers, by key and name: a number an attempt instead of 40 bytes.
#[derive(Debug)]
pub(super) struct WorkerRows(HashMap<(NodeId, NodeName), i64>);

impl WorkerRows {
    /// Learns which workers have a row already.
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut workers = HashMap::new();
        let mut known = connection.prepare("SELECT node, name, worker FROM workers")?;
        let mut rows = known.query([])?;
        while let Some(row) = rows.next()? {
            let node = node_from(&row.get::<_, Vec<u8>>(0)?)?;
            let name = name_from(&row.get::<_, String>(1)?)?;
            workers.insert((node, name), row.get(2)?);
        }
        Ok(Self(workers))
    }

    /// The worker's row, made when it is new.
    pub(super) fn number(&mut self, connection: &Connection, worker: (NodeId, &NodeName)) -> Result<i64, StoreError> {
        let worker = (worker.0, worker.1.clone());
        if let Some(row) = self.0.get(&worker) {
            return Ok(*row);
        }
        let row = connection
            .prepare_cached("INSERT INTO workers (node, name) VALUES (?1, ?2) RETURNING worker")?
            .query_row(params![worker.0.0, worker.1.as_str()], |row| row.get(0))?;
        self.0.insert(worker, row);
        Ok(row)
    }
}

/// Writes the attempt anew, whatever stood under its number.
pub(super) fn assigned(
    connection: &Connection,
    id: AttemptId,
    fenced: Fence,
    worker: i64,
    at: Timestamp,
) -> Result<(), StoreError> {
    run(
        connection,
        "INSERT OR REPLACE INTO attempts (job, task, attempt, fence, worker, assigned_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![int(id.task.job.0), int(id.task.index.0), id.attempt.0, fence(fenced), worker, time(at)],
    )
}

/// Another worker has it from now on.
pub(super) fn handed_over(
    connection: &Connection,
    id: AttemptId,
    fenced: Fence,
    giver: i64,
    receiver: i64,
) -> Result<(), StoreError> {
    run(
        connection,
        "UPDATE attempts SET fence = ?4, worker = ?5, handed_over_by = ?6 WHERE job = ?1 AND task = ?2 AND attempt = ?3",
        params![int(id.task.job.0), int(id.task.index.0), id.attempt.0, fence(fenced), receiver, giver],
    )
}

/// Its process exists.
pub(super) fn started(connection: &Connection, id: AttemptId, at: Timestamp) -> Result<(), StoreError> {
    run(
        connection,
        "UPDATE attempts SET started_at = ?4 WHERE job = ?1 AND task = ?2 AND attempt = ?3",
        params![int(id.task.job.0), int(id.task.index.0), id.attempt.0, time(at)],
    )
}

/// It is its task's last one.
pub(super) fn unrepeatable(connection: &Connection, id: AttemptId, why: Unrepeatable) -> Result<(), StoreError> {
    run(
        connection,
        "UPDATE attempts SET unrepeatable = ?4 WHERE job = ?1 AND task = ?2 AND attempt = ?3",
        params![int(id.task.job.0), int(id.task.index.0), id.attempt.0, rows::unrepeatable(why)],
    )
}

/// It ended, and this is its recorded result.
pub(super) fn ended(connection: &Connection, id: AttemptId, report: &AttemptReport) -> Result<(), StoreError> {
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
                outcome_text = ?8, peak_memory_bytes = ?9, stdout_bytes = ?10, stderr_bytes = ?11, kept_bytes = ?12,
                files = ?13
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
            kept_bytes,
            files::encoded(report.files.as_deref())?
        ])?;
    // A first attempt that moved nothing has nothing to take the place of.
    if updated > 0 && (report.files.is_some() || id.attempt.0 > 1) {
        files::brought(connection, id, report.files.as_deref())?;
    }
    match &report.output.kept {
        KeptOutput::Inline(frames) if updated > 0 => run(
            connection,
            "INSERT OR REPLACE INTO logs (job, task, attempt, frames) VALUES (?1, ?2, ?3, ?4)",
            params![job, task, id.attempt.0, frames.as_bytes()],
        ),
        _ => Ok(()),
    }
}

/// It was given back unstarted.
pub(super) fn returned(connection: &Connection, id: AttemptId) -> Result<(), StoreError> {
    run(
        connection,
        "DELETE FROM attempts WHERE job = ?1 AND task = ?2 AND attempt = ?3",
        params![int(id.task.job.0), int(id.task.index.0), id.attempt.0],
    )
}
