//! The simulated dispatcher's shell: its engine, its disk and its clock.
//!
//! Invariant: it keeps the engine's contract as the real shell does. Messages
//! leave in order and not before the records of their batch are written, those
//! after sync not before everything up to them is synced.

use std::collections::VecDeque;

use super::clock::NodeClock;
use super::cluster::{Cluster, Event, key};
use super::disk::{Crash, Disk};
use super::network::{IDLE_TIMEOUT, Party, Upward, Way};
use super::peers::{proved, sign};
use super::projection::Projection;
use crate::engine::dispatcher::{
    DispatcherConfig, DispatcherEffects, DispatcherEngine, Inbound, LinkChange, Notice, Outbound,
};
use crate::model::handshake::{Answer, Hello, Intent};
use crate::model::limits::BACKLOG;
use crate::model::messages::{DispatcherMessage, WorkerMessage};
use crate::model::records::{BatchNo, Record};
use crate::model::trust::Voucher;
use crate::model::{JobId, LinkId, Millis, NodeId, Timestamp};

/// The dispatcher and what is its own.
pub(super) struct DispatcherNode {
    pub(super) engine: Option<DispatcherEngine>,
    /// Which start of it this is; what belongs to another start is void.
    start: u64,
    clock: Option<NodeClock>,
    /// Until when it stands still.
    pub(super) paused: Option<Timestamp>,
    pub(super) disk: Disk<Record>,
    /// What would survive a power loss.
    pub(super) synced: Projection,
    /// What a reader of the store sees.
    pub(super) written: Projection,
    /// Messages that wait for their batch to be written.
    plain: VecDeque<(BatchNo, LinkId, Outbound)>,
    /// Messages that wait for everything up to their batch to be synced. Those
    /// of the other queue may overtake them, unless the plan says otherwise.
    after_sync: VecDeque<(BatchNo, LinkId, Outbound)>,
    armed: Option<Timestamp>,
}

impl DispatcherNode {
    /// One that never ran.
    pub(super) fn new() -> Self {
        Self {
            engine: None,
            start: 0,
            clock: None,
            paused: None,
            disk: Disk::new(),
            synced: Projection::default(),
            written: Projection::default(),
            plain: VecDeque::new(),
            after_sync: VecDeque::new(),
            armed: None,
        }
    }

    /// Whether it runs and does not stand still.
    pub(super) fn answers(&self, now: Timestamp) -> bool {
        self.engine.is_some() && self.paused.is_none_or(|until| until <= now)
    }
}

impl Cluster {
    /// What the dispatcher runs with.
    pub(super) fn dispatcher_config(&self) -> DispatcherConfig {
        DispatcherConfig {
            node: key(0, 0),
            software: "1.0.0".to_owned(),
            max_workers: self.plan.max_workers,
            p2p: self.plan.mesh,
            backlog: if self.plan.mesh { BACKLOG } else { Millis(0) },
            ..DispatcherConfig::default()
        }
    }

    /// The dispatcher starts, with what its disk has kept.
    pub(super) fn dispatcher_up(&mut self) {
        assert!(self.dispatcher.engine.is_none(), "the dispatcher starts twice");
        let config = self.dispatcher_config();
        let now = self.agenda.now();
        let node = &mut self.dispatcher;
        node.start += 1;
        let clock = NodeClock::start(now, &mut self.dice.life);
        node.clock = Some(clock);
        let state = node.synced.open();
        node.written = node.synced.clone();
        self.ledger.dispatcher_starts(&state, &node.synced);
        let engine = DispatcherEngine::restore(config, clock.says(now), state);
        engine.check_invariants();
        node.engine = Some(engine);
        for (key, job) in &self.ledger.acknowledged {
            let row = node.synced.jobs.get(job).filter(|row| row.submitted.idempotency_key == *key);
            assert!(row.is_some() || self.ledger.forgettable.contains(job), "job {job} was acknowledged and is gone");
        }
        self.ledger.tallies.dispatcher_restarts += 1;
        self.with_dispatcher(|_, _| {});
    }

    /// The dispatcher goes down.
    pub(super) fn dispatcher_down(&mut self, how: Crash) {
        let node = &mut self.dispatcher;
        node.engine = None;
        node.start += 1;
        node.armed = None;
        node.plain.clear();
        node.after_sync.clear();
        for batch in node.disk.crash(how, &mut self.dice.disk) {
            self.ledger.synced(&batch, &node.synced);
            node.synced.apply(&batch);
        }
        self.ledger.crashed();
        if how == Crash::PowerLoss {
            // A twin may take the other's name, and with it its place on the roster.
            if !self.plan.twins {
                self.ledger.power_lost(&node.written);
            }
            node.synced.power_lost();
        }
        for link in self.network.all() {
            let below = self.dice.network.mostly_short(0, IDLE_TIMEOUT.0);
            self.network.kill(link, &mut self.dice.network);
            self.network.give_up(link, Way::Up);
            self.agenda.after(below, Event::Notice(link, Way::Down));
        }
    }

    /// Calls the engine, if it runs, and carries out what it wants.
    pub(super) fn with_dispatcher(&mut self, call: impl FnOnce(&mut DispatcherEngine, Timestamp)) {
        let now = self.agenda.now();
        let (Some(engine), Some(clock)) = (&mut self.dispatcher.engine, self.dispatcher.clock) else { return };
        call(engine, clock.says(now));
        let effects = engine.take_effects();
        if self.auditing {
            engine.check_invariants();
        }
        self.carry_out(effects);
        let due = self.dispatcher.engine.as_ref().and_then(DispatcherEngine::poll_timeout).map(|due| clock.when(due));
        if let Some(due) =
            due.map(|due| due.max(now)).filter(|due| self.dispatcher.armed.is_none_or(|armed| *due < armed))
        {
            self.dispatcher.armed = Some(due);
            self.agenda.at(due, Event::DispatcherTimer(self.dispatcher.start, due));
        }
    }

    fn carry_out(&mut self, effects: DispatcherEffects) {
        let now = self.agenda.now();
        let node = &mut self.dispatcher;
        let dice = &mut self.dice.disk;
        for notice in &effects.notices {
            if let Notice::PowerLossSettled { unheard } = notice {
                self.ledger.power_loss_settled(*unheard);
            }
        }
        // An end that a listing may show must stand, whoever is there to be told of it.
        let ends_job = effects.records.iter().any(|record| matches!(record, Record::JobEnded { .. }));
        if !effects.records.is_empty() {
            if self.plan.trace_messages {
                self.trace.note(now, format_args!("records {:?}", effects.records));
            }
            self.ledger.appended(now, &effects.records);
            let (batch, at) = node.disk.append(now, effects.records, dice);
            self.agenda.at(at, Event::Written(node.start, batch));
        }
        // The store syncs when it is asked to, and sometimes by itself (a checkpoint).
        if (ends_job || !effects.messages_after_sync.is_empty() || dice.percent(2))
            && let Some((upto, at)) = node.disk.sync(now, dice)
        {
            self.agenda.at(at, Event::Synced(node.start, upto));
        }
        let last = node.disk.last();
        node.plain.extend(effects.messages.into_iter().map(|(link, what)| (last, link, what)));
        node.after_sync.extend(effects.messages_after_sync.into_iter().map(|(link, what)| (last, link, what)));
        self.let_go();
    }

    /// Sends what no longer waits for the disk.
    fn let_go(&mut self) {
        let node = &mut self.dispatcher;
        let mut ready = Vec::new();
        while node.after_sync.front().is_some_and(|(batch, _, _)| node.disk.is_synced(*batch)) {
            ready.extend(node.after_sync.pop_front());
        }
        let behind = node.after_sync.front().map(|(batch, _, _)| *batch).filter(|_| self.plan.one_queue);
        let may_leave = |batch: BatchNo| node.disk.is_written(batch) && behind.is_none_or(|behind| batch <= behind);
        while node.plain.front().is_some_and(|(batch, _, _)| may_leave(*batch)) {
            ready.extend(node.plain.pop_front());
        }
        for (_, link, what) in ready {
            self.tell(link, what);
        }
    }

    /// Puts a message on the network. After a refusal or a farewell the dispatcher forgets the link.
    pub(super) fn tell(&mut self, link: LinkId, mut what: Outbound) {
        if let Outbound::ToWorker(DispatcherMessage::Grant(granted)) = &mut what
            && let Some(Party::Worker(number)) = self.network.peek(link).map(|known| known.party)
        {
            let worker = self.workers[number].key;
            granted.iter_mut().for_each(|granted| sign(worker, granted));
            self.ledger.granted(granted);
        }
        self.ledger.said(&what, &self.dispatcher.synced, &self.dispatcher.written);
        let last = matches!(what, Outbound::Close { .. } | Outbound::Answer(Answer::Refused(_)));
        if let Some(at) = self.network.send_down(self.agenda.now(), link, what, &mut self.dice.network) {
            self.agenda.at(at, Event::ArriveDown(link));
        }
        if last {
            self.network.give_up(link, Way::Up);
        }
    }

    /// A client has asked for a retry of `job`: its tasks may leave their terminal states.
    pub(super) fn permit_retry(&mut self, job: JobId) {
        for store in [&mut self.dispatcher.synced, &mut self.dispatcher.written] {
            if let Some(row) = store.jobs.get_mut(&job) {
                row.may_retry = true;
            }
        }
    }

    /// The disk has written everything up to `upto`.
    pub(super) fn dispatcher_written(&mut self, start: u64, upto: BatchNo) {
        let node = &mut self.dispatcher;
        if node.start == start {
            for batch in node.disk.written(upto) {
                node.written.apply(batch);
            }
            self.let_go();
        }
    }

    /// The disk has synced everything up to `upto`.
    pub(super) fn dispatcher_synced(&mut self, start: u64, upto: BatchNo) {
        let node = &mut self.dispatcher;
        if node.start == start {
            for batch in node.disk.synced(upto) {
                self.ledger.synced(&batch, &node.synced);
                node.synced.apply(&batch);
            }
            self.let_go();
            self.with_dispatcher(|engine, _| engine.handle_synced(upto));
        }
    }

    /// The dispatcher's timer rings.
    pub(super) fn dispatcher_timer(&mut self, start: u64, due: Timestamp) {
        if self.dispatcher.start == start && self.dispatcher.armed == Some(due) {
            self.dispatcher.armed = None;
            self.with_dispatcher(DispatcherEngine::handle_timeout);
        }
    }

    /// Something arrives at the dispatcher.
    pub(super) fn arrive_above(&mut self, link: LinkId, what: Upward) {
        match what {
            Upward::Hello { node, vouched, hello } => self.greeted(link, node, vouched, *hello),
            Upward::Closed => self.gone_above(link),
            Upward::Say(said) => {
                let said = self.opened(link, said);
                let repeats = self.network.weather.repeats;
                if repeats > 0 && self.dice.network.percent(repeats) {
                    self.ledger.tallies.repeats += 1;
                    let later = if repeatable_late(&said) {
                        self.dice.network.mostly_short(0, 60_000)
                    } else {
                        Default::default()
                    };
                    self.agenda.after(later, Event::AgainUp(link, Box::new(said.clone())));
                }
                self.hear_above(link, said);
            }
        }
    }

    /// A message as the shell hands it in: proofs as what they say, those that hold.
    fn opened(&self, link: LinkId, said: Inbound) -> Inbound {
        let Inbound::Worker(WorkerMessage::TookOver(taken)) = &said else { return said };
        let Some(Party::Worker(number)) = self.network.peek(link).map(|known| known.party) else { return said };
        let receiver = self.workers[number].key;
        Inbound::HandedOver(taken.iter().filter_map(|taken| proved(receiver, taken)).collect())
    }

    fn greeted(&mut self, link: LinkId, node: NodeId, vouched: Voucher, hello: Hello) {
        let Some(known) = self.network.link(link) else { return };
        if self.dispatcher.engine.is_none() {
            return;
        }
        known.known_above = true;
        // A guard has its worker's key, and says nothing for it.
        if matches!(hello.intent, Intent::Worker(_)) {
            self.ledger.silence.heard(self.agenda.now(), node);
        }
        let change = LinkChange::Up { node, hello, vouched: Some(vouched) };
        self.with_dispatcher(|engine, now| engine.handle_link(now, link, change));
    }

    /// The dispatcher hears something on a link it knows.
    pub(super) fn hear_above(&mut self, link: LinkId, said: Inbound) {
        if self.network.link(link).is_some_and(|known| known.known_above) {
            if self.plan.trace_messages {
                self.trace.note(self.agenda.now(), format_args!("{link:?} up {said:?}"));
            }
            if let (Inbound::Worker(_) | Inbound::HandedOver(_), Some(Party::Worker(number))) =
                (&said, self.network.peek(link).map(|link| link.party))
            {
                self.ledger.silence.heard(self.agenda.now(), self.workers[number].key);
            }
            self.with_dispatcher(|engine, now| engine.handle_message(now, link, said));
        }
    }

    /// The dispatcher notices that a link is gone.
    pub(super) fn gone_above(&mut self, link: LinkId) {
        let knew = self.network.link(link).is_some_and(|known| known.known_above);
        self.network.give_up(link, Way::Up);
        if knew {
            self.with_dispatcher(|engine, now| engine.handle_link(now, link, LinkChange::Down));
        }
    }
}

/// Messages about single attempts may come again much later; those that speak
/// of the whole state only at once, because on one link they are never sent anew.
fn repeatable_late(said: &Inbound) -> bool {
    !matches!(said, Inbound::Worker(WorkerMessage::Holding(_) | WorkerMessage::Stopping) | Inbound::Request { .. })
}

/// Likewise for the other direction.
pub(super) fn repeatable_late_below(said: &DispatcherMessage) -> bool {
    !matches!(
        said,
        DispatcherMessage::Drain
            | DispatcherMessage::Resume
            | DispatcherMessage::KeyCopied
            | DispatcherMessage::ForgetJobs(_)
            | DispatcherMessage::Learn(_)
    )
}
