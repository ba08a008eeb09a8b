//! What `bench` was told, as what it is to do and how much of it.
//!
//! The one invariant: whatever is typed, a bench is bounded in count and time.

use super::command::{self, Manner};
use super::option;
use crate::bench::Plan;
use crate::cli::args::{BenchBoundsArgs, BenchTasksArgs, BenchTransferArgs};
use crate::cli::error::CliError;
use crate::cli::value::{self, ValueError};
use crate::model::Millis;
use crate::model::limits::MAX_TASKS_PER_JOB;
use crate::model::spec::CommandLine;

/// What is typed when nothing is.
const ROUNDS: u32 = 5;
const SECONDS: u64 = 10;
const SIZE: u64 = 64 << 20;

/// More of it says nothing new.
const MOST_ROUNDS: u64 = 1_000;
const MOST_SECONDS: u64 = 3_600;
const MOST_BYTES: u64 = 4 << 30;

/// The command to measure, and how many tasks with it a round at most.
pub(crate) fn bench_tasks(args: &BenchTasksArgs, usual: u64) -> Result<(CommandLine, u64), CliError> {
    let tasks = option("--tasks", args.tasks.as_deref(), |text| value::count(text, 1, MAX_TASKS_PER_JOB))?;
    let command = match args.command.as_slice() {
        [] => CommandLine::Exec(vec!["true".into()]),
        words => match command::split(words, Manner::ByWords)? {
            (command, lists) if lists.is_empty() => command,
            _ => return Err(CliError::Conflict("bench", ":::")),
        },
    };
    Ok((command, tasks.unwrap_or(usual)))
}

/// How many bytes a round at most.
pub(crate) fn bench_size(args: &BenchTransferArgs) -> Result<u64, CliError> {
    let within = |text: &str| match value::size(text)? {
        bytes if bytes > MOST_BYTES => Err(ValueError::TooLarge("4G".to_owned())),
        bytes => Ok(bytes),
    };
    Ok(option("--size", args.size.as_deref(), within)?.unwrap_or(SIZE))
}

/// How often and how long.
pub(crate) fn bench_plan(args: &BenchBoundsArgs) -> Result<Plan, CliError> {
    let rounds = option("--rounds", args.rounds.as_deref(), |text| value::count(text, 1, MOST_ROUNDS))?;
    let seconds = option("--seconds", args.seconds.as_deref(), |text| value::count(text, 1, MOST_SECONDS))?;
    let rounds = rounds.and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or(ROUNDS);
    Ok(Plan { rounds, time: Millis::from_secs(seconds.unwrap_or(SECONDS)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_of_nothing_in_particular_is_of_true_and_bounded() {
        let (command, tasks) = bench_tasks(&BenchTasksArgs::default(), 7).expect("understood");
        assert_eq!((command, tasks), (CommandLine::Exec(vec!["true".into()]), 7));
        let plan = bench_plan(&BenchBoundsArgs::default()).expect("understood");
        assert_eq!(plan, Plan { rounds: ROUNDS, time: Millis::from_secs(SECONDS) });
        assert_eq!(bench_size(&BenchTransferArgs::default()).expect("understood"), SIZE);
    }

    #[test]
    fn bounds_that_are_none_are_refused() {
        for (rounds, seconds) in [("0", "1"), ("1", "0"), ("1001", "1"), ("1", "3601"), ("1", "ten")] {
            let args = BenchBoundsArgs {
                rounds: Some(rounds.into()),
                seconds: Some(seconds.into()),
                ..BenchBoundsArgs::default()
            };
            assert_eq!(bench_plan(&args).expect_err("no bound").exit_code(), 2, "{rounds} {seconds}");
        }
        let args = BenchTransferArgs { size: Some("5G".into()), ..BenchTransferArgs::default() };
        assert_eq!(bench_size(&args).expect_err("too much").exit_code(), 2);
        let args = BenchTasksArgs { command: ["true", ":::", "a"].map(Into::into).into(), ..Default::default() };
        assert_eq!(bench_tasks(&args, 1).expect_err("no array").exit_code(), 2);
    }
}
