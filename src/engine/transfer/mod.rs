//! Getting blobs from several sources: which piece of whom, and what to do when a source fails.
//!
//! One [`Fetch`] is one list of blobs on their way to one node. Its sources are the dispatcher, other workers, and,
//! when a worker cannot be reached well enough, that worker through the dispatcher. Invariant: every missing piece is
//! free to be asked for or is owed by an open source, so a fetch comes on as long as any source does. Deliberately
//! absent: streams, verification (the shell says what a piece was worth), grants, and the clock.

mod audit;
mod choice;
mod deadlines;
mod dice;
mod effects;
mod facts;
mod rate;
mod source;
#[cfg(test)]
mod swarm;
#[cfg(test)]
mod tests;
mod wants;

use std::collections::BTreeMap;

pub use effects::{Fault, Holders, Notice, Order, Pieces, SessionNo, Way};

use self::choice::{Choice, overlap};
use self::dice::Dice;
use self::source::{Source, Standing};
use self::wants::{Piece, Wants};
use crate::model::files::BlobWish;
use crate::model::{IntervalSet, Millis, NodeId, Timestamp};

/// Sources that owe pieces at a time: of those that have everything more are no faster.
pub const SOURCES: usize = 3;
/// The same while others fetch the same blobs, each with a part of them. In the model (`swarm`), six receivers of
/// 128 MiB take 1.65 times as long as one copy with three sources, 1.46 with four and 1.21 with six.
pub const SWARM_SOURCES: usize = 6;
const _: () = assert!(SOURCES <= SWARM_SOURCES && SWARM_SOURCES <= MOST_OPEN, "who owes pieces is talked to");

/// Sources that are talked to, so that it is known what they have.
pub const MOST_OPEN: usize = 8;
/// Workers that are remembered as sources. The dispatcher names fewer.
const MOST_KNOWN: usize = 64;
/// Bytes that a source owes at most: enough to keep 100 MB/s busy over 10 ms, and little enough to lose.
const AHEAD_BYTES: u64 = 2 * 1024 * 1024;
/// Pieces that a source owes at most, where they are small.
const AHEAD_PIECES: usize = 256;

/// A worker is reached and has answered within this time, or has failed.
pub const OPENING_PATIENCE: Millis = Millis::from_secs(2);
/// A source that owes something sends some of it within this time, or has failed.
pub const STALL_PATIENCE: Millis = Millis::from_secs(3);
/// Below this many bytes a second, over five seconds, a source has failed while another is faster.
pub const SLOW: u64 = 256 * 1024;
/// Failures in a row after which a worker is reached through the dispatcher.
pub const FAILURES_TO_RELAY: u32 = 2;

/// While something is owed it is looked at this often: who is slow, and what is late.
const TICK: Millis = Millis(500);

/// What a fetch is told at its start.
#[derive(Debug, Clone, Copy)]
pub struct FetchConfig {
    /// Decides by chance; differs from receiver to receiver.
    pub seed: u64,
    /// Whether workers give each other files at all; else everything comes from the dispatcher.
    pub p2p: bool,
}

/// A fetch as a value. See the module for what it promises.
///
/// After [`Fetch::new`] and any `handle_…`, drain [`Fetch::take_orders`] and [`Fetch::take_notices`], and ask
/// [`Fetch::poll_timeout`] anew; stop when [`Fetch::is_done`] says so. `now` never goes back.
#[derive(Debug)]
pub struct Fetch {
    config: FetchConfig,
    wants: Wants,
    sources: BTreeMap<Way, Source>,
    /// Who of the open and opening sources has which conversation.
    sessions: BTreeMap<SessionNo, Way>,
    last_session: SessionNo,
    share: (u32, u32),
    consult: Consult,
    /// Bytes that came, by blob and way.
    tally: BTreeMap<(u32, Way), u64>,
    dice: Dice,
    orders: Vec<Order>,
    notices: Vec<Notice>,
}

/// When the dispatcher is asked who has the blobs.
#[derive(Debug)]
struct Consult {
    /// When it is asked next; `None` while it is being asked, or never.
    at: Option<Timestamp>,
    pause: Millis,
    /// Whether it was ever asked.
    asked: bool,
}

/// The dispatcher is asked again after this time, and after twice as long each time, up to [`LONGEST_CONSULT`]:
/// receivers of one blob start at about the same time and hear of each other by the second answer.
const FIRST_CONSULT: Millis = Millis(250);
const LONGEST_CONSULT: Millis = Millis::from_secs(2);

impl Fetch {
    /// A fetch of the pieces of `wishes`, which `banned` workers have no part in. The dispatcher is asked at once,
    /// while it says who else could be: a small file is here before that is known.
    #[must_use]
    pub fn new(now: Timestamp, wishes: Vec<BlobWish>, config: FetchConfig, banned: &[NodeId]) -> Self {
        let wants = Wants::new(wishes);
        let everything = IntervalSet::from_range(0, u64::from(wants.places()).saturating_sub(1));
        let mut sources = BTreeMap::from([(Way::Dispatcher, Source::new(everything))]);
        for node in banned {
            let banned = Source { standing: Standing::Banned, ..Source::new(IntervalSet::new()) };
            sources.insert(Way::Direct(*node), banned);
        }
        let mut fetch = Self {
            config,
            wants,
            sources,
            sessions: BTreeMap::new(),
            last_session: SessionNo(0),
            share: (0, 1),
            consult: Consult { at: config.p2p.then_some(now), pause: FIRST_CONSULT, asked: false },
            tally: BTreeMap::new(),
            dice: Dice::new(config.seed),
            orders: Vec::new(),
            notices: Vec::new(),
        };
        fetch.plan(now);
        fetch
    }

    /// Adds a worker that is known to have `places` without anybody having been asked.
    pub fn add_holder(&mut self, now: Timestamp, node: NodeId, places: IntervalSet) {
        self.promise(Way::Direct(node), places);
        self.plan(now);
    }

    /// Whether everything is here.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.wants.is_done()
    }

    /// Bytes that came of each blob, by its place and the way.
    pub fn tally(&self) -> impl Iterator<Item = (u32, Way, u64)> + '_ {
        self.tally.iter().map(|((place, way), bytes)| (*place, *way, *bytes))
    }

    /// What is to be done, in order.
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// What is worth telling, in order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Opens, asks and consults as far as there is need and room.
    fn plan(&mut self, now: Timestamp) {
        if self.is_done() {
            let open: Vec<SessionNo> = self.sessions.keys().copied().collect();
            open.into_iter().for_each(|session| self.leave(session, Standing::Closed));
            self.consult.at = None;
        } else {
            self.open_sources(now);
            self.ask(now);
            self.poll(now);
            if self.consult.at.is_some_and(|at| at <= now) {
                self.consult.at = None;
                self.consult.asked = true;
                self.orders.push(Order::Consult);
            }
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Opens sources that promise something that is missing.
    fn open_sources(&mut self, now: Timestamp) {
        let mut closed: Vec<Way> = self.sources.iter().filter(|(_, s)| s.may_open()).map(|(way, _)| *way).collect();
        while !closed.is_empty() && self.sessions.len() < MOST_OPEN {
            // The dispatcher first, the others by chance: many receivers do not all begin with the same worker.
            let at = if closed[0] == Way::Dispatcher { 0 } else { self.dice.below(closed.len() as u64) as usize };
            let way = closed.swap_remove(at);
            closed.sort_unstable();
            let is_of_use = match way {
                Way::Relay(_) => self.needs_relay(way),
                _ => self.sources[&way].promised.iter().any(|place| self.is_missing(place)),
            };
            if is_of_use {
                self.open(now, way);
            }
        }
    }

    fn open(&mut self, now: Timestamp, way: Way) {
        self.last_session.0 += 1;
        let session = self.last_session;
        if let Way::Relay(holder) = way
            && let Some(fault) = self.sources.get(&Way::Direct(holder)).and_then(|direct| direct.fault)
        {
            self.notices.push(Notice::Relaying { holder, fault });
        }
        let Some(source) = self.sources.get_mut(&way) else { return };
        source.standing = Standing::Opening { session, since: now };
        self.sessions.insert(session, way);
        self.orders.push(Order::Open { session, way });
    }

    fn is_missing(&self, place: u64) -> bool {
        u32::try_from(place).is_ok_and(|place| self.wants.missing(place).is_some())
    }

    /// Whether there is something that only this relay could bring, as far as anybody knows.
    fn needs_relay(&self, relay: Way) -> bool {
        let covers = |source: &Source, place: u32| match (&source.standing, self.wants.missing(place)) {
            (_, None) => true,
            (Standing::Closed | Standing::Opening { .. }, _) => source.promised.contains(u64::from(place)),
            (Standing::Open(session), Some(missing)) => {
                session.has.get(&place).is_some_and(|has| overlap(has, missing))
            }
            (Standing::Aside { .. } | Standing::Banned, _) => false,
        };
        let others = || self.sources.iter().filter(|(way, _)| !matches!(way, Way::Relay(_)));
        self.sources[&relay]
            .promised
            .iter()
            .filter_map(|place| u32::try_from(place).ok())
            .any(|place| self.wants.missing(place).is_some() && !others().any(|(_, source)| covers(source, place)))
    }

    /// Asks open sources for as much as they may owe.
    fn ask(&mut self, now: Timestamp) {
        let mut open: Vec<(Way, usize)> = self.owing();
        // Who owes least first, so that all are kept busy; the dispatcher has what nobody else has yet.
        let dice = &mut self.dice;
        open.sort_by_cached_key(|(way, owed)| (*way != Way::Dispatcher, *owed, dice.below(u64::MAX)));
        let mut active = open.iter().filter(|(_, owed)| *owed > 0).count();
        let at_most = self.sources_at_once();
        // Whoever has a choice leaves a source when it has sent what it owed: so the load spreads.
        let has_choice = open.len() > at_most;
        for (way, owed) in open {
            if has_choice && owed > 0 && way != Way::Dispatcher {
                continue;
            }
            if owed == 0 && active >= at_most {
                continue;
            }
            let pieces = self.choose(now, way, false);
            if pieces.is_empty() {
                continue;
            }
            active += usize::from(owed == 0);
            self.ask_for(now, way, pieces);
        }
        // What others were to bring nobody has yet.
        if active == 0 {
            let mut pieces = self.choose(now, Way::Dispatcher, true);
            pieces.truncate(1);
            if !pieces.is_empty() {
                self.ask_for(now, Way::Dispatcher, pieces);
            }
        }
    }

    /// Sources that may owe pieces.
    fn sources_at_once(&self) -> usize {
        if self.share.1 > 1 { SWARM_SOURCES } else { SOURCES }
    }

    /// Open sources and how many pieces each owes.
    fn owing(&self) -> Vec<(Way, usize)> {
        let open = self.sources.iter().filter_map(|(way, source)| Some((*way, source.open()?)));
        open.map(|(way, session)| (way, session.owed().count())).collect()
    }

    /// What to ask of a source now.
    fn choose(&mut self, now: Timestamp, way: Way, is_idle: bool) -> Vec<Piece> {
        let Some(session) = self.sources.get(&way).and_then(Source::open) else { return Vec::new() };
        let (mut bytes, mut count) = (0, 0);
        for piece in session.owed() {
            bytes += self.wants.bytes_of(piece);
            count += 1;
        }
        let mut chosen = Vec::new();
        let (spread, share) = (self.config.p2p, self.share);
        let mut choice =
            Choice { wants: &self.wants, sources: &self.sources, dice: &mut self.dice, spread, share, is_idle, now };
        while bytes < AHEAD_BYTES
            && count + chosen.len() < AHEAD_PIECES
            && let Some(piece) = choice.piece(way, session, &chosen)
        {
            bytes += self.wants.bytes_of(piece);
            chosen.push(piece);
        }
        chosen
    }

    fn ask_for(&mut self, now: Timestamp, way: Way, pieces: Vec<Piece>) {
        let Some(session) = self.sources.get_mut(&way).and_then(Source::open_mut) else { return };
        if session.busy_since.is_none() {
            session.busy_since = Some(now);
            session.progress_at = now;
            session.look_at = now + TICK;
        }
        let mut by_place: BTreeMap<u32, IntervalSet> = BTreeMap::new();
        for piece in &pieces {
            self.wants.ask(*piece, session.number, now);
            by_place.entry(piece.0).or_default().insert(piece.1);
        }
        session.asks.push_back(pieces.into_iter().collect());
        self.orders.push(Order::Ask { session: session.number, pieces: by_place.into_iter().collect() });
    }

    /// Ends a conversation and frees what was asked in it.
    fn leave(&mut self, session: SessionNo, standing: Standing) {
        let Some(way) = self.sessions.remove(&session) else { return };
        let Some(source) = self.sources.get_mut(&way) else { return };
        if let Some(open) = source.open() {
            let owed: Vec<Piece> = open.owed().collect();
            owed.into_iter().for_each(|piece| self.wants.unask(piece, session));
        }
        source.standing = standing;
        if source.is_stale && !matches!(source.standing, Standing::Banned) {
            self.sources.remove(&way);
        }
        self.orders.push(Order::Close { session });
    }
}
