//! Killed dispatchers and workers, cancelled tasks, full stores and files that
//! change under way.

use std::fs;
use std::time::Duration;

use crate::desk::{Desk, sent};
use crate::harness::{Cluster, Node, bytes_written, soon};

/// Long enough for hundreds of megabytes on a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

/// Bytes that do not repeat, so that every piece is another one.
fn noise(desk: &Desk, name: &str, mib: u64) {
    desk.sh(&format!("head -c {} /dev/urandom > {name}", mib * MIB));
}

/// Waits until a process has written so many bytes more than it had.
fn writes(node: &Node, before: u64, bytes: u64) {
    soon("files arrive", || bytes_written(node.pid()) >= before + bytes);
}

#[test]
fn an_upload_goes_on_where_it_was_when_the_dispatcher_was_killed() {
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    let worker = cluster.worker("worker-a");
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    noise(&desk, "big", 300);
    let before = bytes_written(dispatcher.pid());
    let run = desk.start(["--verbose", "run", "--in", "big", "sha256sum < big"]);
    writes(&dispatcher, before, 100 * MIB);
    dispatcher.kill();
    let _dispatcher = desk.dispatcher();
    let ran = run.finish(LONG);
    assert_eq!((ran.code, ran.stdout.clone()), (Some(0), desk.sh("sha256sum < big")), "{ran:?}");
    let sent = sent(&ran);
    assert!((300 * MIB..380 * MIB).contains(&sent), "what had arrived was not sent again: {sent} bytes were");
}

#[test]
fn a_killed_worker_does_not_fetch_again_what_it_had() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let mut worker = cluster.worker("worker-a");
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    noise(&desk, "big", 300);
    let before = bytes_written(worker.pid());
    desk.ok(["submit", "-q", "--in", "big", "--out", "sum", "sha256sum < big > sum"]);
    writes(&worker, before, 100 * MIB);
    worker.kill();
    let worker = desk.worker("worker-a");
    worker.says("Joined the dispatcher");
    desk.start(["wait", "1"]).finish(LONG);
    desk.ok(["get", "1"]);
    assert_eq!(desk.read("sum"), desk.sh("sha256sum < big"));
    let transfers = desk.json(["show", "1", "--tasks"])[0]["transfers"].clone();
    let fetched = transfers.as_array().and_then(|all| all.iter().find(|one| one["path"] == "dispatcher").cloned());
    let fetched = fetched.and_then(|one| one["bytes"].as_u64()).unwrap_or(0);
    assert!(fetched < 260 * MIB, "it had much of it already: {transfers}");
}

#[test]
fn a_success_is_never_told_without_its_outputs_whenever_the_worker_dies() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let mut worker = cluster.worker("worker-a");
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    let ended = desk.path("ended").display().to_string();
    let script = format!("head -c 200M /dev/zero | tr '\\0' x > out; echo $$ >> {ended}");
    desk.ok(["submit", "-q", "--out", "out", &script]);
    soon("the task has ended", || fs::exists(&ended).is_ok_and(|it| it));
    worker.kill();
    let _worker = desk.worker("worker-a");
    let waited = desk.start(["wait", "1"]).finish(LONG);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    desk.ok(["get", "1"]);
    assert_eq!(fs::metadata(desk.path("out")).expect("it came").len(), 200 * MIB);
}

#[test]
fn a_task_that_is_cancelled_while_its_inputs_come_leaves_nothing_behind() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let worker = cluster.worker("worker-a");
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    noise(&desk, "big", 200);
    let before = bytes_written(worker.pid());
    desk.ok(["submit", "-q", "--in", "big", "true"]);
    writes(&worker, before, 40 * MIB);
    desk.ok(["cancel", "1"]);
    soon("it is cancelled", || desk.job_state("1").as_deref() == Some("cancelled"));
    assert_eq!(desk.ok(["run", "--in", "big", "wc -c < big"]).trim(), (200 * MIB).to_string());
}

#[test]
fn an_interrupted_get_leaves_nothing_half_done_in_the_folder() {
    let desk = Desk::new();
    desk.ok(["submit", "-q", "--wait", "--out", "big", &format!("head -c {} /dev/urandom > big", 400 * MIB)]);
    for _ in 0..3 {
        let get = desk.start(["get", "1", "-C", "here"]);
        let begun = || fs::read_dir(desk.path("here")).is_ok_and(|mut entries| entries.next().is_some());
        soon("it begins to arrive", begun);
        get.signal(nix::sys::signal::Signal::SIGINT);
        let ran = get.finish(LONG);
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert_eq!(desk.sh("ls -A here"), b"", "nothing is left");
    }
}

#[test]
fn a_dispatcher_without_room_refuses_an_input_and_says_what_to_do() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher_with(&["--file-quota", "4M"]);
    let _worker = cluster.worker("worker-a");
    let desk = Desk::of(cluster);
    noise(&desk, "big", 8);
    desk.run(["run", "--in", "big", "true"]).says_failure_and_hint(125, "make room for");
    desk.write("small", "fits");
    assert_eq!(desk.ok(["run", "--in", "small", "cat small"]), "fits");
}

#[test]
fn a_dispatcher_makes_room_while_a_job_has_a_directory_and_keeps_what_is_in_it() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher_with(&["--file-quota", "4M"]);
    let _worker = cluster.worker("worker-a");
    let desk = Desk::of(cluster);
    desk.sh("mkdir d && printf kept > d/listed");
    desk.ok(["submit", "-q", "--in", "d", "cat d/listed"]);
    for file in ["one", "two", "three"] {
        noise(&desk, file, 3);
        desk.ok(["run", "--in", file, "true"]);
        desk.ok(["forget", desk.json(["list", "--all"])[0]["id"].to_string().trim_matches('"')]);
    }
    assert_eq!(desk.ok(["run", "--in", "d", "cat d/listed"]), "kept");
}

#[test]
fn outputs_for_which_there_is_no_room_fail_their_task_and_keep_a_failures_exit_code() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher_with(&["--p2p-enabled", "false", "--file-quota", "4M"]);
    let _worker = cluster.worker("worker-a");
    let desk = Desk::of(cluster);
    let script = "head -c 8M /dev/urandom > big";
    let ran = desk.run(["run", "--retries", "0", "--out", "big", script]);
    ran.says_failure(125, "failed to keep its outputs");
    assert_eq!(desk.json(["show", "1", "--tasks"])[0]["cause"], "transfer");
    let ran = desk.run(["run", "--retries", "0", "--out", "big", &format!("{script}; exit 9")]);
    assert_eq!(ran.code, Some(9), "{ran:?}");
}

#[test]
fn an_input_that_changes_or_goes_before_it_is_sent_is_an_error_and_no_job() {
    for change in ["echo other > first", "rm first"] {
        let cluster = Cluster::new();
        let dispatcher = cluster.dispatcher();
        let desk = Desk::of(cluster);
        desk.write("first", "as it was");
        // It waits for a dispatcher that does not answer: everything has been read by then.
        dispatcher.signal(nix::sys::signal::Signal::SIGSTOP);
        let submit = desk.start(["submit", "--in", "first", "true"]);
        let pid = submit.pid();
        soon("it has read its input and connects", || {
            let sockets = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            sockets
                .filter_map(|fd| fs::read_link(fd.path()).ok())
                .any(|to| to.to_string_lossy().starts_with("socket:["))
                && fs::read_to_string(format!("/proc/{pid}/net/udp")).is_ok()
        });
        desk.sh(change);
        dispatcher.signal(nix::sys::signal::Signal::SIGCONT);
        submit.finish(LONG).says_failure(125, "first");
        assert_eq!(desk.job_state("1"), None);
    }
}

#[test]
fn a_large_file_costs_nobody_memory() {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher();
    let worker = cluster.worker("worker-a");
    worker.says("Joined the dispatcher");
    let desk = Desk::of(cluster);
    desk.sh("truncate -s 1G big; printf end >> big");
    let run = desk.start(["run", "--in", "big", "--out", "tail", "tail -c 3 big > tail"]);
    let (pid, mut peak) = (u32::try_from(run.pid()).expect("a process id"), 0);
    let ran = {
        let watched = std::thread::spawn(move || {
            while let Some(now) = crate::harness::peak_memory_of(pid) {
                peak = peak.max(now);
                #[expect(clippy::disallowed_methods, reason = "a pause between two looks")]
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        let ran = run.finish(LONG);
        let client = watched.join().expect("a number");
        assert!(client < 200 * MIB, "the client had {client} bytes");
        ran
    };
    assert_eq!((ran.code, desk.read("tail")), (Some(0), b"end".to_vec()), "{ran:?}");
    for node in [dispatcher, worker] {
        assert!(node.peak_memory() < 256 * MIB, "{} bytes", node.peak_memory());
    }
}
