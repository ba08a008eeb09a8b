//! What a worker is told at its start, and what it advertises because of it.
//!
//! The one invariant: an option that was not given is `None`, so that "given
//! and equal to the default" can be told apart. Absent: how options are typed
//! and which variable overrides them (`cli`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::join::ApprovalAsked;
use crate::discovery::DISCOVERY_PORT;
use crate::model::limits::{MAX_JOBS, MOST_JOBS, STOP_GRACE};
use crate::model::node::WorkerProfile;
use crate::model::spec::Isolation;
use crate::model::{Capacity, MilliCpu, Millis, NodeName};
use crate::node::hardware::Hardware;
use crate::trust::token::TokenText;

/// What a worker is told at its start.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The home directory (`--home`), already resolved.
    pub home: PathBuf,
    /// `--name`; `None` lets the dispatcher pick `worker-N`, kept with the identity from then on.
    pub name: Option<NodeName>,
    /// `--dispatcher` and `--port`.
    pub dispatcher: DispatcherAddress,
    /// `--token`: enrols at the dispatcher that made it, and at no other.
    pub token: Option<TokenText>,
    /// `--max-jobs`: tasks at once; `None` is 4.
    pub max_jobs: Option<u32>,
    /// `--cpu-cores`; `None` is what [`Hardware::detect`] finds.
    pub cpu_cores: Option<u32>,
    /// `--memory` in MiB; `None` is what is found.
    pub memory_mb: Option<u64>,
    /// `--gpu`: whether to offer GPUs; the number is what is found, at least one.
    pub gpu: bool,
    /// `--label k=v`, without the implicit `name`, `os` and `arch`.
    pub labels: BTreeMap<String, String>,
    /// `--resource k=N`.
    pub resources: BTreeMap<String, u64>,
    /// `--file-quota`: bytes of inputs and outputs to keep; `None` is what the disk has room for.
    pub file_quota: Option<u64>,
    /// `--stop-grace`: how long running tasks may go on after a first SIGTERM or Ctrl-C; default 30 s.
    pub stop_grace: Millis,
    /// `--discovery-port`: where beacons come from and go to; default 5555.
    pub discovery_port: u16,
    /// `--listen`: where other workers come in; `None` is the first free port of 7879 to 7899, on all interfaces.
    pub listen: Option<SocketAddr>,
    /// `--advertise`: where others are told to look for it before anywhere else; port 0 is the one it listens on.
    pub advertise: Option<SocketAddr>,
    /// The `octaskly` binary that guard and shims are started from; `None` is the running one.
    pub program: Option<PathBuf>,
    /// Where to show what is to be typed for this worker's approval; `None` is the terminal. What does not
    /// fit into the queue is not shown.
    pub show_approval: Option<mpsc::Sender<ApprovalAsked>>,
}

/// Where a worker was told to look for its dispatcher.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DispatcherAddress {
    /// `--dispatcher`: a host name or address; `None` is what the access file says, else `localhost`.
    pub host: Option<String>,
    /// `--port`; `None` is what the access file says, else 7878.
    pub port: Option<u16>,
}

impl WorkerOptions {
    /// A worker of `home` with everything else at its default.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            name: None,
            dispatcher: DispatcherAddress::default(),
            token: None,
            max_jobs: None,
            cpu_cores: None,
            memory_mb: None,
            gpu: false,
            labels: BTreeMap::new(),
            resources: BTreeMap::new(),
            file_quota: None,
            stop_grace: STOP_GRACE,
            discovery_port: DISCOVERY_PORT,
            listen: None,
            advertise: None,
            program: None,
            show_approval: None,
        }
    }

    /// What it advertises on a machine with `hardware`.
    #[must_use]
    pub fn profile(&self, hardware: &Hardware) -> WorkerProfile {
        WorkerProfile {
            name: self.name.clone(),
            capacity: Capacity {
                slots: self.max_jobs.unwrap_or(MAX_JOBS).min(MOST_JOBS),
                cpu: self.cpu_cores.map_or(hardware.cpu, MilliCpu::from_cores),
                memory_bytes: self.memory_mb.map_or(hardware.memory_bytes, |mb| mb.saturating_mul(1024 * 1024)),
                // Who declares a GPU that nothing was found of knows better than we do.
                gpus: if self.gpu { hardware.gpu_count().max(1) } else { 0 },
                resources: self.resources.clone(),
            },
            labels: self.labels.clone(),
            os: hardware.os.to_owned(),
            arch: hardware.arch.to_owned(),
            isolation: Isolation::Basic,
            place: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware() -> Hardware {
        Hardware { cpu: MilliCpu(6000), memory_bytes: 8 << 30, gpus: Vec::new(), os: "linux", arch: "x86_64" }
    }

    #[test]
    fn nobody_advertises_more_slots_than_a_worker_can_tell_of() {
        let mut options = WorkerOptions::new("/nowhere".into());
        options.max_jobs = Some(u32::MAX);
        assert_eq!(options.profile(&hardware()).capacity.slots, MOST_JOBS);
    }

    #[test]
    fn a_plain_worker_advertises_four_slots_and_the_machine_but_no_gpu() {
        let profile = WorkerOptions::new("/nowhere".into()).profile(&hardware());
        assert_eq!((profile.capacity.slots, profile.capacity.cpu), (4, MilliCpu(6000)));
        assert_eq!((profile.capacity.memory_bytes, profile.capacity.gpus), (8 << 30, 0));
    }

    #[test]
    fn what_the_user_declares_wins_over_what_is_found() {
        let mut options = WorkerOptions::new("/nowhere".into());
        options.cpu_cores = Some(16);
        options.memory_mb = Some(32_768);
        options.gpu = true;
        let capacity = options.profile(&hardware()).capacity;
        assert_eq!((capacity.cpu, capacity.memory_bytes, capacity.gpus), (MilliCpu(16_000), 32 << 30, 1));
    }
}
