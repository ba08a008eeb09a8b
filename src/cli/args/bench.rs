//! What can be typed behind `bench`.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::ConnectArgs;
use super::client::JsonArg;

/// What `octaskly bench` is to measure.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct BenchArgs {
    /// That.
    #[command(subcommand)]
    pub(crate) verb: BenchVerb,
}

/// The commands behind `octaskly bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Tasks a second, beside a loop that spawns the same command here
    Throughput(BenchTasksArgs),
    /// Time of one task and of one question, beside a bare spawn and a bare round trip
    Latency(BenchTasksArgs),
    /// Bytes a second to a task and back, and of files, beside one bare QUIC stream
    Transfer(BenchTransferArgs),
}

/// What every bench has.
#[derive(Debug, Default, Args)]
pub(crate) struct BenchBoundsArgs {
    /// Rounds at most; the figures are their medians [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<OsString>,
    /// Time for all rounds; they get smaller to fit [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) seconds: Option<OsString>,
    /// Output.
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly bench throughput` and `latency`.
#[derive(Debug, Default, Args)]
pub(crate) struct BenchTasksArgs {
    /// Tasks of one round at most [default: 5000, latency: 500]
    #[arg(long, value_name = "N")]
    pub(crate) tasks: Option<OsString>,
    /// The command of each task [default: the program true]
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
    /// Bounds and output.
    #[command(flatten)]
    pub(crate) bounds: BenchBoundsArgs,
}

/// Options of `octaskly bench transfer`.
#[derive(Debug, Default, Args)]
pub(crate) struct BenchTransferArgs {
    /// Bytes of one round at most, up to 4G; of output 100M [default: 64M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) size: Option<OsString>,
    /// Bounds and output.
    #[command(flatten)]
    pub(crate) bounds: BenchBoundsArgs,
}
