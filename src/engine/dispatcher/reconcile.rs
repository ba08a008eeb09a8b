//! What a worker holds after it has connected, against what the record says.
//!
//! Invariant: afterwards both say the same. What the worker names and the
//! record has live is adopted; what only the record has is given up; what only
//! the worker has is cancelled there. Absent: results, which follow as `Ended`.

use std::collections::BTreeMap;

use super::losses::Loss;
use super::placement::{Room, Traits, WorkerKey};
use super::roster::Presence;
use super::task::Hold;
use super::{DispatcherEngine, Outbound};
use crate::model::limits::KILL_GRACE;
use crate::model::messages::{CancelAttempt, DispatcherMessage, FencedAttempt, HeldAttempt};
use crate::model::outcome::Cancellation;
use crate::model::records::Record;
use crate::model::{AttemptId, LinkId, TaskId, Timestamp};

impl DispatcherEngine {
    /// A worker says what it holds. Heeded once a link.
    pub(super) fn reconcile(&mut self, now: Timestamp, key: WorkerKey, held: Vec<HeldAttempt>) {
        let worker = self.roster.at(key);
        let Presence::Arriving { link, instance } = worker.presence else { return };
        let same_instance = worker.instance == Some(instance);
        let other_instance = worker.instance.is_some_and(|known| known != instance);
        let Some(profile) = &worker.profile else { unreachable!("a worker without a profile was welcomed") };
        let traits = Traits::of(&worker.name, profile);
        let draining = worker.draining;
        let mut strays: BTreeMap<FencedAttempt, HeldAttempt> = held
            .into_iter()
            .map(|mut one| {
                one.gpus.sort_unstable();
                (FencedAttempt { id: one.id, fence: one.fence }, one)
            })
            .collect();

        self.reclaim_forgotten(now, key, strays.values());
        let worker = self.roster.at(key);
        // Decided before the worker has a seat, because what is given up here was not taken from it.
        let (mut adopted, mut missing) = (Vec::new(), Vec::new());
        let mut room = Room::of(&traits.capacity);
        for task in worker.attempts.iter().copied().collect::<Vec<TaskId>>() {
            let (attempt, demand) = self.live(key, task);
            match strays.remove(&attempt) {
                Some(one) if one.ended => adopted.push((one, Hold::Beside)),
                Some(one) if self.may_wait_on(key, task, &one) => adopted.push((one, Hold::Backlog)),
                Some(one) if room.take_these(&demand, &one.gpus) => adopted.push((one, Hold::Slot)),
                // While nobody was there to hear of it, it may have ended and something else has begun.
                Some(one) if self.is_roomless(key, task) || self.could_wait(task) => {
                    adopted.push((one, Hold::Beside));
                }
                Some(one) => {
                    strays.insert(attempt, one);
                    self.lose_attempt(now, key, task, &Loss::WorkerLost);
                }
                // It may have come there since the worker has put this together, or be on its way.
                None if !other_instance && self.is_awaited(key, attempt.id, attempt.fence) => missing.push(attempt),
                // This very instance would know of it; what another one did nobody can say.
                None if same_instance => self.lose_attempt(now, key, task, &Loss::NeverStarted),
                None => self.lose_attempt(now, key, task, &Loss::WorkerLost),
            }
        }

        self.backlogs.seat(key, traits.capacity.slots);
        self.placement.seat(key, traits);
        let worker = self.roster.at_mut(key);
        worker.instance = Some(instance);
        worker.presence = Presence::Present(link);
        if draining {
            self.outbox.send(link, Outbound::ToWorker(DispatcherMessage::Drain));
        }
        for (one, hold) in adopted {
            self.adopt(key, link, one, hold);
        }
        self.promote(key);
        missing.into_iter().for_each(|attempt| self.ask_for(key, attempt));
        for attempt in strays.into_keys() {
            let why = Cancellation::requested(Some("it is not wanted here any more".to_owned()));
            let cancel = CancelAttempt { id: attempt.id, fence: attempt.fence, grace: KILL_GRACE, why };
            self.outbox.cancel(link, cancel, true);
        }
        self.open_or_close(key);
        let node = self.roster.at(key).node;
        self.note_holding(now, node);
        if self.backlogs.workers() == 2 {
            self.grant_what_waits(now);
        }
    }

    /// Whether what a worker names has not started and may wait there for what comes free.
    fn may_wait_on(&self, key: WorkerKey, task: TaskId, one: &HeldAttempt) -> bool {
        let job = self.jobs.at(task.job);
        let position = job.spec().items.position_of(task.index);
        let known = position.and_then(|position| job.attempt_on(position, key));
        let unstarted = one.started_at.is_none() && known.is_some_and(|attempt| attempt.started_at.is_none());
        unstarted && job.spec().may_wait_on_worker()
    }

    /// Whether workers start attempts of this task by themselves, from what waits there.
    fn could_wait(&self, task: TaskId) -> bool {
        self.jobs.at(task.job).spec().may_wait_on_worker()
    }

    /// Whether the attempt of a task that a worker has takes nothing from its room.
    pub(super) fn is_roomless(&self, key: WorkerKey, task: TaskId) -> bool {
        let job = self.jobs.at(task.job);
        let position = job.spec().items.position_of(task.index);
        position.and_then(|position| job.attempt_on(position, key)).is_some_and(|attempt| attempt.hold != Hold::Slot)
    }

    /// The live attempt of a task that a worker is known to hold, and what it takes.
    fn live(&self, key: WorkerKey, task: TaskId) -> (FencedAttempt, crate::model::Demand) {
        let job = self.jobs.at(task.job);
        let position = job.spec().items.position_of(task.index);
        let Some(attempt) = position.and_then(|position| job.attempt_on(position, key)) else {
            unreachable!("a worker holds an attempt of {task} that is not live")
        };
        let id = AttemptId { task, attempt: attempt.no };
        (FencedAttempt { id, fence: attempt.fence }, job.spec().demand.clone())
    }

    /// Goes on with an attempt that a worker still has.
    fn adopt(&mut self, key: WorkerKey, link: LinkId, held: HeldAttempt, hold: Hold) {
        let job = self.jobs.at_mut(held.id.task.job);
        let after_sync = job.assigns_after_sync();
        let roomless = hold != Hold::Slot;
        let fits = roomless || self.placement.occupy(key, &job.submitted.spec.spec().demand, &held.gpus);
        assert!(fits, "what fitted a moment ago does not");
        let Some(position) = job.spec().items.position_of(held.id.task.index) else {
            unreachable!("what is adopted was live a moment ago")
        };
        job.set_hold(position, key, if hold == Hold::Backlog { Hold::Beside } else { hold });
        let Some(attempt) = job.attempt_on_mut(position, key) else {
            unreachable!("what is adopted was live a moment ago")
        };
        attempt.gpus = held.gpus;
        if let (None, Some(at)) = (attempt.started_at, held.started_at) {
            attempt.started_at = Some(at);
            self.outbox.record(Record::AttemptStarted { id: held.id, at });
        }
        if let Some(why) = attempt.ending.clone() {
            let cancel = CancelAttempt { id: held.id, fence: held.fence, grace: KILL_GRACE, why };
            self.outbox.cancel(link, cancel, after_sync);
        }
        if hold == Hold::Backlog {
            self.wait_on(key, held.id.task);
        }
    }
}
