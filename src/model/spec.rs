//! What a user asks to be run: the specification of a job.
//!
//! A spec travels and is stored as the exact bytes its submitter encoded
//! ([`SealedSpec`]); later signatures and hashes cover those bytes, so they are
//! never encoded again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compact::{inputs, tasks};
use super::files::InputSpec;
use super::limits::{BACKOFF_MAX, BACKOFF_MIN, CBOR_DEPTH, CLIENT_GRACE, HELD_OUTPUT, MAX_SPEC_BYTES, MAX_TITLE};
use super::{Demand, Items, JobId, Millis, Outcome, RawString, TaskId};

/// One submission: a command, what it ranges over, and how it is to be treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// `--name`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What to run.
    pub command: CommandLine,
    /// What it ranges over.
    pub items: Items,
    /// What each task reserves.
    #[serde(default)]
    pub demand: Demand,
    /// Labels that a worker must have; `os` and `arch` of the submitter are filled in by the client.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How long one attempt may run.
    #[serde(default)]
    pub time_limit: TimeLimit,
    /// Higher goes first; 0 is the default.
    #[serde(default)]
    pub priority: i32,
    /// `--env`: added to what a task sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<RawString, RawString>,
    /// Where it runs.
    #[serde(default)]
    pub workdir: Workdir,
    /// Where its standard input comes from.
    #[serde(default)]
    pub stdin: StdinSource,
    /// Whether a client is attached (`run`) or output is only stored (`submit`).
    #[serde(default)]
    pub output: OutputMode,
    /// `--client-grace`: a job of a `run` is cancelled when its client is gone for longer. See [`JobSpec::client_grace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_grace: Option<Millis>,
    /// `--joblog`: the client's machine and the path there. A client that resumes the log ends what an earlier one has
    /// left running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_log: Option<RawString>,
    /// What happens after a failure.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// `%MAX`: tasks of this job assigned at once; `None` sets no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// `--max-fails`: this many failed tasks cancel the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fails: Option<u32>,
    /// No two attempts of a task at the same time (G5 of docs/ARCHITECTURE.md).
    #[serde(default)]
    pub exclusive: bool,
    /// Started at most once (G4 there).
    #[serde(default)]
    pub no_retry: bool,
    /// The isolation it needs; a worker below it is not eligible.
    #[serde(default)]
    pub isolation: Isolation,
    /// Jobs that must have ended first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Dependency>,
    /// `--in`: what each task finds in its directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "inputs")]
    pub inputs: Vec<InputSpec>,
    /// `--out`: paths beneath the working directory, or patterns of them, that are kept when a task has ended; may
    /// hold placeholders.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "inputs")]
    pub outputs: Vec<RawString>,
    /// The task whose lost outputs it makes again. The dispatcher alone sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remakes: Option<TaskId>,
}

impl JobSpec {
    /// A single task running `command`, everything else at its default.
    #[must_use]
    pub fn single(command: CommandLine) -> Self {
        Self {
            name: None,
            command,
            items: Items::Single,
            demand: Demand::default(),
            labels: BTreeMap::new(),
            time_limit: TimeLimit::default(),
            priority: 0,
            env: BTreeMap::new(),
            workdir: Workdir::default(),
            stdin: StdinSource::default(),
            output: OutputMode::default(),
            client_grace: None,
            job_log: None,
            retry: RetryPolicy::default(),
            max_concurrent: None,
            max_fails: None,
            exclusive: false,
            no_retry: false,
            isolation: Isolation::default(),
            after: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            remakes: None,
        }
    }

    /// Whether its tasks may wait in a worker's backlog: not when they are to run once at most or never twice at a
    /// time, when somebody watches them live, or when they get GPUs, which the dispatcher gives out by number.
    #[must_use]
    pub fn may_wait_on_worker(&self) -> bool {
        let delicate = self.exclusive || self.no_retry || self.demand.gpus > 0;
        !delicate && !self.streams_to_client()
    }

    /// How long it goes on while no client is attached; `None` when it never needs one. One whose streams go to a client
    /// always does, and has [`CLIENT_GRACE`] unless it says otherwise.
    #[must_use]
    pub fn client_grace(&self) -> Option<Millis> {
        self.client_grace.or(self.streams_to_client().then_some(CLIENT_GRACE))
    }

    /// Whether its output or its standard input passes through an attached client.
    #[must_use]
    pub fn streams_to_client(&self) -> bool {
        self.output == OutputMode::Attached || matches!(self.stdin, StdinSource::Attached)
    }

    /// Whether a worker may hand its tasks to another: those that may wait, unless only the dispatcher knows what
    /// an input is, or which workers have the directory that they run in.
    #[must_use]
    pub fn may_be_handed_over(&self) -> bool {
        let asks = |input: &super::files::InputSpec| matches!(input.source, super::files::InputSource::Output { .. });
        self.may_wait_on_worker() && self.workdir == Workdir::Fresh && !self.inputs.iter().any(asks)
    }

    /// Bytes of each attempt's output that the client of a `run` holds until the attempt has finished, so that a
    /// retry can replace them. None without `--retries`: then output is shown as it is written.
    #[must_use]
    pub fn held_output(&self) -> u64 {
        if self.retry.limit == Some(0) { 0 } else { HELD_OUTPUT }
    }

    /// What lists call it: `--name`, else the command as it was typed, on one line of at most [`MAX_TITLE`] characters.
    #[must_use]
    pub fn title(&self) -> String {
        // A command may be megabytes; a title is asked for at every change of its job.
        let start = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(4 * (MAX_TITLE + 1))]).into_owned();
        let whole = match (&self.name, &self.command) {
            (Some(name), _) => start(name.as_bytes()),
            (None, CommandLine::Shell(line)) => start(line.as_bytes()),
            (None, CommandLine::Exec(argv)) => {
                let words: Vec<_> = argv.iter().take(MAX_TITLE + 2).map(|word| start(word.as_bytes())).collect();
                words.join(" ")
            }
        };
        let mut title: String = whole.chars().take(MAX_TITLE).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if whole.chars().nth(MAX_TITLE).is_some() {
            title.pop();
            title.push('…');
        }
        title
    }
}

/// A command as it was typed. Placeholders (`{}` and its kin) are filled in by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandLine {
    /// One argument: run by `/bin/sh -c`.
    Shell(RawString),
    /// An exact argument vector, program first; never empty.
    Exec(#[serde(deserialize_with = "tasks")] Vec<RawString>),
}

/// How long one attempt may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeLimit {
    /// The dispatcher's `--task-timeout` (300 s).
    #[default]
    Dispatcher,
    /// `--time-limit none`.
    Unlimited,
    /// `--time-limit 10m`.
    Limited(Millis),
}

/// Where a task runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workdir {
    /// A fresh directory of its own, removed afterwards.
    #[default]
    Fresh,
    /// `--cwd DIR`: an existing directory of the worker.
    Existing(RawString),
}

/// Where a task's standard input comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StdinSource {
    /// Nothing: end of file at once.
    #[default]
    Empty,
    /// Bytes kept with the job; at most [`super::limits::MAX_INLINE_STDIN`].
    Inline(RawString),
    /// Streamed from the attached client of a `run`.
    Attached,
}

/// Who sees output while a task runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputMode {
    /// Kept for `logs` (and followed by whoever asks).
    #[default]
    Stored,
    /// Every byte also goes to the attached client, which holds the task back when it is slow.
    Attached,
}

/// The isolation levels, weakest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A bare process.
    None,
    /// Session, process tree and scratch directory of its own; nothing of it outlives it.
    #[default]
    Basic,
    /// Namespaces and a file system of its own. Not given by any worker yet.
    Strict,
}

/// A job that has to end before this one may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The job waited for.
    pub job: JobId,
    /// How it must end.
    pub condition: DependencyCondition,
}

/// How a dependency must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DependencyCondition {
    /// `--after`: all its tasks succeeded; otherwise this job fails with cause `dependency`.
    Succeeded,
    /// `--after-any`: it ended somehow.
    Ended,
}

/// What happens after a task failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Failed tries that are followed by another; `None` means the dispatcher's `--task-retries` (3).
    pub limit: Option<u32>,
    /// Waiting between them.
    pub backoff: Backoff,
    /// Which failures count as worth another try.
    pub on: RetryOn,
}

/// Exponential backoff with full jitter: the k-th wait is drawn from 0 to `min(min * 2^(k-1), max)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Upper bound of the first wait; default 1 s.
    pub min: Millis,
    /// Upper bound of any wait; default 60 s.
    pub max: Millis,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: BACKOFF_MIN, max: BACKOFF_MAX }
    }
}

/// Which failures of the task itself are retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryOn {
    /// Exit codes; `None` means every code but 0.
    pub codes: Option<Vec<i32>>,
    /// Death by a signal.
    pub signal: bool,
    /// Out of memory.
    pub oom: bool,
    /// The time limit.
    pub timeout: bool,
}

impl Default for RetryOn {
    /// Everything but the time limit.
    fn default() -> Self {
        Self { codes: None, signal: true, oom: true, timeout: false }
    }
}

impl RetryOn {
    /// Whether `outcome` is a failure of the task that is worth another try.
    ///
    /// Lost workers are not decided here: they are requeued, not retried.
    #[must_use]
    pub fn covers(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Exited(0) => false,
            Outcome::Exited(code) => self.codes.as_ref().is_none_or(|codes| codes.contains(code)),
            Outcome::Signalled(_) => self.signal,
            Outcome::OutOfMemory | Outcome::OomKilled => self.oom,
            Outcome::TimedOut(..) => self.timeout,
            Outcome::SpawnFailed(_) | Outcome::TransferFailed(_) => self.codes.is_none(),
            // What said that it succeeded would say so again: its command or the name of its output is wrong.
            Outcome::OutputMissing(_) => false,
            Outcome::Lost
            | Outcome::Unrepeatable(_)
            | Outcome::InputLost(_)
            | Outcome::DependencyFailed(_)
            | Outcome::Cancelled(_) => false,
        }
    }
}

/// A spec together with the exact bytes it was encoded as.
///
/// Serialised as those bytes, so every node that forwards or stores it passes
/// on what the submitter wrote. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct SealedSpec {
    spec: Arc<JobSpec>,
    encoded: Arc<[u8]>,
}

/// The bytes are no job spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// More bytes than any job needs.
    #[error("decode the job: it has {0} bytes, at most {MAX_SPEC_BYTES} are taken")]
    TooLong(usize),
    /// Not CBOR, nested too deeply, or of another shape.
    #[error("decode the job: {0}")]
    Malformed(String),
    /// There is something behind the spec.
    #[error("decode the job: {0} bytes too many")]
    Trailing(usize),
    /// An argument vector without a program.
    #[error("decode the job: its command is empty")]
    EmptyCommand,
}

impl SealedSpec {
    /// Encodes `spec` once and for all.
    #[must_use]
    pub fn seal(spec: JobSpec) -> Self {
        let mut encoded = Vec::new();
        #[expect(clippy::expect_used, reason = "a Vec takes every byte and a JobSpec holds nothing CBOR cannot say")]
        ciborium::into_writer(&spec, &mut encoded).expect("a job spec encodes");
        Self { spec: Arc::new(spec), encoded: encoded.into() }
    }

    /// Decodes what [`SealedSpec::seal`] made.
    ///
    /// # Errors
    /// When the bytes are too many, are no spec, carry anything behind it, or name no program.
    pub fn open(encoded: &[u8]) -> Result<Self, SpecError> {
        if encoded.len() > MAX_SPEC_BYTES {
            return Err(SpecError::TooLong(encoded.len()));
        }
        let mut rest = encoded;
        let spec: JobSpec = ciborium::de::from_reader_with_recursion_limit(&mut rest, CBOR_DEPTH)
            .map_err(|error| SpecError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(SpecError::Trailing(rest.len()));
        }
        if matches!(&spec.command, CommandLine::Exec(argv) if argv.first().is_none_or(RawString::is_empty)) {
            return Err(SpecError::EmptyCommand);
        }
        Ok(Self { spec: Arc::new(spec), encoded: encoded.into() })
    }

    /// The spec.
    #[must_use]
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// The bytes as the submitter wrote them.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

/// A spec may hold a million items; a log wants none of them.
impl fmt::Debug for SealedSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSpec({:?}, {} tasks, {} bytes)", self.spec.name, self.spec.items.count(), self.encoded.len())
    }
}

impl TryFrom<serde_bytes::ByteBuf> for SealedSpec {
    type Error = SpecError;

    fn try_from(encoded: serde_bytes::ByteBuf) -> Result<Self, Self::Error> {
        Self::open(&encoded)
    }
}

impl From<SealedSpec> for serde_bytes::ByteBuf {
    fn from(sealed: SealedSpec) -> Self {
        serde_bytes::ByteBuf::from(sealed.encoded.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_spec_is_forwarded_byte_for_byte() {
        let sealed = SealedSpec::seal(JobSpec::single(CommandLine::Shell("echo hi".into())));
        let mut wire = Vec::new();
        ciborium::into_writer(&sealed, &mut wire).expect("encodes");
        let back: SealedSpec = ciborium::from_reader(&wire[..]).expect("decodes");
        assert_eq!(back.encoded(), sealed.encoded());
        assert_eq!(back, sealed);
    }

    #[test]
    fn a_title_is_one_short_line() {
        let title = |command| JobSpec::single(command).title();
        assert_eq!(title(CommandLine::Exec(vec!["echo".into(), "a\tb\n".into()])), "echo a b ");
        let long = title(CommandLine::Shell("x".repeat(MAX_TITLE + 1).into()));
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_TITLE, true));
        let wide = title(CommandLine::Shell("𝄞".repeat(MAX_TITLE + 1).into()));
        assert_eq!(wide, "𝄞".repeat(MAX_TITLE - 1) + "…");
        let many = title(CommandLine::Exec(vec!["".into(); MAX_TITLE + 2]));
        assert_eq!((many.chars().count(), many.ends_with('…')), (MAX_TITLE, true));
    }

    #[test]
    fn a_spec_without_a_program_or_with_trailing_bytes_is_refused() {
        let empty = SealedSpec::seal(JobSpec::single(CommandLine::Exec(vec![])));
        assert_eq!(SealedSpec::open(empty.encoded()), Err(SpecError::EmptyCommand));
        let mut long = SealedSpec::seal(JobSpec::single(CommandLine::Shell("true".into()))).encoded().to_vec();
        long.push(0);
        assert_eq!(SealedSpec::open(&long), Err(SpecError::Trailing(1)));
    }
}
