//! The dispatcher's rules, one a test, in a small language: a [`Scene`] has
//! workers and clients by name that behave well unless told otherwise.
//!
//! After every step the scene audits the engine, and its [`ledger`] keeps the
//! records as a store would, so that any scene can be restarted.

mod admission;
mod backlog;
mod chaos;
mod dependencies;
mod doubling;
mod endings;
mod files;
mod hand_over;
mod joining;
mod leases;
mod ledger;
mod membership;
mod placement;
mod power_loss;
mod queue;
mod requests;
mod restart;
mod retries;
mod tokens;
mod watching;

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, CloseReason, DispatcherConfig, DispatcherEngine, Inbound, LinkChange, Notice, Outbound};
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
use crate::model::requests::{FailureCode, Reply, Submission};
use crate::model::selector::Part;
use crate::model::spec::{CommandLine, Isolation};
use crate::model::trust::Voucher;
use crate::model::{
    AttemptReport, Capacity, Demand, InstanceId, Items, JobId, JobSpec, LinkId, MilliCpu, Millis, NodeId, NodeName,
    Outcome, RequestId, Role, SealedSpec, TaskId, TaskState, Timestamp,
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

    // Links.

    fn link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }

    fn hello(&self, intent: Intent, instance: u64) -> Hello {
        Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: "1.0.0".to_owned(),
            instance: InstanceId(instance),
            intent,
            credential: Credential::None,
        }
    }

    fn up(&mut self, node: NodeId, hello: Hello, vouched: Option<Role>) -> LinkId {
        self.up_with(node, hello, vouched.map(Voucher::Access))
    }

    fn up_with(&mut self, node: NodeId, hello: Hello, vouched: Option<Voucher>) -> LinkId {
        let link = self.link();
        self.engine.handle_link(self.now, link, LinkChange::Up { node, hello, vouched });
        self.perform();
        link
    }

    fn down(&mut self, link: LinkId) {
        self.engine.handle_link(self.now, link, LinkChange::Down);
        self.perform();
    }

    /// A client connects.
    fn client(&mut self, who: &'static str, role: Role) {
        let hello = self.hello(Intent::Client, 1);
        let link = self.up(key(who), hello, Some(role));
        assert!(matches!(self.answers.get(&link), Some(Answer::Welcome(_))), "{who} is let in");
        self.clients.insert(who, link);
    }

    fn profile(&self, asked: Option<&str>, capacity: Capacity) -> WorkerProfile {
        WorkerProfile {
            name: asked.map(name),
            capacity,
            labels: BTreeMap::new(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            isolation: Isolation::Basic,
        }
    }

    /// A worker connects and holds nothing.
    fn worker(&mut self, who: &'static str, capacity: Capacity) {
        let profile = self.profile(Some(who), capacity);
        self.joins(who, profile).expect("the worker is let in");
    }

    /// A worker connects with a profile of its own.
    fn joins(&mut self, who: &'static str, profile: WorkerProfile) -> Result<NodeName, Refusal> {
        self.connects(who, profile, 1, Some(Role::Worker))
            .inspect(|_| self.says(who, WorkerMessage::Holding(Vec::new())))
    }

    /// A worker connects and does not yet say what it holds.
    fn connects(
        &mut self,
        who: &'static str,
        profile: WorkerProfile,
        instance: u64,
        vouched: Option<Role>,
    ) -> Result<NodeName, Refusal> {
        let hello = self.hello(Intent::Worker(profile.clone()), instance);
        let link = self.up(key(who), hello, vouched);
        match self.answers.get(&link).cloned() {
            Some(other @ (Answer::Waiting(_) | Answer::Peer(_))) => panic!("{who} is told {other:?}"),
            Some(Answer::Welcome(welcome)) => {
                let holds = self.workers.remove(who).filter(|old| old.instance == instance).map(|old| old.holds);
                let played = Played {
                    link,
                    instance,
                    profile,
                    beats: true,
                    holds: holds.unwrap_or_default(),
                    told_to_end: Vec::new(),
                    learnt: Vec::new(),
                    thanked: Vec::new(),
                    retracted: Vec::new(),
                    granted: Vec::new(),
                    asked: Vec::new(),
                    closed: None,
                };
                self.workers.insert(who, played);
                Ok(welcome.name)
            }
            Some(Answer::Refused(refusal)) => Err(refusal),
            None => panic!("{who} got no answer"),
        }
    }

    /// The same instance of a worker connects again and says what it holds.
    fn reconnects(&mut self, who: &'static str) {
        let played = &self.workers[who];
        let (profile, instance) = (played.profile.clone(), played.instance);
        self.connects(who, profile, instance, None).expect("a known worker is let in");
        self.says_what_it_holds(who);
    }

    fn says_what_it_holds(&mut self, who: &'static str) {
        let held = |assignment: &Assignment| HeldAttempt {
            id: assignment.id(),
            fence: assignment.fence,
            started_at: None,
            gpus: assignment.gpus.clone(),
        };
        let held = self.workers[who].holds.values().map(held).collect();
        self.says(who, WorkerMessage::Holding(held));
    }

    /// A new instance of a worker connects and holds nothing.
    fn restarts(&mut self, who: &'static str) {
        let played = &self.workers[who];
        let (profile, instance) = (played.profile.clone(), played.instance + 1);
        self.connects(who, profile, instance, None).expect("a known worker is let in");
        self.says(who, WorkerMessage::Holding(Vec::new()));
    }

    /// A worker's link breaks; it keeps what it holds.
    fn loses_its_link(&mut self, who: &'static str) {
        let played = self.workers.get_mut(who).expect("a worker of this scene");
        played.beats = false;
        let link = played.link;
        self.engine.handle_link(self.now, link, LinkChange::Down);
        self.perform();
    }

    /// A worker says nothing any more, though its link stands.
    fn falls_silent(&mut self, who: &'static str) {
        self.workers.get_mut(who).expect("a worker of this scene").beats = false;
    }

    /// A guard reports the end of a worker's present instance.
    fn guard_reports(&mut self, who: &'static str) {
        let instance = self.workers[who].instance;
        let hello = self.hello(Intent::Guard, instance);
        let link = self.up(key(who), hello, None);
        self.engine.handle_message(self.now, link, Inbound::Guard);
        self.perform();
    }

    // Workers.

    fn says(&mut self, who: &'static str, message: WorkerMessage) {
        let link = self.workers[who].link;
        self.engine.handle_message(self.now, link, Inbound::Worker(message));
        self.perform();
    }

    /// The tasks that a worker was told to run and has not reported.
    fn on(&self, who: &'static str) -> Vec<TaskId> {
        self.workers[who].holds.keys().copied().collect()
    }

    fn starts(&mut self, who: &'static str, task: TaskId) {
        let assignment = self.workers[who].holds[&task].clone();
        let started = StartedAttempt { id: assignment.id(), fence: assignment.fence, at: self.now };
        self.says(who, WorkerMessage::Started(vec![started]));
    }

    fn report(&self, outcome: Outcome) -> AttemptReport {
        AttemptReport {
            outcome,
            started_at: Some(self.now),
            ended_at: self.now,
            peak_memory_bytes: 0,
            output: OutputSummary::default(),
            files: None,
        }
    }

    /// A worker reports the end of a task that it holds.
    fn ends(&mut self, who: &'static str, task: TaskId, outcome: Outcome) {
        let assignment = self.forgets(who, task);
        self.reports(who, &assignment, outcome);
    }

    /// A worker reports the end of an attempt, whether or not it holds it.
    fn reports(&mut self, who: &'static str, assignment: &Assignment, outcome: Outcome) {
        let report = self.report(outcome);
        let ended = EndedAttempt { id: assignment.id(), fence: assignment.fence, report };
        self.says(who, WorkerMessage::Ended(vec![ended]));
    }

    fn gives_back(&mut self, who: &'static str, task: TaskId) {
        let assignment = self.forgets(who, task);
        let attempt = FencedAttempt { id: assignment.id(), fence: assignment.fence };
        self.says(who, WorkerMessage::Returned(vec![attempt]));
    }

    /// A worker no longer holds a task, and says nothing of it.
    fn forgets(&mut self, who: &'static str, task: TaskId) -> Assignment {
        let played = self.workers.get_mut(who).expect("a worker of this scene");
        played.holds.remove(&task).unwrap_or_else(|| panic!("{who} does not hold {task}"))
    }

    /// Ends with success the first task that a worker holds.
    fn works_off_one(&mut self, who: &'static str) {
        let first = self.on(who)[0];
        self.ends(who, first, OK);
    }

    /// Ends with success whatever any worker holds, until nothing is held.
    fn works_off(&mut self) {
        while let Some((who, task)) =
            self.workers.iter().find_map(|(who, worker)| Some((*who, *worker.holds.keys().next()?)))
        {
            self.ends(who, task, OK);
        }
    }

    // Clients.

    fn ask(&mut self, who: &'static str, call: Call) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        let link = self.clients[who];
        self.engine.handle_message(self.now, link, Inbound::Request { request, call });
        self.perform();
        request
    }

    /// What was answered to a request, oldest first.
    fn heard(&self, request: RequestId) -> Vec<&Reply> {
        self.replies.iter().filter(|(to, _)| *to == request).map(|(_, reply)| reply).collect()
    }

    fn answer(&mut self, who: &'static str, call: Call) -> Reply {
        let request = self.ask(who, call);
        self.heard(request).pop().cloned().expect("an answer")
    }

    fn submission(&mut self, spec: JobSpec) -> Submission {
        self.requests += 1;
        Submission { spec: SealedSpec::seal(spec), idempotency_key: format!("key {}", self.requests), strict: false }
    }

    fn submit_as(&mut self, who: &'static str, spec: JobSpec) -> JobId {
        let submission = self.submission(spec);
        match self.answer(who, Call::Submit { submission, ended_dependencies: BTreeMap::new() }) {
            Reply::Submitted { job, .. } => job,
            other => panic!("not submitted: {other:?}"),
        }
    }

    fn submit(&mut self, spec: JobSpec) -> JobId {
        self.submit_as("admin", spec)
    }

    /// How many tasks a cancel concerned.
    fn cancel(&mut self, parts: Vec<Part>) -> u64 {
        match self.answer("admin", Call::Cancel { parts, why: Cancellation::Requested(None) }) {
            Reply::Done { affected } => affected,
            other => panic!("not cancelled: {other:?}"),
        }
    }

    /// How many tasks are done again.
    fn retry(&mut self, parts: Vec<Part>, failed_only: bool) -> u64 {
        let unknown = |part: &Part| match part {
            Part::Jobs(job, _) => *job,
            Part::Task(task) => task.job,
        };
        let recalled: BTreeSet<JobId> = parts.iter().map(unknown).collect();
        let recalled = recalled.into_iter().filter_map(|job| self.ledger.recall(job)).collect();
        match self.answer("admin", Call::Retry { parts, failed_only, recalled }) {
            Reply::Done { affected } => affected,
            other => panic!("not done again: {other:?}"),
        }
    }

    fn failure(&mut self, who: &'static str, call: Call) -> FailureCode {
        match self.answer(who, call) {
            Reply::Failed(failure) => failure.code,
            other => panic!("it did not fail: {other:?}"),
        }
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
            | DispatcherMessage::Roster(_) => {}
        }
    }

    fn told_to_end(&self, task: TaskId) -> bool {
        self.told_to_end.iter().any(|cancel| cancel.id.task == task)
    }
}
