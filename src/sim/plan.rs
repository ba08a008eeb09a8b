//! What to simulate: how many of everything, and how rough it gets.

use super::dice::Dice;
use crate::model::Millis;

/// One simulation, up to its seed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Workers; the first has some of everything, so that every job can run.
    pub workers: usize,
    /// Most slots of a worker.
    pub slots: u32,
    /// The dispatcher's `--max-workers`.
    pub max_workers: u32,
    /// Clients, among whom the jobs are divided.
    pub clients: usize,
    /// Tasks of all jobs together.
    pub tasks: u64,
    /// What the jobs are like.
    pub variety: Variety,
    /// Percent of the jobs that are exclusive, and as many that are started once at most.
    pub delicate: u64,
    /// Percent of the jobs whose tasks take long enough for faults to find them.
    pub long: u64,
    /// Percent of the messages that arrive twice even in fair weather.
    pub repeats: u64,
    /// Whether two workers ask for one name.
    pub twins: bool,
    /// Whether the dispatcher's shell keeps all messages in one queue, or lets
    /// those that need no sync overtake the others. Both are allowed.
    pub one_queue: bool,
    /// Faults, spread over `span`.
    pub faults: u32,
    /// Times that the dispatcher loses its power while its disk is slow, beside the faults.
    pub outages: u32,
    /// Whether workers have direct links, and may have backlogs.
    pub mesh: bool,
    /// Times that something goes wrong between two workers, beside the faults.
    pub peer_faults: u32,
    /// Times that the dispatcher stands still for most of the time after which links die, beside the faults.
    pub pauses: u32,
    /// Whether no slot may stay idle for two seconds while a linked worker has attempts that wait.
    pub watch_idle: bool,
    /// Jobs are submitted, and faults happen, in this time; after it nothing fails any more.
    pub span: Millis,
    /// In this time after `span` everything has to be finished.
    pub patience: Millis,
    /// The engines that a step touched are audited every so many steps; all of them at the end.
    pub audit_every: u64,
    /// Whether the trace covers what every message says, or only who says something when.
    pub trace_messages: bool,
    /// Whether the trace is printed as it grows.
    pub aloud: bool,
}

/// Kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variety {
    /// Arrays without demands, on equal workers.
    Plain,
    /// Everything a spec can say, on workers of all sorts.
    Everything,
}

impl Plan {
    /// A rough ten minutes for a handful of workers.
    #[must_use]
    pub fn small() -> Self {
        Self {
            workers: 5,
            slots: 4,
            max_workers: 10,
            clients: 2,
            tasks: 150,
            variety: Variety::Everything,
            delicate: 15,
            long: 20,
            repeats: 0,
            twins: false,
            one_queue: false,
            faults: 25,
            outages: 0,
            mesh: true,
            peer_faults: 15,
            pauses: 0,
            watch_idle: false,
            span: Millis::from_secs(600),
            patience: Millis::from_secs(48 * 3600),
            audit_every: 1,
            trace_messages: true,
            aloud: false,
        }
    }

    /// Whatever `seed` draws: from one quiet worker to a dozen in a hurricane.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let workers = dice.index(12) + 1;
        let variety = if dice.percent(15) { Variety::Plain } else { Variety::Everything };
        // Only where every worker can run everything may some be left out.
        let all = u32::try_from(workers).unwrap_or(u32::MAX);
        let max_workers = if variety == Variety::Plain && dice.percent(50) { all.div_ceil(2) } else { all };
        Self {
            workers,
            max_workers,
            slots: u32::try_from(dice.between(1, 6)).unwrap_or(1),
            clients: dice.index(3) + 1,
            tasks: dice.between(10, 300),
            variety,
            delicate: dice.one_of(&[0, 15, 50]),
            long: dice.one_of(&[0, 20, 70]),
            repeats: dice.one_of(&[0, 2, 20]),
            twins: dice.percent(20),
            one_queue: dice.percent(50),
            faults: u32::try_from(dice.one_of(&[0, 10, 40, 120])).unwrap_or(0),
            outages: u32::try_from(dice.one_of(&[0, 0, 5, 15])).unwrap_or(0),
            mesh: dice.percent(80),
            peer_faults: u32::try_from(dice.one_of(&[0, 20, 100])).unwrap_or(0),
            span: dice.millis(30_000, 1_200_000),
            ..Self::small()
        }
    }
}
