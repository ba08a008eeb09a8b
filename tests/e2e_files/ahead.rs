//! Inputs of tasks that wait on a worker until a slot is free: they are there before it is.

use std::fs;
use std::path::PathBuf;

use crate::desk::Desk;
use crate::harness::{Cluster, Node, soon};

/// A worker with one slot, which a task of job 1 has until `release` exists, and another task that waits behind it.
fn one_runs_and_one_waits() -> (Desk, Node, Node) {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher();
    let worker = cluster.worker_with(&["--name", "worker-a", "--max-jobs", "1"]);
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    desk.write("one", "first");
    desk.write("two", "second");
    let here = desk.path("");
    let script = format!("cat {{}} > {0}/saw-{{}}; until [ -e {0}/release ]; do sleep 0.05; done", here.display());
    desk.ok(["submit", "-q", "--in", "{}", &script, ":::", "one", "two"]);
    soon("the first task runs", || desk.path("saw-one").exists());
    (desk, dispatcher, worker)
}

/// Directories of tasks in which there is the input `two`.
fn with_two(desk: &Desk) -> Vec<PathBuf> {
    let within = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let runs = within(desk.home().join("work"));
    let tasks = runs.flat_map(|run| within(run.join("scratch")));
    tasks.map(|task| task.join("two")).filter(|file| file.exists()).collect()
}

#[test]
fn what_waits_on_a_worker_has_its_inputs_and_runs_while_the_dispatcher_is_away() {
    let (desk, mut dispatcher, _worker) = one_runs_and_one_waits();
    soon("the second task's input is there", || !with_two(&desk).is_empty());
    assert!(!desk.path("saw-two").exists(), "it has not started");
    dispatcher.kill();
    desk.write("release", "");
    soon("the second task has seen its input", || fs::read(desk.path("saw-two")).is_ok_and(|seen| seen == b"second"));
    let _dispatcher = desk.dispatcher();
    desk.ok(["wait", "1"]);
    let transfers = desk.json(["show", "1.2", "--tasks"])[0]["transfers"].clone();
    assert_eq!((&transfers[0]["path"], &transfers[0]["bytes"]), (&"dispatcher".into(), &6.into()), "{transfers}");
}

#[test]
fn what_was_got_ready_goes_when_the_task_does() {
    let (desk, _dispatcher, _worker) = one_runs_and_one_waits();
    soon("the second task's input is there", || !with_two(&desk).is_empty());
    desk.ok(["cancel", "1.2"]);
    soon("its directory is gone", || with_two(&desk).is_empty());
    desk.write("release", "");
    assert_eq!(desk.run(["wait", "1"]).code, Some(1), "one was cancelled");
}

#[test]
fn tasks_with_inputs_leave_no_directories_behind() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let desk = Desk::of(cluster);
    desk.write("in", "something");
    for _ in 0..6 {
        desk.ok(["run", "--in", "in", "cat in"]);
    }
    let within = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    // Each slot keeps an unused one for its next task.
    let slots = desk.json(["workers"])[0]["slots"]["total"].as_u64().expect("a number of slots");
    soon("what was used is gone", || {
        let left = within(desk.home().join("work")).flat_map(|run| within(run.join("scratch"))).count() as u64;
        left <= slots.min(5)
    });
}
