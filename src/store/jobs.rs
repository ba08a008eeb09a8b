//! Listing jobs.
//!
//! Invariant: a job costs one row here whatever the number of its tasks, and a
//! list of active jobs costs nothing for those that have ended. Absent: tasks.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::lookup::last_job;
use super::read::Viewer;
use super::rows::{
    act_from, cancellation_from, int, name_from, node_from, outcome_from, state, state_from, time_from, uint,
};
use super::{StoreError, tasks};
use crate::model::limits::MAX_ROWS;
use crate::model::requests::{JobFilter, OwnerFilter};
use crate::model::selector::{Part, Selector, whole_jobs};
use crate::model::views::{JobView, TaskTotals};
use crate::model::{IntervalSet, JobId, NodeName, SealedSpec, TaskId, TaskIndex, TaskState};

/// Every column that a [`JobView`] needs, in the order in which `view` reads them.
const COLUMNS: &str = "job, title, owner, submitted_at, started_at, ended_at, ended_state, first_index, task_count,
    waiting, ready, running, succeeded, failed, cancelled, rest_state, rest_outcome, rest_outcome_number, rest_outcome_text,
    (SELECT name FROM clients WHERE client = rest_outcome_number),
    cancelling, cancelling_by, cancelling_text, (SELECT name FROM clients WHERE client = cancelling_by),
    retried_by, (SELECT name FROM clients WHERE client = retried_by), retried_at,
    (SELECT name FROM clients WHERE node = owner)";

/// The states that a job is in for good.
const TERMINAL: [TaskState; 3] = [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled];

/// Jobs by filter, newest first.
pub(super) fn list(connection: &Connection, filter: &JobFilter, viewer: Viewer) -> Result<Vec<JobView>, StoreError> {
    let limit = rows_wanted(filter.limit);
    let mut jobs = Vec::new();
    let newest = filter.before.map_or(Some(u64::MAX), |before| before.0.checked_sub(1));
    for (first, last) in ranges(connection, filter.only.as_ref(), viewer)?.into_iter().rev() {
        let Some(last) = newest.map(|newest| last.min(JobId(newest))).filter(|last| first <= *last) else { continue };
        let room = limit - jobs.len();
        if room == 0 {
            break;
        }
        let list = List { connection, viewer, owner: filter.owner.as_ref(), range: (first, last), room };
        jobs.extend(list.in_states(&filter.states)?);
    }
    if let (Some(job), true) = (jobs.first_mut(), filter.only.as_ref().is_some_and(is_one_job)) {
        job.spec = Some(spec(connection, job.job)?);
    }
    Ok(jobs)
}

/// How many rows a limit allows; 0 stands for the server's bound.
pub(super) fn rows_wanted(limit: u32) -> usize {
    (if limit == 0 { MAX_ROWS } else { limit.min(MAX_ROWS) }) as usize
}

/// The job numbers that a selector can mean, as disjoint ascending ranges.
pub(super) fn ranges(
    connection: &Connection,
    selector: Option<&Selector>,
    viewer: Viewer,
) -> Result<Vec<(JobId, JobId)>, StoreError> {
    let numbers = match selector {
        None | Some(Selector::All | Selector::Everyone) => IntervalSet::from_range(0, u64::MAX),
        Some(Selector::Last) => last_job(connection, viewer)?.map(|job| job.0).into_iter().collect(),
        Some(Selector::These(parts)) => {
            let mut numbers = whole_jobs(parts);
            for part in parts {
                if let Part::Task(task) = part {
                    numbers.insert(task.job.0);
                }
            }
            numbers
        }
    };
    Ok(numbers.ranges().map(|(first, last)| (JobId(first), JobId(last))).collect())
}

fn is_one_job(selector: &Selector) -> bool {
    match selector {
        Selector::All | Selector::Everyone => false,
        Selector::Last => true,
        Selector::These(parts) => match &parts[..] {
            [Part::Jobs(first, last)] => first == last,
            [Part::Task(_)] => true,
            _ => false,
        },
    }
}

fn spec(connection: &Connection, job: JobId) -> Result<SealedSpec, StoreError> {
    let mut select = connection.prepare_cached("SELECT spec FROM specs WHERE job = ?1")?;
    let encoded: Vec<u8> = select.query_row([int(job.0)], |row| row.get(0))?;
    SealedSpec::open(&encoded).map_err(|_| StoreError::BadValue { column: "spec" })
}

/// One range of a listing.
struct List<'a> {
    connection: &'a Connection,
    viewer: Viewer,
    owner: Option<&'a OwnerFilter>,
    range: (JobId, JobId),
    room: usize,
}

impl List<'_> {
    fn in_states(&self, states: &[TaskState]) -> Result<Vec<JobView>, StoreError> {
        if states.is_empty() {
            return self.select("jobs", "1", |_| true);
        }
        let mut jobs =
            self.select("jobs INDEXED BY jobs_active", "ended_at IS NULL", |view| states.contains(&view.state))?;
        for ended in TERMINAL.into_iter().filter(|state| states.contains(state)) {
            let condition = format!("ended_at IS NOT NULL AND ended_state = {}", state(ended));
            jobs.extend(self.select("jobs INDEXED BY jobs_ended", &condition, |_| true)?);
        }
        jobs.sort_unstable_by_key(|view| std::cmp::Reverse(view.job));
        jobs.truncate(self.room);
        Ok(jobs)
    }

    /// The newest jobs of the range that fulfil `condition` (SQL) and `wanted`.
    fn select(
        &self,
        from: &str,
        condition: &str,
        wanted: impl Fn(&JobView) -> bool,
    ) -> Result<Vec<JobView>, StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM {from} WHERE {condition} AND job BETWEEN ?1 AND ?2 ");
        let mut values = vec![Value::from(int(self.range.0.0)), Value::from(int(self.range.1.0))];
        if !self.viewer.sees_all || self.owner == Some(&OwnerFilter::Me) {
            values.push(Value::from(self.viewer.node.0.to_vec()));
            sql.push_str(&format!("AND owner = ?{} ", values.len()));
        }
        if let Some(OwnerFilter::Named(name)) = self.owner {
            values.push(Value::from(name.to_string()));
            sql.push_str(&format!("AND owner IN (SELECT node FROM clients WHERE name = ?{}) ", values.len()));
        }
        sql.push_str("ORDER BY job DESC");
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query(params_from_iter(values))?;
        let mut jobs = Vec::new();
        while jobs.len() < self.room {
            let Some(row) = rows.next()? else { break };
            let view = view(self.connection, row)?;
            if wanted(&view) {
                jobs.push(view);
            }
        }
        Ok(jobs)
    }
}

fn view(connection: &Connection, row: &Row<'_>) -> Result<JobView, StoreError> {
    let job = JobId(uint(row.get(0)?));
    let at = |column: usize| row.get::<_, Option<i64>>(column).map(|at| at.map(time_from));
    let ended_at = at(5)?;
    let tasks = totals(row)?;
    let ended_state = row.get::<_, Option<i64>>(6)?.map(state_from).transpose()?;
    let outcome = if ended_at.is_some() && tasks.total == 1 {
        let task = TaskId { job, index: TaskIndex(uint(row.get(7)?)) };
        match tasks::outcome(connection, task)? {
            None => outcome_from(row, 16)?,
            ended => ended,
        }
    } else {
        None
    };
    let owner = node_from(&row.get::<_, Vec<u8>>(2)?)?;
    let owner_name = row.get::<_, Option<String>>(27)?.map(|name| name_from(&name)).transpose()?;
    Ok(JobView {
        job,
        name: row.get(1)?,
        state: ended_state.unwrap_or_else(|| tasks.state()),
        tasks,
        owner,
        owner_name: owner_name.unwrap_or_else(|| NodeName::of_forgotten(owner.key_no())),
        submitted_at: time_from(row.get(3)?),
        started_at: at(4)?,
        ended_at,
        outcome,
        cancelling: cancellation_from(row, 20)?,
        retried: act_from(row, 24)?,
        spec: None,
    })
}

/// Tasks with rows as counted, all others in the state of the rest.
fn totals(row: &Row<'_>) -> Result<TaskTotals, StoreError> {
    let count = |column: usize| row.get(column).map(uint);
    let mut totals = TaskTotals {
        total: count(8)?,
        waiting: count(9)?,
        ready: count(10)?,
        running: count(11)?,
        succeeded: count(12)?,
        failed: count(13)?,
        cancelled: count(14)?,
    };
    let with_rows = totals.waiting + totals.ready + totals.running + totals.ended();
    *in_state(&mut totals, state_from(row.get(15)?)?) += totals.total.saturating_sub(with_rows);
    Ok(totals)
}

fn in_state(totals: &mut TaskTotals, state: TaskState) -> &mut u64 {
    match state {
        TaskState::Waiting => &mut totals.waiting,
        TaskState::Ready => &mut totals.ready,
        TaskState::Running => &mut totals.running,
        TaskState::Succeeded => &mut totals.succeeded,
        TaskState::Failed => &mut totals.failed,
        TaskState::Cancelled => &mut totals.cancelled,
    }
}
