//! What can be typed behind `dispatcher` and `worker`.
//!
//! Every option is absent or a text: `resolve` reads it together with the
//! environment variable that overrides it.

use std::ffi::OsString;

use clap::Args;

/// Options of `octaskly dispatcher`.
#[derive(Debug, Default, Args)]
#[command(
    after_help = "An environment variable overrides its option; when both are given and differ, a warning says so."
)]
pub(crate) struct DispatcherArgs {
    /// Port to listen on; 0 takes a free one [default: 7878] [env: OCTASKLY_PORT]
    #[arg(short, long, value_name = "PORT")]
    pub(crate) port: Option<OsString>,
    /// Address to listen on [default: 0.0.0.0] [env: OCTASKLY_BIND]
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Option<OsString>,
    /// Workers connected at once [default: 10] [env: OCTASKLY_MAX_WORKERS]
    #[arg(short = 'w', long, value_name = "N")]
    pub(crate) max_workers: Option<OsString>,
    /// Time limit of a task that names none, in seconds [default: 300] [env: OCTASKLY_TASK_TIMEOUT]
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(crate) task_timeout: Option<OsString>,
    /// Retries of a failed task that names no number [default: 3] [env: OCTASKLY_TASK_RETRIES]
    #[arg(long, value_name = "N")]
    pub(crate) task_retries: Option<OsString>,
    /// Silence after which a worker is lost, in seconds [default: 60] [env: OCTASKLY_HEARTBEAT_TIMEOUT]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) heartbeat_timeout: Option<OsString>,
    /// Whether nodes send beacons and workers may talk to each other [default: true] [env: OCTASKLY_P2P_ENABLED]
    #[arg(long, value_name = "true|false")]
    pub(crate) p2p_enabled: Option<OsString>,
    /// UDP port of peer discovery [default: 5555] [env: OCTASKLY_DISCOVERY_PORT]
    #[arg(long, value_name = "PORT")]
    pub(crate) discovery_port: Option<OsString>,
    /// File of the queue [default: dispatcher/store.sqlite in the home] [env: OCTASKLY_STORE]
    #[arg(long, value_name = "PATH")]
    pub(crate) store: Option<OsString>,
    /// How long ended jobs are kept, with their output: 12h, 7d, none for ever [default: 7d] [env: OCTASKLY_RETENTION]
    #[arg(long, value_name = "TIME")]
    pub(crate) retention: Option<OsString>,
    /// Stored output that is kept beside the store; beyond it the oldest goes [default: 10G] [env: OCTASKLY_LOG_SPACE]
    #[arg(long, value_name = "SIZE")]
    pub(crate) log_space: Option<OsString>,
    /// Save what can be read of a damaged store, keep the damaged file, and start from that [env: OCTASKLY_REPAIR]
    #[arg(long)]
    pub(crate) repair: bool,
    /// What both kinds of node have.
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// Options of `octaskly worker`.
#[derive(Debug, Default, Args)]
#[command(
    after_help = "An environment variable overrides its option; when both are given and differ, a warning says so."
)]
pub(crate) struct WorkerArgs {
    /// Name of the worker [default: worker-N, the smallest N free] [env: OCTASKLY_WORKER_NAME]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<OsString>,
    /// Where the dispatcher is [default: localhost] [env: OCTASKLY_DISPATCHER]
    #[arg(short, long, value_name = "HOST[:PORT]")]
    pub(crate) dispatcher: Option<OsString>,
    /// Port of the dispatcher [default: 7878] [env: OCTASKLY_DISPATCHER_PORT]
    #[arg(short, long, value_name = "PORT")]
    pub(crate) port: Option<OsString>,
    /// Token of the dispatcher, which then needs to approve nothing [env: OCTASKLY_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<OsString>,
    /// Tasks at once [default: 4] [env: OCTASKLY_MAX_JOBS]
    #[arg(short = 'j', long, value_name = "N")]
    pub(crate) max_jobs: Option<OsString>,
    /// CPU cores to offer [default: auto] [env: OCTASKLY_CPU_CORES]
    #[arg(short, long, value_name = "N|auto")]
    pub(crate) cpu_cores: Option<OsString>,
    /// Memory to offer: 8192 (MB), 8G [default: auto] [env: OCTASKLY_MEMORY]
    #[arg(short, long, value_name = "MB|SIZE|auto")]
    pub(crate) memory: Option<OsString>,
    /// Whether to offer GPUs; bare --gpu means true [default: false] [env: OCTASKLY_GPU]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) gpu: Option<OsString>,
    /// Label that tasks can ask for; once for each key [env: OCTASKLY_LABEL=K=V,K=V]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<OsString>,
    /// Named resource that tasks can reserve; once for each key [env: OCTASKLY_RESOURCE=K=N,K=N]
    #[arg(long, value_name = "KEY=N")]
    pub(crate) resource: Vec<OsString>,
    /// UDP port of peer discovery [default: 5555] [env: OCTASKLY_DISCOVERY_PORT]
    #[arg(long, value_name = "PORT")]
    pub(crate) discovery_port: Option<OsString>,
    /// How long running tasks may go on after a first SIGTERM or Ctrl-C; 0 ends them [default: 30s] [env:
    /// OCTASKLY_STOP_GRACE]
    #[arg(long, value_name = "TIME")]
    pub(crate) stop_grace: Option<OsString>,
    /// Where other workers come in [default: the first free UDP port of 7879-7899] [env: OCTASKLY_LISTEN]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<OsString>,
    /// Where other workers are told to look for this one first [env: OCTASKLY_ADVERTISE]
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(crate) advertise: Option<OsString>,
    /// What both kinds of node have.
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// Options that both kinds of node have.
#[derive(Debug, Default, Args)]
pub(crate) struct NodeArgs {
    /// Folder of keys and state [default: ~/.local/share/octaskly] [env: OCTASKLY_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<OsString>,
    /// Bytes of files to keep for tasks; auto is what the disk has room for [default: auto] [env: OCTASKLY_FILE_QUOTA]
    #[arg(long, value_name = "SIZE|auto")]
    pub(crate) file_quota: Option<OsString>,
    /// Also append the log to this file [env: OCTASKLY_LOG_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<OsString>,
    /// Form of the log [default: text] [env: OCTASKLY_LOG_FORMAT]
    #[arg(long, value_name = "text|json")]
    pub(crate) log_format: Option<OsString>,
}
