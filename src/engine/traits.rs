//! What a worker is, and what kind of worker a task asks for.
//!
//! Both engines compare the two: the dispatcher before it places a task, a
//! worker before it takes one over from another. Invariant: the answer does not
//! depend on what runs at the moment. Absent: room (each engine keeps its own).

use std::collections::BTreeMap;

use crate::model::node::WorkerProfile;
use crate::model::spec::Isolation;
use crate::model::{Capacity, Demand, JobSpec, NodeName};

/// The part of what a task needs that does not depend on what is free.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    /// Labels that its worker must have.
    pub(crate) labels: BTreeMap<String, String>,
    /// The isolation that it must be able to give.
    pub(crate) isolation: Isolation,
}

impl Kind {
    /// What tasks of `spec` need. `--label os=any` and `arch=any` ask for nothing.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let mut labels = spec.labels.clone();
        labels.retain(|key, value| !(matches!(key.as_str(), "os" | "arch") && value == "any"));
        Self { labels, isolation: spec.isolation }
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

    /// Whether a task of this kind with this demand could run here when nothing else does.
    pub(crate) fn could_run(&self, kind: &Kind, demand: &Demand) -> bool {
        self.is(kind) && self.capacity.could_hold(demand)
    }
}
