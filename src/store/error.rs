//! Why the store does not do what it was asked.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

/// What went wrong with a store. Each text completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened or made.
    #[error("open the store {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the store open for writing.
    #[error("open the store {}: another dispatcher or worker is using it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file system does not lock files, so nothing would keep a second process from writing to it.
    #[error("lock the store {}: the file system there does not lock files", path.display())]
    NoLocks {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is an SQLite database, but not one of ours.
    #[error("open the store {}: it belongs to another program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("open the store {}: it was written by a newer version (schema {found}, this one knows {known})", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// What this build knows.
        known: u32,
    },
    /// The file is there and has nothing in it, though it once had.
    #[error("open the store {}: the file is empty, and was not", path.display())]
    Emptied {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read as what this program writes.
    #[error("open the store {}: it is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: Box<StoreError>,
    },
    /// The file is no database, or is damaged.
    #[error("read the store: its file is damaged or no database")]
    Corrupt(#[source] rusqlite::Error),
    /// SQLite has checked the file and found something.
    #[error("read the store: {}", verdict.lines().next().unwrap_or_default())]
    BadPages {
        /// What.
        verdict: String,
    },
    /// A row holds what this program never writes.
    #[error("read the store: column {column} holds a value it cannot have")]
    BadValue {
        /// Which column.
        column: &'static str,
    },
    /// A row contradicts another one that it belongs to.
    #[error("read the store: in the row {key} of table {table}, column {column} holds a value it cannot have")]
    BadRow {
        /// Which table.
        table: &'static str,
        /// Which row.
        key: String,
        /// Which column.
        column: &'static str,
    },
    /// No space is left on the device.
    #[error("write to the store: the disk is full")]
    Full(#[source] rusqlite::Error),
    /// Reading, writing or syncing the file failed.
    #[error("reach the store's disk")]
    Io(#[source] rusqlite::Error),
    /// Some other program held a lock on the database for too long.
    #[error("write to the store: another program keeps it locked")]
    Busy(#[source] rusqlite::Error),
    /// SQLite refused a statement: a mistake of this program.
    #[error("have the store run a statement")]
    Statement(#[source] rusqlite::Error),
    /// A value has no encoding within the bounds of the wire.
    #[error("write to the store")]
    TooLarge(#[source] crate::wire::WireError),
    /// The writer has stopped, by `close` or after a failure that it reported.
    #[error("write to the store: it has stopped")]
    Stopped,
}

impl StoreError {
    /// An error of opening `path`, naming it where it says that the file is damaged.
    pub(super) fn of(self, path: &std::path::Path) -> Self {
        match self {
            Self::Corrupt(_) | Self::BadPages { .. } | Self::BadValue { .. } | Self::BadRow { .. } => {
                Self::Damaged { path: path.to_owned(), source: Box::new(self) }
            }
            other => other,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error),
            // The index of the write-ahead log could not grow; SQLite has no word of its own for why.
            Some(ErrorCode::SystemIoFailure) if extended == Some(SQLITE_IOERR_SHMSIZE) => Self::Full(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Io(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error),
            _ => Self::Statement(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_FSYNC};

    use super::*;

    #[test]
    fn a_disk_without_room_for_the_index_of_the_log_is_called_full() {
        let of = |code| StoreError::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        assert!(matches!(of(SQLITE_IOERR_SHMSIZE), StoreError::Full(_)));
        assert!(matches!(of(SQLITE_FULL), StoreError::Full(_)));
        assert!(matches!(of(SQLITE_IOERR_FSYNC), StoreError::Io(_)), "a disk that fails is another matter");
    }
}
