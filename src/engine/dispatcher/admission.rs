//! Who is let in, as what, and under which name.
//!
//! Invariant: nothing changes for a node that is refused; a node that is let in
//! is enrolled, and its role is the registry's, never its own word. Absent: how
//! a credential is verified (the shell says what it vouches for).

use super::roster::{Presence, Worker};
use super::{DispatcherEngine, LossCause, Notice, Outbound, Peer};
use crate::model::handshake::{Answer, Hello, Intent, Refusal, RefusalCode, Welcome};
use crate::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::model::node::WorkerProfile;
use crate::model::records::{EnrolledNode, Record};
use crate::model::trust::Voucher;
use crate::model::{LinkId, NodeId, NodeName, Role, Timestamp};

/// A peer that asks to come in.
pub(super) struct Arrival<'a> {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    pub(super) hello: &'a Hello,
    pub(super) vouched: Option<Voucher>,
}

impl Arrival<'_> {
    fn vouched_role(&self) -> Option<Role> {
        match self.vouched {
            Some(Voucher::Access(role)) => Some(role),
            Some(Voucher::Token(_)) | None => None,
        }
    }
}

fn refusal(code: RefusalCode, text: String, hint: Option<&str>) -> Refusal {
    Refusal { code, text, hint: hint.map(str::to_owned) }
}

/// The newest protocol version that both sides speak.
fn negotiate(hello: &Hello) -> Result<u16, Refusal> {
    if hello.protocol_oldest > hello.protocol_newest {
        return Err(refusal(RefusalCode::Malformed, "its protocol versions make no sense".to_owned(), None));
    }
    if hello.protocol_newest < PROTOCOL_OLDEST {
        let text = format!("it speaks protocol {}, this dispatcher {PROTOCOL_OLDEST} or later", hello.protocol_newest);
        return Err(refusal(RefusalCode::Version, text, Some("upgrade the side that connects")));
    }
    if hello.protocol_oldest > PROTOCOL_VERSION {
        let text = format!("it speaks protocol {} or later, this dispatcher {PROTOCOL_VERSION}", hello.protocol_oldest);
        return Err(refusal(RefusalCode::Version, text, Some("upgrade the dispatcher")));
    }
    Ok(hello.protocol_newest.min(PROTOCOL_VERSION))
}

impl DispatcherEngine {
    /// A peer said hello.
    pub(super) fn arrive(&mut self, now: Timestamp, arrival: &Arrival<'_>) {
        assert!(!self.links.contains_key(&arrival.link), "a link came up twice");
        let admitted = match &arrival.hello.intent {
            Intent::Worker(profile) => self.admit_worker(now, arrival, profile),
            Intent::Client => self.admit_client(now, arrival),
            Intent::Guard => self.admit_guard(now, arrival),
            Intent::Join { .. } => Err(refusal(RefusalCode::Malformed, "not built yet".to_owned(), None)),
        };
        if let Err(refusal) = admitted {
            self.outbox.notice(Notice::NodeRefused { node: arrival.node, code: refusal.code });
            self.outbox.send(arrival.link, Outbound::Answer(Answer::Refused(refusal)));
        }
    }

    fn welcome(&mut self, now: Timestamp, arrival: &Arrival<'_>, protocol: u16) {
        let Some(enrolled) = self.registry.get(arrival.node) else {
            unreachable!("a node is welcome that is not enrolled")
        };
        let welcome = Welcome {
            protocol,
            software: self.config.software.clone(),
            role: enrolled.role,
            name: enrolled.name.clone(),
            epoch: self.epoch,
            now,
            heartbeat_interval: self.config.heartbeat_interval,
            task_timeout: self.config.task_timeout,
        };
        self.outbox.send(arrival.link, Outbound::Answer(Answer::Welcome(welcome)));
    }

    fn enrol(&mut self, now: Timestamp, node: NodeId, role: Role, name: NodeName) {
        let draining = self.registry.get(node).is_some_and(|known| known.draining && known.role == role);
        self.outbox.record(Record::NodeEnrolled { node, role, name: name.clone(), at: now });
        self.registry.enrol(EnrolledNode { node, role, name, draining, enrolled_at: now, revoked_at: None });
    }

    fn admit_client(&mut self, now: Timestamp, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let protocol = negotiate(arrival.hello)?;
        let vouched = arrival.vouched_role().filter(|role| matches!(role, Role::Admin | Role::Client));
        let role = match (self.registry.role(arrival.node), vouched) {
            (Some(Role::Admin), _) | (Some(Role::Client), Some(Role::Admin)) | (None, Some(Role::Admin)) => Role::Admin,
            (Some(Role::Client), _) | (None, Some(_)) => Role::Client,
            (Some(other), _) => {
                let text = format!("this key is enrolled as a {other}, not as a client");
                return Err(refusal(RefusalCode::WrongRole, text, None));
            }
            (None, None) => {
                let hint = "run it as the user who runs the dispatcher, on the same machine";
                return Err(refusal(
                    RefusalCode::NotEnrolled,
                    "this client is not enrolled here".to_owned(),
                    Some(hint),
                ));
            }
        };
        if self.registry.role(arrival.node) != Some(role) {
            let name = self.registry.name_for(arrival.node, role);
            self.enrol(now, arrival.node, role, name);
        }
        self.links.insert(arrival.link, Peer::client(arrival.node, role));
        self.welcome(now, arrival, protocol);
        Ok(())
    }

    fn admit_guard(&mut self, now: Timestamp, arrival: &Arrival<'_>) -> Result<(), Refusal> {
        let protocol = negotiate(arrival.hello)?;
        if self.registry.role(arrival.node) != Some(Role::Worker) {
            return Err(refusal(RefusalCode::NotEnrolled, "this worker is not enrolled here".to_owned(), None));
        }
        self.links.insert(arrival.link, Peer::Guard { node: arrival.node, instance: arrival.hello.instance });
        self.welcome(now, arrival, protocol);
        Ok(())
    }

    fn admit_worker(&mut self, now: Timestamp, arrival: &Arrival<'_>, profile: &WorkerProfile) -> Result<(), Refusal> {
        let protocol = negotiate(arrival.hello)?;
        match self.registry.role(arrival.node) {
            Some(Role::Worker) => {}
            None if arrival.vouched_role() == Some(Role::Worker) => {}
            None => {
                let hint = "run it as the user who runs the dispatcher, on the same machine";
                return Err(refusal(
                    RefusalCode::NotEnrolled,
                    "this worker is not enrolled here".to_owned(),
                    Some(hint),
                ));
            }
            Some(other) => {
                let text = format!("this key is enrolled as a {other}, not as a worker");
                return Err(refusal(RefusalCode::WrongRole, text, None));
            }
        }
        if profile.capacity.slots == 0 {
            return Err(refusal(RefusalCode::Malformed, "it offers no job slot".to_owned(), Some("--max-jobs 1")));
        }
        let name = self.free_name(arrival, profile)?;
        self.check_places(arrival.node)?;

        let registered = self.registry.get(arrival.node).map(|enrolled| &enrolled.name);
        if registered != Some(&name) {
            self.release_name(now, arrival.node, &name);
            self.enrol(now, arrival.node, Role::Worker, name);
        }
        self.welcome(now, arrival, protocol);
        self.seat_arrival(now, arrival, profile);
        Ok(())
    }

    /// The name the worker is to have, unless it may not have it.
    fn free_name(&self, arrival: &Arrival<'_>, profile: &WorkerProfile) -> Result<NodeName, Refusal> {
        let Some(name) = profile.name.clone() else { return Ok(self.registry.name_for(arrival.node, Role::Worker)) };
        let holder = self.registry.named(Role::Worker, &name).filter(|holder| *holder != arrival.node);
        let Some(holder) = holder else { return Ok(name) };
        let connected = self.roster.find(holder).is_some_and(|key| self.roster.at(key).link().is_some());
        if connected {
            let text = format!("another worker is called {name}");
            return Err(refusal(RefusalCode::NameTaken, text, Some("choose another --name")));
        }
        if arrival.vouched_role() != Some(Role::Worker) {
            let text = format!("the name {name} belongs to another key");
            return Err(refusal(RefusalCode::NameTaken, text, Some("choose another --name")));
        }
        Ok(name)
    }

    fn check_places(&self, node: NodeId) -> Result<(), Refusal> {
        let mine = self.roster.find(node).is_some_and(|key| self.roster.at(key).holds_a_place());
        let taken = self.roster.iter().filter(|(_, worker)| worker.holds_a_place()).count();
        if mine || taken < self.config.max_workers as usize {
            return Ok(());
        }
        let text = format!("{taken} workers are connected, which is the most this dispatcher takes");
        Err(refusal(RefusalCode::TooManyWorkers, text, Some("start the dispatcher with a greater --max-workers")))
    }

    /// Takes a name away from the key that had it, which is not connected.
    fn release_name(&mut self, now: Timestamp, node: NodeId, name: &NodeName) {
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
            self.outbox.close(link, "this worker has connected anew");
        }
        let returns = known.is_some_and(|key| self.roster.at(key).instance == Some(arrival.hello.instance));
        let key = match known {
            Some(key) => {
                self.disconnect(key);
                key
            }
            None => self.roster.add(Worker::new(arrival.node, enrolled.name.clone(), presence, now)),
        };
        let worker = self.roster.at_mut(key);
        worker.name = enrolled.name.clone();
        worker.profile = Some(profile.clone());
        worker.software.clone_from(&arrival.hello.software);
        worker.presence = presence;
        worker.draining = enrolled.draining;
        worker.suspect = false;
        worker.stopping = false;
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
