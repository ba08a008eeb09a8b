//! A small model of a network, to see what several fetches make of each other.
//!
//! Every node has one link with one speed either way; what it sends and what it receives queues there, piece by piece.
//! Invariant: the seed decides everything. Absent: loss, and everything else that a real network does.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::Digest;
use crate::model::files::BlobRef;
use crate::model::limits::PIECE_BYTES;

/// One way through the network.
const LATENCY: u64 = 300;

/// How a node treats those who ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temper {
    Honest,
    /// Never answers.
    Silent,
    /// Answers, and sends nothing.
    Stalling,
    /// Sends damaged pieces.
    Lying,
}

enum Event {
    Opened(usize, SessionNo, Way),
    Asked(usize, SessionNo, usize, Pieces),
    Answer(usize, SessionNo, Pieces),
    Piece(usize, SessionNo, u64, bool),
    Answered(usize, SessionNo),
    Holders(usize),
}

struct Node {
    has: IntervalSet,
    fetch: Option<Fetch>,
    done_at: Option<Timestamp>,
    up_free: u64,
    down_free: u64,
    sent: u64,
    temper: Temper,
    /// What each session was told last.
    told: BTreeMap<(usize, SessionNo), IntervalSet>,
}

/// Node 0 is the dispatcher and has everything; the others fetch it, or serve what they have.
pub(super) struct Swarm {
    now: u64,
    next: u64,
    events: BTreeMap<(u64, u64), Event>,
    nodes: Vec<Node>,
    blob: BlobRef,
    /// Microseconds that a piece takes on a link.
    pub(super) piece_takes: u64,
    pub(super) notices: Vec<(usize, Notice)>,
    /// Pairs that do not reach each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
}

pub(super) fn node_id(node: usize) -> NodeId {
    NodeId([node as u8; 32])
}

fn number(node: NodeId) -> usize {
    usize::from(node.0[0])
}

impl Swarm {
    /// `receivers` of a blob of so many pieces that the dispatcher has.
    pub(super) fn new(seed: u64, receivers: usize, pieces: u64, piece_takes: u64) -> Self {
        let blob = BlobRef { digest: Digest([1; 32]), bytes: pieces * PIECE_BYTES };
        let node = |has| Node {
            has,
            fetch: None,
            done_at: None,
            up_free: 0,
            down_free: 0,
            sent: 0,
            temper: Temper::Honest,
            told: BTreeMap::new(),
        };
        let all = IntervalSet::from_range(0, pieces - 1);
        let mut nodes = vec![node(all.clone())];
        for receiver in 1..=receivers {
            let wishes = vec![BlobWish { blob, pieces: all.clone() }];
            let config = FetchConfig { seed: seed.wrapping_mul(1000) + receiver as u64, p2p: true };
            let mut receiver = node(IntervalSet::new());
            receiver.fetch = Some(Fetch::new(Timestamp(0), wishes, config, &[]));
            nodes.push(receiver);
        }
        let (events, notices) = (BTreeMap::new(), Vec::new());
        Self { now: 0, next: 0, events, nodes, blob, piece_takes, notices, cut: BTreeSet::new() }
    }

    /// Makes a receiver one that has everything already, and behaves like this.
    pub(super) fn holder(&mut self, node: usize, temper: Temper) {
        self.nodes[node].has = IntervalSet::from_range(0, self.blob.pieces() - 1);
        self.nodes[node].fetch = None;
        self.nodes[node].temper = temper;
    }

    /// The dispatcher does not have it.
    pub(super) fn empty_dispatcher(&mut self) {
        self.nodes[0].has = IntervalSet::new();
    }

    /// Runs until everybody has everything; says when each had, in order, and how many pieces each node sent.
    pub(super) fn run(&mut self) -> (Vec<Timestamp>, Vec<u64>) {
        (0..self.nodes.len()).for_each(|node| self.perform(node));
        while self.nodes.iter().any(|node| node.fetch.is_some()) {
            let due = (1..self.nodes.len())
                .filter_map(|node| Some((self.nodes[node].fetch.as_ref()?.poll_timeout()?.0, node)))
                .min();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timeout_first = match (due, event) {
                (Some((due, _)), Some(at)) => due < at,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => panic!("everybody waits for nothing"),
            };
            let touched = if timeout_first {
                let (at, node) = due.unwrap();
                assert!(at.max(self.now) < 600_000_000, "it does not come to an end");
                self.now = self.now.max(at);
                self.nodes[node].fetch.as_mut().unwrap().handle_timeout(Timestamp(self.now));
                node
            } else {
                let ((at, _), event) = self.events.pop_first().unwrap();
                self.now = at;
                self.happen(event)
            };
            self.perform(touched);
        }
        let done = self.nodes.iter().filter_map(|node| node.done_at).collect();
        (done, self.nodes.iter().map(|node| node.sent).collect())
    }

    fn at(&mut self, at: u64, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    fn source(way: Way) -> usize {
        way.holder().map_or(0, number)
    }

    fn perform(&mut self, node: usize) {
        let Some(fetch) = self.nodes[node].fetch.as_mut() else { return };
        let (orders, notices, is_done) = (fetch.take_orders(), fetch.take_notices(), fetch.is_done());
        self.notices.extend(notices.into_iter().map(|notice| (node, notice)));
        let soon = self.now + 2 * LATENCY;
        for order in orders {
            match order {
                Order::Consult => self.at(soon, Event::Holders(node)),
                Order::Open { session, way } => self.at(soon, Event::Opened(node, session, way)),
                Order::Ask { session, pieces } => {
                    let fetch = self.nodes[node].fetch.as_ref().unwrap();
                    let source = Self::source(fetch.sessions[&session]);
                    self.at(self.now + LATENCY, Event::Asked(source, session, node, pieces));
                }
                Order::Close { .. } => {}
            }
        }
        if is_done {
            self.nodes[node].fetch = None;
            self.nodes[node].done_at = Some(Timestamp(self.now));
        }
    }

    /// Says which node has to be asked for orders.
    fn happen(&mut self, event: Event) -> usize {
        let now = Timestamp(self.now);
        match event {
            Event::Holders(node) => {
                let others = (1..self.nodes.len()).filter(|other| *other != node);
                let peers = others.map(|other| (node_id(other), IntervalSet::from_range(0, 0))).collect();
                let here =
                    if self.nodes[0].has.is_empty() { IntervalSet::new() } else { IntervalSet::from_range(0, 0) };
                let share = (node as u32 - 1, self.nodes.len() as u32 - 1);
                self.tell(node, |fetch| fetch.handle_holders(now, Holders { here, peers, share }));
                node
            }
            Event::Opened(node, session, way) => {
                let source = Self::source(way);
                let pair = (node.min(source), node.max(source));
                let cut = matches!(way, Way::Direct(_)) && self.cut.contains(&pair);
                if !cut && self.nodes[source].temper != Temper::Silent {
                    let news = self.news(source, session, node);
                    self.tell(node, |fetch| fetch.handle_answer(now, session, news));
                }
                node
            }
            Event::Asked(source, session, node, pieces) => {
                self.serve(source, session, node, &pieces);
                node
            }
            Event::Answer(node, session, news) => {
                self.tell(node, |fetch| fetch.handle_answer(now, session, news));
                node
            }
            Event::Piece(node, session, number, is_good) => {
                if is_good {
                    self.nodes[node].has.insert(number);
                    self.tell(node, |fetch| fetch.handle_bytes(now, session, PIECE_BYTES));
                    self.tell(node, |fetch| fetch.handle_piece(now, session, 0, number));
                } else {
                    self.tell(node, |fetch| fetch.handle_failure(now, session, Fault::Damaged { place: 0 }));
                }
                node
            }
            Event::Answered(node, session) => {
                self.tell(node, |fetch| fetch.handle_answered(now, session));
                node
            }
        }
    }

    fn tell(&mut self, node: usize, what: impl FnOnce(&mut Fetch)) {
        if let Some(fetch) = self.nodes[node].fetch.as_mut() {
            what(fetch);
        }
    }

    fn news(&mut self, source: usize, session: SessionNo, reader: usize) -> Pieces {
        let has = self.nodes[source].has.clone();
        let told = self.nodes[source].told.insert((reader, session), has.clone());
        if told.as_ref() == Some(&has) { Vec::new() } else { vec![(0, has)] }
    }

    fn serve(&mut self, source: usize, session: SessionNo, node: usize, pieces: &Pieces) {
        let is_open = self.nodes[node].fetch.as_ref().is_some_and(|fetch| fetch.sessions.contains_key(&session));
        if !is_open || self.nodes[source].temper == Temper::Stalling && !pieces.is_empty() {
            return;
        }
        let news = self.news(source, session, node);
        self.at(self.now + LATENCY, Event::Answer(node, session, news));
        let mut end = self.now + LATENCY;
        for number in pieces.iter().flat_map(|(_, numbers)| numbers.iter()) {
            if !self.nodes[source].has.contains(number) {
                continue;
            }
            let start = self.nodes[source].up_free.max(self.now);
            self.nodes[source].up_free = start + self.piece_takes;
            let arrives = start.max(self.nodes[node].down_free) + self.piece_takes;
            self.nodes[node].down_free = arrives;
            self.nodes[source].sent += 1;
            end = arrives + LATENCY;
            let is_good = self.nodes[source].temper != Temper::Lying;
            self.at(end, Event::Piece(node, session, number, is_good));
        }
        self.at(end + 1, Event::Answered(node, session));
    }
}

/// 1 MiB at 100 Mbit/s.
const HUNDRED_MBIT: u64 = 83_886;

#[test]
fn six_receivers_of_one_blob_have_it_in_little_more_than_the_time_of_one_copy() {
    for seed in 0..20 {
        let mut swarm = Swarm::new(seed, 6, 128, HUNDRED_MBIT);
        let (done, sent) = swarm.run();
        let (last, one_copy) = (done.iter().max().unwrap().0, 128 * HUNDRED_MBIT);
        assert_eq!(done.len(), 6);
        assert!(last < one_copy * 13 / 10, "seed {seed}: {last} µs where one copy takes {one_copy} µs");
        assert!(sent[0] <= 128 * 5 / 4, "seed {seed}: the dispatcher sent {} pieces of 128", sent[0]);
    }
}

#[test]
fn without_each_other_they_would_take_as_many_copies_as_they_are() {
    let mut swarm = Swarm::new(1, 6, 32, HUNDRED_MBIT);
    for one in 1..=6 {
        for other in 1..=6 {
            swarm.cut.insert((one, other));
        }
    }
    for node in 1..=6 {
        let config = FetchConfig { seed: 1, p2p: false };
        let wishes = vec![BlobWish { blob: swarm.blob, pieces: IntervalSet::from_range(0, 31) }];
        swarm.nodes[node].fetch = Some(Fetch::new(Timestamp(0), wishes, config, &[]));
    }
    let (done, sent) = swarm.run();
    assert_eq!(sent[0], 6 * 32);
    assert!(done.iter().max().unwrap().0 > 5 * 32 * HUNDRED_MBIT);
}

#[test]
fn several_holders_are_faster_than_one_and_the_dispatcher_sends_nothing_that_it_does_not_have() {
    let mut swarm = Swarm::new(3, 4, 60, HUNDRED_MBIT);
    swarm.empty_dispatcher();
    (2..=4).for_each(|node| swarm.holder(node, Temper::Honest));
    let (_, sent) = swarm.run();
    assert_eq!((sent[0], sent[2..].iter().sum::<u64>()), (0, 60), "each piece is sent once");
    assert!(sent[2..].iter().all(|sent| *sent >= 10), "all three do their part: {sent:?}");
}

#[test]
fn bad_sources_are_named_and_the_blob_comes_all_the_same() {
    for (temper, fault) in [
        (Temper::Silent, Fault::Unreachable),
        (Temper::Stalling, Fault::Stalled),
        (Temper::Lying, Fault::Damaged { place: 0 }),
    ] {
        let mut swarm = Swarm::new(4, 3, 40, HUNDRED_MBIT);
        swarm.empty_dispatcher();
        swarm.holder(2, temper);
        swarm.holder(3, Temper::Honest);
        let (done, sent) = swarm.run();
        let named = Notice::Failed { way: Way::Direct(node_id(2)), fault };
        assert!(swarm.notices.contains(&(1, named)), "{:?}", swarm.notices);
        assert!(sent[3] >= 40 && done.len() == 1);
        let asked_again = swarm.notices.iter().filter(|(_, notice)| *notice == named).count();
        assert!(temper != Temper::Lying || asked_again == 1, "who lies is asked no more");
    }
}

#[test]
fn what_cannot_come_straight_comes_through_the_dispatcher() {
    let mut swarm = Swarm::new(5, 2, 40, HUNDRED_MBIT);
    swarm.empty_dispatcher();
    swarm.holder(2, Temper::Honest);
    swarm.cut.insert((1, 2));
    let (done, _) = swarm.run();
    assert_eq!(done.len(), 1);
    let relaying = Notice::Relaying { holder: node_id(2), fault: Fault::Unreachable };
    assert!(swarm.notices.contains(&(1, relaying)), "{:?}", swarm.notices);
}

#[test]
fn the_same_seed_gives_the_same_swarm() {
    let run = |seed| Swarm::new(seed, 5, 50, 10_000).run();
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}
