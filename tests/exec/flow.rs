//! Bytes in and out of tasks: whole, in order, and with flat memory.

use std::time::Duration;

use octaskly::exec::Kept;
use octaskly::model::Outcome;
use octaskly::model::spec::StdinSource;
use octaskly::wire::{DataFrame, OutputStream};

use super::rig::{Rig, exec, in_a_process_of_its_own, next, payload, shell};

const MEGABYTE: usize = 1024 * 1024;

/// Bytes that repeat only after a prime number of them, so that a lost or swapped piece shows.
fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|n| (n % 65_521 % 251) as u8).collect()
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is there");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

#[tokio::test]
async fn a_binary_stdin_of_64_mb_comes_back_unchanged() {
    let mut rig = Rig::new();
    let mut spec = exec(["cat"]);
    spec.stdin = StdinSource::Attached;
    let (id, mut output, feed) = rig.attach(spec);
    tokio::spawn(async move {
        for n in 0..1024 {
            feed.send(pattern(n * 64 * 1024, 64 * 1024)).await.expect("cat reads");
        }
    });
    let mut received = 0;
    while let Some(chunk) = output.recv().await {
        assert!(chunk.bytes == pattern(received, chunk.bytes.len()), "changed around byte {received}");
        received += chunk.bytes.len();
    }
    assert_eq!(received, 64 * MEGABYTE);
    let ending = rig.end_of(id).await;
    assert_eq!((ending.outcome, ending.stdout_bytes), (Outcome::Exited(0), received as u64));
}

#[tokio::test]
async fn stdin_that_a_task_does_not_read_holds_nothing_up() {
    let mut rig = Rig::new();
    let mut spec = exec(["true"]);
    spec.stdin = StdinSource::Attached;
    let (id, _output, feed) = rig.attach(spec);
    // Kept open: the task ends all the same.
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Exited(0));
    assert!(feed.is_closed() || feed.send(vec![1]).await.is_err());
}

#[tokio::test]
async fn output_of_200_mb_arrives_whole_with_flat_memory_however_slow_its_reader() {
    if !in_a_process_of_its_own("flow::output_of_200_mb_arrives_whole_with_flat_memory_however_slow_its_reader") {
        return;
    }
    let mut rig = Rig::new();
    rig.run(exec(["true"])).await;
    let before = resident();
    let (id, mut output, _feed) = rig.attach(shell("yes 0123456789abcde | head -c 209715200"));
    let line = b"0123456789abcde\n";
    let (mut received, mut most) = (0usize, 0);
    while let Some(chunk) = output.recv().await {
        assert_eq!(chunk.stream, OutputStream::Stdout, "{:?}", String::from_utf8_lossy(&chunk.bytes));
        assert!(chunk.bytes.iter().enumerate().all(|(n, byte)| *byte == line[(received + n) % line.len()]));
        received += chunk.bytes.len();
        if received.is_multiple_of(8 * MEGABYTE) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most = most.max(resident());
    }
    assert_eq!(received, 200 * MEGABYTE);
    assert!(most < before + 16 * MEGABYTE, "memory grew from {before} to {most}");
    let ending = rig.end_of(id).await;
    assert!(matches!(ending.kept, Kept::Spooled { .. }));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_task_back_and_one_that_leaves_does_not() {
    let mut rig = Rig::new();
    let (id, mut output, _feed) = rig.attach(shell("head -c 10000000 /dev/zero; echo done >&2"));
    assert!(output.recv().await.is_some());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut so_far = rig.executor.read_log(id, false).expect("it runs");
    let mut bytes = 0;
    while let Some(frames) = next(&mut so_far).await {
        bytes += frames.len();
    }
    assert!(bytes < MEGABYTE, "{bytes} bytes were read although nobody takes them");
    drop(output);
    let ending = rig.end_of(id).await;
    assert_eq!((ending.outcome, ending.stdout_bytes), (Outcome::Exited(0), 10_000_000));
}

#[tokio::test]
async fn a_follower_reads_along_until_the_end_and_the_log_stays_until_it_is_forgotten() {
    let mut rig = Rig::new();
    let id = rig.start(shell("echo first; sleep 0.2; echo second; sleep 0.2; echo third >&2"));
    let mut follower = rig.executor.read_log(id, true).expect("it runs");
    let mut log = Vec::new();
    while let Some(frames) = next(&mut follower).await {
        log.extend(frames);
    }
    assert_eq!(payload(&log, OutputStream::Stdout), b"first\nsecond\n");
    assert_eq!(payload(&log, OutputStream::Stderr), b"third\n");
    assert!(matches!(rig.end_of(id).await.kept, Kept::Inline(inline) if inline.0 == log));
    let mut again = rig.executor.read_log(id, true).expect("not forgotten");
    assert_eq!(next(&mut again).await, Some(log));
    rig.executor.forget_log(id);
    assert!(rig.executor.read_log(id, false).is_none());
}

#[tokio::test]
async fn a_large_log_is_read_back_from_disk() {
    let mut rig = Rig::new();
    let id = rig.start(shell("head -c 5000000 /dev/zero; echo end >&2"));
    let ending = rig.end_of(id).await;
    let Kept::Spooled { bytes } = ending.kept else { panic!("it is large") };
    let mut reader = rig.executor.read_log(id, false).expect("it is kept");
    let mut log = Vec::new();
    while let Some(frames) = next(&mut reader).await {
        log.extend(frames);
    }
    assert_eq!((log.len() as u64, payload(&log, OutputStream::Stdout).len()), (bytes, 5_000_000));
    assert!(DataFrame::take(&mut &log[..]).is_ok());
    rig.executor.forget_log(id);
}
