//! Starting one task's process.
//!
//! By `posix_spawn`, which the standard library uses as long as nothing here
//! asks for more than it can do: fork costs 13 times as much from a process
//! with much memory mapped. So the program is looked up beforehand and no
//! `pre_exec` is used. Absent: waiting for the process.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Pid;

use crate::exec::allowance::LONGEST_STRING;
use crate::exec::{program, sys};
use crate::model::RawString;
use crate::model::obstacle::Obstacle;
use crate::model::outcome::{SpawnFailure, SpawnFailureKind};
use crate::wire::shim::{ShimFact, StartTask};

/// What runs a file that is neither a binary nor names its interpreter.
const SHELL: &str = "/bin/sh";

/// Starts `task` in a process group of its own, with the three descriptors as its 0, 1 and 2 and no others; or what its
/// worker is to be told.
pub(super) fn spawn(task: &StartTask, stdio: [OwnedFd; 3]) -> Result<Pid, ShimFact> {
    let cwd = Path::new(task.cwd.as_os_str());
    let Some(name) = task.argv.first() else {
        let failure = program::failure(SpawnFailureKind::NotFound, "the command is empty".to_owned());
        return Err(ShimFact::SpawnFailed(failure));
    };
    let search_path = task.env.iter().rfind(|(key, _)| key.as_bytes() == b"PATH");
    let path = program::find(name.as_os_str(), search_path.map(|(_, value)| value.as_os_str()), cwd)
        .map_err(|failure| without_directory(cwd).unwrap_or(ShimFact::SpawnFailed(failure)))?;
    if let Some(script) = script(&task.argv)
        && let Some(fault) = program::fault(&cwd.join(script))
    {
        let failure = program::failure(SpawnFailureKind::NotExecutable, format!("{}: {fault}", script.display()));
        return Err(ShimFact::SpawnFailed(failure));
    }
    let numbers = stdio.each_ref().map(AsRawFd::as_raw_fd);
    let mut direct = command(&path, task, arguments(task), stdio);
    direct.arg0(name.as_os_str());
    let error = match direct.spawn() {
        Ok(child) => return Ok(pid_of(&child)),
        Err(error) => error,
    };
    if error.raw_os_error() == Some(Errno::E2BIG as i32) {
        return Err(ShimFact::SpawnFailed(too_large(task)));
    }
    // As every shell does: a file that the kernel does not know is a script of the shell's, if it is text.
    if error.raw_os_error() == Some(Errno::ENOEXEC as i32) && program::is_script(&cwd.join(&path)) {
        // The first command owns the descriptors, and a second one needs its own.
        if let [Ok(stdin), Ok(stdout), Ok(stderr)] = numbers.map(sys::duplicate) {
            let arguments = std::iter::once(path.as_os_str()).chain(arguments(task));
            let spawned = command(Path::new(SHELL), task, arguments, [stdin, stdout, stderr]).spawn();
            return spawned.map(|child| pid_of(&child)).map_err(|error| not_spawned(&error, Path::new(SHELL), cwd));
        }
    }
    Err(not_spawned(&error, &path, cwd))
}

/// What is told of `program`, which the system did not run in `cwd`: whether that is its own fault.
fn not_spawned(error: &io::Error, program: &Path, cwd: &Path) -> ShimFact {
    if let Some(fact) = without_directory(cwd) {
        return fact;
    }
    match program::shortage(error) {
        Some(shortage) => {
            let detail = program::shortened(format!("start {}: {}", program.display(), program::plain(error)));
            ShimFact::NotStarted { obstacle: Obstacle::Shortage(shortage), detail }
        }
        None => ShimFact::SpawnFailed(program::explain(error, program, cwd)),
    }
}

/// What is told where there is no such directory to run in, which says nothing about the program.
fn without_directory(cwd: &Path) -> Option<ShimFact> {
    let fault = program::directory_fault(cwd)?;
    let detail = program::shortened(format!("enter {}: {fault}", cwd.display()));
    Some(ShimFact::NotStarted { obstacle: Obstacle::Directory(fault), detail })
}

/// The file that a command names by its path and runs first of all: its program, or the first word of a line that is one
/// command. A shell would only say that it is not found, or run it without its interpreter.
fn script(argv: &[RawString]) -> Option<&Path> {
    let file = match argv {
        [shell, option, line] if shell.as_bytes() == SHELL.as_bytes() && option.as_bytes() == b"-c" => {
            let line = line.as_bytes().trim_ascii_end();
            // In `2>&1` it begins no other command.
            let ends = |at: usize| b";&|\n".contains(&line[at]) && !line[..at].ends_with(b">");
            let is_one = !(0..line.len()).any(ends);
            let word = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
            let is_plain = word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-./+,@%".contains(byte));
            OsStr::from_bytes(if is_one && is_plain { word } else { b"" })
        }
        _ => argv.first()?.as_os_str(),
    };
    file.as_bytes().contains(&b'/').then_some(Path::new(file))
}

/// What is too large of `task`, which the system did not take.
fn too_large(task: &StartTask) -> SpawnFailure {
    /// What a string costs besides its bytes: its NUL and a pointer to it.
    const STRING: usize = 1 + size_of::<usize>();
    let arguments = task.argv.iter().map(|argument| ("one argument".to_owned(), argument.len()));
    let variable =
        |(name, value): &(RawString, RawString)| (format!("the variable {name}"), name.len() + 1 + value.len());
    let strings: Vec<(String, usize)> = arguments.chain(task.env.iter().map(variable)).collect();
    let total: usize = strings.iter().map(|(_, bytes)| bytes + STRING).sum();
    let text = match strings.into_iter().max_by_key(|(_, bytes)| *bytes) {
        Some((what, bytes)) if bytes >= LONGEST_STRING => {
            format!("{what} has {bytes} bytes, and at most {} are possible", LONGEST_STRING - 1)
        }
        _ => {
            let most = getrlimit(Resource::RLIMIT_STACK).map_or(0, |(soft, _)| soft / 4);
            format!(
                "arguments and environment have {total} bytes, and this machine takes {most} (a quarter of `ulimit -s`)"
            )
        }
    };
    let text = format!("argument list too long: {text}; a file (--in) or --stdin holds any amount");
    program::failure(SpawnFailureKind::NotExecutable, text)
}

fn arguments(task: &StartTask) -> impl Iterator<Item = &OsStr> {
    task.argv.iter().skip(1).map(RawString::as_os_str)
}

fn command<'a>(
    path: &Path,
    task: &StartTask,
    arguments: impl Iterator<Item = &'a OsStr>,
    [stdin, stdout, stderr]: [OwnedFd; 3],
) -> Command {
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .envs(task.env.iter().map(|(key, value)| (key.as_os_str(), value.as_os_str())))
        .current_dir(task.cwd.as_os_str())
        .process_group(0)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr);
    command
}

/// Kernel process ids fit: they are positive `i32`s.
fn pid_of(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}
