//! How much a task may be given in arguments and environment.
//!
//! The one invariant: no job makes its worker hold more of a command than a
//! kernel would take, however its placeholders multiply its item. Absent: what
//! the kernel of this machine takes, which is less as a rule and which it says
//! itself, in the same words and with the same exit code.

use super::placeholders::Unfit;
use crate::wire::shim::SHIM_FRAME;

/// Most bytes of arguments and environment that Linux takes for one process: three quarters of its 8 MiB
/// for a first stack, and only where `ulimit -s` is above 24 MiB. With the usual 8 MiB it takes 2 MiB.
pub(super) const MOST_BYTES: usize = 6 * 1024 * 1024;
/// Bytes of one argument, or of one variable with its name, with the NUL behind it: what Linux takes (32 pages of 4 KiB).
/// Other systems take more; one bound for all makes a job independent of where it runs.
pub(super) const LONGEST_STRING: usize = 32 * 4096;
/// What each string costs beside its bytes: its NUL and a pointer to it.
const STRING_OVERHEAD: usize = 9;

const _: () = assert!(MOST_BYTES + 256 * 1024 < SHIM_FRAME as usize, "what is allowed fits into an order to a shim");

/// What one task may still be given.
#[derive(Debug)]
pub(super) struct Allowance {
    left: usize,
}

impl Allowance {
    /// All of it.
    pub(super) fn whole() -> Self {
        Self { left: MOST_BYTES }
    }

    /// Spends what one string of `bytes` costs.
    pub(super) fn string(&mut self, bytes: usize) -> Result<(), Unfit> {
        self.left =
            bytes.checked_add(STRING_OVERHEAD).and_then(|cost| self.left.checked_sub(cost)).ok_or(Unfit::TooLong)?;
        Ok(())
    }

    /// How long a string may still be.
    pub(super) fn longest(&self) -> usize {
        self.left.saturating_sub(STRING_OVERHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_spent_to_its_last_byte_and_no_further() {
        let mut allowance = Allowance::whole();
        assert_eq!(allowance.longest(), MOST_BYTES - STRING_OVERHEAD);
        assert_eq!(allowance.string(MOST_BYTES), Err(Unfit::TooLong));
        assert_eq!(allowance.string(usize::MAX), Err(Unfit::TooLong));
        assert_eq!(allowance.string(allowance.longest()), Ok(()));
        assert_eq!((allowance.longest(), allowance.string(0)), (0, Err(Unfit::TooLong)));
    }
}
