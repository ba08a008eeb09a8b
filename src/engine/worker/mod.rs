//! The worker's half of the core: which attempts it holds, which of them run,
//! and which results the dispatcher has not thanked it for.
//!
//! Invariant: an attempt that was accepted stays until its result is recorded
//! by the dispatcher, or it was given back unstarted, or the worker stops; and
//! what runs at once never exceeds the capacity. Deliberately absent:
//! processes, output and log files (the executor's), the link's bytes, and any
//! view of other workers.

mod audit;
mod effects;
mod held;
mod intake;
mod jobs;
mod link;
mod mates;
mod offering;
mod outbox;
mod outgoing;
mod recent;
mod room;
mod running;
mod shortage;
mod taking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use effects::{ExecFact, ExecOrder, PeerFact, PeerOrder, ProvedOffer, WorkerEffects, WorkerNotice};

use self::held::{Held, Phase, Place};
use self::jobs::Jobs;
use self::link::Link;
use self::mates::Mates;
use self::outbox::Outbox;
use self::outgoing::Outgoing;
use self::recent::Recent;
use self::room::Room;
use self::running::STOP_LINGER;
use self::shortage::Supply;
use self::taking::Answers;
use crate::model::handshake::Welcome;
use crate::model::limits::TASK_TIMEOUT;
use crate::model::messages::{DispatcherMessage, FencedAttempt, HeldAttempt};
use crate::model::node::WorkerProfile;
use crate::model::offload::TakenOver;
use crate::model::records::{BatchNo, Unsettled};
use crate::model::{AttemptId, Fence, Millis, NodeId, NodeName, SealedSpec, Timestamp};

/// What a worker is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// What it advertises; its capacity is never exceeded.
    pub profile: WorkerProfile,
    /// Between heartbeats until a welcome names another interval.
    pub heartbeat_interval: Millis,
}

/// A change of the one link a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerLinkChange {
    /// The dispatcher has welcomed this worker on a new link. Replaces a link that is still up.
    Up(Welcome),
    /// The link is gone. Nothing that came on it may be handed in afterwards.
    Down,
}

/// A worker's decisions as a value. See the module for what it promises.
///
/// After any `handle_…` or [`WorkerEngine::stop`], drain
/// [`WorkerEngine::take_effects`] and ask [`WorkerEngine::poll_timeout`] anew.
/// `now` is this node's own clock and must never go back; everything said to
/// the dispatcher is in dispatcher time.
#[derive(Debug)]
pub struct WorkerEngine {
    link: Link,
    /// What it is, and what the dispatcher calls it.
    profile: WorkerProfile,
    name: Option<NodeName>,
    /// For tasks that name no limit of their own; from the latest welcome.
    task_timeout: Millis,
    jobs: Jobs,
    /// Keyed by fence, not by number: two attempts of one number can meet here (see `FencedAttempt`).
    attempts: BTreeMap<Fence, Held>,
    /// Attempts that wait for room, in the order to start them.
    queue: BTreeSet<Place>,
    room: Room,
    /// Who of several attempts with one number the executor and the outbox
    /// file mean by it; from the start order until the result is settled.
    bearers: BTreeMap<AttemptId, Fence>,
    /// Ends of time limits, in this node's time.
    deadlines: BTreeSet<(Timestamp, Fence)>,
    /// Exclusive attempts that the executor has and that are not being ended.
    leased: BTreeSet<Fence>,
    outbox: Outbox,
    recent: Recent,
    mates: Mates,
    /// Attempts that were offered to peers, by when their answers are late, in this node's time.
    offers: BTreeSet<(Timestamp, Fence)>,
    /// Those of them whose answers are late.
    doubted: BTreeSet<Fence>,
    /// What was answered to offers of peers.
    answers: Answers,
    /// Of the attempts here that were taken over, why the dispatcher may believe that; until they are settled.
    proofs: BTreeMap<Fence, TakenOver>,
    /// Attempts that ended with the stop of this worker. Still named after a
    /// reconnect: what a worker does not name counts as never started there.
    abandoned: Vec<HeldAttempt>,
    draining: bool,
    supply: Supply,
    stop: Stop,
    /// While it stops: until when results that the dispatcher has not recorded are waited for, whatever becomes of
    /// the link.
    stop_by: Timestamp,
    outgoing: Outgoing,
    effects: WorkerEffects,
    /// Batches of records handed out so far.
    batches: BatchNo,
    synced: BatchNo,
}

/// How far a graceful stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nobody asked for it.
    No,
    /// What runs may end by itself until this instant.
    Finishing(Timestamp),
    /// What runs is being ended.
    Ending,
    /// Nothing runs; until this instant the dispatcher may acknowledge results.
    Lingering(Timestamp),
    /// The wait is over.
    Waited,
}

impl WorkerEngine {
    /// A worker that holds nothing but `outbox`: results of earlier starts
    /// which the dispatcher has not acknowledged.
    #[must_use]
    pub fn restore(config: WorkerConfig, _now: Timestamp, outbox: Unsettled) -> Self {
        let bearers = outbox.results.iter().map(|ended| (ended.id, ended.fence)).collect();
        let proofs: BTreeMap<_, _> = outbox.proofs.into_iter().map(|taken| (taken.attempt.fence, taken)).collect();
        let outbox = Outbox::restore(outbox.results);
        let proofs = proofs.into_iter().filter(|(fence, _)| outbox.has(*fence)).collect();
        Self {
            link: Link::new(config.heartbeat_interval),
            task_timeout: TASK_TIMEOUT,
            jobs: Jobs::default(),
            attempts: BTreeMap::new(),
            queue: BTreeSet::new(),
            room: Room::new(config.profile.capacity.clone()),
            profile: config.profile,
            name: None,
            bearers,
            deadlines: BTreeSet::new(),
            leased: BTreeSet::new(),
            outbox,
            recent: Recent::default(),
            mates: Mates::default(),
            offers: BTreeSet::new(),
            doubted: BTreeSet::new(),
            answers: Answers::default(),
            proofs,
            abandoned: Vec::new(),
            draining: false,
            supply: Supply::default(),
            stop: Stop::No,
            stop_by: Timestamp::default(),
            outgoing: Outgoing::default(),
            effects: WorkerEffects::default(),
            batches: BatchNo(0),
            synced: BatchNo(0),
        }
    }

    /// The link came up or went down.
    pub fn handle_link(&mut self, now: Timestamp, change: WorkerLinkChange) {
        // What was gathered for the old link is in the holding, or the dispatcher learns that it is not.
        self.outgoing = Outgoing::default();
        match change {
            WorkerLinkChange::Up(welcome) => self.link_up(now, &welcome),
            WorkerLinkChange::Down => self.link.lost(),
        }
        self.settle_down(now);
    }

    /// The dispatcher said something on the link that is up.
    pub fn handle_message(&mut self, now: Timestamp, message: DispatcherMessage) {
        assert!(self.link.is_up(), "a message came without a link");
        self.intake(now, message);
        self.settle_down(now);
    }

    /// The executor said something.
    pub fn handle_exec(&mut self, now: Timestamp, fact: ExecFact) {
        match fact {
            ExecFact::Started { id, at } => self.process_started(id, at),
            ExecFact::Ended { id, report } => {
                self.process_ended(id, report);
                self.regain(now);
            }
            ExecFact::Short { shortage, detail } => self.run_short(now, shortage, detail),
            ExecFact::NotStarted { id, obstacle, detail } => self.process_not_started(now, id, obstacle, detail),
        }
        self.settle_down(now);
    }

    /// Something is heard of a peer on a direct link, or of the link itself.
    pub fn handle_peer(&mut self, now: Timestamp, peer: NodeId, fact: PeerFact) {
        match fact {
            PeerFact::Stands { instance, free_slots, accepting } => {
                let offered = self.offered_to(peer);
                self.mates.stands(now, peer, (instance, free_slots, accepting), offered);
            }
            PeerFact::Gone => self.mates.gone(peer),
            PeerFact::Offered(offer) => self.offered(now, peer, offer),
            PeerFact::Answered(answer) => self.answered(now, peer, answer),
            PeerFact::Unreachable(attempt) => self.unreachable(now, peer, attempt),
        }
        self.settle_down(now);
    }

    /// The instant of [`WorkerEngine::poll_timeout`] has come. Safe to call early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.settle_down(now);
    }

    /// The outbox has every batch up to `upto` on disk. Every `take_effects` that
    /// returned records made one batch, the first of them number 1.
    pub fn handle_synced(&mut self, upto: BatchNo) {
        assert!(upto <= self.batches, "the disk has what was never written");
        self.synced = self.synced.max(upto);
    }

    /// Stops gracefully: takes nothing new, gives back what has not started, lets what runs go on for `grace` and
    /// ends what is left then. For as long it waits for the dispatcher to record what has ended, also without a link.
    /// [`WorkerEngine::is_stopped`] says when all is done.
    pub fn stop(&mut self, now: Timestamp, grace: Millis) {
        if self.stop == Stop::No {
            self.stop_by = now + grace;
            self.stop = Stop::Finishing(self.stop_by);
            self.give_back_unstarted();
            self.leave_offers();
            self.outgoing.stopping = self.link.is_up();
        }
        self.settle_down(now);
    }

    /// Ends at once, and without asking, whatever runs while this worker stops, and the wait for a dispatcher that is
    /// not there.
    pub fn hurry(&mut self, now: Timestamp) {
        self.stop_by = now;
        match self.stop {
            Stop::Finishing(_) | Stop::Ending => {
                self.stop = Stop::Ending;
                self.end_all_running(now, Millis(0));
            }
            Stop::Lingering(until) => self.stop = Stop::Lingering(until.min(now + STOP_LINGER)),
            Stop::No | Stop::Waited => {}
        }
        self.settle_down(now);
    }

    /// How many results the dispatcher has not recorded.
    #[must_use]
    pub fn unrecorded(&self) -> usize {
        self.outbox.len()
    }

    /// How many attempts the executor has.
    #[must_use]
    pub fn executing(&self) -> usize {
        self.attempts.values().filter(|held| held.executing().is_some()).count()
    }

    /// Whether a stop is complete: nothing runs, and every result is on disk and
    /// was either recorded by the dispatcher or has had its time to be.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let said = match self.stop {
            Stop::No | Stop::Finishing(_) | Stop::Ending => false,
            Stop::Lingering(_) => self.outbox.len() == 0 && self.attempts.is_empty(),
            Stop::Waited => true,
        };
        said && self.synced == self.batches && self.effects.records.is_empty()
    }

    /// What the calls since the last time want done.
    pub fn take_effects(&mut self) -> WorkerEffects {
        let mut effects = std::mem::take(&mut self.effects);
        effects.messages = self.outgoing.take();
        if !effects.records.is_empty() {
            self.batches.0 += 1;
        }
        effects
    }

    /// When [`WorkerEngine::handle_timeout`] wants to be called next, if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let lease = if self.leased.is_empty() { None } else { self.link.lease_end() };
        let limit = self.deadlines.first().map(|(deadline, _)| *deadline);
        let linger = match self.stop {
            Stop::Finishing(until) => Some(until),
            Stop::Lingering(until) if self.link.is_up() => Some(until),
            Stop::Lingering(_) => Some(self.stop_by),
            Stop::No | Stop::Ending | Stop::Waited => None,
        };
        let answer = self.offers.first().map(|(due, _)| *due);
        let supply = self.supply.next();
        [self.link.next_heartbeat(), lease, limit, linger, answer, supply].into_iter().flatten().min()
    }

    /// `local`, an instant of this node's time, as the dispatcher would say it.
    #[must_use]
    pub fn dispatcher_time(&self, local: Timestamp) -> Timestamp {
        self.link.dispatcher_time(local)
    }

    /// What this worker could do for its peers: job slots in which nothing runs, attempts that wait for room, and
    /// whether it takes new work at all.
    #[must_use]
    pub fn vacancy(&self) -> (u32, u32, bool) {
        let ready = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        (self.room.free_slots(), ready, !self.draining && !self.is_stopping() && !self.is_short())
    }

    /// How many attempts may run at once.
    #[must_use]
    pub fn slots(&self) -> usize {
        usize::try_from(self.profile.capacity.slots).unwrap_or(usize::MAX)
    }

    /// The attempts that are the next to start, at most `most`, in that order.
    pub fn next_in_line(&self, most: usize) -> impl Iterator<Item = (FencedAttempt, &SealedSpec)> {
        self.queue.iter().take(most).filter_map(|(_, fence)| {
            let held = self.attempts.get(fence)?;
            let Phase::Queued(spec) = &held.phase else { return None };
            Some((held.fenced(), spec))
        })
    }

    /// Whether an attempt is offered to a peer that has not answered: it may yet start here.
    #[must_use]
    pub fn is_offered(&self, fence: Fence) -> bool {
        self.attempts.get(&fence).is_some_and(|held| matches!(held.phase, Phase::Offered(_)))
    }

    /// Panics with what is broken, if anything is.
    pub fn check_invariants(&self) {
        self.audit();
    }
}
