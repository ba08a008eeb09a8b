//! A whole cluster in one thread: the nodes, what connects them, and the loop
//! that lets one thing happen after another.
//!
//! Invariant: nothing happens but by an event of the agenda, and every random
//! choice comes from the dice of the part that makes it.

use std::collections::BTreeMap;

use super::admin::{Chore, What};
use super::agenda::Agenda;
use super::client::{ClientNode, Errand, Question};
use super::dice::Dice;
use super::dispatcher::DispatcherNode;
use super::faults::{self, Fault};
use super::idle::Idleness;
use super::ledger::Ledger;
use super::network::{Network, Party, Upward, Way, fair};
use super::peers::{Pair, Peers, Said};
use super::plan::Plan;
use super::process::Character;
use super::trace::Trace;
use super::worker::WorkerNode;
use super::workload;
use crate::engine::dispatcher::{Inbound, Outbound};
use crate::engine::worker::WorkerEngine;
use crate::model::records::BatchNo;
use crate::model::{Fence, InstanceId, LinkId, Millis, NodeId, RequestId, Timestamp};

/// When simulations begin: late enough that a clock can be a day behind.
const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Things that happen.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The fault with this number begins.
    Fault(usize),
    /// The dispatcher's machine loses its power for so long.
    PowerCut(Millis),
    /// The weather and the disk are fair again.
    Calm,
    /// The next message of a link arrives at the dispatcher.
    ArriveUp(LinkId),
    /// The next message of a link arrives at its party.
    ArriveDown(LinkId),
    /// A message to the dispatcher arrives a second time.
    AgainUp(LinkId, Box<Inbound>),
    /// A message from the dispatcher arrives a second time.
    AgainDown(LinkId, Box<Outbound>),
    /// One end of a dead link notices it: the dispatcher's (`Up`) or its party's.
    Notice(LinkId, Way),
    /// A party without a link tries to get one.
    Dial(Party),
    /// A party gives up waiting for an answer.
    DialTimeout(Party, LinkId),
    /// A client's request arrives at the dispatcher.
    Ask(LinkId, RequestId, Question),
    /// A client's request stream closes.
    AskGone(LinkId, RequestId),
    /// The dispatcher starts.
    DispatcherUp,
    /// The dispatcher's timer, of this start of it and set to this instant.
    DispatcherTimer(u64, Timestamp),
    /// The dispatcher's disk has written this much.
    Written(u64, BatchNo),
    /// The dispatcher's disk has synced this much.
    Synced(u64, BatchNo),
    /// A worker starts.
    WorkerUp(usize),
    /// A worker's timer, likewise.
    WorkerTimer(usize, u64, Timestamp),
    /// A worker that stood still goes on.
    Awake(usize),
    /// A worker's outbox is synced this far.
    OutboxSynced(usize, u64, BatchNo),
    /// A simulated process does what it does next, by this plan of it.
    Process { worker: usize, start: u64, fence: Fence, plan: u64 },
    /// A client submits a wish.
    Submit(usize),
    /// A client wants a wish cancelled.
    Cancel(usize),
    /// A client of a `run` has shown some of its output.
    Shown(usize),
    /// Two workers try to get a direct link.
    PeerDial(Pair),
    /// The next message of a direct link, by its number, arrives from this end.
    PeerArrive(Pair, u64, usize),
    /// A message between workers arrives a second time, or from a link that is gone.
    PeerAgain(Pair, usize, NodeId, Box<Said>),
    /// One end of a dead direct link notices it.
    PeerNotice(Pair, u64, usize),
    /// A start of a worker tells its peers how it stands.
    PeerBeat(usize, InstanceId),
    /// Time to look for idle slots.
    LookAround,
    /// An admin wants a worker to work again.
    Resume(usize),
    /// All faults have been over for long enough that nothing of them is under way.
    Aftermath,
}

/// Dice for each part, so that they do not disturb each other.
#[derive(Debug)]
pub(super) struct DiceBox {
    pub(super) network: Dice,
    pub(super) disk: Dice,
    pub(super) life: Dice,
    pub(super) peers: Dice,
}

/// The cluster.
pub(super) struct Cluster {
    pub(super) plan: Plan,
    pub(super) agenda: Agenda<Event>,
    pub(super) trace: Trace,
    pub(super) dice: DiceBox,
    pub(super) network: Network,
    pub(super) peers: Peers,
    pub(super) idleness: Idleness,
    pub(super) dispatcher: DispatcherNode,
    pub(super) workers: Vec<WorkerNode>,
    pub(super) clients: Vec<ClientNode>,
    pub(super) errands: Vec<Errand>,
    /// What admins want done about workers.
    pub(super) chores: Vec<Chore>,
    /// Fresh keys that workers have made.
    pub(super) keys: usize,
    /// By the job's name.
    pub(super) characters: BTreeMap<String, Character>,
    pub(super) faults: Vec<Fault>,
    pub(super) ledger: Ledger,
    /// Guards of killed workers that have not spoken, with the instance that has ended.
    pub(super) guards: BTreeMap<usize, InstanceId>,
    /// Requests asked so far; also their numbers.
    pub(super) requests: u64,
    /// Whether this step is one to audit.
    pub(super) auditing: bool,
    steps: u64,
    begin: Timestamp,
}

impl Cluster {
    /// A cluster by `plan` whose nodes are about to start.
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut agenda = Agenda::new(BEGIN);
        let mut setup = dice.fork();
        let wishes = workload::wishes(&plan, &mut setup);
        let characters = wishes.iter().map(|wish| (wish.key.clone(), wish.character)).collect();
        let mut faults = Vec::new();
        for (at, fault) in faults::schedule(&plan, BEGIN, &mut setup) {
            agenda.at(at, Event::Fault(faults.len()));
            faults.push(fault);
        }
        agenda.at(BEGIN, Event::DispatcherUp);
        agenda.at(BEGIN + plan.span + Millis::from_secs(60), Event::Aftermath);
        let workers: Vec<_> = (0..plan.workers)
            .map(|number| {
                agenda.at(BEGIN + setup.mostly_short(0, 2_000), Event::WorkerUp(number));
                WorkerNode::new(key(1, number), workload::profile(number, &plan, &mut setup))
            })
            .collect();
        let clients: Vec<_> = (0..plan.clients)
            .map(|number| {
                agenda.at(BEGIN, Event::Dial(Party::Client(number)));
                ClientNode::new(key(2, number))
            })
            .collect();
        let errands: Vec<_> = wishes.into_iter().map(|wish| Errand::new(wish, setup.index(plan.clients))).collect();
        for (number, errand) in errands.iter().enumerate() {
            agenda.at(BEGIN + errand.wish.at, Event::Submit(number));
        }
        let (network, disk, life, peers) = (dice.fork(), dice.fork(), dice.fork(), dice.fork());
        if plan.watch_idle {
            agenda.at(BEGIN, Event::LookAround);
        }
        Self {
            agenda,
            trace: Trace::new(plan.aloud),
            dice: DiceBox { network, disk, life, peers },
            network: Network::new(fair(&plan)),
            peers: Peers::default(),
            idleness: Idleness::default(),
            dispatcher: DispatcherNode::new(),
            workers,
            clients,
            errands,
            chores: Vec::new(),
            keys: 0,
            characters,
            faults,
            ledger: Ledger::default(),
            guards: BTreeMap::new(),
            requests: 0,
            auditing: true,
            steps: 0,
            begin: BEGIN,
            plan,
        }
    }

    /// Lets the next thing happen.
    pub(super) fn step(&mut self) {
        let Some(event) = self.agenda.next() else { panic!("nothing will ever happen again") };
        self.steps += 1;
        self.auditing = self.steps.is_multiple_of(self.plan.audit_every);
        let now = self.agenda.now();
        if let Some(until) = self.held_up(&event) {
            self.agenda.at(until, event);
            return;
        }
        match &event {
            Event::AgainUp(..) | Event::AgainDown(..) | Event::Ask(..) if !self.plan.trace_messages => {}
            _ => self.trace.note(now, format_args!("{event:?}")),
        }
        self.happen(event);
    }

    /// Until when `event` has to wait because its node stands still or is cut off.
    fn held_up(&self, event: &Event) -> Option<Timestamp> {
        let now = self.agenda.now();
        let above = || self.dispatcher.paused.filter(|until| *until > now);
        let party = |party: Party| match party {
            Party::Worker(number) => self.workers[number].paused_until(now),
            Party::Client(_) | Party::Guard(_) => None,
        };
        let link = |link: &LinkId, way: Way| {
            let end = self.network.peek(*link)?.party;
            let cut = self.network.held_up(now, end, way);
            cut.or_else(|| if way == Way::Up { above() } else { party(end) })
        };
        match event {
            Event::ArriveUp(id) | Event::AgainUp(id, _) | Event::Ask(id, ..) | Event::AskGone(id, _) => {
                link(id, Way::Up)
            }
            Event::ArriveDown(id) | Event::AgainDown(id, _) => link(id, Way::Down),
            Event::Notice(_, Way::Up) | Event::DispatcherTimer(..) | Event::Written(..) | Event::Synced(..) => above(),
            Event::Notice(id, Way::Down) => party(self.network.peek(*id)?.party),
            Event::Dial(end) | Event::DialTimeout(end, _) => party(*end),
            Event::PeerArrive(pair, _, end) | Event::PeerAgain(pair, end, ..) => {
                let to = if *end == 0 { pair.1 } else { pair.0 };
                self.peer_cut(*pair).or_else(|| self.workers[to].paused_until(now))
            }
            Event::PeerNotice(pair, _, end) => self.workers[if *end == 0 { pair.0 } else { pair.1 }].paused_until(now),
            Event::PeerBeat(number, _) => self.workers[*number].paused_until(now),
            Event::WorkerTimer(number, ..) | Event::OutboxSynced(number, ..) => self.workers[*number].paused_until(now),
            // What was left of a process's time is left of it afterwards.
            Event::Process { worker, .. } => self.workers[*worker].resumed(now),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fault(number) => self.go_wrong(number),
            Event::PowerCut(down) => self.power_cut(down),
            Event::Calm => self.calm_down(),
            Event::ArriveUp(link) => {
                if let Some(what) = self.network.arrive_up(link) {
                    self.arrive_above(link, what);
                }
            }
            Event::ArriveDown(link) => {
                if let Some(what) = self.network.arrive_down(link) {
                    self.arrive_below(link, what, true);
                }
            }
            Event::AgainUp(link, what) => self.hear_above(link, *what),
            Event::AgainDown(link, what) => self.arrive_below(link, *what, false),
            Event::Notice(link, Way::Up) => self.gone_above(link),
            Event::Notice(link, Way::Down) => self.gone_below(link),
            Event::Dial(party) => self.dial(party),
            Event::DialTimeout(party, link) => self.dial_timeout(party, link),
            Event::Ask(link, request, question) => self.asked(link, request, question),
            Event::AskGone(link, request) => self.hear_above(link, Inbound::RequestGone(request)),
            Event::DispatcherUp => self.dispatcher_up(),
            Event::DispatcherTimer(start, due) => self.dispatcher_timer(start, due),
            Event::Written(start, upto) => self.dispatcher_written(start, upto),
            Event::Synced(start, upto) => self.dispatcher_synced(start, upto),
            Event::WorkerUp(number) => self.worker_up(number),
            Event::WorkerTimer(number, start, due) => self.worker_timer(number, start, due),
            Event::Awake(number) => self.with_worker(number, WorkerEngine::handle_timeout),
            Event::OutboxSynced(number, start, upto) => self.outbox_synced(number, start, upto),
            Event::Process { worker, start, fence, plan } => self.process_step(worker, start, fence, plan),
            Event::Submit(number) => self.set_out(number),
            Event::Cancel(number) => self.want_cancelled(number),
            Event::Shown(number) => self.output_shown(number),
            Event::Resume(worker) => self.begin_chore(worker, What::Resume),
            Event::Aftermath => self.resume_all(),
            Event::PeerDial(pair) => self.peer_dial(pair),
            Event::PeerArrive(pair, link, end) => self.peer_arrive(pair, link, end),
            Event::PeerAgain(pair, end, from, said) => self.peer_hears(pair, end, from, *said),
            Event::PeerNotice(pair, link, end) => self.peer_notice(pair, link, end),
            Event::PeerBeat(number, instance) => self.peer_beat(number, instance),
            Event::LookAround => self.look_around(),
        }
    }

    /// True time.
    pub(super) fn now(&self) -> Timestamp {
        self.agenda.now()
    }

    /// Steps so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// True time since the beginning.
    pub(super) fn elapsed(&self) -> Millis {
        self.agenda.now().since(self.begin)
    }

    /// A message on its way to the dispatcher.
    pub(super) fn send_up(&mut self, link: LinkId, what: Upward) {
        let at = self.network.send_up(self.agenda.now(), link, what, &mut self.dice.network);
        if let Some(at) = at {
            self.agenda.at(at, Event::ArriveUp(link));
        }
    }

    /// A link dies; its ends notice it after these spans.
    pub(super) fn kill_link(&mut self, link: LinkId, above: Millis, below: Millis) {
        self.network.kill(link, &mut self.dice.network);
        self.agenda.after(above, Event::Notice(link, Way::Up));
        self.agenda.after(below, Event::Notice(link, Way::Down));
    }
}

/// The key of node `number` of a kind.
pub(super) fn key(kind: u8, number: usize) -> NodeId {
    let mut key = [kind; 32];
    // Among the first 63 bits, by which clients are told apart.
    key[1..5].copy_from_slice(&(number as u32).to_be_bytes());
    key[24..].copy_from_slice(&(number as u64).to_be_bytes());
    NodeId(key)
}

/// A number nobody else has drawn.
pub(super) fn instance(dice: &mut Dice) -> InstanceId {
    InstanceId(dice.number())
}
