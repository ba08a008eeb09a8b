//! Which numbers the tasks of a job have.
//!
//! Invariant: a job whose tasks are one range costs no row here, whatever the length of the range.

use rusqlite::{Connection, Row, params};

use super::StoreError;
use super::rows::{int, uint};
use crate::model::limits::MAX_FRAME;
use crate::model::{JobId, NumberList, NumberRange};
use crate::wire::frame;

/// The columns that [`read`] needs, of a row of `jobs`.
pub(super) const COLUMNS: &str = "first_index, index_step, task_count,
    (SELECT ranges FROM numberings WHERE numberings.job = jobs.job)";

/// The numbers of the tasks of a job, from [`COLUMNS`] that begin at `at`.
pub(super) fn read(row: &Row<'_>, at: usize) -> Result<NumberList, StoreError> {
    if let Some(ranges) = row.get_ref(at + 3)?.as_blob_or_null().map_err(|_| bad("ranges"))? {
        return frame::decode(ranges).map_err(|_| bad("ranges"));
    }
    let number = |column| row.get(column).map(uint);
    let (first, step, count) = (number(at)?, number(at + 1)?.max(1), number(at + 2)?);
    let last = first.saturating_add(count.saturating_sub(1).saturating_mul(step));
    NumberRange::new(first, last, step).map(NumberList::of_range).ok_or_else(|| bad("task_count"))
}

/// Writes those of a new job that are not one range.
pub(super) fn insert(connection: &Connection, job: JobId, numbers: &NumberList) -> Result<(), StoreError> {
    let mut ranges = Vec::new();
    frame::encode(numbers, &mut ranges, MAX_FRAME).map_err(StoreError::TooLarge)?;
    let ranges = &ranges[frame::HEADER_BYTES..];
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO numberings (job, ranges) VALUES (?1, ?2)")?;
    insert.execute(params![int(job.0), ranges])?;
    Ok(())
}

fn bad(column: &'static str) -> StoreError {
    StoreError::BadValue { column }
}
