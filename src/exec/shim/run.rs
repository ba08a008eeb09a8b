//! One task under a shim: from its first process to its last.
//!
//! ```text
//! Running ──main process ends──▶ Killing ──nobody left──▶ told as ended
//!    │                             ▲
//!    └─Terminate─▶ Terminating ────┘ grace over, or the worker gone
//! ```
//! Invariant: the loop ends only when waiting says that there is no child; a task with a lease does not outlive it,
//! whether or not its worker is there to end it.
//! Absent: how processes are found (`tree`) and started (`spawn`), and how much memory they have (`memory`).

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::link::Polled;
use super::memory::MemoryWatch;
use super::{Shim, spawn};
use crate::exec::sys::{self, ChildSignals, Waited};
use crate::exec::tree;
use crate::model::Millis;
use crate::model::obstacle::{Obstacle, Shortage};
use crate::wire::shim::{ShimFact, ShimOrder, ShimStatus, StartTask, TaskLease};

/// A task that ends within this is told about once instead of twice. Nobody
/// notices the delay, and most short tasks are shorter.
const NOTICE_AFTER: Duration = Duration::from_millis(10);
/// Between two looks at a lease: the machine may have slept meanwhile.
const LEASE_EVERY: Duration = Duration::from_secs(1);
/// Between two rounds of killing, at first: about what a killed process takes to be gone.
const KILL_ROUND_MIN: Duration = Duration::from_millis(1);
/// Between two rounds of killing, when somebody is stuck in the kernel.
const KILL_ROUND_MAX: Duration = Duration::from_millis(100);

impl Shim {
    /// Runs `task` until nothing of it is left, and tells the worker.
    ///
    /// # Errors
    /// When the kernel refuses to wait; nothing can be promised then, so the
    /// shim ends and its worker, which inherits the tree, kills it.
    pub(super) fn run(&mut self, task: &StartTask) -> io::Result<()> {
        let Some(stdio) = self.worker.take_descriptors() else {
            // There were too many open for them.
            let (obstacle, detail) = (Obstacle::Shortage(Shortage::Descriptors), "receive its descriptors".to_owned());
            self.worker.tell(&ShimFact::NotStarted { obstacle, detail });
            return Ok(());
        };
        if task.lease.is_some_and(|lease| lease.terminate_at_us <= sys::since_boot_us()) {
            self.worker.tell(&ShimFact::Ended { status: ShimStatus::LeaseOver, ran_us: 0, peak_memory_bytes: 0 });
            return Ok(());
        }
        let main = match self.children.unblocked(|| spawn::spawn(task, stdio))? {
            Ok(main) => main,
            Err(why) => {
                self.worker.tell(&why);
                return Ok(());
            }
        };
        let mut running = Running::new(main, task);
        // A task that was done before the signal was blocked again is not heard of.
        let mut left = running.reap()? && running.press()?;
        while left {
            left = self.attend(&mut running)?;
        }
        self.worker.tell(&running.ended());
        Ok(())
    }

    /// Waits for the next thing to happen and deals with it; false when nothing of the task is left.
    fn attend(&mut self, running: &mut Running) -> io::Result<bool> {
        let heard = self.listen(running.next_instant())?;
        if heard.worker {
            match self.worker.poll_orders()? {
                Polled::WorkerGone => running.abandon(),
                Polled::Orders(orders) => orders.iter().for_each(|order| running.obey(order)),
            }
        }
        if heard.child {
            self.children.clear();
        }
        if (heard.child || ChildSignals::POLL_AT_MOST_MS.is_some()) && !running.reap()? {
            return Ok(false);
        }
        running.look_at_memory();
        running.look_at_lease(sys::since_boot_us());
        if let Some(notice) = running.due_notice() {
            self.worker.tell(&notice);
        }
        running.press()
    }

    /// Waits for an order, for a child's end, or until `until`.
    fn listen(&self, until: Option<Instant>) -> io::Result<Heard> {
        let left = until.map(|until| until.saturating_duration_since(now()));
        let left_ms = left.map(|left| u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
        let timeout = match (left_ms, ChildSignals::POLL_AT_MOST_MS) {
            (None, None) => PollTimeout::NONE,
            (left, bound) => PollTimeout::try_from(left.unwrap_or(u64::MAX).min(bound.unwrap_or(u64::MAX)))
                .unwrap_or(PollTimeout::MAX),
        };
        let mut polled = [
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.worker.as_fd(), PollFlags::POLLIN),
        ];
        // Once the worker is gone its socket is ready for ever; killing must not become a busy loop over it.
        let polled = if self.worker.is_gone() { &mut polled[..1] } else { &mut polled[..] };
        match poll(polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Heard { worker: false, child: false }),
            Err(errno) => return Err(errno.into()),
        }
        let ready = |index: usize| polled.get(index).is_some_and(|polled| polled.any().unwrap_or(true));
        Ok(Heard { child: ready(0), worker: ready(1) })
    }
}

/// What one wait brought.
struct Heard {
    worker: bool,
    child: bool,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its main process runs, and nobody wants it to end.
    Running,
    /// It was asked to end, and has until then.
    Terminating(Instant),
    /// What is left of it is being killed: the next round is then, and the one after it that much later.
    Killing(Instant, Duration),
}

/// A task that has a process.
#[derive(Debug)]
struct Running {
    main: Pid,
    started: Instant,
    phase: Phase,
    /// Whether the worker knows, or need not any more.
    noticed: bool,
    /// How the main process ended, once it has.
    status: Option<ExitStatus>,
    /// The largest resident set of any process reaped, or what all held together when that was too much.
    peak_memory_bytes: u64,
    /// Until it is over its memory, or has none to keep to.
    memory: Option<MemoryWatch>,
    /// Whether it was ended because it was over its memory.
    over_memory: bool,
    /// For how long it may run, if that is bounded.
    lease: Option<TaskLease>,
    /// Whether it was ended because that was over.
    over_lease: bool,
}

impl Running {
    fn new(main: Pid, task: &StartTask) -> Self {
        let started = now();
        Self {
            main,
            started,
            phase: Phase::Running,
            noticed: false,
            status: None,
            peak_memory_bytes: 0,
            memory: MemoryWatch::of(task.memory_bytes, started),
            over_memory: false,
            lease: task.lease,
            over_lease: false,
        }
    }

    /// When to look again at the latest.
    fn next_instant(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Running => None,
            Phase::Terminating(until) => Some(until),
            Phase::Killing(next, _) => Some(next),
        };
        let notice = (!self.noticed).then(|| self.started + NOTICE_AFTER);
        let memory = self.memory.as_ref().filter(|_| self.is_watched()).map(MemoryWatch::next);
        // This clock does not say when a machine that slept has woken.
        let lease = self.lease.filter(|_| self.is_watched()).map(|_| now() + LEASE_EVERY);
        [phase, notice, memory, lease].into_iter().flatten().min()
    }

    /// Ends it when its lease is over.
    fn look_at_lease(&mut self, since_boot_us: u64) {
        let Some(lease) = self.lease.filter(|lease| self.is_watched() && lease.terminate_at_us <= since_boot_us) else {
            return;
        };
        // What was asked to end for another reason ends for that, and no later than its lease.
        self.over_lease |= self.phase == Phase::Running;
        let grace_us = lease.kill_at_us.saturating_sub(since_boot_us);
        match grace_us {
            0 => self.kill_now(),
            _ if self.phase == Phase::Running => {
                self.obey(&ShimOrder::Terminate { grace: Millis(grace_us.div_ceil(1000)) })
            }
            _ => {}
        }
    }

    /// Whether its memory still matters: what is being killed gives it back anyway.
    fn is_watched(&self) -> bool {
        !matches!(self.phase, Phase::Killing(..))
    }

    /// Kills it when it has more memory than it asked for.
    fn look_at_memory(&mut self) {
        if !self.is_watched() {
            return;
        }
        let Some(mut watch) = self.memory.take() else { return };
        match watch.excess(now(), || self.roots()) {
            Some(bytes) => {
                // What was asked to end, by somebody or by its time limit, ends for that reason.
                self.over_memory = self.phase == Phase::Running;
                self.peak_memory_bytes = self.peak_memory_bytes.max(bytes);
                self.kill_now();
            }
            None => self.memory = Some(watch),
        }
    }

    fn obey(&mut self, order: &ShimOrder) {
        let grace = match order {
            ShimOrder::Terminate { grace } => *grace,
            ShimOrder::Renew(lease) => {
                // One that is over is not given back: the task was told to end.
                if self.lease.is_some() && !self.over_lease {
                    self.lease = Some(*lease);
                }
                return;
            }
            // A worker starts nothing while something runs.
            ShimOrder::Start(_) => return,
        };
        let until = now() + grace.as_duration();
        self.phase = match self.phase {
            _ if grace.0 == 0 => return self.kill_now(),
            Phase::Running => {
                tree::terminate(self.roots());
                Phase::Terminating(until)
            }
            Phase::Terminating(earlier) => Phase::Terminating(earlier.min(until)),
            killing @ Phase::Killing(..) => killing,
        };
    }

    /// Nobody is left to be told anything.
    fn abandon(&mut self) {
        self.noticed = true;
        self.kill_now();
    }

    fn kill_now(&mut self) {
        if !matches!(self.phase, Phase::Killing(..)) {
            self.phase = Phase::Killing(self.started, KILL_ROUND_MIN);
        }
    }

    /// Reaps whoever has ended; false when there is no child left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match sys::reap(None)? {
                Waited::Reaped(reaped) => {
                    self.peak_memory_bytes = self.peak_memory_bytes.max(reaped.peak_memory_bytes);
                    if reaped.pid == self.main {
                        self.status = Some(reaped.status);
                    }
                    // Whoever dies may leave children to be seen only now: look again soon.
                    if let Phase::Killing(next, _) = self.phase {
                        self.phase = Phase::Killing(next.min(now() + KILL_ROUND_MIN), KILL_ROUND_MIN);
                    }
                }
                Waited::Childless => return Ok(false),
                Waited::Running => break,
            }
        }
        // Those that were asked to end have their grace, whether or not the main process used it up.
        if self.status.is_some() && self.phase == Phase::Running {
            self.kill_now();
        }
        Ok(true)
    }

    /// The news that it runs, when that is due.
    fn due_notice(&mut self) -> Option<ShimFact> {
        let running = now().saturating_duration_since(self.started);
        if self.noticed || running < NOTICE_AFTER {
            return None;
        }
        self.noticed = true;
        Some(ShimFact::Started { pid: self.main.as_raw(), running_us: micros(running) })
    }

    /// Kills, when it is time to; false when nothing is left.
    fn press(&mut self) -> io::Result<bool> {
        if let Phase::Terminating(until) = self.phase
            && now() >= until
        {
            self.kill_now();
        }
        if let Phase::Killing(next, pause) = self.phase
            && now() >= next
        {
            tree::kill(self.roots());
            self.phase = Phase::Killing(now() + pause, (pause * 2).min(KILL_ROUND_MAX));
            return self.reap();
        }
        Ok(true)
    }

    /// Where looking for its processes starts: this process's children, which its orphans become too.
    fn roots(&self) -> Vec<Pid> {
        let mut roots = sys::children_of(Pid::this());
        // Not seen where children cannot be listed; ours to signal as long as it is not reaped.
        if self.status.is_none() && !roots.contains(&self.main) {
            roots.push(self.main);
        }
        roots
    }

    fn ended(&self) -> ShimFact {
        let status = match self.status {
            _ if self.over_memory => ShimStatus::OutOfMemory,
            _ if self.over_lease => ShimStatus::LeaseOver,
            Some(status) => match status.code() {
                Some(code) => ShimStatus::Exited(code),
                None => ShimStatus::Signalled(status.signal().unwrap_or(0)),
            },
            // Its main process was never reaped here: somebody else's doing, and nothing to be said of it.
            None => ShimStatus::Signalled(0),
        };
        let ran_us = micros(now().saturating_duration_since(self.started));
        ShimFact::Ended { status, ran_us, peak_memory_bytes: self.peak_memory_bytes }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a shim has no runtime to ask; only its own timers use this")]
fn now() -> Instant {
    Instant::now()
}
