//! The worker's loop and its files: what happens around a start and an end
//! when an attempt has inputs or outputs.
//!
//! ```text
//! order ─▶ stage ─▶ Staged ─▶ executor ─▶ Ended ─▶ collect ─▶ Collected ─▶ engine
//!                                                                ├─▶ hold  ─▶ report leaves
//!                                                                └─▶ offer ─▶ Offered ─▶ report leaves
//! ```
//!
//! The one invariant: every attempt that was ordered to start ends in exactly
//! one fact for the engine. Absent: moving bytes (`files`).

use std::time::Duration;

use tokio::task::AbortHandle;

use super::files::{FilesError, Staged, Urgency};
use super::files_ahead::Ahead;
use super::reports::Release;
use super::shell::{Event, Shell};
use crate::blob::{Collected, Pins};
use crate::engine::worker::ExecFact;
use crate::exec::{AttachedIo, Ending, Scratch};
use crate::model::files::OutputFile;
use crate::model::messages::{Assignment, EndedAttempt, FencedAttempt};
use crate::model::obstacle::{Obstacle, Shortage};
use crate::model::{AttemptId, Millis, Outcome, RawString, SealedSpec, Timestamp};

/// Between two looks whether there is room for the inputs of an attempt by now.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// For so long others may end first.
const ROOM_PATIENCE: Millis = Millis::from_secs(60);
/// Where there never will be any: a worker that fails tasks at once would draw them away from those that could run them.
const NO_ROOM_EVER: Millis = Millis::from_secs(5);

/// An attempt that waits for its inputs.
pub(super) struct Staging {
    pub(super) assignment: Assignment,
    pub(super) spec: SealedSpec,
    pub(super) attached: Option<AttachedIo>,
    /// Since when there is no room for them.
    pub(super) no_room_since: Option<Timestamp>,
}

/// Why the outputs of an attempt are not kept.
pub(super) struct Uncollected {
    /// What this worker is short of, when that is why.
    shortage: Option<Shortage>,
    /// Completes "failed to …".
    reason: String,
}

impl Staging {
    fn attempt(&self) -> FencedAttempt {
        FencedAttempt { id: self.assignment.id(), fence: self.assignment.fence }
    }
}

impl Shell {
    /// Has the inputs of an attempt brought, where that was not done ahead of its start.
    pub(super) fn stage(&mut self, now: Timestamp, staging: Staging) {
        let attempt = staging.attempt();
        let bringing = match self.ahead.take(attempt.fence) {
            Some(Ahead::There(staged)) => return self.run_staged(now, staging, staged),
            Some(Ahead::Coming(coming)) => coming,
            Some(Ahead::Failed) | None => self.bring(attempt, &staging.spec, Urgency::Now),
        };
        if let Some((_, earlier)) = self.staging.insert(attempt.id, (staging, bringing)) {
            earlier.abort();
        }
    }

    /// Has the inputs of an attempt brought into a directory; [`Shell::staged`] hears of it.
    pub(super) fn bring(&mut self, attempt: FencedAttempt, spec: &SealedSpec, urgency: Urgency) -> AbortHandle {
        self.bring_after(Duration::ZERO, attempt, spec, urgency)
    }

    fn bring_after(
        &mut self,
        pause: Duration,
        attempt: FencedAttempt,
        spec: &SealedSpec,
        urgency: Urgency,
    ) -> AbortHandle {
        let (stock, spec, worker) = (self.stock.clone(), spec.clone(), self.name.clone());
        let (executor, events) = (self.executor.clone(), self.wires.events.clone());
        self.tasks.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let staged = stock.stage(attempt.id, &spec, &worker, &executor, urgency).await.map_err(Box::new);
            let _ = events.send(Event::Staged { attempt, urgency, staged }).await;
        })
    }

    /// The inputs are there, or cannot be had.
    pub(super) fn staged(
        &mut self,
        now: Timestamp,
        (attempt, urgency): (FencedAttempt, Urgency),
        staged: Result<Staged, Box<FilesError>>,
    ) {
        // A namesake that waits is not the one this is about.
        let is_meant = |(staging, _): &(Staging, AbortHandle)| staging.attempt() == attempt;
        let is_waiting = self.staging.get(&attempt.id).is_some_and(is_meant);
        let Some((mut staging, _)) = is_waiting.then(|| self.staging.remove(&attempt.id)).flatten() else {
            // It has not started, or was ended meanwhile.
            return self.ahead.news(attempt, staged);
        };
        let pause = match staged {
            Ok(staged) => return self.run_staged(now, staging, staged),
            // What has no room because of those that come later has it when they have gone, or when others have ended.
            Err(error) if error.is_for_room() => {
                let has_cleared = self.ahead.clear(now);
                let since = *staging.no_room_since.get_or_insert(now);
                let patience = if error.is_too_large() { NO_ROOM_EVER } else { ROOM_PATIENCE };
                if !has_cleared && now.since(since) >= patience {
                    tracing::warn!("Task {} cannot run here: failed to {}", attempt.id, error.in_full());
                    return self.unstaged(now, attempt.id, *error);
                }
                ROOM_PAUSE
            }
            // That was begun when it did not matter yet.
            Err(_) if urgency == Urgency::Ahead => Duration::ZERO,
            Err(error) => return self.unstaged(now, attempt.id, *error),
        };
        let bringing = self.bring_after(pause, attempt, &staging.spec, Urgency::Now);
        self.staging.insert(attempt.id, (staging, bringing));
    }

    fn run_staged(&mut self, now: Timestamp, staging: Staging, staged: Staged) {
        let Staging { assignment, spec, attached, .. } = staging;
        let (directory, moved) = staged.into_parts();
        self.moved.insert(assignment.id(), moved);
        self.run_now(now, assignment, spec, attached, directory);
    }

    /// An attempt that still waits for its inputs is to end.
    pub(super) fn unstage(&mut self, now: Timestamp, id: AttemptId) {
        if let Some((_, bringing)) = self.staging.remove(&id) {
            bringing.abort();
            // The engine knows why.
            self.never_started(now, id, Outcome::TransferFailed("it was ended before its inputs came".to_owned()));
        }
    }

    /// The inputs of an attempt cannot be had here: by its own fault, or because this worker is short of something.
    fn unstaged(&mut self, now: Timestamp, id: AttemptId, error: FilesError) {
        match error.shortage() {
            Some(shortage) => {
                let (obstacle, detail) = (Obstacle::Shortage(shortage), error.in_full());
                self.engine.handle_exec(now, ExecFact::NotStarted { id, obstacle, detail });
            }
            None => self.never_started(now, id, error.into_outcome()),
        }
    }

    fn never_started(&mut self, now: Timestamp, id: AttemptId, outcome: Outcome) {
        let report = self.report(now, id, None, Ending::before_start(outcome));
        self.engine.handle_exec(now, ExecFact::Ended { id, report });
    }

    /// Takes up what an ended attempt left in its directory.
    pub(super) fn collect(&mut self, id: AttemptId, ending: Ending, directory: Scratch) {
        let spec = self.running.get_mut(&id).and_then(|running| running.spec.take());
        let (stock, events, ending) = (self.stock.clone(), self.wires.events.clone(), Box::new(ending));
        self.tasks.spawn(async move {
            let collected = match spec {
                Some(spec) => stock
                    .collect(id.task, spec.spec(), directory)
                    .await
                    .map_err(|error| Uncollected { shortage: error.shortage(), reason: error.in_full() }),
                None => {
                    let reason = "find its outputs: nobody knows what they are called".to_owned();
                    Err(Uncollected { shortage: None, reason })
                }
            };
            let _ = events.send(Event::Collected { id, ending, collected }).await;
        });
    }

    /// The outputs are taken up: now the attempt has ended.
    pub(super) fn collected(
        &mut self,
        now: Timestamp,
        id: AttemptId,
        mut ending: Ending,
        collected: Result<(Collected, Pins), Uncollected>,
    ) {
        let (running, mut short) = (self.running.remove(&id), None);
        let fault = match collected {
            Ok((Collected { outputs, missing }, pins)) => {
                let held = !outputs.is_empty() && self.holds_outputs();
                if held {
                    self.stock.hold(id, pins);
                    self.reports.files_held(id);
                } else if !outputs.is_empty() {
                    self.offer(id, &outputs, Some(pins));
                }
                let moved = self.moved.entry(id).or_default();
                (moved.outputs, moved.held) = (outputs, held);
                missing.first().map(|first| Outcome::OutputMissing(not_made(first, missing.len())))
            }
            Err(Uncollected { shortage: Some(shortage), reason }) => {
                tracing::warn!("The outputs of task {id} cannot be kept: failed to {reason}");
                short = Some(ExecFact::Short { shortage, detail: reason });
                // As if the worker had been lost with them: another attempt is to make them.
                Some(Outcome::Lost)
            }
            Err(Uncollected { shortage: None, reason }) => Some(Outcome::TransferFailed(format!("failed to {reason}"))),
        };
        // A task that failed by itself need not have made everything.
        if let Some(fault) = fault.filter(|_| ending.outcome.is_success()) {
            ending.outcome = fault;
        }
        let report = self.report(now, id, running, ending);
        if let Some(short) = short {
            self.engine.handle_exec(now, short);
        }
        self.engine.handle_exec(now, ExecFact::Ended { id, report });
    }

    /// Brings outputs to the dispatcher; their report waits for it. `pins` keep them until that has begun.
    fn offer(&mut self, id: AttemptId, outputs: &[OutputFile], pins: Option<Pins>) {
        self.reports.files_started(id);
        let (stock, events, outputs) = (self.stock.clone(), self.wires.events.clone(), outputs.to_vec());
        let offering = self.tasks.spawn(async move {
            let refused = stock.offer(id, outputs).await.err().map(|error| error.in_full());
            drop(pins);
            let _ = events.send(Event::Offered { id, refused }).await;
        });
        self.offers.insert(id, offering);
    }

    /// Looks whether outputs that an earlier life of this worker held are still here; their report waits for it.
    fn hold_again(&mut self, id: AttemptId, outputs: Vec<OutputFile>) {
        self.reports.files_started(id);
        let (stock, events) = (self.stock.clone(), self.wires.events.clone());
        let looking = self.tasks.spawn(async move {
            let refused = stock.hold_again(id, outputs).await.err().map(|error| error.in_full());
            let _ = events.send(Event::Offered { id, refused }).await;
        });
        self.offers.insert(id, looking);
    }

    /// Lets a report leave, now or when what it promises has left.
    pub(super) fn release(&mut self, ended: EndedAttempt) -> Option<EndedAttempt> {
        match self.reports.release(ended) {
            Release::Now(ended) => Some(ended),
            Release::Waits => None,
            Release::OfferFirst(ended) => {
                let files = ended.report.files.as_deref().cloned().unwrap_or_default();
                match files.held {
                    true => self.hold_again(ended.id, files.outputs),
                    false => self.offer(ended.id, &files.outputs, None),
                }
                let released = self.reports.release(ended);
                debug_assert_eq!(released, Release::Waits, "an offer is under way");
                None
            }
        }
    }
}

/// What a success that left less than it said is told.
fn not_made(first: &RawString, count: usize) -> String {
    match count {
        1 => format!("there is no output {first}"),
        more => format!("there is no output {first}, and {} more are missing", more - 1),
    }
}
