//! G9: when an attempt has ended, no process of it is left, whatever it did
//! and whoever was killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use octaskly::exec::{Executor, Guard, GuardConfig, Presence};
use octaskly::model::{Items, Outcome};

use super::rig::{
    Rig, children_named, children_of, config, eventually, exec, in_a_process_of_its_own, kill_9, mark, marked,
    processes_with, shell, this_test_binary,
};

/// Leaves the task's session and parent behind, twice.
const DAEMON: &str = "setsid sh -c 'setsid sleep 300 & sleep 300' </dev/null >/dev/null 2>&1 &";

#[tokio::test]
async fn a_double_forked_daemon_in_a_session_of_its_own_ends_with_its_task() {
    let mut rig = Rig::new();
    let mark = mark("daemon");
    let id = rig.start(marked(&mark, &format!("{DAEMON} sleep 0.2; echo made; sleep 0.1; exit 3")));
    rig.printed(id, "made").await;
    assert!(processes_with(&mark).len() >= 3, "the daemon is there");
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Exited(3));
    assert_eq!(processes_with(&mark), [0u32; 0]);
}

#[tokio::test]
async fn a_storm_of_forks_ends_when_its_task_is_ended() {
    let mut rig = Rig::new();
    let mark = mark("storm");
    let id = rig.start(marked(&mark, "echo on; while :; do (setsid sleep 300 &) ; sleep 300 & done"));
    rig.printed(id, "on").await;
    eventually("a storm", || processes_with(&mark).len() > 100).await;
    rig.terminate(id, 100);
    // The shell dies of the SIGTERM; the sleepers too.
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Signalled(15));
    assert_eq!(processes_with(&mark), [0u32; 0]);
}

#[tokio::test]
async fn a_process_that_keeps_handing_over_to_a_new_session_is_caught() {
    let mut rig = Rig::new();
    let mark = mark("hopper");
    let mut spec = marked(&mark, "sh -c \"$HOP\"; echo off; sleep 0.3");
    spec.env.insert("HOP".into(), "trap '' TERM; setsid sh -c \"$HOP\" </dev/null >/dev/null 2>&1 &".into());
    let ending = rig.run(spec).await;
    assert_eq!(ending.outcome, Outcome::Exited(0));
    assert_eq!(processes_with(&mark), [0u32; 0]);
}

#[tokio::test]
async fn ending_a_task_asks_all_of_it_and_gives_it_its_grace() {
    let mut rig = Rig::new();
    let command = "(trap 'sleep 0.3; echo child cleaned up; exit' TERM; echo on; while :; do sleep 0.05; done) & \
                   trap 'exit 5' TERM; sleep 0.2; echo on; while :; do sleep 0.05; done";
    let id = rig.start(shell(command));
    rig.printed(id, "on\non").await;
    rig.terminate(id, 30_000);
    let ending = rig.end_of(id).await;
    assert_eq!(ending.outcome, Outcome::Exited(5));
    let text = super::output(&ending, octaskly::wire::OutputStream::Stdout);
    assert!(String::from_utf8_lossy(&text).contains("child cleaned up"), "the child had its grace too");
}

#[tokio::test]
async fn a_task_that_does_not_want_to_end_is_killed_after_its_grace() {
    let mut rig = Rig::new();
    let stubborn = || shell("trap '' TERM; echo on; while :; do sleep 0.05; done");
    let id = rig.start(stubborn());
    rig.printed(id, "on").await;
    rig.terminate(id, 100);
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Signalled(9));
    let id = rig.start(stubborn());
    rig.printed(id, "on").await;
    rig.terminate(id, 3_600_000);
    tokio::time::sleep(Duration::from_millis(100)).await;
    // A second call shortens it.
    rig.terminate(id, 0);
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Signalled(9));
}

#[tokio::test]
async fn a_stopped_task_hears_that_it_is_to_end() {
    let mut rig = Rig::new();
    let id = rig.start(shell("trap 'exit 4' TERM; echo on; kill -STOP $$; while :; do sleep 0.05; done"));
    rig.printed(id, "on").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.terminate(id, 30_000);
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Exited(4));
}

#[tokio::test]
async fn an_attempt_ended_before_it_began_ends_all_the_same() {
    let mut rig = Rig::new();
    let id = rig.start(exec(["sleep", "300"]));
    rig.terminate(id, 0);
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Signalled(9));
}

#[tokio::test]
async fn a_pipe_that_somebody_outside_the_task_holds_is_not_waited_for_for_ever() {
    let mut rig = Rig::new();
    let id = rig.start(shell("echo pid $$.; sleep 0.3; echo end"));
    let said = rig.printed(id, ".").await;
    let pid = said.trim_start_matches("pid ").split('.').next().expect("a number").to_owned();
    let held = std::fs::File::options().write(true).open(format!("/proc/{pid}/fd/1")).expect("its pipe");
    let ending = rig.end_of(id).await;
    assert_eq!((ending.outcome, ending.stdout_bytes), (Outcome::Exited(0), said.len() as u64 + 4));
    drop(held);
}

#[tokio::test]
async fn killing_a_shim_ends_its_task_with_all_it_started_and_the_next_task_gets_another() {
    let mut rig = Rig::new();
    let mark = mark("shim");
    let command = format!("{DAEMON} echo parent $PPID.; while :; do (setsid sleep 300 &); sleep 0.01; done");
    let id = rig.start(marked(&mark, &command));
    let said = rig.printed(id, ".").await;
    let shim = said.trim_start_matches("parent ").split('.').next().and_then(|n| n.parse().ok()).expect("a number");
    eventually("some processes", || processes_with(&mark).len() > 10).await;
    kill_9(shim);
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Lost);
    assert_eq!(processes_with(&mark), [0u32; 0]);
    assert_eq!(rig.run(exec(["true"])).await.outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn a_shim_killed_while_idle_is_reaped_and_replaced() {
    if !in_a_process_of_its_own("contain::a_shim_killed_while_idle_is_reaped_and_replaced") {
        return;
    }
    let mut rig = Rig::new();
    assert_eq!(rig.run(exec(["true"])).await.outcome, Outcome::Exited(0));
    let shims = children_named(std::process::id(), "octa-shim");
    assert_eq!(shims.len(), 1);
    kill_9(shims[0]);
    eventually("it is reaped", || children_of(std::process::id()).is_empty()).await;
    assert_eq!(rig.run(exec(["true"])).await.outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn children_of_others_in_this_process_survive_the_death_of_a_shim() {
    let mut rig = Rig::new();
    let mut bystander = std::process::Command::new("sleep").arg("300").spawn().expect("sleep starts");
    let id = rig.start(shell("echo parent $PPID.; sleep 300"));
    let said = rig.printed(id, ".").await;
    kill_9(said.trim_start_matches("parent ").split('.').next().and_then(|n| n.parse().ok()).expect("a number"));
    assert_eq!(rig.end_of(id).await.outcome, Outcome::Lost);
    assert!(bystander.try_wait().expect("it is ours").is_none(), "it still runs");
    bystander.kill().expect("it runs");
    bystander.wait().expect("it is ours");
}

#[tokio::test]
async fn two_thousand_quick_tasks_leave_no_descriptor_process_or_file_behind() {
    if !in_a_process_of_its_own("contain::two_thousand_quick_tasks_leave_no_descriptor_process_or_file_behind") {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("a Linux").count();
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.start(exec(["true"]));
    }
    let mut spec = shell("echo {}");
    spec.items = Items::Range { first: 0, last: 9999, step: 1 };
    let mut running: Vec<_> = (0..4).map(|n| rig.start_index(spec.clone(), n, None)).collect();
    for id in running.drain(..) {
        rig.end_of(id).await;
    }
    let (before, shims) = (descriptors(), children_named(std::process::id(), "octa-shim").len());
    for n in 0..2000 {
        running.push(rig.start_index(spec.clone(), n, None));
        if running.len() == 4 {
            let id = running.remove(0);
            let ending = rig.end_of(id).await;
            assert_eq!(ending.outcome, Outcome::Exited(0));
        }
    }
    for id in running {
        rig.end_of(id).await;
    }
    assert!(descriptors() <= before, "{before} descriptors became {}", descriptors());
    assert_eq!(children_of(std::process::id()).len(), shims, "{:?}", children_of(std::process::id()));
    let work = rig.work.path().join("work");
    rig.executor.shutdown().await;
    assert_eq!(children_of(std::process::id()), []);
    let left: Vec<_> = std::fs::read_dir(&work).expect("it stays").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[tokio::test]
async fn shutting_down_kills_what_runs_and_waits_for_nobody() {
    let mut rig = Rig::new();
    let mark = mark("shutdown");
    rig.start(marked(&mark, &format!("{DAEMON} trap '' TERM; sleep 300")));
    // Its client never reads a byte.
    let (_id, _output, _feed) = rig.attach(marked(&mark, "yes"));
    eventually("they run", || processes_with(&mark).len() >= 4).await;
    let begun = tokio::time::Instant::now();
    rig.executor.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    assert_eq!(processes_with(&mark), [0u32; 0]);
    let late = rig.start(exec(["true"]));
    // Nothing runs after the end, and that is not the task's failure.
    rig.not_started(late).await;
}

/// Whether this process was started by [`DoomedWorker::new`]: then it is that worker, and is killed in here.
async fn is_the_doomed_worker() -> bool {
    let Some(directory) = std::env::var_os("OCTASKLY_TEST_WORK") else { return false };
    let directory = Path::new(&directory);
    let mark = std::env::var("OCTASKLY_TEST_MARK").expect("set with the directory");
    let presence = Presence::new().expect("a pipe");
    let settings = config(directory, Some(presence.clone()));
    let (program, work_root) = (settings.shim_program.clone(), settings.work_root.clone());
    let _guard = Guard::start(GuardConfig { program, work_root, presence }).expect("a guard");
    let (executor, events) = Executor::start(settings).expect("an executor");
    let mut rig = Rig::around(executor, events, tempfile::tempdir().expect("a directory"));
    let mut last = None;
    for n in 0..3 {
        last = Some(rig.start(marked(&mark, &format!("{DAEMON} touch file; echo {n}; trap '' TERM; sleep 300"))));
    }
    // Killed while it waits.
    rig.end_of(last.expect("three were started")).await;
    true
}

/// A killable worker in a process of its own: the same test once more, which asks [`is_the_doomed_worker`] first.
struct DoomedWorker {
    process: std::process::Child,
    work: tempfile::TempDir,
    mark: String,
}

impl DoomedWorker {
    async fn new(test: &str) -> Self {
        let work = tempfile::tempdir().expect("a directory");
        let mark = mark(test);
        let mut command = this_test_binary(&format!("contain::{test}"));
        command.env("OCTASKLY_TEST_WORK", work.path()).env("OCTASKLY_TEST_MARK", &mark);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let worker = Self { process, work, mark };
        // The worker, its guard, its shims, and per task a shell, the daemon's shell and two sleepers.
        eventually("the worker's tasks run", || processes_with(&worker.mark).len() >= 5 + 3 * 4).await;
        worker
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    async fn nothing_is_left(mut self) {
        self.process.wait().expect("it was killed");
        eventually("no process is left", || processes_with(&self.mark).is_empty()).await;
        let work = self.work.path().join("work");
        let left: Vec<_> =
            std::fs::read_dir(work).expect("it stays").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["lock"], "the guard cleans up before it ends");
    }
}

#[tokio::test]
async fn killing_a_worker_leaves_no_process_and_no_scratch() {
    if is_the_doomed_worker().await {
        return;
    }
    let worker = DoomedWorker::new("killing_a_worker_leaves_no_process_and_no_scratch").await;
    kill_9(worker.pid());
    worker.nothing_is_left().await;
}

#[tokio::test]
async fn killing_a_guard_gets_its_worker_a_new_one_that_guards_as_well() {
    if is_the_doomed_worker().await {
        return;
    }
    let worker = DoomedWorker::new("killing_a_guard_gets_its_worker_a_new_one_that_guards_as_well").await;
    let guards = || children_named(worker.pid(), "octa-guard");
    let first = guards();
    assert_eq!(first.len(), 1);
    kill_9(first[0]);
    // One look: between two of them the first may end, and none is another one, too.
    let is_another = |now: Vec<u32>| now.len() == 1 && now != first;
    eventually("another guard", || is_another(guards())).await;
    assert!(processes_with(&worker.mark).len() >= 5 + 3 * 4, "the tasks run on");
    kill_9(worker.pid());
    worker.nothing_is_left().await;
}

#[tokio::test]
async fn killing_a_worker_together_with_its_shims_and_guard_leaves_what_the_next_one_cleans() {
    if is_the_doomed_worker().await {
        return;
    }
    let worker =
        DoomedWorker::new("killing_a_worker_together_with_its_shims_and_guard_leaves_what_the_next_one_cleans").await;
    // The guard first: nobody is left to clean the scratch.
    let guard = children_named(worker.pid(), "octa-guard");
    kill_9(worker.pid());
    guard.into_iter().for_each(kill_9);
    let DoomedWorker { mut process, work, mark } = worker;
    process.wait().expect("it was killed");
    eventually("no process is left", || processes_with(&mark).is_empty()).await;
    let root = work.path().join("work");
    let (executor, _events) = Executor::start(config(work.path(), None)).expect("an executor");
    let folders = || std::fs::read_dir(&root).expect("it stays").count();
    eventually("the old scratch is gone", || folders() == 2).await;
    executor.shutdown().await;
}
