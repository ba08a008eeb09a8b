//! The worker's handle on everything that runs: slots, live attempts, logs.
//!
//! Invariant: every attempt handed to [`Executor::run`] ends in exactly one
//! [`ExecEvent::Ended`] or [`ExecEvent::NotStarted`], whatever happens to its shim. Absent: how many
//! attempts run at once (the caller's decision) and one attempt's life (`slot`).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::environment::BaseEnvironment;
use super::oom::OomKills;
use super::slot::{self, Slot};
use super::spool::Spool;
use super::workplace::{self, Scratch, Workplace};
use super::{Ending, ExecError, ExecEvent, Kept, LogReader, Presence, StartAttempt, Unstarted, family};
use crate::model::obstacle::{Obstacle, Shortage};
use crate::model::{AttemptId, JobSpec, Millis};
use crate::wire::shim::TaskLease;

/// News that may wait for the worker's attention before attempts wait with theirs.
const EVENTS: usize = 1024;

/// What an executor is told at its start.
#[derive(Debug, Clone)]
pub struct ExecConfig {
    /// The `octaskly` binary that shims are started from; `/proc/self/exe` is the running one.
    pub shim_program: PathBuf,
    /// Where scratch directories and spools live; made (0700) when missing.
    /// Several executors may share it; what dead ones left is removed.
    pub work_root: PathBuf,
    /// Shims to start at once, while this process is small.
    pub ready_shims: usize,
    /// Tells the guard when the last shim is gone; `None` without a guard.
    pub presence: Option<Presence>,
    /// Where the kernel counts what it kills for want of memory: a `memory.events` or `memory.oom_control`. `None` is
    /// that of this process's cgroup.
    pub oom_counter: Option<PathBuf>,
}

/// Runs attempts. Cheap to clone; all clones are one executor.
///
/// It lives until [`Executor::shutdown`], or until its process dies: then the
/// shims end what runs, and the next executor or the guard cleans up.
#[derive(Debug, Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

/// What an executor and its slots have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ExecConfig,
    pub(super) workplace: Workplace,
    pub(super) base: BaseEnvironment,
    /// What the kernel kills.
    pub(super) oom: OomKills,
    /// `/dev/null`, opened once: the stdin of most tasks.
    pub(super) null: OwnedFd,
    /// Until when exclusive attempts may run; over before there was one.
    lease: watch::Sender<TaskLease>,
    /// Counts shortages: with each of them shims without a task end, which hold what a task may need.
    pub(super) shortages: watch::Sender<u64>,
    /// Raised by `shutdown`: kill, do not wait for clients, take nothing new.
    pub(super) closing: watch::Sender<bool>,
    events: mpsc::Sender<ExecEvent>,
    runtime: Handle,
    next_number: AtomicU64,
    registry: Mutex<Registry>,
}

/// What changes from attempt to attempt.
#[derive(Debug, Default)]
struct Registry {
    /// Shims without a task, the one used last on top: it is the warmest.
    idle: Vec<Idle>,
    /// Attempts that have not ended.
    live: BTreeMap<AttemptId, Arc<Control>>,
    /// Output of attempts that run, or whose result is not recorded yet.
    spools: BTreeMap<AttemptId, Arc<Spool>>,
    /// The tasks that serve the shims.
    slots: JoinSet<()>,
}

/// A shim that waits for a task.
#[derive(Debug)]
struct Idle {
    number: u64,
    door: mpsc::Sender<Box<Attempt>>,
}

/// An attempt on its way through a slot.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) start: StartAttempt,
    pub(super) control: Arc<Control>,
    pub(super) spool: Arc<Spool>,
}

impl Attempt {
    pub(super) fn id(&self) -> AttemptId {
        self.start.assignment.id()
    }
}

/// The wish that an attempt end.
#[derive(Debug)]
pub(super) struct Control {
    /// The shortest grace asked for; `u64::MAX` while nobody asks.
    grace_ms: AtomicU64,
    /// Told at every call.
    pub(super) asked: Notify,
}

impl Control {
    fn new() -> Arc<Self> {
        Arc::new(Self { grace_ms: AtomicU64::new(u64::MAX), asked: Notify::new() })
    }

    fn ask(&self, grace: Millis) {
        self.grace_ms.fetch_min(grace.0, Ordering::Relaxed);
        self.asked.notify_one();
    }

    /// Whether it is to end.
    pub(super) fn is_asked(&self) -> bool {
        self.grace_ms.load(Ordering::Relaxed) != u64::MAX
    }

    /// The grace asked for.
    pub(super) fn grace(&self) -> Millis {
        Millis(self.grace_ms.load(Ordering::Relaxed))
    }
}

impl Executor {
    /// Makes this process the reaper of orphans, cleans up after dead
    /// predecessors, and starts the first shims. Call it inside a runtime.
    ///
    /// The receiver is to be drained: attempts wait with their news while it is full.
    ///
    /// # Errors
    /// When the work directory cannot be used or no shim can be started.
    pub fn start(config: ExecConfig) -> Result<(Self, mpsc::Receiver<ExecEvent>), ExecError> {
        family::become_reaper().map_err(ExecError::Subreaper)?;
        let work_root = |source| ExecError::WorkRoot { path: config.work_root.clone(), source };
        let workplace = Workplace::open(&config.work_root).map_err(work_root)?;
        let null = File::options().read(true).open("/dev/null").map_err(work_root)?.into();
        let (events, receiver) = mpsc::channel(EVENTS);
        let shared = Arc::new(Shared {
            workplace,
            base: BaseEnvironment::of_this_process(),
            oom: OomKills::watch(config.oom_counter.as_deref()),
            null,
            lease: watch::Sender::new(TaskLease { terminate_at_us: 0, kill_at_us: 0 }),
            shortages: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            events,
            runtime: Handle::current(),
            next_number: AtomicU64::new(1),
            registry: Mutex::default(),
            config,
        });
        for _ in 0..shared.config.ready_shims {
            let program = shared.config.shim_program.clone();
            shared.open_slot(None).map_err(|(source, _)| ExecError::Shim { program, source })?;
        }
        let root = shared.config.work_root.clone();
        shared.runtime.spawn_blocking(move || {
            if let Err(error) = workplace::clean(&root) {
                tracing::warn!(path = %root.display(), %error, "failed to remove what an earlier worker left");
            }
        });
        Ok((Self { shared }, receiver))
    }

    /// Runs an attempt now, in a shim of its own; how many run at once is the caller's decision.
    ///
    /// An attempt of the same id that still runs is killed first; both report their end.
    pub fn run(&self, start: StartAttempt) {
        let id = start.assignment.id();
        let name = format!("{}-{}", id.task, self.shared.number());
        let attempt = Box::new(Attempt {
            control: Control::new(),
            spool: Arc::new(Spool::new(self.shared.workplace.spool(), &name)),
            start,
        });
        let mut registry = self.shared.registry();
        if let Some(namesake) = registry.live.insert(id, Arc::clone(&attempt.control)) {
            namesake.ask(Millis(0));
        }
        registry.spools.insert(id, Arc::clone(&attempt.spool));
        drop(registry);
        self.shared.dispatch(attempt);
    }

    /// An empty directory for an attempt that is to find something in it.
    ///
    /// # Errors
    /// When the file system makes none.
    pub fn new_directory(&self) -> std::io::Result<Scratch> {
        self.shared.workplace.new_scratch()
    }

    /// SIGTERM to the attempt's whole process tree, and SIGKILL to what is left of it after `grace`.
    ///
    /// Nothing when there is no such attempt. A second call may shorten the grace.
    pub fn terminate(&self, id: AttemptId, grace: Millis) {
        if let Some(control) = self.shared.registry().live.get(&id) {
            control.ask(grace);
        }
    }

    /// Exclusive attempts may run until then, those that run already among them. One that was not renewed in time is
    /// ended by its shim, whatever became of this process, and ends as [`Outcome::Lost`](crate::model::Outcome::Lost).
    pub fn renew(&self, lease: TaskLease) {
        self.shared.lease.send_replace(lease);
    }

    /// The stored output of a running or ended attempt; `None` when there is none here.
    ///
    /// With `follow`, the reader waits for more until the attempt ends.
    #[must_use]
    pub fn read_log(&self, id: AttemptId, follow: bool) -> Option<LogReader> {
        Some(LogReader::new(self.log_of(id)?, follow))
    }

    /// The stored output of an attempt.
    pub(super) fn log_of(&self, id: AttemptId) -> Option<Arc<Spool>> {
        self.shared.registry().spools.get(&id).cloned()
    }

    /// Has the stored output of an attempt that ended in an earlier process.
    pub(super) fn add_log(&self, id: AttemptId, spool: Spool) {
        self.shared.registry().spools.insert(id, Arc::new(spool));
    }

    /// Removes the stored output of an ended attempt. Readers that have it open may finish.
    pub fn forget_log(&self, id: AttemptId) {
        let forgotten = {
            let mut registry = self.shared.registry();
            if registry.live.contains_key(&id) { None } else { registry.spools.remove(&id) }
        };
        // Removing its files takes a moment and needs no lock.
        if let Some(spool) = forgotten {
            spool.forget();
        }
    }

    /// Kills whatever still runs, ends the shims and removes the work directory of this executor.
    pub async fn shutdown(&self) {
        self.shared.closing.send_replace(true);
        let mut slots = std::mem::take(&mut self.shared.registry().slots);
        while slots.join_next().await.is_some() {}
        let shared = Arc::clone(&self.shared);
        let removed = tokio::task::spawn_blocking(move || shared.workplace.remove()).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "failed to remove the work directory");
        }
    }
}

impl Shared {
    /// Until when an attempt of this job may run, and news of it; nothing where it has all the time.
    pub(super) fn lease_of(&self, spec: &JobSpec) -> Option<watch::Receiver<TaskLease>> {
        spec.exclusive.then(|| self.lease.subscribe())
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives `attempt` to an idle shim, or to a new one.
    pub(super) fn dispatch(self: &Arc<Self>, mut attempt: Box<Attempt>) {
        if *self.closing.borrow() {
            let (obstacle, detail) = (Obstacle::Shortage(Shortage::Other), "go on: the worker is stopping".to_owned());
            return self.refuse(attempt, Unstarted { obstacle, detail });
        }
        {
            let mut registry = self.registry();
            while let Some(idle) = registry.idle.pop() {
                match idle.door.try_send(attempt) {
                    Ok(()) => return,
                    Err(refused) => attempt = refused.into_inner(),
                }
            }
        }
        if let Err((error, Some(attempt))) = self.open_slot(Some(attempt)) {
            self.refuse(attempt, Unstarted::of("start a shim", &error));
        }
    }

    /// Reports that `attempt` cannot be run here now.
    fn refuse(self: &Arc<Self>, attempt: Box<Attempt>, unstarted: Unstarted) {
        let shared = Arc::clone(self);
        self.runtime.spawn(async move { shared.not_started(&attempt, unstarted).await });
    }

    /// Starts a shim and the task that serves it, with a first attempt or idle.
    fn open_slot(self: &Arc<Self>, first: Option<Box<Attempt>>) -> Result<(), (std::io::Error, Option<Box<Attempt>>)> {
        let _inside = self.runtime.enter();
        let number = self.number();
        // One attempt fits: whoever gives it took the slot off the idle list before.
        let (door, attempts) = mpsc::channel(1);
        let slot = match Slot::start(self, number, door.clone(), attempts) {
            Ok(slot) => slot,
            Err(error) => return Err((error, first)),
        };
        let mut registry = self.registry();
        match first {
            // A new channel has room.
            Some(attempt) => drop(door.try_send(attempt)),
            None => registry.idle.push(Idle { number, door }),
        }
        // Those that ended long ago need not be remembered.
        while registry.slots.try_join_next().is_some() {}
        registry.slots.spawn_on(slot::serve(slot), &self.runtime);
        Ok(())
    }

    /// Slot `number` has a shim without a task.
    pub(super) fn put_idle(&self, number: u64, door: mpsc::Sender<Box<Attempt>>) {
        self.registry().idle.push(Idle { number, door });
    }

    /// Slot `number` has no shim any more. What is in its channel after this is all that will be.
    pub(super) fn take_idle(&self, number: u64) {
        self.registry().idle.retain(|idle| idle.number != number);
    }

    /// Reports the end of `attempt`, and that it had started if that is not known yet; its log stays until forgotten.
    pub(super) async fn end(&self, attempt: &Attempt, started: Option<ExecEvent>, ending: Ending) {
        let id = attempt.id();
        self.let_go(attempt, ending.kept != Kept::Nothing);
        // Both at once: the worker is woken once.
        let earlier = match started {
            Some(event) => self.place().await.map(|place| (place, event)),
            None => None,
        };
        let place = self.place().await;
        if let Some((place, event)) = earlier {
            place.send(event);
        }
        if let Some(place) = place {
            place.send(ExecEvent::Ended { id, ending });
        }
    }

    /// Reports that `attempt` was not started, through no fault of its own.
    pub(super) async fn not_started(&self, attempt: &Attempt, unstarted: Unstarted) {
        self.let_go(attempt, false);
        if let Obstacle::Shortage(_) = unstarted.obstacle {
            self.shortages.send_modify(|count| *count += 1);
        }
        self.tell(ExecEvent::NotStarted { id: attempt.id(), unstarted }).await;
    }

    /// Takes an attempt out of those that run; what it wrote stays where that is wanted.
    fn let_go(&self, attempt: &Attempt, keep_log: bool) {
        let (id, mut registry) = (attempt.id(), self.registry());
        // A namesake that came later keeps its place.
        if registry.live.get(&id).is_some_and(|control| Arc::ptr_eq(control, &attempt.control)) {
            registry.live.remove(&id);
        }
        let own = registry.spools.get(&id).is_some_and(|spool| Arc::ptr_eq(spool, &attempt.spool));
        if own && !keep_log {
            registry.spools.remove(&id);
        }
    }

    /// Tells the worker.
    pub(super) async fn tell(&self, event: ExecEvent) {
        if let Some(place) = self.place().await {
            place.send(event);
        }
    }

    /// Room for one event, as soon as the worker has it; while closing, only if it has.
    async fn place(&self) -> Option<mpsc::Permit<'_, ExecEvent>> {
        if let Ok(place) = self.events.try_reserve() {
            return Some(place);
        }
        let mut closing = self.closing.subscribe();
        tokio::select! {
            place = self.events.reserve() => place.ok(),
            () = slot::raised(&mut closing) => None,
        }
    }
}
