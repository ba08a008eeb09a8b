//! What a node is called, what it may do, and what it says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits::MAX_NODE_NAME;
use super::{Capacity, Digest, KeyNo, spec::Isolation};

/// What an enrolled key may do. Looked up in the dispatcher's registry, never taken from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything a client may, everybody's jobs, and trust itself.
    Admin,
    /// Submit, and its own jobs.
    Client,
    /// Run tasks.
    Worker,
    /// The dispatcher itself.
    Dispatcher,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Dispatcher => "dispatcher",
        })
    }
}

/// A node's name: 1–63 of `a-z 0-9 - _ .`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client calls itself where the name of an owner is wanted. No client is called this.
pub const ME: &str = "me";

impl NodeName {
    /// The valid name that is nearest to `text`; `None` when nothing of it can be used.
    #[must_use]
    pub fn nearest(text: &str) -> Option<Self> {
        nearest(text)?.parse().ok()
    }

    /// The same name with a number behind it; its end gives way where that would be too long.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Self {
        let suffix = format!("-{number}");
        let mut text = self.0.clone();
        text.truncate(MAX_NODE_NAME - suffix.len());
        Self(text + &suffix)
    }

    /// What a client is called whose name is not known any more.
    #[must_use]
    pub fn of_forgotten(key: KeyNo) -> Self {
        Self(format!("client-{:016x}", key.0))
    }
}

/// Why a text is no node name, with the nearest one that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a valid name")]
pub struct NodeNameError {
    /// What was given.
    pub given: String,
    /// The nearest valid name, for the hint.
    pub nearest: String,
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = !text.is_empty()
            && text.len() <= MAX_NODE_NAME
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            let nearest = nearest(text).unwrap_or_else(|| "worker-1".to_owned());
            Err(NodeNameError { given: text.to_owned(), nearest })
        }
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The valid name closest to `text`: lower case, runs of anything else become one dash. `None` when nothing is left.
fn nearest(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.trim().chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' | '_' | '.' | '-' => name.push(c),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let mut name: String = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    name.truncate(MAX_NODE_NAME);
    let name = name.trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

/// A client or admin that did something. Stored as its number; its name is looked up when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Which key.
    pub key: KeyNo,
    /// What it is called, or was called last.
    pub name: NodeName,
}

/// What a worker says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerProfile {
    /// The name it asks for; `None` lets the dispatcher pick `worker-N`.
    pub name: Option<NodeName>,
    /// What it can hold.
    pub capacity: Capacity,
    /// Its labels, the implicit `name`, `os` and `arch` not among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Operating system as Rust names it (`linux`).
    pub os: String,
    /// Processor architecture as Rust names it (`x86_64`).
    pub arch: String,
    /// The strictest isolation level that it can give.
    pub isolation: Isolation,
    /// Where the lock of its key is held: a digest of the machine's boot and of the lock file. Two processes that name
    /// one place ran one after the other; a copy of the key folder is at another. `None` where no lock is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_comes_back_with_the_nearest_good_one() {
        let near = |text: &str| text.parse::<NodeName>().map_err(|e| e.nearest);
        assert_eq!(near("worker 01"), Err("worker-01".into()));
        assert_eq!(near("WORKER-01"), Err("worker-01".into()));
        assert_eq!(near("../../etc"), Err("etc".into()));
        assert_eq!(near(""), Err("worker-1".into()));
        assert_eq!(near(&"x".repeat(64)), Err("x".repeat(63)));
        assert!("prod-worker-01".parse::<NodeName>().is_ok());
    }
}
