//! What a fetch does because time has gone by: gives up sources that keep it waiting, and asks the others again.
//!
//! Invariant: no source that owes something can hold up a fetch for longer than its patience. Absent: what a source
//! is given up for (`facts` takes it from there).

use std::collections::BTreeSet;

use super::effects::{Fault, Order, SessionNo, Way};
use super::source::{LONGEST_POLL, Source, Standing};
use super::{Fetch, OPENING_PATIENCE, SLOW, STALL_PATIENCE, TICK, rate};
use crate::model::{IntervalSet, Millis, Timestamp};

/// The way through the dispatcher is opened in two steps, each with its own patience.
const RELAY_PATIENCE: Millis = Millis(2 * OPENING_PATIENCE.0);

impl Fetch {
    /// When to call [`Fetch::handle_timeout`], if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.is_done() {
            return None;
        }
        let of_sources = self.sources.iter().filter_map(|(way, source)| match &source.standing {
            Standing::Opening { since, .. } => patience(*way).map(|patience| *since + patience),
            Standing::Open(session) if session.owes_pieces() => Some(session.look_at),
            Standing::Open(session) if session.asks.is_empty() => Some(session.poll_at),
            Standing::Open(session) => Some(session.progress_at + STALL_PATIENCE),
            Standing::Aside { until } => Some(*until),
            Standing::Closed | Standing::Banned => None,
        });
        of_sources.chain(self.consult.at).min()
    }

    /// Time has gone by.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let failed = self.failed(now);
        for (session, fault) in failed {
            self.handle_failure(now, session, fault);
        }
        let waited: Vec<Way> =
            self.sources.iter().filter(|(_, source)| source.has_waited(now)).map(|(w, _)| *w).collect();
        for way in waited {
            if let Some(source) = self.sources.get_mut(&way) {
                source.standing = Standing::Closed;
            }
        }
        for source in self.sources.values_mut() {
            if let Some(session) = source.open_mut().filter(|session| session.look_at <= now) {
                session.look_at = now + TICK;
            }
        }
        self.plan(now);
    }

    /// Sources that have kept it waiting for too long.
    fn failed(&mut self, now: Timestamp) -> Vec<(SessionNo, Fault)> {
        let alone = self.sessions.len() == 1;
        let rates: Vec<(Way, u64)> = self
            .sources
            .iter_mut()
            .filter_map(|(way, source)| Some((*way, source.open_mut()?.rate.in_window(now))))
            .collect();
        let faster = |way: Way, bytes: u64| rates.iter().any(|(other, others)| *other != way && *others > bytes);
        let mut failed = Vec::new();
        for (way, source) in &self.sources {
            match &source.standing {
                Standing::Opening { session, since } if patience(*way).is_some_and(|long| *since + long <= now) => {
                    failed.push((*session, Fault::Unreachable));
                }
                // Of a dispatcher that is the only source nobody knows better; its link says when it has gone.
                Standing::Open(_) if *way == Way::Dispatcher && alone => {}
                Standing::Open(session) if !session.asks.is_empty() => {
                    let bytes = rates.iter().find(|(other, _)| other == way).map_or(0, |(_, bytes)| *bytes);
                    let is_measured = session.busy_since.is_some_and(|since| since + rate::WINDOW <= now);
                    if session.progress_at + STALL_PATIENCE <= now {
                        failed.push((session.number, Fault::Stalled));
                    } else if is_measured
                        && *way != Way::Dispatcher
                        && bytes < SLOW * rate::WINDOW.0 / 1000
                        && faster(*way, bytes)
                    {
                        failed.push((session.number, Fault::Slow { rate: bytes * 1000 / rate::WINDOW.0 }));
                    }
                }
                Standing::Open(_) | Standing::Opening { .. } => {}
                Standing::Closed | Standing::Aside { .. } | Standing::Banned => {}
            }
        }
        failed
    }

    /// Asks idle sources that do not have everything what they have by now.
    pub(super) fn poll(&mut self, now: Timestamp) {
        let is_due =
            |source: &Source| source.open().is_some_and(|session| session.asks.is_empty() && session.poll_at <= now);
        let due: Vec<Way> = self.sources.iter().filter(|(_, source)| is_due(source)).map(|(way, _)| *way).collect();
        for way in due {
            let is_lacking = self.is_lacking(way);
            let Some(session) = self.sources.get_mut(&way).and_then(Source::open_mut) else { continue };
            session.poll_at = now + LONGEST_POLL;
            if is_lacking {
                session.asks.push_back(BTreeSet::new());
                session.progress_at = now;
                self.orders.push(Order::Ask { session: session.number, pieces: Vec::new() });
            }
        }
    }

    /// Whether a source may come to have something that is missing here and that it does not have yet.
    pub(super) fn is_lacking(&self, way: Way) -> bool {
        let Some(source) = self.sources.get(&way) else { return false };
        let Some(session) = source.open() else { return false };
        source.promised.iter().filter_map(|place| u32::try_from(place).ok()).any(|place| {
            let Some(missing) = self.wants.missing(place) else { return false };
            let covers = |has: &IntervalSet| missing.ranges().all(|(first, last)| has.contains_range(first, last));
            !session.has.get(&place).is_some_and(covers)
        })
    }
}

fn patience(way: Way) -> Option<Millis> {
    match way {
        // It may be away for as long as it likes.
        Way::Dispatcher => None,
        Way::Direct(_) => Some(OPENING_PATIENCE),
        Way::Relay(_) => Some(RELAY_PATIENCE),
    }
}
