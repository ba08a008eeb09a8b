//! The small languages inside option values: numbers, sizes, durations,
//! ranges, pairs. One function a language, from text to meaning.
//!
//! The one invariant: a text that is not understood is refused with what would
//! be, never guessed at. Absent: where the text came from (an option or a
//! variable); the caller names that in the error.

mod address;
mod array;
mod duration;
mod pair;
mod retry;
mod size;
mod trust;

pub(crate) use address::{advertised_address, bind_address, host_port, listen_address};
pub(crate) use array::{array, at_most};
pub(crate) use duration::{duration, retention, seconds_or_duration, stop_grace, time_limit};
pub(crate) use pair::{amounts, labels};
pub(crate) use retry::{backoff, retry_on};
pub(crate) use size::{megabytes, size};
pub(crate) use trust::{approval_code, token, token_id, token_lifetime, token_role, token_uses};

use std::ffi::OsStr;
use std::path::Path;

use crate::model::limits::{MAX_INPUTS, MAX_RETRIES, SUSPECT_AFTER};
use crate::model::paths::PathFault;
use crate::model::selector::{Selector, SelectorError};
use crate::model::spec::Isolation;
use crate::model::{MilliCpu, Millis, NodeName, TaskState};
use crate::telemetry::LogFormat;
use crate::trust::token::TokenError;

/// Why a text is not a value of the kind asked for; completes "invalid value … for …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// Bytes that are no UTF-8 where text is needed.
    #[error("it is not text")]
    NotText,
    /// Several jobs or tasks where one is needed.
    #[error("it is not one job or task, as 5 or 5.3")]
    NotOneJob,
    /// Empty where something is needed.
    #[error("it is empty")]
    Empty,
    /// Longer than a dispatcher takes.
    #[error("it has more than {0} bytes")]
    TooLong(usize),
    /// Not a whole number.
    #[error("it is not a whole number")]
    NotWhole,
    /// Not a number.
    #[error("it is not a number")]
    NotNumber,
    /// Below the least number that makes sense.
    #[error("it is less than {0}")]
    TooSmall(String),
    /// Above the greatest number that makes sense.
    #[error("it is more than {0}")]
    TooLarge(String),
    /// A silence that would lose workers before they are suspect.
    #[error("a worker is already suspect after {0} of silence")]
    NotAboveSuspicion(Millis),
    /// Neither `true` nor `false`.
    #[error("it is neither true nor false")]
    NotBoolean,
    /// Not a length of time.
    #[error("it is not a length of time")]
    NotDuration,
    /// A length of time without its unit.
    #[error("it has no unit")]
    NoUnit(String),
    /// `0`, which to GNU parallel means as many as possible.
    #[error("0 would run nothing")]
    NoneAtOnce,
    /// `-` for a job log.
    #[error("stdout is where the output of tasks goes")]
    LogToStdout,
    /// `+FILE` for a job log, which GNU parallel adds to.
    #[error("a log is added to by --resume")]
    PlusFile,
    /// `50%`, `+2`, `-1`: a share of the cores of one machine.
    #[error("it counts the cores of one machine, and tasks run on all machines")]
    ShareOfCores,
    /// Not an amount of memory or of disk.
    #[error("it is not a size")]
    NotSize,
    /// Neither a number of MB nor a size.
    #[error("it is not a size")]
    NotMegabytes,
    /// So few bytes that a unit must have been forgotten.
    #[error("{0} bytes are too few to be meant")]
    UnitForgotten(u64),
    /// Not a port.
    #[error("it is not a port")]
    NotPort,
    /// Not an address of this machine's.
    #[error("it is not an IP address")]
    NotBindAddress,
    /// Not an address with a port.
    #[error("it is not an IP address with a port")]
    NotListenAddress,
    /// Not an address that others could dial.
    #[error("it is not an IP address that others can reach")]
    NotAdvertised,
    /// Not a host, with or without a port.
    #[error("it is not a host or HOST:PORT")]
    NotHost,
    /// Not a range of an array.
    #[error("it is not a range")]
    NotRange,
    /// A range that ends before it starts.
    #[error("it ends before it starts")]
    Backwards,
    /// More tasks than one job may have.
    #[error("it makes {count} tasks, and a job may have {most}")]
    TooManyTasks {
        /// How many it would make.
        count: u64,
        /// How many are allowed.
        most: u64,
    },
    /// Not `KEY=VALUE`.
    #[error("it is not {0}")]
    NotPair(&'static str),
    /// A key that holds something else than letters, digits, `-`, `_`, `.` and `/`.
    #[error("{0:?} is not a valid key")]
    BadKey(String),
    /// A label that every worker has by itself.
    #[error("every worker has the label {0:?} by itself")]
    ImplicitLabel(String),
    /// One key twice.
    #[error("{0:?} is given twice")]
    Twice(String),
    /// Not a range of waiting times.
    #[error("it is not one or two lengths of time")]
    NotBackoff,
    /// A word that names no kind of failure.
    #[error("{0:?} is neither an exit code nor a kind of failure")]
    NotFailure(String),
    /// 0 among the exit codes.
    #[error("exit code 0 is success")]
    ZeroExit,
    /// Not one of our commands.
    #[error("there is no such command")]
    NotCommand,
    /// None of the words allowed here.
    #[error("{given:?} means nothing here")]
    NotOneOf {
        /// What was given.
        given: String,
        /// What would be understood.
        allowed: &'static str,
    },
    /// No valid name for a node.
    #[error("names are 1 to 63 of a-z, 0-9, '-', '_' and '.', and start with a letter or digit")]
    BadName {
        /// The nearest valid one.
        nearest: String,
    },
    /// No token.
    #[error("{}", trust::why_no_token(*.0))]
    NotToken(TokenError),
    /// Not what a token is called.
    #[error("it is no id of a token")]
    NotTokenId,
    /// Not a code that any worker shows.
    #[error("it is not the code of a worker")]
    NotCode,
    /// Selects no job.
    #[error("{0}")]
    Selector(SelectorError),
    /// All jobs where some are needed.
    #[error("a job cannot wait for all jobs, itself among them")]
    AllJobs,
    /// A path that says nothing about what it is called beneath a directory.
    #[error("it has no name that a task could find it by")]
    NeedsName,
    /// A pattern without a match.
    #[error("no file matches it")]
    NoMatch,
    /// A directory that begins with what the shell replaces.
    #[error("the shell has left the ~ as it is")]
    TildeLeft,
    /// A placeholder where none is filled in.
    #[error("placeholders are not filled in here")]
    NotFilledIn,
    /// A relative directory where there is no current one.
    #[error("the current directory cannot be used: {0}")]
    NoCurrentDirectory(String),
    /// With its placeholders filled in it is no path any more.
    #[error("the path gets too long")]
    PathTooLong,
    /// A name outside of the task's directory.
    #[error("{0:?} {1}")]
    BadPath(String, PathFault),
    /// An output outside of the task's directory.
    #[error("the output {0:?} {1}")]
    BadOutput(String, PathFault),
    /// Every task would leave the same file.
    #[error("every task would bring back the same file")]
    SameForAll,
    /// The command would look for a file where it is not put.
    #[error(
        "an item leads out of the task's directory, where its file is put under its last part: {{}} in the command is not that file"
    )]
    ItemElsewhere,
    /// The command would look for a file where `--in auto` does not put it.
    #[error("{path:?} does not lie beneath this directory, so a task would not find it by that path")]
    AutoElsewhere {
        /// Which.
        path: String,
        /// How the command names it.
        template: String,
        /// How it would have to name it.
        name: String,
    },
    /// More files than a job has.
    #[error("a job has at most {MAX_INPUTS} of them")]
    TooManyFiles,
    /// Two tasks would leave the same file.
    #[error("two tasks would bring back {0:?}")]
    SameForTwo(String),
    /// A task where a job is needed.
    #[error("it names a task, and a whole job is needed")]
    TaskForJob,
}

impl ValueError {
    /// What would have been understood.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotText | Self::Empty | Self::TooLarge(_) | Self::TooLong(_) | Self::TooManyTasks { .. } => {
                return None;
            }
            Self::PathTooLong => return None,
            Self::NotOneOf { allowed, .. } => return Some(format!("it can be {allowed}")),
            Self::TooSmall(_) => "give a greater one, or leave the option out",
            Self::NotNumber | Self::NotWhole => "write a number, or leave the option out",
            Self::NotAboveSuspicion(_) => "choose a longer time; the default is 60",
            Self::NoneAtOnce => "leave it out: then as many tasks run at once as the workers have slots",
            Self::LogToStdout => "name a file, or /dev/stderr",
            Self::PlusFile => "write ./ before it for a file of that name",
            Self::ShareOfCores => "write how many tasks may run at once in the whole cluster: -j 8",
            Self::NotBoolean => "write true or false",
            Self::NotDuration => "write a number and a unit: 500ms, 30s, 10m, 1h, 1h30m, 2d",
            Self::NoUnit(number) => {
                return Some(format!("write the unit: {number}s, {number}m, {number}h or {number}d"));
            }
            Self::NotSize => "write a number and a unit: 512M, 4G, 1.5T (a bare number is bytes)",
            Self::NotMegabytes => "write a number and a unit: 512M, 8G (a bare number is MB)",
            Self::UnitForgotten(bytes) => {
                return Some(format!("write {bytes}M for megabytes or {bytes}G for gigabytes"));
            }
            Self::NotPort => "a port is a number from 1 to 65535",
            Self::NotBindAddress => "0.0.0.0 listens on every interface, 127.0.0.1 on this machine only",
            Self::NotListenAddress => "write both, as 0.0.0.0:7879 or [::]:7879; port 0 takes a free one",
            Self::NotAdvertised => "write the address that other machines see, with or without a port: 192.168.1.11",
            Self::NotHost => {
                "write a name or an address, with or without a port: mars, 192.168.1.10:7878, [fe80::1]:7878"
            }
            Self::NotRange => {
                "write FIRST-LAST, FIRST-LAST:STEP, or a list as in 1,3,7-9; %MAX behind it bounds how many run at once"
            }
            Self::Backwards => "write the smaller number first",
            Self::NotPair(_) | Self::Twice(_) => "give the option once for each key",
            Self::BadKey(_) => "a key is letters, digits, '-', '_', '.' and '/'",
            Self::ImplicitLabel(_) => "choose another key",
            Self::NotBackoff => "write the first and the longest wait, as in 1s..60s, or one of them for both",
            Self::NotFailure(_) | Self::ZeroExit => {
                "name exit codes, exit, signal, oom and timeout, separated by commas"
            }
            Self::BadName { nearest } => return Some(format!("the nearest valid name is {nearest}")),
            Self::NotToken(error) => error.hint(),
            Self::NotTokenId => "`octaskly token list` shows the ids: eight letters and digits",
            Self::NotCode => "a code is 16 letters and digits, as the waiting worker shows it: abcd-efgh-ijkl-mnop",
            Self::Selector(_) => "name jobs and tasks as 5, 5.3, 1-3,7, last, last.3 or all",
            Self::NotCommand => "`octaskly --help` lists the commands",
            Self::NeedsName => "say what the task is to find it as: --in PATH=NAME",
            Self::TildeLeft => {
                "write --cwd ~/DIR with a space, or --cwd \"$HOME/DIR\"; ./~ is a directory of that name"
            }
            Self::NotFilledIn => "change the directory in the command: 'cd /data/{} && ./go'",
            Self::NoCurrentDirectory(_) => "change to a directory that exists, or write an absolute path",
            Self::NoMatch => "patterns are matched here, where the job is submitted; quote them",
            Self::BadPath(..) => "a name is a path beneath the task's directory, as in data/a.csv",
            Self::BadOutput(..) => {
                "an output is a path beneath the task's directory; {/} is an item without its directory"
            }
            Self::ItemElsewhere => "write {/} in the command, or a name: --in '{}=NAME'",
            Self::AutoElsewhere { template, name, .. } => {
                return Some(format!("--in {template:?} puts it at {name:?}: write that in the command"));
            }
            Self::TooManyFiles => "name a directory or a quoted pattern instead: --in 'data/*'",
            Self::SameForAll | Self::SameForTwo(_) => "put {} or {#} into it: --out 'result-{#}.txt'",
            Self::NotOneJob => "name one: 5, 5.3, last or last.3",
            Self::AllJobs => "name the jobs: 5, 1-3,7 or last",
            Self::TaskForJob => "name the job alone: 5 instead of 5.3",
        };
        Some(text.to_owned())
    }
}

/// A whole number from `least` to `most`.
pub(crate) fn count(text: &str, least: u64, most: u64) -> Result<u64, ValueError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err(ValueError::NotWhole);
    }
    match text.parse::<u64>() {
        Ok(number) if number < least => Err(ValueError::TooSmall(least.to_string())),
        Ok(number) if number <= most => Ok(number),
        // All digits, so it is too long for 64 bits.
        _ => Err(ValueError::TooLarge(most.to_string())),
    }
}

/// A whole number from `least` up, as the 32 bits that most counts have.
pub(crate) fn count_u32(text: &str, least: u32) -> Result<u32, ValueError> {
    let number = count(text, u64::from(least), u64::from(u32::MAX))?;
    u32::try_from(number).map_err(|_| ValueError::TooLarge(u32::MAX.to_string()))
}

/// The file of a job log.
pub(crate) fn log_file(text: &OsStr) -> Result<&Path, ValueError> {
    match text.as_encoded_bytes() {
        b"" => Err(ValueError::Empty),
        b"-" => Err(ValueError::LogToStdout),
        [b'+', ..] => Err(ValueError::PlusFile),
        _ => Ok(Path::new(text)),
    }
}

/// `auto`, or what `parse` understands.
pub(crate) fn auto_or<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, ValueError> {
    if text == "auto" { Ok(None) } else { parse(text).map(Some) }
}

/// A port from `least` (0 where the system may choose one) to 65535.
pub(crate) fn port(text: &str, least: u16) -> Result<u16, ValueError> {
    text.parse().ok().filter(|port| *port >= least && !text.starts_with('+')).ok_or(ValueError::NotPort)
}

/// `true` or `false`, and the other words people say for them.
pub(crate) fn boolean(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(ValueError::NotBoolean),
    }
}

/// A number of CPU cores down to a thousandth: `2`, `0.5`.
pub(crate) fn cpus(text: &str) -> Result<MilliCpu, ValueError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(ValueError::NotNumber);
    }
    // Finer than a thousandth rounds up: what is reserved is never less than what was asked for.
    let mut padded = format!("{fraction:0<3}");
    let rest = padded.split_off(3);
    let round_up = u64::from(rest.bytes().any(|digit| digit != b'0'));
    let thousandths: u64 = format!("{whole}{padded}").parse().map_err(|_| ValueError::TooLarge("4000000".into()))?;
    match u32::try_from(thousandths.saturating_add(round_up)) {
        Ok(0) => Err(ValueError::TooSmall("0.001".to_owned())),
        Ok(thousandths) => Ok(MilliCpu(thousandths)),
        Err(_) => Err(ValueError::TooLarge("4000000".to_owned())),
    }
}

/// Cores that a worker declares: few enough to be counted in thousandths.
pub(crate) fn whole_cores(text: &str) -> Result<u32, ValueError> {
    let cores = count(text, 1, u64::from(u32::MAX / 1000))?;
    u32::try_from(cores).map_err(|_| ValueError::NotWhole)
}

/// The silence after which a worker is lost: longer than the one after which it is suspect.
pub(crate) fn heartbeat_timeout(text: &str) -> Result<Millis, ValueError> {
    let silence = seconds_or_duration(text)?;
    if silence > SUSPECT_AFTER { Ok(silence) } else { Err(ValueError::NotAboveSuspicion(SUSPECT_AFTER)) }
}

/// A priority: any whole number, negative ones too.
pub(crate) fn priority(text: &str) -> Result<i32, ValueError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::NotWhole);
    }
    text.parse().map_err(|_| match text.starts_with('-') {
        true => ValueError::TooSmall(i32::MIN.to_string()),
        false => ValueError::TooLarge(i32::MAX.to_string()),
    })
}

/// `none`, `basic` or `strict`.
pub(crate) fn isolation(text: &str) -> Result<Isolation, ValueError> {
    match text {
        "none" => Ok(Isolation::None),
        "basic" => Ok(Isolation::Basic),
        "strict" => Ok(Isolation::Strict),
        _ => Err(ValueError::NotOneOf { given: text.to_owned(), allowed: "none, basic, strict" }),
    }
}

/// `text` or `json`.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, ValueError> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(ValueError::NotOneOf { given: text.to_owned(), allowed: "text, json" }),
    }
}

/// The name of a node.
pub(crate) fn node_name(text: &str) -> Result<NodeName, ValueError> {
    text.parse().map_err(|error: crate::model::node::NodeNameError| ValueError::BadName { nearest: error.nearest })
}

/// States, separated by commas.
pub(crate) fn states(text: &str) -> Result<Vec<TaskState>, ValueError> {
    const ALLOWED: &str = "waiting, ready, running, succeeded, failed, cancelled";
    let all = [
        TaskState::Waiting,
        TaskState::Ready,
        TaskState::Running,
        TaskState::Succeeded,
        TaskState::Failed,
        TaskState::Cancelled,
    ];
    let state = |word: &str| {
        let found = all.into_iter().find(|state| state.to_string().eq_ignore_ascii_case(word));
        found.ok_or_else(|| ValueError::NotOneOf { given: word.to_owned(), allowed: ALLOWED })
    };
    text.split(',').map(str::trim).map(state).collect()
}

/// Jobs and tasks.
pub(crate) fn selector(text: &str) -> Result<Selector, ValueError> {
    text.parse().map_err(ValueError::Selector)
}

/// Any text but none.
pub(crate) fn non_empty(text: &str) -> Result<String, ValueError> {
    if text.is_empty() { Err(ValueError::Empty) } else { Ok(text.to_owned()) }
}

/// Text that is not empty and has at most `most` bytes.
pub(crate) fn short(text: &str, most: usize) -> Result<String, ValueError> {
    if text.len() > most { Err(ValueError::TooLong(most)) } else { non_empty(text) }
}

/// A number of retries.
pub(crate) fn retries(text: &str) -> Result<u32, ValueError> {
    let number = count_u32(text, 0)?;
    if number > MAX_RETRIES { Err(ValueError::TooLarge(MAX_RETRIES.to_string())) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_in_thousandths_and_never_none() {
        assert_eq!(cpus("2"), Ok(MilliCpu(2000)));
        assert_eq!(cpus("0.5"), Ok(MilliCpu(500)));
        assert_eq!(cpus(".25"), Ok(MilliCpu(250)));
        assert_eq!(cpus("1.0001"), Ok(MilliCpu(1001)), "more than asked for rather than less");
        assert_eq!(cpus("0"), Err(ValueError::TooSmall("0.001".into())));
        assert_eq!(cpus("0.000"), Err(ValueError::TooSmall("0.001".into())));
        for text in ["", ".", "-1", "x", "1e3", "1.2.3", "NaN"] {
            assert_eq!(cpus(text), Err(ValueError::NotNumber), "{text:?}");
        }
        assert!(matches!(cpus("99999999999999999999999"), Err(ValueError::TooLarge(_))));
    }

    #[test]
    fn counts_are_whole_and_within_their_bounds() {
        assert_eq!(count("7", 1, 10), Ok(7));
        assert_eq!(count("0", 1, 10), Err(ValueError::TooSmall("1".into())));
        assert_eq!(count("11", 1, 10), Err(ValueError::TooLarge("10".into())));
        assert_eq!(priority("99999999999999"), Err(ValueError::TooLarge(i32::MAX.to_string())));
        assert_eq!(priority("-99999999999999"), Err(ValueError::TooSmall(i32::MIN.to_string())));
        assert_eq!((priority("-3"), priority("+3"), priority("--3")), (Ok(-3), Ok(3), Err(ValueError::NotWhole)));
        assert_eq!(count("99999999999999999999", 1, u64::MAX), Err(ValueError::TooLarge(u64::MAX.to_string())));
        for text in ["", "+7", "-7", "7.0", " 7", "seven"] {
            assert_eq!(count(text, 1, 10), Err(ValueError::NotWhole), "{text:?}");
        }
    }

    #[test]
    fn ports_and_booleans_say_what_they_would_take() {
        assert_eq!(port("7878", 1), Ok(7878));
        assert_eq!(port("0", 0), Ok(0));
        for text in ["0", "65536", "abc", "+1", ""] {
            assert_eq!(port(text, 1), Err(ValueError::NotPort), "{text:?}");
        }
        assert_eq!(
            (boolean("true"), boolean("False"), boolean("maybe")),
            (Ok(true), Ok(false), Err(ValueError::NotBoolean))
        );
    }

    #[test]
    fn a_bad_name_is_answered_with_the_nearest_good_one() {
        let hint = |text: &str| node_name(text).expect_err("a bad name").hint().expect("a hint");
        assert!(hint("worker 01").ends_with(" worker-01"));
        assert!(hint("WORKER-01").ends_with(" worker-01"));
        assert!(node_name("worker").is_ok());
    }

    #[test]
    fn states_are_a_list_of_known_words() {
        assert_eq!(states("failed,running"), Ok(vec![TaskState::Failed, TaskState::Running]));
        assert_eq!(states("FAILED, Running"), states("failed,running"), "in any case");
        assert!(matches!(states("failed,done"), Err(ValueError::NotOneOf { given, .. }) if given == "done"));
    }
}
