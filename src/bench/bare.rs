//! What the bare machine does: a loop that spawns a command and waits for it,
//! and bare QUIC on loopback.
//!
//! Both block, so they run on a thread of their own, which takes the time
//! itself: that thread's start is no part of a figure. `std`'s spawning is
//! posix_spawn wherever the system has it.

use std::process::{Command, Stdio};

use super::{Bench, BenchError, seconds_between};
use crate::model::RawString;
use crate::model::spec::CommandLine;
use crate::node::clock::Clock;
use crate::transport::BareLink;

impl Bench<'_> {
    /// Seconds that `times` runs of `command` take in `loops` loops side by side.
    pub(super) async fn bare_spawns(&self, command: &CommandLine, loops: u64, times: u64) -> Result<f64, BenchError> {
        let (command, clock) = (command.clone(), self.clock);
        blocking(move || {
            let begun = clock.now();
            std::thread::scope(|scope| {
                let shares = (0..loops).map(|i| times / loops + u64::from(i < times % loops));
                let command = &command;
                let spawning: Vec<_> = shares.map(|share| scope.spawn(move || spawn_loop(command, share))).collect();
                spawning.into_iter().try_for_each(|one| one.join().map_err(|_| BenchError::ThreadGone)?)
            })?;
            Ok(seconds_between(begun, clock.now()))
        })
        .await
    }

    /// Opens the bare link.
    pub(super) async fn bare_link(&self) -> Result<Bare, BenchError> {
        Ok(Bare { link: Some(blocking(|| Ok(BareLink::open()?)).await?), clock: self.clock })
    }
}

/// The bare link of one bench.
pub(super) struct Bare {
    /// Away while a thread measures.
    link: Option<BareLink>,
    clock: Clock,
}

impl Bare {
    /// Seconds that a word takes there and back.
    pub(super) async fn round_trip(&mut self) -> Result<f64, BenchError> {
        self.measured(|link| Ok(link.round_trip()?)).await
    }

    /// Seconds that `bytes` bytes take over one stream.
    pub(super) async fn carry(&mut self, bytes: u64) -> Result<f64, BenchError> {
        self.measured(move |link| Ok(link.carry(bytes)?)).await
    }

    async fn measured(
        &mut self,
        work: impl FnOnce(&mut BareLink) -> Result<(), BenchError> + Send + 'static,
    ) -> Result<f64, BenchError> {
        let (mut link, clock) = (self.link.take().ok_or(BenchError::ThreadGone)?, self.clock);
        let (link, seconds) = blocking(move || {
            let begun = clock.now();
            work(&mut link)?;
            Ok((link, seconds_between(begun, clock.now())))
        })
        .await?;
        self.link = Some(link);
        Ok(seconds)
    }
}

/// What `work` finds on a thread where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(BenchError::ThreadGone))
}

fn spawn_loop(command: &CommandLine, times: u64) -> Result<(), BenchError> {
    let mut command = prepared(command);
    for _ in 0..times {
        let ended = command.spawn().and_then(|mut child| child.wait()).map_err(|source| {
            let program = command.get_program().to_string_lossy().into_owned();
            BenchError::Spawn { program, source }
        })?;
        if !ended.success() {
            return Err(BenchError::CommandFails(ended));
        }
    }
    Ok(())
}

/// The command as a worker would run it, without what a worker adds.
fn prepared(command: &CommandLine) -> Command {
    let mut prepared = match command {
        #[cfg(unix)]
        CommandLine::Shell(line) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(text(line));
            shell
        }
        #[cfg(not(unix))]
        CommandLine::Shell(line) => {
            let mut shell = Command::new("cmd");
            shell.arg("/C").arg(text(line));
            shell
        }
        CommandLine::Exec(argv) => {
            let mut words = argv.iter().map(text);
            let mut program = Command::new(words.next().unwrap_or_default());
            program.args(words);
            program
        }
    };
    prepared.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    prepared
}

#[cfg(unix)]
fn text(raw: &RawString) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(raw.as_bytes().to_vec())
}

#[cfg(not(unix))]
fn text(raw: &RawString) -> std::ffi::OsString {
    String::from_utf8_lossy(raw.as_bytes()).into_owned().into()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_or_is_not_there_gives_no_limit() {
        let exec = |word: &str| CommandLine::Exec(vec![word.into()]);
        assert!(spawn_loop(&exec("true"), 3).is_ok());
        assert!(spawn_loop(&CommandLine::Shell("exit 0".into()), 1).is_ok());
        assert!(matches!(spawn_loop(&exec("false"), 3), Err(BenchError::CommandFails(_))));
        assert!(matches!(spawn_loop(&exec("/no/such/program"), 1), Err(BenchError::Spawn { .. })));
    }
}
