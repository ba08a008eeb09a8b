//! One shim and the attempts it runs, one after the other.
//!
//! A quick task costs its worker one wakeup: the shim tells of its start and
//! its end at once, and only then are the pipes read, which the poller never
//! heard of. The one invariant: an attempt is reported as ended when its
//! process, all descendants, both pipes and its scratch directory are done
//! with. Absent: who decides that an attempt starts or is ended.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::allowance::Allowance;
use super::capture::Capture;
use super::command::{self, Filled};
use super::environment::unrepresentable;
use super::executor::{Attempt, Shared};
use super::placeholders::Unfit;
use super::shim_process::ShimProcess;
use super::stdin::{Feed, Stdin, pipe_from_task};
use super::workplace::Scratch;
use super::{Ending, ExecEvent, Unstarted, program};
use crate::model::obstacle::{Obstacle, Shortage};
use crate::model::outcome::{SpawnFailure, SpawnFailureKind};
use crate::model::spec::{OutputMode, Workdir};
use crate::model::{Millis, Outcome};
use crate::wire::shim::{ShimFact, ShimOrder, ShimStatus, StartTask, TaskLease};

/// How long a client that does not read may hold up the shutdown of its worker.
const CLOSING_PATIENCE: Duration = Duration::from_secs(1);

/// A shim and what it takes to run attempts in it.
pub(super) struct Slot {
    shared: Arc<Shared>,
    number: u64,
    shim: ShimProcess,
    /// Where attempts for this slot are handed in; goes to the idle list and back.
    door: mpsc::Sender<Box<Attempt>>,
    attempts: mpsc::Receiver<Box<Attempt>>,
    closing: watch::Receiver<bool>,
    shortages: watch::Receiver<u64>,
    /// News of the lease of what runs, when it has one.
    lease: Option<watch::Receiver<TaskLease>>,
    /// Where output is read to; one for all attempts.
    buffer: Option<Box<[u8]>>,
    /// Where the next attempt runs, when there is a directory left that none has touched.
    scratch: Option<Scratch>,
    /// The directory that was left, while an attempt runs in one that was prepared for it.
    spare: Option<Scratch>,
}

impl Slot {
    /// Starts a shim for a new slot.
    pub(super) fn start(
        shared: &Arc<Shared>,
        number: u64,
        door: mpsc::Sender<Box<Attempt>>,
        attempts: mpsc::Receiver<Box<Attempt>>,
    ) -> io::Result<Self> {
        let shim = ShimProcess::start(&shared.config)?;
        let (closing, shortages) = (shared.closing.subscribe(), shared.shortages.subscribe());
        Ok(Self {
            shared: Arc::clone(shared),
            number,
            shim,
            door,
            attempts,
            closing,
            shortages,
            lease: None,
            buffer: None,
            scratch: None,
            spare: None,
        })
    }
}

/// Runs what is handed in until the executor closes, finds itself short of something, or the shim dies.
pub(super) async fn serve(mut slot: Slot) {
    loop {
        let mut attempt = tokio::select! {
            biased;
            Some(attempt) = slot.attempts.recv() => attempt,
            () = raised(&mut slot.closing) => break,
            // The sender lives as long as the executor.
            Ok(()) = slot.shortages.changed() => break,
            // Without a task it has nothing to say: it was killed.
            _ = slot.shim.next_fact() => {
                slot.shim.destroy().await;
                break;
            }
        };
        let done = slot.run(&mut attempt).await;
        let alive = slot.shim.is_alive();
        if alive {
            // Before the news: whoever reacts to it finds a shim ready.
            slot.shared.put_idle(slot.number, slot.door.clone());
        }
        match done {
            Done::Over(started, ending) => slot.shared.end(&attempt, started, ending).await,
            Done::NotStarted(unstarted) => slot.shared.not_started(&attempt, unstarted).await,
        }
        if !alive {
            return;
        }
    }
    // From here on nobody hands anything in; what was, another slot runs.
    slot.shared.take_idle(slot.number);
    while let Ok(attempt) = slot.attempts.try_recv() {
        slot.shared.dispatch(attempt);
    }
    slot.shim.end().await;
}

/// What is to be said of an attempt that a slot is done with.
#[expect(clippy::large_enum_variant, reason = "made once an attempt and taken apart at once, never kept")]
enum Done {
    /// It is over; that it had started, if that was not said yet.
    Over(Option<ExecEvent>, Ending),
    /// It was not started.
    NotStarted(Unstarted),
}

/// Why an attempt is not given to a shim.
enum NoStart {
    /// It could be started nowhere.
    Fault(SpawnFailure),
    /// It could be started elsewhere, or later.
    Unstarted(Unstarted),
}

impl From<SpawnFailure> for NoStart {
    fn from(failure: SpawnFailure) -> Self {
        Self::Fault(failure)
    }
}

impl From<Unfit> for NoStart {
    fn from(unfit: Unfit) -> Self {
        Self::Fault(unfit.into())
    }
}

/// What one attempt needs beside the order that the shim process has ready.
struct Prepared {
    stdin: Option<OwnedFd>,
    /// The task's ends of its output pipes.
    outputs: [OwnedFd; 2],
    capture: Capture,
    feed: Option<Feed>,
}

/// What a shim said of its task.
enum Heard {
    /// It has a process, for so long already.
    Started(Duration),
    /// It is over.
    Over(Over),
}

/// The end of a task's processes.
struct Over {
    /// How they ended, or why there were none.
    outcome: Result<Outcome, Unstarted>,
    /// Whether there was, or may have been, any.
    had_process: bool,
    /// How long there was a process, when its start was not told yet and there was one.
    untold: Option<Duration>,
    peak_memory_bytes: u64,
}

impl Slot {
    /// Runs one attempt from its directory to its last byte. Returns what is still to be said of it.
    async fn run(&mut self, attempt: &mut Attempt) -> Done {
        let prepared = match self.prepare(attempt) {
            Ok(prepared) => prepared,
            Err(why) => {
                self.clear_directory().await;
                return match why {
                    NoStart::Fault(failure) => Done::Over(None, Ending::before_start(Outcome::SpawnFailed(failure))),
                    NoStart::Unstarted(unstarted) => Done::NotStarted(unstarted),
                };
            }
        };
        let kills_before = self.shared.oom.count();
        let Prepared { stdin, outputs: [stdout, stderr], mut capture, feed } = prepared;
        let descriptors = [stdin.as_ref().unwrap_or(&self.shared.null).as_fd(), stdout.as_fd(), stderr.as_fd()];
        let sent = self.shim.send(&descriptors).await;
        // Ours would keep the pipes open for ever.
        drop((stdin, stdout, stderr));
        let has_client = capture.has_client();
        let feeding = feed.map(|feed| tokio::spawn(feed.run()));
        let over = match sent {
            Ok(()) => self.attend(attempt, &mut capture, has_client || feeding.is_some()).await,
            // The shim has heard nothing.
            Err(error) if program::shortage(&error).is_some() => Over::never(Unstarted::of("order a shim", &error)),
            Err(_) => self.bury().await,
        };
        feeding.as_ref().map(JoinHandle::abort);
        let directory = self.scratch.take_if(|_| attempt.start.keep_directory);
        self.clear_directory().await;
        let kept = attempt.spool.finish().await;
        let (stdout_bytes, stderr_bytes, buffer) = capture.finish();
        self.buffer = Some(buffer);
        let Over { outcome, had_process, untold, peak_memory_bytes } = over;
        let outcome = match outcome {
            Ok(outcome) => self.with_cause(attempt, kills_before, outcome),
            Err(unstarted) => return Done::NotStarted(of_this_job(unstarted, attempt)),
        };
        let started = untold.map(|ago| ExecEvent::Started { id: attempt.id(), ago });
        let ending = Ending { outcome, had_process, peak_memory_bytes, stdout_bytes, stderr_bytes, kept, directory };
        Done::Over(started, ending)
    }

    /// The outcome of an attempt that was started at this count of kills, with the kernel's part in it: nobody here
    /// killed it, and it died of SIGKILL, or its shell says so of the command.
    fn with_cause(&self, attempt: &Attempt, kills_before: u64, outcome: Outcome) -> Outcome {
        const KILLED: i32 = nix::sys::signal::Signal::SIGKILL as i32;
        let killed = matches!(outcome, Outcome::Signalled(KILLED)) || outcome == Outcome::Exited(128 + KILLED);
        let by_kernel = killed && !attempt.control.is_asked() && self.shared.oom.explain(kills_before);
        if by_kernel { Outcome::OomKilled } else { outcome }
    }

    /// Has nothing of an attempt left in the directory that the next one gets.
    async fn clear_directory(&mut self) {
        let used = self.scratch.take();
        self.scratch = match (self.spare.take(), used) {
            (Some(spare), used) => {
                if let Some(used) = used {
                    remove(used).await;
                }
                Some(spare)
            }
            (None, Some(used)) => renewed(used, &self.shared).await,
            (None, None) => None,
        };
    }

    /// Makes the directory and the pipes, works out what to run, and has the order for it ready to be sent.
    fn prepare(&mut self, attempt: &mut Attempt) -> Result<Prepared, NoStart> {
        let worker_failed =
            |what: &'static str| move |error: io::Error| NoStart::Unstarted(Unstarted::of(what, &error));
        let attached = attempt.start.attached.take();
        if let Some(prepared) = attempt.start.directory.take() {
            self.spare = self.scratch.replace(prepared);
        }
        let start = &attempt.start;
        let spec = start.spec.spec();
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => self.shared.workplace.new_scratch().map_err(worker_failed("make its directory"))?,
        };
        let scratch_path = self.scratch.insert(scratch).path();
        let cwd = match &spec.workdir {
            Workdir::Fresh => scratch_path.as_os_str().into(),
            Workdir::Existing(directory) => directory.clone(),
        };
        let mut allowance = Allowance::whole();
        let Filled { argv, variables } = command::of_attempt(start, &mut allowance)?;
        let mut env = self.shared.base.of_attempt(start, scratch_path, &mut allowance)?;
        env.extend(variables);
        if let Some(reason) = unrepresentable(&argv, &env, cwd.as_os_str()) {
            return Err(program::failure(SpawnFailureKind::NotExecutable, reason).into());
        }
        let memory_bytes = spec.demand.memory_bytes;
        self.lease = self.shared.lease_of(spec);
        let lease = self.lease.as_mut().map(|lease| *lease.borrow_and_update());
        // Before anything is sent: a shim that was ordered half a task is lost, and so would be the attempt.
        let order = ShimOrder::Start(StartTask { argv, env, cwd, memory_bytes, lease });
        self.shim.load(&order).map_err(|_too_large| {
            let reason = "argument list too long: with its working directory the command takes more than 8 MiB";
            program::failure(SpawnFailureKind::NotExecutable, reason.to_owned())
        })?;
        let (output, input) = attached.map_or((None, None), |attached| (Some(attached.output), Some(attached.stdin)));
        let pipes = || {
            let (stdout, theirs_out) = pipe_from_task()?;
            let (stderr, theirs_err) = pipe_from_task()?;
            Ok(([stdout, stderr], [theirs_out, theirs_err], Stdin::prepare(&start.spec, input)?))
        };
        let (ours, outputs, Stdin { theirs: stdin, feed }) = pipes().map_err(worker_failed("make its pipes"))?;
        let buffer = self.buffer.take().unwrap_or_else(Capture::new_buffer);
        let output = output.filter(|_| spec.output == OutputMode::Attached);
        let capture = Capture::new(ours, Arc::clone(&attempt.spool), output, buffer);
        Ok(Prepared { stdin, outputs, capture, feed })
    }

    /// Sees an attempt through to the end of its processes and of its output.
    async fn attend(&mut self, attempt: &Attempt, capture: &mut Capture, flowing: bool) -> Over {
        if !flowing {
            match self.hear(attempt).await {
                Heard::Over(over) => {
                    if capture.read_rest().is_err() || !capture.is_complete() {
                        // Somebody who is not of its tree was handed its pipe, or the tree was killed just now.
                        let (_gone, is_gone) = watch::channel(true);
                        log_failure(capture.drain(is_gone).await);
                    }
                    return over;
                }
                Heard::Started(ago) => self.tell_started(attempt, ago).await,
            }
        }
        let (gone, is_gone) = watch::channel(false);
        let patience = patience(self.closing.clone(), is_gone.clone());
        let output = async {
            tokio::select! {
                drained = capture.drain(is_gone) => log_failure(drained),
                () = patience => {}
            }
        };
        let mut told = !flowing;
        let processes = async {
            loop {
                match self.hear(attempt).await {
                    Heard::Started(ago) => self.tell_started(attempt, ago).await,
                    Heard::Over(over) => {
                        gone.send_replace(true);
                        return Over { untold: over.untold.filter(|_| !told), ..over };
                    }
                }
                told = true;
            }
        };
        let ((), over) = tokio::join!(output, processes);
        over
    }

    /// The next that the shim says; passes on meanwhile that the attempt is to end.
    async fn hear(&mut self, attempt: &Attempt) -> Heard {
        let mut closed = false;
        loop {
            let order = tokio::select! {
                biased;
                fact = self.shim.next_fact() => match fact {
                    Ok(Some(fact)) => return heard(fact),
                    Ok(None) | Err(_) => break,
                },
                () = attempt.control.asked.notified() => ShimOrder::Terminate { grace: attempt.control.grace() },
                () = raised(&mut self.closing), if !closed => {
                    closed = true;
                    ShimOrder::Terminate { grace: Millis(0) }
                }
                lease = renewed_lease(&mut self.lease) => ShimOrder::Renew(lease),
            };
            if self.shim.order(&order).await.is_err() {
                break;
            }
        }
        Heard::Over(self.bury().await)
    }

    /// The shim is dead or deaf: ends all that it contained.
    async fn bury(&mut self) -> Over {
        if self.shim.destroy().await {
            let (obstacle, detail) = (Obstacle::Shortage(Shortage::Other), "start a shim: it could not get ready");
            return Over::never(Unstarted { obstacle, detail: detail.to_owned() });
        }
        Over { outcome: Ok(Outcome::Lost), had_process: true, untold: None, peak_memory_bytes: 0 }
    }

    /// Says that the attempt has had a process for `ago`.
    async fn tell_started(&self, attempt: &Attempt, ago: Duration) {
        self.shared.tell(ExecEvent::Started { id: attempt.id(), ago }).await;
    }
}

fn heard(fact: ShimFact) -> Heard {
    match fact {
        ShimFact::Started { running_us, .. } => Heard::Started(Duration::from_micros(running_us)),
        ShimFact::SpawnFailed(failure) => {
            let outcome = Ok(Outcome::SpawnFailed(failure));
            Heard::Over(Over { outcome, had_process: false, untold: None, peak_memory_bytes: 0 })
        }
        ShimFact::NotStarted { obstacle, detail } => Heard::Over(Over::never(Unstarted { obstacle, detail })),
        ShimFact::Ended { status, ran_us, peak_memory_bytes } => {
            let outcome = match status {
                ShimStatus::Exited(code) => Outcome::Exited(code),
                ShimStatus::Signalled(signal) => Outcome::Signalled(signal),
                ShimStatus::OutOfMemory => Outcome::OutOfMemory,
                ShimStatus::LeaseOver => Outcome::Lost,
            };
            // One whose lease was over before its start never had a process.
            let had_process = (status, ran_us) != (ShimStatus::LeaseOver, 0);
            let untold = had_process.then(|| Duration::from_micros(ran_us));
            Heard::Over(Over { outcome: Ok(outcome), had_process, untold, peak_memory_bytes })
        }
    }
}

impl Over {
    /// There was no process.
    fn never(unstarted: Unstarted) -> Self {
        Self { outcome: Err(unstarted), had_process: false, untold: None, peak_memory_bytes: 0 }
    }
}

/// What kept an attempt, as its job is concerned: that its fresh directory cannot be entered says nothing about the job.
fn of_this_job(unstarted: Unstarted, attempt: &Attempt) -> Unstarted {
    match (unstarted.obstacle, &attempt.start.spec.spec().workdir) {
        (Obstacle::Directory(_), Workdir::Fresh) => {
            Unstarted { obstacle: Obstacle::Shortage(Shortage::Other), ..unstarted }
        }
        _ => unstarted,
    }
}

/// Ends when a closing executor has waited long enough for a client after the task itself is gone.
async fn patience(mut closing: watch::Receiver<bool>, mut gone: watch::Receiver<bool>) {
    raised(&mut closing).await;
    raised(&mut gone).await;
    tokio::time::sleep(CLOSING_PATIENCE).await;
}

/// Waits for a lease to be renewed; for ever where there is none.
async fn renewed_lease(lease: &mut Option<watch::Receiver<TaskLease>>) -> TaskLease {
    if let Some(lease) = lease
        && lease.changed().await.is_ok()
    {
        return *lease.borrow_and_update();
    }
    std::future::pending().await
}

/// Waits until a flag is raised; for ever when nobody is left to raise it.
pub(super) async fn raised(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|raised| *raised).await.is_err() {
        std::future::pending().await
    }
}

fn log_failure(drained: io::Result<()>) {
    if let Err(error) = drained {
        tracing::warn!(%error, "failed to read a task's output");
    }
}

/// A directory for the next attempt: this one, when it was not touched, or a new one in its place.
async fn renewed(scratch: Scratch, shared: &Arc<Shared>) -> Option<Scratch> {
    if scratch.is_untouched() {
        return Some(scratch);
    }
    remove(scratch).await;
    let shared = Arc::clone(shared);
    // What is wrong, should this fail, the next attempt is told when it tries again.
    tokio::task::spawn_blocking(move || shared.workplace.new_scratch().ok()).await.ok().flatten()
}

/// Removes a directory that is used up.
async fn remove(scratch: Scratch) {
    let removing = tokio::task::spawn_blocking(move || {
        let path = scratch.path().to_owned();
        if let Err(error) = scratch.remove() {
            tracing::warn!(path = %path.display(), %error, "failed to remove a task's directory");
        }
    });
    let _ = removing.await;
}
