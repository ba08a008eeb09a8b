//! Starting attempts, ending them, and what the executor says of them.
//!
//! Invariant: the executor is told to start an attempt at most once, and only
//! while nothing else bears its number there.

use std::ops::Bound;

use super::held::{Ending, EndingCause, Executing, Held, Phase, Place};
use super::{ExecOrder, Stop, WorkerEngine, WorkerNotice};
use crate::model::limits::KILL_GRACE;
use crate::model::messages::{EndedAttempt, StartedAttempt};
use crate::model::outcome::LimitSource;
use crate::model::records::OutboxRecord;
use crate::model::spec::TimeLimit;
use crate::model::{AttemptId, AttemptReport, Fence, Millis, Outcome, Timestamp};

/// How long a stopping worker with a link waits at least for its last results to be recorded; what is not then is on
/// disk.
pub(super) const STOP_LINGER: Millis = Millis::from_secs(2);

impl WorkerEngine {
    /// Whether [`WorkerEngine::stop`] was called.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop != Stop::No
    }

    /// Does what is due at `now`, whatever woke the engine.
    pub(super) fn settle_down(&mut self, now: Timestamp) {
        self.end_overdue(now);
        self.end_unleased(now);
        self.end_shortage(now);
        self.start_what_fits(now);
        self.doubt_late_answers(now);
        self.hand_on(now);
        if let Some(sequence) = self.link.heartbeat(now) {
            self.outgoing.heartbeat = Some(sequence);
        }
        if matches!(self.stop, Stop::Finishing(until) if until <= now || self.is_through()) {
            self.stop = Stop::Ending;
            self.end_all_running(now, KILL_GRACE);
        }
        match self.stop {
            Stop::Ending if self.is_through() => self.stop = Stop::Lingering(self.stop_by.max(now + STOP_LINGER)),
            _ => {}
        }
        if let Stop::Lingering(until) = self.stop
            && (until <= now || !self.link.is_up() && self.stop_by <= now)
        {
            self.stop = Stop::Waited;
        }
    }

    /// Whether nothing here has to be ended any more.
    pub(super) fn is_through(&self) -> bool {
        self.attempts.values().all(|held| matches!(held.phase, Phase::Offered(_) | Phase::Given(_)))
    }

    /// Starts queued attempts in order, passing over those that do not fit now:
    /// the dispatcher counts the same room, so what does not fit waits for an
    /// attempt that it knows to be over, never for one that came later.
    fn start_what_fits(&mut self, now: Timestamp) {
        let mut after: Bound<Place> = Bound::Unbounded;
        while self.room.has_slot() && !self.is_stopping() && self.may_start_more() {
            let Some(place) = self.queue.range((after, Bound::Unbounded)).next().copied() else { break };
            if self.may_start(now, place.1) {
                self.queue.remove(&place);
                self.start(place.1);
            }
            after = Bound::Excluded(place);
        }
    }

    fn may_start(&self, now: Timestamp, fence: Fence) -> bool {
        let Some(held) = self.attempts.get(&fence) else { panic!("the queue names an attempt that is not held") };
        let Phase::Queued(spec) = &held.phase else {
            panic!("{} is in the queue but not queued", held.assignment.id())
        };
        let leased = !spec.spec().exclusive || self.link.lease_end().is_some_and(|end| now < end);
        leased
            && !self.bearers.contains_key(&held.assignment.id())
            && self.room.fits(&spec.spec().demand, &held.assignment.gpus)
    }

    fn start(&mut self, fence: Fence) {
        let Some(held) = self.attempts.get_mut(&fence) else { panic!("an attempt starts that is not held") };
        let Phase::Queued(spec) = held.phase.clone() else { panic!("{} starts unqueued", held.assignment.id()) };
        self.room.take(&spec.spec().demand, &held.assignment.gpus);
        let before = self.bearers.insert(held.assignment.id(), fence);
        assert!(before.is_none(), "{} starts while a namesake is here", held.assignment.id());
        if spec.spec().exclusive {
            self.leased.insert(fence);
        }
        self.effects.orders.push(ExecOrder::Start { assignment: held.assignment.clone(), spec: spec.clone() });
        held.granted = None;
        held.phase = Phase::Executing(Executing { spec, started_at: None, limit: None, ending: None });
    }

    /// The executor has a process for `id` since `at`, in this node's time.
    pub(super) fn process_started(&mut self, id: AttemptId, at: Timestamp) {
        let fence = self.executing_as(id);
        let started_at = self.link.dispatcher_time(at);
        let Some(executing) = self.attempts.get_mut(&fence).and_then(Held::executing_mut) else {
            panic!("{id} runs without an order to start");
        };
        let before = executing.started_at.replace(started_at);
        assert!(before.is_none(), "the executor has started {id} twice");
        let limit = match executing.spec.spec().time_limit {
            TimeLimit::Dispatcher => Some(self.task_timeout),
            TimeLimit::Unlimited => None,
            TimeLimit::Limited(limit) => Some(limit),
        };
        if executing.ending.is_none() {
            executing.limit = limit.map(|limit| (at + limit, limit));
            self.deadlines.extend(executing.limit.map(|(deadline, _)| (deadline, fence)));
        }
        self.effects.notices.push(WorkerNotice::Started(id));
        if self.link.is_up() {
            self.outgoing.started.push(StartedAttempt { id, fence, at: started_at });
        }
    }

    /// The fence of the attempt that the executor knows as `id`.
    pub(super) fn executing_as(&self, id: AttemptId) -> Fence {
        match self.bearers.get(&id) {
            Some(fence) if self.attempts.contains_key(fence) => *fence,
            _ => panic!("the executor speaks of {id}, which it was not told to run"),
        }
    }

    /// Nothing of `id` is left; `report` is what the executor saw, in this node's time.
    pub(super) fn process_ended(&mut self, id: AttemptId, report: AttemptReport) {
        let fence = self.executing_as(id);
        let held = self.take_from_executor(fence);
        let told = held.as_told();
        let Phase::Executing(executing) = held.phase else { panic!("{id} ends without an order to start") };
        let why = executing.ending.map(|ending| ending.why);
        if why == Some(EndingCause::Stopping) {
            self.bearers.remove(&id);
            self.proofs.remove(&fence);
            self.recent.remember(fence);
            self.abandoned.push(told);
            self.effects.notices.push(WorkerNotice::Dropped(id));
            self.effects.orders.push(ExecOrder::ForgetLog(id));
            return;
        }
        let report = self.final_report(report, executing.started_at, why);
        self.effects.notices.push(WorkerNotice::Ended { id, outcome: report.outcome.clone() });
        let ended = EndedAttempt { id, fence, report };
        self.effects.records.extend(self.proofs.get(&fence).cloned().map(OutboxRecord::Proved));
        self.effects.records.push(self.outbox.keep(ended.clone()));
        if self.link.is_up() {
            self.outgoing.ended.push(ended);
        }
    }

    /// Takes back an attempt that the executor is done with, and the room that it had.
    pub(super) fn take_from_executor(&mut self, fence: Fence) -> Held {
        let held = self.let_go(fence);
        let id = held.assignment.id();
        let Phase::Executing(executing) = &held.phase else { panic!("{id} comes back without an order to start") };
        self.room.release(&executing.spec.spec().demand, &held.assignment.gpus);
        self.leased.remove(&fence);
        if let Some((deadline, _)) = executing.limit {
            assert!(self.deadlines.remove(&(deadline, fence)), "the deadline of {id} is not among the deadlines");
        }
        held
    }

    /// The executor's report in dispatcher time and with the reason it cannot know.
    fn final_report(
        &self,
        report: AttemptReport,
        started_at: Option<Timestamp>,
        why: Option<EndingCause>,
    ) -> AttemptReport {
        let started_at = started_at.or(report.started_at.map(|at| self.link.dispatcher_time(at)));
        let ended_at = self.link.dispatcher_time(report.ended_at);
        let outcome = match why {
            None => report.outcome,
            Some(EndingCause::Cancelled(why)) => Outcome::Cancelled(why),
            Some(EndingCause::TimedOut(limit, source)) => Outcome::TimedOut(limit, source),
            Some(EndingCause::LeaseExpired) => Outcome::Lost,
            Some(EndingCause::Stopping) => {
                unreachable!("the end of an attempt that stops with its worker is not reported")
            }
        };
        // The clock's correction may have changed between the two.
        let ended_at = started_at.map_or(ended_at, |started| ended_at.max(started));
        AttemptReport { outcome, started_at, ended_at, ..report }
    }

    /// Has the executor end an attempt, or hurry when it already does.
    pub(super) fn end_running(&mut self, now: Timestamp, fence: Fence, why: EndingCause, grace: Millis) {
        let Some(held) = self.attempts.get_mut(&fence) else { panic!("an attempt is ended that is not held") };
        let id = held.assignment.id();
        let Some(executing) = held.executing_mut() else { panic!("{id} is ended before it starts") };
        let kill_at = now + grace;
        let hurry = executing.ending.as_ref().is_none_or(|ending| kill_at < ending.kill_at);
        match &mut executing.ending {
            Some(ending) => {
                ending.kill_at = ending.kill_at.min(kill_at);
                // Somebody waits for its end after all.
                if ending.why == EndingCause::Stopping {
                    ending.why = why;
                }
            }
            none => *none = Some(Ending { why, kill_at }),
        }
        if let Some((deadline, _)) = executing.limit.take() {
            assert!(self.deadlines.remove(&(deadline, fence)), "the deadline of {id} is not among the deadlines");
        }
        self.leased.remove(&fence);
        if hurry {
            self.effects.orders.push(ExecOrder::Terminate { id, grace });
        }
    }

    /// Ends everything that runs because the worker stops.
    pub(super) fn end_all_running(&mut self, now: Timestamp, grace: Millis) {
        // What is being ended for another reason keeps that, and its time unless this one is shorter.
        let running = self.attempts.iter().filter(|(_, held)| {
            held.executing().is_some_and(|it| it.ending.as_ref().is_none_or(|ending| now + grace < ending.kill_at))
        });
        let running: Vec<Fence> = running.map(|(fence, _)| *fence).collect();
        running.into_iter().for_each(|fence| self.end_running(now, fence, EndingCause::Stopping, grace));
    }

    fn end_overdue(&mut self, now: Timestamp) {
        while let Some((deadline, fence)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            let executing = self.attempts.get(&fence).and_then(|held| Some((held.assignment.id(), held.executing()?)));
            let Some((id, executing)) = executing else { panic!("a deadline of what does not run") };
            let Some((_, limit)) = executing.limit.filter(|(at, _)| *at == deadline) else {
                panic!("{id} has another deadline");
            };
            let source = match executing.spec.spec().time_limit {
                TimeLimit::Dispatcher => LimitSource::Dispatcher,
                TimeLimit::Limited(_) | TimeLimit::Unlimited => LimitSource::Job,
            };
            self.effects.notices.push(WorkerNotice::TimedOut { id, limit, source });
            self.end_running(now, fence, EndingCause::TimedOut(limit, source), KILL_GRACE);
        }
    }

    /// Ends exclusive attempts whose lease ran out. What is left of the grace is
    /// less when this worker was held up.
    fn end_unleased(&mut self, now: Timestamp) {
        let Some(end) = self.link.lease_end().filter(|end| *end <= now) else { return };
        for fence in std::mem::take(&mut self.leased) {
            let Some(held) = self.attempts.get(&fence) else { panic!("a lease of what is not held") };
            self.effects.notices.push(WorkerNotice::LeaseExpired(held.assignment.id()));
            let grace = (end + KILL_GRACE).since(now);
            self.end_running(now, fence, EndingCause::LeaseExpired, grace);
        }
    }
}
