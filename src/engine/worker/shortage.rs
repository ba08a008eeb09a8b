//! What this worker is short of, and when it tries to start tasks again.
//!
//! Invariant: while a shortage lasts nothing is started, taken or kept waiting here, so that the dispatcher and the
//! peers can run it elsewhere. An attempt that could not be started goes back and is counted as nothing. Absent: what a
//! shortage is (the executor notices it).

use super::held::{Held, Phase};
use super::{ExecOrder, WorkerEngine, WorkerNotice};
use crate::model::messages::{FencedAttempt, RefusedAttempt};
use crate::model::obstacle::{Obstacle, Shortage};
use crate::model::outcome::OutputSummary;
use crate::model::{AttemptId, AttemptReport, Millis, Outcome, Timestamp};

/// The first wait before a start is tried again, and the longest after the end of a task, which gives back what it had.
const WAIT_MIN: Millis = Millis::from_secs(1);
/// The longest wait: a disk that is full for hours costs a few refused attempts a minute.
const WAIT_MAX: Millis = Millis::from_secs(30);
/// A shortage is over when this long after its end there was no other. Until then the waits go on doubling, and the
/// log says nothing new.
const CALM: Millis = WAIT_MAX;

/// Whether this worker can start tasks. Instants are in this node's time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Supply {
    /// As far as is known.
    #[default]
    Enough,
    /// It could not, and tries again at `until`.
    Short { shortage: Shortage, until: Timestamp, wait: Millis },
    /// It tries again, one attempt at a time.
    Trying { shortage: Shortage, calm_at: Timestamp, wait: Millis },
}

impl Supply {
    /// What it is short of at the moment.
    pub(super) fn shortage(self) -> Option<Shortage> {
        match self {
            Self::Short { shortage, .. } => Some(shortage),
            Self::Enough | Self::Trying { .. } => None,
        }
    }

    /// When something changes by itself.
    pub(super) fn next(self) -> Option<Timestamp> {
        match self {
            Self::Enough => None,
            Self::Short { until, .. } => Some(until),
            Self::Trying { calm_at, .. } => Some(calm_at),
        }
    }
}

impl WorkerEngine {
    /// Whether nothing can be started here at the moment.
    pub(super) fn is_short(&self) -> bool {
        self.supply.shortage().is_some()
    }

    /// Whether another attempt may be started now. After a shortage one at a time: so that each finds what the ones before
    /// it have left, and one that finds nothing is alone in that.
    pub(super) fn may_start_more(&self) -> bool {
        match self.supply {
            Supply::Enough => true,
            Supply::Short { .. } => false,
            Supply::Trying { .. } => {
                let is_starting = |held: &Held| held.executing().is_some_and(|it| it.started_at.is_none());
                !self.attempts.values().any(is_starting)
            }
        }
    }

    /// The executor has not started `id`.
    pub(super) fn process_not_started(&mut self, now: Timestamp, id: AttemptId, obstacle: Obstacle, detail: String) {
        let fence = self.executing_as(id);
        if self.attempts.get(&fence).and_then(|held| held.executing()).is_some_and(|it| it.ending.is_some()) {
            // It was to end anyway, and ends for that reason.
            let (outcome, output) = (Outcome::Lost, OutputSummary::default());
            let (started_at, peak_memory_bytes, files) = (None, 0, None);
            let report = AttemptReport { outcome, started_at, ended_at: now, peak_memory_bytes, output, files };
            self.process_ended(id, report);
        } else {
            let held = self.take_from_executor(fence);
            assert!(matches!(&held.phase, Phase::Executing(it) if it.started_at.is_none()), "{id} has a process");
            let FencedAttempt { id, fence } = held.fenced();
            self.bearers.remove(&id);
            self.proofs.remove(&fence);
            self.recent.remember(fence);
            self.effects.orders.push(ExecOrder::ForgetLog(id));
            match obstacle {
                _ if !self.link.is_up() => {}
                Obstacle::Directory(fault) => self.outgoing.refused.push(RefusedAttempt { id, fence, fault }),
                Obstacle::Shortage(_) => self.outgoing.returned.push(FencedAttempt { id, fence }),
            }
        }
        if let Obstacle::Shortage(shortage) = obstacle {
            self.run_short(now, shortage, detail);
        }
    }

    /// Nothing can be started for a while: whatever waits here is given back.
    pub(super) fn run_short(&mut self, now: Timestamp, shortage: Shortage, detail: String) {
        let wait = match self.supply {
            // Several starts failed at the same time.
            Supply::Short { .. } => return,
            Supply::Enough => WAIT_MIN,
            Supply::Trying { wait, .. } => Millis((wait.0 * 2).min(WAIT_MAX.0)),
        };
        let is_news = !matches!(self.supply, Supply::Trying { shortage: before, .. } if before == shortage);
        self.supply = Supply::Short { shortage, until: now + wait, wait };
        if is_news {
            self.effects.notices.push(WorkerNotice::Short { shortage, detail });
        }
        if self.link.is_up() {
            self.outgoing.short = Some(Some(shortage));
        }
        self.give_back_unstarted();
    }

    /// A task has ended, and what it had is free.
    pub(super) fn regain(&mut self, now: Timestamp) {
        if let Supply::Short { until, .. } = &mut self.supply {
            *until = (*until).min(now + WAIT_MIN);
        }
    }

    /// Tries again when it is time to.
    pub(super) fn end_shortage(&mut self, now: Timestamp) {
        match self.supply {
            Supply::Short { shortage, until, wait } if until <= now => {
                self.supply = Supply::Trying { shortage, calm_at: now + CALM, wait };
                if self.link.is_up() {
                    self.outgoing.short = Some(None);
                }
            }
            Supply::Trying { shortage, calm_at, .. } if calm_at <= now => {
                self.supply = Supply::Enough;
                self.effects.notices.push(WorkerNotice::Supplied(shortage));
            }
            _ => {}
        }
    }
}
