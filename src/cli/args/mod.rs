//! What was typed: one structure a verb, filled by clap.
//!
//! The one invariant: values that need understanding are still text here, so
//! that an option and its environment variable are read by the same function
//! (`resolve`), with the same words when they make no sense. The doc comments
//! are the help text. Absent: defaults, meaning, any decision.

mod bench;
mod client;
mod node;
mod task;
mod trust;

pub(crate) use bench::{BenchArgs, BenchBoundsArgs, BenchTasksArgs, BenchTransferArgs, BenchVerb};
pub(crate) use client::{
    AttachArgs, CancelArgs, CompletionsArgs, ConnectArgs, DoctorArgs, ExplainArgs, ForgetArgs, GetArgs, HwdetectArgs,
    JsonForm, ListArgs, LogsArgs, ManArgs, PeersArgs, ProgressArgs, RetryArgs, ShowArgs, StatusArgs, WaitArgs,
    WorkersArgs,
};
pub(crate) use node::{DispatcherArgs, NodeArgs, WorkerArgs};
pub(crate) use task::{RunArgs, SubmitArgs, TaskArgs};
pub(crate) use trust::{
    ApproveArgs, ClientsArgs, ClientsRenameArgs, ClientsVerb, DrainArgs, ResumeArgs, RevokeArgs, TokenArgs,
    TokenCreateArgs, TokenListArgs, TokenRevokeArgs, TokenVerb,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

/// One command line.
#[derive(Debug, Parser)]
#[command(
    name = "octaskly",
    version,
    about = "Turns the machines of a local network into one computer for shell commands",
    after_help = "Start with `octaskly run -- CMD…`: it works without any setup. \
                  For a queue, start `octaskly dispatcher` and one or more `octaskly worker`.",
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct LowArgs {
    /// What stands before or after any command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct GlobalArgs {
    /// Log at debug level
    #[arg(short, long, global = true, overrides_with = "verbose", conflicts_with = "quiet", display_order = 1000)]
    pub(crate) verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true, overrides_with = "quiet", display_order = 1001)]
    pub(crate) quiet: bool,
}

/// The commands, in the order in which the help lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the dispatcher: it keeps the queue and hands out the tasks
    #[command(visible_alias = "d")]
    Dispatcher(DispatcherArgs),
    /// Run a worker: it executes the tasks it is handed
    #[command(visible_alias = "w")]
    Worker(WorkerArgs),
    /// Run a command on some worker as if it ran here
    Run(RunArgs),
    /// Queue a command and return at once
    Submit(SubmitArgs),
    /// Return to a run whose terminal or connection was lost
    Attach(AttachArgs),
    /// List jobs that have not ended
    #[command(visible_alias = "ps")]
    List(ListArgs),
    /// Show jobs or tasks in full
    Show(ShowArgs),
    /// Say why a task is not running
    Explain(ExplainArgs),
    /// Print the output of tasks
    Logs(LogsArgs),
    /// Bring outputs of ended tasks to this machine
    Get(GetArgs),
    /// Wait until jobs have ended; the exit status says how they did
    Wait(WaitArgs),
    /// Show how far jobs are until they have ended; the exit status is that of wait
    Progress(ProgressArgs),
    /// End jobs or tasks
    Cancel(CancelArgs),
    /// Queue failed and cancelled tasks again
    Retry(RetryArgs),
    /// Remove ended jobs and their output
    Forget(ForgetArgs),
    /// List the workers
    Workers(WorkersArgs),
    /// Show who hears whom by beacon, and which links stand
    Peers(PeersArgs),
    /// Give a worker no new work; what it runs goes on
    Drain(DrainArgs),
    /// Give a drained worker work again
    Resume(ResumeArgs),
    /// Let in a worker that waits and shows a code
    Approve(ApproveArgs),
    /// Throw a worker or client out for good and free its name
    Revoke(RevokeArgs),
    /// List the clients that are enrolled, or rename one
    Clients(ClientsArgs),
    /// Make, list and take back tokens that enrol workers and clients
    Token(TokenArgs),
    /// Show the cluster on one screen
    Status(StatusArgs),
    /// Prove the setup pair by pair, and say how to mend what is wrong
    Doctor(DoctorArgs),
    /// Show what a worker on this machine would advertise
    Hwdetect(HwdetectArgs),
    /// Measure what this cluster does, beside what the bare machine does
    Bench(BenchArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

/// The whole command line as clap knows it.
pub(crate) fn command() -> clap::Command {
    LowArgs::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_contradiction_in_the_arguments() {
        command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [["octaskly", "-v", "status"], ["octaskly", "status", "-v"], ["octaskly", "status", "--verbose"]] {
            assert!(LowArgs::try_parse_from(line).expect("parses").global.verbose, "{line:?}");
        }
        for line in [["octaskly", "-q", "d"], ["octaskly", "d", "--quiet"], ["octaskly", "--quiet", "w"]] {
            assert!(LowArgs::try_parse_from(line).expect("parses").global.quiet, "{line:?}");
        }
        assert!(LowArgs::try_parse_from(["octaskly", "d", "-vv"]).is_ok());
    }

    #[test]
    fn what_follows_the_command_of_a_task_belongs_to_the_task() {
        let line = ["octaskly", "run", "-v", "ls", "-q", "--name", "x", "-V"];
        let Verb::Run(run) = LowArgs::try_parse_from(line).map(|args| args.verb).expect("parses") else {
            panic!("not a run")
        };
        assert_eq!(run.task.command, ["ls", "-q", "--name", "x", "-V"]);
        assert_eq!(run.task.name, None);
    }

    #[test]
    fn every_option_has_a_line_of_help() {
        let mut root = command();
        root.build();
        for verb in root.get_subcommands().filter(|verb| verb.get_name() != "help") {
            assert!(verb.get_about().is_some(), "{} says what it does", verb.get_name());
            for option in verb.get_arguments() {
                assert!(option.get_help().is_some(), "{} {} has help", verb.get_name(), option.get_id());
            }
        }
    }
}
