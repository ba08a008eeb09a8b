//! How attempts, tasks and jobs end: the whole space of outcomes, and what an
//! attempt reports about itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::compact::as_array;
use super::files::TaskFiles;
use super::{Actor, Millis, RawString, Timestamp};

/// How one attempt ended. Everything a person is told about a failure derives from this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The process exited by itself with this code; 0 is the only success.
    Exited(i32),
    /// The process died by this signal.
    Signalled(i32),
    /// It exceeded its time limit, which was this long.
    TimedOut(Millis, LimitSource),
    /// It had more memory than it asked for.
    OutOfMemory,
    /// The system killed it, or the process that decided its exit code, because its worker had no memory left.
    OomKilled,
    /// It could not be started.
    SpawnFailed(SpawnFailure),
    /// An input could not be brought to the worker, or an output not be kept.
    TransferFailed(String),
    /// It said that it succeeded, and had not made what it declared: the first of these outputs, and how many more.
    OutputMissing(String),
    /// An input was gone with the worker that held it, and is being made again. Only attempts end so; their task
    /// is tried again.
    InputLost(String),
    /// Its worker was lost and it may not (or no longer) be tried again.
    Lost,
    /// Its worker was lost, and another attempt could not replace it: tasks end so, never attempts.
    Unrepeatable(Unrepeatable),
    /// A job it depends on did not succeed.
    DependencyFailed(super::JobId),
    /// Somebody or something ended it.
    Cancelled(Cancellation),
}

/// Who set a time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitSource {
    /// The job: `--time-limit`.
    Job,
    /// The dispatcher: `--task-timeout`, for jobs that set none.
    Dispatcher,
}

/// Why an attempt of a `run` is the last one of its task: another one would not start from where this one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unrepeatable {
    /// Some of its output went to the client's stdout or stderr, where the next attempt's would be mixed with it.
    OutputPassedOn,
    /// It was given more of the client's stdin than the client can send again.
    StdinConsumed,
}

/// Completes the sentence "the attempt cannot be repeated: …".
impl fmt::Display for Unrepeatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutputPassedOn => "some of its output was already passed on",
            Self::StdinConsumed => "it has read more of its stdin than can be sent again",
        })
    }
}

/// Why a process could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnFailure {
    /// Which of the shell's two codes says it.
    pub kind: SpawnFailureKind,
    /// What was tried and what the system said, for people: `no such program: frobnicate`.
    pub reason: String,
}

/// The kinds of spawn failure that exit codes tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpawnFailureKind {
    /// 127: there is no such program.
    NotFound,
    /// 126: it is there but cannot be executed, or its directory cannot be entered.
    NotExecutable,
    /// 125: the worker itself failed (no directory, no descriptors, no process).
    Worker,
}

/// Who or what ended a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cancellation {
    /// `octaskly cancel`.
    Requested {
        /// Who asked. `None` in a client's request, where the dispatcher fills it in, and when the dispatcher itself
        /// ended an attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
        /// `--reason`.
        reason: Option<String>,
    },
    /// Ctrl-C in `octaskly run`.
    Interrupted,
    /// The client of a `run` was gone for longer than its `--client-grace`.
    ClientGone,
    /// `--max-fails` was reached.
    MaxFails,
    /// Another attempt of the same task had brought a result. Attempts end so, never tasks.
    Superseded,
}

impl Cancellation {
    /// What a client asks for with this reason; the dispatcher fills in who it is.
    #[must_use]
    pub fn requested(reason: Option<String>) -> Self {
        Self::Requested { by: None, reason }
    }

    /// Who asked for it.
    #[must_use]
    pub fn by(&self) -> Option<&Actor> {
        match self {
            Self::Requested { by, .. } => by.as_ref(),
            Self::Interrupted | Self::ClientGone | Self::MaxFails | Self::Superseded => None,
        }
    }

    /// What they gave as the reason.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Requested { reason, .. } => reason.as_deref(),
            Self::Interrupted | Self::ClientGone | Self::MaxFails | Self::Superseded => None,
        }
    }
}

impl Outcome {
    /// Whether the task succeeded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// Whether the command came to an end of its own, by which its files are as it meant to leave them: nobody cut it short.
    #[must_use]
    pub fn is_its_own(&self) -> bool {
        matches!(self, Self::Exited(_) | Self::Signalled(_) | Self::OutputMissing(_))
    }

    /// The terminal task state this outcome leads to when nothing is tried again.
    #[must_use]
    pub fn state(&self) -> TaskState {
        match self {
            Self::Exited(0) => TaskState::Succeeded,
            Self::Cancelled(_) => TaskState::Cancelled,
            _ => TaskState::Failed,
        }
    }

    /// The cause of a failure; `None` for success and cancellation.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::Exited(0) | Self::Cancelled(_) => return None,
            Self::Exited(_) => Cause::Exit,
            Self::Signalled(_) => Cause::Signal,
            Self::TimedOut(..) => Cause::Timeout,
            Self::OutOfMemory | Self::OomKilled => Cause::Oom,
            Self::SpawnFailed(_) => Cause::Spawn,
            Self::TransferFailed(_) | Self::OutputMissing(_) | Self::InputLost(_) => Cause::Transfer,
            Self::Lost | Self::Unrepeatable(_) => Cause::Lost,
            Self::DependencyFailed(_) => Cause::Dependency,
        })
    }

    /// The exit code by which `run` ends for this outcome.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exited(code) => *code,
            Self::Signalled(signal) => signal.saturating_add(128),
            Self::TimedOut(..) => 124,
            Self::OutOfMemory | Self::OomKilled => 137,
            Self::SpawnFailed(failure) => match failure.kind {
                SpawnFailureKind::NotFound => 127,
                SpawnFailureKind::NotExecutable => 126,
                SpawnFailureKind::Worker => 125,
            },
            Self::Cancelled(Cancellation::Interrupted) => 130,
            Self::TransferFailed(_)
            | Self::OutputMissing(_)
            | Self::InputLost(_)
            | Self::Lost
            | Self::Unrepeatable(_)
            | Self::DependencyFailed(_)
            | Self::Cancelled(_) => 125,
        }
    }
}

/// Completes the sentence "the task …".
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("succeeded"),
            Self::Exited(code) => write!(f, "failed with exit code {code}"),
            Self::Signalled(signal) => write!(f, "was killed by signal {signal}"),
            Self::TimedOut(limit, LimitSource::Job) => write!(f, "exceeded its --time-limit of {limit}"),
            Self::TimedOut(limit, LimitSource::Dispatcher) => {
                write!(f, "was ended after {limit}: the dispatcher's --task-timeout; --time-limit changes it")
            }
            Self::OutOfMemory => f.write_str("exceeded the memory that it asked for"),
            Self::OomKilled => f.write_str("was killed by the system: its worker ran out of memory"),
            Self::SpawnFailed(failure) => write!(f, "could not start: {}", failure.reason),
            Self::TransferFailed(reason) => write!(f, "could not move its files: {reason}"),
            Self::OutputMissing(what) => write!(f, "did not make what it declared: {what}"),
            Self::InputLost(reason) => write!(f, "waits for a lost input: {reason}"),
            Self::Lost => f.write_str("was lost with its worker"),
            Self::Unrepeatable(why) => write!(f, "was lost with its worker and cannot be repeated: {why}"),
            Self::DependencyFailed(job) => write!(f, "was not started: job {job} did not succeed"),
            Self::Cancelled(Cancellation::Requested { by, reason }) => {
                f.write_str("was cancelled")?;
                by.iter().try_for_each(|by| write!(f, " by {}", by.name))?;
                reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            Self::Cancelled(Cancellation::Interrupted) => f.write_str("was interrupted"),
            Self::Cancelled(Cancellation::ClientGone) => {
                f.write_str("was cancelled: its client was gone for longer than --client-grace allows")
            }
            Self::Cancelled(Cancellation::MaxFails) => f.write_str("was cancelled: too many tasks of its job failed"),
            Self::Cancelled(Cancellation::Superseded) => f.write_str("was ended: another try had brought a result"),
        }
    }
}

/// The `cause` of a failed task, as shown to programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of docs/HELP.md, each explained at `Outcome`")]
pub enum Cause {
    Exit,
    Signal,
    Timeout,
    Oom,
    Lost,
    Transfer,
    Spawn,
    Dependency,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Timeout => "timeout",
            Self::Oom => "oom",
            Self::Lost => "lost",
            Self::Transfer => "transfer",
            Self::Spawn => "spawn",
            Self::Dependency => "dependency",
        })
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Not yet: a dependency, a backoff, or `%MAX`.
    Waiting,
    /// Could run as soon as a worker has room.
    Ready,
    /// Handed to a worker.
    Running,
    /// Ended with exit code 0.
    Succeeded,
    /// Ended otherwise, and is not tried again.
    Failed,
    /// Ended by somebody's wish.
    Cancelled,
}

impl TaskState {
    /// Whether it is one of the three terminal states.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Where a job stands; the same words as for a task.
///
/// Terminal when all its tasks are: `Failed` when any failed, else `Cancelled`
/// when any was cancelled, else `Succeeded`. Before that: `Running` when any
/// task is, else `Ready` when any is, else `Waiting`.
pub type JobState = TaskState;

/// What a worker reports of an ended attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptReport {
    /// How it ended.
    pub outcome: Outcome,
    /// When the process started, in dispatcher time; `None` when it never did.
    pub started_at: Option<Timestamp>,
    /// When the last of it was gone, in dispatcher time.
    pub ended_at: Timestamp,
    /// Largest resident set of the task's processes in bytes; 0 when unknown.
    pub peak_memory_bytes: u64,
    /// Its output.
    pub output: OutputSummary,
    /// The files that it moved; `None` for the many that have none.
    pub files: Option<Box<TaskFiles>>,
}

/// What is known of an attempt's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputSummary {
    /// Bytes the task wrote to stdout, kept or not.
    pub stdout_bytes: u64,
    /// Bytes the task wrote to stderr, kept or not.
    pub stderr_bytes: u64,
    /// Where the stored copy is.
    pub kept: KeptOutput,
}

/// Where an attempt's stored output is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptOutput {
    /// There was none.
    #[default]
    Nothing,
    /// Small: here it is, as the frames of a log file (`wire::log`).
    Inline(RawString),
    /// Uploaded to the dispatcher's log folder before this report was sent; that many bytes.
    Uploaded(u64),
}

// Hot: they travel as arrays. The order is part of the protocol.
as_array!(AttemptReport { outcome, started_at, ended_at, peak_memory_bytes, output, files });
as_array!(OutputSummary { stdout_bytes, stderr_bytes, kept });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_no_system_has_makes_no_exit_code_that_overflows() {
        assert_eq!(Outcome::Signalled(9).exit_code(), 137);
        assert_eq!(Outcome::Signalled(i32::MAX).exit_code(), i32::MAX);
    }

    #[test]
    fn what_was_cut_short_has_not_ended_by_itself() {
        let own = [Outcome::Exited(0), Outcome::Exited(7), Outcome::Signalled(11), Outcome::OutputMissing("x".into())];
        assert!(own.iter().all(Outcome::is_its_own));
        let cut = [
            Outcome::Cancelled(Cancellation::Interrupted),
            Outcome::TimedOut(Millis(1), LimitSource::Job),
            Outcome::OutOfMemory,
        ];
        assert!(!cut.iter().any(Outcome::is_its_own));
    }

    #[test]
    fn exit_codes_are_those_of_the_shell_and_of_timeout() {
        let spawn = |kind| Outcome::SpawnFailed(SpawnFailure { kind, reason: String::new() });
        assert_eq!(Outcome::Exited(7).exit_code(), 7);
        assert_eq!(Outcome::Signalled(9).exit_code(), 137);
        assert_eq!(Outcome::TimedOut(Millis(1), LimitSource::Dispatcher).exit_code(), 124);
        assert_eq!((Outcome::OomKilled.exit_code(), Outcome::OomKilled.cause()), (137, Some(Cause::Oom)));
        assert_eq!(spawn(SpawnFailureKind::NotFound).exit_code(), 127);
        assert_eq!(spawn(SpawnFailureKind::NotExecutable).exit_code(), 126);
        assert_eq!(Outcome::Lost.exit_code(), 125);
        assert_eq!(Outcome::Unrepeatable(Unrepeatable::OutputPassedOn).exit_code(), 125);
    }
}
