//! Putting sweeps into the rows that they are about.
//!
//! Invariant: at every commit a row and the sweeps that are newer than it say what they said before; a sweep goes when
//! every row shows it. Nothing needs to be remembered across a crash: rows that show a sweep are passed over quickly.
//! Absent: what a sweep means (`sweeps`).

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::rows::{int, outcome, state, time, uint};
use super::sweeps::{self, Standing, Sweep};
use crate::model::{JobId, TaskId, TaskState};

/// How much is done when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Changes of this many rows at most are written at once.
    pub(super) at_once: u64,
    /// Rows looked at in one piece of folding.
    pub(super) piece: u32,
    /// Sweeps of one job that may wait: readers go through them for each row. The next one makes the writer fold first.
    pub(super) most: usize,
}

/// A piece takes a few milliseconds, so what it would hold is not worth a sweep.
pub(super) const PACE: Pace = Pace { at_once: 2000, piece: 2000, most: 16 };

/// Sweeps that rows do not show yet.
#[derive(Debug)]
pub(super) struct Folding {
    pace: Pace,
    jobs: BTreeMap<JobId, Unfolded>,
}

#[derive(Debug, Default)]
struct Unfolded {
    /// Oldest first, never empty.
    sweeps: Vec<Sweep>,
    /// Rows of tasks up to this one show them all; -1 is before the first.
    folded: i64,
}

impl Folding {
    /// Reads what an earlier start left.
    pub(super) fn read(connection: &Connection, pace: Pace) -> Result<Self, StoreError> {
        let mut jobs = BTreeMap::new();
        for job in sweeps::jobs(connection)? {
            let job = JobId(uint(job));
            jobs.insert(job, Unfolded { sweeps: sweeps::of(connection, job)?, folded: -1 });
        }
        Ok(Self { pace, jobs })
    }

    /// Whether some row does not show what became of it.
    pub(super) fn is_any(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether a change of this many rows of a job goes the long way.
    pub(super) fn is_worth_it(&self, job: JobId, rows: u64) -> bool {
        rows > self.pace.at_once || self.jobs.contains_key(&job)
    }

    /// `tasks.swept` of a row that is written now.
    pub(super) fn as_of(&self, job: JobId) -> i64 {
        self.jobs.get(&job).and_then(|unfolded| unfolded.sweeps.last()).map_or(0, |sweep| sweep.number)
    }

    /// Every row of the job in state `sweep.from` is as the sweep says from now on; its number is given here.
    pub(super) fn add(&mut self, connection: &Connection, job: JobId, mut sweep: Sweep) -> Result<(), StoreError> {
        while self.jobs.get(&job).is_some_and(|unfolded| unfolded.sweeps.len() >= self.pace.most) {
            self.fold(connection, job)?;
        }
        sweep.number = connection
            .prepare_cached("UPDATE jobs SET sweeps = sweeps + 1 WHERE job = ?1 RETURNING sweeps")?
            .query_row([int(job.0)], |row| row.get(0))?;
        sweeps::add(connection, job, &sweep)?;
        let unfolded = self.jobs.entry(job).or_default();
        unfolded.sweeps.push(sweep);
        unfolded.folded = -1;
        Ok(())
    }

    /// The job is no more.
    pub(super) fn forget(&mut self, connection: &Connection, job: JobId) -> Result<(), StoreError> {
        if self.jobs.remove(&job).is_some() {
            connection.prepare_cached("DELETE FROM sweeps WHERE job = ?1")?.execute([int(job.0)])?;
        }
        Ok(())
    }

    /// Makes the row of one task show everything; returns its state.
    pub(super) fn fold_task(&self, connection: &Connection, task: TaskId) -> Result<Option<TaskState>, StoreError> {
        let key = [int(task.job.0), int(task.index.0)];
        if let Some(unfolded) = self.jobs.get(&task.job) {
            write(connection, task.job, &unfolded.sweeps, (key[1] - 1, key[1]))?;
        }
        let mut select = connection
            .prepare_cached(&format!("SELECT {} FROM tasks WHERE job = ?1 AND task = ?2", sweeps::COLUMNS))?;
        let state = select.query_row(key, |row| Ok(Standing::read_state(row, 0, &[]))).optional()?;
        state.transpose()
    }

    /// One piece of what is left to do.
    pub(super) fn fold_some(&mut self, connection: &Connection) -> Result<(), StoreError> {
        match self.jobs.keys().next() {
            Some(job) => self.fold(connection, *job),
            None => Ok(()),
        }
    }

    /// One piece of a job, which has sweeps.
    fn fold(&mut self, connection: &Connection, job: JobId) -> Result<(), StoreError> {
        let Some(unfolded) = self.jobs.get_mut(&job) else { return Ok(()) };
        let last: Option<i64> = connection
            .prepare_cached(
                "SELECT max(task) FROM (SELECT task FROM tasks WHERE job = ?1 AND task > ?2 ORDER BY task LIMIT ?3)",
            )?
            .query_row(params![int(job.0), unfolded.folded, self.pace.piece], |row| row.get(0))?;
        if let Some(last) = last {
            write(connection, job, &unfolded.sweeps, (unfolded.folded, last))?;
            unfolded.folded = last;
            return Ok(());
        }
        self.forget(connection, job)
    }
}

/// Writes one without a number into every row at once, of a job without others.
pub(super) fn write_all(connection: &Connection, job: JobId, sweep: &Sweep) -> Result<(), StoreError> {
    write(connection, job, std::slice::from_ref(sweep), (-1, i64::MAX))
}

/// Writes sweeps into the rows of the tasks behind `after` up to `last` that do not show them, in order. `swept` of rows that no sweep
/// changes stays as it is: what does not change them once never does, for whatever else is written into them is as of
/// the newest.
fn write(connection: &Connection, job: JobId, sweeps: &[Sweep], (after, last): (i64, i64)) -> Result<(), StoreError> {
    for sweep in sweeps {
        let counts = if sweep.clears_counts() { "failures = 0, lost = 0," } else { "" };
        let (word, number, text) = outcome(sweep.outcome.as_ref());
        // The state is spelled out, so that SQLite sees where the index of failed and cancelled tasks helps.
        connection
            .prepare_cached(&format!(
                "UPDATE tasks SET state = ?4, {counts} changed_at = ?5, not_before = NULL, outcome = ?6,
                    outcome_number = ?7, outcome_text = ?8, swept = max(swept, ?9)
                 WHERE job = ?1 AND task > ?2 AND task <= ?3 AND state = {} AND (?9 = 0 OR swept < ?9)",
                state(sweep.from)
            ))?
            .execute(params![
                int(job.0),
                after,
                last,
                state(sweep.to),
                time(sweep.at),
                word,
                number,
                text,
                sweep.number
            ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
