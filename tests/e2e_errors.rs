//! Bad input everywhere gets one line, a hint where there is one, and the
//! documented code.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use harness::{Cluster, free_port, not_tested};

#[test]
fn an_unknown_host_is_named() {
    let cluster = Cluster::new();
    cluster.run(["worker", "--dispatcher", "no-such-host.invalid"]).says_failure_and_hint(1, "no-such-host.invalid");
    let ran = cluster.run(["list", "--dispatcher", "no-such-host.invalid"]);
    ran.says_failure(125, "no-such-host.invalid");
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let ran = cluster.run(["dispatcher", "--bind", "127.0.0.1", "--port", &port]);
    ran.says_failure_and_hint(1, &port);
}

#[test]
fn a_dispatcher_that_does_not_answer_is_code_125() {
    let cluster = Cluster::new();
    let address = format!("127.0.0.1:{}", free_port());
    let ran = cluster.run(["list", "--dispatcher", &address]);
    ran.says_failure_and_hint(125, "");
}

#[test]
fn usage_errors_are_code_2_with_one_line() {
    let cluster = Cluster::new();
    let table: &[&[&str]] = &[
        &["run", "--mem", "lots", "true"],
        &["run", "--cpus", "0", "true"],
        &["run", "--time-limit", "soon", "true"],
        &["run", "--array", "9-1", "true"],
        &["worker", "--memory", "-5"],
        &["worker", "--max-jobs", "0"],
        &["dispatcher", "--port", "70000"],
        &["dispatcher", "--bind", "not-an-address"],
        &["list", "--state", "sleeping"],
        &["cancel", "3-1"],
        &["frobnicate"],
        &["run"],
    ];
    for args in table {
        let ran = cluster.run(*args);
        ran.says_failure(2, "");
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn an_unreadable_stdin_file_is_named() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let missing = cluster.scratch().join("missing");
    let missing = missing.to_str().expect("text");
    for verb in ["run", "submit"] {
        cluster.run([verb, "--stdin", missing, "cat"]).says_failure(2, missing);
    }
}

#[test]
fn unknown_jobs_are_named() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    for args in [["show", "77"], ["cancel", "77"], ["logs", "77"], ["wait", "77"], ["explain", "77"], ["retry", "77"]] {
        let ran = cluster.run(args);
        assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
        assert!(ran.stderr_text().contains("77"), "{ran:?}");
    }
}

#[test]
fn a_home_with_loose_permissions_is_refused_with_the_command_that_mends_it() {
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    assert_eq!(dispatcher.stop(), Some(0));
    let folder = cluster.home().join("dispatcher");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("loosened");
    let port = cluster.port().to_string();
    let ran = cluster.run(["dispatcher", "--bind", "127.0.0.1", "--port", &port]);
    ran.says_failure_and_hint(1, folder.to_str().expect("text"));
    let hint =
        ran.stderr_text().lines().find_map(|line| line.strip_prefix("hint: ").map(str::to_owned)).expect("a hint");
    assert!(Command::new("sh").args(["-c", &hint]).status().expect("sh starts").success(), "{hint}");
    let _mended = cluster.dispatcher();
}

#[test]
fn two_nodes_on_one_identity_are_refused() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let elsewhere = free_port().to_string();
    let ran = cluster.run(["dispatcher", "--bind", "127.0.0.1", "--port", &elsewhere]);
    ran.says_failure_and_hint(1, "second dispatcher");
    cluster.run(["worker", "--name", "worker-a"]).says_failure_and_hint(1, "another running node has it");
}

#[test]
fn a_full_disk_refuses_submissions_and_loses_none_that_was_acknowledged() {
    let cluster = Cluster::new();
    let disk = cluster.scratch().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "octest"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return not_tested("this user may not mount a tmpfs, so no disk can be filled");
    }
    let _unmount = Unmount(&disk);
    let store = disk.join("store.sqlite");
    let store = store.to_str().expect("text");
    let mut dispatcher = cluster.dispatcher_with(&["--store", store]);
    let filler = "x".repeat(60_000);
    let mut acknowledged = 0;
    // Each is a little more than 60 KB: the disk holds fewer than fifty.
    for _ in 0..50 {
        let submission = cluster.start(["submit", "-q", "--", "echo", &filler]);
        // A dispatcher that cannot write goes down; the client waits for it to come back.
        match submission.finish_unless(|| !dispatcher.is_running()) {
            Some(ran) if ran.code == Some(0) => acknowledged += 1,
            Some(ran) => assert!(matches!(ran.code, Some(1 | 125)) && !ran.stderr.is_empty(), "{ran:?}"),
            None => break,
        }
    }
    assert!((1..50).contains(&acknowledged), "{acknowledged} were acknowledged");
    if dispatcher.is_running() {
        assert_eq!(dispatcher.stop(), Some(0));
    } else {
        let said = dispatcher.log();
        assert!(said.contains("error: ") && said.contains("disk is full") && said.contains("hint: "), "{said}");
    }
    // Room again: everything acknowledged is there.
    let remounted = Command::new("mount").args(["-o", "remount,size=32m"]).arg(&disk).status();
    assert!(remounted.is_ok_and(|status| status.success()));
    let _again = cluster.dispatcher_with(&["--store", store]);
    let jobs = cluster.json(["list", "--all", "--limit", "1000"]);
    let count = jobs.as_array().map_or(0, Vec::len);
    assert!(count >= acknowledged, "{acknowledged} were acknowledged and {count} are there");
}

/// Unmounts when the test is over.
struct Unmount<'a>(&'a std::path::Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
