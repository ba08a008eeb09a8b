//! What a task needs of a worker, whatever else is there: tasks with equal
//! requirements are one demand class and are decided together.

use std::collections::BTreeMap;

use super::WorkerKey;
use crate::model::node::WorkerProfile;
use crate::model::spec::Isolation;
use crate::model::{Capacity, Demand, JobSpec, NodeName};

/// What a task needs of its worker. Equal requirements make one demand class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Requirement {
    /// What it reserves.
    pub(crate) demand: Demand,
    /// What kind of worker it must be.
    pub(crate) kind: Kind,
    /// The worker that a retry is to keep away from.
    pub(crate) avoid: Option<WorkerKey>,
}

/// The part of a requirement that does not depend on what is free.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    /// Labels it must have.
    pub(crate) labels: BTreeMap<String, String>,
    /// The isolation it must be able to give.
    pub(crate) isolation: Isolation,
}

impl Requirement {
    /// What tasks of `spec` need. `--label os=any` and `arch=any` ask for nothing.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let mut labels = spec.labels.clone();
        labels.retain(|key, value| !(matches!(key.as_str(), "os" | "arch") && value == "any"));
        Self { demand: spec.demand.clone(), kind: Kind { labels, isolation: spec.isolation }, avoid: None }
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

/// What a worker is: what requirements are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Its labels, the implicit `name`, `os` and `arch` among them.
    pub(crate) labels: BTreeMap<String, String>,
    /// The strictest isolation that it can give.
    pub(crate) isolation: Isolation,
    /// What it can hold.
    pub(crate) capacity: Capacity,
}

impl Traits {
    /// The traits of the worker that goes by `name`. What it says of itself cannot replace an implicit label.
    pub(crate) fn of(name: &NodeName, profile: &WorkerProfile) -> Self {
        let mut labels = profile.labels.clone();
        labels.insert("name".to_owned(), name.to_string());
        labels.insert("os".to_owned(), profile.os.clone());
        labels.insert("arch".to_owned(), profile.arch.clone());
        Self { labels, isolation: profile.isolation, capacity: profile.capacity.clone() }
    }

    /// Whether this is such a worker.
    pub(crate) fn is(&self, kind: &Kind) -> bool {
        self.isolation >= kind.isolation && self.missing_labels(kind).next().is_none()
    }

    /// The labels that it lacks.
    pub(crate) fn missing_labels<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = (&'a String, &'a String)> {
        kind.labels.iter().filter(|(key, value)| self.labels.get(*key) != Some(*value))
    }

    /// Whether such a task could run here when nothing else does.
    pub(crate) fn could_hold(&self, requirement: &Requirement) -> bool {
        self.is(&requirement.kind) && self.capacity.could_hold(&requirement.demand)
    }
}
