//! What a fetch is told: by the dispatcher, by its sources, and of their failures.
//!
//! Invariant: news of a conversation that has ended changes nothing. Absent: what follows from it (`plan`).

use super::effects::{Fault, Holders, Notice, Pieces, SessionNo, Way};
use super::source::{Session, Source, Standing};
use super::{FAILURES_TO_RELAY, Fetch, LONGEST_CONSULT, MOST_KNOWN};
use crate::model::{IntervalSet, Millis, NodeId, Timestamp};

/// A busy source is left alone for about this long.
const BUSY_PAUSE: Millis = Millis(1000);
/// A source that failed too often is left alone for this long, twice as long after each further failure.
const FIRST_BACKOFF: Millis = Millis(1000);
const LONGEST_BACKOFF: Millis = Millis::from_secs(30);
/// The same for the dispatcher.
const FIRST_WAIT: Millis = Millis(50);
const LONGEST_WAIT: Millis = Millis::from_secs(2);

impl Fetch {
    /// The dispatcher said who has the blobs.
    pub fn handle_holders(&mut self, now: Timestamp, holders: Holders) {
        let Holders { here, peers, share } = holders;
        self.share = if share.0 < share.1 { share } else { (0, 1) };
        for (way, source) in &mut self.sources {
            source.is_stale = matches!(way, Way::Direct(_) | Way::Relay(_));
        }
        self.promise(Way::Dispatcher, here);
        for (node, places) in peers {
            if self.config.p2p {
                self.promise(Way::Direct(node), places.clone());
            }
            if !self.config.p2p || self.sources.contains_key(&Way::Relay(node)) {
                self.promise(Way::Relay(node), places);
            }
        }
        self.sources.retain(|_, source| {
            !source.is_stale || source.session().is_some() || matches!(source.standing, Standing::Banned)
        });
        self.consult_again(now);
        self.plan(now);
    }

    /// Workers that were named and have nothing of these blobs, by their own word; at most `most` of them.
    #[must_use]
    pub fn empty_handed(&self, most: usize) -> Vec<NodeId> {
        let open = self.sources.iter().filter_map(|(way, source)| Some((way.holder()?, source.open()?)));
        let empty = open.filter(|(_, session)| session.has_nothing()).map(|(node, _)| node);
        empty.take(most).collect()
    }

    /// The dispatcher could not be asked.
    pub fn handle_no_holders(&mut self, now: Timestamp) {
        self.consult_again(now);
        self.plan(now);
    }

    /// A source is there and said what it has since its last answer. The pieces that were asked follow.
    pub fn handle_answer(&mut self, now: Timestamp, session: SessionNo, news: Pieces) {
        let is_dispatcher = self.sessions.get(&session) == Some(&Way::Dispatcher);
        let Some(source) = self.source_of(session) else { return };
        if let Standing::Opening { .. } = source.standing {
            source.standing = Standing::Open(Session::new(session, now));
        }
        if let Some(open) = source.open_mut() {
            open.learn(now, news);
        }
        if is_dispatcher && !self.config.p2p && !self.consult.asked && self.is_lacking(Way::Dispatcher) {
            // Some of it is elsewhere all the same: it was made while workers still kept what they made.
            self.consult.at = Some(now);
        }
        self.plan(now);
    }

    /// Some bytes of what a source owes came.
    pub fn handle_bytes(&mut self, now: Timestamp, session: SessionNo, bytes: u64) {
        if let Some(open) = self.source_of(session).and_then(Source::open_mut) {
            open.progress_at = now;
            open.rate.add(now, bytes);
        }
    }

    /// A piece came and was kept.
    pub fn handle_piece(&mut self, now: Timestamp, session: SessionNo, place: u32, number: u64) {
        let piece = (place, number);
        let Some(way) = self.sessions.get(&session).copied() else {
            // It came before its conversation was over; it is here all the same.
            if self.wants.blob(place).is_some() {
                self.wants.arrived(piece);
                self.plan(now);
            }
            return;
        };
        let Some(open) = self.source_of(session).and_then(Source::open_mut) else { return };
        if !open.delivered(piece) {
            return self.handle_failure(now, session, Fault::Withheld);
        }
        open.progress_at = now;
        if !open.owes_pieces() {
            open.busy_since = None;
        }
        if let Some(source) = self.source_of(session) {
            source.failures = 0;
        }
        if self.wants.arrived(piece) {
            *self.tally.entry((place, way)).or_insert(0) += self.wants.bytes_of(piece);
        }
        if let Way::Direct(node) = way {
            self.end_relay(node);
        }
        self.plan(now);
    }

    /// A source has sent what it would of the oldest question.
    pub fn handle_answered(&mut self, now: Timestamp, session: SessionNo) {
        let Some(open) = self.source_of(session).and_then(Source::open_mut) else { return };
        let Some(left) = open.asks.pop_front() else { return self.handle_failure(now, session, Fault::Withheld) };
        open.progress_at = now;
        if left.is_empty() {
            return self.plan(now);
        }
        // What has come by another way meanwhile was owed all the same.
        left.into_iter().for_each(|piece| self.wants.unask(piece, session));
        self.handle_failure(now, session, Fault::Withheld);
    }

    /// A source has too many who ask.
    pub fn handle_busy(&mut self, now: Timestamp, session: SessionNo) {
        let pause = BUSY_PAUSE.0 / 2 + self.dice.below(BUSY_PAUSE.0);
        self.leave(session, Standing::Aside { until: now + Millis(pause) });
        self.plan(now);
    }

    /// A source failed.
    pub fn handle_failure(&mut self, now: Timestamp, session: SessionNo, fault: Fault) {
        let Some(way) = self.sessions.get(&session).copied() else { return };
        let Some(source) = self.sources.get_mut(&way) else { return };
        source.failures = source.failures.saturating_add(1);
        source.fault = Some(fault);
        let failures = source.failures;
        self.notices.push(Notice::Failed { way, fault });
        let standing = match fault {
            Fault::Damaged { .. } if way != Way::Dispatcher => Standing::Banned,
            _ if failures < FAILURES_TO_RELAY && matches!(way, Way::Direct(_)) => Standing::Closed,
            _ => Standing::Aside { until: now + backoff(way, failures) },
        };
        let is_banned = matches!(standing, Standing::Banned);
        let promised = source.promised.clone();
        self.leave(session, standing);
        if let Way::Direct(node) | Way::Relay(node) = way {
            if is_banned {
                self.ban(node);
            } else if failures >= FAILURES_TO_RELAY && self.sources.contains_key(&Way::Direct(node)) {
                self.sources.entry(Way::Relay(node)).or_insert_with(|| Source::new(promised));
            }
        }
        self.plan(now);
    }

    /// Takes the dispatcher's word that a source has something of these blobs.
    pub(super) fn promise(&mut self, way: Way, places: IntervalSet) {
        let has_room = self.sources.len() < MOST_KNOWN;
        match self.sources.get_mut(&way) {
            Some(source) => {
                source.promised = places;
                source.is_stale = false;
            }
            None if has_room => drop(self.sources.insert(way, Source::new(places))),
            None => {}
        }
    }

    /// Asks neither this worker nor anybody for what it has.
    fn ban(&mut self, node: NodeId) {
        for way in [Way::Direct(node), Way::Relay(node)] {
            if let Some(session) = self.sources.get(&way).and_then(Source::session) {
                self.leave(session, Standing::Banned);
            }
        }
        self.sources.remove(&Way::Relay(node));
        let banned = Source { standing: Standing::Banned, ..Source::new(IntervalSet::new()) };
        self.sources.insert(Way::Direct(node), banned);
    }

    /// The direct way is good again.
    fn end_relay(&mut self, node: NodeId) {
        let relay = Way::Relay(node);
        if let Some(session) = self.sources.get(&relay).and_then(Source::session) {
            self.leave(session, Standing::Closed);
        }
        self.sources.remove(&relay);
    }

    fn source_of(&mut self, session: SessionNo) -> Option<&mut Source> {
        let way = self.sessions.get(&session)?;
        self.sources.get_mut(way)
    }

    fn consult_again(&mut self, now: Timestamp) {
        self.consult.at = Some(now + self.consult.pause);
        self.consult.pause = Millis(self.consult.pause.0 * 2).min(LONGEST_CONSULT);
    }
}

/// How long a source is left alone after so many failures in a row. The dispatcher's link is often back at once, and
/// there may be no other source.
fn backoff(way: Way, failures: u32) -> Millis {
    let (first, longest, free) = match way {
        Way::Dispatcher => (FIRST_WAIT, LONGEST_WAIT, 1),
        Way::Direct(_) => (FIRST_BACKOFF, LONGEST_BACKOFF, FAILURES_TO_RELAY),
        Way::Relay(_) => (FIRST_BACKOFF, LONGEST_BACKOFF, 1),
    };
    let doublings = failures.saturating_sub(free).min(16);
    Millis((first.0 << doublings).min(longest.0))
}
