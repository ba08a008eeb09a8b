//! Everything that can stop a command, each with its one line, its hint and
//! its exit code.
//!
//! The one invariant: a cause is named where it is noticed and rendered only
//! here. Absent: what a task or a job came to, which is an answer and no error.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::exit;
use super::job_log::JobLogError;
use super::value::ValueError;
use crate::bench::BenchError;
use crate::blob::BlobError;
use crate::client::ClientError;
use crate::exec::Unfit;
use crate::model::number_list::NumberListError;
use crate::model::outcome::Unrepeatable;
use crate::model::requests::FailureCode;
use crate::model::{JobId, NodeName, Outcome, RawString, TaskId, TaskIndex};
use crate::node::NodeError;
use crate::telemetry::TelemetryError;
use crate::trust::TrustError;
use crate::wire::WireError;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// An option, by its long name with dashes.
    Option(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// An argument without a name of its own.
    Argument(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Option(name) | Self::Variable(name) | Self::Argument(name)) = self;
        f.write_str(name)
    }
}

/// Why a command could not do what it was told. The text stands behind `error: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// clap did not understand the arguments; its words, on one line.
    #[error("{text}")]
    Usage {
        /// What it said.
        text: String,
        /// What it proposed.
        hint: Option<String>,
    },
    /// A value makes no sense.
    #[error("invalid value {given:?} for {place}")]
    Value {
        /// Of what.
        place: Place,
        /// The value, as far as it can be shown.
        given: String,
        /// Why not.
        source: ValueError,
    },
    /// A value makes no sense and may be a secret, or nearly one: it is not repeated.
    #[error("invalid value for {place}")]
    Secret {
        /// Of what.
        place: Place,
        /// Why not.
        source: ValueError,
    },
    /// Two options that exclude each other.
    #[error("{0} cannot be used with {1}")]
    Conflict(&'static str, &'static str),
    /// An option without what it is about.
    #[error("{option} needs {needs}")]
    Needs {
        /// Which option.
        option: &'static str,
        /// What is missing.
        needs: &'static str,
        /// What to write.
        hint: &'static str,
    },
    /// Two bounds on how many tasks run at once.
    #[error("--at-most {0} and %{1} of --array differ")]
    TwoBounds(u32, u32),
    /// `--everyone` with anything but `all`.
    #[error("--everyone goes with `all` alone")]
    EveryoneWithoutAll,
    /// A person was asked and did not say yes.
    #[error("nothing was changed: the answer was not yes")]
    Declined,
    /// The program or script of a job is a file that stays here; `--strict` refuses that.
    #[error("{text}")]
    ScriptStaysHere {
        /// Which, and why no worker finds it.
        text: String,
        /// What to type.
        command: String,
    },
    /// Nothing stands before `:::`, or the only argument is empty.
    #[error("there is no command to run")]
    NoCommand,
    /// `:::+` or `::::+` without a list before it.
    #[error("{0} has no list before it that it could go along with")]
    NothingToLink(String),
    /// `::::` without a file.
    #[error("{0} names no file")]
    NoFile(String),
    /// The items that are left to do cannot be a job.
    #[error("cannot resume")]
    Left(#[source] NumberListError),
    /// The report of `--json-to` cannot be written.
    #[error("cannot write the report to {}", path.display())]
    Report {
        /// Where it was to go.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The job log cannot be used.
    #[error("{0}")]
    JobLog(#[from] JobLogError),
    /// More items, or more bytes of them, than a job may have.
    #[error("{origin} names more than a job may have: {limit}")]
    TooManyItems {
        /// Where they came from.
        origin: String,
        /// The bound, in words.
        limit: String,
    },
    /// A file named in an option cannot be read.
    #[error("cannot read {} for {option}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// For which option.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The standard input of a `run` cannot be read, or not any further.
    #[error("cannot read {name}")]
    Stdin {
        /// A file, or stdin.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another attempt of a `run` has begun, and what the former did cannot be taken back here.
    #[error("the task {}", Outcome::Unrepeatable(*.0))]
    Unrepeatable(Unrepeatable),
    /// A file of this machine cannot be sent, or one from a task not be written.
    #[error("failed to {0}")]
    Files(#[from] BlobError),
    /// The files of a directory cannot be listed for others.
    #[error("failed to list the files")]
    Manifest(#[source] WireError),
    /// A task offers a file that it was not asked for.
    #[error("task {task} has an output {name:?} that nobody asked it for; it was not fetched")]
    Unasked {
        /// Which task.
        task: TaskId,
        /// What it offers.
        name: RawString,
    },
    /// There is nothing to bring.
    #[error("{of} has no output{}", name.as_ref().map_or_else(String::new, |name| format!(" {name}")))]
    NoOutput {
        /// Which jobs or task.
        of: String,
        /// What was asked for by name.
        name: Option<RawString>,
    },
    /// What a job made cannot be put down here; it is kept all the same.
    #[error("{}", .0.line())]
    NotBrought(Box<CliError>, JobId),
    /// Two tasks bring back the same path.
    #[error("tasks {first} and {second} both bring back {name:?}")]
    Twice {
        /// One.
        first: TaskId,
        /// The other.
        second: TaskId,
        /// Which path.
        name: RawString,
    },
    /// The standard input kept with a job is too large for that.
    #[error("{origin} is too large to be kept with the job: more than {limit}")]
    StdinTooLarge {
        /// The file, or stdin.
        origin: String,
        /// The bound, in words.
        limit: String,
    },
    /// An item cannot stand where the command names it. Nothing was queued.
    #[error("task {} cannot be run", .task.0)]
    Unfit {
        /// The first such task.
        task: TaskIndex,
        /// Why.
        source: Unfit,
    },
    /// Something between us and the dispatcher.
    #[error("{}", asked(.0))]
    Client(#[from] ClientError),
    /// Nothing is selected where something was named.
    #[error("there is no such job or task: {0}")]
    NothingSelected(String),
    /// Progress is that of whole jobs.
    #[error("{0} is a task; only whole jobs have progress")]
    OnlyWholeJobs(TaskId),
    /// A draining worker that was waited for was given work again.
    #[error("{0} was given work again before it had nothing to run")]
    Resumed(NodeName),
    /// The home folder cannot be found or used.
    #[error("failed to {0}")]
    Trust(#[from] TrustError),
    /// The log cannot be set up.
    #[error("failed to {0}")]
    Telemetry(#[from] TelemetryError),
    /// A node could not start or go on.
    #[error("failed to {0}")]
    Node(#[from] NodeError),
    /// A bench has no figure to show.
    #[error("failed to {0}")]
    Bench(#[source] BenchError),
    /// The system gave no random bits.
    #[error("failed to get random bits from the system")]
    Random(#[source] getrandom::Error),
    /// The runtime could not be started.
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    /// We have a bug.
    #[error("octaskly has a bug: {message}, at {place}")]
    Bug {
        /// What the panic said.
        message: String,
        /// Where.
        place: String,
    },
    /// Our own output could not be written.
    #[error("failed to write to stdout")]
    Output(#[source] io::Error),
    /// The reader of our output went away. Nothing is said about it.
    #[error("the reader of stdout went away")]
    PipeClosed,
}

/// What to do when a `run` could not be repeated.
pub(crate) const KEPT_PER_ATTEMPT: &str =
    "`octaskly submit` keeps stdin and each attempt's output; `run --retries N` holds output until an attempt is over";

impl CliError {
    /// `source` as this error, when writing our own output failed.
    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe { Self::PipeClosed } else { Self::Output(source) }
    }

    /// A panic as a bug of ours, which it is.
    pub(crate) fn bug(info: &std::panic::PanicHookInfo<'_>) -> Self {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("it gave up").to_owned();
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        Self::Bug { message, place }
    }

    /// `given` was read from `place` and makes no sense.
    pub(crate) fn value(place: Place, given: &OsStr, source: ValueError) -> Self {
        Self::Value { place, given: given.to_string_lossy().into_owned(), source }
    }

    /// `option` is about the tasks of an array, and there is none.
    pub(crate) fn needs_items(option: &'static str) -> Self {
        let hint = "write the items behind the command, as in CMD… ::: a b, or read them from stdin: --each-line -";
        Self::Needs { option, needs: "an array: there is a single task", hint }
    }

    /// The same without what was given.
    pub(crate) fn secret(place: Place, source: ValueError) -> Self {
        Self::Secret { place, source }
    }

    /// What to do about it, where there is something.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Usage { hint, .. } => return hint.clone(),
            Self::Value { place: Place::Option("--memory") | Place::Variable("OCTASKLY_MEMORY"), .. } => {
                "a worker's memory is a number of MB, or auto: 16384"
            }
            Self::Value { source, .. } | Self::Secret { source, .. } => return source.hint(),
            Self::Conflict(..) => "leave one of them out",
            Self::EveryoneWithoutAll => "jobs named by their numbers may be anyone's, for an admin",
            Self::NoCommand => "write it behind the options: octaskly run -- CMD…",
            Self::NothingToLink(_) => "write a first list before it: CMD… ::: a b :::+ 1 2",
            Self::ScriptStaysHere { command, .. } => return Some(format!("to send it: {command}")),
            Self::NoFile(_) => "name a file with a line for each item, or - for stdin",
            Self::Needs { hint, .. } => hint,
            Self::TwoBounds(..) => "leave one of them out",
            Self::JobLog(source) => return source.hint().map(str::to_owned),
            Self::StdinTooLarge { .. } => "octaskly run streams its stdin without a bound",
            Self::Unfit { source, .. } => return Some(source.hint()),
            Self::Stdin { .. } => "--stdin /dev/null runs it without input",
            Self::Unrepeatable(_) => KEPT_PER_ATTEMPT,
            Self::Client(source) => return source.hint(),
            Self::NothingSelected(_) => "`octaskly list --all` lists all jobs",
            Self::OnlyWholeJobs(task) => return Some(format!("octaskly progress {}", task.job)),
            Self::Trust(source) => return source.hint(),
            Self::Node(source) => return source.hint(),
            Self::Bench(source) => return source.hint(),
            Self::Bug { .. } => "please report this line and what led to it",
            Self::NoOutput { .. } => {
                "`octaskly show ID.TASK`, as in show 5.0, shows what a task has left; --out declares it"
            }
            Self::NotBrought(_, job) => {
                return Some(format!("what it made is kept: octaskly get {job} -C DIR brings it to another folder"));
            }
            Self::Twice { .. } => "bring them into folders of their own: octaskly get ID.TASK -C DIR",
            Self::TooManyItems { .. }
            | Self::Left(_)
            | Self::Files(_)
            | Self::Report { .. }
            | Self::Manifest(_)
            | Self::Unasked { .. }
            | Self::Unreadable { .. }
            | Self::Declined
            | Self::Resumed(_)
            | Self::Telemetry(_)
            | Self::Runtime(_)
            | Self::Random(_)
            | Self::Output(_)
            | Self::PipeClosed => return None,
        };
        Some(text.to_owned())
    }

    /// How the process exits for it; `run` turns what is not about the command line into 125.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. }
            | Self::Value { .. }
            | Self::Secret { .. }
            | Self::Conflict(..)
            | Self::EveryoneWithoutAll
            | Self::NoCommand
            | Self::NothingToLink(_)
            | Self::NoFile(_)
            | Self::Needs { .. }
            | Self::TwoBounds(..)
            | Self::Left(_)
            | Self::TooManyItems { .. }
            | Self::Unreadable { .. }
            | Self::OnlyWholeJobs(_)
            | Self::StdinTooLarge { .. } => exit::USAGE,
            Self::Unfit { source, .. } if source.is_size() => exit::NOT_EXECUTABLE,
            Self::JobLog(JobLogError::Cut { .. }) => exit::FAILURE,
            Self::Unfit { .. } | Self::Client(ClientError::BadAddress(_)) | Self::JobLog(_) => exit::USAGE,
            Self::Client(ClientError::Failed(failure)) => match failure.code {
                FailureCode::Unplaceable => exit::UNPLACEABLE,
                _ => exit::FAILURE,
            },
            Self::ScriptStaysHere { .. } => exit::UNPLACEABLE,
            Self::Client(_) | Self::Trust(_) | Self::Stdin { .. } | Self::Unrepeatable(_) | Self::Bug { .. } => {
                exit::OURS
            }
            Self::NothingSelected(_)
            | Self::Declined
            | Self::Resumed(_)
            | Self::Files(_)
            | Self::Report { .. }
            | Self::Manifest(_)
            | Self::Unasked { .. }
            | Self::NoOutput { .. }
            | Self::NotBrought(..)
            | Self::Twice { .. } => exit::FAILURE,
            Self::Bench(_)
            | Self::Telemetry(_)
            | Self::Node(_)
            | Self::Runtime(_)
            | Self::Random(_)
            | Self::Output(_) => exit::FAILURE,
            Self::PipeClosed => exit::PIPE_CLOSED,
        }
    }

    /// The text behind `error: `: this error and its causes, on one line.
    pub(crate) fn line(&self) -> String {
        one_line(self)
    }
}

impl From<BenchError> for CliError {
    /// What is between us and the dispatcher is said as by any other command.
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Client(error) => Self::Client(error),
            error => Self::Bench(error),
        }
    }
}

/// What became of a request: what the dispatcher says is a sentence, what we say completes one.
fn asked(error: &ClientError) -> String {
    match error {
        ClientError::Failed(failure) => failure.text.clone(),
        ours => format!("failed to {ours}"),
    }
}

/// `error` and its causes joined by colons, on one line and without the numbers of the system.
///
/// A cause that its effect has already quoted is not said twice.
pub(crate) fn one_line(error: &dyn Error) -> String {
    let mut text = plain(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = plain(&error.to_string());
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// `text` on one line; the "(os error 2)" that Rust adds is noise to a user.
fn plain(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.rsplit_once(" (os error ") {
        Some((front, number)) if number.ends_with(')') => front.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let error = CliError::Unreadable {
            path: "items.txt".into(),
            option: "--each-line",
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(error.line(), "cannot read items.txt for --each-line: No such file or directory");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_bad_value_names_the_option_and_the_way_out() {
        let error = CliError::value(Place::Option("--mem"), OsStr::new("4X"), ValueError::NotSize);
        assert_eq!(error.line(), "invalid value \"4X\" for --mem: it is not a size");
        assert!(error.hint().is_some_and(|hint| hint.contains("4G")));
    }

    #[test]
    fn a_cause_that_was_quoted_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed to {0}")]
        struct Outer(#[source] TrustError);
        let error = Outer(TrustError::NoHome);
        assert_eq!(one_line(&error).matches("find a home folder").count(), 1);
    }
}
