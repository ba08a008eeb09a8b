//! Who is let in, as what, and under which name.
//!
//! Invariant: nothing changes for a node that is refused; a node that is let in
//! is enrolled, and its role is the registry's, never its own word; one that is
//! enrolled by this very hello hears so when that is on disk. Absent: how a
//! credential is verified (the shell says what it vouches for) and what a token
//! is worth (`tokens`).

use super::roster::{Presence, Worker};
use super::version::negotiate;
use super::{CloseReason, DispatcherEngine, Grounds, LossCause, Notice, Outbound, Peer, refusals};
use crate::model::handshake::{Answer, Hello, Intent, Refusal, RefusalCode, Welcome};
use crate::model::limits::{MAX_LINKS_OF_A_KEY, MAX_SLOTS};
use crate::model::messages::DispatcherMessage;
use crate::model::node::WorkerProfile;
use crate::model::records::{EnrolledNode, Record};
use crate::model::trust::{TokenId, Voucher};
use crate::model::{Digest, LinkId, NodeId, NodeName, Role, Timestamp};

/// A peer that asks to come in.
pub(super) struct Arrival<'a> {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    pub(super) hello: &'a Hello,
    pub(super) vouched: Option<Voucher>,
}

impl Arrival<'_> {
    /// What it wants to be.
    fn wants(&self) -> Role {
        match self.hello.intent {
            Intent::Worker(_) | Intent::Guard | Intent::Join { .. } | Intent::Peer => Role::Worker,
            Intent::Client => Role::Client,
        }
    }

    /// The name that it asks for.
    fn asks_for(&self) -> Option<&NodeName> {
        match &self.hello.intent {
            Intent::Worker(profile) => profile.name.as_ref(),
            Intent::Join { name } => name.as_ref(),
            Intent::Client | Intent::Guard | Intent::Peer => None,
        }
    }
}

/// Whether a node's key is enrolled already, or what enrols it now.
enum Entry {
    /// Its key is enrolled in the role it wants.
    Known,
    /// Its key becomes this by what it brought.
    New(Role, Proof),
}

/// What a node that is being enrolled brought.
enum Proof {
    /// The access file's secret.
    Access,
    /// The token of this hash.
    Token(Digest),
}

impl DispatcherEngine {
    /// A peer said hello.
    pub(super) fn arrive(&mut self, now: Timestamp, arrival: &Arrival<'_>) {
        assert!(!self.links.contains_key(&arrival.link), "a link came up twice");
        if let Err(refusal) = self.admit(now, arrival) {
            let (link, node, name) = (arrival.link, arrival.node, arrival.asks_for().cloned());
            self.outbox.notice(Notice::NodeRefused {
                link,
                node,
                name,
                role: arrival.wants(),
                refusal: refusal.clone(),
            });
            self.outbox.send(arrival.link, Outbound::Answer(Answer::Refused(refusal)));
        }
    }

    fn admit(&mut self, now: Timestamp, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let protocol = negotiate(arrival.hello, Role::Dispatcher, &self.config.software)?;
        if let Some(was) = self.registry.revoked_role(arrival.node) {
            return Err(refusals::revoked(was));
        }
        match &arrival.hello.intent {
            Intent::Worker(profile) => self.admit_worker(now, arrival, protocol, profile),
            Intent::Client => self.admit_client(now, arrival, protocol),
            Intent::Guard => self.admit_guard(now, arrival, protocol),
            Intent::Join { name } => self.admit_joiner(now, arrival, protocol, name.as_ref()),
            Intent::Peer => Err(refusals::no_peer()),
        }
    }

    /// Welcomes an enrolled node; one that owes that to a record, only once the record is on disk.
    fn welcome(&mut self, now: Timestamp, arrival: &Arrival<'_>, protocol: u16, after_sync: bool) {
        let Some(enrolled) = self.registry.get(arrival.node) else {
            unreachable!("a node is welcome that is not enrolled")
        };
        let welcome = Outbound::Answer(Answer::Welcome(Welcome {
            protocol,
            software: self.config.software.clone(),
            role: enrolled.role,
            name: enrolled.name.clone(),
            epoch: self.epoch,
            now,
            heartbeat_interval: self.config.heartbeat_interval,
            task_timeout: self.config.task_timeout,
            p2p: self.config.p2p,
        }));
        if after_sync {
            self.outbox.send_after_sync(arrival.link, welcome);
        } else {
            self.outbox.send(arrival.link, welcome);
        }
    }

    /// Writes a key's role and name down.
    pub(super) fn enrol(&mut self, now: Timestamp, node: NodeId, role: Role, name: NodeName) {
        let before = self.registry.get(node).filter(|known| known.role == role).cloned();
        let (enrolled_at, revoked_at) = (now, None);
        self.outbox.record(Record::NodeEnrolled { node, role, name: name.clone(), at: now });
        self.registry.enrol(match before {
            Some(before) => EnrolledNode { name, enrolled_at, ..before },
            None => EnrolledNode {
                node,
                role,
                name,
                draining: false,
                drain_act: None,
                place: None,
                enrolled_at,
                revoked_at,
            },
        });
        self.resolve_doubt(now);
    }

    /// Notes what a key that was just enrolled owes that to.
    fn note_proof(&mut self, node: NodeId, proof: &Proof) {
        let Some(EnrolledNode { name, role, .. }) = self.registry.get(node).cloned() else {
            unreachable!("it was enrolled a moment ago")
        };
        let grounds = match proof {
            Proof::Access => Grounds::Access,
            Proof::Token(hash) => {
                if let Some(token) = self.tokens.note_use(hash, node) {
                    self.outbox.record(Record::TokenChanged(token));
                }
                Grounds::Token(TokenId::of(hash))
            }
        };
        self.outbox.notice(Notice::NodeEnrolled { node, name, role, grounds });
    }

    /// How a key comes to the role it wants, if it may have it at all. A client's key may rise to an admin's.
    fn entry(&self, now: Timestamp, arrival: &Arrival<'_>, wants: Role) -> Result<Entry, Refusal> {
        let is_worker = |role: Role| role == Role::Worker;
        let brought = || match &arrival.vouched {
            Some(Voucher::Access(role)) if is_worker(*role) == is_worker(wants) => Ok(Some((*role, Proof::Access))),
            Some(Voucher::Token(hash)) => {
                let role = self.tokens.redeem(self.token_time(now), hash, arrival.node, wants)?;
                Ok(Some((role, Proof::Token(*hash))))
            }
            Some(Voucher::Access(_)) | None => Ok(None),
        };
        match self.registry.role(arrival.node) {
            Some(role) if is_worker(role) != is_worker(wants) => Err(refusals::wrong_role(role, wants)),
            Some(Role::Client) => match brought() {
                Ok(Some((Role::Admin, proof))) => Ok(Entry::New(Role::Admin, proof)),
                // It is in anyway, whatever else it brought.
                Ok(_) | Err(_) => Ok(Entry::Known),
            },
            Some(_) => Ok(Entry::Known),
            None => match brought()? {
                Some((role, proof)) => Ok(Entry::New(role, proof)),
                None if is_worker(wants) => Err(refusals::worker_not_enrolled()),
                None => Err(refusals::client_not_enrolled()),
            },
        }
    }

    fn admit_client(&mut self, now: Timestamp, arrival: &Arrival<'_>, protocol: u16) -> Result<(), Refusal> {
        let entry = self.entry(now, arrival, Role::Client)?;
        self.check_links_of(arrival.node)?;
        let is_new = matches!(entry, Entry::New(..));
        if let Entry::New(role, proof) = entry {
            let wanted = match &proof {
                Proof::Access => self.config.user.as_ref(),
                Proof::Token(hash) => self.tokens.name(hash),
            };
            let name = self.registry.name_for(arrival.node, role, wanted, |_| false);
            self.enrol(now, arrival.node, role, name);
            self.note_proof(arrival.node, &proof);
        }
        let Some(role) = self.registry.role(arrival.node) else { unreachable!("it is enrolled by now") };
        self.links.insert(arrival.link, Peer::client(arrival.node, role));
        self.welcome(now, arrival, protocol, is_new);
        Ok(())
    }

    fn admit_guard(&mut self, now: Timestamp, arrival: &Arrival<'_>, protocol: u16) -> Result<(), Refusal> {
        match self.registry.role(arrival.node) {
            Some(Role::Worker) => {}
            Some(other) => return Err(refusals::wrong_role(other, Role::Worker)),
            None => return Err(refusals::worker_not_enrolled()),
        }
        self.check_links_of(arrival.node)?;
        self.links.insert(arrival.link, Peer::Guard { node: arrival.node, instance: arrival.hello.instance });
        self.welcome(now, arrival, protocol, false);
        Ok(())
    }

    /// Refuses another link beside too many: each costs memory, and closed ones are gone at once.
    fn check_links_of(&self, node: NodeId) -> Result<(), Refusal> {
        let is_its = |peer: &&Peer| match peer {
            Peer::Client { node: its, .. } | Peer::Guard { node: its, .. } => *its == node,
            Peer::Worker(_) | Peer::Joining { .. } => false,
        };
        let open = self.links.values().filter(is_its).take(MAX_LINKS_OF_A_KEY).count();
        if open < MAX_LINKS_OF_A_KEY { Ok(()) } else { Err(refusals::too_many_links()) }
    }

    fn admit_worker(
        &mut self,
        now: Timestamp,
        arrival: &Arrival<'_>,
        protocol: u16,
        profile: &WorkerProfile,
    ) -> Result<(), Refusal> {
        let entry = self.entry(now, arrival, Role::Worker)?;
        if profile.capacity.slots == 0 {
            let text = "it offers no job slot".to_owned();
            return Err(refusals::refusal(RefusalCode::Malformed, text, Some("--max-jobs 1")));
        }
        if profile.capacity.slots > MAX_SLOTS {
            return Err(refusals::too_many_slots(profile.capacity.slots));
        }
        self.check_sole_bearer(now, arrival, profile)?;
        let name = self.free_name(now, arrival, profile)?;
        self.check_places(arrival.node)?;

        let registered = self.registry.get(arrival.node).map(|enrolled| &enrolled.name);
        if registered != Some(&name) {
            self.release_name(now, arrival.node, &name);
            self.enrol(now, arrival.node, Role::Worker, name);
        }
        let is_new = matches!(entry, Entry::New(..));
        if let Entry::New(_, proof) = entry {
            self.note_proof(arrival.node, &proof);
        }
        self.welcome(now, arrival, protocol, is_new);
        self.seat_arrival(now, arrival, profile);
        Ok(())
    }

    /// Refuses a second process with the key of a worker that is reckoned with. A worker that reconnects, or is
    /// started again where it was, is none: there the lock of its key says that the earlier process is gone.
    fn check_sole_bearer(
        &mut self,
        now: Timestamp,
        arrival: &Arrival<'_>,
        profile: &WorkerProfile,
    ) -> Result<(), Refusal> {
        let Some(key) = self.roster.find(arrival.node) else { return Ok(()) };
        let worker = self.roster.at(key);
        let instance = match worker.presence {
            Presence::Lost => return Ok(()),
            Presence::Arriving { instance, .. } => Some(instance),
            Presence::Expected | Presence::Present(_) | Presence::Away => worker.instance,
        };
        let known = self.registry.get(arrival.node).and_then(|enrolled| enrolled.place);
        let is_elsewhere = known.zip(profile.place).is_some_and(|(one, other)| one != other);
        if !is_elsewhere || instance == Some(arrival.hello.instance) {
            return Ok(());
        }
        let (name, silent) = (worker.name.clone(), now.since(worker.last_heard));
        if silent >= self.config.suspect_after || worker.link().is_none() {
            return Err(refusals::key_awaited(&name, silent, self.config.lost_after));
        }
        if let Some(link) = worker.order_link() {
            self.outbox.send(link, Outbound::ToWorker(DispatcherMessage::KeyCopied));
        }
        Err(refusals::key_in_use(&name))
    }

    /// The name the worker is to have, unless it may not have it.
    fn free_name(&self, now: Timestamp, arrival: &Arrival<'_>, profile: &WorkerProfile) -> Result<NodeName, Refusal> {
        // A token's name is for the one worker that it enrols.
        let given = match arrival.vouched {
            Some(Voucher::Token(hash)) if self.registry.get(arrival.node).is_none() => self.tokens.name(&hash),
            _ => None,
        };
        let name = match (given, &profile.name) {
            (Some(given), Some(asked)) if given != asked => {
                return Err(refusals::token_for_another_name(given, asked));
            }
            (Some(given), _) => given.clone(),
            (None, Some(asked)) => asked.clone(),
            (None, None) => {
                let reserved =
                    |name: &NodeName| self.lobby.named(name).is_some_and(|joiner| joiner.node != arrival.node);
                return Ok(self.registry.name_for(arrival.node, Role::Worker, None, reserved));
            }
        };
        let holder = self.registry.named(Role::Worker, &name).filter(|holder| *holder != arrival.node);
        if holder.is_none() {
            return Ok(name);
        }
        if self.is_live_name_of_another(now, arrival.node, &name) {
            return Err(refusals::name_of_live_worker(&name));
        }
        // This user's own workers may take each other's names. A token lets somebody in; it does not throw out
        // a machine that happens to be away: only an admin does, by revoking or approving.
        match arrival.vouched {
            Some(Voucher::Access(Role::Worker)) => Ok(name),
            _ => Err(refusals::name_of_another_key(&name)),
        }
    }

    /// Whether a worker that is connected, or was a moment ago, has this name, under another key than `node`.
    pub(super) fn is_live_name_of_another(&self, now: Timestamp, node: NodeId, name: &NodeName) -> bool {
        let holder = self.registry.named(Role::Worker, name).filter(|holder| *holder != node);
        let Some(key) = holder.and_then(|holder| self.roster.find(holder)) else { return false };
        let worker = self.roster.at(key);
        let may_be_back =
            || worker.presence == Presence::Away && now.since(worker.last_heard) < self.config.suspect_after;
        worker.link().is_some() || may_be_back()
    }

    fn check_places(&self, node: NodeId) -> Result<(), Refusal> {
        let mine = self.roster.find(node).is_some_and(|key| self.roster.at(key).holds_a_place());
        let taken = self.roster.iter().filter(|(_, worker)| worker.holds_a_place()).count();
        if mine || taken < self.config.max_workers as usize {
            return Ok(());
        }
        let text = format!("{taken} workers are connected, which is the most this dispatcher takes");
        let hint = "start the dispatcher with a greater --max-workers";
        Err(refusals::refusal(RefusalCode::TooManyWorkers, text, Some(hint)))
    }

    /// Takes a name away from the key that had it, which is not connected.
    pub(super) fn release_name(&mut self, now: Timestamp, node: NodeId, name: &NodeName) {
        let holder = self.registry.named(Role::Worker, name).filter(|holder| *holder != node);
        if let Some(key) = holder.and_then(|holder| self.roster.find(holder)) {
            self.lose_worker(now, key, LossCause::NameTaken);
            self.leave(key);
        }
    }

    /// Puts a welcomed worker on the roster; it gets work once it has said what it holds.
    fn seat_arrival(&mut self, now: Timestamp, arrival: &Arrival<'_>, profile: &WorkerProfile) {
        let Some(enrolled) = self.registry.get(arrival.node).cloned() else {
            unreachable!("a worker arrives that is not enrolled")
        };
        let presence = Presence::Arriving { link: arrival.link, instance: arrival.hello.instance };
        let known = self.roster.find(arrival.node);
        if let Some(link) = known.and_then(|key| self.roster.at(key).link()) {
            self.links.remove(&link);
            self.outbox.close(link, CloseReason::Superseded, "this worker has connected anew");
        }
        let returns = known.is_some_and(|key| self.roster.at(key).instance == Some(arrival.hello.instance));
        let key = match known {
            Some(key) => {
                self.disconnect(key);
                key
            }
            None => self.roster.add(Worker::new(arrival.node, enrolled.name.clone(), presence, now)),
        };
        if let Some(place) = profile.place.filter(|place| enrolled.place != Some(*place)) {
            self.registry.set_place(arrival.node, place);
            self.outbox.record(Record::WorkerPlaced { node: arrival.node, place });
        }
        let worker = self.roster.at_mut(key);
        worker.name = enrolled.name.clone();
        worker.profile = Some(profile.clone());
        worker.software.clone_from(&arrival.hello.software);
        worker.presence = presence;
        worker.draining = enrolled.draining;
        worker.suspect = false;
        worker.stopping = false;
        self.uncover(key);
        self.links.insert(arrival.link, Peer::Worker(key));
        self.heard(now, key);
        self.outbox.notice(if returns {
            Notice::WorkerReturned { worker: enrolled.name }
        } else {
            Notice::WorkerJoined {
                worker: enrolled.name,
                node: arrival.node,
                capacity: profile.capacity.clone(),
                software: arrival.hello.software.clone(),
            }
        });
    }
}
