//! The JSON of every read command, with the stable keys of docs/HELP.md.
//!
//! The one invariant: keys are always there; what is not known is `null`.
//! A change to a key is a breaking change: the tests below hold each of them.

mod bench;
mod doctor;
mod files;
mod outcome;
mod peers;
mod spec;
mod trust;

use serde::Serialize;
use serde_json::Number;

pub(crate) use bench::Figure;
pub(crate) use doctor::{Diagnosis, FindingShown, Lonely};
pub(crate) use outcome::{Brought, Changed, LogLine, MadeToken};
#[cfg(test)]
pub(crate) use peers::tests as peer_tests;
pub(crate) use peers::{Peer, peer_address};
#[cfg(test)]
pub(crate) use trust::tests as trust_tests;
pub(crate) use trust::{Client, Token, client_state};

use super::text::rfc3339;
use crate::model::files::FileTraffic;
use crate::model::obstacle::Shortage;
use crate::model::outcome::{Cancellation, Cause};
use crate::model::views::{
    Explanation, JobView, StatusView, TaskTotals, TaskView, Usage, WorkerLack, WorkerState, WorkerView,
};
use crate::model::{NodeName, Outcome, TaskState, Timestamp};
use crate::node::hardware::Hardware;

/// A job.
#[derive(Debug, Serialize)]
pub(crate) struct Job<'a> {
    id: u64,
    name: &'a str,
    owner: &'a str,
    state: TaskState,
    tasks: Tasks,
    submitted_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    cancelled_by: Option<&'a str>,
    retried_by: Option<&'a str>,
    /// Of a single task that has ended.
    exit_code: Option<i32>,
    signal: Option<i32>,
    cause: Option<Cause>,
    /// Only there when the job was asked for by its id.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    spec: Option<Box<spec::Spec>>,
}

/// The tasks of a job, counted by state.
#[derive(Debug, Serialize)]
struct Tasks {
    total: u64,
    waiting: u64,
    ready: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

impl<'a> From<&'a JobView> for Job<'a> {
    fn from(view: &'a JobView) -> Self {
        Self {
            id: view.job.0,
            name: &view.name,
            owner: view.owner_name.as_str(),
            state: view.state,
            tasks: Tasks::from(view.tasks),
            submitted_at: rfc3339(view.submitted_at),
            started_at: instant(view.started_at),
            ended_at: instant(view.ended_at),
            cancelled_by: view.cancelling.as_ref().and_then(canceller),
            retried_by: view.retried.as_ref().map(|act| act.by.name.as_str()),
            exit_code: view.outcome.as_ref().and_then(exit_code),
            signal: view.outcome.as_ref().and_then(signal),
            cause: view.outcome.as_ref().and_then(Outcome::cause),
            spec: view.spec.as_ref().map(|sealed| Box::new(spec::Spec::from(sealed.spec()))),
        }
    }
}

fn exit_code(outcome: &Outcome) -> Option<i32> {
    if let Outcome::Exited(code) = outcome { Some(*code) } else { None }
}

fn signal(outcome: &Outcome) -> Option<i32> {
    if let Outcome::Signalled(signal) = outcome { Some(*signal) } else { None }
}

/// Who asked for a cancellation.
fn canceller(why: &Cancellation) -> Option<&str> {
    why.by().map(|by| by.name.as_str())
}

impl From<TaskTotals> for Tasks {
    fn from(totals: TaskTotals) -> Self {
        let TaskTotals { total, waiting, ready, running, succeeded, failed, cancelled } = totals;
        Self { total, waiting, ready, running, succeeded, failed, cancelled }
    }
}

/// A task, with what its last attempt came to.
#[derive(Debug, Serialize)]
pub(crate) struct Task<'a> {
    id: String,
    job: u64,
    index: u64,
    /// What it is about; `null` for a single task.
    item: Option<String>,
    state: TaskState,
    attempt: Option<u32>,
    worker: Option<&'a str>,
    /// Only there when a worker handed it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    handed_over_by: Option<&'a str>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    cause: Option<Cause>,
    cancelled_by: Option<&'a str>,
    submitted_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    peak_memory_bytes: Option<u64>,
    outputs: Vec<files::Output>,
    transfers: Vec<files::Moved<'a>>,
    /// There only when there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_sources: Vec<files::Failed<'a>>,
}

impl<'a> Task<'a> {
    /// A task and its item.
    pub(crate) fn new(view: &'a TaskView, item: Option<String>) -> Self {
        let last = view.decisive();
        Self {
            id: view.task.to_string(),
            job: view.task.job.0,
            index: view.task.index.0,
            item,
            state: view.state,
            attempt: last.map(|attempt| attempt.id.attempt.0),
            worker: last.map(|attempt| attempt.worker.as_str()),
            handed_over_by: last.and_then(|attempt| attempt.handed_over_by.as_ref()).map(NodeName::as_str),
            exit_code: view.outcome.as_ref().and_then(exit_code),
            signal: view.outcome.as_ref().and_then(signal),
            cause: view.outcome.as_ref().and_then(Outcome::cause),
            cancelled_by: match &view.outcome {
                Some(Outcome::Cancelled(why)) => canceller(why),
                _ => None,
            },
            submitted_at: rfc3339(view.submitted_at),
            started_at: instant(last.and_then(|attempt| attempt.started_at)),
            ended_at: instant(view.ended_at),
            peak_memory_bytes: last.map(|attempt| attempt.peak_memory_bytes).filter(|bytes| *bytes > 0),
            outputs: files::outputs(view),
            transfers: files::transfers(view),
            failed_sources: files::failed_sources(view),
        }
    }
}

/// A worker.
#[derive(Debug, Serialize)]
pub(crate) struct Worker<'a> {
    name: &'a str,
    node_id: String,
    state: WorkerState,
    slots: Amount,
    cpu: Amount,
    memory_mb: Amount,
    gpus: Amount,
    address: Option<&'a str>,
    version: &'a str,
    tasks_done: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortage: Option<Shortage>,
    drained_by: Option<&'a str>,
    resumed_by: Option<&'a str>,
    bytes: FileTraffic,
}

/// An amount and how much of it is taken.
#[derive(Debug, Serialize)]
struct Amount {
    total: Number,
    used: Number,
}

impl<'a> From<&'a WorkerView> for Worker<'a> {
    fn from(view: &'a WorkerView) -> Self {
        let whole = |usage: Usage| Amount { total: usage.total.into(), used: usage.used.into() };
        let by = view.drain_act.as_ref().map(|act| act.by.name.as_str());
        let megabytes = |usage: Usage| Amount { total: (usage.total >> 20).into(), used: (usage.used >> 20).into() };
        Self {
            name: view.name.as_str(),
            node_id: view.node.to_string(),
            state: view.state,
            slots: whole(view.slots),
            cpu: Amount { total: cores(view.cpu.total), used: cores(view.cpu.used) },
            memory_mb: megabytes(view.memory_bytes),
            gpus: whole(view.gpus),
            address: view.address.as_deref(),
            version: &view.version,
            tasks_done: view.tasks_done,
            shortage: view.shortage,
            drained_by: by.filter(|_| view.is_drained),
            resumed_by: by.filter(|_| !view.is_drained),
            bytes: view.traffic,
        }
    }
}

/// The cluster.
#[derive(Debug, Serialize)]
pub(crate) struct Status<'a> {
    dispatcher: Dispatcher<'a>,
    workers: Workers,
    slots: Amount,
    jobs: Jobs,
    tasks: Tasks,
    tasks_done: u64,
    tasks_last_minute: u64,
    results_discarded: u64,
    store_bytes: u64,
    files_bytes: u64,
    disk: &'static str,
}

#[derive(Debug, Serialize)]
struct Dispatcher<'a> {
    node_id: String,
    address: &'a str,
    version: &'a str,
    epoch: u32,
    started_at: String,
}

#[derive(Debug, Serialize)]
struct Workers {
    connected: u32,
    max: u32,
}

#[derive(Debug, Serialize)]
struct Jobs {
    active: u64,
}

impl<'a> From<&'a StatusView> for Status<'a> {
    fn from(view: &'a StatusView) -> Self {
        Self {
            dispatcher: Dispatcher {
                node_id: view.dispatcher.to_string(),
                address: &view.address,
                version: &view.version,
                epoch: view.epoch,
                started_at: rfc3339(view.started_at),
            },
            workers: Workers { connected: view.workers, max: view.max_workers },
            slots: Amount { total: view.slots.total.into(), used: view.slots.used.into() },
            jobs: Jobs { active: view.jobs_active },
            tasks: Tasks::from(view.tasks),
            tasks_done: view.tasks_done,
            tasks_last_minute: view.tasks_last_minute,
            results_discarded: view.results_discarded,
            store_bytes: view.store_bytes,
            files_bytes: view.files_bytes,
            disk: if view.disk.is_enough() { "enough" } else { "full" },
        }
    }
}

/// Why a task does not run.
#[derive(Debug, Serialize)]
pub(crate) struct Explained<'a> {
    task: String,
    item: Option<String>,
    owner: &'a str,
    state: TaskState,
    waits_for: Option<&'a str>,
    workers: Vec<Lack<'a>>,
}

#[derive(Debug, Serialize)]
struct Lack<'a> {
    worker: &'a str,
    lacks: &'a [String],
    never: bool,
}

impl<'a> Explained<'a> {
    /// An explanation and the item of its task.
    pub(crate) fn new(view: &'a Explanation, item: Option<String>) -> Self {
        let lack = |lack: &'a WorkerLack| Lack { worker: lack.worker.as_str(), lacks: &lack.lacks, never: lack.never };
        Self {
            task: view.task.to_string(),
            item,
            owner: view.owner.as_str(),
            state: view.state,
            waits_for: view.waits_for.as_deref(),
            workers: view.workers.iter().map(lack).collect(),
        }
    }
}

/// What a worker here would advertise.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    os: &'static str,
    arch: &'static str,
    cpu_cores: Number,
    memory_mb: u64,
    gpus: Vec<String>,
}

impl From<&Hardware> for Machine {
    fn from(hardware: &Hardware) -> Self {
        Self {
            os: hardware.os,
            arch: hardware.arch,
            cpu_cores: cores(u64::from(hardware.cpu.0)),
            memory_mb: hardware.memory_bytes >> 20,
            gpus: hardware.gpus.iter().map(|device| device.display().to_string()).collect(),
        }
    }
}

fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(rfc3339)
}

/// Cores as a number: whole where they are whole.
fn cores(thousandths: u64) -> Number {
    if thousandths.is_multiple_of(1000) {
        return Number::from(thousandths / 1000);
    }
    Number::from_f64(thousandths as f64 / 1000.0).unwrap_or_else(|| Number::from(thousandths / 1000))
}

/// A job or a task, for lists of both.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown<'a> {
    /// A job.
    Job(Job<'a>),
    /// A task.
    Task(Task<'a>),
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::outcome::LimitSource;
    use crate::model::records::TaskCounts;
    use crate::model::spec::{CommandLine, TimeLimit};
    use crate::model::views::AttemptView;
    use crate::model::{
        AttemptId, AttemptNo, Demand, Epoch, Fence, Items, JobId, JobSpec, MilliCpu, Millis, NodeId, SealedSpec, TaskId,
    };

    /// A job of three tasks, one of them failed.
    pub(crate) fn sample_job() -> JobView {
        JobView {
            job: JobId(5),
            name: "night run".to_owned(),
            state: TaskState::Running,
            tasks: TaskTotals { total: 3, running: 1, succeeded: 1, failed: 1, ..TaskTotals::default() },
            owner: NodeId([1; 32]),
            owner_name: "anna".parse().expect("a name"),
            submitted_at: Timestamp::from_millis(1_000),
            started_at: Some(Timestamp::from_millis(2_000)),
            ended_at: None,
            outcome: None,
            cancelling: None,
            retried: None,
            spec: None,
        }
    }

    /// Its failed task, tried twice.
    pub(crate) fn sample_task() -> TaskView {
        let attempt = |no, outcome| AttemptView {
            id: AttemptId { task: TaskId::new(5, 3), attempt: AttemptNo(no) },
            fence: Fence { epoch: Epoch(1), counter: u64::from(no) },
            worker: "worker-01".parse().expect("a name"),
            assigned_at: Timestamp::from_millis(2_000),
            started_at: Some(Timestamp::from_millis(2_100)),
            ended_at: Some(Timestamp::from_millis(3_300)),
            outcome: Some(outcome),
            peak_memory_bytes: 4096,
            stdout_bytes: 10,
            stderr_bytes: 0,
            files: None,
            handed_over_by: None,
            unrepeatable: None,
        };
        TaskView {
            task: TaskId::new(5, 3),
            state: TaskState::Failed,
            counts: TaskCounts { attempts: 2, failures: 2, lost: 0 },
            not_before: None,
            submitted_at: Timestamp::from_millis(1_000),
            outcome: Some(Outcome::Exited(7)),
            ended_at: Some(Timestamp::from_millis(3_300)),
            attempts: vec![
                attempt(1, Outcome::TimedOut(Millis(1000), LimitSource::Job)),
                attempt(2, Outcome::Exited(7)),
            ],
            holders: Vec::new(),
        }
    }

    /// A busy worker.
    pub(crate) fn sample_worker() -> WorkerView {
        let usage = |total, used| Usage { total, used };
        WorkerView {
            name: "worker-01".parse().expect("a name"),
            node: NodeId([2; 32]),
            state: WorkerState::Busy,
            slots: usage(4, 1),
            cpu: usage(8_000, 1_500),
            memory_bytes: usage(16 << 30, 4 << 30),
            gpus: usage(0, 0),
            address: Some("127.0.0.1:40000".to_owned()),
            latency_us: Some(180),
            version: "1.0.0".to_owned(),
            labels: BTreeMap::from([("os".to_owned(), "linux".to_owned())]),
            tasks_done: 9,
            shortage: None,
            is_drained: false,
            drain_act: None,
            outputs_to_copy: None,
            traffic: FileTraffic::default(),
        }
    }

    fn shown(object: &impl Serialize) -> Value {
        serde_json::to_value(object).expect("JSON")
    }

    #[test]
    fn a_job_has_the_stable_keys() {
        let expected = json!({
            "id": 5,
            "name": "night run",
            "owner": "anna",
            "state": "running",
            "tasks": {
                "total": 3, "waiting": 0, "ready": 0, "running": 1, "succeeded": 1, "failed": 1, "cancelled": 0
            },
            "submitted_at": "1970-01-01T00:00:01.000Z",
            "started_at": "1970-01-01T00:00:02.000Z",
            "ended_at": null,
            "cancelled_by": null,
            "retried_by": null,
            "exit_code": null,
            "signal": null,
            "cause": null,
        });
        assert_eq!(shown(&Job::from(&sample_job())), expected);
    }

    #[test]
    fn a_job_that_was_asked_for_by_its_id_has_its_spec_by_the_names_of_the_options() {
        let spec = JobSpec {
            demand: Demand { cpu: MilliCpu(1500), memory_bytes: 4 << 30, ..Demand::default() },
            items: Items::Range { first: 1, last: 9, step: 2 },
            time_limit: TimeLimit::Limited(Millis::from_secs(90)),
            ..JobSpec::single(CommandLine::Exec(vec!["echo".into(), "{}".into()]))
        };
        let job = shown(&Job::from(&JobView { spec: Some(SealedSpec::seal(spec)), ..sample_job() }));
        assert_eq!(job["command"], json!(["echo", "{}"]));
        assert_eq!((&job["cpus"], &job["mem"]), (&json!(1.5), &json!(4_294_967_296_u64)));
        assert_eq!((&job["array"], &job["time_limit"]), (&json!("1-9:2"), &json!(90.0)));
        assert_eq!((&job["retries"], &job["retry_on"]), (&Value::Null, &json!(["exit", "signal", "oom"])));
        assert_eq!(job["name"], "night run", "the name of the job stays");
    }

    #[test]
    fn a_task_has_the_stable_keys() {
        let expected = json!({
            "id": "5.3",
            "job": 5,
            "index": 3,
            "item": "c",
            "state": "failed",
            "attempt": 2,
            "worker": "worker-01",
            "exit_code": 7,
            "signal": null,
            "cause": "exit",
            "cancelled_by": null,
            "submitted_at": "1970-01-01T00:00:01.000Z",
            "started_at": "1970-01-01T00:00:02.100Z",
            "ended_at": "1970-01-01T00:00:03.300Z",
            "peak_memory_bytes": 4096,
            "outputs": [],
            "transfers": [],
        });
        assert_eq!(shown(&Task::new(&sample_task(), Some("c".to_owned()))), expected);
        let fresh =
            TaskView { attempts: vec![], outcome: None, ended_at: None, state: TaskState::Ready, ..sample_task() };
        let fresh = shown(&Task::new(&fresh, None));
        let nulls =
            ["attempt", "worker", "exit_code", "signal", "cause", "started_at", "ended_at", "peak_memory_bytes"];
        assert!(nulls.iter().all(|key| fresh.as_object().is_some_and(|object| object[*key].is_null())), "{fresh}");
    }

    #[test]
    fn each_cause_of_a_failure_has_its_word() {
        let cause =
            |outcome| shown(&Task::new(&TaskView { outcome: Some(outcome), ..sample_task() }, None))["cause"].clone();
        assert_eq!(cause(Outcome::Signalled(9)), "signal");
        assert_eq!(cause(Outcome::TimedOut(Millis(1), LimitSource::Dispatcher)), "timeout");
        assert_eq!(cause(Outcome::OutOfMemory), "oom");
        assert_eq!(cause(Outcome::OomKilled), "oom");
        assert_eq!(cause(Outcome::Lost), "lost");
        assert_eq!(cause(Outcome::DependencyFailed(JobId(1))), "dependency");
        assert_eq!(cause(Outcome::TransferFailed(String::new())), "transfer");
        assert_eq!(cause(Outcome::Exited(0)), Value::Null);
    }

    #[test]
    fn a_worker_has_the_stable_keys() {
        let expected = json!({
            "name": "worker-01",
            "node_id": NodeId([2; 32]).to_string(),
            "state": "busy",
            "slots": {"total": 4, "used": 1},
            "cpu": {"total": 8, "used": 1.5},
            "memory_mb": {"total": 16384, "used": 4096},
            "gpus": {"total": 0, "used": 0},
            "address": "127.0.0.1:40000",
            "version": "1.0.0",
            "tasks_done": 9,
            "drained_by": null,
            "resumed_by": null,
            "bytes": {"sent_direct": 0, "received_direct": 0, "received_relay": 0, "received_dispatcher": 0},
        });
        assert_eq!(shown(&Worker::from(&sample_worker())), expected);
    }

    #[test]
    fn the_words_for_the_state_of_a_worker_are_those_of_the_contract() {
        let words = [
            (WorkerState::Pending, "pending"),
            (WorkerState::Idle, "idle"),
            (WorkerState::Busy, "busy"),
            (WorkerState::Draining, "draining"),
            (WorkerState::Suspect, "suspect"),
            (WorkerState::Lost, "lost"),
            (WorkerState::Revoked, "revoked"),
        ];
        for (state, word) in words {
            assert_eq!(shown(&state), word);
        }
    }
}
