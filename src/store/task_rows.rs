//! Rows of tasks, and the sums of them that stand in their jobs' rows.
//!
//! Invariant: a job's sums move by the difference between a task's old row and
//! its new one, within one transaction, so they never part from the rows. They
//! are written once a job and transaction, not once a task.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::rows::{int, outcome, state, time};
use crate::model::records::TaskCounts;
use crate::model::{AttemptId, JobId, Outcome, TaskId, TaskState, Timestamp};

/// What the writer remembers of jobs and tasks.
#[derive(Debug, Default)]
pub(super) struct TaskRows {
    /// What this transaction has to add to the rows of jobs it touched; `None`
    /// for a job that does not exist.
    jobs: BTreeMap<JobId, Option<JobChange>>,
    /// The states (by number) of tasks that have a row and have not ended: those
    /// whose rows change next, so that the old state need not be read each time.
    live: BTreeMap<TaskId, i64>,
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
pub(super) struct TaskRow<'a> {
    pub(super) state: TaskState,
    pub(super) counts: TaskCounts,
    pub(super) at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    pub(super) outcome: Option<&'a Outcome>,
}

impl TaskRows {
    /// A job was written, or found to be there already.
    pub(super) fn submitted(&mut self, job: JobId) {
        self.jobs.insert(job, Some(JobChange::default()));
    }

    /// A job is no more.
    pub(super) fn forgotten(&mut self, job: JobId) {
        self.jobs.insert(job, None);
        let of_job = TaskId::new(job.0, 0)..=TaskId::new(job.0, u64::MAX);
        let live: Vec<TaskId> = self.live.range(of_job).map(|(task, _)| *task).collect();
        for task in live {
            self.live.remove(&task);
        }
    }

    /// An attempt makes its task `running`; says no when there is no such job.
    pub(super) fn assigned(
        &mut self,
        connection: &Connection,
        id: AttemptId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(change) = self.change(connection, id.task.job)? else { return Ok(false) };
        change.last_attempt = change.last_attempt.max(id.attempt.0);
        change.started_at = change.started_at.or(Some(time(at)));
        let counts = TaskCounts { attempts: id.attempt.0, ..TaskCounts::default() };
        let row = TaskRow { state: TaskState::Running, counts, at, not_before: None, outcome: None };
        if self.insert_task(connection, id.task, &row)? {
            self.moved(id.task, None, TaskState::Running);
        } else {
            let old = self.old_state(connection, id.task)?;
            let mut update = connection.prepare_cached(
                "UPDATE tasks SET state = ?3, attempts = ?4, changed_at = ?5, not_before = NULL, outcome = NULL,
                    outcome_number = NULL, outcome_text = NULL WHERE job = ?1 AND task = ?2",
            )?;
            update.execute(params![
                int(id.task.job.0),
                int(id.task.index.0),
                state(row.state),
                id.attempt.0,
                time(at)
            ])?;
            self.moved(id.task, old, TaskState::Running);
        }
        Ok(true)
    }

    /// A task's row is to be this.
    pub(super) fn changed(
        &mut self,
        connection: &Connection,
        task: TaskId,
        row: &TaskRow<'_>,
    ) -> Result<(), StoreError> {
        if self.change(connection, task.job)?.is_none() {
            return Ok(());
        }
        if self.insert_task(connection, task, row)? {
            self.moved(task, None, row.state);
            return Ok(());
        }
        let old = self.old_state(connection, task)?;
        write(
            connection,
            "UPDATE tasks SET state = ?3, attempts = ?4, failures = ?5, lost = ?6, changed_at = ?7, not_before = ?8,
                outcome = ?9, outcome_number = ?10, outcome_text = ?11 WHERE job = ?1 AND task = ?2",
            task,
            row,
        )?;
        self.moved(task, old, row.state);
        Ok(())
    }

    /// Every row of the job in state `from` is to be this, but for its attempts; of what is counted, a terminal
    /// state leaves all as it was.
    pub(super) fn all_changed(
        &mut self,
        connection: &Connection,
        job: JobId,
        from: TaskState,
        row: &TaskRow<'_>,
    ) -> Result<(), StoreError> {
        if self.change(connection, job)?.is_none() {
            return Ok(());
        }
        let counts = if row.state.is_terminal() { "" } else { "failures = 0, lost = 0," };
        let (word, number, text) = outcome(row.outcome);
        // The state is spelled out, so that SQLite sees where the index of failed and cancelled tasks helps.
        let changed = connection
            .prepare_cached(&format!(
                "UPDATE tasks SET state = ?2, {counts} changed_at = ?3, not_before = NULL,
                    outcome = ?4, outcome_number = ?5, outcome_text = ?6 WHERE job = ?1 AND state = {}",
                state(from)
            ))?
            .execute(params![int(job.0), state(row.state), time(row.at), word, number, text])?;
        if let Some(Some(change)) = self.jobs.get_mut(&job) {
            change.moved_all(state(from), state(row.state), int(changed as u64));
        }
        let of_job = TaskId::new(job.0, 0)..=TaskId::new(job.0, u64::MAX);
        let known: Vec<TaskId> =
            self.live.range(of_job).filter(|(_, old)| **old == state(from)).map(|(task, _)| *task).collect();
        for task in known {
            match row.state.is_terminal() {
                true => self.live.remove(&task),
                false => self.live.insert(task, state(row.state)),
            };
        }
        Ok(())
    }

    /// Writes the task's first row; says no when it has one already.
    fn insert_task(&self, connection: &Connection, task: TaskId, row: &TaskRow<'_>) -> Result<bool, StoreError> {
        if self.live.contains_key(&task) {
            return Ok(false);
        }
        let inserted = write(
            connection,
            "INSERT INTO tasks (job, task, state, attempts, failures, lost, changed_at, not_before,
                outcome, outcome_number, outcome_text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
            task,
            row,
        )?;
        Ok(inserted > 0)
    }

    /// The state in the task's row.
    fn old_state(&self, connection: &Connection, task: TaskId) -> Result<Option<i64>, StoreError> {
        match self.live.get(&task) {
            Some(state) => Ok(Some(*state)),
            None => {
                let mut select = connection.prepare_cached("SELECT state FROM tasks WHERE job = ?1 AND task = ?2")?;
                Ok(select.query_row([int(task.job.0), int(task.index.0)], |row| row.get(0)).optional()?)
            }
        }
    }

    /// Counts a task's change of state into its job's row.
    fn moved(&mut self, task: TaskId, from: Option<i64>, to: TaskState) {
        if let Some(Some(change)) = self.jobs.get_mut(&task.job) {
            change.moved(from, state(to));
        }
        if to.is_terminal() {
            self.live.remove(&task);
        } else {
            self.live.insert(task, state(to));
        }
    }

    /// Writes what this transaction adds to jobs.
    pub(super) fn add_up(&mut self, connection: &Connection) -> Result<(), StoreError> {
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

    /// What this transaction adds to the job's row, if there is such a job.
    fn change(&mut self, connection: &Connection, job: JobId) -> Result<Option<&mut JobChange>, StoreError> {
        match self.jobs.entry(job) {
            Entry::Occupied(known) => Ok(known.into_mut().as_mut()),
            Entry::Vacant(new) => {
                let exists = connection.prepare_cached("SELECT 1 FROM jobs WHERE job = ?1")?.exists([int(job.0)])?;
                Ok(new.insert(exists.then(JobChange::default)).as_mut())
            }
        }
    }
}

impl JobChange {
    fn moved(&mut self, from: Option<i64>, to: i64) {
        for (place, count) in (0..).zip(&mut self.tasks) {
            *count += i64::from(place == to) - i64::from(Some(place) == from);
        }
    }

    fn moved_all(&mut self, from: i64, to: i64, number: i64) {
        for (place, count) in (0..).zip(&mut self.tasks) {
            *count += number * (i64::from(place == to) - i64::from(place == from));
        }
    }

    fn is_any(&self) -> bool {
        self.tasks != [0; 6] || self.started_at.is_some() || self.last_attempt > 0
    }
}

/// Runs a statement that takes a task's key and then all that its row says; returns how many rows it touched.
fn write(connection: &Connection, sql: &str, task: TaskId, row: &TaskRow<'_>) -> Result<usize, StoreError> {
    let (word, number, text) = outcome(row.outcome);
    Ok(connection.prepare_cached(sql)?.execute(params![
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
    ])?)
}
