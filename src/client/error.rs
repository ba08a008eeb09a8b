//! What can go wrong between a client and its dispatcher: one variant a cause.
//!
//! Each text is a fragment that completes "failed to …"; `hint` says what to
//! do about it. Exit codes are chosen in `cli/` from these variants.

use std::io;
use std::net::SocketAddr;

use crate::model::handshake::RefusalCode;
use crate::model::requests::Failure;
use crate::transport::TransportError;
use crate::trust::TrustError;

/// Why a client's wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Keys, homes or the access file.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The text names no host and port.
    #[error("read the address {0:?}: write HOST or HOST:PORT")]
    BadAddress(String),
    /// The name service does not know the host.
    #[error("find the host {host:?}: {source}")]
    UnknownHost {
        /// As typed.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// A dispatcher was named whose key is not known here.
    #[error("use the dispatcher at {named}: this client is not enrolled there")]
    NotEnrolled {
        /// As typed.
        named: String,
    },
    /// A client command needs a dispatcher and none is known.
    #[error("find a dispatcher: none is known here")]
    NoDispatcher,
    /// None of its addresses answered.
    #[error("reach the dispatcher at {address}: {reason}")]
    Unreachable {
        /// The last address tried.
        address: SocketAddr,
        /// Why that one failed.
        reason: Box<TransportError>,
    },
    /// The dispatcher does not let this client in.
    #[error("join the dispatcher: {text}")]
    Refused {
        /// Its reason.
        code: RefusalCode,
        /// Its words.
        text: String,
        /// Its advice.
        hint: Option<String>,
    },
    /// The link broke after the welcome; a reconnect may help.
    #[error("talk to the dispatcher: {0}")]
    LinkLost(TransportError),
    /// The dispatcher will not do what was asked.
    #[error("{}", .0.text)]
    Failed(Failure),
    /// The dispatcher answered something that is no answer to this.
    #[error("understand the dispatcher: it answered a {0} request with something else")]
    UnexpectedReply(&'static str),
    /// The dispatcher closed the stream without an answer.
    #[error("get an answer: the dispatcher ended the stream")]
    NoReply,
}

impl ClientError {
    /// What to do about it, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Trust(error) => error.hint(),
            Self::NotEnrolled { .. } => Some(
                "run this as the user who runs the dispatcher, on its machine and with the same OCTASKLY_HOME"
                    .to_owned(),
            ),
            Self::NoDispatcher => {
                Some("start one with `octaskly dispatcher`, or name one with --dispatcher HOST[:PORT]".to_owned())
            }
            Self::Unreachable { .. } => Some("is it running? start it with `octaskly dispatcher`".to_owned()),
            Self::UnknownHost { .. } => Some("check the spelling, or give its IP address".to_owned()),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Failed(failure) => failure.hint.clone(),
            Self::BadAddress(_) | Self::LinkLost(_) | Self::UnexpectedReply(_) | Self::NoReply => None,
        }
    }

    /// Whether the same request over a new link may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::LinkLost(_) | Self::NoReply | Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => code.is_temporary(),
            _ => false,
        }
    }
}

impl From<TransportError> for ClientError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Refused(refusal) => {
                Self::Refused { code: refusal.code, text: refusal.text, hint: refusal.hint }
            }
            other => Self::LinkLost(other),
        }
    }
}
