//! What to simulate: how many of everything, and how rough it gets.

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
    /// Faults, spread over `span`.
    pub faults: u32,
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
            faults: 25,
            span: Millis::from_secs(600),
            patience: Millis::from_secs(6 * 3600),
            audit_every: 1,
            trace_messages: true,
            aloud: false,
        }
    }
}
