//! Rows of tasks, and the sums of them that stand in their jobs' rows.
//!
//! Invariant: a job's sums move by the difference between a task's old row and
//! its new one, within one transaction, so they never part from the rows. They
//! are written once a job and transaction, not once a task.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;
use super::folding::{self, Folding, Pace};
use super::rows::{int, outcome, state, time, uint};
use super::sweeps::Sweep;
use crate::model::records::TaskCounts;
use crate::model::{AttemptId, JobId, Outcome, TaskId, TaskState, Timestamp};

/// What the writer remembers of jobs and tasks.
#[derive(Debug)]
pub(super) struct TaskRows {
    /// What this transaction has to add to the rows of jobs it touched; `None`
    /// for a job that does not exist.
    jobs: BTreeMap<JobId, Option<JobChange>>,
    /// The states (by number) of tasks that have a row and have not ended: those
    /// whose rows change next, so that the old state need not be read each time.
    live: BTreeMap<TaskId, i64>,
    /// Changes of many rows that these do not show. No task in `live` is among those whose rows they change.
    folding: Folding,
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
    /// Learns what an earlier start put off.
    pub(super) fn new(connection: &Connection, pace: Pace) -> Result<Self, StoreError> {
        let folding = Folding::read(connection, pace)?;
        Ok(Self { jobs: BTreeMap::new(), live: BTreeMap::new(), folding })
    }

    /// Whether there is something put off left to do.
    pub(super) fn is_unfolded(&self) -> bool {
        self.folding.is_any()
    }

    /// Does a bounded piece of it.
    pub(super) fn fold_some(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.folding.fold_some(connection)
    }

    /// A job was written, or found to be there already.
    pub(super) fn submitted(&mut self, job: JobId) {
        self.jobs.insert(job, Some(JobChange::default()));
    }

    /// A job is no more.
    pub(super) fn forgotten(&mut self, connection: &Connection, job: JobId) -> Result<(), StoreError> {
        self.jobs.insert(job, None);
        self.folding.forget(connection, job)?;
        self.forget_live(job, |_| true);
        Ok(())
    }

    fn forget_live(&mut self, job: JobId, which: impl Fn(i64) -> bool) {
        let of_job = TaskId::new(job.0, 0)..=TaskId::new(job.0, u64::MAX);
        let found: Vec<TaskId> =
            self.live.range(of_job).filter(|(_, state)| which(**state)).map(|(task, _)| *task).collect();
        for task in found {
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
                    outcome_number = NULL, outcome_text = NULL, swept = ?6 WHERE job = ?1 AND task = ?2",
            )?;
            update.execute(params![
                int(id.task.job.0),
                int(id.task.index.0),
                state(row.state),
                id.attempt.0,
                time(at),
                self.folding.as_of(id.task.job)
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
        self.write(
            connection,
            "UPDATE tasks SET state = ?3, attempts = ?4, failures = ?5, lost = ?6, changed_at = ?7, not_before = ?8,
                outcome = ?9, outcome_number = ?10, outcome_text = ?11, swept = ?12 WHERE job = ?1 AND task = ?2",
            task,
            row,
        )?;
        self.moved(task, old, row.state);
        Ok(())
    }

    /// Every row of the job in state `sweep.from` is to be as it says; many of them show it later.
    pub(super) fn all_changed(&mut self, connection: &Connection, job: JobId, sweep: Sweep) -> Result<(), StoreError> {
        let Some(added) = self.change(connection, job)?.map(|change| change.tasks) else { return Ok(()) };
        let (from, to) = (state(sweep.from), state(sweep.to));
        let number = count(connection, job, from, &added)?;
        if number == 0 || from == to {
            return Ok(());
        }
        if self.folding.is_worth_it(job, uint(number)) {
            self.folding.add(connection, job, sweep)?;
        } else {
            folding::write_all(connection, job, &sweep)?;
        }
        if let Some(Some(change)) = self.jobs.get_mut(&job) {
            change.moved_all(from, to, number);
        }
        self.forget_live(job, |state| state == from);
        Ok(())
    }

    /// Writes the task's first row; says no when it has one already.
    fn insert_task(&self, connection: &Connection, task: TaskId, row: &TaskRow<'_>) -> Result<bool, StoreError> {
        if self.live.contains_key(&task) {
            return Ok(false);
        }
        let inserted = self.write(
            connection,
            "INSERT INTO tasks (job, task, state, attempts, failures, lost, changed_at, not_before,
                outcome, outcome_number, outcome_text, swept)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING",
            task,
            row,
        )?;
        Ok(inserted > 0)
    }

    /// Runs a statement that takes a task's key and then all that its row says; returns how many rows it touched.
    fn write(&self, connection: &Connection, sql: &str, task: TaskId, row: &TaskRow<'_>) -> Result<usize, StoreError> {
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
            text,
            self.folding.as_of(task.job)
        ])?)
    }

    /// The state in the task's row, which shows everything then.
    fn old_state(&self, connection: &Connection, task: TaskId) -> Result<Option<i64>, StoreError> {
        match self.live.get(&task) {
            Some(state) => Ok(Some(*state)),
            None => Ok(self.folding.fold_task(connection, task)?.map(state)),
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

/// How many rows of the job are in a state, with what this transaction adds.
fn count(connection: &Connection, job: JobId, of: i64, added: &[i64; 6]) -> Result<i64, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT waiting, ready, running, succeeded, failed, cancelled FROM jobs WHERE job = ?1")?;
    let at = usize::try_from(of).map_err(|_| StoreError::BadValue { column: "state" })?;
    let written: Option<i64> = select.query_row([int(job.0)], |row| row.get(at)).optional()?;
    Ok(written.unwrap_or(0) + added.get(at).copied().unwrap_or(0))
}
