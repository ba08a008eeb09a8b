//! What is asked of the cluster while everything goes wrong, and what became of it.
//!
//! Invariant: only what was acknowledged is held against the cluster. A submission that was refused, or that nobody
//! answered, is made again under the same key.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dice::Dice;
use crate::harness::lan::Host;
use crate::harness::{MARKER, await_nothing_left, marker};
use crate::journal::{Journal, Lived};

/// Within that long another job has ended, or none ever will: longer than any lease, grace and backoff together.
const PATIENCE: Duration = Duration::from_secs(400);

/// What a job's tasks promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    Exclusive,
    NoRetry,
    Files,
}

/// Everything that was asked.
pub(crate) struct Work<'a> {
    host: &'a Host,
    journal: Journal,
    marker: String,
    /// Accepted jobs, by number.
    jobs: BTreeMap<u64, Kind>,
    /// What was not acknowledged yet, with its key.
    owed: Vec<(Kind, Vec<String>)>,
    keys: u64,
    refused: u64,
}

impl<'a> Work<'a> {
    /// Nothing yet.
    pub(crate) fn new(host: &'a Host) -> Self {
        fs::write(host.scratch().join("input"), vec![b'x'; 300_000]).expect("a file");
        let journal = Journal::new(host.scratch());
        Self { host, journal, marker: marker(), jobs: BTreeMap::new(), owed: Vec::new(), keys: 0, refused: 0 }
    }

    /// Submits one more array, and tries again what is owed.
    pub(crate) fn submit(&mut self, dice: &mut Dice) {
        let kind = [Kind::Plain, Kind::Plain, Kind::Exclusive, Kind::NoRetry, Kind::Files][dice.index(5)];
        // About half of what the workers could do undisturbed.
        let seconds = [0.1, 0.3, 1.0, 3.0][dice.index(4)];
        self.keys += 1;
        let (copy, options): (&str, &[&str]) = match kind {
            Kind::Plain => ("", &["--retries", "50"]),
            Kind::Exclusive => ("", &["--retries", "50", "--exclusive"]),
            Kind::NoRetry => ("", &["--no-retry"]),
            Kind::Files => ("cat input >output;", &["--retries", "50", "--in", "input", "--out", "output"]),
        };
        let (key, mark) = (format!("chaos-{}", self.keys), format!("{MARKER}={}", self.marker));
        let tasks = format!("1-{}", dice.between(1, 12));
        let fixed = ["submit", "-q", "--idempotency-key", &key, "--env", &mark, "--array", &tasks];
        let script = self.journal.script(seconds, copy);
        let command = ["--", "sh", "-c", &script];
        let words = fixed.iter().chain(options).chain(&command);
        self.owed.push((kind, words.map(|word| (*word).to_owned()).collect()));
        self.settle();
    }

    /// Submits what is owed, as far as that is taken.
    fn settle(&mut self) {
        while let Some((kind, words)) = self.owed.pop() {
            let ran = self.host.run(&words);
            match ran.stdout_text().trim().parse() {
                Ok(job) if ran.code == Some(0) => _ = self.jobs.insert(job, kind),
                _ => {
                    // The rest would fare no better now.
                    self.refused += 1;
                    return self.owed.push((kind, words));
                }
            }
        }
    }

    /// Waits until all of it has ended.
    pub(crate) fn await_the_end(&mut self) -> Verdict {
        let until = Instant::now() + PATIENCE;
        while !self.owed.is_empty() {
            assert!(Instant::now() < until, "what was refused is refused still: {:?}", self.owed);
            self.settle();
            std::thread::sleep(Duration::from_millis(100));
        }
        let open = |host: &Host| -> Vec<String> {
            let jobs = host.json(["list", "--state", "waiting,ready,running", "--limit", "1000"]);
            jobs.as_array().into_iter().flatten().map(|job| job.to_string()).collect()
        };
        // However much is left to do: what matters is that it goes on.
        let (mut until, mut left) = (Instant::now() + PATIENCE, usize::MAX);
        loop {
            let open = open(self.host);
            if open.is_empty() {
                break;
            }
            if open.len() < left {
                (until, left) = (Instant::now() + PATIENCE, open.len());
            }
            let ran = self.host.run(["workers"]).stdout_text();
            assert!(Instant::now() < until, "not done: {open:?}\n{ran}");
            std::thread::sleep(Duration::from_millis(500));
        }
        Verdict::of(self)
    }

    /// No process of any task is left anywhere.
    pub(crate) fn nothing_is_left(&self) {
        await_nothing_left(&self.marker);
    }

    fn tasks(&self, job: u64) -> Vec<Value> {
        let tasks = self.host.json(["show", &job.to_string(), "--tasks"]);
        tasks.as_array().cloned().unwrap_or_default()
    }
}

/// What became of one kind of task.
#[derive(Debug, Default)]
struct Tally {
    tasks: u64,
    succeeded: u64,
    unknown: u64,
    starts: u64,
}

/// What became of everything.
pub(crate) struct Verdict {
    by_kind: BTreeMap<Kind, Tally>,
    refused: u64,
    /// Acknowledged tasks that did not come to the end they had to.
    losses: Vec<String>,
    /// Tasks that were started more often than they may be.
    repeats: Vec<String>,
    /// Exclusive tasks two of whose attempts ran at once.
    overlaps: Vec<String>,
}

impl Verdict {
    fn of(work: &Work<'_>) -> Self {
        let lived = work.journal.read();
        let (mut losses, mut repeats, mut overlaps) = (Vec::new(), Vec::new(), Vec::new());
        let mut by_kind: BTreeMap<Kind, Tally> = BTreeMap::new();
        for (job, kind) in &work.jobs {
            let tasks = work.tasks(*job);
            if tasks.is_empty() {
                losses.push(format!("job {job} was acknowledged and is gone"));
            }
            for task in tasks {
                let id = task["id"].as_str().expect("an id").to_owned();
                let Lived { starts, ends, overlaps: twice } = lived.get(&id).copied().unwrap_or_default();
                let tally = by_kind.entry(*kind).or_default();
                (tally.tasks, tally.starts) = (tally.tasks + 1, tally.starts + starts);
                let succeeded = task["state"] == "succeeded";
                let unknown = *kind == Kind::NoRetry && task["cause"] == "lost";
                tally.succeeded += u64::from(succeeded);
                tally.unknown += u64::from(unknown);
                if (succeeded && ends == 0) || !(succeeded || unknown) {
                    losses.push(format!("{kind:?} {id}: {starts} starts, {ends} ends, {task}"));
                }
                if *kind == Kind::NoRetry && starts > 1 {
                    repeats.push(format!("{id}: {starts} starts, {task}"));
                }
                if *kind == Kind::Exclusive && twice > 0 {
                    overlaps.push(format!("{id}: {twice} overlaps, {task}"));
                }
            }
        }
        Self { by_kind, refused: work.refused, losses, repeats, overlaps }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{:<12}{:>8}{:>12}{:>10}{:>8}\n", "tasks", "all", "succeeded", "unknown", "starts");
        for (kind, tally) in &self.by_kind {
            let Tally { tasks, succeeded, unknown, starts } = tally;
            text += &format!("{:<12}{tasks:>8}{succeeded:>12}{unknown:>10}{starts:>8}\n", format!("{kind:?}"));
        }
        text += &format!("submissions refused or unanswered, and made again: {}\n", self.refused);
        text += &format!("losses: {}\n", self.losses.len());
        text += &format!("forbidden repeats: {}\n", self.repeats.len());
        text + &format!("exclusive overlaps: {}\n", self.overlaps.len())
    }

    /// Fails unless all is well.
    pub(crate) fn judge(&self) {
        assert!(self.by_kind.values().any(|tally| tally.succeeded > 0), "nothing was done at all");
        assert!(self.losses.is_empty(), "lost: {:#?}", self.losses);
        assert!(self.repeats.is_empty(), "repeated: {:#?}", self.repeats);
        assert!(self.overlaps.is_empty(), "overlapped: {:#?}", self.overlaps);
    }
}
