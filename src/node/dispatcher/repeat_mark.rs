//! What passes between a `run`'s client and one attempt only when no other attempt can follow.
//!
//! The one invariant: before a byte passes that would have to be taken back for another attempt, the engine has marked
//! this one as the task's last, in writing. Bytes are counted here, from both streams; the client is not asked and
//! cannot say otherwise. Absent: the rule itself (the engine's), and what the client holds back or keeps.

use std::sync::atomic::{AtomicBool, Ordering};

use super::live::Seat;
use super::requests::Trouble;
use super::shell::{Asker, Shell};
use crate::engine::dispatcher::Call;
use crate::model::AttemptId;
use crate::model::outcome::Unrepeatable;
use crate::model::requests::Reply;
use crate::model::views::decisive;

/// The mark of one attempt, as far as one pair of streams knows it.
pub(super) struct RepeatMark<'a> {
    shell: &'a Shell,
    asker: &'a Asker,
    seat: &'a Seat,
    id: AttemptId,
    bounds: Bounds,
    /// Anything may pass: the attempt is marked, or its task has finished with it.
    free: AtomicBool,
}

/// How far an attempt may go and still be followed by another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Output bytes that the client holds and can drop.
    pub(super) held: u64,
    /// Stdin bytes that the client can send again.
    pub(super) resends: u64,
}

impl<'a> RepeatMark<'a> {
    /// The mark of `id`. `finished` says that its task has finished, and with this attempt.
    pub(super) fn new(
        shell: &'a Shell,
        asker: &'a Asker,
        seat: &'a Seat,
        id: AttemptId,
        bounds: Bounds,
        finished: bool,
    ) -> Self {
        Self { shell, asker, seat, id, bounds, free: AtomicBool::new(finished) }
    }

    /// Whether the attempt's output may pass up to byte `upto`; not when the attempt is over and another one may follow.
    pub(super) async fn output(&self, upto: u64) -> Result<bool, Trouble> {
        Ok(upto <= self.bounds.held || self.set(Unrepeatable::OutputPassedOn).await?)
    }

    /// The same for stdin.
    pub(super) async fn stdin(&self, upto: u64) -> Result<bool, Trouble> {
        Ok(upto <= self.bounds.resends || self.set(Unrepeatable::StdinConsumed).await?)
    }

    async fn set(&self, why: Unrepeatable) -> Result<bool, Trouble> {
        if self.free.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let call = Call::Unrepeatable { id: self.id, why };
        let passes = match self.shell.ask(self.asker, call.into()).await.reply().await {
            Some(Reply::Done { affected }) => affected > 0 || self.has_finished_the_task().await?,
            _ => return Err(Trouble::CutOff),
        };
        self.free.store(passes, Ordering::Relaxed);
        Ok(passes)
    }

    /// Whether the task has finished with this attempt. The news is ahead of the engine's answer.
    async fn has_finished_the_task(&self) -> Result<bool, Trouble> {
        if !self.seat.has_ended() {
            return Ok(false);
        }
        let task = self.id.task;
        let attempts = self.shell.history.read_fresh(move |reader| reader.attempts(task)).await?;
        Ok(decisive(&attempts).is_some_and(|last| last.id == self.id))
    }
}
