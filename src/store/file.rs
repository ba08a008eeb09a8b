//! Opening a database file: lock, permissions, identity, migrations.
//!
//! Invariant: at most one process writes a file, held by a lock on a sibling
//! (`FILE.lock`). The database itself is never opened except through SQLite:
//! closing any other descriptor of it would drop SQLite's own locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::StoreError;
use super::schema::Schema;

/// How long to wait for a lock that another program took in our database (somebody looking around in it).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// A write-ahead log that grew beyond this in a burst is cut back to it when it is reused.
const WAL_KEEP_BYTES: i64 = 64 * 1024 * 1024;
/// Page cache of the writer; SQLite counts negative numbers in KiB.
const CACHE_KIB: i64 = -16 * 1024;
/// Statements kept prepared: more than there are.
const STATEMENTS: usize = 64;

/// What a database is to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Safety {
    /// Everything: what is synced is on the disk.
    Full,
    /// Nothing, because it is deleted with its process: nobody waits for the disk.
    Scratch,
}

/// A database file that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct StoreFile {
    pub(super) path: PathBuf,
    /// Whether its writer ever waits for the disk.
    pub(super) safety: Safety,
    /// Holds the lock; closed last. It has a byte once the database was made.
    lock: File,
}

impl StoreFile {
    /// Notes that there is a database now, so that an empty one is known for damage. On a full disk some later start
    /// does so.
    fn note_made(&self) {
        if self.lock.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = (&self.lock).write_all(b"\n").and_then(|()| self.lock.sync_all());
        }
    }
}

/// Whether there was a database at `path` before.
pub(super) fn was_made(path: &Path) -> bool {
    sibling(path, ".lock").metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// Opens `path` for writing, makes it when missing, and brings it to the present schema.
pub(super) fn open(path: &Path, schema: &Schema, safety: Safety) -> Result<(StoreFile, Connection), StoreError> {
    let file = StoreFile { path: path.to_owned(), safety, lock: lock(path)? };
    adopt_repaired(path)?;
    // Somebody who moved it away wants to start empty; somebody whose file was emptied does not.
    let was_there = path.exists();
    create_private(path)?;
    if was_there && path.metadata().is_ok_and(|metadata| metadata.len() == 0) && was_made(path) {
        return Err(StoreError::Emptied { path: path.to_owned() });
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if safety == Safety::Scratch {
        // First of all, because the next ones would sync.
        connection.pragma_update(None, "synchronous", "OFF")?;
    }
    check_identity(&connection, path, schema)?;
    if safety == Safety::Full && identity(&connection)?.1 == 0 {
        // Before the first table, and only then, because it writes: it cannot be switched on later without rewriting the file.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    if safety == Safety::Full {
        connection.pragma_update(None, "synchronous", "FULL")?;
    }
    connection.pragma_update(None, "journal_size_limit", WAL_KEEP_BYTES)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // The checkpointing thread does it; see `checkpoint`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    migrate(&mut connection, path, schema)?;
    file.note_made();
    Ok((file, connection))
}

/// Another connection to a file that [`open`] has made ready.
pub(super) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without it macOS leaves synced bytes in the drive's cache; elsewhere it means nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    Ok(connection)
}

pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let file = private().open(sibling(path, ".lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::NoLocks { path: path.to_owned(), source }),
    }
}

/// Makes the file, so that neither it nor the files SQLite puts beside it are
/// readable by others: specs hold environments, and those hold secrets.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    if !path.try_exists().map_err(failed)? {
        private().create_new(true).open(path).map_err(failed)?;
    }
    Ok(())
}

/// How files are opened that only this user may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// Refuses what is not ours before anything is written to it.
pub(super) fn check_identity(connection: &Connection, path: &Path, schema: &Schema) -> Result<(), StoreError> {
    let (id, version) = identity(connection)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != schema.application_id && (id != 0 || version != 0 || tables != 0) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if version > schema.version() {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found: version, known: schema.version() });
    }
    Ok(())
}

/// Reads every page, which takes about a second a gigabyte.
pub(super) fn check_pages(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::BadPages { verdict }) }
}

fn identity(connection: &Connection) -> Result<(i32, u32), StoreError> {
    let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((id, version))
}

/// Applies the migrations that the file has not had, all in one transaction. Before the first of them a copy of the
/// file is set aside as `FILE.schema-N`: the only way back to an older program.
fn migrate(connection: &mut Connection, path: &Path, schema: &Schema) -> Result<(), StoreError> {
    let (_, before) = identity(connection)?;
    if before > 0 && before < schema.version() {
        keep_copy(connection, &sibling(path, &format!(".schema-{before}")))?;
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let (_, version) = identity(&transaction)?;
    let missing = schema.migrations.get(version as usize..).ok_or_else(|| StoreError::NewerSchema {
        path: path.to_owned(),
        found: version,
        known: schema.version(),
    })?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    if !missing.is_empty() {
        transaction.pragma_update(None, "application_id", schema.application_id)?;
        transaction.pragma_update(None, "user_version", schema.version())?;
    }
    Ok(transaction.commit()?)
}

/// Copies the database to `copy`, unless an earlier start did: that one crashed while it migrated, and changed nothing.
fn keep_copy(connection: &Connection, copy: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: copy.to_owned(), source };
    if copy.exists() {
        return Ok(());
    }
    let unfinished = sibling(copy, ".unfinished");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    create_private(&unfinished)?;
    let name = unfinished.to_str().ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
    connection.execute("VACUUM INTO ?1", [name])?;
    std::fs::rename(&unfinished, copy).map_err(failed)
}

/// Puts the repaired database `new` in the place of the damaged one at `path`; returns the damaged one's new name. A
/// crash in between is finished by the next [`adopt_repaired`].
pub(super) fn replace_with(path: &Path, new: &Path) -> Result<PathBuf, StoreError> {
    rename(new, &sibling(path, ".repaired"))?;
    Ok(adopt_repaired(path)?.unwrap_or_default())
}

/// Puts a repaired database into its place, when one is ready; returns the damaged one's new name. The damaged one is
/// renamed first, its log before it.
pub(super) fn adopt_repaired(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let repaired = sibling(path, ".repaired");
    if !repaired.exists() {
        return Ok(None);
    }
    let damaged = (1..).map(|number| sibling(path, &format!(".damaged-{number}"))).find(|name| !name.exists());
    let damaged = damaged.unwrap_or_default();
    for ending in ["-wal", "-shm", ""] {
        let part = sibling(path, ending);
        if part.exists() {
            rename(&part, &sibling(&damaged, ending))?;
        }
    }
    rename(&repaired, path)?;
    Ok(Some(damaged))
}

/// Renames a file and syncs its folder.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Open { path: from.to_owned(), source };
    std::fs::rename(from, to).map_err(failed)?;
    match to.parent() {
        Some(folder) if cfg!(unix) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed),
        _ => Ok(()),
    }
}

/// The file beside `path` whose name goes on with `ending`.
pub(super) fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Bytes of a database and the log beside it.
pub(super) fn bytes(path: &Path) -> Result<u64, StoreError> {
    let size = |path: &Path| match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(StoreError::Open { path: path.to_owned(), source }),
    };
    Ok(size(path)? + size(&sibling(path, "-wal"))?)
}
