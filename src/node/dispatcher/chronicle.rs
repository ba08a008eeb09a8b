//! What the dispatcher tells people: the engine's notices as log lines.
//!
//! The one invariant: joins and losses are always told; the start and end of
//! tasks only while they are few, so that a busy queue does not bury them. The
//! texts that scripts may look for are fixed here. Absent: where lines go
//! (`telemetry`).

use std::fmt::{self, Write as _};

use tracing::{debug, info, warn};

use crate::engine::dispatcher::{Change, Grounds, LossCause, Notice};
use crate::model::limits::MAX_TITLE;
use crate::model::records::DiskSpace;
use crate::model::selector::Selector;
use crate::model::{Capacity, IntervalSet, Millis, NodeName, Outcome, TaskId, Timestamp};

/// Task lines told at `info` within one second; the rest of that second is told at `debug`.
const TASK_LINES: u32 = 4;

/// Ranges of job numbers that one line names.
const RANGES_TOLD: usize = 10;

/// Writes the notices down.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    second: Timestamp,
    lines: u32,
}

/// Whether the disk is full.
fn tell_of_disk(disk: DiskSpace) {
    match disk {
        DiskSpace::Enough => info!("The disk has room again: new work is taken"),
        DiskSpace::Reserve => {
            warn!("The disk is full: no new work is taken or started; what runs ends and is recorded")
        }
        DiskSpace::Nothing => warn!("The disk is full and its reserve is used up: results wait on their workers"),
    }
}

/// What a client had done to jobs.
fn tell_of_change(by: &NodeName, change: Change, jobs: &IntervalSet, affected: u64, reason: Option<&str>) {
    let ranges = jobs.ranges().take(RANGES_TOLD).map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let mut named: Vec<String> = ranges.collect();
    if jobs.ranges().nth(RANGES_TOLD).is_some() {
        named.push("…".to_owned());
    }
    let (jobs, named) = (if jobs.len() == 1 { "job" } else { "jobs" }, named.join(","));
    let why = reason.map(|reason| format!(": {}", one_line(&reason))).unwrap_or_default();
    match change {
        Change::Cancelled => info!("Cancelled {affected} tasks of {jobs} {named}, as {by} asked{why}"),
        Change::Retried => info!("Queued {affected} tasks of {jobs} {named} again, as {by} asked"),
        Change::Forgotten => info!("Forgot {jobs} {named}, as {by} asked"),
    }
}

impl Chronicle {
    /// Tells one notice.
    pub(super) fn tell(&mut self, now: Timestamp, notice: &Notice) {
        match notice {
            Notice::WorkerJoined { worker, node, capacity, software } => {
                let software = one_line(software);
                info!("Worker {worker} joined ({}, version {software}, node {})", offer(capacity), node.short());
            }
            Notice::WorkerReturned { worker } => info!("Worker {worker} is back"),
            Notice::WorkerLeft { worker } => info!("Worker {worker} left"),
            Notice::WorkerAway { worker } => info!("Worker {worker} has lost its link; waiting for it"),
            Notice::WorkerSuspect { worker, silent } => {
                warn!("Worker {worker} has been silent for {silent}; it gets no new work");
            }
            Notice::WorkerLost { worker, cause, attempts } => {
                warn!("Worker {worker} is lost ({}); tasks of it queued again: {attempts}", loss(*cause));
            }
            // Told where their addresses are known (`admission`, `joining`).
            Notice::NodeRefused { .. } | Notice::NodeWaiting { .. } => {}
            Notice::NodeEnrolled { .. }
            | Notice::NodeRevoked { .. }
            | Notice::WorkerDraining { .. }
            | Notice::ClientRenamed { .. }
            | Notice::TokenCreated { .. }
            | Notice::TokenRevoked { .. } => self.tell_of_trust(notice),
            Notice::DiskChanged { disk } => tell_of_disk(*disk),
            Notice::JobSubmitted { job, tasks } => debug!("Job {job} submitted ({tasks} tasks)"),
            Notice::TaskAssigned { task, attempt, worker } => {
                self.task_line(now, format_args!("Task {task} assigned to {worker} (attempt {})", attempt.0));
            }
            Notice::TaskDoubled { task, attempt, worker, silent } => self.task_line(
                now,
                format_args!("Task {task} started on {worker} as well (attempt {}): {silent} is silent", attempt.0),
            ),
            Notice::OutputsLost { task, job } => {
                warn!("An output of task {task} is lost, and needed: job {job} makes it again");
            }
            Notice::TaskOffloaded { task, from, to } => {
                self.task_line(now, format_args!("[P2P] Offloaded task {task} from {from} to {to}"));
            }
            Notice::TaskRetrying { task, attempt, outcome, wait } => self.task_line(
                now,
                format_args!("Task {task} {} (attempt {}); next try in at most {wait}", one_line(outcome), attempt.0),
            ),
            Notice::TaskEnded { task, worker, outcome, elapsed } => {
                self.ended(now, *task, worker.as_ref(), outcome, *elapsed);
            }
            Notice::JobEnded { job, state } => debug!("Job {job} {state}"),
            Notice::JobForgotten { job } => debug!("Job {job} forgotten"),
            Notice::JobsExpired { jobs } => {
                info!("Removed {} finished jobs whose --retention is over: {}", jobs.len(), Selector::jobs(jobs));
            }
            Notice::JobsChanged { by, change, jobs, affected, reason } => {
                tell_of_change(by, *change, jobs, *affected, reason.as_deref());
            }
            Notice::AttemptOver { .. } => {}
            Notice::AttemptReclaimed { id, worker } => {
                info!("Task {id} runs on {worker}, as the power loss had made the dispatcher forget");
            }
            Notice::PowerLossSettled { unheard } => {
                info!("The power loss is settled: tasks start again; {unheard} workers did not say what they run");
            }
            Notice::ResultDiscarded { id, worker } => {
                info!("A late result of task {id} from {worker} was discarded");
            }
            Notice::LoopStalled { gap } => warn!("The dispatcher stood still for {gap}; nobody is blamed for it"),
        }
    }

    /// Who belongs, and who no longer does.
    fn tell_of_trust(&self, notice: &Notice) {
        match notice {
            Notice::NodeEnrolled { node, name, role, grounds } => {
                info!("Enrolled {role} {name} ({}) {}", node.short(), by(*grounds));
            }
            Notice::NodeRevoked { node, name, role, by } => {
                warn!("Revoked {role} {name} ({}), as {by} asked", node.short());
            }
            Notice::WorkerDraining { worker, draining: true, by } => {
                info!("Worker {worker} drained by {by}: it gets no new work");
            }
            Notice::WorkerDraining { worker, draining: false, by } => {
                info!("Worker {worker} resumed by {by}: it gets work again");
            }
            Notice::ClientRenamed { node, from, to, by } => {
                info!("Client {from} ({}) renamed to {to} by {by}", node.short());
            }
            Notice::TokenCreated { id, role, name, uses } => {
                let name = name.as_ref().map(|name| format!(", called {name}")).unwrap_or_default();
                info!("Token {id} was made for {uses} of role {role}{name}");
            }
            Notice::TokenRevoked { id } => info!("Token {id} was revoked"),
            _ => {}
        }
    }

    fn ended(&mut self, now: Timestamp, task: TaskId, worker: Option<&NodeName>, outcome: &Outcome, elapsed: Millis) {
        match (worker, outcome) {
            (Some(worker), Outcome::Exited(0)) => {
                self.task_line(now, format_args!("Task {task} succeeded on {worker} in {elapsed}"));
            }
            (Some(worker), outcome) => {
                self.task_line(now, format_args!("Task {task} {} ({worker}, {elapsed})", one_line(outcome)))
            }
            (None, outcome) => self.task_line(now, format_args!("Task {task} {}", one_line(outcome))),
        }
    }

    fn task_line(&mut self, now: Timestamp, line: std::fmt::Arguments<'_>) {
        if now.since(self.second) >= Millis::from_secs(1) {
            (self.second, self.lines) = (now, 0);
        }
        self.lines += 1;
        if self.lines <= TASK_LINES { info!("{line}") } else { debug!("{line}") }
    }
}

/// What a peer had a say in, as a part of one line: it writes no lines of its own, nor endless ones.
fn one_line(text: &dyn fmt::Display) -> String {
    let mut line = Line(String::new());
    // It fails when there is enough of it.
    let _ = write!(line, "{text}");
    line.0
}

/// As much of a text as a log line has room for.
struct Line(String);

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if self.0.len() >= MAX_TITLE {
                self.0.push('…');
                return Err(fmt::Error);
            }
            self.0.push(if letter.is_control() { ' ' } else { letter });
        }
        Ok(())
    }
}

/// What a worker brings, for people: `4 slots, 8 CPUs, 15.6 GiB`.
fn offer(capacity: &Capacity) -> String {
    let cpus = f64::from(capacity.cpu.0) / 1000.0;
    let memory = capacity.memory_bytes as f64 / f64::from(1 << 30);
    let gpus = if capacity.gpus == 0 { String::new() } else { format!(", {} GPUs", capacity.gpus) };
    format!("{} slots, {cpus} CPUs, {memory:.1} GiB{gpus}", capacity.slots)
}

/// How a key came to be enrolled.
fn by(grounds: Grounds) -> String {
    match grounds {
        Grounds::Access => "by the access file".to_owned(),
        Grounds::Token(id) => format!("by token {id}"),
        Grounds::Approval => "by approval".to_owned(),
    }
}

fn loss(cause: LossCause) -> &'static str {
    match cause {
        LossCause::Silence => "nothing was heard of it",
        LossCause::NewInstance => "it was started anew",
        LossCause::Guard => "its process is gone",
        LossCause::Stopped => "it stopped",
        LossCause::NameTaken => "its name went to another key",
        LossCause::Revoked => "its key was revoked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MilliCpu;
    use crate::model::outcome::Cancellation;

    #[test]
    fn task_lines_are_counted_by_the_second() {
        let mut chronicle = Chronicle::default();
        let start = Timestamp::from_millis(10_000);
        for _ in 0..100 {
            chronicle.task_line(start, format_args!("x"));
        }
        assert_eq!(chronicle.lines, 100);
        chronicle.task_line(start + Millis(1000), format_args!("x"));
        assert_eq!(chronicle.lines, 1);
    }

    #[test]
    fn a_peer_cannot_write_lines_of_its_own_into_the_log() {
        let cancelled =
            Outcome::Cancelled(Cancellation::requested(Some("x\n2026-01-01 INFO Worker b joined\u{1b}[2J".into())));
        assert_eq!(one_line(&cancelled), "was cancelled: x 2026-01-01 INFO Worker b joined [2J");
        let long = one_line(&"x".repeat(100_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_TITLE + 1, true));
    }

    #[test]
    fn an_offer_reads_as_a_person_would_say_it() {
        let capacity =
            Capacity { slots: 4, cpu: MilliCpu(2500), memory_bytes: 3 << 29, gpus: 2, ..Capacity::default() };
        assert_eq!(offer(&capacity), "4 slots, 2.5 CPUs, 1.5 GiB, 2 GPUs");
    }
}
