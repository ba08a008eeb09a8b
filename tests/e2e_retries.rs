//! Failures and what follows from them, as a user meets them: which are tried again, where, and how often.
//!
//! Invariant: every task here ends by what it does itself or by what its options say, never by this test's patience.

mod harness;

use std::time::Duration;

use harness::{Cluster, await_nothing_left, marker, soon};
use serde_json::Value;

/// The variable by which a test finds its processes.
const MARKER: &str = "OCTASKLY_TEST_MARKER";

/// Submits, waits for the end, and returns the only task and how often it was started.
fn ends(cluster: &Cluster, options: &[&str], script: &str) -> (Value, usize) {
    let starts = cluster.scratch().join(format!("starts-{}", marker()));
    let script = format!("echo x >>{}; {script}", starts.display());
    let args = [&["submit", "-q", "--backoff", "1ms..1ms"], options, &["--", "sh", "-c", &script]].concat();
    let job = cluster.ok(args).trim().to_owned();
    let waiting = cluster.start(["wait", &job]);
    _ = waiting.finish(Duration::from_secs(60));
    let task = cluster.json(["show", &job, "--tasks"])[0].clone();
    (task, std::fs::read_to_string(starts).unwrap_or_default().lines().count())
}

#[test]
fn a_task_over_its_memory_is_killed_with_all_it_started_and_says_so() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    // `tail` keeps all of it, in another process than the one that was started.
    let hog = "(head -c 200000000 /dev/zero; sleep 30) | tail -c 200000000 | sleep 30";
    let (task, starts) = ends(&cluster, &["--mem", "64M", "--retries", "0", "--env", &mark], hog);
    assert_eq!((task["state"].as_str(), task["cause"].as_str()), (Some("failed"), Some("oom")), "{task}");
    assert!(task["peak_memory_bytes"].as_u64().is_some_and(|bytes| bytes > 64 << 20), "{task}");
    assert_eq!(starts, 1);
    await_nothing_left(&marker);
    let run = cluster.run(["run", "--mem", "64M", "--", "sh", "-c", hog]);
    assert_eq!(run.code, Some(137), "as if the kernel had done it");
}

#[test]
fn a_task_that_keeps_to_its_memory_is_left_alone_whatever_files_it_reads() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let file = cluster.scratch().join("large");
    let script = format!("head -c 200000000 /dev/zero >{0} && sleep 0.3 && cat {0} >/dev/null", file.display());
    let (task, _) = ends(&cluster, &["--mem", "64M", "--retries", "0"], &script);
    assert_eq!(task["state"], "succeeded", "{task}");
}

#[test]
fn only_the_failures_that_are_named_are_tried_again() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let hog = "(head -c 200000000 /dev/zero; sleep 30) | tail -c 200000000 | sleep 30";
    let retried = |options: &[&str], script: &str| {
        ends(&cluster, &[&["--retries", "2", "--mem", "64M"], options].concat(), script)
    };
    for (on, script, cause, starts) in [
        ("exit", "exit 7", "exit", 3),
        ("7,9", "exit 7", "exit", 3),
        ("9", "exit 7", "exit", 1),
        ("signal", "exit 7", "exit", 1),
        ("signal", "kill -9 $$", "signal", 3),
        ("exit", "kill -9 $$", "signal", 1),
        ("oom", hog, "oom", 3),
        ("exit,signal", hog, "oom", 1),
    ] {
        let (task, started) = retried(&["--retry-on", on], script);
        assert_eq!((task["cause"].as_str(), started), (Some(cause), starts), "--retry-on {on} of `{script}`: {task}");
    }
    let (task, started) = retried(&["--retry-on", "timeout", "--time-limit", "300ms"], "exec sleep 30");
    assert_eq!((task["cause"].as_str(), started), (Some("timeout"), 3));
    let (task, started) = retried(&["--time-limit", "300ms"], "exec sleep 30");
    assert_eq!((task["cause"].as_str(), started), (Some("timeout"), 1), "not by itself: it would last as long again");
}

#[test]
fn a_failed_task_is_tried_on_another_worker_first() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let workers = ["a", "b"].map(|name| cluster.worker_with(&["--name", name, "--max-jobs", "1"]));
    workers.iter().for_each(|worker| worker.says("Joined the dispatcher"));
    let seen = cluster.scratch().join("seen");
    let script = format!("echo $OCTASKLY_WORKER >>{}; exit 1", seen.display());
    let (_, starts) = ends(&cluster, &["--retries", "1"], &script);
    let text = std::fs::read_to_string(&seen).expect("it ran");
    let names: Vec<&str> = text.lines().collect();
    assert_eq!(starts, 2);
    assert_ne!(names[0], names[1], "{names:?}");
}

#[test]
fn a_task_that_takes_five_workers_down_is_lost_and_the_cluster_goes_on() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let job = cluster.ok(["submit", "-q", "--", "sleep", "60"]).trim().to_owned();
    for number in 1..=5 {
        let mut worker = cluster.worker(&format!("victim-{number}"));
        soon("the task runs", || {
            let task = cluster.json(["show", &job, "--tasks"])[0].clone();
            task["attempt"].as_u64() == Some(number) && task["started_at"].is_string()
        });
        worker.kill();
        soon("that is noticed", || cluster.json(["show", &job, "--tasks"])[0]["state"] != "running");
    }
    let task = &cluster.json(["show", &job, "--tasks"])[0];
    assert_eq!((task["state"].as_str(), task["cause"].as_str()), (Some("failed"), Some("lost")), "{task}");
    let _worker = cluster.worker("survivor");
    assert_eq!(cluster.ok(["run", "echo", "still here"]), "still here\n");
}

#[test]
fn enough_failures_end_the_whole_job() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let worker = cluster.worker_with(&["--max-jobs", "1"]);
    worker.says("Joined the dispatcher");
    let args = ["submit", "-q", "--array", "1-50", "--max-fails", "3", "--retries", "0", "--", "false"];
    let job = cluster.ok(args).trim().to_owned();
    _ = cluster.run(["wait", &job]);
    let shown = cluster.json(["show", &job]);
    let tasks = &shown[0]["tasks"];
    let count = |state: &str| tasks[state].as_u64().expect("a number");
    // What waits on the worker may start before it hears that it is not wanted any more.
    assert!((3..25).contains(&count("failed")), "{shown}");
    assert_eq!(count("failed") + count("cancelled"), 50, "{shown}");
}
