//! Identities: who (node, instance, link) and what (job, task, attempt, fence).
//!
//! Each is a newtype so that no two of them can be mixed up. Ids are chosen by
//! their owner elsewhere; this file only says how they look.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Serialize};

use super::compact::as_array;

/// RFC 4648 base32 in lower case without padding: 52 characters for a node id.
fn base32() -> &'static Encoding {
    static ENCODING: std::sync::OnceLock<Encoding> = std::sync::OnceLock::new();
    ENCODING.get_or_init(|| {
        let mut specification = Specification::new();
        specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        #[expect(clippy::expect_used, reason = "a constant specification, covered by the tests below")]
        specification.encoding().expect("the base32 alphabet is a valid specification")
    })
}

/// A node's identity: its Ed25519 public key.
///
/// Shown as 52 characters of base32; [`NodeId::short`] is the form for logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl NodeId {
    /// The first ten characters: enough to tell nodes of one cluster apart.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }

    /// The number that stands for a client's key where a whole key would be too much.
    #[must_use]
    pub fn key_no(&self) -> KeyNo {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        // SQLite's integers have a sign: 63 bits are left.
        KeyNo(u64::from_be_bytes(first) >> 1)
    }
}

/// A client or admin in records and outcomes: the first 63 bits of its key.
///
/// To make a key that has the number of another one takes 2^63 tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyNo(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32().encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

/// The text is no node id: not 52 characters of lower-case base32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a node id: {0:?}")]
pub struct NodeIdError(pub String);

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = base32().decode(text.as_bytes()).map_err(|_| NodeIdError(text.to_owned()))?;
        bytes.try_into().map(NodeId).map_err(|_| NodeIdError(text.to_owned()))
    }
}

/// Random bits rendered as the lower-case base32 that ids use.
#[must_use]
pub fn base32_text(bytes: &[u8]) -> String {
    base32().encode(bytes)
}

/// One submission, numbered by its dispatcher from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A task's number within its job: as given by `--array`, from 1 for items, 0 for a single task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskIndex(pub u64);

/// One task: shown as `5.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The job it belongs to.
    pub job: JobId,
    /// Its number there.
    pub index: TaskIndex,
}

impl TaskId {
    /// Task `index` of `job`.
    #[must_use]
    pub fn new(job: u64, index: u64) -> Self {
        Self { job: JobId(job), index: TaskIndex(index) }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job.0, self.index.0)
    }
}

/// Number of a try at a task, from 1. Second tries of a suspect worker's task count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptNo(pub u32);

/// One try at one task: shown as `5.0 (attempt 2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The task tried.
    pub task: TaskId,
    /// Which try.
    pub attempt: AttemptNo,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (attempt {})", self.task, self.attempt.0)
    }
}

/// One start of the dispatcher, durable and ascending from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// What an attempt shows to the outside world to prove that it is the newest.
///
/// Ordered: a later assignment always has the greater fence, across dispatcher
/// restarts too, because every start takes a new epoch. Given to tasks as
/// `OCTASKLY_FENCE`, in the form `epoch * 2^40 + counter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// The dispatcher's start that issued it.
    pub epoch: Epoch,
    /// Counts up from 1 within the epoch; below 2^40.
    pub counter: u64,
}

impl Fence {
    /// Bits of the counter in the single-number form.
    pub const COUNTER_BITS: u32 = 40;

    /// The single number that tasks see; ascending like the fence itself.
    #[must_use]
    pub fn as_number(&self) -> u64 {
        assert!(self.counter < 1 << Self::COUNTER_BITS, "a fence counter outgrew its bits");
        (u64::from(self.epoch.0) << Self::COUNTER_BITS) | self.counter
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_number())
    }
}

/// One start of a node, chosen at random by it. A new one ends what the old one ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

/// One process that is the client of a job: bits that it chose at random when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

/// One authenticated connection, numbered by the process that holds it; means nothing elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub u64);

/// One request stream on a client's link, numbered by the dispatcher's shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

// Hot ids travel as short arrays instead of maps with field names: a batch of
// assignments is mostly ids.
as_array!(TaskId { job, index });
as_array!(AttemptId { task, attempt });

impl Serialize for Fence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.epoch.0, self.counter).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (epoch, counter) = Deserialize::deserialize(deserializer)?;
        if counter >= 1u64 << Self::COUNTER_BITS {
            return Err(serde::de::Error::custom("fence counter out of range"));
        }
        Ok(Self { epoch: Epoch(epoch), counter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_survives_its_text_form() {
        let id = NodeId([7; 32]);
        assert_eq!(id.to_string().len(), 52);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("short".parse::<NodeId>().is_err());
        assert!("A".repeat(52).parse::<NodeId>().is_err());
    }

    #[test]
    fn fences_ascend_across_restarts_of_the_dispatcher() {
        let old = Fence { epoch: Epoch(1), counter: 900_000 };
        let new = Fence { epoch: Epoch(2), counter: 1 };
        assert!(new > old && new.as_number() > old.as_number());
    }
}
