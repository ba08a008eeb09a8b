//! What a task needs of a worker, whatever else is there: tasks with equal
//! requirements are one demand class and are decided together.

use super::WorkerKey;
pub(crate) use crate::engine::traits::{Kind, Traits};
use crate::model::spec::Workdir;
use crate::model::{Demand, JobSpec, RawString};

/// What a task needs of its worker. Equal requirements make one demand class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Requirement {
    /// What it reserves.
    pub(crate) demand: Demand,
    /// What kind of worker it must be.
    pub(crate) kind: Kind,
    /// The directory of its worker that it runs in, when it is not a fresh one. Whether a worker has it is known only
    /// once the worker has tried ([`super::directories`]).
    pub(crate) directory: Option<RawString>,
    /// The worker that a retry is to keep away from.
    pub(crate) avoid: Option<WorkerKey>,
}

impl Requirement {
    /// What tasks of `spec` need.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let directory = match &spec.workdir {
            Workdir::Fresh => None,
            Workdir::Existing(directory) => Some(directory.clone()),
        };
        Self { demand: spec.demand.clone(), kind: Kind::of(spec), directory, avoid: None }
    }

    /// The same, on any worker.
    pub(crate) fn anywhere(&self) -> Self {
        Self { avoid: None, ..self.clone() }
    }

    /// The same, but on another worker than `avoid`.
    pub(crate) fn avoiding(&self, avoid: WorkerKey) -> Self {
        Self { avoid: Some(avoid), ..self.clone() }
    }
}

impl Traits {
    /// Whether such a task could run here when nothing else does.
    pub(in crate::engine::dispatcher) fn could_hold(&self, requirement: &Requirement) -> bool {
        self.could_run(&requirement.kind, &requirement.demand)
    }
}
