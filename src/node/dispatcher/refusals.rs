//! What the log says of those who were not let in: one line each, who and why.
//!
//! The one invariant: strangers cannot fill a disk. At most [`LINES`] of these
//! lines are written within a second, the rest are counted and told in one; and
//! a node that comes back by itself every few seconds is told once a minute.
//! Absent: who is refused (the engine's, and `admission`'s).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::model::handshake::{Hello, Intent, Refusal, RefusalCode};
use crate::model::{NodeId, NodeName};

/// Lines within one second.
const LINES: u32 = 10;
/// A refusal that a program tries to wait out is told again after this long.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// Such refusals that are remembered; beyond it the oldest is told anew.
const REMEMBERED: usize = 256;

/// Writes refusals down. Clones share their bounds.
#[derive(Clone)]
pub(super) struct Refusals {
    /// What those were that are only counted.
    of_what: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// When the current second began, and what was written and left out in it.
    second: Option<Instant>,
    lines: u32,
    left_out: u64,
    /// When a node that keeps asking was told about.
    told: BTreeMap<(NodeId, u8), Instant>,
}

/// What is to be done about one more line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    /// Nothing; the flag says that it is the first one left out, so that somebody has to tell how many there were.
    LeaveOut {
        first: bool,
    },
    /// It was told not long ago.
    Known,
}

impl Refusals {
    /// `of_what` completes "17 more …".
    pub(super) fn new(of_what: &'static str) -> Self {
        Self { of_what, state: Arc::default() }
    }

    /// Tells that a connection was turned away after its hello.
    pub(super) fn tell(&self, node: NodeId, from: SocketAddr, hello: &Hello, refusal: &Refusal) {
        let again = refusal.code.is_temporary().then_some((node, code_number(refusal.code)));
        // Whoever reads this log may be the only one who knows of both machines.
        let copied = matches!(refusal.code, RefusalCode::KeyInUse | RefusalCode::KeyAwaited);
        let hint = refusal.hint.as_ref().filter(|_| copied).map(|hint| format!("; {hint}")).unwrap_or_default();
        self.write(again, format_args!("Refused {} ({from}): {}{hint}", who(node, &hello.intent), refusal.text));
    }

    /// Tells something else about somebody who does not belong.
    pub(super) fn say(&self, line: fmt::Arguments<'_>) {
        self.write(None, line);
    }

    fn write(&self, again: Option<(NodeId, u8)>, line: fmt::Arguments<'_>) {
        let verdict = self.with(|state| state.judge(Instant::now(), again));
        match verdict {
            Verdict::Write => warn!("{line}"),
            Verdict::LeaveOut { first: true } => drop(tokio::spawn(self.clone().sum_up())),
            Verdict::LeaveOut { first: false } | Verdict::Known => {}
        }
    }

    /// Tells at the end of the second how many lines it lacks.
    async fn sum_up(self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let left_out = self.with(|state| std::mem::take(&mut state.left_out));
        if left_out > 0 {
            warn!("{left_out} more {} within a second", self.of_what);
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn judge(&mut self, now: Instant, again: Option<(NodeId, u8)>) -> Verdict {
        if let Some(key) = again {
            if self.told.get(&key).is_some_and(|at| now.duration_since(*at) < TOLD_AGAIN) {
                return Verdict::Known;
            }
            if self.told.len() >= REMEMBERED
                && let Some(oldest) = self.told.iter().min_by_key(|(_, at)| **at).map(|(key, _)| *key)
            {
                self.told.remove(&oldest);
            }
            self.told.insert(key, now);
        }
        if self.second.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            (self.second, self.lines) = (Some(now), 0);
        }
        if self.lines < LINES {
            self.lines += 1;
            return Verdict::Write;
        }
        self.left_out += 1;
        Verdict::LeaveOut { first: self.left_out == 1 }
    }
}

/// `worker worker-b (id k5xq…)`: the name is what it asked for.
fn who(node: NodeId, intent: &Intent) -> String {
    let named = |what: &str, name: &Option<NodeName>| match name {
        Some(name) => format!("{what} {name}, id {}", node.short()),
        None => format!("{what} without a name, id {}", node.short()),
    };
    match intent {
        Intent::Worker(profile) => named("a worker", &profile.name),
        Intent::Join { name } => named("a worker that asks to join", name),
        Intent::Client => format!("a client, id {}", node.short()),
        Intent::Guard => format!("a worker's guard, id {}", node.short()),
        Intent::Peer => format!("a worker that looks for another one, id {}", node.short()),
    }
}

/// Tells apart reasons to come back; the text may carry numbers that change.
fn code_number(code: RefusalCode) -> u8 {
    match code {
        RefusalCode::TooManyWorkers => 1,
        RefusalCode::Stopping => 2,
        RefusalCode::NameTaken => 3,
        RefusalCode::TooManyJoining => 4,
        RefusalCode::TooManyLinks => 5,
        RefusalCode::KeyInUse => 6,
        RefusalCode::KeyAwaited => 7,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_is_counted_beyond_its_first_lines_and_the_next_second_is_told_again() {
        let mut state = State::default();
        let start = Instant::now();
        let flood: Vec<Verdict> = (0..1000).map(|_| state.judge(start, None)).collect();
        assert_eq!(flood.iter().filter(|it| **it == Verdict::Write).count(), LINES as usize);
        assert_eq!(flood.iter().filter(|it| **it == Verdict::LeaveOut { first: true }).count(), 1, "one sums up");
        assert_eq!(state.left_out, 1000 - u64::from(LINES));
        assert_eq!(state.judge(start + Duration::from_secs(1), None), Verdict::Write);
    }

    #[tokio::test]
    async fn who_keeps_asking_is_told_once_a_minute_and_remembering_it_takes_bounded_memory() {
        let mut state = State::default();
        let start = Instant::now();
        let key = |n: u64| Some((NodeId(*blake3::hash(&n.to_be_bytes()).as_bytes()), 1));
        assert_eq!(state.judge(start, key(0)), Verdict::Write);
        assert_eq!(state.judge(start + Duration::from_secs(3), key(0)), Verdict::Known);
        assert_eq!(state.judge(start + TOLD_AGAIN, key(0)), Verdict::Write);
        for n in 0..10_000 {
            state.judge(start + Duration::from_secs(n), key(n));
        }
        assert!(state.told.len() <= REMEMBERED);
    }
}
