//! What a dispatcher is told at its start; the defaults are those of docs/HELP.md.
//!
//! Absent: how options are typed and which variable overrides them (`cli`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use crate::discovery::DISCOVERY_PORT;
use crate::model::Millis;
use crate::model::limits::{LOST_AFTER, MAX_WORKERS, TASK_RETRIES, TASK_TIMEOUT};

/// The port of a dispatcher unless told otherwise (`--port 7878`).
pub const DISPATCHER_PORT: u16 = 7878;

/// How long ended jobs are kept unless told otherwise (`--retention 7d`).
const RETENTION: Millis = Millis::from_secs(7 * 24 * 3600);

/// How much stored output is kept unless told otherwise (`--log-space 10G`): about a hundred tasks that write
/// all that is kept of one.
const LOG_SPACE: u64 = 10 << 30;

/// What a dispatcher is told at its start.
#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    /// The home directory (`--home`), already resolved.
    pub home: PathBuf,
    /// `--bind`: the address to listen on; default `0.0.0.0`, every interface.
    pub bind: IpAddr,
    /// `--port`: default 7878; 0 takes any free one.
    pub port: u16,
    /// `--max-workers`: workers connected at once; default 10. One more is refused and may ask again.
    pub max_workers: u32,
    /// `--task-timeout`: the time limit of tasks that name none; default 300 s.
    pub task_timeout: Millis,
    /// `--task-retries`: tries after failed ones for jobs that name none; default 3.
    pub task_retries: u32,
    /// `--heartbeat-timeout`: silence after which a worker is lost; default 60 s.
    pub heartbeat_timeout: Millis,
    /// `--store`: the database file; `None` is `dispatcher/store.sqlite` in the home.
    pub store: Option<PathBuf>,
    /// `--file-quota`: bytes of inputs and outputs to keep; `None` is what the disk has room for.
    pub file_quota: Option<u64>,
    /// `--retention`: how long ended jobs are kept, with their output; default 7 days, `None` for ever.
    pub retention: Option<Millis>,
    /// `--log-space`: bytes of stored output that are kept beside the store; default 10 GB. Beyond it the output of
    /// the jobs that ended first goes, the jobs stay.
    pub log_space: u64,
    /// `--repair`: save what can be read of a damaged store first.
    pub repair: bool,
    /// `--p2p-enabled`: whether this dispatcher and its workers send beacons and may talk to each other; default
    /// true.
    pub p2p_enabled: bool,
    /// `--discovery-port`: where beacons go; default 5555.
    pub discovery_port: u16,
    /// It serves one `run` and is forgotten with its process: says nothing about where it listens, leaves no
    /// access file, has a key of the moment, and never waits for the disk.
    pub embedded: bool,
}

impl DispatcherOptions {
    /// A dispatcher of `home` with everything else as by default.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: DISPATCHER_PORT,
            max_workers: MAX_WORKERS,
            task_timeout: TASK_TIMEOUT,
            task_retries: TASK_RETRIES,
            heartbeat_timeout: LOST_AFTER,
            store: None,
            file_quota: None,
            retention: Some(RETENTION),
            log_space: LOG_SPACE,
            repair: false,
            p2p_enabled: true,
            discovery_port: DISCOVERY_PORT,
            embedded: false,
        }
    }

    /// A dispatcher of `home` that only this machine can reach, on any free port.
    #[must_use]
    pub fn loopback(home: PathBuf) -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            retention: None,
            log_space: u64::MAX,
            embedded: true,
            ..Self::new(home)
        }
    }

    /// Where it is to listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}
