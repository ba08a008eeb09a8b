//! A worker that stops, or is killed, while its dispatcher is away: what its
//! tasks have done by then arrives all the same.

#![cfg(unix)]

mod harness;

use std::fs;
use std::path::PathBuf;

use harness::{Cluster, Node, soon};
use nix::sys::signal::Signal;

/// More than travels inside a result.
const LINES: usize = 50_000;

/// A cluster whose worker runs two tasks that wait for a sign; the first leaves a file and much output.
struct Scene {
    cluster: Cluster,
    dispatcher: Node,
    worker: Node,
}

impl Scene {
    fn new(grace: &str) -> Self {
        let cluster = Cluster::new();
        let dispatcher = cluster.dispatcher_with(&["--heartbeat-timeout", "7"]);
        let worker = cluster.worker_with(&["--name", "a", "--stop-grace", grace]);
        worker.says("Joined the dispatcher");
        let scene = Self { cluster, dispatcher, worker };
        let (go, done) = (scene.sign("go"), scene.sign("done"));
        let wait = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
        let first = format!("{wait}; seq {LINES}; echo made > out.txt; touch {}-1", done.display());
        let second = format!("{wait}; echo short; touch {}-2; exit 3", done.display());
        scene.cluster.ok(["submit", "--out", "out.txt", "--", "sh", "-c", &first]);
        scene.cluster.ok(["submit", "--retries", "0", "--", "sh", "-c", &second]);
        for job in ["1", "2"] {
            soon("it runs", || scene.cluster.job_state(job).as_deref() == Some("running"));
        }
        scene
    }

    fn sign(&self, name: &str) -> PathBuf {
        self.cluster.scratch().join(name)
    }

    /// The dispatcher goes, and the tasks end while it is away. Their results are on the worker's disk then.
    fn tasks_end_without_dispatcher(&mut self, signal: Option<Signal>) {
        self.dispatcher.kill();
        self.worker.says("Lost the dispatcher");
        if let Some(signal) = signal {
            self.worker.signal(signal);
            self.worker.says("Stopping: 2 running tasks");
        }
        fs::write(self.sign("go"), "").expect("a sign");
        soon("both have ended", || self.sign("done-1").exists() && self.sign("done-2").exists());
        soon("their results are in the outbox", || self.in_the_outbox() == 2);
    }

    fn in_the_outbox(&self) -> i64 {
        let folder = fs::read_dir(self.cluster.home().join("workers/a")).expect("the worker's folder");
        let outbox = folder.flatten().map(|entry| entry.path()).find(|path| {
            path.extension().is_some_and(|ending| ending == "sqlite") && path.to_string_lossy().contains("outbox-")
        });
        let outbox = rusqlite::Connection::open(outbox.expect("an outbox")).expect("opens");
        outbox.query_row("SELECT count(*) FROM kept", [], |row| row.get(0)).expect("counts")
    }

    fn dispatcher_returns(&mut self) {
        self.dispatcher = self.cluster.dispatcher_with(&["--heartbeat-timeout", "7"]);
    }

    /// Everything that the tasks have done is there, and each was run once.
    fn assert_whole(&self) {
        assert_eq!(self.cluster.run(["wait", "--timeout", "60s", "1"]).code, Some(0));
        assert_eq!(self.cluster.run(["wait", "--timeout", "60s", "2"]).code, Some(1), "it failed by itself");
        let numbers: Vec<String> = (1..=LINES).map(|n| n.to_string()).collect();
        let said = self.cluster.ok(["logs", "1"]);
        assert!(said.lines().eq(numbers.iter().map(String::as_str)), "{} bytes of output", said.len());
        assert_eq!(self.cluster.ok(["logs", "2"]), "short\n");
        let there = self.sign("there");
        self.cluster.ok(["get", "1", "-C", &there.display().to_string()]);
        assert_eq!(fs::read_to_string(there.join("out.txt")).expect("the file"), "made\n");
        for job in ["1.0", "2.0"] {
            let task = self.cluster.json(["show", job]);
            assert_eq!(task[0]["attempt"], 1, "{task}");
        }
        let left = || fs::read_dir(self.cluster.home().join("work")).expect("a folder").flatten();
        let logs = || left().filter(|entry| entry.file_name().to_string_lossy().starts_with("logs-"));
        soon("no output is left behind", || {
            logs().all(|folder| fs::read_dir(folder.path()).expect("a folder").count() == 0)
        });
    }
}

#[test]
fn a_stopping_worker_delivers_to_a_dispatcher_that_comes_back_within_its_grace() {
    let mut scene = Scene::new("120s");
    scene.tasks_end_without_dispatcher(Some(Signal::SIGTERM));
    assert!(scene.worker.is_running(), "it waits for the dispatcher");
    scene.dispatcher_returns();
    assert_eq!(scene.worker.ended(), Some(0));
    scene.assert_whole();
}

#[test]
fn the_next_start_of_a_worker_delivers_what_its_grace_was_too_short_for() {
    let mut scene = Scene::new("120s");
    scene.tasks_end_without_dispatcher(Some(Signal::SIGTERM));
    scene.worker.signal(Signal::SIGTERM);
    assert_eq!(scene.worker.ended(), Some(0), "a second signal ends the wait");
    scene.worker.says("2 results have not reached the dispatcher");
    scene.dispatcher_returns();
    scene.worker = scene.cluster.worker("a");
    scene.assert_whole();
}

#[test]
fn a_worker_that_was_killed_delivers_at_its_next_start_also_when_that_is_before_the_dispatchers() {
    let mut scene = Scene::new("1s");
    scene.tasks_end_without_dispatcher(None);
    scene.worker.kill();
    let next = scene.cluster.worker("a");
    scene.dispatcher_returns();
    scene.worker = next;
    scene.assert_whole();
}

#[test]
fn what_a_worker_that_never_comes_back_has_done_is_done_again_elsewhere() {
    let mut scene = Scene::new("0");
    scene.tasks_end_without_dispatcher(None);
    assert_eq!(scene.worker.stop(), Some(0));
    scene.dispatcher_returns();
    let other = scene.cluster.worker("b");
    other.says("Joined the dispatcher");
    assert_eq!(scene.cluster.run(["wait", "--timeout", "60s", "1"]).code, Some(0));
    let task = scene.cluster.json(["show", "1.0"]);
    assert_eq!((&task[0]["attempt"], &task[0]["worker"]), (&2.into(), &"b".into()), "{task}");
    // Late results of the first one change nothing.
    scene.worker = scene.cluster.worker("a");
    scene.worker.says("Joined the dispatcher");
    soon("they are dropped", || scene.in_the_outbox() == 0);
    assert_eq!(scene.cluster.json(["show", "1.0"])[0]["worker"], "b");
}
