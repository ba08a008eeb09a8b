//! Listing tasks: those with rows of their own and, between them, the rest.
//!
//! Invariant: tasks come in order of job and index, each once, and a page of a
//! big array costs about what the page holds. Only a filter by state may look
//! at more rows than it returns.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::jobs::{ranges, rows_wanted};
use super::read::Viewer;
use super::rows::{SUPERSEDED, int, outcome_from, state, state_from, time_from, uint};
use super::sweeps::{self, COLUMNS, Standing, Sweep};
use super::{StoreError, attempts, numbering};
use crate::model::records::TaskCounts;
use crate::model::requests::TaskFilter;
use crate::model::selector::{Part, Selector, whole_jobs};
use crate::model::views::TaskView;
use crate::model::{IntervalSet, JobId, NumberList, Outcome, TaskId, TaskIndex, TaskState, Timestamp};

/// Which tasks of those that a filter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    Any,
    /// Those that have been tried: of a million, perhaps a few.
    Tried,
}

/// Tasks by filter, in order of job and index.
pub(super) fn list(
    connection: &Connection,
    filter: &TaskFilter,
    viewer: Viewer,
    which: Which,
) -> Result<Vec<TaskView>, StoreError> {
    let limit = rows_wanted(filter.limit);
    let mut page = Page { connection, filter, which, tasks: Vec::new(), complete: 0, limit };
    let named = single_tasks(&filter.of);
    let whole = whole(&filter.of);
    let first_job = filter.after.map_or(JobId(0), |after| after.job);
    for (first, last) in ranges(connection, Some(&filter.of), viewer)? {
        let mut select = connection.prepare_cached(&format!(
            "SELECT job, submitted_at, rest_state, rest_at, rest_outcome, rest_outcome_number, rest_outcome_text,
                (SELECT name FROM clients WHERE client = rest_outcome_number), {}
             FROM jobs WHERE job BETWEEN ?1 AND ?2 AND (?3 OR owner = ?4) ORDER BY job",
            numbering::COLUMNS
        ))?;
        let from = first.max(first_job);
        let mut rows = select.query(params![int(from.0), int(last.0), viewer.sees_all, viewer.node.0])?;
        while let Some(row) = rows.next()? {
            let job = Job::from_row(connection, row)?;
            match named.as_ref().filter(|_| !whole.contains(job.job.0)) {
                Some(named) => page.add_named(&job, named)?,
                None => page.add_all(&job)?,
            }
            page.add_attempts(&job)?;
            if page.is_full() {
                return Ok(page.tasks);
            }
        }
    }
    Ok(page.tasks)
}

/// The tasks that a selector names one by one.
fn single_tasks(selector: &Selector) -> Option<BTreeSet<TaskId>> {
    let Selector::These(parts) = selector else { return None };
    Some(parts.iter().filter_map(|part| if let Part::Task(task) = part { Some(*task) } else { None }).collect())
}

/// The jobs of which a selector means every task.
fn whole(selector: &Selector) -> IntervalSet {
    match selector {
        Selector::These(parts) => whole_jobs(parts),
        Selector::All | Selector::Everyone | Selector::Last => IntervalSet::from_range(0, u64::MAX),
    }
}

/// What of a job its tasks need: their numbering, and what those without a row are.
struct Job {
    job: JobId,
    numbers: NumberList,
    submitted_at: Timestamp,
    rest: TaskState,
    rest_at: Timestamp,
    rest_outcome: Option<Outcome>,
    /// What rows may not show yet.
    sweeps: Vec<Sweep>,
}

impl Job {
    fn from_row(connection: &Connection, row: &Row<'_>) -> Result<Self, StoreError> {
        let job = JobId(uint(row.get(0)?));
        Ok(Self {
            job,
            submitted_at: time_from(row.get(1)?),
            rest: state_from(row.get(2)?)?,
            rest_at: time_from(row.get(3)?),
            rest_outcome: outcome_from(row, 4)?,
            numbers: numbering::read(row, 8)?,
            sweeps: sweeps::of(connection, job)?,
        })
    }

    fn task_at(&self, position: u64) -> TaskId {
        TaskId { job: self.job, index: TaskIndex(self.numbers.at(position)) }
    }

    fn has(&self, task: TaskId) -> bool {
        self.numbers.position_of(task.index.0).is_some()
    }

    /// The position of the first task behind `after`.
    fn position_after(&self, after: Option<TaskId>) -> u64 {
        match after {
            Some(after) if after.job == self.job => self.numbers.count_up_to(after.index.0),
            _ => 0,
        }
    }

    /// A task without a row.
    fn rest_view(&self, task: TaskId) -> TaskView {
        TaskView {
            task,
            state: self.rest,
            counts: TaskCounts::default(),
            not_before: None,
            submitted_at: self.submitted_at,
            outcome: self.rest_outcome.clone().filter(|_| self.rest.is_terminal()),
            ended_at: self.rest.is_terminal().then_some(self.rest_at),
            attempts: Vec::new(),
            holders: Vec::new(),
        }
    }
}

/// The page being filled.
struct Page<'a> {
    connection: &'a Connection,
    filter: &'a TaskFilter,
    which: Which,
    tasks: Vec<TaskView>,
    /// How many of them have their attempts.
    complete: usize,
    limit: usize,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.tasks.len() >= self.limit
    }

    fn wants(&self, state: TaskState) -> bool {
        self.filter.states.is_empty() || self.filter.states.contains(&state)
    }

    fn add_all(&mut self, job: &Job) -> Result<(), StoreError> {
        let from = job.position_after(self.filter.after);
        if from >= job.numbers.count() {
            Ok(())
        } else if self.wants(job.rest) && self.which == Which::Any {
            self.add_merged(job, from)
        } else {
            self.add_rows(job, from)
        }
    }

    /// Tasks named one by one.
    fn add_named(&mut self, job: &Job, named: &BTreeSet<TaskId>) -> Result<(), StoreError> {
        let from = job.task_at(job.position_after(self.filter.after));
        let mut select = self
            .connection
            .prepare_cached(&format!("SELECT task, {COLUMNS} FROM tasks WHERE job = ?1 AND task = ?2"))?;
        for task in named.range(from..).take_while(|task| task.job == job.job) {
            if self.is_full() {
                break;
            }
            if !job.has(*task) {
                continue;
            }
            let mut rows = select.query(params![int(task.job.0), int(task.index.0)])?;
            let view = match rows.next()? {
                Some(row) => row_view(job, row)?,
                None => job.rest_view(*task),
            };
            if self.wants(view.state) && (self.which == Which::Any || view.counts.attempts > 0) {
                self.tasks.push(view);
            }
        }
        Ok(())
    }

    /// Tasks in wanted states when those without a row are in one of them: position by position.
    fn add_merged(&mut self, job: &Job, from: u64) -> Result<(), StoreError> {
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT task, {COLUMNS} FROM tasks WHERE job = ?1 AND task >= ?2 ORDER BY task"
        ))?;
        let mut rows = select.query(params![int(job.job.0), int(job.task_at(from).index.0)])?;
        let mut row = rows.next()?;
        for position in from..job.numbers.count() {
            if self.is_full() {
                break;
            }
            let task = job.task_at(position);
            let row_index = row.map(|row| row.get(0).map(uint)).transpose()?;
            if row_index != Some(task.index.0) {
                self.tasks.push(job.rest_view(task));
                continue;
            }
            if let Some(row) = row
                && self.wants(Standing::read_state(row, 1, &job.sweeps)?)
            {
                self.tasks.push(row_view(job, row)?);
            }
            row = rows.next()?;
        }
        Ok(())
    }

    /// Tasks in wanted states when only tasks with a row are wanted or can be in them.
    fn add_rows(&mut self, job: &Job, from: u64) -> Result<(), StoreError> {
        if !job.sweeps.is_empty() {
            return self.add_swept(job, from);
        }
        let all: Vec<TaskState> = (0..=5).map(state_from).collect::<Result<_, _>>()?;
        let states = if self.filter.states.is_empty() { &all } else { &self.filter.states };
        let tried = if self.which == Which::Tried { "AND attempts > 0" } else { "" };
        let numbers: Vec<String> = states.iter().map(|one| state(*one).to_string()).collect();
        // The partial index holds failed and cancelled tasks; SQLite sees that it may use it by its very condition.
        let unsuccessful = states.iter().all(|one| matches!(one, TaskState::Failed | TaskState::Cancelled));
        let (index, condition) =
            if unsuccessful { ("INDEXED BY tasks_unsuccessful", "state IN (4, 5) AND") } else { ("", "") };
        let mut select = self.connection.prepare(&format!(
            "SELECT task, {COLUMNS} FROM tasks {index} WHERE job = ?1 AND task >= ?2 AND {condition} state IN ({}) {tried}
             ORDER BY task LIMIT ?3",
            numbers.join(", ")
        ))?;
        let room = self.limit - self.tasks.len();
        let mut rows = select.query(params![int(job.job.0), int(job.task_at(from).index.0), int(room as u64)])?;
        while let Some(row) = rows.next()? {
            self.tasks.push(row_view(job, row)?);
        }
        Ok(())
    }

    /// The same while the states in rows may not be the present ones: every row has to be looked at.
    fn add_swept(&mut self, job: &Job, from: u64) -> Result<(), StoreError> {
        let tried = if self.which == Which::Tried { "AND attempts > 0" } else { "" };
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT task, {COLUMNS} FROM tasks WHERE job = ?1 AND task >= ?2 {tried} ORDER BY task"
        ))?;
        let mut rows = select.query(params![int(job.job.0), int(job.task_at(from).index.0)])?;
        while !self.is_full()
            && let Some(row) = rows.next()?
        {
            if self.wants(Standing::read_state(row, 1, &job.sweeps)?) {
                self.tasks.push(row_view(job, row)?);
            }
        }
        Ok(())
    }

    /// Gives the tasks of a job that were added last their attempts, and how those that have ended by one did.
    fn add_attempts(&mut self, job: &Job) -> Result<(), StoreError> {
        let added = self.tasks.get_mut(self.complete..).unwrap_or_default();
        attempts::add(self.connection, &job.numbers, added)?;
        for task in added.iter_mut().filter(|task| task.outcome.is_none() && task.state.is_terminal()) {
            // It ended by the end of an attempt, which is not written down twice.
            task.outcome = task.decisive().and_then(|attempt| attempt.outcome.clone());
        }
        self.complete = self.tasks.len();
        Ok(())
    }
}

/// A task's row; its attempts come later.
fn row_view(job: &Job, row: &Row<'_>) -> Result<TaskView, StoreError> {
    let Standing { state, counts, changed_at, not_before, outcome } = Standing::read(row, 1, &job.sweeps)?;
    Ok(TaskView {
        task: TaskId { job: job.job, index: TaskIndex(uint(row.get(0)?)) },
        state,
        counts,
        not_before,
        submitted_at: job.submitted_at,
        outcome,
        ended_at: state.is_terminal().then_some(changed_at),
        attempts: Vec::new(),
        holders: Vec::new(),
    })
}

/// How a task ended, if it has a row and has ended.
pub(super) fn outcome(connection: &Connection, task: TaskId) -> Result<Option<Outcome>, StoreError> {
    let key = params![int(task.job.0), int(task.index.0)];
    let sweeps = sweeps::of(connection, task.job)?;
    let mut own = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE job = ?1 AND task = ?2"))?;
    let own = own.query_row(key, |row| Ok(Standing::read(row, 0, &sweeps))).optional()?.transpose()?;
    let Some(own) = own.filter(|own| own.state.is_terminal()) else { return Ok(None) };
    if own.outcome.is_some() {
        return Ok(own.outcome);
    }
    let mut last = connection.prepare_cached(&format!(
        "SELECT outcome, outcome_number, outcome_text, (SELECT name FROM clients WHERE client = outcome_number)
         FROM attempts WHERE job = ?1 AND task = ?2 AND outcome IS NOT NULL AND outcome <> '{SUPERSEDED}' ORDER BY attempt DESC LIMIT 1"
    ))?;
    Ok(last.query_row(key, |row| Ok(outcome_from(row, 0))).optional()?.transpose()?.flatten())
}
