//! What the dispatcher and the link say, and what becomes of it.
//!
//! Every message is safe to receive twice, also late: what is said about an
//! attempt goes by its fence, and a fence that this worker is done with stays so.

use super::held::{EndingCause, Held, Phase, Wish};
use super::{ExecOrder, WorkerEngine, WorkerNotice};
use crate::model::handshake::Welcome;
use crate::model::limits::MAX_BATCH;
use crate::model::messages::{Assignment, CancelAttempt, DispatcherMessage, EndedAttempt, FencedAttempt, JobOnWorker};
use crate::model::outcome::{OutputSummary, SpawnFailure, SpawnFailureKind};
use crate::model::{AttemptReport, Fence, JobId, Outcome, SealedSpec, Timestamp};

impl WorkerEngine {
    /// A new link stands: says what is here, once and in the order the dispatcher expects.
    pub(super) fn link_up(&mut self, now: Timestamp, welcome: &Welcome) {
        self.link.welcomed(now, welcome);
        self.task_timeout = welcome.task_timeout;
        // A dispatcher that still wants it says `Drain` again on every link, and teaches every spec again.
        self.draining = false;
        self.jobs.forget_idle();
        self.name = Some(welcome.name.clone());
        self.outgoing.took.extend(self.proofs.values().cloned());
        self.tell_all_given();
        let held = self.attempts.values().map(Held::as_told).chain(self.abandoned.iter().cloned());
        // Never more than fit, but for an outbox file that is not ours: it may cost the results in it, not this process.
        let holding: Vec<_> = held.chain(self.outbox.as_told()).take(MAX_BATCH).collect();
        self.outgoing.holding = Some(holding);
        self.outgoing.ended.extend(self.outbox.results().cloned());
        self.outgoing.missing.extend(self.jobs.missing());
        self.outgoing.short = self.supply.shortage().map(Some);
        self.outgoing.stopping = self.is_stopping();
    }

    /// Sorts one message.
    pub(super) fn intake(&mut self, now: Timestamp, message: DispatcherMessage) {
        match message {
            DispatcherMessage::HeartbeatSeen { sequence, now: then } => self.link.heartbeat_seen(now, sequence, then),
            DispatcherMessage::Learn(jobs) => jobs.into_iter().for_each(|job| self.learn(now, job)),
            DispatcherMessage::Assign(assignments) => assignments.into_iter().for_each(|order| self.accept(now, order)),
            DispatcherMessage::Cancel(orders) => orders.into_iter().for_each(|order| self.cancel(now, order)),
            DispatcherMessage::Recorded(attempts) => attempts.into_iter().for_each(|attempt| self.recorded(attempt)),
            DispatcherMessage::ForgetJobs(jobs) => jobs.into_iter().for_each(|job| self.forget_job(job)),
            DispatcherMessage::Drain => self.drain(),
            DispatcherMessage::Resume => self.resume(),
            DispatcherMessage::KeyCopied => self.effects.notices.push(WorkerNotice::KeyCopied),
            // Who its peers are changes nothing here; the shell keeps it.
            DispatcherMessage::Roster(_) => {}
            DispatcherMessage::Retract(attempts) => attempts.into_iter().for_each(|attempt| self.retract(attempt)),
            DispatcherMessage::Grant(granted) => granted.into_iter().for_each(|granted| self.granted(granted)),
            DispatcherMessage::Account(attempts) => self.account(attempts),
        }
    }

    fn learn(&mut self, now: Timestamp, learnt: JobOnWorker) {
        for fence in self.jobs.learn(learnt.job, learnt.spec.clone()) {
            self.enqueue(now, fence, learnt.spec.clone());
        }
    }

    fn accept(&mut self, now: Timestamp, assignment: Assignment) {
        let (fence, job) = (assignment.fence, assignment.task.job);
        if self.attempts.contains_key(&fence) || self.outbox.has(fence) || self.recent.knows(fence) {
            return;
        }
        if self.is_full() || self.draining || self.is_stopping() || self.is_short() {
            self.recent.remember(fence);
            self.outgoing.returned.push(FencedAttempt { id: assignment.id(), fence });
            return;
        }
        self.jobs.hold(job);
        self.attempts
            .insert(fence, Held { assignment, phase: Phase::AwaitsSpec, granted: None, refused_by: Vec::new() });
        match self.jobs.spec(job).cloned() {
            Some(spec) => self.enqueue(now, fence, spec),
            None if self.jobs.await_spec(job, fence) => _ = self.outgoing.missing.insert(job),
            None => {}
        }
    }

    /// Puts a held attempt into the queue, now that its spec is known.
    fn enqueue(&mut self, now: Timestamp, fence: Fence, spec: SealedSpec) {
        let Some(held) = self.attempts.get_mut(&fence) else { panic!("an attempt is queued that is not held") };
        let assignment = &held.assignment;
        let stranger = (!spec.spec().items.contains(assignment.task.index)).then_some("its job has no such task");
        if let Some(reason) = stranger.or_else(|| self.room.never_fits(&spec.spec().demand, &assignment.gpus)) {
            let failure = SpawnFailure { kind: SpawnFailureKind::Worker, reason: reason.to_owned() };
            self.end_unstarted(now, fence, Outcome::SpawnFailed(failure));
            return;
        }
        held.phase = Phase::Queued(spec);
        self.queue.extend(held.place());
    }

    fn cancel(&mut self, now: Timestamp, order: CancelAttempt) {
        let named = FencedAttempt { id: order.id, fence: order.fence };
        let outcome = Outcome::Cancelled(order.why.clone());
        match self.attempts.get_mut(&order.fence) {
            Some(held) if held.fenced() != named => {}
            Some(held) => match &mut held.phase {
                Phase::Executing(_) => {
                    self.end_running(now, order.fence, EndingCause::Cancelled(order.why), order.grace);
                }
                Phase::Offered(offered) => offered.wish = Some(Wish::End(order.why)),
                // Whoever has it is told to end it, once the dispatcher knows who that is.
                Phase::Given(_) => {}
                Phase::AwaitsSpec | Phase::Queued(_) => self.end_unstarted(now, order.fence, outcome),
            },
            None if self.outbox.has(order.fence) || self.recent.knows(order.fence) => {}
            // Never seen: its assignment is on the way or was lost. Either way it is not to run here.
            None => self.keep_unstarted(now, named, outcome),
        }
    }

    /// The dispatcher would rather have it elsewhere.
    fn retract(&mut self, attempt: FencedAttempt) {
        let held = self.attempts.get_mut(&attempt.fence).filter(|held| held.fenced() == attempt);
        match held.map(|held| &mut held.phase) {
            Some(Phase::AwaitsSpec | Phase::Queued(_)) => self.give_back(attempt.fence),
            Some(Phase::Offered(offered)) => _ = offered.wish.get_or_insert(Wish::GiveBack),
            Some(Phase::Given(_) | Phase::Executing(_)) => {}
            // Its assignment is on the way or was lost: it is not to run here, and this says so.
            None if self.outbox.has(attempt.fence) || self.recent.knows(attempt.fence) => {}
            None => {
                self.recent.remember(attempt.fence);
                self.outgoing.returned.push(attempt);
            }
        }
    }

    /// Ends an attempt that the executor never had.
    pub(super) fn end_unstarted(&mut self, now: Timestamp, fence: Fence, outcome: Outcome) {
        let held = self.let_go(fence);
        assert!(held.executing().is_none(), "{} has started", held.assignment.id());
        self.effects.notices.push(WorkerNotice::Ended { id: held.assignment.id(), outcome: outcome.clone() });
        self.keep_unstarted(now, held.fenced(), outcome);
    }

    /// Whether one attempt more could not be named after a reconnect.
    pub(super) fn is_full(&self) -> bool {
        self.attempts.len() + self.outbox.len() + self.abandoned.len() >= MAX_BATCH
    }

    fn keep_unstarted(&mut self, now: Timestamp, attempt: FencedAttempt, outcome: Outcome) {
        if self.is_full() {
            // More than fits into a holding is nothing a dispatcher that keeps count of this worker asks for.
            self.recent.remember(attempt.fence);
            return;
        }
        let ended_at = self.link.dispatcher_time(now);
        let output = OutputSummary::default();
        let report = AttemptReport { outcome, started_at: None, ended_at, peak_memory_bytes: 0, output, files: None };
        let ended = EndedAttempt { id: attempt.id, fence: attempt.fence, report };
        assert!(!self.offers.iter().any(|(_, fence)| *fence == attempt.fence), "{} is offered and ends", attempt.id);
        self.outbox.keep_unstarted(ended.clone());
        if self.link.is_up() {
            self.outgoing.ended.push(ended);
        }
    }

    fn recorded(&mut self, attempt: FencedAttempt) {
        let (record, was_here) = self.outbox.settle(attempt);
        if !was_here {
            return self.forget_given(attempt);
        }
        self.proofs.remove(&attempt.fence);
        self.recent.remember(attempt.fence);
        self.effects.records.extend(record);
        if self.bearers.get(&attempt.id) == Some(&attempt.fence) {
            self.bearers.remove(&attempt.id);
            self.effects.orders.push(ExecOrder::ForgetLog(attempt.id));
        }
    }

    fn forget_job(&mut self, job: JobId) {
        let in_vain = self.jobs.forget(job);
        in_vain.into_iter().for_each(|fence| self.give_back(fence));
    }

    fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.effects.notices.push(WorkerNotice::Draining);
            self.give_back_unstarted();
        }
    }

    fn resume(&mut self) {
        if self.draining {
            self.draining = false;
            self.effects.notices.push(WorkerNotice::Resumed);
        }
    }

    /// Gives everything back that the executor does not have.
    pub(super) fn give_back_unstarted(&mut self) {
        for held in self.attempts.values_mut() {
            if let Phase::Offered(offered) = &mut held.phase {
                offered.wish.get_or_insert(Wish::GiveBack);
            }
        }
        let unstarted = self.attempts.iter().filter(|(_, held)| held.is_unstarted());
        let unstarted: Vec<Fence> = unstarted.map(|(fence, _)| *fence).collect();
        if !unstarted.is_empty() {
            self.effects.notices.push(WorkerNotice::Returned(unstarted.len() as u64));
        }
        unstarted.into_iter().for_each(|fence| self.give_back(fence));
    }

    pub(super) fn give_back(&mut self, fence: Fence) {
        let held = self.let_go(fence);
        assert!(held.is_unstarted(), "{} has started and cannot be given back", held.assignment.id());
        self.proofs.remove(&fence);
        self.recent.remember(fence);
        if self.link.is_up() {
            self.outgoing.returned.push(held.fenced());
        }
    }

    /// Takes an attempt out of everything that is kept of those held.
    pub(super) fn let_go(&mut self, fence: Fence) -> Held {
        let Some(held) = self.attempts.remove(&fence) else { panic!("an attempt is let go that is not held") };
        if let Some(place) = held.place() {
            assert!(self.queue.remove(&place), "{} is queued but not in the queue", held.assignment.id());
        }
        self.jobs.release(held.assignment.task.job, fence);
        held
    }
}
