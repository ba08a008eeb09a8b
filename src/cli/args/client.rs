//! What can be typed behind the verbs that ask a dispatcher something, and
//! behind those that need none.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

/// How a client finds its dispatcher.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConnectArgs {
    /// Where the dispatcher is [default: this user's, else the last one enrolled with] [env: OCTASKLY_DISPATCHER]
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Connection")]
    pub(crate) dispatcher: Option<OsString>,
    /// Token that enrols this client there; needed once [env: OCTASKLY_TOKEN]
    #[arg(long, value_name = "TOKEN", help_heading = "Connection")]
    pub(crate) token: Option<OsString>,
    /// Folder of keys and state [default: ~/.local/share/octaskly] [env: OCTASKLY_HOME]
    #[arg(long, value_name = "DIR", help_heading = "Connection")]
    pub(crate) home: Option<OsString>,
}

/// `--json`.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct JsonArg {
    /// Print JSON: one array, or with =lines one object a line
    #[arg(long, value_name = "lines", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "array", hide_possible_values = true)]
    pub(crate) json: Option<JsonForm>,
}

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JsonForm {
    /// One array of all objects.
    Array,
    /// One object a line.
    Lines,
}

/// Options of `octaskly list`.
#[derive(Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// Ended jobs too
    #[arg(short, long, conflicts_with = "state")]
    pub(crate) all: bool,
    /// Only jobs in these states: waiting, ready, running, succeeded, failed, cancelled
    #[arg(long, value_name = "STATE[,STATE]")]
    pub(crate) state: Option<OsString>,
    /// Only jobs of this owner, or of yourself with `me`
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<OsString>,
    /// At most this many, newest first
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) limit: Option<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly show`.
#[derive(Debug, Default, Args)]
pub(crate) struct ShowArgs {
    /// Jobs or tasks: 5, 5.3, 1-3,7, last, last.3, all
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// The tasks of the jobs as rows
    #[arg(long)]
    pub(crate) tasks: bool,
    /// Only tasks in these states (implies --tasks)
    #[arg(long, value_name = "STATE[,STATE]")]
    pub(crate) state: Option<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly explain`.
#[derive(Debug, Default, Args)]
pub(crate) struct ExplainArgs {
    /// Jobs or tasks: 5, 5.3, 1-3,7, last, last.3, all
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly logs`.
#[derive(Debug, Default, Args)]
pub(crate) struct LogsArgs {
    /// Jobs or tasks: 5, 5.3, 1-3,7, last, last.3, all
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// Go on printing until the tasks have ended
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<OsString>,
    /// Only what the tasks wrote to stdout
    #[arg(long, conflicts_with = "stderr")]
    pub(crate) stdout: bool,
    /// Only what the tasks wrote to stderr
    #[arg(long)]
    pub(crate) stderr: bool,
    /// Put the task's id before each line
    #[arg(long)]
    pub(crate) tag: bool,
    /// Output of this attempt of each task, instead of the last
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    pub(crate) attempt: Option<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly attach`.
#[derive(Debug, Default, Args)]
#[command(after_help = "Ends with the exit code of the command. Ctrl-C cancels a run; a submitted job goes on.")]
pub(crate) struct AttachArgs {
    /// A job or a task: 5, 5.3, last, last.3
    #[arg(value_name = "ID", required = true)]
    pub(crate) id: OsString,
    /// Put the task's id before each line of output
    #[arg(long)]
    pub(crate) tag: bool,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly wait`.
#[derive(Debug, Default, Args)]
pub(crate) struct WaitArgs {
    /// Jobs: 5, 1-3,7, last, all
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// Give up after this long, with exit status 124
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly get`.
#[derive(Debug, Default, Args)]
pub(crate) struct GetArgs {
    /// Jobs or a task: 5, 5.3, 1-3,7, last, last.3, all
    #[arg(value_name = "ID", required = true)]
    pub(crate) id: OsString,
    /// Only these outputs: names or patterns [default: all]
    #[arg(value_name = "OUT")]
    pub(crate) outputs: Vec<OsString>,
    /// Folder to bring them to [default: this one]
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) directory: Option<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly progress`.
#[derive(Debug, Default, Args)]
pub(crate) struct ProgressArgs {
    /// Jobs: 5, 1-3,7, last, all
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly cancel`.
#[derive(Debug, Default, Args)]
pub(crate) struct CancelArgs {
    /// Jobs or tasks: 5, 5.3, 1-3,7, last, last.3, all (your own)
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// Why, for whoever looks at the job later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,
    /// With `all`: the jobs of every owner, not only your own (admins; asks once on a terminal)
    #[arg(long)]
    pub(crate) everyone: bool,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly retry`.
#[derive(Debug, Default, Args)]
pub(crate) struct RetryArgs {
    /// Jobs or tasks: 5, 5.3, 1-3,7, last, last.3, all (your own)
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// Only the failed tasks, not the cancelled ones
    #[arg(long)]
    pub(crate) failed: bool,
    /// With `all`: the jobs of every owner, not only your own (admins; asks once on a terminal)
    #[arg(long)]
    pub(crate) everyone: bool,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly forget`.
#[derive(Debug, Default, Args)]
pub(crate) struct ForgetArgs {
    /// Jobs: 5, 1-3,7, last, all (your own that have ended)
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<OsString>,
    /// With `all`: the jobs of every owner, not only your own (admins; asks once on a terminal)
    #[arg(long)]
    pub(crate) everyone: bool,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly workers`.
#[derive(Debug, Default, Args)]
pub(crate) struct WorkersArgs {
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly peers`.
#[derive(Debug, Default, Args)]
pub(crate) struct PeersArgs {
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly doctor`.
#[derive(Debug, Default, Args)]
pub(crate) struct DoctorArgs {
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly status`.
#[derive(Debug, Default, Args)]
pub(crate) struct StatusArgs {
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly hwdetect`.
#[derive(Debug, Default, Args)]
pub(crate) struct HwdetectArgs {
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// Options of `octaskly completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Options of `octaskly man`.
#[derive(Debug, Default, Args)]
pub(crate) struct ManArgs {
    /// Page of this command instead of the whole program
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}
