//! How much a task may be given in arguments and environment.
//!
//! The one invariant: no job makes its worker hold more of a command than a
//! kernel would take, however its placeholders multiply its item. Absent: what
//! the kernel of this machine takes, which is less as a rule and which it says
//! itself, in the same words and with the same exit code.

use crate::exec::program;
use crate::model::outcome::{SpawnFailure, SpawnFailureKind};
use crate::wire::shim::SHIM_FRAME;

/// Most bytes of arguments and environment that Linux takes for one process: three quarters of its 8 MiB
/// for a first stack, and only where `ulimit -s` is above 24 MiB. With the usual 8 MiB it takes 2 MiB.
const MOST_BYTES: usize = 6 * 1024 * 1024;
/// What each string costs beside its bytes: its NUL and a pointer to it.
const STRING_OVERHEAD: usize = 9;

const _: () = assert!(MOST_BYTES + 256 * 1024 < SHIM_FRAME as usize, "what is allowed fits into an order to a shim");

/// What one task may still be given.
#[derive(Debug)]
pub(super) struct Allowance {
    left: usize,
}

/// It is more than any process can be given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Allowance {
    /// All of it.
    pub(super) fn whole() -> Self {
        Self { left: MOST_BYTES }
    }

    /// Spends what one string of `bytes` costs.
    pub(super) fn string(&mut self, bytes: usize) -> Result<(), TooLong> {
        self.left = bytes.checked_add(STRING_OVERHEAD).and_then(|cost| self.left.checked_sub(cost)).ok_or(TooLong)?;
        Ok(())
    }

    /// How long a string may still be.
    pub(super) fn longest(&self) -> usize {
        self.left.saturating_sub(STRING_OVERHEAD)
    }
}

impl From<TooLong> for SpawnFailure {
    fn from(TooLong: TooLong) -> Self {
        let mib = MOST_BYTES / (1024 * 1024);
        let reason = format!("argument list too long: arguments and environment take more than {mib} MiB");
        program::failure(SpawnFailureKind::NotExecutable, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_spent_to_its_last_byte_and_no_further() {
        let mut allowance = Allowance::whole();
        assert_eq!(allowance.longest(), MOST_BYTES - STRING_OVERHEAD);
        assert_eq!(allowance.string(MOST_BYTES), Err(TooLong));
        assert_eq!(allowance.string(usize::MAX), Err(TooLong));
        assert_eq!(allowance.string(allowance.longest()), Ok(()));
        assert_eq!((allowance.longest(), allowance.string(0)), (0, Err(TooLong)));
    }
}
