//! What people and programs are shown: snapshots of jobs, tasks, workers and
//! the cluster. The command line turns them into tables and into the JSON of
//! docs/HELP.md; they are not that JSON themselves.

use serde::{Deserialize, Serialize};

use super::files::{FileTraffic, TaskFiles};
use super::obstacle::Shortage;
use super::outcome::{Cancellation, Unrepeatable};
use super::records::{Act, DiskSpace, TaskCounts};
use super::{
    AttemptId, Digest, Fence, JobId, JobState, Millis, NodeId, NodeName, Outcome, Role, SealedSpec, TaskId, TaskState,
    Timestamp,
};

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub job: JobId,
    /// `--name`, else the command line.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// Its tasks by state.
    pub tasks: TaskTotals,
    /// Who submitted it.
    pub owner: NodeId,
    /// What they are called, or were called last.
    pub owner_name: NodeName,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// When its first attempt was assigned.
    pub started_at: Option<Timestamp>,
    /// When its last task ended.
    pub ended_at: Option<Timestamp>,
    /// For a job of a single task that has ended: how.
    pub outcome: Option<Outcome>,
    /// Why it is, or was, ended before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelling: Option<Cancellation>,
    /// Who had tasks of it done again last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<Act>,
    /// The spec, when one job was asked for.
    pub spec: Option<SealedSpec>,
}

/// Tasks of a job by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the states of `TaskState`, counted")]
pub struct TaskTotals {
    pub total: u64,
    pub waiting: u64,
    pub ready: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
}

impl TaskTotals {
    /// Tasks in a terminal state.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }

    /// The job state that these totals amount to.
    #[must_use]
    pub fn state(&self) -> JobState {
        if self.ended() == self.total {
            match (self.failed, self.cancelled) {
                (0, 0) => TaskState::Succeeded,
                (0, _) => TaskState::Cancelled,
                _ => TaskState::Failed,
            }
        } else if self.running > 0 {
            TaskState::Running
        } else if self.ready > 0 {
            TaskState::Ready
        } else {
            TaskState::Waiting
        }
    }
}

/// One task with its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Which.
    pub task: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// What is counted about it.
    pub counts: TaskCounts,
    /// For `Waiting`: not before this instant.
    pub not_before: Option<Timestamp>,
    /// When its job was accepted.
    pub submitted_at: Timestamp,
    /// How it ended, when it has.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its attempts in order.
    pub attempts: Vec<AttemptView>,
    /// Who has which of its outputs, where anybody has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<HoldersView>,
}

/// Who has an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldersView {
    /// Its digest: a file's, or that of a directory's manifest.
    pub digest: Digest,
    /// Names of workers, and `dispatcher`.
    pub names: Vec<String>,
}

impl TaskView {
    /// The attempt that matters (see [`decisive`]); `None` when there was none.
    #[must_use]
    pub fn decisive(&self) -> Option<&AttemptView> {
        decisive(&self.attempts)
    }

    /// Who has the output of this digest.
    #[must_use]
    pub fn holders_of(&self, digest: Digest) -> &[String] {
        self.holders.iter().find(|held| held.digest == digest).map_or(&[], |held| &held.names)
    }

    /// What its last attempt that has ended moved; `None` when that was nothing.
    #[must_use]
    pub fn files(&self) -> Option<&TaskFiles> {
        let ended = |attempt: &&AttemptView| attempt.ended_at.is_some() && !attempt.is_superseded();
        self.attempts.iter().rev().find(ended).and_then(|attempt| attempt.files.as_deref())
    }
}

/// Of the attempts of a task in their order, the one by which it ended or is to end: the last, but for those that were
/// ended because another one had brought the result.
#[must_use]
pub fn decisive(attempts: &[AttemptView]) -> Option<&AttemptView> {
    attempts.iter().rev().find(|attempt| !attempt.is_superseded()).or(attempts.last())
}

impl AttemptView {
    /// Whether it was ended because another attempt of its task had brought the result.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.outcome == Some(Outcome::Cancelled(Cancellation::Superseded))
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Which.
    pub id: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// Who ran it.
    pub worker: NodeName,
    /// When it was handed out.
    pub assigned_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How, when it has.
    pub outcome: Option<Outcome>,
    /// Largest resident set in bytes; 0 when unknown.
    pub peak_memory_bytes: u64,
    /// Bytes written to stdout.
    pub stdout_bytes: u64,
    /// Bytes written to stderr.
    pub stderr_bytes: u64,
    /// What it moved; `None` when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Box<TaskFiles>>,
    /// The worker that handed it to the one that ran it; `None` when the dispatcher did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_over_by: Option<NodeName>,
    /// Why no other attempt may follow it; `None` when one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrepeatable: Option<Unrepeatable>,
}

/// What a worker is doing, as the roster shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of docs/HELP.md")]
pub enum WorkerState {
    Pending,
    Idle,
    Busy,
    Draining,
    Suspect,
    Lost,
    Revoked,
}

/// One node as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// What it is called on the roster.
    pub name: NodeName,
    /// Its key.
    pub node: NodeId,
    /// What it is.
    pub role: Role,
    /// Where it was heard from, with the port where it listens, or 0.
    pub address: Option<String>,
    /// Who hears it, or has a link to it.
    pub heard_by: NodeName,
    /// When it was heard last, in dispatcher time; `None` when it never was.
    pub heard_at: Option<Timestamp>,
    /// How long ago that was when this was said.
    pub silent_for: Option<Millis>,
    /// Whether these two have a link.
    pub link: PeerLink,
}

/// Whether two nodes have a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerLink {
    /// None.
    Absent,
    /// One stands.
    Standing,
}

/// A capacity and how much of it is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All of it.
    pub total: u64,
    /// Reserved by tasks.
    pub used: u64,
}

/// One worker of the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its name.
    pub name: NodeName,
    /// Its key.
    pub node: NodeId,
    /// What it is doing.
    pub state: WorkerState,
    /// Job slots.
    pub slots: Usage,
    /// CPU in thousandths of a core.
    pub cpu: Usage,
    /// Memory in bytes.
    pub memory_bytes: Usage,
    /// GPUs.
    pub gpus: Usage,
    /// Where its link comes from; filled in by the shell.
    pub address: Option<String>,
    /// Round trip of its link in microseconds; filled in by the shell.
    pub latency_us: Option<u64>,
    /// Its software version.
    pub version: String,
    /// Its labels, the implicit ones among them.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Tasks whose recorded result came from it since the dispatcher started.
    pub tasks_done: u64,
    /// What it is short of, so that it starts nothing for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Shortage>,
    /// Whether it is to get no new work, whatever it is doing.
    #[serde(default)]
    pub is_drained: bool,
    /// Who drained or resumed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_act: Option<Act>,
    /// While it drains: outputs that it alone has and that are still to be copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_to_copy: Option<u64>,
    /// Files that it moved since it started itself; filled in by the shell.
    #[serde(default)]
    pub traffic: FileTraffic,
}

/// Why a task does not run, worker by worker, or where it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Which task.
    pub task: TaskId,
    /// Whose it is.
    pub owner: NodeName,
    /// Where it stands.
    pub state: TaskState,
    /// What it waits for when that is no worker's fault: a dependency, a backoff, `%MAX`, a task ahead.
    pub waits_for: Option<String>,
    /// Each connected worker and what it lacks; empty when it could take the task now. Of a running task: where it is.
    pub workers: Vec<WorkerLack>,
}

/// What one worker lacks for one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLack {
    /// Which worker.
    pub worker: NodeName,
    /// What it lacks now: `slots: 4 of 4 taken`, `memory: wants 8.0 GiB, 2.1 GiB free`, `label: zone=a`.
    pub lacks: Vec<String>,
    /// Whether it could never take it, even when idle.
    pub never: bool,
}

/// The cluster on one screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The dispatcher's key.
    pub dispatcher: NodeId,
    /// Its software version.
    pub version: String,
    /// Its current epoch.
    pub epoch: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Dispatcher time now.
    pub now: Timestamp,
    /// Where it listens.
    pub address: String,
    /// Connected workers.
    pub workers: u32,
    /// `--max-workers`.
    pub max_workers: u32,
    /// Their slots.
    pub slots: Usage,
    /// Jobs not ended.
    pub jobs_active: u64,
    /// Their tasks.
    pub tasks: TaskTotals,
    /// Results recorded since the start.
    pub tasks_done: u64,
    /// Results recorded in the last minute.
    pub tasks_last_minute: u64,
    /// Bytes of the store's files.
    pub store_bytes: u64,
    /// Bytes of inputs and outputs that the dispatcher keeps; filled in by the shell.
    pub files_bytes: u64,
    /// What its disk has for more.
    #[serde(default, skip_serializing_if = "DiskSpace::is_enough")]
    pub disk: DiskSpace,
    /// Late or unknown results discarded since the start (G3).
    pub results_discarded: u64,
}
