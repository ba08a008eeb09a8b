//! Whatever ends a task, and whoever is killed meanwhile, no process of it is
//! left and nothing that was acknowledged is lost.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Cluster, DAEMON_AND_SLEEP, MARKER, SOON, await_nothing_left, await_sleepers, marked, marker, soon};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Submits a task of three processes, one of them a daemon in a session of its own, and waits until all run.
fn submit_a_family(cluster: &Cluster, more: &[&str]) -> (String, String) {
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    let mut args = vec!["submit", "-q", "--env", &mark];
    args.extend(more);
    args.extend(["--", "sh", "-c", DAEMON_AND_SLEEP]);
    let job = cluster.ok(args).trim().to_owned();
    await_sleepers(&marker, 3);
    (job, marker)
}

fn await_state(cluster: &Cluster, job: &str, state: &str) {
    soon(&format!("job {job} is {state}"), || cluster.job_state(job).as_deref() == Some(state));
}

#[test]
fn a_time_limit_ends_the_whole_family_of_a_task() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    let args = ["run", "--time-limit", "1s", "--env", &mark, "--", "sh", "-c", DAEMON_AND_SLEEP];
    let ran = cluster.run(args);
    ran.says_failure_and_hint(124, "--time-limit of 1 s");
    assert_eq!(marked(&marker), Vec::<i32>::new(), "gone before the run ended");
}

#[test]
fn a_cancel_ends_the_whole_family_of_a_task() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let (job, marker) = submit_a_family(&cluster, &[]);
    cluster.ok(["cancel", &job]);
    await_state(&cluster, &job, "cancelled");
    assert_eq!(marked(&marker), Vec::<i32>::new(), "gone before it counts as cancelled");
}

#[test]
fn control_c_in_a_run_ends_its_task_and_nothing_is_left() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    let run = cluster.start(["run", "--env", &mark, "--", "sh", "-c", DAEMON_AND_SLEEP]);
    await_sleepers(&marker, 3);
    run.signal(Signal::SIGINT);
    assert_eq!(run.finish(SOON).code, Some(130));
    await_nothing_left(&marker);
}

#[test]
fn a_killed_worker_leaves_no_process_and_its_task_goes_to_another_at_once() {
    let (cluster, dispatcher, mut worker) = Cluster::with_a_worker();
    let (job, marker) = submit_a_family(&cluster, &[]);
    let scratch = cluster.home().join("work");
    worker.kill();
    let survivor = cluster.worker("worker-b");
    survivor.says("Joined the dispatcher");
    // Its guard speaks for it: nobody waits the sixty seconds that silence takes.
    dispatcher.says_times("assigned to worker-b", 1);
    await_sleepers(&marker, 3);
    cluster.ok(["cancel", &job]);
    await_state(&cluster, &job, "cancelled");
    await_nothing_left(&marker);
    drop(survivor);
    soon("the scratch directories are gone", || {
        let entries = std::fs::read_dir(&scratch).expect("the work directory");
        // Output of results that were not delivered stays for the next start of their worker.
        let is_log = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("logs-");
        !entries.flatten().any(|entry| entry.path().is_dir() && !is_log(&entry.file_name()))
    });
}

#[test]
fn a_killed_shim_leaves_no_process_and_its_task_is_lost() {
    let (cluster, _dispatcher, worker) = Cluster::with_a_worker();
    let (job, marker) = submit_a_family(&cluster, &["--no-retry"]);
    for shim in worker.children("octa-shim") {
        kill(Pid::from_raw(shim), Signal::SIGKILL).expect("it is there");
    }
    await_state(&cluster, &job, "failed");
    await_nothing_left(&marker);
    let task = &cluster.json(["show", &job, "--tasks"])[0];
    assert_eq!(task["cause"], "lost", "{task}");
    assert_eq!(cluster.ok(["run", "echo", "still here"]), "still here\n");
}

#[test]
fn a_killed_guard_is_replaced_and_the_task_goes_on() {
    let (cluster, dispatcher, mut worker) = Cluster::with_a_worker();
    let (job, marker) = submit_a_family(&cluster, &["--no-retry"]);
    let guards = worker.children("octa-guard");
    assert_eq!(guards.len(), 1);
    kill(Pid::from_raw(guards[0]), Signal::SIGKILL).expect("it is there");
    soon("there is a new guard", || {
        let now = worker.children("octa-guard");
        now.len() == 1 && now != guards
    });
    assert_eq!(cluster.job_state(&job).as_deref(), Some("running"));
    // The new one does its work: it reports the worker's death.
    worker.kill();
    await_nothing_left(&marker);
    await_state(&cluster, &job, "failed");
    assert!(dispatcher.log().contains("worker-a"), "a loss is always told");
}

#[test]
fn a_worker_that_may_not_wait_ends_its_tasks_once_and_in_order_when_it_is_interrupted() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let mut worker = cluster.worker_with(&["--name", "a", "--stop-grace", "0"]);
    worker.says("Joined the dispatcher");
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    let witness = cluster.scratch().join("terminated");
    // The task counts the signals it gets, and ends by itself.
    let script = format!("trap 'echo x >>{}; exit 0' TERM; (setsid sleep 998 &); sleep 999 & wait", witness.display());
    cluster.ok(["submit", "--no-retry", "--env", &mark, "--", "sh", "-c", &script]);
    await_sleepers(&marker, 2);
    worker.signal(Signal::SIGINT);
    assert_eq!(worker.ended(), Some(0));
    assert_eq!(marked(&marker), Vec::<i32>::new(), "gone before the worker is");
    assert_eq!(std::fs::read_to_string(&witness).unwrap_or_default(), "x\n", "asked once");
    soon("it has left the list", || cluster.json(["workers"]).as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_worker_that_is_told_to_stop_lets_its_task_end_and_takes_no_other() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let mut first = cluster.worker_with(&["--name", "first", "--max-jobs", "1"]);
    first.says("Joined the dispatcher");
    let gate = cluster.scratch().join("gate");
    let wait = format!("while ! test -e {}; do sleep 0.05; done", gate.display());
    let job = cluster.ok(["submit", "-q", "--array", "1-2", "--", "sh", "-c", &wait]).trim().to_owned();
    soon("one task runs", || cluster.json(["show", &job, "--tasks"])[0]["started_at"].is_string());
    first.signal(Signal::SIGTERM);
    first.says("1 running task may go on for 30 s");
    let _second = cluster.worker_with(&["--name", "second", "--max-jobs", "1"]);
    soon("the other task runs elsewhere", || cluster.json(["show", &job, "--tasks"])[1]["worker"] == "second");
    assert!(first.is_running(), "it waits for its task");
    std::fs::write(&gate, "").expect("a file");
    assert_eq!(first.ended(), Some(0));
    cluster.ok(["wait", &job]);
    let tasks = cluster.json(["show", &job, "--tasks"]);
    assert_eq!((tasks[0]["worker"].as_str(), tasks[0]["attempt"].as_u64()), (Some("first"), Some(1)), "{tasks}");
}

#[test]
fn a_worker_whose_time_to_stop_is_over_leaves_its_task_to_another() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let mut first = cluster.worker_with(&["--name", "first", "--stop-grace", "500ms"]);
    first.says("Joined the dispatcher");
    let marker = marker();
    let job = cluster.ok(["submit", "-q", "--env", &format!("{MARKER}={marker}"), "--", "sleep", "999"]);
    let job = job.trim();
    await_sleepers(&marker, 1);
    assert_eq!(first.stop(), Some(0));
    await_nothing_left(&marker);
    let _second = cluster.worker("second");
    await_sleepers(&marker, 1);
    let task = &cluster.json(["show", job, "--tasks"])[0];
    assert_eq!((task["worker"].as_str(), task["attempt"].as_u64()), (Some("second"), Some(2)), "{task}");
    cluster.ok(["cancel", job]);
    await_nothing_left(&marker);
}

#[test]
fn a_second_signal_hurries_a_worker_whose_task_will_not_end() {
    let (cluster, _dispatcher, mut worker) = Cluster::with_a_worker();
    let marker = marker();
    let mark = format!("{MARKER}={marker}");
    cluster.ok(["submit", "--env", &mark, "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    await_sleepers(&marker, 1);
    worker.signal(Signal::SIGTERM);
    worker.says("Stopping");
    worker.signal(Signal::SIGTERM);
    let ended = harness::eventually("the worker ends", Duration::from_secs(8), || (!worker.is_running()).then_some(()));
    ended.expect("well before the ten seconds of grace are over");
    await_nothing_left(&marker);
}

#[test]
fn a_killed_dispatcher_keeps_its_queue_and_its_workers_come_back() {
    let (cluster, mut dispatcher, worker) = Cluster::with_a_worker();
    let (long, marker) = submit_a_family(&cluster, &["--no-retry"]);
    let gate = cluster.scratch().join("gate");
    let wait = format!("while ! test -e {}; do sleep 0.05; done; echo through", gate.display());
    let waiting: Vec<String> =
        (0..6).map(|_| cluster.ok(["submit", "-q", "--", "sh", "-c", &wait]).trim().to_owned()).collect();
    dispatcher.kill();
    let dispatcher = cluster.dispatcher();
    worker.says_times("Joined the dispatcher", 2);
    assert!(marked(&marker).len() >= 3, "what ran runs on");
    assert_eq!(cluster.job_state(&long).as_deref(), Some("running"));
    std::fs::write(&gate, "").expect("a file");
    for job in &waiting {
        cluster.ok(["wait", job]);
        assert_eq!(cluster.ok(["logs", job]), "through\n");
    }
    cluster.ok(["cancel", &long]);
    await_state(&cluster, &long, "cancelled");
    await_nothing_left(&marker);
    drop(dispatcher);
}

#[test]
fn submissions_survive_a_dispatcher_that_is_killed_again_and_again() {
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    let done = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (cluster, done) = (&cluster, &done);
                scope.spawn(move || {
                    let mut taken = Vec::new();
                    for number in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("c{client}n{number}");
                        let args = ["submit", "-q", "--name", &name, "--idempotency-key", &name, "--", "true"];
                        // A refused or unanswered one is asked for again, with the same key.
                        while cluster.run(args).code != Some(0) {
                            if done.load(Ordering::Relaxed) {
                                return taken;
                            }
                        }
                        taken.push(name);
                    }
                    taken
                })
            })
            .collect();
        for round in 1..=5 {
            let wanted = round * 8;
            soon("jobs are accepted", || cluster_count(&cluster) >= wanted);
            dispatcher.kill();
            dispatcher = cluster.dispatcher();
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
    });
    let jobs = cluster.json(["list", "--all", "--limit", "10000"]);
    let names: Vec<&str> = jobs.as_array().expect("rows").iter().filter_map(|row| row["name"].as_str()).collect();
    for name in &acknowledged {
        assert_eq!(names.iter().filter(|it| it == &name).count(), 1, "{name} is there exactly once");
    }
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), names.len(), "nothing is there twice");
    assert!(acknowledged.len() >= 40);
}

/// Jobs that the store has; 0 while no dispatcher answers.
fn cluster_count(cluster: &Cluster) -> usize {
    let ran = cluster.run(["list", "--all", "--limit", "10000", "--json"]);
    serde_json::from_slice::<serde_json::Value>(&ran.stdout)
        .ok()
        .and_then(|rows| Some(rows.as_array()?.len()))
        .unwrap_or(0)
}
