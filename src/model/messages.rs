//! What a worker and its dispatcher say to each other once connected.
//!
//! Orders are imperative, facts are past tense. Batches are bounded by
//! [`super::limits::MAX_BATCH`]; everything may be lost with its link and is
//! repeated or reported again after a reconnect, so every message is safe to
//! receive twice.

use serde::{Deserialize, Serialize};

use super::compact::{as_array, batch, blobs};
use super::files::{BlobRef, BlobWish, Content, FileTraffic, OutputFile};
use super::obstacle::{DirectoryFault, Shortage};
use super::offload::{GivenAway, GrantedAttempt, TakenOver};
use super::peers::LinkedPeer;
use super::pieces::BlobHolders;
use super::requests::Failure;
use super::{
    AttemptId, AttemptNo, AttemptReport, Digest, Fence, JobId, Millis, NodeId, RawString, SealedSpec, TaskId, Timestamp,
};

/// From a worker to its dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerMessage {
    /// First after every welcome: everything this worker holds, ended attempts
    /// it has not been thanked for among them (their `Ended` follows at once).
    /// What it does not name it does not have.
    Holding(#[serde(deserialize_with = "batch")] Vec<HeldAttempt>),
    /// Still there. Renews the leases of everything it holds.
    Heartbeat {
        /// Counts up; echoed.
        sequence: u64,
    },
    /// These attempts now have a process.
    Started(#[serde(deserialize_with = "batch")] Vec<StartedAttempt>),
    /// These attempts ended; repeated until recorded.
    Ended(#[serde(deserialize_with = "batch")] Vec<EndedAttempt>),
    /// These attempts were never started here and are given back; counts as nothing.
    Returned(#[serde(deserialize_with = "batch")] Vec<FencedAttempt>),
    /// These attempts cannot be started here because of their job's `--cwd`, and are given back; counts as nothing.
    Refused(#[serde(deserialize_with = "batch")] Vec<RefusedAttempt>),
    /// What this worker is short of: until it says `None`, no new work. After a welcome only when it is short.
    Short(Option<Shortage>),
    /// Assignments arrived for a job whose spec is not here.
    SpecMissing(JobId),
    /// The worker is stopping: no new work, please.
    Stopping,
    /// News of whom this worker hears by beacon: those who came, went, moved, or were heard again since the last
    /// such message. After a welcome that is everybody.
    Neighbours(#[serde(deserialize_with = "batch")] Vec<HeardPeer>),
    /// Where this worker listens for its peers, the likeliest first: addresses and ports. None when it does not.
    Listening(#[serde(deserialize_with = "batch")] Vec<String>),
    /// The direct links that this worker has with others now: all of them.
    Linked(#[serde(deserialize_with = "batch")] Vec<LinkedPeer>),
    /// The files that this worker has moved since it started; when that has changed.
    Moved(FileTraffic),
    /// These attempts were handed to this worker by another one. After a welcome it comes before `Holding`, which
    /// names them too.
    TookOver(#[serde(deserialize_with = "batch")] Vec<TakenOver>),
    /// These attempts were handed to another worker, or may have been; answered by `Recorded`.
    GaveAway(#[serde(deserialize_with = "batch")] Vec<GivenAway>),
    /// The answer to `Account` about attempts that this worker has not started and will not start.
    NeverCame(#[serde(deserialize_with = "batch")] Vec<FencedAttempt>),
}

/// From the dispatcher to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DispatcherMessage {
    /// The echo of a heartbeat.
    HeartbeatSeen {
        /// The heartbeat's number.
        sequence: u64,
        /// Dispatcher time.
        now: Timestamp,
    },
    /// Specs of jobs that assignments will name; sent once a job and link.
    Learn(#[serde(deserialize_with = "batch")] Vec<JobOnWorker>),
    /// Run these.
    Assign(#[serde(deserialize_with = "batch")] Vec<Assignment>),
    /// End these and report how they ended; the report is `Cancelled` unless they ended first.
    Cancel(#[serde(deserialize_with = "batch")] Vec<CancelAttempt>),
    /// Their ends are recorded and durable (or of no interest): forget them.
    Recorded(#[serde(deserialize_with = "batch")] Vec<FencedAttempt>),
    /// No attempt of these jobs will come any more: forget their specs.
    ForgetJobs(#[serde(deserialize_with = "batch")] Vec<JobId>),
    /// Give back what has not started, finish what runs, take nothing new (`drain`).
    Drain,
    /// Take work again.
    Resume,
    /// Who belongs just now: the bytes of a signed roster (`trust::roster`).
    Roster(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Give these back unless they have started or are another worker's by now.
    Retract(#[serde(deserialize_with = "batch")] Vec<FencedAttempt>),
    /// These attempts may be handed to another worker while they wait.
    Grant(#[serde(deserialize_with = "batch")] Vec<GrantedAttempt>),
    /// Another process with this worker's key, which runs elsewhere, was refused: the key folder was copied.
    KeyCopied,
    /// Another worker may have handed over these: say `TookOver` or `NeverCame` of each.
    Account(#[serde(deserialize_with = "batch")] Vec<FencedAttempt>),
}

/// One attempt, beyond doubt.
///
/// After a power loss the dispatcher may number a try as it did before; a fence
/// is never issued twice. So whatever is said about an attempt names both, and a
/// late or repeated message cannot touch the attempt's namesake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencedAttempt {
    /// Which.
    pub id: AttemptId,
    /// Its fence.
    pub fence: Fence,
}

/// An attempt that a worker holds at the moment of a reconnect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldAttempt {
    /// Which.
    pub id: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// When its process started; `None` while it waits for a slot.
    pub started_at: Option<Timestamp>,
    /// The GPU indices it was assigned: a restarted dispatcher learns here which are taken.
    pub gpus: Vec<u32>,
    /// It has ended, and its result follows: it takes nothing from the worker's room any more.
    pub ended: bool,
}

/// An attempt whose process exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedAttempt {
    /// Which.
    pub id: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// When, in dispatcher time.
    pub at: Timestamp,
}

/// An attempt whose job runs in a directory that its worker cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedAttempt {
    /// Which.
    pub id: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// What is wrong with the directory there.
    pub fault: DirectoryFault,
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    /// Which.
    pub id: AttemptId,
    /// Its fence: what proves that this worker was given it.
    pub fence: Fence,
    /// What happened.
    pub report: AttemptReport,
}

/// A job as a worker needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOnWorker {
    /// Its number.
    pub job: JobId,
    /// What to run.
    pub spec: SealedSpec,
}

/// One order to run one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which task.
    pub task: TaskId,
    /// Which try at it.
    pub attempt: AttemptNo,
    /// Its fence.
    pub fence: Fence,
    /// GPU indices it may use, as many as its demand says; given out by the dispatcher.
    pub gpus: Vec<u32>,
}

impl Assignment {
    /// The attempt that this order creates.
    #[must_use]
    pub fn id(&self) -> AttemptId {
        AttemptId { task: self.task, attempt: self.attempt }
    }
}

/// An order to end one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelAttempt {
    /// Which.
    pub id: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// Between SIGTERM and SIGKILL; [`super::limits::KILL_GRACE`] unless in a hurry.
    pub grace: Millis,
    /// What its report is to say.
    pub why: super::outcome::Cancellation,
}

/// A file-like stream between a worker and its dispatcher opens with one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamPurpose {
    /// Worker → dispatcher, both ways: output of an attached attempt down, stdin up.
    Attached {
        /// Which attempt.
        id: AttemptId,
        /// Bytes of its output that lie behind the start of this stream (acknowledged earlier).
        from: u64,
    },
    /// Worker → dispatcher, one way: the stored output of an ended attempt. Its sender does not finish the stream;
    /// the dispatcher stops it with code 1 when all of it is on its disk.
    LogUpload {
        /// Which attempt.
        id: AttemptId,
        /// Length of what follows.
        bytes: u64,
    },
    /// Dispatcher → worker, answered on the same stream: the output so far of a running attempt.
    LogRead {
        /// Which attempt.
        id: AttemptId,
        /// Keep sending as it grows, until it ends.
        follow: bool,
    },
    /// Worker → dispatcher: these blobs are outputs of an attempt that it holds. Answered by
    /// [`FilesReply::Wanted`]; then the pieces follow in that order, and [`FilesReply::Kept`] ends it.
    BlobOffer {
        /// Which attempt.
        id: AttemptId,
        /// What there is.
        #[serde(deserialize_with = "batch")]
        blobs: Vec<BlobRef>,
    },
    /// Worker → dispatcher: which outputs of another job an input of this attempt means. Answered by
    /// [`FilesReply::Found`].
    OutputsOf {
        /// Which attempt.
        id: AttemptId,
        /// Place of the input in its job's spec.
        input: u32,
        /// The output's name with its placeholders filled in.
        output: RawString,
    },
    /// Dispatcher → worker: send these pieces of outputs that you hold, or of inputs that you fetched. Answered by
    /// [`FilesReply::Follows`] and then the pieces in order, or by a refusal.
    BlobRead {
        /// What is wanted.
        #[serde(deserialize_with = "batch")]
        wishes: Vec<BlobWish>,
    },
    /// Worker → dispatcher: what is still needed of the outputs that only I hold? Answered by one
    /// [`FilesReply::Needed`] after another; then the worker says in one [`FilesReply::Lacking`] after another
    /// what of it is not there any more.
    Keeping,
    /// Dispatcher → worker: look at the others of this cluster. Answered by one `WorkerFindings`.
    Examine,
    /// Worker → dispatcher: these blobs belong to outputs that only I hold, and I leave. Answered as `BlobOffer`.
    BlobCopy {
        /// Outputs, as the dispatcher named them.
        #[serde(deserialize_with = "batch")]
        contents: Vec<Content>,
        /// Blobs that they consist of.
        #[serde(deserialize_with = "batch")]
        blobs: Vec<BlobRef>,
    },
    /// Worker → dispatcher: who has these blobs, which an attempt that it holds needs? Answered by
    /// [`FilesReply::Holders`] or a refusal, and once more for each [`HoldersAsk::Again`] that follows. While the
    /// stream is open the worker counts as one that fetches them.
    ///
    /// [`HoldersAsk::Again`]: super::pieces::HoldersAsk::Again
    WhoHas {
        /// Which attempt.
        id: AttemptId,
        /// Which blobs.
        #[serde(deserialize_with = "blobs")]
        blobs: Vec<BlobRef>,
    },
    /// Worker → dispatcher: a conversation about pieces (see [`super::pieces`]) of blobs that an attempt needs which
    /// it holds.
    PieceFetch {
        /// Which attempt.
        id: AttemptId,
        /// The worker that has them; `None` asks for what the dispatcher has itself.
        holder: Option<NodeId>,
        /// Which blobs.
        #[serde(deserialize_with = "blobs")]
        blobs: Vec<BlobRef>,
    },
    /// Dispatcher → worker: the same conversation, about what the worker has.
    PieceRead {
        /// Which blobs.
        #[serde(deserialize_with = "blobs")]
        blobs: Vec<BlobRef>,
    },
}

/// What a dispatcher answers on a stream about files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesReply {
    /// The pieces follow.
    Follows,
    /// Send these, in this order.
    Wanted(#[serde(deserialize_with = "batch")] Vec<BlobWish>),
    /// All of them are kept, and would be after a power loss.
    Kept,
    /// These outputs are meant, in order of their names.
    Found(#[serde(deserialize_with = "batch")] Vec<OutputFile>),
    /// It cannot be done.
    Refused(Failure),
    /// They are gone with the worker that had them, and are being made again: give the attempt up. Its task is
    /// tried again when they are there.
    Remade(String),
    /// These outputs are held by the asking worker alone, and are needed.
    Needed(#[serde(deserialize_with = "batch")] Vec<Content>),
    /// These the worker does not have.
    Lacking(#[serde(deserialize_with = "batch")] Vec<Digest>),
    /// Who has them.
    Holders(BlobHolders),
}

/// What a worker has heard of another node. Nothing of it is proved to the dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardPeer {
    /// Whose beacon.
    pub node: NodeId,
    /// Where it was heard from, as address and port; `None` when that is not known.
    pub address: Option<String>,
    /// How long ago; `None` when it has gone.
    pub silent_for: Option<Millis>,
}

// Hot: they travel as arrays. The order is part of the protocol.
as_array!(FencedAttempt { id, fence });
as_array!(HeldAttempt { id, fence, started_at, gpus, ended });
as_array!(StartedAttempt { id, fence, at });
as_array!(RefusedAttempt { id, fence, fault });
as_array!(EndedAttempt { id, fence, report });
as_array!(Assignment { task, attempt, fence, gpus });
as_array!(CancelAttempt { id, fence, grace, why });
as_array!(HeardPeer { node, address, silent_for });
