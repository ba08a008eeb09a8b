//! Returning to a `run` whose client was stopped, killed, or lost its terminal.

mod harness;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

use harness::{Cluster, Node, SOON, soon};
use nix::sys::signal::Signal;

fn until(gate: &Path) -> String {
    format!("while ! test -e {}; do sleep 0.05; done", gate.display())
}

/// Starts a run that prints `first`, waits for the gate, prints `second` and ends with 7; returns once it has printed.
fn begun(cluster: &Cluster, gate: &Path) -> Node {
    let line = format!("echo first; {}; echo second; echo aside >&2; exit 7", until(gate));
    let run = cluster.node(cluster.command(["run", &line]));
    run.says("first");
    run
}

#[test]
fn attach_returns_to_a_run_that_was_left_and_ends_as_it_would_have() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    for signal in [Signal::SIGHUP, Signal::SIGKILL] {
        let gate = cluster.scratch().join(format!("gate-{signal}"));
        let mut run = begun(&cluster, &gate);
        run.signal(signal);
        run.ended();
        let attached = cluster.start(["attach", "last"]);
        std::fs::write(&gate, "").expect("a file");
        let ran = attached.finish(SOON);
        assert_eq!(ran.code, Some(7), "{ran:?}");
        assert!(ran.stdout_text().ends_with("second\n") && ran.stderr_text().contains("aside\n"), "{ran:?}");
        let again = cluster.run(["attach", "last"]);
        assert_eq!((again.code, again.stdout_text().as_str()), (Some(7), "first\nsecond\n"), "of a finished one, all");
    }
}

#[test]
fn the_newer_client_takes_over_and_the_older_one_says_so_and_cancels_nothing() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    let mut run = begun(&cluster, &gate);
    let attached = cluster.start(["attach", "1"]);
    run.says("error: another client has taken over: job 1 has one at a time");
    run.says("hint: `octaskly attach 1` takes over");
    assert_eq!(run.ended(), Some(125));
    std::fs::write(&gate, "").expect("a file");
    assert_eq!(attached.finish(SOON).code, Some(7));
}

#[test]
fn a_stopped_run_goes_on_where_it_was() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let done = cluster.scratch().join("done");
    let bytes = 24 << 20;
    let mut command = cluster.command(["run", &format!("head -c {bytes} /dev/zero; touch {}", done.display())]);
    let mut run =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut first = [1; 1024];
    run.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("output");
    signal(&run, Signal::SIGSTOP);
    assert!(!done.exists(), "a client that takes nothing holds back its task");
    signal(&run, Signal::SIGCONT);
    let output = run.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), bytes - first.len()), "{output:?}");
}

fn signal(child: &Child, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(pid, signal).expect("it is there");
}

#[test]
fn stdin_goes_on_behind_what_the_client_before_has_sent_and_an_empty_one_does_not_end_it() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let mut command = cluster.command(["run", "--", "sh", "-c", "read line; echo got $line; cat"]);
    let mut run =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    run.stdin.as_mut().expect("a pipe").write_all(b"one\n").expect("taken");
    let mut got = [0; 8];
    run.stdout.as_mut().expect("a pipe").read_exact(&mut got).expect("output");
    run.kill().expect("it is there");
    run.wait().expect("it ended");
    let empty = cluster.start(["attach", "1"]);
    soon("it is attached", || cluster.run(["run", "--idempotency-key", "x", "--", "true"]).code == Some(0));
    empty.signal(Signal::SIGHUP);
    assert_eq!(empty.finish(SOON).code, Some(129));
    assert_eq!(cluster.job_state("1").as_deref(), Some("running"), "its stdin is still open");
    let ran = cluster.start_with_input(["attach", "1"], b"two\n".to_vec()).finish(SOON);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout_text().ends_with("two\n"), "{ran:?}");
}

#[test]
fn a_terminal_that_closes_does_not_end_the_stdin_of_its_task() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = cluster.command(["run", "--", "sh", "-c", "echo begun; cat; echo ended"]);
    command.stdin(terminal.slave).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut run = command.spawn().expect("it starts");
    drop(command);
    run.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 6]).expect("output");
    drop(terminal.master);
    signal(&run, Signal::SIGHUP);
    assert_eq!(run.wait().expect("it ends").code(), Some(129));
    let ran = cluster.start_with_input(["attach", "1"], b"two\n".to_vec()).finish(SOON);
    assert!(ran.code == Some(0) && ran.stdout_text().ends_with("two\nended\n"), "{ran:?}");
}

#[test]
fn an_array_is_shown_by_attach_as_by_its_run_and_outputs_come_back() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    let line = format!("{}; echo {{}}; echo {{}} > {{}}.txt", until(&gate));
    let run = cluster.start(["run", "--out", "{}.txt", &line, ":::", "a", "b"]);
    soon("it runs", || cluster.json(["list"])[0]["state"] == "running");
    run.signal(Signal::SIGHUP);
    assert_eq!(run.finish(SOON).code, Some(129));
    let attached = cluster.start(["attach", "1"]);
    std::fs::write(&gate, "").expect("a file");
    let ran = attached.finish(SOON);
    let stdout = ran.stdout_text();
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!((ran.code, lines), (Some(0), vec!["a", "b"]), "{ran:?}");
    let brought = std::fs::read_to_string(cluster.scratch().join("b.txt"));
    assert_eq!(brought.expect("it is here"), "b\n");
}

#[test]
fn a_submitted_job_is_followed_and_ctrl_c_leaves_it_alone() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    cluster.ok(["submit", "--retries", "0", "--", &format!("echo out; {}; exit 7", until(&gate))]);
    let look = cluster.node(cluster.command(["attach", "1"]));
    look.says("out");
    look.signal(Signal::SIGINT);
    look.says("goes on; `octaskly attach 1.0` returns to it");
    let attached = cluster.start(["attach", "1"]);
    std::fs::write(&gate, "").expect("a file");
    let ran = attached.finish(SOON);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(7), "out\n"), "{ran:?}");
    cluster.run(["attach", "99"]).says_failure_and_hint(125, "there is no job 99");
    cluster.run(["attach", "1-2"]).says_failure_and_hint(2, "ID");
}
