//! What goes in and out of the dispatcher's engine: link changes, messages and
//! calls in; records, messages and notices out.
//!
//! Plain data; no decision is made here.

use std::collections::BTreeMap;

use super::Notice;
use crate::model::handshake::{Answer, Hello};
use crate::model::messages::{DispatcherMessage, FencedAttempt, WorkerMessage};
use crate::model::outcome::{Cancellation, Unrepeatable};
use crate::model::records::{Record, RestoredJob};
use crate::model::requests::{NodeKind, Reply, Submission};
use crate::model::selector::Part;
use crate::model::trust::{TokenId, Voucher};
use crate::model::{
    AttemptId, ClientId, Digest, Fence, JobId, JobState, LinkId, Millis, NodeId, NodeName, RequestId, Role, SealedSpec,
    TaskId,
};

/// A change of one link.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "made once a link and handed over at once, never kept")]
pub enum LinkChange {
    /// A peer finished TLS and sent its hello; the engine answers with
    /// [`Outbound::Answer`]. After a refusal the link is unknown to the engine.
    Up {
        /// The key that TLS proved.
        node: NodeId,
        /// What it said.
        hello: Hello,
        /// What its credential comes to, when it brought one.
        vouched: Option<Voucher>,
    },
    /// It is gone. Says nothing about the node behind it.
    Down,
}

/// Something a peer said on a link that is up.
#[derive(Debug, Clone)]
pub enum Inbound {
    /// A worker's message.
    Worker(WorkerMessage),
    /// What the proofs in a [`WorkerMessage::TookOver`] say, those that hold: the engine does not look into the message.
    HandedOver(Vec<ProvedHandOver>),
    /// A guard: the instance named in its hello has ended, and its processes with it.
    Guard,
    /// A client asks.
    Request {
        /// The stream to answer on; numbers are not used twice.
        request: RequestId,
        /// What.
        call: Call,
    },
    /// A worker cannot get an input; answered by [`Reply::Done`] of 0 when it is to ask again, of 1 when it is to give
    /// the attempt up because the input is made again, or by a failure.
    InputLost {
        /// The stream to answer on.
        request: RequestId,
        /// What.
        lost: Box<LostInput>,
    },
    /// The client closed that stream: nobody listens there any more.
    RequestGone(RequestId),
}

/// An input that no connected worker holds, as the shell found it in the store.
#[derive(Debug, Clone)]
pub struct LostInput {
    /// The attempt that needs it.
    pub attempt: AttemptId,
    /// The task that made it.
    pub producer: TaskId,
    /// The spec of that task's job.
    pub spec: SealedSpec,
    /// The owner of that job.
    pub owner: NodeId,
    /// Workers that are not connected and may have it.
    pub holders: Vec<NodeId>,
}

/// One attempt that another worker handed over to whoever says so, beyond doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvedHandOver {
    /// The attempt, with the receiver's fence.
    pub attempt: FencedAttempt,
    /// The giver's fence.
    pub first: Fence,
    /// The giver.
    pub giver: NodeId,
}

/// What clients ask of the engine; the shell has resolved selectors against the store.
#[derive(Debug, Clone)]
pub enum Call {
    /// Queue a job; [`Reply::Submitted`] after sync.
    Submit {
        /// What to queue.
        submission: Submission,
        /// How those of its dependencies ended that the engine may no longer know.
        ended_dependencies: BTreeMap<JobId, JobState>,
    },
    /// Send [`Reply::Progress`] until all of these jobs have ended. Each holds
    /// every watched job. Jobs the engine does not know fail the call.
    Watch(Vec<JobId>),
    /// Be the client of a job until this request is gone: [`Reply::Done`], or [`Reply::Failed`] when another one is;
    /// [`Reply::Failed`] once more when another one takes over.
    Attach {
        /// Its job.
        job: JobId,
        /// Who.
        client: ClientId,
        /// Take over from another client.
        takes_over: bool,
    },
    /// No other attempt may follow this one of a `run`; [`Reply::Done`] once that is written, of 0 when the attempt is
    /// not live. Nothing that cannot be repeated is done before that.
    Unrepeatable {
        /// Which.
        id: AttemptId,
        /// Why.
        why: Unrepeatable,
    },
    /// End jobs and tasks; [`Reply::Changed`] after sync.
    Cancel {
        /// Which.
        parts: Vec<Part>,
        /// Whose of these.
        whose: Whose,
        /// Why: requested or interrupted. Who asks is filled in.
        why: Cancellation,
    },
    /// Queue failed and cancelled tasks again; [`Reply::Changed`] after sync.
    Retry {
        /// Which.
        parts: Vec<Part>,
        /// Whose of these.
        whose: Whose,
        /// Only failed ones.
        failed_only: bool,
        /// The ended ones among the jobs, as the store has them; ignored where the engine knows the job.
        recalled: Vec<RestoredJob>,
    },
    /// Remove ended jobs; [`Reply::Changed`] after sync.
    Forget {
        /// Which, each with its owner as the store has it.
        jobs: Vec<(JobId, NodeId)>,
        /// Whose of these.
        whose: Whose,
    },
    /// Why tasks do not run. A whole job is explained by its first task that does not.
    Explain(Vec<Part>),
    /// The roster.
    Workers,
    /// The cluster on one screen.
    Status,
    /// Enrol the worker that waits on this link, whose code was proved both ways; [`Reply::Done`] after sync.
    /// Fails with `NotFound` when the link has gone.
    Approve {
        /// The link it waits on.
        link: LinkId,
    },
    /// Throw a node out; [`Reply::Done`] after sync, and its links are closed at once.
    Revoke {
        /// What it is called.
        name: NodeName,
        /// Which kind, when both have the name.
        kind: Option<NodeKind>,
    },
    /// Clients and admins by name.
    Clients,
    /// Give a client or admin another name; [`Reply::Done`] after sync.
    RenameClient {
        /// What it is called.
        from: NodeName,
        /// What it is to be called.
        to: NodeName,
    },
    /// Keep a token; [`Reply::Done`] after sync (the shell made the secret and shows it).
    CreateToken(WantedToken),
    /// Tokens, newest first.
    Tokens,
    /// Take a token back; [`Reply::Done`] after sync.
    RevokeToken(TokenId),
    /// Give a worker no new work, or work again; [`Reply::Done`] after sync.
    Drain {
        /// Which.
        name: NodeName,
        /// Whether it is to drain.
        draining: bool,
    },
}

/// Whose jobs a call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The asker's own, also when an admin asks: `all`.
    Own,
    /// Those that the asker may touch: named by their numbers.
    Allowed,
    /// Everybody's, which only an admin may mean: `all --everyone`.
    Everyone,
}

/// A token to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedToken {
    /// BLAKE3 of its secret.
    pub hash: Digest,
    /// What its bearer becomes.
    pub role: Role,
    /// What its bearer is called; `None`: a name is made up.
    pub name: Option<NodeName>,
    /// How many keys it enrols.
    pub uses: u32,
    /// For how long.
    pub lifetime: Millis,
}

/// Something to say on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outbound {
    /// To a hello; after a refusal the shell closes the link.
    Answer(Answer),
    /// To a worker.
    ToWorker(DispatcherMessage),
    /// To a client's request.
    Reply {
        /// On which stream.
        request: RequestId,
        /// What.
        reply: Reply,
    },
    /// Close the link and tell its peer why. The engine has already forgotten it.
    Close {
        /// For programs.
        reason: CloseReason,
        /// For people.
        text: String,
    },
}

/// Why the engine closes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Its peer has said all that it came to say.
    Done,
    /// A newer link of the same node took its place.
    Superseded,
    /// Its worker is lost or its name went to another key; a worker that is still there may come back.
    GivenUp,
    /// Its peer said what it may not.
    Malformed,
    /// Its peer's key was revoked: it need not come back.
    Revoked,
}

/// Everything that one or more calls of the engine want done.
///
/// The shell appends `records` as one batch, then sends `messages` in order;
/// `messages_after_sync` leave in order when this batch *and every one before
/// it* is on disk, also when this one has no records. A message for a link that
/// has gone is dropped.
#[derive(Debug, Default)]
#[must_use]
pub struct DispatcherEffects {
    /// To be written, in order and atomically.
    pub records: Vec<Record>,
    /// To be sent once they are written.
    pub messages: Vec<(LinkId, Outbound)>,
    /// To be sent once they are durable.
    pub messages_after_sync: Vec<(LinkId, Outbound)>,
    /// For people, and for the shell's own bookkeeping.
    pub notices: Vec<Notice>,
}

impl DispatcherEffects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.messages.is_empty()
            && self.messages_after_sync.is_empty()
            && self.notices.is_empty()
    }
}
