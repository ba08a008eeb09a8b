//! Who is behind which link, and what each may say there.
//!
//! Invariant: a message is heeded only on a link of the role whose message it
//! is. Absent: how a link was admitted (`admission`).

use std::collections::{BTreeMap, BTreeSet};

use super::losses::Loss;
use super::placement::WorkerKey;
use super::roster::Presence;
use super::watch::WatcherId;
use super::{CloseReason, DispatcherEngine, Inbound, LossCause, Notice};
use crate::model::messages::WorkerMessage;
use crate::model::{InstanceId, JobId, LinkId, NodeId, NodeName, RequestId, Role, Timestamp};

/// Who is behind a link.
#[derive(Debug)]
pub(super) enum Peer {
    /// A worker of the roster.
    Worker(WorkerKey),
    /// A client.
    Client {
        /// Its key.
        node: NodeId,
        /// Admin or client.
        role: Role,
        /// Jobs that it is the client of, by the request that says so.
        attending: BTreeMap<RequestId, JobId>,
        /// Requests on which it watches jobs.
        watching: BTreeSet<RequestId>,
    },
    /// The guard of a worker's instance.
    Guard {
        /// The worker's key.
        node: NodeId,
        /// The instance that it guards.
        instance: InstanceId,
    },
    /// A worker that waits for approval.
    Joining {
        /// Its key.
        node: NodeId,
        /// The name that it waits under.
        name: NodeName,
    },
}

impl Peer {
    /// A client that has said nothing yet.
    pub(super) fn client(node: NodeId, role: Role) -> Self {
        Self::Client { node, role, attending: BTreeMap::new(), watching: BTreeSet::new() }
    }
}

impl DispatcherEngine {
    /// Takes a message to whoever it is for.
    pub(super) fn hear(&mut self, now: Timestamp, link: LinkId, message: Inbound) {
        match (self.links.get(&link), message) {
            (None, _) => {}
            (Some(Peer::Worker(key)), Inbound::Worker(message)) => self.hear_worker(now, link, *key, message),
            (Some(Peer::Worker(key)), Inbound::InputLost { request, lost }) => {
                let reply = self.input_lost(now, *key, &lost).unwrap_or_else(crate::model::requests::Reply::Failed);
                self.outbox.reply(link, request, reply);
            }
            (Some(Peer::Worker(_)), Inbound::RequestGone(_)) => {}
            (Some(Peer::Worker(key)), Inbound::HandedOver(list)) => {
                let key = *key;
                self.heard(now, key);
                self.note_taken(now, link, key, list);
            }
            (Some(Peer::Client { .. }), Inbound::Request { request, call }) => self.request(now, link, request, call),
            (Some(Peer::Client { .. }), Inbound::RequestGone(request)) => {
                self.unwatch(WatcherId { link, request });
                self.detach(now, WatcherId { link, request });
            }
            (Some(Peer::Guard { node, instance }), Inbound::Guard) => {
                let (node, instance) = (*node, *instance);
                self.hear_guard(now, node, instance);
                self.links.remove(&link);
                self.outbox.close(link, CloseReason::Done, "noted");
            }
            (Some(_), _) => self.expel(now, link, "that is not its to say"),
        }
    }

    fn hear_worker(&mut self, now: Timestamp, link: LinkId, key: WorkerKey, message: WorkerMessage) {
        self.heard(now, key);
        let arriving = matches!(self.roster.at(key).presence, Presence::Arriving { .. });
        match message {
            WorkerMessage::Heartbeat { sequence } => self.echo(now, link, sequence),
            WorkerMessage::Holding(held) => self.reconcile(now, key, held),
            WorkerMessage::Stopping => {
                self.roster.at_mut(key).stopping = true;
                self.open_or_close(key);
            }
            // Whom it hears changes nothing here; the shell keeps it for those who ask.
            WorkerMessage::Neighbours(_)
            | WorkerMessage::Listening(_)
            | WorkerMessage::Linked(_)
            | WorkerMessage::Moved(_) => {}
            // Comes as what its proofs say, when they hold.
            WorkerMessage::TookOver(_) => {}
            _ if arriving => self.expel(now, link, "it has to say first what it holds"),
            WorkerMessage::Started(list) => self.note_started(key, list),
            WorkerMessage::Ended(list) => self.take_results(now, link, key, list),
            WorkerMessage::Returned(list) => self.take_back(now, key, list),
            WorkerMessage::Refused(list) => self.take_refused(now, key, list),
            WorkerMessage::Short(shortage) => {
                self.roster.at_mut(key).shortage = shortage;
                self.open_or_close(key);
            }
            WorkerMessage::SpecMissing(job) => self.teach_again(link, key, job),
            WorkerMessage::GaveAway(list) => self.note_given(now, link, key, list),
            WorkerMessage::NeverCame(list) => self.note_missing(now, key, list),
        }
    }

    /// The end of an instance is certain.
    fn hear_guard(&mut self, now: Timestamp, node: NodeId, ended: InstanceId) {
        let Some(key) = self.roster.find(node) else { return };
        let worker = self.roster.at(key);
        let held_by_it = worker.instance == Some(ended);
        match worker.presence {
            Presence::Lost => {}
            Presence::Arriving { instance, .. } if instance == ended => self.lose_worker(now, key, LossCause::Guard),
            // The next instance is here already: only what the ended one held is lost.
            Presence::Arriving { .. } if held_by_it => self.lose_attempts(now, key, &Loss::WorkerLost),
            Presence::Arriving { .. } => {}
            _ if held_by_it => self.lose_worker(now, key, LossCause::Guard),
            _ => {}
        }
    }

    /// Closes a link whose peer says what it may not.
    fn expel(&mut self, now: Timestamp, link: LinkId, text: &str) {
        self.link_down(now, link);
        self.outbox.close(link, CloseReason::Malformed, text);
    }

    /// A link is gone.
    pub(super) fn link_down(&mut self, now: Timestamp, link: LinkId) {
        self.outbox.drop_mail(link);
        if let Some(Peer::Joining { .. }) = self.links.get(&link) {
            return self.forget_joiner(link);
        }
        match self.links.remove(&link) {
            Some(Peer::Worker(key)) => self.worker_away(now, key),
            Some(Peer::Client { attending, watching, .. }) => {
                for (request, job) in attending {
                    self.client_left(now, job, WatcherId { link, request });
                }
                for request in watching {
                    self.unwatch(WatcherId { link, request });
                }
            }
            Some(Peer::Guard { .. } | Peer::Joining { .. }) | None => {}
        }
    }

    /// A worker's link is gone: it may come back, unless it was stopping.
    fn worker_away(&mut self, now: Timestamp, key: WorkerKey) {
        self.disconnect(key);
        let worker = self.roster.at(key);
        if worker.stopping {
            self.lose_worker(now, key, LossCause::Stopped);
            self.leave(key);
        } else {
            let worker = worker.name.clone();
            self.outbox.notice(Notice::WorkerAway { worker });
        }
    }

    /// Panics with what is broken about the links.
    pub(super) fn check_links(&self) {
        for (link, peer) in &self.links {
            if let Peer::Worker(key) = peer {
                assert_eq!(self.roster.at(*key).link(), Some(*link), "a link leads to a worker that has another");
            }
        }
        for (key, worker) in self.roster.iter() {
            let Some(link) = worker.link() else { continue };
            let known = matches!(self.links.get(&link), Some(Peer::Worker(found)) if *found == key);
            assert!(known, "the link of {} does not lead to it", worker.name);
            let seated = self.placement.is_seated(key);
            assert_eq!(seated, worker.order_link().is_some(), "{} is placed on without being present", worker.name);
        }
    }
}
