//! How parties get their links, and what reaches them there.
//!
//! Invariant: a party believes in at most one link at a time and hears nothing
//! on any other.

use super::cluster::{Cluster, Event};
use super::dispatcher::repeatable_late_below;
use super::network::{Party, Upward, Way};
use crate::engine::dispatcher::{CloseReason, Inbound, Outbound};
use crate::engine::worker::WorkerLinkChange;
use crate::model::handshake::{Answer, Credential, Hello, Intent, RefusalCode, Welcome};
use crate::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::model::trust::Voucher;
use crate::model::{InstanceId, LinkId, Millis, NodeId, Role};

/// How long a party waits for the answer to its hello.
const DIAL_TIMEOUT: Millis = Millis::from_secs(10);

impl Cluster {
    /// A party without a link tries to get one.
    pub(super) fn dial(&mut self, party: Party) {
        let now = self.agenda.now();
        let wants = match party {
            Party::Worker(number) => {
                let node = &self.workers[number];
                node.engine.is_some() && node.link.is_none() && node.dialing.is_none()
            }
            Party::Client(number) => self.clients[number].link.is_none() && self.clients[number].dialing.is_none(),
            Party::Guard(number) => self.guards.contains_key(&number),
        };
        if !wants {
            return;
        }
        let cut = [Way::Up, Way::Down].into_iter().any(|way| self.network.held_up(now, party, way).is_some());
        if cut || !self.dispatcher.answers(now) {
            let again = Millis(500 + self.dice.network.mostly_short(0, 4_000).0);
            self.agenda.after(again, Event::Dial(party));
            return;
        }
        let link = self.network.open(party);
        match party {
            Party::Worker(number) => self.workers[number].dialing = Some(link),
            Party::Client(number) => self.clients[number].dialing = Some(link),
            Party::Guard(_) => {}
        }
        let hello = Box::new(self.hello(party));
        let (node, vouched) = self.credentials(party);
        self.send_up(link, Upward::Hello { node, vouched, hello });
        self.agenda.after(DIAL_TIMEOUT, Event::DialTimeout(party, link));
    }

    /// The key of a party, and what it brings to be let in.
    fn credentials(&self, party: Party) -> (NodeId, Voucher) {
        match party {
            Party::Worker(number) | Party::Guard(number) => {
                let worker = &self.workers[number];
                (worker.key, worker.token.map_or(Voucher::Access(Role::Worker), Voucher::Token))
            }
            Party::Client(number) => (self.clients[number].key, Voucher::Access(Role::Admin)),
        }
    }

    fn hello(&self, party: Party) -> Hello {
        let (instance, intent) = match party {
            Party::Worker(number) => {
                (self.workers[number].instance, Intent::Worker(self.workers[number].profile.clone()))
            }
            Party::Client(_) => (InstanceId(0), Intent::Client),
            Party::Guard(number) => (self.guards.get(&number).copied().unwrap_or(InstanceId(0)), Intent::Guard),
        };
        Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: "1.0.0".to_owned(),
            instance,
            intent,
            credential: Credential::Access([0; 32]),
        }
    }

    /// A party has waited long enough for an answer on `link`.
    pub(super) fn dial_timeout(&mut self, party: Party, link: LinkId) {
        let waits = match party {
            Party::Worker(number) => self.workers[number].dialing == Some(link),
            Party::Client(number) => self.clients[number].dialing == Some(link),
            Party::Guard(number) => self.guards.contains_key(&number) && self.network.peek(link).is_some(),
        };
        if waits {
            self.hang_up(link);
            self.gone_below(link);
        }
    }

    /// A party closes a link that it no longer wants.
    pub(super) fn hang_up(&mut self, link: LinkId) {
        self.send_up(link, Upward::Closed);
    }

    /// A party notices that its link is gone.
    pub(super) fn gone_below(&mut self, link: LinkId) {
        let Some(party) = self.network.peek(link).map(|known| known.party) else { return };
        self.network.give_up(link, Way::Down);
        match party {
            Party::Worker(number) => self.worker_unlinked(number, link),
            Party::Client(number) => self.client_unlinked(number, link),
            Party::Guard(_) => {
                let again = self.dice.network.mostly_short(100, 3_000);
                self.agenda.after(again, Event::Dial(party));
            }
        }
    }

    /// Something arrives at a party. `first` is false when it has arrived before.
    pub(super) fn arrive_below(&mut self, link: LinkId, what: Outbound, first: bool) {
        let Some(party) = self.network.peek(link).filter(|known| known.known_below).map(|known| known.party) else {
            return;
        };
        if self.plan.trace_messages {
            self.trace.note(self.agenda.now(), format_args!("{link:?} down {what:?}"));
        }
        match what {
            Outbound::Answer(Answer::Welcome(welcome)) => self.welcomed(party, link, welcome),
            Outbound::Answer(Answer::Refused(refusal)) => {
                if let (Party::Worker(number), RefusalCode::Revoked) = (party, refusal.code) {
                    return self.worker_revoked(number);
                }
                let guard = matches!(party, Party::Guard(_));
                assert!(guard || refusal.code.is_temporary(), "{party:?} is refused for good: {refusal:?}");
                // A guard does not insist: a dispatcher that does not know the worker misses nothing.
                self.guards.retain(|number, _| party != Party::Guard(*number));
                self.gone_below(link);
            }
            Outbound::Answer(other @ (Answer::Waiting(_) | Answer::Peer(_))) => panic!("{party:?} is told {other:?}"),
            Outbound::Close { reason: CloseReason::Revoked, .. } => match party {
                Party::Worker(number) => self.worker_revoked(number),
                Party::Client(_) | Party::Guard(_) => self.gone_below(link),
            },
            Outbound::Close { .. } => self.gone_below(link),
            Outbound::Reply { request, reply } => {
                let Party::Client(number) = party else { panic!("{party:?} gets a reply") };
                self.client_answered(number, request, reply);
            }
            Outbound::ToWorker(message) => {
                let Party::Worker(number) = party else { panic!("{party:?} gets orders") };
                if self.workers[number].link != Some(link) {
                    assert!(!first || self.workers[number].engine.is_none(), "orders on a link before its welcome");
                    return;
                }
                let repeats = self.network.weather.repeats;
                if first && repeats > 0 && self.dice.network.percent(repeats) {
                    self.ledger.tallies.repeats += 1;
                    let late = repeatable_late_below(&message);
                    let later = if late { self.dice.network.mostly_short(0, 60_000) } else { Millis(0) };
                    let again = Outbound::ToWorker(message.clone());
                    self.agenda.after(later, Event::AgainDown(link, Box::new(again)));
                }
                self.with_worker(number, |engine, now| engine.handle_message(now, message));
            }
        }
    }

    fn welcomed(&mut self, party: Party, link: LinkId, welcome: Welcome) {
        match party {
            Party::Worker(number) if self.workers[number].dialing == Some(link) => {
                let node = &mut self.workers[number];
                node.dialing = None;
                node.link = Some(link);
                node.name = Some(welcome.name.clone());
                self.with_worker(number, |engine, now| engine.handle_link(now, WorkerLinkChange::Up(welcome)));
            }
            Party::Client(number) if self.clients[number].dialing == Some(link) => {
                self.clients[number].dialing = None;
                self.clients[number].link = Some(link);
                self.client_linked(number);
            }
            Party::Guard(number) => {
                self.send_up(link, Upward::Say(Inbound::Guard));
                self.send_up(link, Upward::Closed);
                self.guards.remove(&number);
                self.network.give_up(link, Way::Down);
            }
            Party::Worker(_) | Party::Client(_) => self.hang_up(link),
        }
    }
}
