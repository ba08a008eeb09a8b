//! What is said on a link's first stream before anything else: hello, then
//! welcome or refusal. *Connected* means that the welcome has arrived.

use serde::{Deserialize, Serialize};

use super::node::WorkerProfile;
use super::peers::PeerWelcome;
use super::{Epoch, InstanceId, Millis, NodeName, Role, Timestamp};

/// The first frame of a link, from the side that connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol version it speaks.
    pub protocol_oldest: u16,
    /// Newest protocol version it speaks.
    pub protocol_newest: u16,
    /// Its software version (`1.0.0`).
    pub software: String,
    /// This start of it.
    pub instance: InstanceId,
    /// What it wants to be.
    pub intent: Intent,
    /// What it brings to be enrolled, when its key is not yet.
    pub credential: Credential,
}

/// What a connecting node wants to be on this link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// Run tasks.
    Worker(WorkerProfile),
    /// Ask and submit.
    Client,
    /// A worker's guard, with one thing to say: that the instance named in the hello has ended.
    Guard,
    /// Become a worker: wait until an admin has typed the code that this node shows.
    Join {
        /// The name it wants; `None` takes the smallest free `worker-N`.
        name: Option<NodeName>,
    },
    /// Talk directly to the worker that was dialled, as another worker of the same dispatcher.
    Peer,
}

/// What a node brings to be enrolled. Presented only over a link whose dispatcher id was pinned.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// Nothing: its key is enrolled, or it is refused.
    None,
    /// The secret of the access file: same user, same machine.
    Access(#[serde(with = "serde_bytes")] [u8; 32]),
    /// The secret of a token that an admin made.
    Token(#[serde(with = "serde_bytes")] [u8; 16]),
}

/// Secrets are never printed.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Access(_) => "Access(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// The answer to a hello: a dispatcher's, or to [`Intent::Peer`] a worker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Come in.
    Welcome(Welcome),
    /// Stay out.
    Refused(Refusal),
    /// To [`Intent::Join`]: wait for the approval. What follows are `JoinNews` and `JoinReply`.
    Waiting(Waiting),
    /// To [`Intent::Peer`]: come in. What follows are `PeerMessage`s.
    Peer(PeerWelcome),
}

/// What an accepted node learns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version both sides use from here on.
    pub protocol: u16,
    /// The dispatcher's software version.
    pub software: String,
    /// The role its key has.
    pub role: Role,
    /// The name it goes by: as asked for, or the smallest free `worker-N`.
    pub name: NodeName,
    /// The dispatcher's current start.
    pub epoch: Epoch,
    /// Dispatcher time when this was said.
    pub now: Timestamp,
    /// How often to send heartbeats.
    pub heartbeat_interval: Millis,
    /// The limit for tasks that name none (`--task-timeout`).
    pub task_timeout: Millis,
    /// Whether nodes of this cluster send beacons and talk to each other (`--p2p-enabled`).
    #[serde(default)]
    pub p2p: bool,
}

/// What a node learns that waits for approval. Nobody has proved to it yet that this is its dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The protocol version both sides use from here on.
    pub protocol: u16,
    /// The dispatcher's software version.
    pub software: String,
    /// The name to approve it by: as asked for, or the smallest free `worker-N`.
    pub name: NodeName,
}

/// Why a node is not let in: a code for programs, a sentence for people, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason.
    pub code: RefusalCode,
    /// One line for people.
    pub text: String,
    /// What to do about it, when there is something.
    pub hint: Option<String>,
}

/// Reasons for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// Its key is not enrolled and it brought nothing to change that.
    NotEnrolled,
    /// What it brought is wrong.
    BadCredential,
    /// Its key has another role than the one it wants.
    WrongRole,
    /// Another live worker has this name.
    NameTaken,
    /// `--max-workers` are connected; worth trying again.
    TooManyWorkers,
    /// No protocol version in common.
    Version,
    /// The dispatcher is stopping; worth trying again.
    Stopping,
    /// The hello makes no sense.
    Malformed,
    /// Its key was revoked and stays out for good.
    Revoked,
    /// As many nodes wait for approval as may; worth trying again.
    TooManyJoining,
    /// This key has as many links as it may; worth trying again.
    TooManyLinks,
    /// Another process with this key, which runs elsewhere, is connected: the key folder was copied.
    KeyInUse,
    /// Another process with this key was connected until a moment ago and may come back; worth trying again.
    KeyAwaited,
    /// To a worker that dials another one: its key is not on the roster there; worth trying again, for the roster
    /// may be on its way.
    NotOnRoster,
}

impl RefusalCode {
    /// Whether waiting and asking again can help.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::TooManyWorkers
                | Self::Stopping
                | Self::NameTaken
                | Self::KeyInUse
                | Self::KeyAwaited
                | Self::TooManyJoining
                | Self::TooManyLinks
                | Self::NotOnRoster
        )
    }
}
