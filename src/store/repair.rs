//! Saving what can be read of a damaged store.
//!
//! Invariant: nothing is destroyed. The damaged file stays under another name,
//! and the repaired one takes its place only when it is whole and synced; a
//! crash in between is finished by the next start. A job is saved as a whole or
//! not at all, because one that has forgotten a part of itself would run tasks
//! again that had ended. Absent: any guess at what a damaged page held.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params, params_from_iter};

use super::file::{self, Safety, sibling};
use super::rows::int;
use super::{StoreError, restore, schema};
use crate::model::{Fence, JobId, Timestamp};

/// What came of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Every page and every job can be read: there was nothing to do.
    Sound,
    /// The file was damaged.
    Done(Saved),
}

/// What was saved of a damaged store, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Where the damaged file is now.
    pub damaged: PathBuf,
    /// Jobs that are there, with all their tasks.
    pub jobs: u64,
    /// Jobs that could not be read in full, and are not there.
    pub lost_jobs: Vec<JobId>,
    /// Workers, clients and admins that belong.
    pub nodes: u64,
    /// Tables of which some rows could not be read, beside those of lost jobs.
    pub incomplete: Vec<&'static str>,
}

/// Tables without jobs, each with the order in which it is read.
const SMALL: [(&str, &str); 8] = [
    ("nodes", "node"),
    ("revoked", "node"),
    ("tokens", "hash"),
    ("token_uses", "hash, place"),
    ("workers", "worker"),
    ("forgotten", "job"),
    ("clients", "client"),
    ("removed", "place"),
];
/// Tables of a job's rows without which it is not whole.
const VITAL: [&str; 5] = ["jobs", "specs", "numberings", "tasks", "sweeps"];
/// What is known of a job beside that.
const HISTORY: [&str; 3] = ["attempts", "logs", "outputs"];

/// Repairs the store at `path` where that is needed.
///
/// # Errors
/// When it is in use, is no store of ours or a newer one's, or the disk has no room for another one.
pub fn repair(path: &Path, now: Timestamp) -> Result<Repair, StoreError> {
    let _lock = file::lock(path)?;
    file::adopt_repaired(path)?;
    if is_sound(path)? {
        return Ok(Repair::Sound);
    }
    let new = sibling(path, ".repairing");
    remove_all(&new)?;
    let mut saved = Saved::default();
    {
        let (_file, to) = file::open(&new, &schema::DISPATCHER, Safety::Full)?;
        let transaction = to.unchecked_transaction()?;
        match open_damaged(path) {
            Ok(from) => save(&from, &transaction, now, &mut saved)?,
            Err(StoreError::Corrupt(_)) => {
                take_up(&transaction, None, now)?;
                saved.incomplete = VITAL.into_iter().chain(SMALL.map(|(table, _)| table)).collect();
            }
            Err(other) => return Err(other),
        }
        transaction.commit()?;
    }
    saved.damaged = file::replace_with(path, &new)?;
    Ok(Repair::Done(saved))
}

/// Whether everything can be read. Refuses what is no store of ours, or a newer one.
fn is_sound(path: &Path) -> Result<bool, StoreError> {
    if !path.exists() || path.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Ok(!file::was_made(path));
    }
    let checked = open_damaged(path).and_then(|connection| {
        file::check_identity(&connection, path, &schema::DISPATCHER)?;
        let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        // An older one is repaired as what it is, and migrated by its next start.
        let is_current = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))?
            == schema::DISPATCHER.version();
        if is_current {
            restore::state(&connection, crate::model::Epoch(0))?;
        }
        Ok(verdict == "ok")
    });
    match checked {
        Ok(is_ok) => Ok(is_ok),
        Err(StoreError::Corrupt(_) | StoreError::BadValue { .. } | StoreError::BadRow { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Opened so that nothing of it or of its log changes.
fn open_damaged(path: &Path) -> Result<Connection, StoreError> {
    let connection = file::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    // Found to be no database here, not at the first table.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn save(from: &Connection, to: &Connection, now: Timestamp, saved: &mut Saved) -> Result<(), StoreError> {
    for (table, order) in SMALL {
        if !copy_small(from, to, table, order)? {
            saved.incomplete.push(table);
        }
    }
    let (jobs, is_complete) = job_numbers(from);
    if !is_complete {
        saved.incomplete.push("jobs");
    }
    for job in &jobs {
        if save_job(from, to, *job, saved)? {
            saved.jobs += 1;
        } else {
            saved.lost_jobs.push(JobId(job.unsigned_abs()));
        }
    }
    saved.nodes = to.query_row("SELECT count(*) FROM nodes", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    take_up(to, Some(from), now)
}

/// Copies one job; says whether it is there as a whole.
fn save_job(from: &Connection, to: &Connection, job: i64, saved: &mut Saved) -> Result<bool, StoreError> {
    to.execute_batch("SAVEPOINT job")?;
    let mut is_whole = true;
    for table in VITAL {
        is_whole = is_whole && copy_rows(from, to, table, "WHERE job = ?1", &[&job])?;
    }
    let ended = "SELECT ended_at IS NOT NULL FROM jobs WHERE job = ?1";
    let has_ended = to.query_row(ended, [job], |row| row.get(0)).optional()?.unwrap_or(false);
    for table in HISTORY {
        if is_whole && !copy_rows(from, to, table, "WHERE job = ?1", &[&job])? {
            // What is known of an ended job's tries may be incomplete; of others it decides what is run again.
            is_whole = has_ended || table != "attempts";
            if !saved.incomplete.contains(&table) {
                saved.incomplete.push(table);
            }
        }
    }
    is_whole = is_whole && restore::job(to, JobId(job.unsigned_abs())).is_ok_and(|found| found.is_some());
    to.execute_batch(if is_whole { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
    Ok(is_whole)
}

/// Numbers of jobs that have a row anywhere, and whether all could be asked for.
fn job_numbers(from: &Connection) -> (Vec<i64>, bool) {
    let mut numbers = std::collections::BTreeSet::new();
    let mut is_complete = true;
    for table in ["jobs", "specs"] {
        for direction in ["ASC", "DESC"] {
            let read =
                from.prepare(&format!("SELECT job FROM {table} ORDER BY job {direction}")).and_then(|mut all| {
                    let mut rows = all.query([])?;
                    while let Some(row) = rows.next()? {
                        numbers.insert(row.get(0)?);
                    }
                    Ok(())
                });
            if read.is_ok() {
                break;
            }
            is_complete = false;
        }
    }
    (numbers.into_iter().collect(), is_complete)
}

/// Copies a table from both ends, as far as it can be read; says whether that was all of it.
fn copy_small(from: &Connection, to: &Connection, table: &str, order: &str) -> Result<bool, StoreError> {
    let backwards = order.replace(',', " DESC,") + " DESC";
    let is_complete = copy_rows(from, to, table, &format!("ORDER BY {order}"), &[])?;
    if !is_complete {
        copy_rows(from, to, table, &format!("ORDER BY {backwards}"), &[])?;
    }
    Ok(is_complete)
}

/// Copies rows; says whether all could be read. What cannot be written is an error.
fn copy_rows(
    from: &Connection,
    to: &Connection,
    table: &str,
    which: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<bool, StoreError> {
    let Ok(there) = columns(from, table) else { return Ok(false) };
    if there.is_empty() {
        // A table that this version has and the file's did not.
        return Ok(true);
    }
    let known = columns(to, table)?;
    let both: Vec<&str> = there.iter().filter(|column| known.contains(column)).map(String::as_str).collect();
    let (names, places) = (both.join(", "), vec!["?"; both.len()].join(", "));
    let Ok(mut select) = from.prepare_cached(&format!("SELECT {names} FROM {table} {which}")) else { return Ok(false) };
    let Ok(mut rows) = select.query(values) else { return Ok(false) };
    let mut insert = to.prepare_cached(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})"))?;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        };
        let row: Result<Vec<Value>, _> = (0..both.len()).map(|at| row.get(at)).collect();
        let Ok(row) = row else { return Ok(false) };
        match insert.execute(params_from_iter(row)).map_err(StoreError::from) {
            Ok(_) => {}
            // It holds what its column cannot.
            Err(StoreError::Statement(_)) => return Ok(false),
            Err(other) => return Err(other),
        }
    }
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let mut select = connection.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    let names = select.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Goes on behind every number that was ever given away, and takes what happened for a power loss: before a task
/// starts again, every worker is to say what it runs.
fn take_up(to: &Connection, from: Option<&Connection>, now: Timestamp) -> Result<(), StoreError> {
    let meta = |name: &str| {
        let from = from?;
        from.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, i64>(0)).ok()
    };
    // No dispatcher was started more often than seconds have gone by since 1970.
    let epoch = meta("epoch").unwrap_or_else(|| int(now.0 / 1_000_000));
    let used: i64 = to.query_row("SELECT coalesce(max(fence), 0) FROM attempts", [], |row| row.get(0))?;
    let epoch = epoch.max(used >> Fence::COUNTER_BITS);
    let newest: i64 = to.query_row("SELECT coalesce(max(job), 0) FROM jobs", [], |row| row.get(0))?;
    // A thousand numbers further than the newest job that is left, where nobody knows.
    let next_job = meta("next_job").unwrap_or(newest + 1000).max(newest + 1);
    // Of an older file's jobs it is not known when they ended by this measure: their retention begins now.
    let uptime = meta("uptime").unwrap_or(0);
    to.execute("UPDATE jobs SET ended_uptime = ?1 WHERE ended_at IS NOT NULL AND ended_uptime IS NULL", [uptime])?;
    for (name, value) in [("epoch", epoch), ("next_job", next_job), ("uptime", uptime)] {
        to.execute("UPDATE meta SET value = ?2 WHERE name = ?1", params![name, value])?;
    }
    to.execute("INSERT OR REPLACE INTO power_losses (epoch, next_job) VALUES (?1, ?2)", [epoch, next_job])?;
    Ok(())
}

/// Removes what an earlier repair left unfinished.
fn remove_all(path: &Path) -> Result<(), StoreError> {
    for ending in ["", "-wal", "-shm", ".lock"] {
        match std::fs::remove_file(sibling(path, ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Open { path: path.to_owned(), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}
