//! TLS with pinned keys.

/// What a connection is for; agreed on by TLS before the first byte of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alpn {
    /// `octaskly-worker/1`: a worker, or its guard, to its dispatcher.
    Worker,
    /// `octaskly-client/1`: a client to a dispatcher.
    Client,
}

impl Alpn {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Worker, Self::Client];

    /// The bytes that TLS carries.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Worker => b"octaskly-worker/1",
            Self::Client => b"octaskly-client/1",
        }
    }
}
