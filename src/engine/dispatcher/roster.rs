//! The workers that the dispatcher reckons with: connected, away for a moment,
//! or lost and still shown.
//!
//! Invariant: a key is on the roster once; a worker has a link exactly while it
//! is arriving or present. Absent: what is free on it (placement's).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::placement::WorkerKey;
use crate::model::node::WorkerProfile;
use crate::model::obstacle::Shortage;
use crate::model::{InstanceId, JobId, LinkId, NodeId, NodeName, RawString, TaskId, Timestamp};

/// One worker of the roster.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its key.
    pub(super) node: NodeId,
    /// Its name.
    pub(super) name: NodeName,
    /// Which start of it holds the attempts below; unknown after a restart of the dispatcher.
    pub(super) instance: Option<InstanceId>,
    /// What it said of itself; unknown after a restart of the dispatcher.
    pub(super) profile: Option<WorkerProfile>,
    /// Its software version.
    pub(super) software: String,
    /// Where it is.
    pub(super) presence: Presence,
    /// Silent for too long to be given anything new.
    pub(super) suspect: bool,
    /// It has been suspect for long enough that what it runs may be started elsewhere as well.
    pub(super) covered: bool,
    /// It said that it stops.
    pub(super) stopping: bool,
    /// It is to be given nothing new.
    pub(super) draining: bool,
    /// What it says that it is short of, over its present link: it can start nothing.
    pub(super) shortage: Option<Shortage>,
    /// Directories that it could not use, over its present link, and when they are to be tried again; soonest first.
    pub(super) faults: VecDeque<(Timestamp, RawString)>,
    /// When it last said anything.
    pub(super) last_heard: Timestamp,
    /// From when its silence counts: when it was last heard, or when the dispatcher itself last stood still.
    pub(super) silent_since: Timestamp,
    /// Tasks whose live attempt it has.
    pub(super) attempts: BTreeSet<TaskId>,
    /// Jobs whose spec was sent over its present link.
    pub(super) learnt: BTreeSet<JobId>,
    /// Results recorded from it.
    pub(super) tasks_done: u64,
    /// When its timer is set.
    pub(super) timer: Option<Timestamp>,
}

/// Where a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It had attempts before the dispatcher restarted and has not been seen since.
    Expected,
    /// Welcomed; has not yet said what it holds.
    Arriving {
        /// Its link.
        link: LinkId,
        /// Which start of it has come.
        instance: InstanceId,
    },
    /// It works.
    Present(LinkId),
    /// Its link is gone; its lease runs on.
    Away,
    /// It is not reckoned with any more; its attempts are requeued.
    Lost,
}

impl Worker {
    /// A worker that has just been heard of.
    pub(super) fn new(node: NodeId, name: NodeName, presence: Presence, now: Timestamp) -> Self {
        Self {
            node,
            name,
            instance: None,
            profile: None,
            software: String::new(),
            presence,
            suspect: false,
            covered: false,
            stopping: false,
            draining: false,
            shortage: None,
            faults: VecDeque::new(),
            last_heard: now,
            silent_since: now,
            attempts: BTreeSet::new(),
            learnt: BTreeSet::new(),
            tasks_done: 0,
            timer: None,
        }
    }

    /// Its link, when it has one.
    pub(super) fn link(&self) -> Option<LinkId> {
        match self.presence {
            Presence::Arriving { link, .. } | Presence::Present(link) => Some(link),
            Presence::Expected | Presence::Away | Presence::Lost => None,
        }
    }

    /// The link that orders can be sent on: it has one and has said what it holds.
    pub(super) fn order_link(&self) -> Option<LinkId> {
        match self.presence {
            Presence::Present(link) => Some(link),
            _ => None,
        }
    }

    /// Whether it may be given new work.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.presence, Presence::Present(_))
            && !self.suspect
            && !self.stopping
            && !self.draining
            && self.shortage.is_none()
    }

    /// Whether it counts towards `--max-workers`: connected, or expected back with work in hand.
    pub(super) fn holds_a_place(&self) -> bool {
        self.link().is_some() || (self.presence != Presence::Lost && !self.attempts.is_empty())
    }
}

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Roster {
    workers: BTreeMap<WorkerKey, Worker>,
    by_node: BTreeMap<NodeId, WorkerKey>,
    issued: u32,
}

impl Roster {
    /// Adds a worker.
    pub(super) fn add(&mut self, worker: Worker) -> WorkerKey {
        self.issued += 1;
        let key = WorkerKey(self.issued);
        let former = self.by_node.insert(worker.node, key);
        assert!(former.is_none(), "a key is on the roster twice");
        self.workers.insert(key, worker);
        key
    }

    /// Removes a worker, which must hold nothing.
    pub(super) fn remove(&mut self, key: WorkerKey) -> Worker {
        let Some(worker) = self.workers.remove(&key) else { unreachable!("worker {key:?} is not on the roster") };
        assert!(worker.attempts.is_empty(), "a worker left the roster with attempts");
        self.by_node.remove(&worker.node);
        worker
    }

    /// The worker with this key.
    pub(super) fn find(&self, node: NodeId) -> Option<WorkerKey> {
        self.by_node.get(&node).copied()
    }

    /// A worker that may have left.
    pub(super) fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.workers.get(&key)
    }

    /// A worker that is there.
    pub(super) fn at(&self, key: WorkerKey) -> &Worker {
        match self.workers.get(&key) {
            Some(worker) => worker,
            None => unreachable!("worker {key:?} is not on the roster"),
        }
    }

    /// Likewise, to be changed.
    pub(super) fn at_mut(&mut self, key: WorkerKey) -> &mut Worker {
        match self.workers.get_mut(&key) {
            Some(worker) => worker,
            None => unreachable!("worker {key:?} is not on the roster"),
        }
    }

    /// All of them, in order of joining.
    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.workers.iter().map(|(key, worker)| (*key, worker))
    }

    /// Likewise, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (WorkerKey, &mut Worker)> {
        self.workers.iter_mut().map(|(key, worker)| (*key, worker))
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert_eq!(self.workers.len(), self.by_node.len(), "workers and their keys are not as many");
        for (node, key) in &self.by_node {
            assert_eq!(self.at(*key).node, *node, "a key leads to another worker");
        }
        for worker in self.workers.values() {
            assert!(worker.link().is_some() || worker.learnt.is_empty(), "a worker knows specs without a link");
            let lost = worker.presence == Presence::Lost;
            assert!(!lost || worker.attempts.is_empty(), "a lost worker holds attempts");
        }
    }
}
