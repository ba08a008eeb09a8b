//! Outputs that were lost with their worker, made again for a task that needs
//! them.

use crate::desk::Desk;
use crate::harness::{Cluster, Node, soon};

/// A dispatcher and a worker on which `jobs` were run, which is killed then; another one takes its place.
fn made_and_lost(jobs: &[&[&str]]) -> (Desk, [Node; 2]) {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher();
    let mut first = cluster.worker("worker-a");
    first.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    for (number, job) in jobs.iter().enumerate() {
        desk.ok(["submit", "-q"].iter().chain(*job));
        desk.ok(["wait", &(number + 1).to_string()]);
    }
    first.kill();
    dispatcher.says("Worker worker-a is lost");
    // Nobody waits for it to come back with what it holds.
    desk.ok(["revoke", "worker-a"]);
    let second = desk.worker("worker-b");
    second.says("Joined the dispatcher");
    (desk, [dispatcher, second])
}

#[test]
fn a_lost_output_is_made_again_by_a_job_of_its_own_and_its_task_stays_as_it_was() {
    let (desk, [dispatcher, _second]) = made_and_lost(&[&["--out", "{}.txt", "echo {} {#} > {}.txt", ":::", "x", "y"]]);
    let before = desk.json(["show", "1.2", "--tasks"]);
    assert_eq!(desk.ok(["run", "--in", "1.2:y.txt", "cat y.txt"]), "y 2\n");
    dispatcher.says("An output of task 1.2 is lost, and needed: job 3 makes it again");
    let mut after = desk.json(["show", "1.2", "--tasks"]);
    assert_eq!(after[0]["outputs"][0]["holders"], serde_json::json!(["worker-b"]));
    after[0]["outputs"][0]["holders"] = before[0]["outputs"][0]["holders"].clone();
    assert_eq!(before, after, "nothing else of it has changed");
    let waiting = desk.json(["show", "2", "--tasks"])[0].clone();
    assert_eq!(waiting["state"], "succeeded");
    assert_eq!(desk.json(["show", "3"])[0]["name"], "outputs of 1.2 again");
    desk.ok(["get", "1", "y.txt"]);
    assert_eq!(desk.read("y.txt"), b"y 2\n");
}

#[test]
fn what_lost_outputs_were_made_of_is_made_again_as_well() {
    let (desk, _nodes) = made_and_lost(&[
        &["--out", "one", "echo 1 > one"],
        &["--in", "1:one", "--out", "two", "cat one one > two"],
        &["--in", "2:two", "--out", "d", "mkdir d && cat two two > d/three"],
    ]);
    assert_eq!(desk.ok(["run", "--in", "3:d", "cat d/three"]), "1\n1\n1\n1\n");
}

#[test]
fn what_comes_out_otherwise_when_it_is_made_again_is_what_counts_from_then_on() {
    let (desk, _nodes) = made_and_lost(&[&["--out", "made", "head -c 99 /dev/urandom > made"]]);
    let used = desk.ok(["run", "--in", "1:made", "sha256sum < made"]);
    desk.ok(["get", "1"]);
    assert_eq!(desk.sh("sha256sum < made"), used.into_bytes());
}

#[test]
fn an_output_that_may_be_made_only_once_fails_the_task_that_needs_it_and_says_what_to_do() {
    let (desk, _nodes) = made_and_lost(&[&["--no-retry", "--out", "made", "echo 1 > made"]]);
    let ran = desk.run(["run", "--in", "1:made", "cat made"]);
    ran.says_failure(125, "task 1.0 is lost, and 1.0 may be started only once");
    assert!(ran.stderr_text().contains("octaskly retry 1.0"), "{ran:?}");
    assert_eq!(desk.json(["show", "2", "--tasks"])[0]["cause"], "transfer");
    desk.ok(["retry", "1.0"]);
    desk.ok(["wait", "1"]);
    assert_eq!(desk.ok(["run", "--in", "1:made", "cat made"]), "1\n");
}

#[test]
fn an_output_whose_second_making_fails_fails_the_task_that_needs_it() {
    let flags = Cluster::new();
    let flag = flags.scratch().join("flag").display().to_string();
    let script = format!("test ! -e {flag} && : > {flag} && echo 1 > made");
    let (desk, _nodes) = made_and_lost(&[&["--retries", "0", "--out", "made", &script]]);
    let ran = desk.run(["run", "--in", "1:made", "cat made"]);
    ran.says_failure(125, "job 3, which was to make it again, did not succeed");
    assert_eq!(desk.job_state("1").as_deref(), Some("succeeded"));
}

#[test]
fn a_worker_that_comes_back_is_waited_for_and_nothing_is_made_again() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let first = cluster.worker("worker-a");
    let second = cluster.worker("worker-b");
    [&first, &second].iter().for_each(|worker| worker.says("Joined the dispatcher"));
    let desk = Desk::of(cluster);
    desk.ok(["submit", "-q", "--label", "name=worker-a", "--out", "made", "echo 1 > made"]);
    desk.ok(["wait", "1"]);
    first.signal(nix::sys::signal::Signal::SIGSTOP);
    let run = desk.start(["run", "--label", "name=worker-b", "--in", "1:made", "cat made"]);
    soon("the input is asked for", || desk.job_state("2").as_deref() == Some("running"));
    first.signal(nix::sys::signal::Signal::SIGCONT);
    let ran = run.finish(std::time::Duration::from_secs(60));
    assert_eq!((ran.code, ran.stdout_text()), (Some(0), "1\n".to_owned()), "{ran:?}");
    assert_eq!(desk.json(["list", "--all"]).as_array().map(Vec::len), Some(2), "no job was added");
}
