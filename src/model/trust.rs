//! What trust is spoken in: tokens, joining by code, and who is enrolled.
//!
//! Plain data. Absent: secrets in the open (a token is known here by its hash
//! alone) and every computation with keys (`trust/`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, Millis, NodeId, NodeName, Role, Timestamp};

/// What a token is called in lists and in `token revoke`: the first 40 bits of the hash of its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(#[serde(with = "serde_bytes")] pub [u8; 5]);

impl TokenId {
    /// The id of the token whose secret has this hash.
    #[must_use]
    pub fn of(hash: &Digest) -> Self {
        let mut id = [0; 5];
        id.copy_from_slice(&hash.0[..5]);
        Self(id)
    }
}

/// Eight characters of lower-case base32.
impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

/// A text that names no token: it is not eight characters of base32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no token id")]
pub struct TokenIdError(pub String);

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TokenIdError(text.to_owned());
        let bytes = data_encoding::BASE32_NOPAD_NOCASE.decode(text.as_bytes()).map_err(|_| wrong())?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

/// What makes a node belong that is not enrolled yet, as the shell has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voucher {
    /// It has the access file: this user on this machine. Worth this role.
    Access(Role),
    /// It knows the secret with this hash; the registry says what that is worth.
    Token(Digest),
}

/// A token as the registry keeps it. The secret is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// BLAKE3 of the secret.
    pub hash: Digest,
    /// What its bearer becomes.
    pub role: Role,
    /// What its bearer is called; the second one and on get a number behind it. `None`: a name is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// How many keys may be enrolled with it.
    pub uses: u32,
    /// Which were, in order; presenting it again with one of these keys takes no further use.
    pub used_by: Vec<NodeId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops enrolling anybody, by the dispatcher's clock.
    pub expires_at: Timestamp,
    /// It also stops when the dispatcher has run for this long, all its starts taken together: a clock that was set
    /// back does not prolong it.
    pub expires_uptime: Millis,
    /// Whether it was taken back before.
    pub revoked: bool,
}

impl Token {
    /// What it is called.
    #[must_use]
    pub fn id(&self) -> TokenId {
        TokenId::of(&self.hash)
    }
}

/// Where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// Enrols whoever brings it.
    Valid,
    /// As many keys came as it was made for.
    Used,
    /// Its lifetime is over.
    Expired,
    /// Taken back.
    Revoked,
}

/// A token as `token list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// What it is called.
    pub id: TokenId,
    /// What its bearer becomes.
    pub role: Role,
    /// What its bearer is called, when that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// How many keys may be enrolled with it.
    pub uses: u32,
    /// How many were.
    pub used: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops enrolling anybody.
    pub expires_at: Timestamp,
    /// Where it stands now.
    pub state: TokenState,
}

/// An enrolled (or revoked) client or admin as `clients` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// What it is called.
    pub name: NodeName,
    /// Its key.
    pub node: NodeId,
    /// What it may do.
    pub role: Role,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// Links it has now.
    pub links: u32,
    /// Whether it was thrown out.
    pub revoked: bool,
}

/// What the dispatcher says to a worker that waits for approval, after `Answer::Waiting`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinNews {
    /// Somebody typed a code for this worker: here is proof that the dispatcher knows it.
    /// The worker answers with [`JoinReply`].
    Proof(#[serde(with = "serde_bytes")] [u8; 32]),
    /// The worker's own proof was right and it is enrolled, durably. The link ends with this.
    Enrolled,
}

/// What a waiting worker answers to [`JoinNews::Proof`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// The code is right; here is proof that the worker knows it too.
    Proof(#[serde(with = "serde_bytes")] [u8; 32]),
    /// It was not this worker's code.
    WrongCode {
        /// Wrong codes it still bears; at none the code is burnt and the worker leaves to come back with another.
        left: u8,
    },
}
