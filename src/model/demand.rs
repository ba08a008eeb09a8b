//! What a task asks for and what a worker has.
//!
//! Every task takes one job slot. CPU, memory, GPU and named resources are
//! reserved only when asked for, and what is asked for is never oversubscribed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Thousandths of a CPU core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpu(pub u32);

impl MilliCpu {
    /// `cores` whole cores, saturating.
    #[must_use]
    pub const fn from_cores(cores: u32) -> Self {
        Self(cores.saturating_mul(1000))
    }
}

/// What one task reserves beside its slot. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Demand {
    /// CPU; zero reserves none.
    pub cpu: MilliCpu,
    /// Memory in bytes; zero reserves none.
    pub memory_bytes: u64,
    /// Whole GPUs, handed out by index.
    pub gpus: u32,
    /// Named resources (`--resource k=N`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, u64>,
}

/// What one worker advertises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Tasks at once (`--max-jobs`, default 4).
    pub slots: u32,
    /// CPU (`--cpu-cores`, default: detected).
    pub cpu: MilliCpu,
    /// Memory in bytes (`--memory` in MiB, default: detected).
    pub memory_bytes: u64,
    /// GPUs (`--gpu`: none by default).
    pub gpus: u32,
    /// Named resources (`--resource k=N`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, u64>,
}

impl Capacity {
    /// Whether a task with `demand` fits when nothing else runs.
    #[must_use]
    pub fn could_hold(&self, demand: &Demand) -> bool {
        self.slots >= 1
            && self.cpu >= demand.cpu
            && self.memory_bytes >= demand.memory_bytes
            && self.gpus >= demand.gpus
            && demand.resources.iter().all(|(name, amount)| self.resources.get(name).copied().unwrap_or(0) >= *amount)
    }
}
