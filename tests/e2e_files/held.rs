//! Outputs that stay on the worker that made them: used from there, brought
//! from there, and not lost with a worker that leaves in order.

use std::fs;

use crate::desk::Desk;
use crate::harness::{Cluster, Node, soon};

const MIB: u64 = 1 << 20;

/// Two workers, one output of `mib` MiB made on the first by job 1, and what it is.
fn made_on_a(mib: u64) -> (Desk, [Node; 3], Vec<u8>) {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher();
    let workers = ["worker-a", "worker-b"].map(|name| cluster.worker(name));
    workers.iter().for_each(|worker| worker.says("Joined the dispatcher"));
    let desk = Desk::of(cluster);
    let script = format!("head -c {} /dev/urandom > made && sha256sum < made", mib * MIB);
    desk.ok(["submit", "-q", "--label", "name=worker-a", "--out", "made", &script]);
    desk.ok(["wait", "1"]);
    let sum = desk.ok(["logs", "1"]).into_bytes();
    let [a, b] = workers;
    (desk, [dispatcher, a, b], sum)
}

fn holders(desk: &Desk, job: &str) -> Vec<String> {
    let task = desk.json(["show", job, "--tasks"])[0].clone();
    let holders = task["outputs"][0]["holders"].as_array().cloned().unwrap_or_default();
    holders.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Bytes of files that the dispatcher keeps.
fn kept(desk: &Desk) -> u64 {
    fn bytes(folder: &std::path::Path) -> u64 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(of) if of.is_dir() => bytes(&entry.path()),
                Ok(of) => of.len(),
                Err(_) => 0,
            })
            .sum()
    }
    bytes(&desk.home().join("dispatcher/files"))
}

#[test]
fn an_output_is_used_on_another_worker_and_brought_home_without_a_copy_at_the_dispatcher() {
    let (desk, _nodes, sum) = made_on_a(20);
    assert_eq!(holders(&desk, "1"), ["worker-a"]);
    let used = ["run", "--label", "name=worker-b", "--in", "1:made", "sha256sum < made"];
    assert_eq!(desk.ok(used).into_bytes(), sum);
    let transfers = desk.json(["show", "2", "--tasks"])[0]["transfers"].clone();
    assert_eq!(transfers[0]["from"], "worker-a", "{transfers}");
    assert!(["relay", "direct"].contains(&transfers[0]["path"].as_str().unwrap_or_default()), "{transfers}");
    assert_eq!(holders(&desk, "1"), ["worker-a", "worker-b"]);
    assert_eq!(desk.ok(used).into_bytes(), sum);
    let again = desk.json(["show", "3", "--tasks"])[0]["transfers"].clone();
    assert_eq!(again[0]["path"], "local", "what was fetched is not fetched again: {again}");
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), sum);
    assert!(kept(&desk) < MIB, "the dispatcher keeps {} bytes", kept(&desk));
}

#[test]
fn a_directory_that_was_made_on_a_worker_is_brought_from_there_with_all_that_is_in_it() {
    let (desk, _nodes, _) = made_on_a(0);
    let script = "mkdir -p d/e && echo 1 > d/1 && head -c 3M /dev/urandom > d/e/2 && ln -s e/2 d/link";
    desk.ok(["submit", "-q", "--label", "name=worker-a", "--out", "d", script]);
    desk.ok(["wait", "2"]);
    let listed = desk.ok(["run", "--label", "name=worker-b", "--in", "2:d", "cd d && find . | sort && cat 1"]);
    assert_eq!(listed, ".\n./1\n./e\n./e/2\n./link\n1\n");
    desk.ok(["get", "2"]);
    desk.sh("test -f d/e/2 && test \"$(readlink d/link)\" = e/2");
}

#[test]
fn an_output_outlives_the_kill_of_its_worker_and_is_had_when_that_is_back() {
    let (desk, [_dispatcher, mut a, _b], sum) = made_on_a(5);
    a.kill();
    soon("the kill is noticed", || desk.run(["get", "1"]).stderr_text().contains("not connected"));
    desk.run(["get", "1"]).says_failure_and_hint(1, "output made of task 1.0 is at worker-a, which is not connected");
    let a = desk.worker("worker-a");
    a.says("Joined the dispatcher");
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), sum);
}

#[test]
fn an_output_that_nobody_has_any_more_is_an_error_that_names_the_command_that_makes_it_again() {
    let (desk, [_dispatcher, mut a, _b], _) = made_on_a(1);
    a.kill();
    fs::remove_dir_all(desk.home().join("workers/worker-a/files")).expect("its files");
    let a = desk.worker("worker-a");
    a.says("Joined the dispatcher");
    soon("the loss is noticed", || desk.run(["get", "1"]).stderr_text().contains("is lost"));
    let ran = desk.run(["get", "1"]);
    ran.says_failure_and_hint(1, "output made of task 1.0 is lost");
    assert!(ran.stderr_text().contains("octaskly retry 1.0"), "{ran:?}");
    assert!(holders(&desk, "1").is_empty());
    desk.ok(["retry", "1.0"]);
    desk.ok(["wait", "1"]);
    desk.ok(["get", "1"]);
    assert_eq!(fs::metadata(desk.path("made")).expect("it came").len(), MIB);
}

#[test]
fn a_worker_that_drains_leaves_its_outputs_with_the_dispatcher() {
    let (desk, [_dispatcher, mut a, _b], sum) = made_on_a(5);
    desk.ok(["drain", "worker-a"]);
    a.says("Copied 1 output that only this worker had to the dispatcher");
    a.kill();
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), sum);
}

#[test]
fn whoever_waits_for_a_drain_may_take_the_worker_away_then() {
    let (desk, [_dispatcher, mut a, _b], sum) = made_on_a(40);
    desk.ok(["drain", "--wait", "worker-a"]);
    a.kill();
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), sum);
}

#[test]
fn a_worker_that_is_told_twice_to_stop_leaves_its_outputs_where_they_are_and_says_so() {
    let (desk, [dispatcher, mut a, _b], sum) = made_on_a(5);
    dispatcher.signal(nix::sys::signal::Signal::SIGSTOP);
    a.signal(nix::sys::signal::Signal::SIGTERM);
    a.says("Stopping: copying outputs that only this worker has to the dispatcher");
    assert_eq!(a.stop(), Some(0));
    assert!(a.log().contains("1 output that only this worker has stays here (told to hurry)"), "{}", a.log());
    dispatcher.signal(nix::sys::signal::Signal::SIGCONT);
    let a = desk.worker("worker-a");
    a.says("Joined the dispatcher");
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), sum);
}

#[test]
fn a_worker_that_stops_in_order_leaves_its_outputs_with_the_dispatcher() {
    let (desk, [_dispatcher, mut a, _b], sum) = made_on_a(5);
    assert_eq!(a.stop(), Some(0));
    assert!(a.log().contains("Copied 1 output that only this worker had to the dispatcher"), "{}", a.log());
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), sum);
}

#[test]
fn a_worker_that_stops_without_a_dispatcher_says_what_stays_behind() {
    let (desk, [mut dispatcher, mut a, _b], sum) = made_on_a(1);
    dispatcher.kill();
    soon("the link is given up", || a.log().contains("Waiting for the dispatcher"));
    assert_eq!(a.stop(), Some(0));
    assert!(a.log().contains("1 output that only this worker has stays here"), "{}", a.log());
    let _dispatcher = desk.dispatcher();
    let a = desk.worker("worker-a");
    a.says("Joined the dispatcher");
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), sum);
}

#[test]
fn without_peers_outputs_go_to_the_dispatcher_at_once() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher_with(&["--p2p-enabled", "false"]);
    let mut worker = cluster.worker("worker-a");
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    desk.ok(["submit", "-q", "--out", "made", "echo content > made"]);
    desk.ok(["wait", "1"]);
    assert_eq!(holders(&desk, "1"), ["dispatcher"]);
    worker.kill();
    desk.ok(["get", "1"]);
    assert_eq!(desk.read("made"), b"content\n");
}

#[test]
fn a_worker_that_runs_out_of_room_gives_its_outputs_to_the_dispatcher() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let worker = cluster.worker_with(&["--name", "worker-a", "--file-quota", "8M"]);
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    desk.ok(["submit", "-q", "--out", "made", "head -c 6M /dev/zero | tr '\\0' x > made"]);
    desk.ok(["wait", "1"]);
    assert_eq!(holders(&desk, "1"), ["worker-a"]);
    desk.sh("head -c 5M /dev/urandom > big");
    assert_eq!(desk.ok(["run", "--in", "big", "wc -c < big"]).trim(), (5 * MIB).to_string());
    desk.ok(["get", "1"]);
    assert_eq!(fs::metadata(desk.path("made")).expect("it came").len(), 6 * MIB);
}
