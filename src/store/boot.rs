//! Whether the machine went down while the store was open.
//!
//! Invariant: a power loss stays on record until it is settled, through any
//! number of starts. A boot that nobody can name is taken for the same as
//! before, and a file that was closed properly has lost nothing. Absent: how a
//! machine names its boots (the shell's), and what follows from a loss (the
//! engine's).

use rusqlite::{Connection, params};

use super::StoreError;
use super::rows::{run, uint};
use crate::model::Epoch;
use crate::model::records::PowerLoss;

/// Notes that the store is open under this boot, and what that says about the start before. Comes before the next
/// epoch is taken, in its transaction.
pub(super) fn opened(connection: &Connection, boot_id: Option<&str>) -> Result<(), StoreError> {
    let Some(boot_id) = boot_id else { return Ok(()) };
    run(
        connection,
        "INSERT OR REPLACE INTO power_losses (epoch, next_job)
         SELECT (SELECT value FROM meta WHERE name = 'epoch'), (SELECT value FROM meta WHERE name = 'next_job')
         FROM machine WHERE boot_id <> ?1",
        params![boot_id],
    )?;
    run(connection, "UPDATE machine SET boot_id = ?1", params![boot_id])
}

/// Whether the file was last open under another boot than this one, and never closed.
pub(super) fn is_another(connection: &Connection, boot_id: Option<&str>) -> Result<bool, StoreError> {
    let Some(boot_id) = boot_id else { return Ok(false) };
    Ok(connection.prepare("SELECT 1 FROM machine WHERE boot_id <> ?1")?.exists([boot_id])?)
}

/// Notes that everything is on the disk and nothing further comes.
pub(super) fn closed(connection: &Connection) -> Result<(), StoreError> {
    run(connection, "UPDATE machine SET boot_id = NULL", params![])
}

/// Every worker has said what it holds, or has had its time.
pub(super) fn settled(connection: &Connection) -> Result<(), StoreError> {
    run(connection, "DELETE FROM power_losses", params![])
}

/// The losses that are not settled, oldest first.
pub(super) fn power_losses(connection: &Connection) -> Result<Vec<PowerLoss>, StoreError> {
    let mut all = connection.prepare("SELECT epoch, next_job FROM power_losses ORDER BY epoch")?;
    let mut rows = all.query([])?;
    let mut losses = Vec::new();
    while let Some(row) = rows.next()? {
        let epoch = u32::try_from(row.get::<_, i64>(0)?).map_err(|_| StoreError::BadValue { column: "epoch" })?;
        losses.push(PowerLoss { epoch: Epoch(epoch), next_job: uint(row.get(1)?) });
    }
    Ok(losses)
}
