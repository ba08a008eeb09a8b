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

/// Which of SIGHUP, SIGINT and SIGQUIT a line of `/proc/self/status` says to be ignored: the lowest three bits.
fn ignored(line: &str) -> u64 {
    let mask = line.strip_prefix("SigIgn:").map(|mask| u64::from_str_radix(mask.trim(), 16));
    mask.expect("the line of ignored signals").expect("a number") & 0b111
}

/// Whether a process has a handler for SIGINT.
fn catches_interrupts(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
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
        &["run", &format!(": {{}}; {}", until(&gate)), ":::", "a"],
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
    assert_eq!((ran.code, ignored(&ran.stdout_text())), (Some(7), 0), "{ran:?}");
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
    assert_eq!(ignored(&said), 0, "{said}");
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

#[test]
fn a_run_whose_terminal_is_gone_leaves_its_job_and_says_how_to_come_back() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    for array in [false, true] {
        let line = until(&gate).replace("exit 7", "true");
        let mut args = vec!["run", &line];
        args.extend(if array { vec![":::", "a", "b"] } else { vec![] });
        let run = cluster.start(args);
        soon("it runs", || cluster.json(["list"])[0]["state"] == "running");
        let job = cluster.json(["list"])[0]["id"].to_string();
        run.signal(Signal::SIGHUP);
        let ran = run.finish(SOON);
        assert_eq!(ran.code, Some(129), "{ran:?}");
        assert!(ran.stderr_text().contains(&format!("within 1 h, `octaskly attach {job}`")), "{ran:?}");
        assert_eq!(cluster.job_state(&job).as_deref(), Some("running"));
        std::fs::write(&gate, "").expect("a file");
        cluster.ok(["wait", &job]);
        std::fs::remove_file(&gate).expect("removed");
    }
}

#[test]
fn a_run_that_is_left_for_longer_than_its_grace_is_cancelled_and_says_why() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    for command in [&["--", "sleep", "999"][..], &["sleep 999; echo {}", ":::", "a", "b"]] {
        let marker = marker();
        let mark = format!("{MARKER}={marker}");
        let mut args = vec!["run", "--client-grace", "300ms", "--env", &mark];
        args.extend(command);
        let run = cluster.start(args);
        await_sleepers(&marker, 1);
        let job = cluster.json(["list"])[0]["id"].to_string();
        run.signal(Signal::SIGHUP);
        assert_eq!(run.finish(SOON).code, Some(129));
        await_nothing_left(&marker);
        soon("it is cancelled", || cluster.job_state(&job).as_deref() == Some("cancelled"));
        let shown = cluster.ok(["show", &job]);
        assert!(shown.contains("its client was gone for longer than --client-grace"), "{shown}");
    }
}

#[test]
fn a_command_that_only_waits_says_at_ctrl_c_what_goes_on_and_how_to_look_again() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    let submit = cluster.start(["submit", "--wait", "--", &until(&gate)]);
    soon("it runs", || cluster.json(["list"])[0]["state"] == "running");
    let (wait, progress) = (cluster.start(["wait", "1"]), cluster.start(["progress", "1"]));
    for command in [&submit, &wait, &progress] {
        soon("it listens for signals", || catches_interrupts(command.pid()));
    }
    for (command, again) in [(submit, "octaskly wait 1"), (wait, "octaskly wait 1"), (progress, "octaskly progress 1")]
    {
        command.signal(Signal::SIGINT);
        let ran = command.finish(SOON);
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.stderr_text().contains(again) && ran.stderr_text().contains("go"), "{ran:?}");
    }
    std::fs::write(&gate, "").expect("a file");
}

#[test]
fn ctrl_c_in_an_array_says_what_was_cancelled_and_what_does_it_again() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    let run = cluster.start(["run", "--env", &mark, "test {} = a || sleep 999", ":::", "a", "b", "c"]);
    await_sleepers(&marker, 2);
    run.signal(Signal::SIGINT);
    let ran = run.finish(SOON);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    let stderr = ran.stderr_text();
    assert!(stderr.contains("of 3 tasks 2 cancelled; `octaskly retry 1`"), "{ran:?}");
    await_nothing_left(&marker);
}

#[test]
fn a_run_that_waits_says_after_a_second_for_what() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    cluster.ok(["submit", "--array", "1-4", "--", &until(&gate)]);
    let run = |args: &[&str]| {
        let before = cluster.json(["list"]).as_array().map_or(0, Vec::len);
        let node = cluster.node(cluster.command([&["run"], args, &["--", "true"]].concat()));
        soon("it is queued", || cluster.json(["list"]).as_array().is_some_and(|jobs| jobs.len() > before));
        node
    };
    // In this order: whoever comes later waits for its turn.
    let (mut waiting, mut quiet, mut after) = (run(&[]), run(&["-q"]), run(&["--after-any", "1"]));
    waiting.says("note: job 2 waits for a worker: worker-a cannot take it now (slots: 4 of 4 taken)");
    waiting.says("`octaskly explain 2` says more");
    after.says("note: job 4 waits for job 1 to end");
    assert_eq!(quiet.log(), "");
    std::fs::write(&gate, "").expect("a file");
    assert_eq!([quiet.ended(), waiting.ended(), after.ended()], [Some(0); 3]);
}
