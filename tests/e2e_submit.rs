//! Jobs that nobody waits for: submitted, listed, explained, read, cancelled,
//! retried, forgotten.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use std::time::Duration;

use harness::{Cluster, soon};

#[test]
fn a_submitted_job_is_queued_run_listed_shown_and_read() {
    let cluster = Cluster::new();
    let dispatcher = cluster.dispatcher();
    let printed = cluster.ok(["submit", "--name", "hello", "echo hi; echo there >&2"]);
    assert!(printed.contains('1'), "{printed}");
    assert_eq!(cluster.job_state("1").as_deref(), Some("ready"));
    let _worker = cluster.worker("a");
    assert_eq!(cluster.run(["wait", "1"]).code, Some(0));
    let row = &cluster.json(["list", "--all"])[0];
    assert_eq!((&row["id"], &row["name"], &row["state"]), (&1.into(), &"hello".into(), &"succeeded".into()), "{row}");
    let tasks = cluster.json(["show", "1", "--tasks"]);
    assert_eq!((&tasks[0]["id"], &tasks[0]["worker"], &tasks[0]["exit_code"]), (&"1.0".into(), &"a".into(), &0.into()));
    assert_eq!(cluster.ok(["logs", "1", "--stdout"]), "hi\n");
    let both = cluster.run(["logs", "1"]);
    assert_eq!((both.stdout_text().as_str(), both.stderr_text().as_str()), ("hi\n", "there\n"), "{both:?}");
    cluster.ok(["forget", "1"]);
    assert_eq!(cluster.json(["list", "--all"]).as_array().map(Vec::len), Some(0));
    drop(dispatcher);
}

#[test]
fn submit_and_wait_tell_by_their_codes_how_jobs_end() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    assert_eq!(cluster.run(["submit", "--wait", "true"]).code, Some(0));
    assert_eq!(cluster.run(["submit", "--wait", "--retries", "0", "false"]).code, Some(1));
    let job = cluster.ok(["submit", "-q", "sleep 600"]).trim().to_owned();
    assert_eq!(cluster.run(["wait", "--timeout", "200ms", &job]).code, Some(124));
    cluster.ok(["cancel", &job]);
    assert_eq!(cluster.run(["wait", &job]).code, Some(1));
}

#[test]
fn a_failed_task_is_retried_with_backoff_and_then_by_hand() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let tries = cluster.scratch().join("tries");
    let script = format!("echo x >>{0}; test $(wc -l <{0}) -ge 3", tries.display());
    let ran = cluster.run(["submit", "--wait", "--retries", "2", "--backoff", "10ms..20ms", &script]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&tries).expect("the file").lines().count(), 3);
    std::fs::remove_file(&tries).expect("removed");
    assert_eq!(cluster.run(["submit", "--wait", "--retries", "0", &script]).code, Some(1));
    for _ in 0..2 {
        cluster.ok(["retry", "last"]);
        let _ = cluster.run(["wait", "last"]);
    }
    assert_eq!(cluster.job_state("2").as_deref(), Some("succeeded"));
}

#[test]
fn an_array_of_a_thousand_tasks_runs_each_once() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let ran = cluster.start(["submit", "--wait", "--array", "1-1000", "--", "true"]).finish(Duration::from_secs(90));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let row = &cluster.json(["list", "--all"])[0];
    assert_eq!((&row["tasks"]["total"], &row["tasks"]["succeeded"]), (&1000.into(), &1000.into()), "{row}");
}

#[test]
fn priorities_and_dependencies_decide_the_order() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let order = cluster.scratch().join("order");
    let say = |word: &str| format!("echo {word} >>{}", order.display());
    cluster.ok(["submit", "-q", &say("low")]);
    cluster.ok(["submit", "-q", "--priority", "5", &say("high")]);
    cluster.ok(["submit", "-q", "--priority", "9", "--after", "1", &say("after-low")]);
    cluster.ok(["submit", "-q", "--retries", "0", "exit 1"]);
    cluster.ok(["submit", "-q", "--after", "4", &say("never")]);
    let _worker = cluster.worker_with(&["--name", "single", "--max-jobs", "1"]);
    let _ = cluster.run(["wait", "1-5"]);
    assert_eq!(std::fs::read_to_string(&order).expect("the file"), "high\nlow\nafter-low\n");
    let row = &cluster.json(["show", "5", "--tasks"])[0];
    assert_eq!((&row["state"], &row["cause"]), (&"failed".into(), &"dependency".into()), "{row}");
}

#[test]
fn explain_names_what_each_worker_lacks() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let ran = cluster.run(["submit", "--label", "zone=moon", "true"]);
    assert_eq!(ran.code, Some(0));
    assert!(!ran.stderr_text().is_empty(), "a warning that no connected worker could ever run it: {ran:?}");
    let why = cluster.ok(["explain", "last"]);
    assert!(why.contains("worker-a") && why.contains("zone=moon"), "{why}");
}

#[test]
fn explain_says_of_jobs_that_run_where_and_of_those_that_have_ended_how() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    cluster.ok(["submit", "-q", "--label", "zone=moon", "true"]);
    cluster.ok(["submit", "-q", "sleep 600"]);
    soon("it runs", || cluster.job_state("2").as_deref() == Some("running"));
    let why = cluster.ok(["explain", "2"]);
    assert!(why.contains("2.0") && why.contains("running on worker-a"), "{why}");
    let why = cluster.ok(["explain", "1", "2"]);
    assert!(why.contains("zone=moon") && why.contains("running on worker-a"), "neither is left out: {why}");
    cluster.ok(["cancel", "2"]);
    soon("it has ended", || cluster.job_state("2").as_deref() == Some("cancelled"));
    let why = cluster.ok(["explain", "2"]);
    assert!(why.contains("has ended: cancelled"), "{why}");
}

#[test]
fn logs_of_a_running_task_are_followed_to_its_end() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let gate = cluster.scratch().join("gate");
    let script = format!("echo first; while ! test -e {}; do sleep 0.05; done; echo last", gate.display());
    let job = cluster.ok(["submit", "-q", &script]).trim().to_owned();
    soon("the first line can be read", || cluster.run(["logs", &job]).stdout_text() == "first\n");
    let follower = cluster.start(["logs", "-f", &job]);
    std::fs::write(&gate, "").expect("a file");
    let ran = follower.finish(harness::SOON);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(0), "first\nlast\n"), "{ran:?}");
}

#[test]
fn output_too_big_for_a_result_is_kept_all_the_same() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    assert_eq!(cluster.run(["submit", "--wait", "seq 200000"]).code, Some(0));
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(cluster.ok(["logs", "1"]) == expected, "the stored output differs");
    assert_eq!(cluster.ok(["logs", "1", "--tail", "2"]), "199999\n200000\n");
}

#[test]
fn a_task_of_the_last_job_is_named_without_its_number() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    cluster.run(["show", "last.0"]).says_failure(1, "you have submitted no job yet");
    cluster.ok(["submit", "-q", "--wait", "true"]);
    let ended = cluster.run(["submit", "-q", "--wait", "--array", "1-3", "--out", "made", "echo {} | tee made"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(cluster.ok(["logs", "last.2"]), "2\n");
    assert!(cluster.ok(["show", "last.1", "1"]).contains("2.1"), "what stands beside it is shown as well");
    assert!(cluster.ok(["explain", "last.1,last.2"]).contains("task 2.2 of root has ended"));
    let place = cluster.scratch().join("brought");
    cluster.ok(["get", "-q", "last.1", "-C", &place.display().to_string()]);
    assert_eq!(std::fs::read_to_string(place.join("made")).expect("an output"), "1\n");
    cluster.run(["get", "1", ""]).says_failure(2, "it is empty");
    cluster.run(["logs", "last.9"]).says_failure(1, "there is no task 2.9");
    cluster.run(["logs", "last.1", "all"]).says_failure(2, "goes alone");
    cluster.ok(["submit", "-q", "--wait", "--in", "last.2:made=taken", "cat taken"]);
    assert_eq!(cluster.ok(["logs", "last.0"]), "2\n");
}

#[test]
fn a_retry_that_no_worker_can_take_says_so_as_its_submission_did() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    cluster.ok(["submit", "-q", "--label", "zone=moon", "true"]);
    cluster.ok(["cancel", "1"]);
    soon("it has ended", || cluster.job_state("1").as_deref() == Some("cancelled"));
    let told = cluster.run(["retry", "1"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stderr_text().contains("task 1.0 is queued, but no connected worker could ever run it"), "{told:?}");
    cluster.ok(["submit", "-q", "--wait", "true"]);
    assert_eq!(cluster.run(["retry", "2.0"]).stderr_text(), "", "what can run is no matter for a warning");
}

#[test]
fn the_same_idempotency_key_queues_one_job() {
    let cluster = Cluster::new();
    let _dispatcher = cluster.dispatcher();
    let submit = || cluster.ok(["submit", "-q", "--idempotency-key", "k", "true"]);
    assert_eq!(submit(), submit());
    assert_eq!(cluster.json(["list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn the_roster_and_the_status_show_what_there_is() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let worker = &cluster.json(["workers"])[0];
    for key in ["name", "node_id", "state", "slots", "cpu", "memory_mb", "gpus", "address", "version", "tasks_done"] {
        assert!(!worker[key].is_null(), "{key} is missing in {worker}");
    }
    assert_eq!((&worker["state"], &worker["slots"]["total"]), (&"idle".into(), &4.into()));
    let status = cluster.json(["status"]);
    assert!(status.is_object(), "{status}");
    let hardware = cluster.ok(["hwdetect"]);
    assert!(hardware.to_lowercase().contains("cpu") && hardware.to_lowercase().contains("memory"), "{hardware}");
}

#[test]
fn beyond_log_space_the_oldest_output_goes_the_jobs_stay_and_logs_says_what_is_missing() {
    let cluster = Cluster::new();
    let mut dispatcher = cluster.dispatcher();
    let _worker = cluster.worker("a");
    for _job in 1..=3 {
        cluster.ok(["submit", "--wait", "head -c 102400 /dev/zero | tr '\\0' x"]);
    }
    assert_eq!(cluster.ok(["logs", "1"]).len(), 102_400);
    assert_eq!(dispatcher.stop(), Some(0));
    let dispatcher = cluster.dispatcher_with(&["--log-space", "150K"]);
    dispatcher.says("Removing the stored output of 2 jobs beyond --log-space: 1-2");
    for job in ["1", "2"] {
        soon("its output is gone", || cluster.ok(["logs", job]).is_empty());
        let read = cluster.run(["logs", job]);
        assert_eq!(read.code, Some(0), "{read:?}");
        assert!(read.stderr_text().contains("here 102400 bytes were not kept"), "{read:?}");
        assert_eq!(cluster.job_state(job).as_deref(), Some("succeeded"));
    }
    assert_eq!(cluster.ok(["logs", "3"]).len(), 102_400, "the newest output stays");
}
