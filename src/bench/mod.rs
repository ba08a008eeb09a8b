//! Figures of a cluster, each beside the bare limit of this machine, measured
//! in the same run: `octaskly bench`.
//!
//! A [`Bench`] asks as any client does, over one link, and times what it hears.
//! Limit and figure alternate, round by round, so that a machine with other
//! things to do disturbs both alike; what is shown is the median of the rounds.
//! The one invariant: a bench is bounded in count and in time, and leaves no
//! job of its own behind. Absent: which cluster that is, and how figures are
//! shown (both `cli/`).

mod attached;
mod bare;
mod error;
mod figure;
mod files;
mod jobs;
mod latency;
mod throughput;
mod transfer;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use error::BenchError;
pub use figure::{Figure, Round, Spread, Unit};

use crate::client::Client;
use crate::model::views::WorkerState;
use crate::model::{JobId, Millis, Timestamp};
use crate::node::clock::Clock;

/// How long workers that are just starting are waited for.
const WORKERS_COME: Millis = Millis::from_secs(5);
/// Between two looks for them.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What bounds a bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Most rounds; the figures are medians over them. There is always one.
    pub rounds: u32,
    /// When no further round begins. A round is made to end by then as well, as far as that can be foreseen.
    pub time: Millis,
}

/// What was measured, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Workers that took tasks.
    pub workers: u64,
    /// Their slots.
    pub slots: u64,
    /// What each round consisted of: tasks, samples or bytes.
    pub amount: u64,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// One bench of one cluster.
pub struct Bench<'a> {
    client: &'a Client,
    clock: Clock,
    plan: Plan,
    begun: Timestamp,
    /// Jobs that are not forgotten yet.
    open: Mutex<Vec<JobId>>,
}

impl<'a> Bench<'a> {
    /// A bench of the cluster of `client`. Its time runs from here on.
    #[must_use]
    pub fn new(client: &'a Client, plan: Plan) -> Self {
        let clock = Clock::anchored_now();
        Self { client, clock, plan, begun: clock.now(), open: Mutex::new(Vec::new()) }
    }

    /// Waits until somebody can take tasks; how many workers, and how many slots they have.
    async fn workers(&self) -> Result<(u64, u64), BenchError> {
        let until = self.clock.now() + WORKERS_COME;
        loop {
            let workers = self.client.workers().await?;
            let ready = workers.iter().filter(|one| matches!(one.state, WorkerState::Idle | WorkerState::Busy));
            let (workers, slots) = ready.fold((0, 0), |(workers, slots), one| (workers + 1, slots + one.slots.total));
            if slots > 0 {
                return Ok((workers, slots));
            }
            if self.clock.now() >= until {
                return Err(BenchError::NoWorker);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Repeats `round` as often and as long as planned, once at least. What is found belongs to the figures in
    /// their order.
    async fn rounds(
        &self,
        mut round: impl AsyncFnMut() -> Result<Vec<Round>, BenchError>,
    ) -> Result<Vec<Vec<Round>>, BenchError> {
        let mut found: Vec<Vec<Round>> = Vec::new();
        for made in 0..self.plan.rounds.max(1) {
            if made > 0 && self.left() == 0.0 {
                break;
            }
            match round().await {
                Ok(figures) => {
                    found.resize(figures.len(), Vec::new());
                    found.iter_mut().zip(figures).for_each(|(rounds, one)| rounds.push(one));
                }
                // What the rounds before have shown stands.
                Err(BenchError::TooSlow(_)) if made > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Seconds of the planned time that are left.
    fn left(&self) -> f64 {
        (self.planned() - self.seconds_since(self.begun)).max(0.0)
    }

    /// Seconds that one round may take when those to come are to take as long.
    fn share(&self) -> f64 {
        self.left() / f64::from(self.plan.rounds.max(1))
    }

    fn planned(&self) -> f64 {
        self.plan.time.as_duration().as_secs_f64()
    }

    /// Never zero, so that it can be divided by.
    fn seconds_since(&self, begun: Timestamp) -> f64 {
        seconds_between(begun, self.clock.now())
    }

    fn with_open<T>(&self, act: impl FnOnce(&mut Vec<JobId>) -> T) -> T {
        // Every change is complete before anything can panic, so a poisoned lock is sound.
        act(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Seconds from `begun` to `ended`, a microsecond at least.
fn seconds_between(begun: Timestamp, ended: Timestamp) -> f64 {
    ended.0.saturating_sub(begun.0).max(1) as f64 / 1e6
}

/// How many of something that takes `each` seconds fit into `seconds`: as many as are wanted at most, `least` at least.
fn fitting(seconds: f64, each: f64, least: u64, wanted: u64) -> u64 {
    // A float beyond the range becomes the greatest number.
    ((seconds / each.max(1e-9)) as u64).clamp(least.min(wanted), wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_as_many_tasks_as_fit_into_its_time_and_never_none() {
        assert_eq!(fitting(1.0, 0.001, 1, 5_000), 1_000);
        assert_eq!(fitting(1.0, 0.001, 1, 100), 100, "no more than were asked for");
        assert_eq!(fitting(0.0, 10.0, 4, 100), 4, "no fewer than make a figure");
        assert_eq!(fitting(0.0, 10.0, 4, 1), 1, "unless fewer were asked for");
        assert_eq!(fitting(1e30, 0.0, 1, 7), 7);
    }

    #[test]
    fn no_span_of_time_is_zero() {
        assert!(seconds_between(Timestamp(5), Timestamp(5)) > 0.0);
        assert!(seconds_between(Timestamp(9), Timestamp(5)) > 0.0);
        assert_eq!(seconds_between(Timestamp(0), Timestamp(2_000_000)), 2.0);
    }
}
