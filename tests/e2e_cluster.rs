//! Dispatcher and workers as a user starts them: in any order, with any
//! options, one too many, and by the environment.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use harness::{Cluster, MARKER, await_sleepers, marker, soon};
use nix::sys::signal::Signal;

#[test]
fn a_worker_that_starts_first_waits_and_says_so_once() {
    let cluster = Cluster::new();
    let worker = cluster.worker("early");
    worker.says("Waiting for a dispatcher");
    let dispatcher = cluster.dispatcher();
    dispatcher.says("Worker early joined");
    worker.says("Joined the dispatcher");
    assert_eq!(worker.log().matches("Waiting for").count(), 1, "{}", worker.log());
}

#[test]
fn an_eleventh_worker_is_refused_with_the_reason_and_admitted_when_a_place_is_free() {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher_with(&["--max-workers", "2"]);
    let mut first = cluster.worker("a");
    let _second = cluster.worker("b");
    dispatcher.says("Worker a joined");
    dispatcher.says("Worker b joined");
    let third = cluster.worker("c");
    third.says("--max-workers");
    assert_eq!(third.log().matches("--max-workers").count(), 1, "told once");
    assert_eq!(first.stop(), Some(0));
    third.says("Joined the dispatcher");
}

#[test]
fn unnamed_workers_are_numbered_and_keep_their_numbers() {
    let (cluster, dispatcher) = {
        let cluster = Cluster::new();
        let dispatcher = cluster.dispatcher();
        (cluster, dispatcher)
    };
    let mut one = cluster.worker_with(&[]);
    one.says("as worker-1");
    let two = cluster.worker_with(&[]);
    two.says("as worker-2");
    assert_eq!(one.stop(), Some(0));
    let again = cluster.worker_with(&[]);
    again.says("as worker-1");
    drop(dispatcher);
}

#[test]
fn a_second_worker_of_a_name_is_refused_by_name() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let mut twin = cluster.worker("worker-a");
    assert_eq!(twin.ended(), Some(1));
    let said = twin.log();
    assert!(said.contains("error: ") && said.contains("worker-a") && said.contains("hint: "), "{said}");
}

#[test]
fn a_name_with_spaces_or_capitals_is_refused_with_the_nearest_valid_one() {
    let cluster = Cluster::new();
    for (bad, good) in [("worker 01", "worker-01"), ("WORKER-01", "worker-01")] {
        let ran = cluster.run(["worker", "--name", bad]);
        ran.says_failure_and_hint(2, bad);
        assert!(ran.stderr_text().contains(good), "{ran:?}");
    }
}

#[test]
fn the_environment_overrides_options_and_one_warning_names_both_values() {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher();
    let mut command = cluster.command(["worker", "--name", "typed", "--max-jobs", "2"]);
    command.env("OCTASKLY_WORKER_NAME", "exported").env("OCTASKLY_MAX_JOBS", "3");
    let worker = cluster.node(command);
    dispatcher.says("Worker exported joined");
    let said = worker.log();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("OCTASKLY_WORKER_NAME")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].contains("typed") && warnings[0].contains("exported"), "{said}");
    let workers = cluster.json(["workers"]);
    assert_eq!((&workers[0]["name"], &workers[0]["slots"]["total"]), (&"exported".into(), &3.into()), "{workers}");
}

#[test]
fn declared_hardware_is_what_the_dispatcher_matches_tasks_to() {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher();
    let _small = cluster.worker_with(&["-n", "small", "-j", "1", "-c", "2", "-m", "512"]);
    let _gpu =
        cluster.worker_with(&["-n", "big", "-j", "8", "--cpu-cores", "16", "--memory", "32768", "--gpu", "true"]);
    dispatcher.says("Worker small joined");
    dispatcher.says("Worker big joined");
    let where_it_ran = "echo $OCTASKLY_WORKER ${CUDA_VISIBLE_DEVICES:-none}";
    assert_eq!(cluster.ok(["run", "--cpus", "12", where_it_ran]), "big none\n");
    assert_eq!(cluster.ok(["run", "--gpus", "1", where_it_ran]), "big 0\n");
    assert_eq!(cluster.ok(["run", "--label", "name=small", where_it_ran]), "small none\n");
    let ran = cluster.run(["submit", "--strict", "--mem", "64G", "true"]);
    ran.says_failure(3, "");
}

#[test]
fn workers_outlive_a_dispatcher_that_stops_and_join_the_next_one() {
    let (cluster, mut dispatcher, worker) = Cluster::with_a_worker();
    let marker = marker();
    cluster.ok(["submit", "--env", &format!("{MARKER}={marker}"), "--", "sleep", "600"]);
    await_sleepers(&marker, 1);
    assert_eq!(dispatcher.stop(), Some(0));
    worker.says("Lost the dispatcher");
    let dispatcher = cluster.dispatcher();
    worker.says_times("Joined the dispatcher", 2);
    soon("the task still runs and is known", || cluster.job_state("1").as_deref() == Some("running"));
    assert_eq!(harness::marked(&marker).len(), 1, "it was not started again");
    cluster.ok(["cancel", "1"]);
    drop(dispatcher);
}

#[test]
fn a_dispatcher_may_move_to_another_port_and_its_workers_find_it() {
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    let worker = cluster.worker("a");
    worker.says("Joined the dispatcher");
    assert_eq!(dispatcher.stop(), Some(0));
    let elsewhere = harness::free_port().to_string();
    let moved = cluster.node(cluster.command(["dispatcher", "--bind", "127.0.0.1", "--port", &elsewhere]));
    moved.says("Worker a joined");
}

#[test]
fn both_nodes_end_cleanly_on_sigterm_and_sigint() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (cluster, mut dispatcher, mut worker) = Cluster::with_a_worker();
        worker.signal(signal);
        assert_eq!(worker.ended(), Some(0));
        dispatcher.signal(signal);
        assert_eq!(dispatcher.ended(), Some(0));
        let mut lonely = cluster.worker("lonely");
        lonely.says("Waiting for");
        lonely.signal(signal);
        assert_eq!(lonely.ended(), Some(0), "also one that never found its dispatcher");
    }
}
