//! How links end: a code for programs and a line for people, readable at the other side.

/// Why a side closed a link; travels as the QUIC application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// Nothing more to say.
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
    /// A code this build does not know.
    Other(u32),
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
        /// Its words.
        text: String,
    },
    /// Nothing was heard for the idle timeout.
    TimedOut,
    /// The other side's process has forgotten the link: it was restarted.
    Reset,
    /// The QUIC layer gave up; the text is its own.
    Broken(String),
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ByUs => f.write_str("closed by this side"),
            Self::ByPeer { text, .. } => write!(f, "closed by the other side: {text}"),
            Self::TimedOut => f.write_str("the other side fell silent"),
            Self::Reset => f.write_str("the other side was restarted"),
            Self::Broken(text) => f.write_str(text),
        }
    }
}
