//! `octaskly run` as a user types it: streams, exit codes, big output and
//! input, the embedded cluster.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Cluster, MARKER, await_nothing_left, eventually, marked, marker, soon};

/// What moving a few hundred megabytes may take without optimisation on a busy machine.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn the_binary_says_its_version() {
    let cluster = Cluster::new();
    assert_eq!(cluster.ok(["--version"]), "octaskly 1.0.0\n");
    assert_eq!(cluster.ok(["-V"]), "octaskly 1.0.0\n");
}

#[test]
fn a_run_keeps_stdout_and_stderr_apart_and_ends_with_the_tasks_code() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let ran = cluster.run(["run", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.code, ran.stdout_text().as_str(), ran.stderr_text().as_str()), (Some(7), "out\n", "err\n"));
    let quiet = cluster.run(["run", "true"]);
    assert_eq!((quiet.code, quiet.stdout.len(), quiet.stderr.len()), (Some(0), 0, 0), "{quiet:?}");
}

#[test]
fn a_run_ends_with_the_codes_of_the_shell() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let killed = cluster.run(["run", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.code, Some(128 + 15), "{killed:?}");
    let plain = cluster.scratch().join("plain");
    std::fs::write(&plain, "no program").expect("a file");
    for (program, code) in [("no-such-program-anywhere", 127), (plain.to_str().expect("text"), 126)] {
        cluster.run(["run", "--", program, "argument"]).says_failure(code, program);
        // By itself it goes through the shell, which says it in its own words and with the same code.
        let by_shell = cluster.run(["run", program]);
        assert!(by_shell.code == Some(code) && by_shell.stderr_text().contains(program), "{by_shell:?}");
    }
}

#[test]
fn one_argument_goes_through_the_shell_and_several_do_not() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    assert_eq!(cluster.ok(["run", "echo $((1 + 2)) | tr 3 x"]), "x\n");
    assert_eq!(cluster.ok(["run", "--", "echo", "$HOME", "a  b"]), "$HOME a  b\n");
    assert_eq!(cluster.ok(["run", "--shell", "--", "echo", "$((1 + 2))"]), "3\n");
}

#[test]
fn an_array_fills_in_its_items() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let printed = cluster.ok(["run", "echo", "{#}-{}", ":::", "a", "b", "c"]);
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1-a", "2-b", "3-c"]);
}

#[test]
fn a_task_sees_its_own_environment_and_a_fresh_directory() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let script = "pwd; ls -A | wc -l; echo $OCTASKLY_JOB_ID $OCTASKLY_TASK_ID $OCTASKLY_ATTEMPT $OCTASKLY_WORKER \
                  $OCTASKLY_INDEX ${OCTASKLY_HOME:-none} $EXTRA; test \"$OCTASKLY_FENCE\" -gt 0 && : > left-behind";
    let printed = cluster.ok(["run", "--env", "EXTRA=more", "--", "sh", "-c", script]);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[1].trim(), "0", "the directory is empty");
    assert_eq!(lines[2], "1 1.0 1 worker-a 0 none more");
    soon("what it left is removed", || !std::path::Path::new(lines[0]).join("left-behind").exists());
}

#[test]
fn two_hundred_megabytes_arrive_in_order_with_flat_memory_also_when_the_reader_is_slow() {
    let (cluster, dispatcher, worker) = Cluster::with_a_worker();
    let marker = marker();
    let before = (dispatcher.peak_memory(), worker.peak_memory());
    let mut run = cluster
        .command(["run", "--env", &format!("{MARKER}={marker}"), "--", "seq", "26000000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Nobody reads: the task is held back once everything between it and us is full.
    await_standstill(&marker);
    let mut expected = Command::new("seq").arg("26000000").stdout(Stdio::piped()).spawn().expect("seq starts");
    let mut should = expected.stdout.take().expect("a pipe");
    let mut is = run.stdout.take().expect("a pipe");
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let (mut total, mut client_memory) = (0_u64, 0);
    loop {
        let got = is.read(&mut a).expect("output");
        if got == 0 {
            break;
        }
        should.read_exact(&mut b[..got]).expect("there is as much");
        assert!(a[..got] == b[..got], "the output differs within the {got} bytes behind {total}");
        total += got as u64;
        client_memory = client_memory.max(harness::peak_memory_of(run.id()).unwrap_or(0));
    }
    assert_eq!(should.read(&mut b).expect("the end"), 0, "output is missing behind {total}");
    assert!(total > 200_000_000);
    assert!(run.wait().expect("a status").success() && expected.wait().expect("a status").success());
    let grown = (dispatcher.peak_memory() - before.0, worker.peak_memory() - before.1);
    let flat = 64 << 20;
    assert!(grown.0 < flat && grown.1 < flat && client_memory < flat, "grown by {grown:?}, client {client_memory}");
}

/// Waits until the marked task has stopped writing.
fn await_standstill(marker: &str) {
    let mut last = (0, 0);
    let stands = eventually("the task is held back", LONG, || {
        let written = marked(marker).into_iter().map(harness::bytes_written).max().unwrap_or(0);
        last = if written > 0 && written == last.0 { (written, last.1 + 1) } else { (written, 0) };
        (last.1 >= 50).then_some(())
    });
    stands.expect("a standstill");
}

#[test]
fn sixty_four_megabytes_of_binary_stdin_come_back_unchanged() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let input = noise(64 << 20);
    let ran = cluster.start_with_input(["run", "--", "cat"], input.clone()).finish(LONG);
    assert_eq!((ran.code, ran.stdout.len()), (Some(0), input.len()), "{ran:?}");
    assert!(ran.stdout == input, "the bytes differ");
}

#[test]
fn a_task_that_writes_much_more_than_it_reads_does_not_choke_on_its_input() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    // 4 MB in, 64 MB out: the client's acknowledgements must not queue behind input that the task does not read yet.
    let input = b"0123456789abcdef".repeat(1 << 18);
    let script = "while dd bs=1M count=1 of=part status=none iflag=fullblock && test -s part; do \
                  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do cat part; done; done";
    let ran = cluster.start_with_input(["run", "--", "sh", "-c", script], input.clone()).finish(LONG);
    assert_eq!((ran.code, ran.stdout.len()), (Some(0), 16 * input.len()), "{ran:?}");
}

#[test]
fn a_task_that_ignores_its_input_does_not_hold_the_run_up() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let ran = cluster.start_with_input(["run", "--", "echo", "done"], noise(16 << 20)).finish(LONG);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(0), "done\n"), "{ran:?}");
}

/// Bytes without a pattern, the same ones at every call.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn without_a_dispatcher_a_run_brings_its_own_and_leaves_nothing() {
    let cluster = Cluster::new();
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    let ran = cluster.run(["run", "--env", &mark, "--", "sh", "-c", "echo out; echo err >&2; sleep 50 & exit 7"]);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(7), "out\n"), "{ran:?}");
    let stderr = ran.stderr_text();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "one note and the task's own line: {ran:?}");
    assert!(lines.contains(&"err") && lines.iter().any(|line| line.starts_with("note: ")), "{ran:?}");
    await_nothing_left(&marker);
    let left: Vec<_> = std::fs::read_dir(cluster.temporary()).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn an_embedded_run_is_interrupted_and_killed_without_leaving_processes() {
    use nix::sys::signal::Signal;
    let cluster = Cluster::new();
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let marker = marker();
        let mark = format!("{MARKER}={marker}");
        let run = cluster.start(["run", "--env", &mark, "--", "sh", "-c", harness::DAEMON_AND_SLEEP]);
        harness::await_sleepers(&marker, 3);
        run.signal(signal);
        assert_eq!(run.finish(harness::SOON).code, code, "{signal}");
        await_nothing_left(&marker);
    }
}

#[test]
fn what_a_killed_embedded_run_left_is_removed_by_later_ones_however_short() {
    use nix::sys::signal::Signal;
    let cluster = Cluster::new();
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    let left = || -> Vec<_> {
        std::fs::read_dir(cluster.temporary()).expect("a folder").flatten().map(|entry| entry.path()).collect()
    };
    // Once as the kill leaves it, and once as an earlier version's interrupted sweep did: without its lock file.
    for without_lock in [false, true] {
        let run = cluster.start(["run", "--env", &mark, "--", "sh", "-c", harness::DAEMON_AND_SLEEP]);
        harness::await_sleepers(&marker, 3);
        run.signal(Signal::SIGKILL);
        run.finish(harness::SOON);
        await_nothing_left(&marker);
        let [home] = &left()[..] else { panic!("one home is left: {:?}", left()) };
        for n in 0..300 {
            std::fs::write(home.join(format!("more-{n}")), "x").expect("a file");
        }
        if without_lock {
            std::fs::remove_file(home.join("lock")).expect("removed");
        }
        let home_itself = std::fs::File::open(home).expect("it is there");
        let made = home_itself.metadata().and_then(|metadata| metadata.modified()).expect("a time");
        home_itself.set_modified(made - Duration::from_secs(3600)).expect("aged");
        let gone = || {
            assert_eq!(cluster.run(["run", "-q", "--", "true"]).code, Some(0));
            left().is_empty()
        };
        harness::soon("it is gone", gone);
    }
}
