//! What clients ask of a dispatcher: one request a stream, answered there.
//!
//! Ordinary requests get one reply. `Watch` gets one `Progress` after another
//! until all its jobs have ended. `Attach` and `Logs` get one `Reply::Streaming`
//! and then data frames (`wire::data`).

use serde::{Deserialize, Deserializer, Serialize};

use super::compact::{batch, rows};
use super::examination::Examination;
use super::files::{BlobRef, BlobWish};
use super::limits::MAX_ROWS;
use super::outcome::Cancellation;
use super::selector::Selector;
use super::trust::{ClientView, TokenId, TokenView};
use super::views::{Explanation, JobView, PeerView, StatusView, TaskView, WorkerView};
use super::{AttemptNo, ClientId, JobId, Millis, NodeName, Role, SealedSpec, TaskId, TaskState};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Queue a job; answered by `Submitted` once it is durable.
    Submit(Submission),
    /// Send `Progress` for these jobs now, at every change of state (at most ten a second), and when they end.
    Watch(#[serde(deserialize_with = "rows")] Vec<JobId>),
    /// Be the client of the only task of a `run`: stdin up, output down. Also says what [`Request::Attend`] does.
    Attach {
        /// Whose.
        task: TaskId,
        /// Who.
        client: ClientId,
        /// Take the place of another client that is attached.
        takes_over: bool,
        /// The output that this client has already, after a reconnect.
        received: Option<ReceivedOutput>,
        /// How many bytes of the task's stdin, from its start, this client can send again to another attempt:
        /// `u64::MAX` for a file that it reads again, none for a client that came in another one's place.
        resends: u64,
    },
    /// End jobs or tasks.
    Cancel {
        /// Which.
        what: Selector,
        /// Why.
        why: Cancellation,
    },
    /// Queue failed and cancelled tasks again.
    Retry {
        /// Which.
        what: Selector,
        /// Only the failed ones.
        failed_only: bool,
    },
    /// Remove ended jobs and their logs.
    Forget(Selector),
    /// List jobs.
    Jobs(JobFilter),
    /// List tasks of jobs.
    Tasks(TaskFilter),
    /// Why tasks do not run.
    Explain(Selector),
    /// Output of tasks, stored or live.
    Logs(LogRequest),
    /// Which of these blobs the dispatcher lacks; answered by `Wanted`. What it has it keeps while the link stands.
    Blobs(#[serde(deserialize_with = "batch")] Vec<BlobRef>),
    /// The pieces of these blobs follow, in this order; answered by `Done` when all are kept for good.
    UploadBlobs(#[serde(deserialize_with = "batch")] Vec<BlobWish>),
    /// Send these pieces of a task's outputs; answered by `Streaming` and then the pieces in order.
    FetchOutput {
        /// Whose.
        task: TaskId,
        /// What is wanted.
        #[serde(deserialize_with = "batch")]
        wishes: Vec<BlobWish>,
    },
    /// The roster.
    Workers,
    /// The cluster on one screen.
    Status,
    /// Admins: let in the worker that waits under this name and shows this code.
    Approve {
        /// The name that it waits under.
        name: NodeName,
        /// The code as a person typed it.
        code: String,
    },
    /// Admins: throw a worker or client out for good and free its name.
    Revoke {
        /// What it is called.
        name: NodeName,
        /// Which of the two, when a worker and a client share the name.
        kind: Option<NodeKind>,
    },
    /// Admins: enrolled clients and admins.
    Clients,
    /// Admins: give a client or admin another name, which all its jobs show at once.
    RenameClient {
        /// What it is called.
        from: NodeName,
        /// What it is to be called.
        to: NodeName,
    },
    /// Admins: make a token.
    CreateToken {
        /// What its bearer becomes: admin, client or worker.
        role: Role,
        /// What its bearer is called; `None` lets the dispatcher make a name up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<NodeName>,
        /// How many keys may be enrolled with it, at least 1.
        uses: u32,
        /// How long it enrols anybody.
        lifetime: Millis,
    },
    /// Admins: tokens, newest first.
    Tokens,
    /// Admins: take a token back.
    RevokeToken(TokenId),
    /// Admins: give a worker no new work.
    Drain(NodeName),
    /// Admins: give it work again.
    Resume(NodeName),
    /// Who hears whom by beacon.
    Peers,
    /// How every node reaches and hears every other one. Takes seconds, and one client at a time may ask it.
    Examine,
    /// Be the client of a job for as long as this stream is open. Answered by `Done`, and by `Failed` when another
    /// client is attached or, later, takes over.
    Attend {
        /// Whose.
        job: JobId,
        /// Who.
        client: ClientId,
        /// Take the place of another client that is attached.
        takes_over: bool,
    },
}

/// How much of an attempt's output a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedOutput {
    /// Of this attempt.
    pub attempt: AttemptNo,
    /// So many bytes, both streams together.
    pub bytes: u64,
}

/// Whom a name means, where workers and clients may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// A worker.
    Worker,
    /// A client or admin.
    Client,
}

/// What `submit` and `run` send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// What to run.
    pub spec: SealedSpec,
    /// The same key never makes a second job; clients make one up when the user gives none.
    pub idempotency_key: String,
    /// Refuse when no connected worker could ever run it.
    pub strict: bool,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// Only these; `None` is all.
    pub only: Option<Selector>,
    /// In one of these states; empty is any.
    #[serde(deserialize_with = "states")]
    pub states: Vec<TaskState>,
    /// Only this owner's; `None` is every owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerFilter>,
    /// Older than this job, for paging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<JobId>,
    /// At most this many, newest first; 0 means the server's bound.
    pub limit: u32,
}

/// Whose jobs to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerFilter {
    /// The asker's own.
    Me,
    /// Those of the client called this, or of clients that were called this when they were revoked.
    Named(NodeName),
}

/// Which tasks to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFilter {
    /// Of which jobs (or which tasks).
    pub of: Selector,
    /// In one of these states; empty is any.
    #[serde(deserialize_with = "states")]
    pub states: Vec<TaskState>,
    /// Behind this task, for paging.
    pub after: Option<TaskId>,
    /// At most this many, in order; 0 means the server's bound.
    pub limit: u32,
}

/// Which output to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Of which tasks.
    pub of: Selector,
    /// Keep sending until the tasks have ended.
    pub follow: bool,
    /// The attempt whose output is meant, of each task that has had it; `None` is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptNo>,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The job is durable.
    Submitted {
        /// Its number.
        job: JobId,
        /// No connected worker could ever run it, and why.
        unplaceable: Option<String>,
    },
    /// How watched jobs stand.
    Progress(#[serde(deserialize_with = "rows")] Vec<JobView>),
    /// Data frames follow.
    Streaming,
    /// These pieces of blobs are not there.
    Wanted(#[serde(deserialize_with = "batch")] Vec<BlobWish>),
    /// What a cancel, retry or forget changed.
    Changed(Changes),
    /// It is done.
    Done {
        /// How many of what was named were not so before.
        affected: u64,
    },
    /// Jobs.
    Jobs(#[serde(deserialize_with = "rows")] Vec<JobView>),
    /// Tasks.
    Tasks(#[serde(deserialize_with = "rows")] Vec<TaskView>),
    /// Explanations.
    Explained(#[serde(deserialize_with = "rows")] Vec<Explanation>),
    /// Workers.
    Workers(#[serde(deserialize_with = "rows")] Vec<WorkerView>),
    /// Status.
    Status(StatusView),
    /// Clients and admins, by name.
    Clients(#[serde(deserialize_with = "rows")] Vec<ClientView>),
    /// The token, whole: this is the only time that anybody sees it.
    TokenCreated {
        /// `okt1-…`, to be given to whoever is to join.
        token: String,
        /// What it is called from here on.
        id: TokenId,
    },
    /// Tokens, newest first.
    Tokens(#[serde(deserialize_with = "rows")] Vec<TokenView>),
    /// It cannot be done.
    Failed(Failure),
    /// Who hears whom, by name and then by who hears it.
    Peers(#[serde(deserialize_with = "rows")] Vec<PeerView>),
    /// To [`Request::Examine`].
    Examined(Box<Examination>),
}

/// What a cancel, retry or forget changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Tasks that are ended (cancel) or queued again (retry); to forget, the same as `jobs`.
    pub affected: u64,
    /// Jobs that they belong to.
    pub jobs: u64,
    /// Whose these jobs are, by name, with how many each of them has.
    #[serde(deserialize_with = "rows")]
    pub owners: Vec<(NodeName, u64)>,
    /// Numbers within the ranges named under which the asker sees no job.
    pub absent: u64,
}

impl Changes {
    /// Adds what another part of the same request changed. Jobs are counted once in each part.
    pub fn add(&mut self, more: Self) {
        self.affected += more.affected;
        self.jobs += more.jobs;
        self.absent += more.absent;
        for (owner, jobs) in more.owners {
            match self.owners.binary_search_by(|(known, _)| known.cmp(&owner)) {
                Ok(at) => self.owners[at].1 += jobs,
                Err(at) if self.owners.len() < MAX_ROWS as usize => self.owners.insert(at, (owner, jobs)),
                Err(_) => {}
            }
        }
    }
}

/// Why a request failed: a code for programs, a sentence for people, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The reason.
    pub code: FailureCode,
    /// One line for people.
    pub text: String,
    /// What to do about it, when there is something.
    pub hint: Option<String>,
}

/// Reasons for a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCode {
    /// There is no such job or task.
    NotFound,
    /// The role of this key does not allow it, or the job is somebody else's.
    Forbidden,
    /// The request makes no sense (an array without tasks, a dependency on itself).
    Invalid,
    /// `--strict`, and no connected worker could ever run it.
    Unplaceable,
    /// The dispatcher's disk is full or the queue is at its bound: nothing was taken.
    Full,
    /// It is in the wrong state for this (forget a running job).
    Conflict,
    /// The dispatcher failed.
    Internal,
}

/// For `deserialize_with`: states, each once.
fn states<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TaskState>, D::Error> {
    let mut states: Vec<TaskState> = batch(deserializer)?;
    states.sort_unstable();
    states.dedup();
    Ok(states)
}
