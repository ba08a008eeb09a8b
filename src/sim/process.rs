//! Simulated processes: how long they run, how they end, and how they take a
//! signal.
//!
//! Invariant: a process that was started ends exactly once, and is reported
//! after it is gone, never before.

use super::dice::Dice;
use crate::model::messages::Assignment;
use crate::model::{Millis, Outcome, SealedSpec, Timestamp};

/// How tasks of one job behave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Character {
    /// Shortest and longest run.
    pub(super) runs: (u64, u64),
    /// Percent that exit with a code other than zero.
    pub(super) fails: u64,
    /// Percent that die by a signal.
    pub(super) crashes: u64,
    /// Percent that cannot be started.
    pub(super) unstartable: u64,
    /// Percent that never end by themselves.
    pub(super) hangs: u64,
    /// Percent that do not listen to SIGTERM.
    pub(super) stubborn: u64,
}

/// Well-behaved tasks of this length.
pub(super) const fn good(shortest: u64, longest: u64) -> Character {
    Character { runs: (shortest, longest), fails: 0, crashes: 0, unstartable: 0, hangs: 0, stubborn: 0 }
}

/// Longer than any simulation.
const FOREVER: Millis = Millis::from_secs(1_000_000);

/// One process and what comes before and after it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) assignment: Assignment,
    pub(super) spec: SealedSpec,
    pub(super) character: Character,
    pub(super) stage: Stage,
    /// Raised whenever its next step is set anew, so that an older plan is void.
    pub(super) plan: u64,
    /// Whether it was told to end.
    pub(super) told: bool,
}

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being made.
    Spawning,
    /// It runs and will end so.
    Running(Outcome),
    /// It is gone, since this instant of its node's clock, and not yet reported.
    Gone(Outcome, Timestamp),
}

impl Process {
    /// How it runs when nobody interferes: how long, and how it ends.
    pub(super) fn fate(&self, dice: &mut Dice) -> (Millis, Outcome) {
        let Character { runs, fails, crashes, hangs, .. } = self.character;
        let takes = if dice.percent(hangs) { FOREVER } else { dice.millis(runs.0, runs.1) };
        let outcome = if dice.percent(fails) {
            Outcome::Exited(dice.one_of(&[1, 2, 7, 100, 255]))
        } else if dice.percent(crashes) {
            Outcome::Signalled(dice.one_of(&[6, 9, 11]))
        } else {
            Outcome::Exited(0)
        };
        (takes, outcome)
    }

    /// How it takes SIGTERM with SIGKILL after `grace`.
    pub(super) fn end(&self, grace: Millis, dice: &mut Dice) -> (Millis, Outcome) {
        if dice.percent(self.character.stubborn) || grace == Millis(0) {
            return (grace, Outcome::Signalled(9));
        }
        let takes = dice.mostly_short(0, grace.0.saturating_sub(1));
        let outcome = if dice.percent(30) { Outcome::Exited(0) } else { Outcome::Signalled(15) };
        (takes, outcome)
    }
}
