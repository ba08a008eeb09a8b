//! Direct links between simulated workers: as lossy as those to the dispatcher.
//!
//! Invariant: within a link and direction messages arrive in the order they
//! were sent and none is left out, until the link dies; of what is under way
//! then a prefix arrives, perhaps after the next link stands. Absent: trust; a
//! proof here is what it would say, and whoever reads it checks the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, Event};
use super::network::{IDLE_TIMEOUT, Lane};
use crate::engine::dispatcher::ProvedHandOver;
use crate::engine::worker::{PeerFact, PeerOrder, ProvedOffer};
use crate::model::messages::FencedAttempt;
use crate::model::offload::{GrantedAttempt, HandOverProof, OfferAnswer, SignedBytes, TakenOver};
use crate::model::{AttemptId, Fence, InstanceId, Millis, NodeId, SealedSpec, Timestamp};

/// How often a worker says how it stands when nothing has changed.
const SAID_EVERY: Millis = Millis::from_secs(2);

/// Two workers, the smaller number first.
pub(super) type Pair = (usize, usize);

/// What a grant says, as the dispatcher would sign it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Granted {
    attempt: AttemptId,
    worker: NodeId,
    fences: (Fence, Fence),
    expires_at: Timestamp,
}

/// What a hand-over says, as the giver would sign it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Statement {
    of: Fence,
    receiver: NodeId,
    instance: InstanceId,
}

/// What one worker says to another.
#[derive(Debug, Clone)]
pub(super) enum Said {
    /// How it stands.
    Stands { instance: InstanceId, free_slots: u32, accepting: bool },
    /// An offer.
    Offer { taken: TakenOver, spec: Option<SealedSpec> },
    /// The answer to one.
    Answer(OfferAnswer),
}

/// One link between two workers.
#[derive(Debug)]
struct PeerLink {
    number: u64,
    /// From the smaller number to the greater one, and back.
    lanes: [Lane<(NodeId, Said)>; 2],
    /// Whether each end believes in it.
    known: [bool; 2],
}

/// All direct links.
#[derive(Debug, Default)]
pub(super) struct Peers {
    links: BTreeMap<Pair, PeerLink>,
    opened: u64,
    cut: BTreeMap<Pair, Timestamp>,
    /// What each worker last said of itself.
    said: BTreeMap<usize, (u32, bool)>,
}

fn pair(a: usize, b: usize) -> Pair {
    (a.min(b), a.max(b))
}

/// Which end of the pair this is.
fn end_of(pair: Pair, worker: usize) -> usize {
    usize::from(worker == pair.1)
}

fn encoded<T: Serialize>(value: &T) -> SignedBytes {
    let mut bytes = Vec::new();
    if ciborium::into_writer(value, &mut bytes).is_err() {
        panic!("a simulated statement does not encode");
    }
    SignedBytes(bytes)
}

fn opened<T: serde::de::DeserializeOwned>(bytes: &SignedBytes) -> T {
    match ciborium::from_reader(&bytes.0[..]) {
        Ok(value) => value,
        Err(error) => panic!("a simulated statement does not decode: {error}"),
    }
}

/// Signs a grant for `worker` as the dispatcher's shell does.
pub(super) fn sign(worker: NodeId, granted: &mut GrantedAttempt) {
    let GrantedAttempt { attempt, spare, expires_at, .. } = *granted;
    let fences = (attempt.fence, spare);
    granted.grant = encoded(&Granted { attempt: attempt.id, worker, fences, expires_at });
}

/// What a proof that `receiver` shows comes to, as the dispatcher's shell finds out.
pub(super) fn proved(receiver: NodeId, taken: &TakenOver) -> Option<ProvedHandOver> {
    let granted: Granted = opened(&taken.proof.grant);
    let statement: Statement = opened(&taken.proof.statement);
    let same = granted.attempt == taken.attempt.id && granted.fences.1 == taken.attempt.fence;
    let holds = same && statement.of == granted.fences.0 && statement.receiver == receiver;
    holds.then_some(ProvedHandOver { attempt: taken.attempt, first: granted.fences.0, giver: granted.worker })
}

impl Cluster {
    /// A worker is there: it looks for its peers, and tells them how it stands.
    pub(super) fn meet_peers(&mut self, number: usize) {
        if !self.plan.mesh {
            return;
        }
        for other in (0..self.workers.len()).filter(|other| *other != number) {
            let soon = self.dice.peers.mostly_short(1, 1_000);
            self.agenda.after(soon, Event::PeerDial(pair(number, other)));
        }
        self.agenda.after(SAID_EVERY, Event::PeerBeat(number, self.workers[number].instance));
    }

    /// Two workers try to get a link.
    pub(super) fn peer_dial(&mut self, pair: Pair) {
        let now = self.agenda.now();
        if self.peers.links.contains_key(&pair) {
            return;
        }
        let up = |number: usize| {
            let node = &self.workers[number];
            // Only whoever a dispatcher has let in is on the roster.
            node.engine.is_some() && !node.is_out && node.name.is_some() && node.paused_until(now).is_none()
        };
        if !up(pair.0) || !up(pair.1) || self.peer_cut(pair).is_some() {
            if self.workers[pair.0].engine.is_some() && self.workers[pair.1].engine.is_some() {
                let again = Millis(500 + self.dice.peers.mostly_short(0, 3_000).0);
                self.agenda.after(again, Event::PeerDial(pair));
            }
            return;
        }
        self.peers.opened += 1;
        let link = PeerLink { number: self.peers.opened, lanes: [Lane::new(), Lane::new()], known: [true; 2] };
        self.peers.links.insert(pair, link);
        self.say_standing(pair.0, Some(pair.1));
        self.say_standing(pair.1, Some(pair.0));
    }

    /// A worker says how it stands though nothing has changed.
    pub(super) fn peer_beat(&mut self, number: usize, instance: InstanceId) {
        if self.workers[number].engine.is_some() && self.workers[number].instance == instance {
            self.say_standing(number, None);
            self.agenda.after(SAID_EVERY, Event::PeerBeat(number, instance));
        }
    }

    /// A worker's engine has done something: its peers are told when it stands otherwise than they know.
    pub(super) fn tell_peers(&mut self, number: usize) {
        let Some(engine) = &self.workers[number].engine else { return };
        let (free, ready, accepting) = engine.vacancy();
        let free = free.saturating_sub(ready);
        if self.plan.mesh && self.peers.said.insert(number, (free, accepting)) != Some((free, accepting)) {
            self.say_standing(number, None);
        }
    }

    fn say_standing(&mut self, number: usize, only: Option<usize>) {
        let node = &self.workers[number];
        let Some(engine) = &node.engine else { return };
        let (free, ready, accepting) = engine.vacancy();
        let free_slots = free.saturating_sub(ready);
        let said = Said::Stands { instance: node.instance, free_slots, accepting };
        let linked = self.peers.links.keys().filter_map(|(a, b)| match number {
            _ if *a == number => Some(*b),
            _ if *b == number => Some(*a),
            _ => None,
        });
        let to: Vec<usize> = linked.filter(|other| only.is_none_or(|only| only == *other)).collect();
        for other in to {
            self.say_to_peer(number, other, said.clone());
        }
    }

    /// Sends to a peer; says whether there was a link to send on.
    fn say_to_peer(&mut self, from: usize, to: usize, said: Said) -> bool {
        let (pair, now) = (pair(from, to), self.agenda.now());
        let delay = self.network.delay(&mut self.dice.peers);
        let key = self.workers[from].key;
        let Some(link) = self.peers.links.get_mut(&pair) else { return false };
        let end = end_of(pair, from);
        if !link.known[end] {
            return false;
        }
        let number = link.number;
        if let Some(at) = link.lanes[end].send(now + delay, (key, said)) {
            self.agenda.at(at, Event::PeerArrive(pair, number, end));
        }
        true
    }

    /// What the engine of a worker wants said to its peers.
    pub(super) fn say_to_peers(&mut self, number: usize, orders: Vec<(NodeId, PeerOrder)>) {
        for (peer, order) in orders {
            let to = self.workers.iter().position(|worker| worker.key == peer);
            let (said, offered) = match order {
                PeerOrder::Answer(answer) => (Said::Answer(answer), None),
                PeerOrder::Offer { granted, instance, spec } => {
                    let attempt = FencedAttempt { id: granted.attempt.id, fence: granted.spare };
                    let statement = encoded(&Statement { of: granted.attempt.fence, receiver: peer, instance });
                    let taken = TakenOver { attempt, proof: HandOverProof { grant: granted.grant, statement } };
                    (Said::Offer { taken, spec }, Some(attempt))
                }
            };
            self.ledger.tallies.offers += u64::from(offered.is_some());
            let sent = to.is_some_and(|to| self.say_to_peer(number, to, said));
            if let (false, Some(attempt)) = (sent, offered) {
                self.with_worker(number, |engine, now| engine.handle_peer(now, peer, PeerFact::Unreachable(attempt)));
            }
        }
    }

    /// The next message of a link arrives.
    pub(super) fn peer_arrive(&mut self, pair: Pair, number: u64, end: usize) {
        let Some(link) = self.peers.links.get_mut(&pair).filter(|link| link.number == number) else { return };
        let Some((from, said)) = link.lanes[end].take() else { return };
        let repeats = self.network.weather.repeats;
        if repeats > 0 && self.dice.peers.percent(repeats) {
            self.ledger.tallies.repeats += 1;
            let later = self.dice.peers.mostly_short(0, 60_000);
            self.agenda.after(later, Event::PeerAgain(pair, end, from, Box::new(said.clone())));
        }
        self.peer_hears(pair, end, from, said);
    }

    /// A worker hears what `from` said from this end of a pair, whether or not the link that it came on still stands.
    pub(super) fn peer_hears(&mut self, pair: Pair, end: usize, from: NodeId, said: Said) {
        let to = if end == 0 { pair.1 } else { pair.0 };
        let fact = match said {
            Said::Stands { instance, free_slots, accepting } => PeerFact::Stands { instance, free_slots, accepting },
            Said::Answer(answer) => PeerFact::Answered(answer),
            Said::Offer { taken, spec } => {
                let node = &self.workers[to];
                let Some(engine) = &node.engine else { return };
                let granted: Granted = opened(&taken.proof.grant);
                let statement: Statement = opened(&taken.proof.statement);
                let fresh = self.says_dispatcher_time(to).is_some_and(|then| then < granted.expires_at);
                let genuine = granted.worker == from && statement.receiver == node.key;
                if !fresh || !genuine || statement.instance != node.instance {
                    return;
                }
                let spec = spec.or_else(|| engine.known_spec(taken.attempt.id.task.job).cloned());
                PeerFact::Offered(ProvedOffer { taken, spec, expires_at: granted.expires_at })
            }
        };
        self.with_worker(to, |engine, now| engine.handle_peer(now, from, fact));
    }

    /// A direct link dies; its ends notice it after these spans.
    pub(super) fn kill_peer_link(&mut self, pair: Pair, spans: [Millis; 2]) {
        let Some(link) = self.peers.links.get_mut(&pair) else { return };
        link.lanes.iter_mut().for_each(|lane| lane.kill(&mut self.dice.peers));
        let number = link.number;
        for (end, span) in spans.into_iter().enumerate() {
            self.agenda.after(span, Event::PeerNotice(pair, number, end));
        }
    }

    /// One end notices that its link is gone. When both have, they look for another.
    pub(super) fn peer_notice(&mut self, pair: Pair, number: u64, end: usize) {
        let Some(link) = self.peers.links.get_mut(&pair).filter(|link| link.number == number) else { return };
        link.known[end] = false;
        if link.known == [false, false] {
            // What a dead link still holds arrives all the same, now or after the next one stands.
            let rest: Vec<(usize, NodeId, Said)> = (0..2)
                .flat_map(|end| {
                    std::iter::from_fn(|| link.lanes[end].take())
                        .map(move |(from, it)| (end, from, it))
                        .collect::<Vec<_>>()
                })
                .collect();
            self.peers.links.remove(&pair);
            for (end, from, said) in rest {
                let later = self.dice.peers.mostly_short(0, 5_000);
                self.agenda.after(later, Event::PeerAgain(pair, end, from, Box::new(said)));
            }
            let again = Millis(1 + self.dice.peers.mostly_short(0, 2_000).0);
            self.agenda.after(again, Event::PeerDial(pair));
        }
        let (here, there) = if end == 0 { pair } else { (pair.1, pair.0) };
        let peer = self.workers[there].key;
        self.with_worker(here, |engine, now| engine.handle_peer(now, peer, PeerFact::Gone));
    }

    /// A worker is gone: so are its links, which its peers notice sooner or later.
    pub(super) fn leave_peers(&mut self, number: usize) {
        self.peers.said.remove(&number);
        let mine: Vec<Pair> = self.peers.links.keys().copied().filter(|(a, b)| *a == number || *b == number).collect();
        for pair in mine {
            let mut spans = [self.dice.peers.mostly_short(0, IDLE_TIMEOUT.0); 2];
            spans[end_of(pair, number)] = Millis(0);
            self.kill_peer_link(pair, spans);
        }
    }

    /// Nothing gets through between two workers for a while.
    pub(super) fn cut_peers(&mut self, pair: Pair, lasts: Millis) {
        let until = self.agenda.now() + lasts;
        let end = self.peers.cut.entry(pair).or_default();
        *end = until.max(*end);
        if lasts >= IDLE_TIMEOUT {
            let span = |dice: &mut super::dice::Dice| Millis(IDLE_TIMEOUT.0 + dice.millis(0, 2_000).0);
            let spans = [span(&mut self.dice.peers), span(&mut self.dice.peers)];
            self.kill_peer_link(pair, spans);
        }
    }

    /// Until when two workers are cut off from each other.
    pub(super) fn peer_cut(&self, pair: Pair) -> Option<Timestamp> {
        self.peers.cut.get(&pair).copied().filter(|until| *until > self.agenda.now())
    }

    /// Whether two workers have a link that both believe in.
    pub(super) fn are_linked(&self, a: usize, b: usize) -> bool {
        self.peers.links.get(&pair(a, b)).is_some_and(|link| link.known == [true, true])
    }
}
