//! Whether the client of a `run` is there, told to the engine once a job.
//!
//! The one invariant: a job whose client has any stream left is attended. An
//! array's client has one stream a task, and comes and goes with the last of
//! them. A link that ends says so itself and takes its entries along.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::shell::{Asker, Shell};
use crate::model::{JobId, LinkId};

/// Streams by link and job.
#[derive(Default)]
pub(super) struct Register {
    streams: Mutex<HashMap<(LinkId, JobId), usize>>,
}

impl Register {
    fn enter(&self, key: (LinkId, JobId)) -> bool {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let count = streams.entry(key).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// Says whether that was the last one.
    fn leave(&self, key: (LinkId, JobId)) -> bool {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = streams.get_mut(&key) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            streams.remove(&key);
        }
        is_last
    }
}

/// One stream of a `run`'s client.
pub(super) struct Attendance {
    shell: Arc<Shell>,
    asker: Asker,
    job: JobId,
    counted: bool,
}

impl Attendance {
    /// The client of `job` has opened a stream.
    pub(super) async fn begin(shell: &Arc<Shell>, asker: &Asker, job: JobId) -> Self {
        let attendance = Self { shell: Arc::clone(shell), asker: *asker, job, counted: true };
        if shell.attendance.enter((asker.link, job)) {
            shell.attend(asker, job, true).await;
        }
        attendance
    }

    /// It ended because there is nothing left to attend, or somebody else attends.
    pub(super) fn complete(self) {}

    /// It broke: unless there is another, the client is not there any more.
    pub(super) async fn end(mut self) {
        self.counted = false;
        if self.shell.attendance.leave((self.asker.link, self.job)) {
            self.shell.attend(&self.asker, self.job, false).await;
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if self.counted {
            self.shell.attendance.leave((self.asker.link, self.job));
        }
    }
}
