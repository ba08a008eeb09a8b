//! The dispatcher's rules, one a test, in a small language: a [`Scene`] has
//! workers and clients by name that behave well unless told otherwise.
//!
//! After every step the scene audits the engine, and its [`ledger`] keeps the
//! records as a store would, so that any scene can be restarted.

mod admission;
mod attendance;
mod backlog;
mod chaos;
mod deeds;
mod dependencies;
mod doubling;
mod endings;
mod files;
mod hand_over;
mod joining;
mod leases;
mod ledger;
mod links;
mod membership;
mod owners;
mod placement;
mod power_loss;
mod queue;
mod refused;
mod repeating;
mod requests;
mod restart;
mod retries;
mod tokens;
mod watching;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Call, CloseReason, DispatcherConfig, DispatcherEngine, Inbound, LinkChange, Notice, Outbound, WantedToken, Whose,
};
use crate::model::handshake::{Answer, Credential, Hello, Intent, Refusal, RefusalCode};
use crate::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};
use crate::model::messages::{
    Assignment, CancelAttempt, DispatcherMessage, EndedAttempt, FencedAttempt, HeldAttempt, StartedAttempt,
    WorkerMessage,
};
use crate::model::node::WorkerProfile;
use crate::model::offload::GrantedAttempt;
use crate::model::outcome::{Cancellation, OutputSummary};
use crate::model::records::{DiskSpace, Record, TaskCounts};
use crate::model::requests::{Changes, FailureCode, Reply, Submission};
use crate::model::selector::Part;
use crate::model::spec::{CommandLine, Isolation};
use crate::model::trust::Voucher;
use crate::model::{
    AttemptReport, Capacity, ClientId, Demand, InstanceId, Items, JobId, JobSpec, LinkId, MilliCpu, Millis, NodeId,
    NodeName, Outcome, RequestId, Role, SealedSpec, TaskId, TaskState, Timestamp,
};
use ledger::Ledger;

/// A worker as the scene plays it.
struct Played {
    link: LinkId,
    instance: u64,
    profile: WorkerProfile,
    /// Whether it sends heartbeats while time passes.
    beats: bool,
    /// What it was told to run and has not reported.
    holds: BTreeMap<TaskId, Assignment>,
    /// What it was told to end.
    told_to_end: Vec<CancelAttempt>,
    /// Jobs that it was taught over its present link.
    learnt: Vec<JobId>,
    thanked: Vec<FencedAttempt>,
    /// What it was told to give back, may hand on, and was asked for.
    retracted: Vec<FencedAttempt>,
    granted: Vec<GrantedAttempt>,
    asked: Vec<FencedAttempt>,
    closed: Option<String>,
}

/// A dispatcher with its workers and clients.
struct Scene {
    engine: DispatcherEngine,
    config: DispatcherConfig,
    now: Timestamp,
    workers: BTreeMap<&'static str, Played>,
    clients: BTreeMap<&'static str, LinkId>,
    ledger: Ledger,
    replies: Vec<(RequestId, Reply)>,
    answers: BTreeMap<LinkId, Answer>,
    /// Answers that waited for the disk.
    answered_late: BTreeSet<LinkId>,
    closed: BTreeMap<LinkId, CloseReason>,
    notices: Vec<Notice>,
    /// Records in the order in which they were written.
    records: Vec<Record>,
    /// Every message to a worker in the order sent, and whether it waited for the disk.
    said: Vec<(LinkId, DispatcherMessage, bool)>,
    links: u64,
    requests: u64,
}

/// Workers get what fits into their slots: most rules are seen best so.
fn without_backlog() -> DispatcherConfig {
    DispatcherConfig { backlog: Millis(0), ..DispatcherConfig::default() }
}

fn secs(s: u64) -> Millis {
    Millis::from_secs(s)
}

/// The key that a name stands for in these tests.
fn key(name: &str) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    NodeId(bytes)
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a valid name")
}

fn slots(slots: u32) -> Capacity {
    Capacity { slots, cpu: MilliCpu::from_cores(64), memory_bytes: 64_000, ..Capacity::default() }
}

fn single() -> JobSpec {
    JobSpec::single(CommandLine::Shell("true".into()))
}

fn array(tasks: u64) -> JobSpec {
    JobSpec { items: Items::Range { first: 1, last: tasks, step: 1 }, ..single() }
}

fn memory(bytes: u64) -> Demand {
    Demand { memory_bytes: bytes, ..Demand::default() }
}

fn task(job: JobId, index: u64) -> TaskId {
    TaskId::new(job.0, index)
}

fn exit(code: i32) -> Outcome {
    Outcome::Exited(code)
}

fn job(id: JobId) -> Vec<Part> {
    vec![Part::Jobs(id, id)]
}

const OK: Outcome = Outcome::Exited(0);

impl Scene {
    fn new() -> Self {
        Self::with(without_backlog())
    }

    fn with(config: DispatcherConfig) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut ledger = Ledger::default();
        let engine = DispatcherEngine::restore(config.clone(), now, ledger.restored());
        let mut scene = Self {
            engine,
            config,
            now,
            workers: BTreeMap::new(),
            clients: BTreeMap::new(),
            ledger,
            replies: Vec::new(),
            answers: BTreeMap::new(),
            answered_late: BTreeSet::new(),
            closed: BTreeMap::new(),
            notices: Vec::new(),
            records: Vec::new(),
            said: Vec::new(),
            links: 0,
            requests: 0,
        };
        scene.client("admin", Role::Admin);
        scene
    }

    // Time.

    /// Lets time pass; workers that beat are heard every second.
    fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        while self.now < end {
            let step = (self.now + Millis(250)).min(end);
            let due = self.engine.poll_timeout().filter(|due| *due > self.now && *due < step);
            self.now = due.unwrap_or(step);
            if self.now.0.is_multiple_of(1_000_000) {
                let beating: Vec<&'static str> =
                    self.workers.iter().filter(|(_, worker)| worker.beats).map(|(name, _)| *name).collect();
                for worker in beating {
                    self.says(worker, WorkerMessage::Heartbeat { sequence: 1 });
                }
            }
            self.engine.handle_timeout(self.now);
            self.perform();
        }
    }

    /// Lets time jump, as it does when the dispatcher stood still.
    fn stall(&mut self, span: Millis) {
        self.now = self.now + span;
        self.engine.handle_timeout(self.now);
        self.perform();
    }

    /// The store's disk becomes full, or has room again.
    fn disk(&mut self, disk: DiskSpace) {
        self.engine.handle_disk(self.now, disk);
        self.perform();
    }

    /// Jobs have been kept long enough.
    fn expire(&mut self, jobs: &[JobId]) {
        self.engine.handle_expired(self.now, jobs);
        self.perform();
    }

    // What became of it.

    /// The state of a task as it is written down.
    fn state(&self, task: TaskId) -> TaskState {
        self.ledger.state(task)
    }

    fn counts(&self, task: TaskId) -> TaskCounts {
        self.ledger.counts(task)
    }

    /// How a job ended, as it is written down.
    fn ended(&self, job: JobId) -> Option<TaskState> {
        self.ledger.ended(job)
    }

    fn outcome(&self, task: TaskId) -> Option<Outcome> {
        self.ledger.outcome(task)
    }

    fn noticed(&self, wanted: impl Fn(&Notice) -> bool) -> usize {
        self.notices.iter().filter(|notice| wanted(notice)).count()
    }

    /// Audits the engine, then does what it wants done; the disk is fast here.
    fn perform(&mut self) {
        self.engine.check_invariants();
        let effects = self.engine.take_effects();
        for record in effects.records {
            self.ledger.write(&record);
            self.records.push(record);
        }
        let at_once = effects.messages.into_iter().map(|message| (message, false));
        let after_sync = effects.messages_after_sync.into_iter().map(|message| (message, true));
        for ((link, message), waited) in at_once.chain(after_sync) {
            self.deliver(link, message, waited);
        }
        self.notices.extend(effects.notices);
        assert!(self.engine.take_effects().is_empty(), "effects are taken once");
    }

    fn deliver(&mut self, link: LinkId, message: Outbound, waited: bool) {
        match message {
            Outbound::Answer(answer) => {
                if waited {
                    self.answered_late.insert(link);
                }
                self.answers.insert(link, answer);
            }
            Outbound::Reply { request, reply } => self.replies.push((request, reply)),
            Outbound::ToWorker(message) => {
                self.said.push((link, message.clone(), waited));
                if let Some(worker) = self.workers.values_mut().find(|worker| worker.link == link) {
                    worker.is_told(message);
                }
            }
            Outbound::Close { reason, text } => {
                self.closed.insert(link, reason);
                if let Some(worker) = self.workers.values_mut().find(|worker| worker.link == link) {
                    worker.closed = Some(text);
                    worker.beats = false;
                }
            }
        }
    }
}

impl Played {
    fn is_told(&mut self, message: DispatcherMessage) {
        match message {
            DispatcherMessage::Learn(jobs) => self.learnt.extend(jobs.into_iter().map(|job| job.job)),
            DispatcherMessage::Assign(list) => {
                for assignment in list {
                    assert!(self.learnt.contains(&assignment.task.job), "assigned a task of an unknown job");
                    let fence = assignment.fence;
                    let former = self.holds.insert(assignment.task, assignment);
                    assert!(former.is_none_or(|former| former.fence < fence), "assigned an attempt twice");
                }
            }
            DispatcherMessage::Cancel(list) => self.told_to_end.extend(list),
            DispatcherMessage::Recorded(list) => self.thanked.extend(list),
            DispatcherMessage::ForgetJobs(jobs) => self.learnt.retain(|job| !jobs.contains(job)),
            DispatcherMessage::Retract(list) => self.retracted.extend(list),
            DispatcherMessage::Grant(list) => self.granted.extend(list),
            DispatcherMessage::Account(list) => self.asked.extend(list),
            DispatcherMessage::HeartbeatSeen { .. }
            | DispatcherMessage::Drain
            | DispatcherMessage::Resume
            | DispatcherMessage::KeyCopied
            | DispatcherMessage::Roster(_) => {}
        }
    }

    fn told_to_end(&self, task: TaskId) -> bool {
        self.told_to_end.iter().any(|cancel| cancel.id.task == task)
    }
}
