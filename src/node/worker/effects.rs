//! The worker's hands: what the engine's effects and the executor's news come
//! to. Split from the loop (`shell`) only for its length; one thought a method.

use tokio::task::AbortHandle;

use super::attached::Attached;
use super::files_turn::Staging;
use super::logs;
use super::shell::{Event, Running, Shell, Up};
use super::ways::FolderPath;
use crate::engine::worker::{ExecFact, ExecOrder, WorkerLinkChange, WorkerNotice};
use crate::exec::{AttachedIo, Ending, ExecEvent, Kept, Scratch, StartAttempt, Unstarted};
use crate::model::files::TaskFiles;
use crate::model::limits::MAX_BATCH;
use crate::model::messages::{Assignment, WorkerMessage};
use crate::model::obstacle::Obstacle;
use crate::model::outcome::{KeptOutput, OutputSummary, SpawnFailure, SpawnFailureKind};
use crate::model::spec::{OutputMode, StdinSource};
use crate::model::{AttemptId, AttemptReport, Millis, Outcome, SealedSpec, Timestamp};
use crate::node::error::new_identity;
use crate::store::StoreError;

/// A copy of this worker that keeps asking to join is told of again after this long.
const COPY_TOLD_AGAIN: Millis = Millis::from_secs(3600);

impl Shell {
    /// The dispatcher has let this worker in, for the first time or again.
    pub(super) fn joined(&mut self, now: Timestamp, up: Up) {
        let Up { address, welcome, outgoing, .. } = up;
        tracing::info!("Joined the dispatcher at {address} as {}", welcome.name);
        self.name = welcome.name.clone();
        self.outgoing = Some(outgoing);
        if let Some(briefer) = &self.wires.briefer {
            briefer.brief(address);
        }
        self.pending.clear();
        self.holding_agreed(welcome.p2p);
        self.engine.handle_link(now, WorkerLinkChange::Up(welcome));
    }

    /// Performs everything that the engine wants done, in its order.
    pub(super) fn perform(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let effects = self.engine.take_effects();
        self.keeper.take(now, effects.records)?;
        // Whoever stops waits for nothing but the disk.
        if self.stopping || self.keeper.due().is_some_and(|due| due <= now) {
            self.keeper.flush()?;
        }
        self.engine.handle_synced(self.keeper.settled());
        for message in effects.messages {
            match message {
                WorkerMessage::Ended(ended) => {
                    let ready: Vec<_> = ended.into_iter().filter_map(|ended| self.release(ended)).collect();
                    self.queue(WorkerMessage::Ended(ready));
                }
                WorkerMessage::Heartbeat { sequence } => {
                    self.lease.sends(sequence);
                    self.queue(WorkerMessage::Heartbeat { sequence });
                }
                other => self.queue(other),
            }
        }
        effects.orders.into_iter().for_each(|order| self.carry_out(now, order));
        self.stage_ahead(now);
        for notice in effects.notices {
            self.note_draining(&notice);
            self.log(notice);
        }
        self.say_to_peers(now, effects.to_peers);
        Ok(())
    }

    /// Puts a message behind those that wait; neighbours of one kind become one message.
    pub(super) fn queue(&mut self, message: WorkerMessage) {
        match (self.pending.last_mut(), message) {
            (_, WorkerMessage::Ended(more)) if more.is_empty() => {}
            (Some(WorkerMessage::Ended(list)), WorkerMessage::Ended(more)) if list.len() + more.len() <= MAX_BATCH => {
                list.extend(more);
            }
            (Some(WorkerMessage::Started(list)), WorkerMessage::Started(more))
                if list.len() + more.len() <= MAX_BATCH =>
            {
                list.extend(more);
            }
            // Of several heartbeats that wait together only the last has anything to say.
            (Some(WorkerMessage::Heartbeat { sequence }), WorkerMessage::Heartbeat { sequence: newer }) => {
                *sequence = newer;
            }
            (_, message) => self.pending.push(message),
        }
    }

    fn carry_out(&mut self, now: Timestamp, order: ExecOrder) {
        match order {
            ExecOrder::Start { assignment, spec } => self.start(now, assignment, spec),
            ExecOrder::Terminate { id, grace } => {
                self.executor.terminate(id, if self.hurried { Millis(0) } else { grace });
                self.unstage(now, id);
            }
            ExecOrder::ForgetLog(id) => {
                self.executor.forget_log(id);
                self.reports.forget(id);
                self.moved.remove(&id);
                self.stock.recorded(id);
                self.stock.is_through(id);
                // Nobody waits for its outputs any more, and the dispatcher would be asked for ever.
                self.offers.remove(&id).inspect(AbortHandle::abort);
                // Dropping the sender tells the stream that the result is recorded.
                self.attached.remove(&id);
            } // Specs live in the engine and in the attempts that need them.
        }
    }

    fn start(&mut self, now: Timestamp, assignment: Assignment, spec: SealedSpec) {
        let id = assignment.id();
        let takes_stdin = spec.spec().stdin == StdinSource::Attached;
        let attached = (takes_stdin || spec.spec().output == OutputMode::Attached).then(|| {
            let (attached, io, recorded) = Attached::new(id, takes_stdin, self.wires.live.clone());
            self.tasks.spawn(attached.run());
            self.attached.insert(id, recorded);
            io
        });
        if spec.spec().inputs.is_empty() {
            self.run_now(now, assignment, spec, attached, None);
        } else {
            self.stage(now, Staging { assignment, spec, attached, no_room_since: None });
        }
    }

    /// Hands an attempt to the executor.
    pub(super) fn run_now(
        &mut self,
        now: Timestamp,
        assignment: Assignment,
        spec: SealedSpec,
        attached: Option<AttachedIo>,
        directory: Option<Scratch>,
    ) {
        let keep_directory = !spec.spec().outputs.is_empty();
        let running = Running { ordered_at: now, started_at: None, spec: keep_directory.then(|| spec.clone()) };
        self.running.insert(assignment.id(), running);
        let worker = self.name.clone();
        self.executor.run(StartAttempt { assignment, spec, worker, attached, directory, keep_directory });
    }

    /// Turns what the executor says into facts for the engine.
    pub(super) fn executed(&mut self, now: Timestamp, event: ExecEvent) {
        let fact = match event {
            ExecEvent::NotStarted { id, unstarted } => {
                self.running.remove(&id);
                self.not_started(now, id, unstarted)
            }
            ExecEvent::Started { id, ago } => {
                let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
                let at = Timestamp(now.0.saturating_sub(ago));
                if let Some(running) = self.running.get_mut(&id) {
                    running.started_at = Some(at);
                }
                ExecFact::Started { id, at }
            }
            ExecEvent::Ended { id, mut ending } => match ending.directory.take() {
                Some(directory) => return self.collect(id, ending, directory),
                None => {
                    let running = self.running.remove(&id);
                    ExecFact::Ended { id, report: self.report(now, id, running, ending) }
                }
            },
        };
        self.engine.handle_exec(now, fact);
    }

    /// What the engine is told of an attempt that was not started.
    fn not_started(&mut self, now: Timestamp, id: AttemptId, unstarted: Unstarted) -> ExecFact {
        let Unstarted { obstacle, detail } = unstarted;
        match obstacle {
            // No other worker will have it.
            Obstacle::Directory(_) if self.wires.alone => {
                let kind = SpawnFailureKind::NotExecutable;
                let failure = SpawnFailure { kind, reason: format!("cannot {detail}") };
                let ending = Ending::before_start(Outcome::SpawnFailed(failure));
                ExecFact::Ended { id, report: self.report(now, id, None, ending) }
            }
            _ => ExecFact::NotStarted { id, obstacle, detail },
        }
    }

    pub(super) fn report(
        &mut self,
        now: Timestamp,
        id: AttemptId,
        running: Option<Running>,
        ending: Ending,
    ) -> AttemptReport {
        // A task that is over before its start was told started when it was ordered to.
        let started_at =
            running.filter(|_| ending.had_process).map(|running| running.started_at.unwrap_or(running.ordered_at));
        let kept = match ending.kept {
            Kept::Nothing => KeptOutput::Nothing,
            Kept::Inline(log) => KeptOutput::Inline(log),
            Kept::Spooled { bytes } => {
                self.upload(id, bytes);
                KeptOutput::Uploaded(bytes)
            }
        };
        AttemptReport {
            outcome: ending.outcome,
            started_at,
            ended_at: now,
            peak_memory_bytes: ending.peak_memory_bytes,
            output: OutputSummary { stdout_bytes: ending.stdout_bytes, stderr_bytes: ending.stderr_bytes, kept },
            files: self.moved.get(&id).filter(|files| **files != TaskFiles::default()).cloned().map(Box::new),
        }
    }

    /// Tells what is worth a log line.
    fn log(&mut self, notice: WorkerNotice) {
        let line = |task, from: &str, to: &str| tracing::debug!("[P2P] Offloaded task {task} from {from} to {to}");
        match notice {
            WorkerNotice::KeyCopied => self.tell_of_copy(),
            WorkerNotice::HandedOver { id, to } => line(id.task, self.name.as_str(), &self.peer_name(to)),
            WorkerNotice::TookOver { id, from } => line(id.task, &self.peer_name(from), self.name.as_str()),
            other => tell(other),
        }
    }

    /// Says that this worker's key is in use elsewhere; a copy that keeps trying is told of once in a while.
    fn tell_of_copy(&mut self) {
        let now = self.clock.now();
        if self.told_of_copy.is_some_and(|at| now.since(at) < COPY_TOLD_AGAIN) {
            return;
        }
        self.told_of_copy = Some(now);
        let folder = self.wires.folder.as_ref().map(FolderPath::get).unwrap_or_default();
        tracing::warn!(
            "The dispatcher refused another worker that has a copy of this one's key; on that machine, for an identity \
             of its own: {}",
            new_identity(&folder)
        );
    }

    /// Goes on with the output of results that an earlier start of this worker has left.
    pub(super) fn upload_kept(&mut self, logs: Vec<(AttemptId, u64)>) {
        logs.into_iter().for_each(|(id, bytes)| self.upload(id, bytes));
    }

    /// Sends stored output ahead of the report that will name it.
    fn upload(&mut self, id: AttemptId, bytes: u64) {
        self.reports.log_started(id);
        let kept = self.wires.kept_logs.clone();
        let upload = logs::upload(id, bytes, self.executor.clone(), kept, self.wires.live.clone());
        let events = self.wires.events.clone();
        self.tasks.spawn(async move {
            let arrived = match upload.await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!("The result of task {id} is reported without its output: failed to {error}");
                    false
                }
            };
            let _ = events.send(Event::Uploaded { id, arrived }).await;
        });
    }
}

fn tell(notice: WorkerNotice) {
    match notice {
        WorkerNotice::Started(id) => tracing::debug!("Task {id} started"),
        WorkerNotice::Ended { id, outcome } => tracing::debug!("Task {id} {outcome}"),
        WorkerNotice::TimedOut { id, limit, source } => {
            tracing::info!("Ending task {id}: it {}", Outcome::TimedOut(limit, source));
        }
        WorkerNotice::LeaseExpired(id) => {
            tracing::warn!("Ending exclusive task {id}: the dispatcher has not been heard for too long");
        }
        WorkerNotice::Dropped(id) => tracing::debug!("Task {id} was ended here and nobody waits for its result"),
        WorkerNotice::Returned(count) => tracing::debug!("Gave {count} assignments back unstarted"),
        WorkerNotice::Short { shortage, detail } => {
            tracing::warn!("This worker takes no new tasks for now: {shortage} (failed to {detail}); trying again");
        }
        WorkerNotice::Supplied(shortage) => tracing::info!("Tasks start again: this worker had {shortage}"),
        WorkerNotice::Draining => tracing::info!("Draining: finishing what runs, taking no new work"),
        WorkerNotice::Resumed => tracing::info!("Taking work again"),
        // Told with the names of both.
        WorkerNotice::HandedOver { .. } | WorkerNotice::TookOver { .. } | WorkerNotice::KeyCopied => {}
    }
}
