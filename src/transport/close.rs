//! How links end: a code for programs and a line for people, readable at the other side.
//!
//! Invariant: what a peer wrote can be shown on a terminal as it stands here.
//! Absent: refusals, which are messages and come before the close.

use std::fmt;

use quinn::{ConnectionError, VarInt};

/// Longest text sent with a close; it must fit into the one packet that carries it.
const MAX_TEXT: usize = 800;

/// Why a side closed a link; travels as the QUIC application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// Nothing more to say. Also what the other side sees when a link is dropped without a word.
    Done,
    /// The node is stopping; worth trying again.
    Stopping,
    /// The hello was answered with a refusal.
    Refused,
    /// A newer link of the same node took its place.
    Superseded,
    /// The other side broke the protocol.
    Malformed,
    /// The other side took too long over its handshake, hello or a frame.
    TooSlow,
    /// Too many connections that have not said who they are.
    Crowded,
    /// The other side's key was revoked: it stays out for good.
    Revoked,
    /// A code this build does not know.
    Other(u32),
}

impl CloseCode {
    /// The number that travels. These never change; new ones get new numbers.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Stopping => 1,
            Self::Refused => 2,
            Self::Superseded => 3,
            Self::Malformed => 4,
            Self::TooSlow => 5,
            Self::Crowded => 6,
            Self::Revoked => 7,
            Self::Other(number) => number,
        }
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::Stopping,
            2 => Self::Refused,
            3 => Self::Superseded,
            4 => Self::Malformed,
            5 => Self::TooSlow,
            6 => Self::Crowded,
            7 => Self::Revoked,
            other => Self::Other(other),
        }
    }
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// This side closed it.
    ByUs,
    /// The other side closed it.
    ByPeer {
        /// Its reason.
        code: CloseCode,
        /// Its words, without control characters.
        text: String,
    },
    /// Nothing was heard for the idle timeout.
    TimedOut,
    /// The other side's process has forgotten the link: it was restarted.
    Reset,
    /// The QUIC layer gave up; the text is its own.
    Broken(String),
}

/// Completes "the link was lost: …".
impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByUs => f.write_str("closed by this side"),
            Self::ByPeer { text, .. } if text.is_empty() => f.write_str("closed by the other side"),
            Self::ByPeer { text, .. } => write!(f, "closed by the other side: {text}"),
            Self::TimedOut => f.write_str("the other side fell silent"),
            Self::Reset => f.write_str("the other side was restarted"),
            Self::Broken(text) => f.write_str(text),
        }
    }
}

impl From<ConnectionError> for LinkEnd {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::LocallyClosed => Self::ByUs,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::ApplicationClosed(close) => Self::ByPeer {
                code: CloseCode::from_number(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
                text: printable(&close.reason),
            },
            ConnectionError::ConnectionClosed(close) => {
                Self::Broken(format!("{} ({})", close.error_code, printable(&close.reason)))
            }
            ConnectionError::TransportError(error) => Self::Broken(error.to_string()),
            ConnectionError::VersionMismatch => Self::Broken("the other side speaks no known version of QUIC".into()),
            ConnectionError::CidsExhausted => Self::Broken("out of connection ids".into()),
        }
    }
}

/// Closes `connection` so that the other side can read why.
pub(super) fn close(connection: &quinn::Connection, code: CloseCode, text: &str) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    connection.close(VarInt::from_u32(code.number()), &text.as_bytes()[..end]);
}

/// A peer's words, harmless to a terminal.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_number() {
        for number in (0..10).chain([u32::MAX]) {
            assert_eq!(CloseCode::from_number(number).number(), number);
        }
    }

    #[test]
    fn a_peers_words_cannot_steer_a_terminal() {
        assert_eq!(printable(b"bad\x1b[2Jnews\r\n\xff"), "bad[2Jnews\u{fffd}");
    }
}
