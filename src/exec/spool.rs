//! The stored output of attempts (being built).

use super::ExecError;

/// Reads a log: of a running attempt from its beginning, or of an ended one.
#[derive(Debug)]
pub struct LogReader {}

impl LogReader {
    /// The next bytes: one or more whole data frames, `None` at the end.
    ///
    /// A following reader waits here for more until the attempt ends. May be
    /// cancelled: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the spool cannot be read.
    #[expect(clippy::unused_async, reason = "being built")]
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ExecError> {
        Ok(None)
    }
}
