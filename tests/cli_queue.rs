//! The verbs of the queue with the real binary: one dispatcher, one worker and
//! whatever a user types beside them.

#![cfg(unix)]

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A dispatcher and a worker in a home of their own; both are killed at the end.
struct Cluster {
    home: tempfile::TempDir,
    nodes: Vec<Child>,
}

impl Cluster {
    /// Starts both and waits until the worker has joined.
    fn start() -> Self {
        let mut cluster = Self { home: tempfile::tempdir().expect("a folder"), nodes: Vec::new() };
        cluster.node(&["dispatcher", "--bind", "127.0.0.1", "--port", "0", "--task-retries", "0"]);
        cluster.eventually("the dispatcher answers", || cluster.ask(&["status"]).code == Some(0));
        cluster.node(&["worker", "--name", "worker-01", "--max-jobs", "2", "--label", "zone=lab"]);
        cluster.eventually("the worker has joined", || !cluster.json(&["workers", "--json"]).is_empty());
        cluster
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_octaskly"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OCTASKLY_")) {
            command.env_remove(name);
        }
        command.env("OCTASKLY_HOME", self.home.path()).args(line).stdin(Stdio::null());
        command
    }

    fn node(&mut self, line: &[&str]) {
        let mut command = self.command(line);
        self.nodes.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a node starts"));
    }

    /// What the binary answers to `line`.
    fn ask(&self, line: &[&str]) -> Answer {
        let Output { status, stdout, stderr } = self.command(line).output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Answer { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The same, which has to succeed without a word on stderr but how long a job may run.
    fn told(&self, line: &[&str]) -> String {
        let answer = self.ask(line);
        let others: Vec<_> = answer.stderr.lines().filter(|line| !line.contains("--task-timeout")).collect();
        assert_eq!((answer.code, others), (Some(0), vec![]), "{line:?}");
        answer.stdout
    }

    fn json(&self, line: &[&str]) -> Vec<Value> {
        match serde_json::from_str(&self.told(line)).expect("JSON") {
            Value::Array(objects) => objects,
            other => panic!("{line:?} is no array: {other}"),
        }
    }

    fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..600 {
            if condition() {
                return;
            }
            assert!(Command::new("sleep").arg("0.05").status().expect("sleep").success());
        }
        panic!("not in half a minute: {what}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().rev() {
            let _ = Command::new("kill").args(["-TERM", &node.id().to_string()]).status();
            let _ = node.wait();
        }
    }
}

/// What came of a command.
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn keys(object: &Value) -> Vec<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn a_job_can_be_submitted_waited_for_shown_read_and_forgotten() {
    let cluster = Cluster::start();
    assert_eq!(cluster.told(&["submit", "echo out; echo err >&2"]), "Submitted job 1\n");
    assert_eq!(cluster.told(&["submit", "-q", "--array", "1-3", "--", "echo", "{}"]), "2\n");
    assert_eq!(cluster.told(&["wait", "1", "2"]), "");
    assert_eq!(cluster.told(&["list"]).lines().count(), 1, "only the heading: nothing is left to do");
    assert_eq!(cluster.told(&["ps", "--all"]).lines().count(), 3);

    let logs = cluster.ask(&["logs", "1"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(cluster.told(&["logs", "1", "--stdout"]), "out\n");
    assert_eq!(cluster.told(&["logs", "2", "--tag"]), "2.1\t1\n2.2\t2\n2.3\t3\n");
    assert_eq!(cluster.told(&["logs", "2.3", "--tag"]), "2.3\t3\n");
    assert_eq!(cluster.told(&["logs", "2", "-f", "--tail", "1"]).lines().count(), 3);

    assert!(cluster.told(&["show", "1"]).contains("echo out"));
    assert!(cluster.told(&["show", "2.2"]).starts_with("task 2.2\n  state       succeeded\n"));
    let tasks = cluster.json(&["show", "2", "--tasks", "--json"]);
    assert_eq!(tasks.iter().map(|task| task["id"].as_str().expect("an id")).collect::<Vec<_>>(), ["2.1", "2.2", "2.3"]);
    assert!(tasks.iter().all(|task| task["exit_code"] == 0 && task["worker"] == "worker-01"));
    assert_eq!(cluster.told(&["show", "2", "--tasks", "--json=lines"]).lines().count(), 3);

    assert_eq!(cluster.told(&["forget", "1-2"]), "forgot 2 jobs\n");
    assert_eq!(cluster.json(&["list", "--all", "--json"]), Vec::<Value>::new());
    let gone = cluster.ask(&["show", "1"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (Some(1), ""));
    assert!(gone.stderr.starts_with("error: there is no job 1 any more: root forgot it\n"), "{}", gone.stderr);
}

#[test]
fn how_jobs_ended_is_in_the_exit_status_and_can_be_mended() {
    let cluster = Cluster::start();
    let failed = cluster.ask(&["submit", "--wait", "-q", "--", "sh", "-c", "exit 4"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), "1\n"));
    assert_eq!(failed.stderr, "error: job 1 failed: the task failed with exit code 4\n");
    assert_eq!(cluster.ask(&["wait", "1"]).code, Some(1));
    assert_eq!(cluster.ask(&["wait", "1.0"]).code, Some(1));
    let task = &cluster.json(&["show", "1.0", "--json"])[0];
    assert_eq!((&task["state"], &task["cause"], &task["exit_code"]), (&"failed".into(), &"exit".into(), &4.into()));
    assert_eq!(cluster.told(&["retry", "1", "--failed"]), "queued 1 task again\n");
    assert_eq!(cluster.ask(&["wait", "1"]).code, Some(1), "it fails again");

    cluster.told(&["submit", "--", "sleep", "600"]);
    let late = cluster.ask(&["wait", "2", "--timeout", "200ms"]);
    assert_eq!(late.code, Some(124), "{}", late.stderr);
    assert_eq!(cluster.told(&["cancel", "2", "--reason", "enough"]), "cancelled 1 task\n");
    let cancelled = cluster.ask(&["wait", "all", "2"]);
    assert_eq!(cancelled.code, Some(2), "all stands alone");
    assert_eq!(cluster.ask(&["wait", "2"]).code, Some(1));
    assert!(cluster.told(&["show", "2"]).contains(": enough"));
}

#[test]
fn progress_is_shown_on_stderr_and_its_exit_status_is_that_of_wait() {
    let cluster = Cluster::start();
    let fine = cluster.ask(&["submit", "--progress", "--array", "1-3", "--", "true"]);
    assert_eq!((fine.code, fine.stdout.as_str()), (Some(0), "Submitted job 1 (3 tasks)\n"));
    assert!(fine.stderr.lines().last().is_some_and(|last| last.starts_with("job 1: 3 of 3 done")), "{}", fine.stderr);
    let bad = cluster.ask(&["submit", "-q", "--progress", "--retries", "0", "--array", "1-2", "--", "false"]);
    assert_eq!((bad.code, bad.stdout.as_str()), (Some(1), "2\n"));
    assert!(bad.stderr.starts_with("error: job 2 failed: of 2 tasks 2 failed\n"), "{}", bad.stderr);
    let both = cluster.ask(&["progress", "1-2"]);
    assert_eq!((both.code, both.stdout.as_str()), (Some(1), ""));
    assert!(both.stderr.starts_with("2 jobs: 5 of 5 done, 2 failed\n"), "{}", both.stderr);
    assert_eq!(cluster.ask(&["progress", "-q", "1"]).stderr, "");
    let task = cluster.ask(&["progress", "1.2"]);
    assert_eq!(task.code, Some(2));
    assert!(task.stderr.contains("hint: octaskly progress 1\n"), "{}", task.stderr);
    assert_eq!(cluster.told(&["retry", "--failed", "2"]), "queued 2 tasks again\n");
    assert_eq!(cluster.ask(&["progress", "2"]).code, Some(1), "they fail again");
    let attempts = &cluster.json(&["show", "2.1", "--json"])[0]["attempt"];
    assert_eq!(attempts, &2, "and have been tried again");
}

#[test]
fn what_cannot_run_is_warned_of_refused_or_explained() {
    let cluster = Cluster::start();
    let warned = cluster.ask(&["submit", "--label", "zone=mars", "true"]);
    assert_eq!((warned.code, warned.stdout.as_str()), (Some(0), "Submitted job 1\n"));
    assert!(warned.stderr.starts_with("warning: job 1 is queued, but "), "{}", warned.stderr);
    let explained = cluster.told(&["explain", "1"]);
    assert!(explained.contains("worker-01 can never take it") && explained.contains("zone=mars"), "{explained}");
    let refused = cluster.ask(&["submit", "--strict", "--label", "zone=mars", "true"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""));
    assert_eq!(cluster.ask(&["run", "--strict", "--label", "zone=mars", "true"]).code, Some(125));
    assert_eq!(cluster.told(&["run", "--label", "zone=lab", "--", "echo", "here"]), "here\n");
}

#[test]
fn dependencies_can_name_the_last_job() {
    let cluster = Cluster::start();
    cluster.told(&["submit", "--", "sleep", "0.3"]);
    cluster.told(&["submit", "--after", "last", "--", "true"]);
    cluster.told(&["wait", "2"]);
    let jobs = cluster.json(&["show", "1-2", "--json"]);
    let time = |id: u64, key: &str| {
        let job = jobs.iter().find(|job| job["id"] == id).expect("the job");
        job[key].as_str().expect("a time").to_owned()
    };
    assert!(time(1, "ended_at") <= time(2, "started_at"));
    cluster.ask(&["submit", "--wait", "false"]);
    cluster.told(&["submit", "--after", "last", "--", "true"]);
    assert_eq!(cluster.ask(&["wait", "last"]).code, Some(1));
    assert_eq!(cluster.json(&["show", "4.0", "--json"])[0]["cause"], "dependency");
}

#[test]
fn every_json_object_has_the_stable_keys_and_no_other() {
    let cluster = Cluster::start();
    cluster.told(&["submit", "--wait", "-q", "--", "true"]);
    let sorted = |text: &str| {
        let mut words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    let job = &cluster.json(&["list", "--all", "--json"])[0];
    assert_eq!(
        keys(job),
        sorted(
            "id name owner state tasks submitted_at started_at ended_at cancelled_by retried_by exit_code signal cause"
        )
    );
    assert_eq!(keys(&job["tasks"]), sorted("total waiting ready running succeeded failed cancelled"));
    let task = &cluster.json(&["show", "1", "--tasks", "--json"])[0];
    let wanted = "id job index item state attempt worker exit_code signal cause cancelled_by submitted_at started_at ended_at \
                  peak_memory_bytes outputs transfers";
    assert_eq!(keys(task), sorted(wanted));
    let worker = &cluster.json(&["workers", "--json"])[0];
    let wanted = "name node_id state drained_by resumed_by slots cpu memory_mb gpus address version tasks_done \
                  bytes";
    assert_eq!(keys(worker), sorted(wanted));
    assert_eq!(worker["slots"]["total"], 2);
    let status: Value = serde_json::from_str(&cluster.told(&["status", "--json"])).expect("one object");
    assert_eq!(status["workers"]["connected"], 1);
}

#[test]
fn logs_follow_a_task_until_it_ends() {
    let cluster = Cluster::start();
    cluster.told(&["submit", "--", "sh", "-c", "for i in 1 2 3; do echo tick $i; sleep 0.2; done"]);
    assert_eq!(cluster.told(&["logs", "-f", "1"]), "tick 1\ntick 2\ntick 3\n");
}
