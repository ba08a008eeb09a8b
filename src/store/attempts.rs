//! Attempts as listings show them.
//!
//! Invariant: a page of tasks that lie close together costs one pass over their
//! attempts, and one of tasks far apart a look-up each, so that neither reads
//! much more than it shows.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, Rows, params};

use super::rows::{fence_from, int, name_from, outcome_from, time_from, uint, unrepeatable_from};
use super::{StoreError, files};
use crate::model::views::{AttemptView, TaskView};
use crate::model::{AttemptId, AttemptNo, NodeId, NodeName, NumberList, TaskId};

/// How many tasks there may be between two that are shown for one pass to be cheaper than look-ups.
const SPARSE: u64 = 8;

const COLUMNS: &str = "task, attempt, fence, worker, assigned_at, started_at, ended_at, outcome, outcome_number,
    outcome_text, (SELECT name FROM clients WHERE client = outcome_number), peak_memory_bytes, stdout_bytes,
    stderr_bytes, files, handed_over_by, unrepeatable";

/// The attempts of a task in order.
pub(super) fn of(connection: &Connection, task: TaskId) -> Result<Vec<AttemptView>, StoreError> {
    let mut names = Names::default();
    let mut select = between(connection)?;
    let rows = select.query(params![int(task.job.0), int(task.index.0), int(task.index.0)])?;
    read(connection, rows, &mut names, task)
}

/// Whether an attempt was given to this worker, and if so whether it has ended.
pub(super) fn given_to(connection: &Connection, id: AttemptId, worker: NodeId) -> Result<Option<bool>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT ended_at IS NOT NULL FROM attempts JOIN workers USING (worker)
         WHERE job = ?1 AND task = ?2 AND attempt = ?3 AND node = ?4 ORDER BY fence DESC LIMIT 1",
    )?;
    let key = params![int(id.task.job.0), int(id.task.index.0), id.attempt.0, worker.0];
    Ok(select.query_row(key, |row| row.get(0)).optional()?)
}

/// Gives `tasks`, which are of one job with these `numbers` and in their order, their attempts.
pub(super) fn add(connection: &Connection, numbers: &NumberList, tasks: &mut [TaskView]) -> Result<(), StoreError> {
    let mut names = Names::default();
    let mut tried: Vec<&mut TaskView> = tasks.iter_mut().filter(|task| task.counts.attempts > 0).collect();
    let (Some(first), Some(last)) = (tried.first().map(|task| task.task), tried.last().map(|task| task.task)) else {
        return Ok(());
    };
    let mut select = between(connection)?;
    let between_them = numbers.count_up_to(last.index.0) - numbers.count_up_to(first.index.0);
    if between_them > SPARSE * tried.len() as u64 {
        for task in tried {
            let id = task.task;
            let rows = select.query(params![int(id.job.0), int(id.index.0), int(id.index.0)])?;
            task.attempts = read(connection, rows, &mut names, id)?;
        }
        return Ok(());
    }
    let mut rows = select.query(params![int(first.job.0), int(first.index.0), int(last.index.0)])?;
    let mut at = 0;
    while let Some(row) = rows.next()? {
        let index = uint(row.get(0)?);
        while tried.get(at).is_some_and(|task| task.task.index.0 < index) {
            at += 1;
        }
        if let Some(task) = tried.get_mut(at).filter(|task| task.task.index.0 == index) {
            let view = view(connection, row, &mut names, task.task)?;
            task.attempts.push(view);
        }
    }
    Ok(())
}

fn between(connection: &Connection) -> Result<CachedStatement<'_>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM attempts WHERE job = ?1 AND task BETWEEN ?2 AND ?3 ORDER BY task, attempt");
    Ok(connection.prepare_cached(&sql)?)
}

fn read(
    connection: &Connection,
    mut rows: Rows<'_>,
    names: &mut Names,
    task: TaskId,
) -> Result<Vec<AttemptView>, StoreError> {
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(view(connection, row, names, task)?);
    }
    Ok(attempts)
}

fn view(connection: &Connection, row: &Row<'_>, names: &mut Names, task: TaskId) -> Result<AttemptView, StoreError> {
    let number = |column: usize| row.get::<_, Option<i64>>(column).map(|number| number.map_or(0, uint));
    Ok(AttemptView {
        id: AttemptId { task, attempt: AttemptNo(row.get(1)?) },
        fence: fence_from(row.get(2)?)?,
        worker: names.of(connection, row.get(3)?)?,
        assigned_at: time_from(row.get(4)?),
        started_at: row.get::<_, Option<i64>>(5)?.map(time_from),
        ended_at: row.get::<_, Option<i64>>(6)?.map(time_from),
        outcome: outcome_from(row, 7)?,
        peak_memory_bytes: number(11)?,
        stdout_bytes: number(12)?,
        stderr_bytes: number(13)?,
        files: files::decoded(row.get::<_, Option<Vec<u8>>>(14)?.as_deref())?,
        handed_over_by: match row.get::<_, Option<i64>>(15)? {
            Some(giver) => Some(names.of(connection, giver)?),
            None => None,
        },
        unrepeatable: row.get::<_, Option<i32>>(16)?.map(unrepeatable_from).transpose()?,
    })
}

/// Names of workers, each looked up once.
#[derive(Default)]
struct Names {
    known: BTreeMap<i64, NodeName>,
}

impl Names {
    fn of(&mut self, connection: &Connection, worker: i64) -> Result<NodeName, StoreError> {
        if let Some(name) = self.known.get(&worker) {
            return Ok(name.clone());
        }
        let mut select = connection.prepare_cached("SELECT name FROM workers WHERE worker = ?1")?;
        let text: String = select.query_row([worker], |row| row.get(0))?;
        let name = name_from(&text)?;
        self.known.insert(worker, name.clone());
        Ok(name)
    }
}
