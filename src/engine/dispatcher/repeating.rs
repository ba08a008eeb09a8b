//! Whether another attempt of a task may follow one that came to nothing.
//!
//! Invariant: an attempt of a `run` that has done what cannot be taken back (its output was passed on, its stdin is used
//! up) is the last one of its task. The mark is written before it is acknowledged, and the shell passes nothing on before
//! that, so whatever happens next finds it. Absent: counting bytes (the shell's), and what the client can still undo.

use super::DispatcherEngine;
use super::requests::failure;
use crate::model::outcome::Unrepeatable;
use crate::model::records::Record;
use crate::model::requests::{Failure, FailureCode, Reply};
use crate::model::{AttemptId, LinkId};

impl DispatcherEngine {
    /// Marks a live attempt of a `run` as its task's last one; says `Done` of 0 when it is not live. Marking it twice
    /// changes nothing.
    pub(super) fn make_unrepeatable(
        &mut self,
        link: LinkId,
        id: AttemptId,
        why: Unrepeatable,
    ) -> Result<Reply, Failure> {
        self.check_owner(link, id.task.job)?;
        let Some((job, position)) = self.jobs.find_mut(id.task) else { return Ok(Reply::Done { affected: 0 }) };
        if !job.spec().streams_to_client() {
            return Err(failure(FailureCode::Conflict, format!("job {} has no client that hears its tasks", job.id())));
        }
        let mut live = job.live_mut(position).into_iter().flat_map(|live| live.iter_mut());
        let Some(attempt) = live.find(|attempt| attempt.no == id.attempt) else {
            return Ok(Reply::Done { affected: 0 });
        };
        if attempt.unrepeatable.is_none() {
            attempt.unrepeatable = Some(why);
            self.outbox.record(Record::AttemptUnrepeatable { id, why });
        }
        Ok(Reply::Done { affected: 1 })
    }

    /// Panics when a task that may have no other attempt is about to get one.
    pub(super) fn check_repeating(&self) {
        for job in self.jobs.iter() {
            for (position, task) in &job.tasks {
                let super::task::Stage::Running(live) = &task.stage else { continue };
                let marked = live.iter().any(|attempt| attempt.unrepeatable.is_some());
                assert!(!marked || !live.is_doubled(), "an attempt that cannot be repeated has another beside it");
                assert!(!marked || !job.uncertain.contains(*position), "what cannot be repeated is to start again");
            }
        }
    }
}
