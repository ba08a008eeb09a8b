//! What workers lack: a directory, descriptors; and how long a task may run there.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Cluster, Node, Started, soon};

/// What a worker that was refused waits before it is tried again, and some time for a busy machine.
const TRIED_AGAIN: Duration = Duration::from_secs(40);

/// A command of this cluster that is typed in `directory`.
fn typed_in(cluster: &Cluster, directory: &Path, args: &[&str]) -> Command {
    let mut command = cluster.command(args);
    command.current_dir(directory).env("PWD", directory);
    command
}

/// A worker with these options under this limit of open files.
fn worker_limited(cluster: &Cluster, limit: &str, options: &[&str]) -> Node {
    cluster.node(limited(cluster, limit, &[&["worker"], options].concat()))
}

/// This command line, typed behind a `ulimit`.
fn limited(cluster: &Cluster, limit: &str, args: &[&str]) -> Command {
    let plain = cluster.command(args);
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", &format!("{limit}; exec \"$@\""), "sh"]).arg(plain.get_program()).args(plain.get_args());
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(cluster.scratch());
    limited
}

#[test]
fn a_relative_cwd_is_the_directory_of_who_types_it() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let project = cluster.scratch().join("project");
    std::fs::create_dir_all(project.join("sub")).expect("directories");
    let link = cluster.scratch().join("link");
    std::os::unix::fs::symlink(&project, &link).expect("a link");
    let pwd = |directory: &Path, cwd: &str| {
        let ran = Started::of(typed_in(&cluster, directory, &["run", "--cwd", cwd, "--", "pwd"])).finish(harness::SOON);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout_text().trim_end().to_owned()
    };
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    assert_eq!(pwd(&project, "."), text(&project));
    assert_eq!((pwd(&project, "sub/"), pwd(&project, "..")), (text(&project.join("sub")), text(cluster.scratch())));
    // The name that it has in the shell is the one that the worker is asked for.
    let submitted = Started::of(typed_in(&cluster, &link, &["submit", "-q", "--cwd", ".", "true"]));
    assert_eq!(submitted.finish(harness::SOON).code, Some(0));
    let shown = cluster.ok(["show", "last"]);
    assert!(shown.contains(&format!("{}\n", link.display())), "{shown}");
}

#[test]
fn a_cwd_that_names_nothing_is_refused_before_anything_is_queued() {
    let cluster = Cluster::new();
    let gone = cluster.scratch().join("gone");
    std::fs::create_dir(&gone).expect("a directory");
    let mut line: Vec<OsString> = vec!["-c".into(), "cd gone && rmdir ../gone && exec \"$@\"".into(), "sh".into()];
    line.push(env!("CARGO_BIN_EXE_octaskly").into());
    line.extend(["submit", "--cwd", ".", "true"].map(OsString::from));
    let mut command = Command::new("/bin/sh");
    command.args(line).current_dir(cluster.scratch()).env("OCTASKLY_HOME", cluster.home());
    let ran = Started::of(command).finish(harness::SOON);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr_text().contains("--cwd"), "{ran:?}");
    for (cwd, more) in [("~/data", &["true"][..]), ("/data/{}", &["true", ":::", "a", "b"]), ("", &["true"])] {
        let ran = cluster.run(["submit", &format!("--cwd={cwd}")].iter().chain(more));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr_text().contains("--cwd"), "{ran:?}");
    }
}

#[test]
fn a_task_waits_for_its_directory_without_being_tried_and_runs_when_it_is_there() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let directory = cluster.scratch().join("later");
    let cwd = directory.to_str().expect("text").to_owned();
    // No retry: whatever was counted as one would end it.
    let job = cluster.ok(["submit", "-q", "--retries", "0", "--cwd", &cwd, "pwd; echo $OCTASKLY_ATTEMPT"]);
    let job = job.trim();
    let lacks = format!("has no directory {cwd}");
    soon("it is explained", || cluster.ok(["explain", job]).contains(&lacks));
    assert_eq!(cluster.job_state(job).as_deref(), Some("ready"));
    // Other work is not held up by it.
    assert_eq!(cluster.run(["run", "--", "true"]).code, Some(0));
    std::fs::create_dir(&directory).expect("a directory");
    let waited = cluster.start(["wait", job]).finish(TRIED_AGAIN);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    assert!(cluster.ok(["logs", job]).starts_with(&format!("{cwd}\n")));
    assert!(cluster.ok(["show", &format!("{job}.0")]).contains("0 failed, 0 lost"));
}

#[test]
fn a_run_without_a_dispatcher_fails_where_its_directory_is_missing() {
    let cluster = Cluster::new();
    let ran = cluster.run(["run", "--cwd", "/no/such/place", "--", "true"]);
    assert_eq!(ran.code, Some(126), "{ran:?}");
    assert!(ran.stderr_text().contains("/no/such/place: no such directory"), "{ran:?}");
}

#[test]
fn the_time_limit_is_told_at_submission_in_show_and_when_it_is_over() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher_with(&["--task-timeout", "2"]);
    let _worker = cluster.worker("a");
    let option = "--task-timeout";
    let ran = cluster.run(["submit", "true"]);
    let said = ran.stderr_text();
    assert!(said.contains(option) && said.contains("2 s") && said.contains("--time-limit"), "{ran:?}");
    for own in [&["submit", "-q", "true"][..], &["submit", "--time-limit", "1h", "true"]] {
        let ran = cluster.run(own);
        assert!(ran.code == Some(0) && !ran.stderr_text().contains(option), "{ran:?}");
    }
    let limit = |job: &str| {
        let shown = cluster.ok(["show", job]);
        shown.lines().find(|line| line.contains("time limit")).expect("a line with the limit").to_owned()
    };
    assert!(limit("1").contains("2 s (the dispatcher's --task-timeout)"), "{}", limit("1"));
    assert!(limit("3").contains("1 h (--time-limit)"), "{}", limit("3"));
    let ran = cluster.run(["run", "--", "sleep", "600"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
    let said = ran.stderr_text();
    assert!(said.contains("after 2 s: the dispatcher's --task-timeout") && said.contains("--time-limit"), "{ran:?}");
    let ran = cluster.run(["run", "--time-limit", "1s", "--", "sleep", "600"]);
    assert!(ran.stderr_text().contains("its --time-limit of 1 s") && ran.code == Some(124), "{ran:?}");
    assert!(cluster.ok(["show", "4"]).contains("the dispatcher's --task-timeout"));
    assert!(limit("1.0").contains("2 s (the dispatcher's --task-timeout)"), "{}", limit("1.0"));
}

#[test]
fn more_tasks_run_at_once_than_the_soft_limit_of_open_files_allows_and_see_that_limit() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let worker = worker_limited(&cluster, "ulimit -Sn 100", &["--name", "a", "--max-jobs", "60"]);
    worker.says("Joined the dispatcher");
    assert_eq!(cluster.ok(["run", "--", "sh", "-c", "ulimit -Sn"]), "100\n");
    let job = cluster.ok(["submit", "-q", "--array", "1-60", "exec sleep 600"]).trim().to_owned();
    let running = || cluster.json(["list"])[0]["tasks"]["running"].clone();
    soon("all of them run", || running() == 60);
    cluster.ok(["cancel", &job]);
}

#[test]
fn slots_are_bounded_by_the_files_that_a_worker_may_open_and_no_task_fails_for_them() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let worker = worker_limited(&cluster, "ulimit -n 96", &["--name", "a", "--max-jobs", "1000"]);
    worker.says("--max-jobs 1000 needs more than the 96 open files");
    worker.says("Joined the dispatcher");
    let slots = cluster.json(["workers"])[0]["slots"]["total"].as_u64().expect("a number");
    assert!((2..20).contains(&slots), "{slots} slots");
    let ran = cluster.start(["submit", "--wait", "--retries", "0", "--array", "1-100", "seq 1000"]).finish(TRIED_AGAIN);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_run_that_may_open_almost_no_files_says_so_instead_of_breaking_down() {
    let cluster = Cluster::new();
    for limit in ["ulimit -n 20", "ulimit -n 30", "ulimit -n 40"] {
        let ran = Started::of(limited(&cluster, limit, &["run", "--", "echo", "hi"])).finish(harness::SOON);
        let said = ran.stderr_text();
        assert!(ran.code == Some(0) || ran.code == Some(125) && said.contains("error: "), "{limit}: {ran:?}");
        assert!(!said.contains("bug"), "{limit}: {ran:?}");
    }
}
