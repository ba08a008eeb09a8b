//! Links as QUIC gives them: ordered, reliable while they last, and able to
//! die with the rest of what was said unheard.
//!
//! Invariant: within a link and direction messages arrive in the order they
//! were sent and none is left out, until the link dies; what arrives after its
//! death is a prefix of what was under way. The two ends learn of the death at
//! different times, so a new link may stand while the other end still believes
//! in the old one.

use std::collections::{BTreeMap, VecDeque};

use super::dice::Dice;
use super::plan::Plan;
use crate::engine::dispatcher::{Inbound, Outbound};
use crate::model::handshake::Hello;
use crate::model::trust::Voucher;
use crate::model::{LinkId, Millis, NodeId, Timestamp};

/// Whoever can have a link to the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    /// A worker.
    Worker(usize),
    /// A client.
    Client(usize),
    /// What is left of a killed worker; says one thing.
    Guard(usize),
}

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// To the dispatcher.
    Up,
    /// From the dispatcher.
    Down,
}

/// What travels to the dispatcher.
#[derive(Debug, Clone)]
pub(super) enum Upward {
    /// The first frame, whose key it came under, and what its sender brought.
    Hello {
        /// The key.
        node: NodeId,
        /// What it is vouched for by.
        vouched: Voucher,
        /// What was said.
        hello: Box<Hello>,
    },
    /// Anything later.
    Say(Inbound),
    /// The other side closed the link.
    Closed,
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) party: Party,
    up: Lane<Upward>,
    down: Lane<Outbound>,
    /// Whether the dispatcher's engine was told of it and not yet of its end.
    pub(super) known_above: bool,
    /// Whether its party still believes in it.
    pub(super) known_below: bool,
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Lane<M> {
    under_way: VecDeque<M>,
    /// When the last of them arrives, unless it is held up.
    last: Timestamp,
    /// Nothing more gets in.
    dead: bool,
}

/// How the network is at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// Least and greatest delay of a message.
    pub(super) delay: (u64, u64),
    /// Percent of messages that arrive twice.
    pub(super) repeats: u64,
}

/// A local network on a good day.
pub(super) fn fair(plan: &Plan) -> Weather {
    Weather { delay: (0, 5), repeats: plan.repeats }
}

/// A link whose other end is silent this long is dead.
pub(super) const IDLE_TIMEOUT: Millis = Millis::from_secs(20);

/// All links.
#[derive(Debug)]
pub(super) struct Network {
    links: BTreeMap<LinkId, Link>,
    opened: u64,
    pub(super) weather: Weather,
    /// Parties that are cut off, by direction, and until when.
    cut_off: BTreeMap<(Party, Way), Timestamp>,
}

impl Network {
    /// No link yet.
    pub(super) fn new(weather: Weather) -> Self {
        Self { links: BTreeMap::new(), opened: 0, weather, cut_off: BTreeMap::new() }
    }

    /// A new link, on which nothing was said yet.
    pub(super) fn open(&mut self, party: Party) -> LinkId {
        self.opened += 1;
        let link = LinkId(self.opened);
        let (up, down) = (Lane::new(), Lane::new());
        self.links.insert(link, Link { party, up, down, known_above: false, known_below: true });
        link
    }

    /// The link, unless both ends have given it up.
    pub(super) fn link(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    /// Likewise, only to look at.
    pub(super) fn peek(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    /// All links, in order.
    pub(super) fn all(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// The links of `party`, in order.
    pub(super) fn of(&self, party: Party) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.party == party).map(|(id, _)| *id).collect()
    }

    /// Sends to the dispatcher; returns when it arrives, or nothing when the link is dead.
    pub(super) fn send_up(&mut self, now: Timestamp, link: LinkId, what: Upward, dice: &mut Dice) -> Option<Timestamp> {
        let delay = self.delay(dice);
        self.links.get_mut(&link)?.up.send(now + delay, what)
    }

    /// Sends from the dispatcher; likewise.
    pub(super) fn send_down(
        &mut self,
        now: Timestamp,
        link: LinkId,
        what: Outbound,
        dice: &mut Dice,
    ) -> Option<Timestamp> {
        let delay = self.delay(dice);
        self.links.get_mut(&link)?.down.send(now + delay, what)
    }

    /// The message that arrives next at the dispatcher.
    pub(super) fn arrive_up(&mut self, link: LinkId) -> Option<Upward> {
        self.links.get_mut(&link)?.up.under_way.pop_front()
    }

    /// The message that arrives next at the party.
    pub(super) fn arrive_down(&mut self, link: LinkId) -> Option<Outbound> {
        self.links.get_mut(&link)?.down.under_way.pop_front()
    }

    /// A delay of one message.
    pub(super) fn delay(&self, dice: &mut Dice) -> Millis {
        dice.mostly_short(self.weather.delay.0, self.weather.delay.1)
    }

    /// Kills a link: of what is under way, only a prefix each way arrives.
    pub(super) fn kill(&mut self, link: LinkId, dice: &mut Dice) {
        if let Some(link) = self.links.get_mut(&link) {
            link.up.kill(dice);
            link.down.kill(dice);
        }
    }

    /// One end has given the link up. When both have, it is gone.
    pub(super) fn give_up(&mut self, link: LinkId, way: Way) {
        let Some(known) = self.links.get_mut(&link) else { return };
        match way {
            Way::Up => {
                known.known_above = false;
                known.up.under_way.clear();
                known.up.dead = true;
                known.down.dead = true;
            }
            Way::Down => {
                known.known_below = false;
                known.down.under_way.clear();
                known.down.dead = true;
            }
        }
        if !known.known_above && !known.known_below && known.up.under_way.is_empty() {
            self.links.remove(&link);
        }
    }

    /// Until `until`, nothing of `party` gets through this way.
    pub(super) fn cut_off(&mut self, party: Party, way: Way, until: Timestamp) {
        let end = self.cut_off.entry((party, way)).or_default();
        *end = until.max(*end);
    }

    /// Until when something of `party` is held up this way.
    pub(super) fn held_up(&self, now: Timestamp, party: Party, way: Way) -> Option<Timestamp> {
        self.cut_off.get(&(party, way)).copied().filter(|until| *until > now)
    }
}

impl<M> Lane<M> {
    /// Nothing under way.
    pub(super) fn new() -> Self {
        Self { under_way: VecDeque::new(), last: Timestamp::default(), dead: false }
    }

    /// Sends something that arrives at `at` or later; says when, unless the lane is dead.
    pub(super) fn send(&mut self, at: Timestamp, what: M) -> Option<Timestamp> {
        if self.dead {
            return None;
        }
        self.last = self.last.max(at);
        self.under_way.push_back(what);
        Some(self.last)
    }

    /// What arrives next.
    pub(super) fn take(&mut self) -> Option<M> {
        self.under_way.pop_front()
    }

    /// Nothing more gets in, and of what is under way only a prefix arrives.
    pub(super) fn kill(&mut self, dice: &mut Dice) {
        if !self.dead {
            let survive = dice.between(0, self.under_way.len() as u64);
            self.under_way.truncate(usize::try_from(survive).unwrap_or(usize::MAX));
            self.dead = true;
        }
    }
}
