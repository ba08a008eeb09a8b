//! `--joblog FILE`: which tasks have ended and how, in the form that GNU parallel writes and reads.
//!
//! The one invariant: rows of an earlier command are only added to, and only by one command at a time. A row is in the
//! file as soon as [`JobLog::add`] returns, so that a killed client keeps the rows of all that it has seen end.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::output::say;
use crate::exec;
use crate::model::views::TaskView;
use crate::model::{IntervalSet, JobSpec, Outcome, RawString, TaskIndex, TaskState};

/// The first line.
const HEADER: &[u8] = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";
/// Columns of a row. The last one, the command, may hold tabs.
const COLUMNS: usize = 9;
/// Longest row that is read: several times what a process takes as its arguments.
const MAX_ROW: u64 = 32 << 20;
/// Characters of a command that an error quotes.
const QUOTED: usize = 60;

/// What the rows of an earlier command mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// There must be none.
    Refused,
    /// `--resume`: their tasks are skipped.
    Skipped,
    /// `--resume-failed`: those that succeeded are skipped.
    FailedRepeated,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobLogError {
    /// The system refuses.
    #[error("cannot use {} for --joblog", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has rows, and nothing says what they mean.
    #[error("{} has rows of an earlier command", .0.display())]
    NotEmpty(PathBuf),
    /// Another command writes to it.
    #[error("{} is in use: another command writes its job log there", .0.display())]
    InUse(PathBuf),
    /// Something else than a job log.
    #[error("{}, line {line}, is no row of a job log", path.display())]
    NotRow {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
    },
    /// It is of another command or of other items.
    #[error("{}, line {line}: task {} was {was:?} and is {is:?} now", path.display(), task.0)]
    OtherCommand {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// Which task.
        task: TaskIndex,
        /// Its command then.
        was: String,
        /// Its command now.
        is: String,
    },
    /// It could not be written to its end.
    #[error("rows are missing in {}", path.display())]
    Cut {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl JobLogError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotEmpty(_) => Some(
                "--resume skips the tasks that it lists, --resume-failed only those that succeeded; or name another file",
            ),
            Self::OtherCommand { .. } => Some("write the command and its items as they were, or name another file"),
            Self::NotRow { .. } => Some("name a file that --joblog has written, or a new one"),
            Self::Cut { .. } => Some("`octaskly show ID --tasks` shows how each task ended"),
            Self::Io { .. } | Self::InUse(_) => None,
        }
    }
}

/// The log of one command.
#[derive(Debug)]
pub(crate) struct JobLog {
    path: PathBuf,
    /// `None` until there is such a file.
    file: Option<File>,
    /// A pipe or a terminal: it has no earlier rows, and several commands may write to it.
    is_stream: bool,
    /// Where its last whole row ends.
    end: u64,
    /// Rows of an earlier command may be there.
    is_resumed: bool,
    /// Positions of tasks whose last row is that of a failure.
    failed: IntervalSet,
    /// What fills the commands of its rows in.
    spec: JobSpec,
    /// Why there will be no more rows.
    failure: Option<io::Error>,
}

impl JobLog {
    /// Opens what there is, and keeps other commands away from it; creates nothing. `spec` needs its command and its
    /// items alone.
    pub(crate) fn open(path: &Path, spec: JobSpec) -> Result<Self, JobLogError> {
        let is_stream = std::fs::metadata(path).is_ok_and(|file| !file.is_file());
        let mut log = Self {
            path: path.to_owned(),
            file: None,
            is_stream,
            end: 0,
            is_resumed: false,
            failed: IntervalSet::new(),
            spec,
            failure: None,
        };
        if is_stream || path.exists() {
            log.file = Some(log.open_with(OpenOptions::new().append(true))?);
        }
        Ok(log)
    }

    fn open_with(&self, options: &mut OpenOptions) -> Result<File, JobLogError> {
        let file = options.read(!self.is_stream).open(&self.path).map_err(|source| self.io(source))?;
        if !self.is_stream {
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => JobLogError::InUse(self.path.clone()),
                TryLockError::Error(source) => self.io(source),
            })?;
        }
        Ok(file)
    }

    fn io(&self, source: io::Error) -> JobLogError {
        JobLogError::Io { path: self.path.clone(), source }
    }

    /// The positions of the tasks that are left to do.
    pub(crate) fn left(&mut self, earlier: Earlier) -> Result<IntervalSet, JobLogError> {
        self.is_resumed = earlier != Earlier::Refused;
        let items = &self.spec.items;
        let mut left = items.positions();
        let Some(file) = self.file.as_ref().filter(|_| !self.is_stream) else { return Ok(left) };
        let mut rows = Rows { path: &self.path, reader: BufReader::new(file), line: 0, end: 0 };
        while let Some(row) = rows.next()? {
            if earlier == Earlier::Refused {
                return Err(JobLogError::NotEmpty(self.path.clone()));
            }
            let Some(position) = items.position_of(row.task) else { continue };
            let is = command(&self.spec, row.task);
            if row.command != is {
                let (path, line, task) = (self.path.clone(), rows.line, row.task);
                return Err(JobLogError::OtherCommand { path, line, task, was: quoted(&row.command), is: quoted(&is) });
            }
            left.remove(position);
            if row.succeeded {
                self.failed.remove(position)
            } else {
                self.failed.insert(position)
            };
        }
        self.end = rows.end;
        if earlier == Earlier::FailedRepeated {
            self.failed.ranges().for_each(|(first, last)| left.insert_range(first, last));
        }
        Ok(left)
    }

    /// How many tasks failed by their last row.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.len()
    }

    /// Whether an earlier command may have written to it, and may have left a job.
    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed && !self.is_stream
    }

    /// Makes the file ready for rows: it exists, it begins with the header, and no row is cut short. Returns which file
    /// it is, for all machines; `None` when it is none.
    pub(crate) fn begin(&mut self) -> Result<Option<RawString>, JobLogError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.open_with(OpenOptions::new().append(true).create(true))?,
        };
        let prepared = file.metadata().and_then(|there| {
            if !self.is_stream && there.len() > self.end {
                file.set_len(self.end)?;
            }
            if self.end == 0 { (&file).write_all(HEADER) } else { Ok(()) }
        });
        prepared.map_err(|source| self.io(source))?;
        self.file = Some(file);
        if self.is_stream {
            return Ok(None);
        }
        let path = self.path.canonicalize().map_err(|source| self.io(source))?;
        let host = nix::unistd::gethostname().unwrap_or_default();
        Ok(Some(RawString([host.as_encoded_bytes(), b":", path.as_os_str().as_encoded_bytes()].concat())))
    }

    /// Adds a row for each of these tasks that was run to its end.
    pub(crate) fn add(&mut self, tasks: &[&TaskView]) {
        if self.failure.is_some() {
            return;
        }
        let rows: Vec<u8> = tasks.iter().filter_map(|task| row(task, &self.spec)).flatten().collect();
        let written = self.file.as_ref().map_or(Ok(()), |mut file| file.write_all(&rows));
        if let Err(error) = written {
            // Half a row may be there: what came behind it could not be read.
            say::error(&format!("{} gets no more rows: {error}", self.path.display()), None);
            self.failure = Some(error);
        }
    }

    /// Says whether all rows are in it.
    pub(crate) fn end(self) -> Result<(), JobLogError> {
        self.failure.map_or(Ok(()), |source| Err(JobLogError::Cut { path: self.path, source }))
    }
}

/// The rows of a log that is read.
struct Rows<'f> {
    path: &'f Path,
    reader: BufReader<&'f File>,
    /// The line read last, from 1.
    line: u64,
    /// Where it ends.
    end: u64,
}

/// What a row says.
struct Row {
    task: TaskIndex,
    succeeded: bool,
    command: Vec<u8>,
}

impl Rows<'_> {
    /// The next row. One that has no line end is the last thing that a killed command wrote, and is none.
    fn next(&mut self) -> Result<Option<Row>, JobLogError> {
        if self.line == 0 {
            match self.whole_line()? {
                Some(line) if line == HEADER => {}
                Some(_) => return Err(self.no_row(1)),
                None => return Ok(None),
            }
        }
        let Some(line) = self.whole_line()? else { return Ok(None) };
        read(&line).map(Some).ok_or_else(|| self.no_row(self.line))
    }

    fn whole_line(&mut self) -> Result<Option<Vec<u8>>, JobLogError> {
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(MAX_ROW).read_until(b'\n', &mut line);
        read.map_err(|source| JobLogError::Io { path: self.path.to_owned(), source })?;
        if line.last() == Some(&b'\n') {
            self.line += 1;
            self.end += line.len() as u64;
            return Ok(Some(line));
        }
        // Any other text without a line end is no log that was cut short, but no log at all.
        let may_be_cut = self.line > 0 && (line.len() as u64) < MAX_ROW || HEADER.starts_with(&line);
        if may_be_cut { Ok(None) } else { Err(self.no_row(self.line + 1)) }
    }

    fn no_row(&self, line: u64) -> JobLogError {
        JobLogError::NotRow { path: self.path.to_owned(), line }
    }
}

fn read(line: &[u8]) -> Option<Row> {
    let columns: Vec<&[u8]> = line.strip_suffix(b"\n")?.splitn(COLUMNS, |byte| *byte == b'\t').collect();
    let [seq, _, _, _, _, _, exit, signal, command] = columns[..] else { return None };
    let number = |column: &[u8]| str::from_utf8(column).ok()?.parse::<i64>().ok();
    let task = TaskIndex(number(seq)?.try_into().ok()?);
    Some(Row { task, succeeded: (number(exit)?, number(signal)?) == (0, 0), command: command.to_vec() })
}

/// The row of a task; `None` for one that was not run, or was cancelled: it is still to be done.
fn row(task: &TaskView, spec: &JobSpec) -> Option<Vec<u8>> {
    let outcome = task.outcome.as_ref().filter(|_| matches!(task.state, TaskState::Succeeded | TaskState::Failed))?;
    let attempt = task.decisive()?;
    let started = attempt.started_at.unwrap_or(attempt.assigned_at);
    let runtime = attempt.ended_at.or(task.ended_at).map_or(0, |ended| ended.0.saturating_sub(started.0));
    let files = attempt.files.as_deref();
    let sent =
        files.map_or(0, |files| files.transfers.iter().map(|moved| moved.blob.bytes).fold(0, u64::saturating_add));
    let brought = files.map_or(0, |files| {
        files.outputs.iter().map(|output| output.content.total_bytes()).fold(0, u64::saturating_add)
    });
    let received = brought.saturating_add(attempt.stdout_bytes);
    let (exit, signal) = match outcome {
        Outcome::Signalled(signal) => (0, *signal),
        outcome => (outcome.exit_code(), 0),
    };
    let (seq, host, seconds) = (task.task.index.0, &attempt.worker, |micros: u64| micros as f64 / 1e6);
    let numbers = format!(
        "{seq}\t{host}\t{:.3}\t{:10.3}\t{sent}\t{received}\t{exit}\t{signal}\t",
        seconds(started.0),
        seconds(runtime)
    );
    Some([numbers.as_bytes(), &command(spec, task.task.index), b"\n"].concat())
}

/// The command of a task on one line: as in GNU parallel a NUL stands for each line end of its own.
fn command(spec: &JobSpec, task: TaskIndex) -> Vec<u8> {
    let mut command = exec::show(spec, task).0;
    command.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = 0);
    command
}

/// The start of a command, for an error.
fn quoted(command: &[u8]) -> String {
    let text = String::from_utf8_lossy(command);
    let start: String = text.chars().take(QUOTED).collect();
    if start.len() < text.len() { start + "…" } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::json::tests::sample_task;
    use crate::model::Items;
    use crate::model::outcome::Cancellation;
    use crate::model::spec::CommandLine;

    fn spec() -> JobSpec {
        let items = Items::Range { first: 1, last: 9, step: 1 };
        JobSpec { items, ..JobSpec::single(CommandLine::Exec(vec!["echo".into(), "{}".into()])) }
    }

    fn text(row: Option<Vec<u8>>) -> Option<String> {
        row.map(|row| String::from_utf8(row).expect("text"))
    }

    #[test]
    fn a_row_says_how_the_attempt_went_by_which_its_task_ended() {
        let mut task = sample_task();
        let failed = "3\tworker-01\t2.100\t     1.200\t0\t10\t7\t0\techo 3\n";
        assert_eq!(text(row(&task, &spec())).as_deref(), Some(failed));
        task.outcome = Some(Outcome::Signalled(9));
        assert!(text(row(&task, &spec())).is_some_and(|row| row.ends_with("\t0\t9\techo 3\n")));
        let attempts = std::mem::take(&mut task.attempts);
        assert_eq!(row(&task, &spec()), None, "it was never run");
        task.attempts = attempts;
        (task.state, task.outcome) = (TaskState::Cancelled, Some(Outcome::Cancelled(Cancellation::Interrupted)));
        assert_eq!(row(&task, &spec()), None, "it is still to be done");
    }

    #[test]
    fn rows_of_gnu_parallel_are_read_also_those_of_commands_with_tabs_and_line_ends() {
        let read = |line: &[u8]| super::read(line).map(|row| (row.task.0, row.succeeded, row.command));
        let row = b"4\t:\t1796069358.049\t     0.003\t0\t6\t0\t0\techo a\tb\0echo\n";
        assert_eq!(read(row), Some((4, true, b"echo a\tb\0echo".to_vec())));
        assert!(read(b"4\th\t1.0\t 0.0\t0\t0\t0\t15\tx\n").is_some_and(|(_, succeeded, _)| !succeeded));
        assert!(read(b"4\th\t1.0\t 0.0\t0\t0\t-1\t0\tx\n").is_some_and(|(_, succeeded, _)| !succeeded));
        for bad in
            ["4\n", "\n", "x\th\t1\t0\t0\t0\t0\t0\tx\n", "-1\th\t1\t0\t0\t0\t0\t0\tx\n", "4\th\t1\t0\t0\t0\t?\t0\tx\n"]
        {
            assert!(read(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_last_row_of_a_task_decides_and_rows_of_other_tasks_do_not_matter() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let row = |task: u64, exit: u32| format!("{task}\th\t1.0\t 0.0\t0\t0\t{exit}\t0\techo {task}\n");
        let rows = [row(1, 0), row(2, 1), row(3, 1), row(3, 0), row(4, 0), row(4, 1), row(77, 0)].concat();
        std::fs::write(&path, [HEADER, rows.as_bytes()].concat()).expect("written");
        let left = |earlier| {
            let left = JobLog::open(&path, spec()).expect("opens").left(earlier).expect("rows");
            left.iter().map(|position| position + 1).collect::<Vec<_>>()
        };
        assert_eq!(left(Earlier::Skipped), [5, 6, 7, 8, 9]);
        assert_eq!(left(Earlier::FailedRepeated), [2, 4, 5, 6, 7, 8, 9]);
    }
}
