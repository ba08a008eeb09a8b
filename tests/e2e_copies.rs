//! A home that was copied, as with a cloned machine or a container image: two
//! workers with one key.

#![cfg(unix)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Cluster, Node, soon};
use nix::sys::signal::Signal;

/// `cp -a` of the whole home.
fn copied(cluster: &Cluster, name: &str) -> PathBuf {
    let copy = cluster.scratch().join(name);
    let status = Command::new("cp").arg("-a").arg(cluster.home()).arg(&copy).status().expect("cp starts");
    assert!(status.success());
    copy
}

/// A worker of another home.
fn worker_of(cluster: &Cluster, home: &Path, name: &str) -> Node {
    let mut command = cluster.command(["worker", "--name", name]);
    command.env("OCTASKLY_HOME", home);
    cluster.node(command)
}

#[test]
fn a_copied_worker_is_refused_while_the_first_is_alive_and_both_are_told_what_to_do() {
    let (cluster, dispatcher, mut first) = Cluster::with_a_worker();
    let go = cluster.scratch().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done; echo done", go.display());
    cluster.ok(["submit", "--", "sh", "-c", &wait]);
    soon("it runs", || cluster.job_state("1").as_deref() == Some("running"));
    let copy = copied(&cluster, "copy");
    let mut second = worker_of(&cluster, &copy, "worker-a");
    assert_eq!(second.ended(), Some(1));
    let command =
        |home: &Path| format!("rm -r {}, then start it with another --name", home.join("workers/worker-a").display());
    let said = second.log();
    assert!(
        said.contains("another worker with this key is connected as worker-a: its key folder was copied"),
        "{said}"
    );
    assert!(said.contains(&format!("hint: for an identity of its own: {}", command(&copy))), "{said}");
    dispatcher.says("Refused a worker worker-a");
    dispatcher.says("for an identity of its own remove its folder in workers/");
    first.says("refused another worker that has a copy of this one's key");
    first.says(&command(&cluster.home()));

    fs::write(go, "").expect("a sign");
    cluster.ok(["wait", "1"]);
    assert_eq!(cluster.json(["show", "1.0"])[0]["attempt"], 1, "the first was not disturbed");
    assert!(!first.log().contains("Lost the dispatcher"), "{}", first.log());

    // What the hint says makes a worker of it.
    fs::remove_dir_all(copy.join("workers/worker-a")).expect("removed");
    worker_of(&cluster, &copy, "worker-b").says("Joined the dispatcher");
    // Once the first is gone, a copy is as good.
    let moved = copied(&cluster, "moved");
    assert_eq!(first.stop(), Some(0));
    worker_of(&cluster, &moved, "worker-a").says("Joined the dispatcher");
}

#[test]
fn a_worker_that_was_killed_with_its_guard_is_let_in_again_at_once() {
    let (cluster, _dispatcher, mut first) = Cluster::with_a_worker();
    for guard in first.children("octa-guard") {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(guard), Signal::SIGKILL).expect("it is there");
    }
    first.kill();
    let again = cluster.worker("worker-a");
    again.says("Joined the dispatcher");
    assert!(!again.log().contains("with this key"), "{}", again.log());
}

#[test]
fn clients_with_a_copied_home_go_on_side_by_side() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    cluster.ok(["run", "--", "true"]);
    let copy = copied(&cluster, "copy");
    let mut command = cluster.command(["run", "--", "echo", "from the copy"]);
    command.env("OCTASKLY_HOME", &copy);
    let ran = command.output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "from the copy\n");
    assert_eq!(cluster.ok(["run", "--", "echo", "from here"]), "from here\n");
}
