//! Bad input everywhere gets one line, a hint where there is one, and the
//! documented code.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Cluster, free_port, not_tested, soon};

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

/// A file system of its own in `cluster`'s scratch folder; `None` when this user may mount none.
fn small_disk(cluster: &Cluster, size: &str) -> Option<(PathBuf, Unmount)> {
    let disk = cluster.scratch().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let options = format!("size={size}");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "octest"]).arg(&disk).status();
    mounted.is_ok_and(|status| status.success()).then(|| (disk.clone(), Unmount(disk)))
}

/// Takes all the room there is on a disk, and gives the file that has it.
fn fill(disk: &Path) -> PathBuf {
    let filler = disk.join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    let piece = vec![1; 4096];
    while file.write_all(&piece).is_ok() {}
    filler
}

#[test]
fn a_full_disk_refuses_new_work_finishes_what_runs_and_goes_on_by_itself_when_there_is_room() {
    let cluster = Cluster::new();
    let Some((disk, _unmount)) = small_disk(&cluster, "64m") else {
        return not_tested("this user may not mount a tmpfs, so no disk can be filled");
    };
    let store = disk.join("store.sqlite");
    let dispatcher = cluster.dispatcher_with(&["--store", store.to_str().expect("text")]);
    let worker = cluster.worker_with(&["--name", "worker-a", "--max-jobs", "1"]);
    worker.says("Joined");
    let gate = cluster.scratch().join("gate");
    let line = format!("while ! [ -e {} ]; do sleep 0.05; done; echo through", gate.display());
    assert_eq!(cluster.ok(["submit", "-q", &line]).trim(), "1");
    soon("the first job runs", || cluster.job_state("1").as_deref() == Some("running"));
    assert_eq!(cluster.ok(["submit", "-q", "--", "echo", "second"]).trim(), "2");
    soon("room was set aside", || disk.join("store.sqlite.reserve").exists());
    let filler = fill(&disk);

    let text = "x".repeat(60_000);
    let mut acknowledged = 2;
    let refused = loop {
        let ran = cluster.run(["submit", "-q", "--", "echo", &text]);
        if ran.code != Some(0) {
            break ran;
        }
        acknowledged += 1;
        assert!(acknowledged < 200, "a full disk takes them all");
    };
    refused.says_failure_and_hint(1, "disk is full");
    dispatcher.says("The disk is full");
    assert_eq!(cluster.json(["status"])["disk"], "full");
    fs::write(&gate, "").expect("opens the gate");
    assert_eq!(cluster.run(["wait", "1"]).code, Some(0), "what runs ends and is recorded");
    assert!(cluster.ok(["logs", "1"]).contains("through"));
    assert_eq!(cluster.job_state("2").as_deref(), Some("ready"), "nothing new is started");
    assert!(cluster.ok(["explain", "2"]).contains("room on the dispatcher's disk"));

    fs::remove_file(filler).expect("makes room");
    assert_eq!(cluster.run(["wait", "2"]).code, Some(0), "it goes on by itself");
    dispatcher.says("The disk has room again");
    assert_eq!(cluster.json(["status"])["disk"], "enough");
    cluster.ok(["submit", "-q", "--", "true"]);
    let jobs = cluster.json(["list", "--all", "--limit", "1000"]);
    assert_eq!(jobs.as_array().map_or(0, Vec::len), acknowledged + 1);
}

#[test]
fn a_dispatcher_that_ended_somehow_starts_again_on_a_full_disk_with_all_it_had_acknowledged() {
    // One that was killed leaves all of its files; one that stopped has removed some, and needs room for them.
    for killed in [true, false] {
        starts_again_on_a_full_disk(killed);
    }
}

fn starts_again_on_a_full_disk(killed: bool) {
    let cluster = Cluster::new();
    let Some((disk, _unmount)) = small_disk(&cluster, "64m") else {
        return not_tested("this user may not mount a tmpfs, so no disk can be filled");
    };
    let store = disk.join("store.sqlite");
    let options = ["--store", store.to_str().expect("text")];
    let mut dispatcher = cluster.dispatcher_with(&options);
    soon("room was set aside", || disk.join("store.sqlite.reserve").exists());
    cluster.ok(["submit", "-q", "--", "true"]);
    if killed {
        fill(&disk);
        dispatcher.kill();
    } else {
        assert_eq!(dispatcher.stop(), Some(0));
        fill(&disk);
    }
    let again = cluster.dispatcher_with(&options);
    assert_eq!(cluster.job_state("1").as_deref(), Some("ready"));
    again.says("The disk is full");
    cluster.run(["submit", "-q", "--", "true"]).says_failure_and_hint(1, "disk is full");
}

#[test]
fn a_damaged_store_is_refused_by_name_and_repaired_on_demand() {
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    for number in 1..=40 {
        cluster.ok(["submit", "-q", "--", "echo", &format!("{number} {}", "x".repeat(3000))]);
    }
    assert_eq!(dispatcher.stop(), Some(0));
    let store = cluster.home().join("dispatcher/store.sqlite");
    let mut bytes = fs::read(&store).expect("reads");
    let at = bytes.windows(8).position(|piece| piece == b"20 xxxxx").expect("job 20 is in it");
    let page = at / 4096 * 4096;
    bytes[page..page + 4096].fill(0x5a);
    fs::write(&store, &bytes).expect("damages it");

    let port = cluster.port().to_string();
    let ran = cluster.run(["dispatcher", "--bind", "127.0.0.1", "--port", &port]);
    ran.says_failure_and_hint(1, store.to_str().expect("text"));
    assert!(ran.stderr_text().contains("--repair"), "{ran:?}");
    assert!(fs::read(&store).expect("reads") == bytes, "it is left as it is");

    let mut repaired = cluster.dispatcher_with(&["--repair"]);
    let kept = cluster.home().join("dispatcher/store.sqlite.damaged-1");
    repaired.says(kept.to_str().expect("text"));
    repaired.says("Not saved, because parts were unreadable");
    assert!(fs::read(&kept).expect("reads") == bytes, "the damaged file is kept");
    let jobs = cluster.json(["list", "--all"]);
    let count = jobs.as_array().map_or(0, Vec::len);
    assert!((20..40).contains(&count), "{count} jobs were saved");
    assert!(cluster.ok(["submit", "-q", "--", "true"]).trim().parse::<u64>().expect("a number") > 40);
    assert_eq!(repaired.stop(), Some(0));
    cluster.dispatcher_with(&["--repair"]).says("is sound: there is nothing to repair");
}

/// Unmounts when the test is over.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
