//! What signals do to the commands and nodes that users start: from a terminal,
//! under `nohup`, in the background of a script.

mod harness;

use std::fs::File;
use std::process::{Command, Stdio};

use harness::{Cluster, MARKER, SOON, Started, await_nothing_left, await_sleepers, marker, soon};
use nix::sys::signal::Signal;

/// `octaskly ARGS…`, started as `nohup` and a script's background job start it: with these signals ignored.
fn ignoring(cluster: &Cluster, signals: &str, args: &[&str]) -> Command {
    let plain = cluster.command(args);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("trap '' {signals}; exec \"$0\" \"$@\"")]).arg(plain.get_program());
    command.args(plain.get_args()).current_dir(cluster.scratch()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// A shell line that ends with 7 once `gate` exists.
fn until(gate: &std::path::Path) -> String {
    format!("while ! test -e {}; do sleep 0.05; done; exit 7", gate.display())
}

#[test]
fn a_command_that_was_started_to_ignore_a_signal_ignores_it() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    let job = cluster.ok(["submit", "-q", "--retries", "0", "--", &until(&gate)]).trim().to_owned();
    let commands: [&[&str]; 5] = [
        &["run", "--", &until(&gate)],
        &["run", "{}; exit 7", ":::", &format!("echo begun; {}", until(&gate))],
        &["submit", "--wait", "--retries", "0", "--", &until(&gate)],
        &["wait", &job],
        &["logs", "-f", &job],
    ];
    let started = commands.map(|args| Started::of(ignoring(&cluster, "HUP INT QUIT", args)));
    soon("all of it runs", || cluster.json(["list"]).as_array().is_some_and(|jobs| jobs.len() == 4));
    // Each has handlers by the time its job runs.
    soon("all jobs run", || {
        cluster.json(["list"]).as_array().is_some_and(|jobs| jobs.iter().all(|job| job["state"] == "running"))
    });
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        started.iter().for_each(|command| command.signal(signal));
    }
    std::fs::write(&gate, "").expect("a file");
    let codes = started.map(|command| command.finish(SOON).code);
    assert_eq!(codes, [Some(7), Some(1), Some(1), Some(1), Some(0)]);
}

#[test]
fn an_embedded_run_ignores_what_it_was_started_to_ignore_and_its_task_does_not() {
    let cluster = Cluster::new();
    let gate = cluster.scratch().join("gate");
    let begun = cluster.scratch().join("begun");
    let line = format!("touch {}; grep SigIgn /proc/self/status; {}", begun.display(), until(&gate));
    let run = Started::of(ignoring(&cluster, "HUP INT QUIT", &["run", "-q", "--", &line]));
    soon("the task runs", || begun.exists());
    run.signal(Signal::SIGHUP);
    run.signal(Signal::SIGINT);
    std::fs::write(&gate, "").expect("a file");
    let ran = run.finish(SOON);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(7), "SigIgn:\t0000000000000000\n"), "{ran:?}");
}

#[test]
fn a_node_that_was_started_to_ignore_a_hang_up_goes_on() {
    let cluster = Cluster::new();
    let port = cluster.port().to_string();
    let args = ["dispatcher", "--bind", "127.0.0.1", "--port", &port];
    let mut dispatcher = cluster.node(ignoring(&cluster, "HUP", &args));
    dispatcher.says("Dispatcher listening on");
    let mut worker = cluster.node(ignoring(&cluster, "HUP", &["worker", "--name", "a"]));
    worker.says("Joined the dispatcher");
    worker.signal(Signal::SIGHUP);
    dispatcher.signal(Signal::SIGHUP);
    let said = cluster.ok(["run", "--", "grep", "SigIgn", "/proc/self/status"]);
    assert_eq!(said, "SigIgn:\t0000000000000000\n");
    assert_eq!((worker.stop(), dispatcher.stop()), (Some(0), Some(0)));
}

#[test]
fn a_run_that_is_terminated_cancels_its_task_and_ends_with_143() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    for (args, what) in [(vec!["run", "--"], "one task"), (vec!["run", "--array", "1-2", "--"], "an array")] {
        let marker = marker();
        let mark = format!("{MARKER}={marker}");
        let mut all = args.clone();
        all.splice(1..1, ["--env", &mark]);
        all.extend(["sh", "-c", harness::DAEMON_AND_SLEEP]);
        let run = cluster.start(&all);
        await_sleepers(&marker, 3);
        run.signal(Signal::SIGTERM);
        let ran = run.finish(SOON);
        assert_eq!(ran.code, Some(143), "{what}: {ran:?}");
        assert!(ran.stderr_text().contains("cancelling job"), "{what}: {ran:?}");
        await_nothing_left(&marker);
    }
}

#[test]
fn an_embedded_run_ends_with_the_number_of_its_signal_and_leaves_nothing() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let cluster = Cluster::new();
        let marker = marker();
        let mark = format!("{MARKER}={marker}");
        let run = cluster.start(["run", "--env", &mark, "--", "sh", "-c", harness::DAEMON_AND_SLEEP]);
        await_sleepers(&marker, 3);
        run.signal(signal);
        assert_eq!(run.finish(SOON).code, Some(code));
        await_nothing_left(&marker);
    }
}

#[test]
fn a_worker_whose_terminal_closes_lets_its_task_end_and_then_stops() {
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    // Its standard output and error are a terminal, which is gone when the first half is dropped.
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = cluster.command(["worker", "--name", "a"]);
    let out = File::from(terminal.slave);
    command.stdin(Stdio::null()).stdout(out.try_clone().expect("a handle")).stderr(out);
    let mut worker = command.spawn().expect("it starts");
    drop(command);
    dispatcher.says("Worker a joined");
    let gate = cluster.scratch().join("gate");
    let job = cluster.ok(["submit", "-q", "--retries", "0", "--", &until(&gate)]).trim().to_owned();
    soon("the task runs", || cluster.json(["show", &job, "--tasks"])[0]["started_at"].is_string());
    drop(terminal.master);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(worker.id()).expect("a process id"));
    // The kernel tells the foreground processes, and the shell tells its jobs.
    for _ in 0..2 {
        nix::sys::signal::kill(pid, Signal::SIGHUP).expect("it is there");
    }
    soon("it takes no more work", || cluster.json(["workers"])[0]["state"] == "draining");
    std::fs::write(&gate, "").expect("a file");
    let ended = harness::eventually("the worker ends", SOON, || worker.try_wait().expect("a status"));
    assert_eq!(ended.expect("in time").code(), Some(0));
    let task = &cluster.json(["show", &job, "--tasks"])[0];
    assert_eq!(
        (task["exit_code"].as_i64(), task["attempt"].as_u64()),
        (Some(7), Some(1)),
        "it ended by itself: {task}"
    );
    dispatcher.signal(Signal::SIGHUP);
    assert_eq!(dispatcher.ended(), Some(0));
}
