//! Changes of a great many rows at once, before those rows show them.
//!
//! A million failed tasks that are done again are one row here, a *sweep*, and nothing else at first; the writer puts
//! them into the rows piece by piece when it has nothing better to do (`folding`). Invariant: a task's row, and over it
//! in order the sweeps of its job that are newer than the row's `swept`, say what the row would say had each of them
//! been written into every row at once. Whoever reads `tasks` reads it so. Absent: writing (`folding`).

use rusqlite::{Connection, Row, params};

use super::StoreError;
use super::rows::{int, outcome, outcome_from, state, state_from, time, time_from};
use crate::model::records::TaskCounts;
use crate::model::{JobId, Outcome, TaskState, Timestamp};

/// What every row of a job in one state becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sweep {
    /// Its place among those of its job, never used again.
    pub(super) number: i64,
    /// Rows in this state …
    pub(super) from: TaskState,
    /// … are in this one.
    pub(super) to: TaskState,
    /// Since then.
    pub(super) at: Timestamp,
    /// How they ended, when `to` is terminal.
    pub(super) outcome: Option<Outcome>,
}

impl Sweep {
    /// Whether failures and losses counted so far are forgotten.
    pub(super) fn clears_counts(&self) -> bool {
        !self.to.is_terminal()
    }
}

/// The sweeps of a job that some rows may not show yet, oldest first. Few: see `MOST` in `folding`.
pub(super) fn of(connection: &Connection, job: JobId) -> Result<Vec<Sweep>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT sweep, from_state, state, at, outcome, outcome_number, outcome_text,
            (SELECT name FROM clients WHERE client = outcome_number)
         FROM sweeps WHERE job = ?1 ORDER BY sweep",
    )?;
    let mut rows = select.query([int(job.0)])?;
    let mut sweeps = Vec::new();
    while let Some(row) = rows.next()? {
        sweeps.push(Sweep {
            number: row.get(0)?,
            from: state_from(row.get(1)?)?,
            to: state_from(row.get(2)?)?,
            at: time_from(row.get(3)?),
            outcome: outcome_from(row, 4)?,
        });
    }
    Ok(sweeps)
}

/// Jobs that have any.
pub(super) fn jobs(connection: &Connection) -> Result<Vec<i64>, StoreError> {
    let mut select = connection.prepare("SELECT DISTINCT job FROM sweeps ORDER BY job")?;
    let jobs = select.query_map([], |row| row.get(0))?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// Writes one down.
pub(super) fn add(connection: &Connection, job: JobId, sweep: &Sweep) -> Result<(), StoreError> {
    let (word, number, text) = outcome(sweep.outcome.as_ref());
    connection
        .prepare_cached(
            "INSERT INTO sweeps (job, sweep, from_state, state, at, outcome, outcome_number, outcome_text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            int(job.0),
            sweep.number,
            state(sweep.from),
            state(sweep.to),
            time(sweep.at),
            word,
            number,
            text
        ])?;
    Ok(())
}

/// What of a task's row sweeps may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its state.
    pub(super) state: TaskState,
    /// What is counted about it.
    pub(super) counts: TaskCounts,
    /// Since when it is so.
    pub(super) changed_at: Timestamp,
    /// Not before this instant.
    pub(super) not_before: Option<Timestamp>,
    /// How it ended, when it ended without an attempt of its own.
    pub(super) outcome: Option<Outcome>,
}

/// Columns of `tasks` that a [`Standing`] is read from, in this order.
pub(super) const COLUMNS: &str =
    "state, swept, attempts, failures, lost, changed_at, not_before, outcome, outcome_number, outcome_text,
    (SELECT name FROM clients WHERE client = outcome_number)";

impl Standing {
    /// From a row whose columns from `at` on are [`COLUMNS`], and the sweeps of its job.
    pub(super) fn read(row: &Row<'_>, at: usize, sweeps: &[Sweep]) -> Result<Self, StoreError> {
        let mut standing = Self {
            state: state_from(row.get(at)?)?,
            counts: TaskCounts { attempts: row.get(at + 2)?, failures: row.get(at + 3)?, lost: row.get(at + 4)? },
            changed_at: time_from(row.get(at + 5)?),
            not_before: row.get::<_, Option<i64>>(at + 6)?.map(time_from),
            outcome: outcome_from(row, at + 7)?,
        };
        for sweep in newer(sweeps, row.get(at + 1)?) {
            standing.take(sweep);
        }
        Ok(standing)
    }

    /// Its state alone, which costs less where most rows are passed over.
    pub(super) fn read_state(row: &Row<'_>, at: usize, sweeps: &[Sweep]) -> Result<TaskState, StoreError> {
        let written = state_from(row.get(at)?)?;
        if sweeps.is_empty() {
            return Ok(written);
        }
        let unseen = newer(sweeps, row.get(at + 1)?);
        Ok(unseen.fold(written, |state, sweep| if sweep.from == state { sweep.to } else { state }))
    }

    fn take(&mut self, sweep: &Sweep) {
        if self.state != sweep.from {
            return;
        }
        self.state = sweep.to;
        self.changed_at = sweep.at;
        self.not_before = None;
        self.outcome.clone_from(&sweep.outcome);
        if sweep.clears_counts() {
            self.counts = TaskCounts { attempts: self.counts.attempts, ..TaskCounts::default() };
        }
    }
}

/// Those that a row does not show which was last written as of `swept`.
fn newer(sweeps: &[Sweep], swept: i64) -> impl Iterator<Item = &Sweep> {
    sweeps.iter().filter(move |sweep| sweep.number > swept)
}
