//! What can be typed behind `run` and `submit`: the task options of both.

use std::ffi::OsString;

use clap::Args;

use super::{ConnectArgs, JsonForm};

/// Options of `octaskly run`.
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "octaskly run [OPTIONS] [--] CMD…\n       octaskly run [OPTIONS] [--] CMD… ::: ITEM… [::: ITEM…]",
    after_help = "Ends with the exit code of the command. Ctrl-C cancels it. \
                  Without a dispatcher the command runs here, in a cluster of one."
)]
pub(crate) struct RunArgs {
    /// Put the task's id and item before each line of output
    #[arg(long)]
    pub(crate) tag: bool,
    /// Write what the run came to as JSON to a file, or to an open descriptor by its number
    #[arg(long, value_name = "FILE|FD")]
    pub(crate) json_to: Option<OsString>,
    /// How long the job goes on while this command is stopped or cut off: 30s, 10m, 0; `attach` returns to it [default: 1h]
    #[arg(long, value_name = "TIME", help_heading = "When it runs")]
    pub(crate) client_grace: Option<OsString>,
    /// Print the output of tasks in the order of their items, each as soon as those before it have ended
    #[arg(short, long, help_heading = "Arrays")]
    pub(crate) keep_order: bool,
    /// What both verbs have.
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `octaskly submit`.
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "octaskly submit [OPTIONS] [--] CMD…\n       octaskly submit [OPTIONS] [--] CMD… ::: ITEM… [::: ITEM…]",
    after_help = "Prints the number of the job; with -q the bare number."
)]
pub(crate) struct SubmitArgs {
    /// Wait until the job has ended; the exit status says how it did
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait as --wait does and show how far it is
    #[arg(long)]
    pub(crate) progress: bool,
    /// An option of run; known here so that it is refused with a reason.
    #[arg(short, long, hide = true)]
    pub(crate) keep_order: bool,
    /// What both verbs have.
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// Where the dispatcher is.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Options of `run` and `submit`.
#[derive(Debug, Default, Args)]
pub(crate) struct TaskArgs {
    /// What to run; one argument is a line for the shell, more are an exact argument vector
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
    /// Run it by the shell even when it is more than one argument
    #[arg(long, conflicts_with = "no_shell")]
    pub(crate) shell: bool,
    /// Run it without the shell even when it is a single argument
    #[arg(long)]
    pub(crate) no_shell: bool,
    /// Name of the job, for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<OsString>,
    /// Print the job as JSON (run: on stderr, at the end)
    #[arg(long, value_name = "lines", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "array", hide_possible_values = true)]
    pub(crate) json: Option<JsonForm>,

    /// Print the commands and run none; no dispatcher is asked
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// One task for each number: 1-100, 1-100:5 in steps of 5, 1,3,7-9, 1-100%4 at most 4 at once
    #[arg(long, value_name = "RANGE", help_heading = "Arrays", conflicts_with = "each_line")]
    pub(crate) array: Option<OsString>,
    /// One task for each line of a file; - reads stdin
    #[arg(long, value_name = "FILE|-", help_heading = "Arrays")]
    pub(crate) each_line: Option<OsString>,
    /// One task for each element of a JSON array in a file; - reads stdin
    #[arg(long, value_name = "FILE|-", help_heading = "Arrays", conflicts_with_all = ["array", "each_line"])]
    pub(crate) from_json: Option<OsString>,
    /// Items in files end with a NUL byte, as find -print0 writes them, and not with their lines
    #[arg(short = '0', long, help_heading = "Arrays")]
    pub(crate) null: bool,
    /// Run at most N tasks of this job at once, in the whole cluster
    #[arg(short = 'j', long, value_name = "N", allow_hyphen_values = true, help_heading = "Arrays")]
    pub(crate) at_most: Option<OsString>,
    /// Write a row to FILE as each task ends, in GNU parallel's form; submit: with --wait or --progress
    #[arg(long, value_name = "FILE", help_heading = "Arrays")]
    pub(crate) joblog: Option<OsString>,
    /// Skip the tasks that the job log lists
    #[arg(long, help_heading = "Arrays")]
    pub(crate) resume: bool,
    /// Skip the tasks that the job log lists as succeeded
    #[arg(long, help_heading = "Arrays")]
    pub(crate) resume_failed: bool,
    /// Cancel the rest when this many tasks have failed
    #[arg(long, value_name = "N", help_heading = "Arrays")]
    pub(crate) max_fails: Option<OsString>,

    /// CPU cores to reserve for each task: 2, 0.5
    #[arg(long, value_name = "N", help_heading = "Where it may run")]
    pub(crate) cpus: Option<OsString>,
    /// Memory to reserve for each task: 512M, 4G; one that has more is killed
    #[arg(long, value_name = "SIZE", help_heading = "Where it may run")]
    pub(crate) mem: Option<OsString>,
    /// GPUs to reserve for each task
    #[arg(long, value_name = "N", help_heading = "Where it may run")]
    pub(crate) gpus: Option<OsString>,
    /// Named resource to reserve for each task; once for each key
    #[arg(long, value_name = "KEY=N", help_heading = "Where it may run")]
    pub(crate) resource: Vec<OsString>,
    /// Label that the worker must have; os=any and arch=any lift the two implied ones
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Where it may run")]
    pub(crate) label: Vec<OsString>,
    /// Isolation that the worker must give: none, basic or strict [default: basic]
    #[arg(long, value_name = "LEVEL", help_heading = "Where it may run")]
    pub(crate) isolation: Option<OsString>,
    /// Refuse the job when no connected worker could ever run it
    #[arg(long, help_heading = "Where it may run")]
    pub(crate) strict: bool,

    /// Higher goes first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "When it runs")]
    pub(crate) priority: Option<OsString>,
    /// Start when all these jobs have succeeded
    #[arg(long, value_name = "ID[,ID]", help_heading = "When it runs")]
    pub(crate) after: Vec<OsString>,
    /// Start when all these jobs have ended, however they did
    #[arg(long, value_name = "ID[,ID]", help_heading = "When it runs")]
    pub(crate) after_any: Vec<OsString>,
    /// How long a task may run: 30s, 10m, 1h, none [default: the dispatcher's --task-timeout]
    #[arg(long, value_name = "TIME", help_heading = "When it runs")]
    pub(crate) time_limit: Option<OsString>,

    /// File, directory or pattern that the task finds in its directory, under NAME; JOB:OUTPUT is another job's output; auto
    /// sends every argument and item that is a file here
    #[arg(long = "in", value_name = "PATH[=NAME]", help_heading = "What it sees")]
    pub(crate) inputs: Vec<OsString>,
    /// File, directory or pattern that is kept when the task has ended; `run` brings it back here
    #[arg(long = "out", value_name = "PATH", help_heading = "What it sees")]
    pub(crate) outputs: Vec<OsString>,
    /// Variable that the task sees; without a value: this one's, when it is set here
    #[arg(long, value_name = "KEY[=VALUE]", help_heading = "What it sees")]
    pub(crate) env: Vec<OsString>,
    /// Run in this directory of the worker instead of a fresh one; a relative one is absolute from here
    #[arg(long, value_name = "DIR", help_heading = "What it sees")]
    pub(crate) cwd: Option<OsString>,
    /// Standard input of the task: a file or named pipe here, or - for this command's own
    #[arg(long, value_name = "FILE|-", help_heading = "What it sees")]
    pub(crate) stdin: Option<OsString>,

    /// Retries of a failed task; run then holds up to 4 MiB of output until an attempt is over [default: run 0, submit the dispatcher's --task-retries]
    #[arg(long, value_name = "N", help_heading = "When it fails")]
    pub(crate) retries: Option<OsString>,
    /// Waits between tries, drawn up to a bound that doubles: 1s..60s [default: 1s..60s]
    #[arg(long, value_name = "MIN..MAX", help_heading = "When it fails")]
    pub(crate) backoff: Option<OsString>,
    /// Failures to retry: exit codes, exit, signal, oom, timeout [default: exit,signal,oom]
    #[arg(long, value_name = "LIST", help_heading = "When it fails")]
    pub(crate) retry_on: Option<OsString>,
    /// Start each task at most once, whatever happens
    #[arg(long, help_heading = "When it fails", conflicts_with_all = ["retries", "retry_on", "backoff"])]
    pub(crate) no_retry: bool,
    /// Never let two tries of a task run at the same time
    #[arg(long, help_heading = "When it fails")]
    pub(crate) exclusive: bool,
    /// Queue the job once however often it is submitted with this key
    #[arg(long, value_name = "KEY", help_heading = "When it fails")]
    pub(crate) idempotency_key: Option<OsString>,
}
