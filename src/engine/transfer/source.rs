//! One source of pieces: how it stands, what it has, what was asked of it.
//!
//! Invariant: a source has one conversation at a time, and what was asked in it and has not come is known. Absent:
//! which source is asked for what (`choice`, `mod`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::effects::{Fault, Pieces, SessionNo};
use super::rate::Rate;
use super::wants::Piece;
use crate::model::{IntervalSet, Millis, Timestamp};

/// First pause between two questions for what a source has by now; twice as long after each that brought nothing.
const FIRST_POLL: Millis = Millis(250);
/// Longest such pause.
pub(super) const LONGEST_POLL: Millis = Millis::from_secs(2);

/// A source as far as it is known.
#[derive(Debug)]
pub(super) struct Source {
    /// Places of which it is said to have something.
    pub(super) promised: IntervalSet,
    pub(super) standing: Standing,
    /// Failures since a piece came from it last.
    pub(super) failures: u32,
    /// The latest of them.
    pub(super) fault: Option<Fault>,
    /// The dispatcher names it no more; it goes when its conversation has ended.
    pub(super) is_stale: bool,
}

#[derive(Debug)]
pub(super) enum Standing {
    /// It may be opened.
    Closed,
    /// It was asked to open.
    Opening { session: SessionNo, since: Timestamp },
    /// It talks.
    Open(Session),
    /// It is left alone for a while.
    Aside { until: Timestamp },
    /// It is asked no more.
    Banned,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: SessionNo,
    /// What it said it has, by place.
    pub(super) has: BTreeMap<u32, IntervalSet>,
    /// What was asked and not answered to its end, in order; an empty one asks what it has.
    pub(super) asks: VecDeque<BTreeSet<Piece>>,
    /// When anything came last, or it was asked for something after it owed nothing.
    pub(super) progress_at: Timestamp,
    /// When it is looked at next, while it owes something.
    pub(super) look_at: Timestamp,
    /// Since when it owes pieces without a pause.
    pub(super) busy_since: Option<Timestamp>,
    pub(super) rate: Rate,
    /// When it is asked next what it has, and how long to wait after that.
    pub(super) poll_at: Timestamp,
    pub(super) poll_pause: Millis,
}

impl Source {
    pub(super) fn new(promised: IntervalSet) -> Self {
        Self { promised, standing: Standing::Closed, failures: 0, fault: None, is_stale: false }
    }

    pub(super) fn may_open(&self) -> bool {
        matches!(self.standing, Standing::Closed)
    }

    /// Whether it has been left alone for long enough.
    pub(super) fn has_waited(&self, now: Timestamp) -> bool {
        matches!(self.standing, Standing::Aside { until } if until <= now)
    }

    /// Its conversation, open or about to be.
    pub(super) fn session(&self) -> Option<SessionNo> {
        match &self.standing {
            Standing::Opening { session, .. } => Some(*session),
            Standing::Open(session) => Some(session.number),
            Standing::Closed | Standing::Aside { .. } | Standing::Banned => None,
        }
    }

    pub(super) fn open(&self) -> Option<&Session> {
        if let Standing::Open(session) = &self.standing { Some(session) } else { None }
    }

    pub(super) fn open_mut(&mut self) -> Option<&mut Session> {
        if let Standing::Open(session) = &mut self.standing { Some(session) } else { None }
    }
}

impl Session {
    /// One that has just begun.
    pub(super) fn new(number: SessionNo, now: Timestamp) -> Self {
        Self {
            number,
            has: BTreeMap::new(),
            asks: VecDeque::new(),
            progress_at: now,
            look_at: now,
            busy_since: None,
            rate: Rate::default(),
            poll_at: now,
            poll_pause: FIRST_POLL,
        }
    }

    /// Notes what it has by now.
    pub(super) fn learn(&mut self, now: Timestamp, news: Pieces) {
        let longer = Millis(self.poll_pause.0 * 2).min(LONGEST_POLL);
        self.poll_pause = if news.is_empty() { longer } else { FIRST_POLL };
        self.poll_at = now + self.poll_pause;
        self.progress_at = now;
        self.has.extend(news);
    }

    /// Whether it has said that it has nothing at all.
    pub(super) fn has_nothing(&self) -> bool {
        self.poll_pause > FIRST_POLL && self.has.values().all(IntervalSet::is_empty)
    }

    /// Whether it has this piece, by its own word.
    pub(super) fn has(&self, (place, number): Piece) -> bool {
        self.has.get(&place).is_some_and(|has| has.contains(number))
    }

    /// Pieces that it owes.
    pub(super) fn owed(&self) -> impl Iterator<Item = Piece> + '_ {
        self.asks.iter().flatten().copied()
    }

    pub(super) fn owes_pieces(&self) -> bool {
        self.asks.iter().any(|ask| !ask.is_empty())
    }

    /// Takes `piece` off what it owes; `false` when it does not owe it.
    pub(super) fn delivered(&mut self, piece: Piece) -> bool {
        self.asks.iter_mut().any(|ask| ask.remove(&piece))
    }
}
