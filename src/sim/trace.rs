//! A fingerprint of everything that happened.
//!
//! Invariant: two runs with the same fingerprint did the same things in the
//! same order, as far as they were noted here.

use std::fmt::{self, Write as _};

use crate::model::Timestamp;

/// FNV-1a over 64 bits (offset basis and prime as its authors publish them):
/// not against an adversary, only against chance.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    hash: u64,
    aloud: bool,
}

impl Trace {
    /// An empty trace; one that is `aloud` prints every note to stderr.
    #[must_use]
    pub(super) fn new(aloud: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, aloud }
    }

    /// Notes that `what` happened at `now`.
    pub(super) fn note(&mut self, now: Timestamp, what: fmt::Arguments<'_>) {
        self.byte_wise(&now.0.to_le_bytes());
        let written = self.write_fmt(what);
        assert!(written.is_ok(), "what happened cannot be written");
        if self.aloud {
            eprintln!("{:>12.3} {what}", (now.0 % 86_400_000_000) as f64 / 1e6);
        }
    }

    /// The fingerprint so far.
    #[must_use]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    fn byte_wise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.byte_wise(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_what_happened_changes_the_fingerprint() {
        let trace = |first: u32, second: u32| {
            let mut trace = Trace::new(false);
            trace.note(Timestamp(1), format_args!("{first}"));
            trace.note(Timestamp(1), format_args!("{second}"));
            trace.hash()
        };
        assert_eq!(trace(1, 2), trace(1, 2));
        assert_ne!(trace(1, 2), trace(2, 1));
    }
}
