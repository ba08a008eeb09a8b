//! Joining by approval with the real binary and two homes: what stands on both
//! screens, what a guard says for a worker that was approved, and how both
//! nodes end when both are told to at once.
//!
//! Who is kept out is told in `join.rs`, several machines in `lan.rs`.

#![cfg(target_os = "linux")]

mod harness;

use harness::{Cluster, Node, SOON, eventually, soon};
use nix::sys::signal::Signal;

/// A worker of `home` that is told where the dispatcher of `cluster` is and nothing else.
fn worker_of(home: &Cluster, cluster: &Cluster) -> Node {
    let port = cluster.port().to_string();
    home.worker_with(&["--name", "b", "--dispatcher", "127.0.0.1", "--port", &port])
}

/// The line that is to be typed for `worker`, as words.
fn line(worker: &Node) -> Vec<String> {
    let found = eventually("the worker shows its line", SOON, || {
        let log = worker.log();
        let (_, line) = log.split_once("On the dispatcher's machine, type: octaskly ")?;
        line.contains('\n').then(|| line.lines().next().unwrap_or_default().to_owned())
    });
    found.expect("a line").split(' ').map(str::to_owned).collect()
}

#[test]
fn both_screens_say_what_to_do_and_the_guard_of_an_approved_worker_is_heard() {
    let (cluster, elsewhere) = (Cluster::new(), Cluster::new());
    let dispatcher = cluster.dispatcher();
    let mut worker = worker_of(&elsewhere, &cluster);
    dispatcher.says("asks to join: octaskly approve b CODE with the code it shows");
    let line = line(&worker);
    assert!(worker.log().contains(&format!("Its code is {}", line[2])), "{}", worker.log());
    assert!(!dispatcher.log().contains(&line[2]), "the code is on the worker's screen alone");
    cluster.ok(&line);
    worker.says("Joined the dispatcher");
    dispatcher.says("Enrolled worker b");
    assert_eq!(cluster.ok(["run", "--", "echo", "hello"]), "hello\n");
    worker.kill();
    // Nobody waits the sixty seconds that silence takes.
    dispatcher.says("Worker b is lost (its process is gone)");
    let _again = worker_of(&elsewhere, &cluster);
    dispatcher.says_times("Worker b joined", 2);
}

#[test]
fn a_worker_that_waits_is_stopped_by_a_signal_like_any_other() {
    let (cluster, elsewhere) = (Cluster::new(), Cluster::new());
    let _dispatcher = cluster.dispatcher();
    let mut worker = worker_of(&elsewhere, &cluster);
    line(&worker);
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
    soon("it no longer waits", || cluster.json(["workers"]).as_array().map(Vec::len) == Some(0));
}

#[test]
fn worker_and_dispatcher_end_when_both_are_told_to_at_once() {
    for round in 0..6 {
        let (_cluster, mut dispatcher, mut worker) = Cluster::with_a_worker();
        if round % 2 == 0 {
            dispatcher.signal(Signal::SIGTERM);
            worker.signal(Signal::SIGTERM);
        } else {
            worker.signal(Signal::SIGTERM);
            dispatcher.signal(Signal::SIGTERM);
        }
        assert_eq!(worker.ended(), Some(0), "{}", worker.log());
        assert_eq!(dispatcher.ended(), Some(0), "{}", dispatcher.log());
    }
}
