//! What can go wrong between a client and its dispatcher: one variant a cause.
//!
//! Each text is a fragment that completes "failed to …"; `hint` says what to
//! do about it. Exit codes are chosen in `cli/` from these variants.

use std::io;
use std::net::SocketAddr;

use super::ExpectedBy;
use crate::blob::BlobError;
use crate::model::handshake::RefusalCode;
use crate::model::requests::Failure;
use crate::transport::TransportError;
use crate::trust::TrustError;

/// Where the tokens of clients come from.
const TOKEN_FROM: &str = "`octaskly token create --role client`";

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
    /// A token says who its dispatcher is, but not where.
    #[error("find the dispatcher of the token: it is not known here where that is")]
    TokenWithoutAddress,
    /// Somebody else is where the dispatcher of the token should be.
    #[error("enrol at {address}: the token is for another dispatcher than the one there")]
    OtherThanToken {
        /// Where.
        address: SocketAddr,
    },
    /// Somebody else is where a known dispatcher was.
    #[error("use the dispatcher at {address}: it is not the one {}: it was reinstalled, or something else answers there",
        whose(*.by))]
    OtherDispatcher {
        /// Where.
        address: SocketAddr,
        /// By what it is known.
        by: ExpectedBy,
    },
    /// A client command needs a dispatcher and none is known.
    #[error("find a dispatcher: none is known here")]
    NoDispatcher,
    /// None of its addresses answered.
    #[error("reach the dispatcher at {}: {}", one_of(tried), at_its_address(.reason))]
    Unreachable {
        /// The addresses tried.
        tried: Vec<SocketAddr>,
        /// Why the first one failed.
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
    /// A file here could not be read, or what came could not be kept.
    #[error(transparent)]
    Blob(#[from] BlobError),
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
            Self::NotEnrolled { .. } | Self::Refused { code: RefusalCode::NotEnrolled, hint: None, .. } => {
                Some(format!("give it --token once, with what {TOKEN_FROM} prints on the dispatcher's machine"))
            }
            Self::TokenWithoutAddress => Some("name it with --dispatcher HOST[:PORT]".to_owned()),
            Self::OtherThanToken { .. } => Some(format!(
                "check --dispatcher, or give the --token that {TOKEN_FROM} prints on the machine of that one"
            )),
            Self::OtherDispatcher { by: ExpectedBy::Access, .. } => {
                Some("start this home's dispatcher again, or name the one that is meant with --dispatcher".to_owned())
            }
            Self::OtherDispatcher { .. } => Some(format!(
                "if it was reinstalled, enrol again: give --dispatcher and --token once, with what {TOKEN_FROM} prints there"
            )),
            Self::NoDispatcher => {
                Some("start one with `octaskly dispatcher`, or name one with --dispatcher HOST[:PORT]".to_owned())
            }
            Self::Unreachable { .. } => Some("is it running? start it with `octaskly dispatcher`".to_owned()),
            Self::UnknownHost { .. } => Some("check the spelling, or give its IP address".to_owned()),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Failed(failure) => failure.hint.clone(),
            Self::BadAddress(_) | Self::LinkLost(_) | Self::Blob(_) | Self::UnexpectedReply(_) | Self::NoReply => None,
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

/// How a dispatcher is known that somebody else has taken the place of.
fn whose(by: ExpectedBy) -> &'static str {
    match by {
        ExpectedBy::Access => "of this home",
        ExpectedBy::Token | ExpectedBy::Enrolment | ExpectedBy::Acquaintance => "this client was enrolled with",
    }
}

/// `10.0.0.1:7878 or 10.0.0.2:7878`.
fn one_of(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" or ")
}

/// Why an address leads nowhere, without that address: the text around it has it.
fn at_its_address(reason: &TransportError) -> String {
    match reason {
        TransportError::NothingListens(_) => "nothing listens there".to_owned(),
        TransportError::NoAnswer(_) => "no answer".to_owned(),
        TransportError::BadAddress(_) => "not an address this machine can reach".to_owned(),
        TransportError::NoNode(_) => "what answers there is no octaskly".to_owned(),
        TransportError::NotOffered { .. } => "what answers there is no dispatcher".to_owned(),
        TransportError::LinkLost(end) => end.to_string(),
        other => other.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_leads_nowhere_is_named_once() {
        let address: SocketAddr = "10.0.0.1:7878".parse().expect("an address");
        for reason in [
            TransportError::NothingListens(address),
            TransportError::NoAnswer(address),
            TransportError::NoNode(address),
            TransportError::NotOffered { address, alpn: crate::trust::Alpn::Client },
        ] {
            let text = ClientError::Unreachable { tried: vec![address], reason: Box::new(reason) }.to_string();
            assert_eq!(text.matches("10.0.0.1").count(), 1, "{text}");
        }
    }

    #[test]
    fn whoever_does_not_belong_is_told_about_tokens() {
        let address = "10.0.0.1:7878".parse().expect("an address");
        let refused = ClientError::Refused { code: RefusalCode::NotEnrolled, text: String::new(), hint: None };
        for error in [
            refused,
            ClientError::NotEnrolled { named: "mars".to_owned() },
            ClientError::OtherThanToken { address },
            ClientError::OtherDispatcher { address, by: ExpectedBy::Enrolment },
        ] {
            assert!(error.hint().is_some_and(|hint| hint.contains("--token")), "{error}");
            assert!(!error.is_transient(), "asking again does not help: {error}");
        }
    }
}
