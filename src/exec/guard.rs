//! `octaskly __guard`: what is left when a worker is killed, and the worker's
//! handle on it.
//!
//! ```text
//! worker ──socket: briefings, then silence──▶ guard
//! worker and shims ──presence pipe, held open──▶ guard
//! ```
//! The one invariant: the guard acts only after its worker is gone without
//! having said so, and after the last shim is, which is after the last process
//! of any task. Absent: what it says and to whom (`node` supplies that).

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Pid, setsid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::{ExecError, family, sys, workplace};
use crate::model::RawString;
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::shim::{GuardOrder, SHIM_FRAME};

/// Between a guard's death and its successor, so that one which cannot live does not make a busy loop.
const REPLACE_AFTER: Duration = Duration::from_millis(200);

/// A pipe that the worker and all its shims hold open: when the guard sees it
/// close, no process of any task is left. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Presence {
    ends: Arc<(OwnedFd, OwnedFd)>,
}

impl Presence {
    /// Makes the pipe. One a worker.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> Result<Self, ExecError> {
        let (reader, writer) = io::pipe().map_err(ExecError::Presence)?;
        Ok(Self { ends: Arc::new((reader.into(), writer.into())) })
    }

    /// What a shim holds.
    pub(super) fn for_shim(&self) -> io::Result<OwnedFd> {
        self.ends.1.try_clone()
    }

    /// What a guard watches.
    fn for_guard(&self) -> io::Result<OwnedFd> {
        self.ends.0.try_clone()
    }
}

/// What a guard is told at its start.
#[derive(Debug, Clone)]
pub struct GuardConfig {
    /// The `octaskly` binary; `/proc/self/exe` is the running one.
    pub program: PathBuf,
    /// The same work directory as the executor's: cleaned after the worker's death.
    pub work_root: PathBuf,
    /// Shared with the executor.
    pub presence: Presence,
}

/// The worker's handle on its guard; a guard that dies is replaced. Cheap to clone.
///
/// Dropping every handle without [`Guard::dismiss`] changes nothing: only the
/// end of the process is the worker's death.
#[derive(Debug, Clone)]
pub struct Guard {
    wish: watch::Sender<Wish>,
}

/// What the guard is to know or do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    /// Watch; nothing to say yet.
    Watch,
    /// Watch, and know this.
    Know(Arc<RawString>),
    /// End.
    Dismiss,
    /// It has ended.
    Dismissed,
}

impl Guard {
    /// Starts a guard. Call it inside a runtime, early, while this process is small.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start(config: GuardConfig) -> Result<Self, ExecError> {
        let wish = watch::Sender::new(Wish::Watch);
        let program = config.program.clone();
        let process = GuardProcess::start(&config).map_err(|source| ExecError::Guard { program, source })?;
        tokio::spawn(keep(config, process, wish.clone()));
        Ok(Self { wish })
    }

    /// Replaces what the guard is to know when the worker dies. Nothing is
    /// passed to the `on_death` of [`main`] before the first call.
    pub fn brief(&self, briefing: Vec<u8>) {
        self.wish.send_if_modified(|wish| {
            let news = Wish::Know(Arc::new(RawString(briefing)));
            let changes = !matches!(wish, Wish::Dismiss | Wish::Dismissed) && *wish != news;
            if changes {
                *wish = news;
            }
            changes
        });
    }

    /// The worker stops cleanly: the guard ends without doing anything.
    pub async fn dismiss(&self) {
        self.wish.send_if_modified(|wish| {
            let changes = *wish != Wish::Dismissed;
            if changes {
                *wish = Wish::Dismiss;
            }
            changes
        });
        // An error means that the keeper is gone with its runtime, and so is the guard's socket.
        let _ = self.wish.subscribe().wait_for(|wish| *wish == Wish::Dismissed).await;
    }
}

/// A guard's process as the worker sees it.
struct GuardProcess {
    pid: Pid,
    socket: UnixStream,
}

impl GuardProcess {
    fn start(config: &GuardConfig) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&config.program);
        command.arg0("octa-guard").arg("__guard").arg(&config.work_root);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::from(config.presence.for_guard()?));
        Ok(Self { pid: family::spawn(&mut command)?, socket: UnixStream::from_std(ours)? })
    }

    async fn order(&mut self, order: &GuardOrder) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::encode(order, &mut bytes, SHIM_FRAME).map_err(io::Error::other)?;
        self.socket.write_all(&bytes).await
    }

    /// Waits until it has ended. It says nothing, so whatever is read is its end.
    async fn ended(&mut self) {
        let mut nothing = [0; 1];
        let _ = self.socket.read(&mut nothing).await;
    }

    async fn bury(self) {
        drop(self.socket);
        let pid = self.pid;
        let _ = tokio::task::spawn_blocking(move || family::bury(pid)).await;
    }
}

/// Keeps a guard alive and informed until it is dismissed.
async fn keep(config: GuardConfig, first: GuardProcess, wishes: watch::Sender<Wish>) {
    let mut current = Some(first);
    let mut news = wishes.subscribe();
    loop {
        let Some(mut process) = current.take().or_else(|| GuardProcess::start(&config).ok()) else {
            tokio::time::sleep(REPLACE_AFTER).await;
            continue;
        };
        if inform(&mut process, &mut news).await {
            process.bury().await;
            wishes.send_replace(Wish::Dismissed);
            return;
        }
        process.bury().await;
        tracing::warn!("the guard process died; starting another");
        tokio::time::sleep(REPLACE_AFTER).await;
    }
}

/// Tells one guard what is wished until it dies (false) or is dismissed (true).
async fn inform(process: &mut GuardProcess, news: &mut watch::Receiver<Wish>) -> bool {
    loop {
        let order = match &*news.borrow_and_update() {
            Wish::Watch => None,
            Wish::Know(briefing) => Some(GuardOrder::Brief((**briefing).clone())),
            Wish::Dismiss | Wish::Dismissed => Some(GuardOrder::Dismiss),
        };
        if let Some(order) = order {
            if process.order(&order).await.is_err() {
                return order == GuardOrder::Dismiss;
            }
            if order == GuardOrder::Dismiss {
                return true;
            }
        }
        tokio::select! {
            // A sender is held by whoever keeps this guard: it does not close.
            _ = news.changed() => {}
            () = process.ended() => return false,
        }
    }
}

/// What the worker last told its guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardBriefing(pub Vec<u8>);

/// The whole life of a guard; fd 0 is its worker, fd 1 the presence pipe.
///
/// `on_death` runs when the worker died after it had briefed its guard, and
/// after the last process of its tasks is gone.
#[must_use]
pub fn main(on_death: impl FnOnce(GuardBriefing)) -> ExitCode {
    match watch_over(on_death) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to clean up after a worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch_over(on_death: impl FnOnce(GuardBriefing)) -> io::Result<()> {
    sys::shed_inheritance()?;
    sys::name_process(c"octa-guard")?;
    let _ = setsid();
    let Some(briefing) = listen(io::stdin().lock())? else { return Ok(()) };
    await_last_shim()?;
    if let Some(briefing) = briefing {
        on_death(briefing);
    }
    match std::env::args_os().nth(2) {
        Some(work_root) => workplace::clean(Path::new(&work_root)),
        None => Ok(()),
    }
}

/// Listens until the worker is gone: `None` when it said so, else what it last said to be told.
fn listen(mut worker: impl io::Read) -> io::Result<Option<Option<GuardBriefing>>> {
    let mut briefing = None;
    loop {
        let mut header = [0; HEADER_BYTES];
        // However the end looks: a worker killed in the middle of a sentence is dead all the same.
        if worker.read_exact(&mut header).is_err() {
            return Ok(Some(briefing));
        }
        let length = frame::body_length(header, SHIM_FRAME).map_err(io::Error::other)?;
        let mut body = vec![0; length];
        if worker.read_exact(&mut body).is_err() {
            return Ok(Some(briefing));
        }
        match frame::decode(&body).map_err(io::Error::other)? {
            GuardOrder::Brief(news) => briefing = Some(GuardBriefing(news.0)),
            GuardOrder::Dismiss => return Ok(None),
        }
    }
}

/// Waits until nobody holds the presence pipe open any more; nobody ever writes to it.
fn await_last_shim() -> io::Result<()> {
    let presence = io::stdout().as_fd().try_clone_to_owned()?;
    let mut nothing = Vec::new();
    std::fs::File::from(presence).read_to_end(&mut nothing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(orders: &[GuardOrder], cut: usize) -> Option<Option<GuardBriefing>> {
        let mut bytes = Vec::new();
        for order in orders {
            frame::encode(order, &mut bytes, SHIM_FRAME).expect("small");
        }
        bytes.truncate(bytes.len() - cut);
        listen(&bytes[..]).expect("well formed")
    }

    #[test]
    fn a_guard_acts_on_the_last_whole_briefing_and_not_after_a_dismissal() {
        let brief = |text: &str| GuardOrder::Brief(text.into());
        assert_eq!(said(&[], 0), Some(None));
        assert_eq!(said(&[brief("one"), brief("two")], 0), Some(Some(GuardBriefing(b"two".to_vec()))));
        assert_eq!(said(&[brief("one"), brief("two")], 1), Some(Some(GuardBriefing(b"one".to_vec()))));
        assert_eq!(said(&[brief("one"), GuardOrder::Dismiss], 0), None);
    }
}
