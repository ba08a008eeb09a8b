//! What commands print: items wherever a task is shown, JSON for programs, output of earlier attempts, whole lines.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use harness::Cluster;
use serde_json::{Value, json};

/// Runs a command that succeeds or fails, and parses what it prints.
fn printed(cluster: &Cluster, args: &[&str]) -> (Option<i32>, Value) {
    let ran = cluster.run(args);
    let value = serde_json::from_str(&ran.stdout_text()).unwrap_or_else(|error| panic!("{args:?}: {error}: {ran:?}"));
    (ran.code, value)
}

#[test]
fn the_item_is_shown_wherever_its_task_is() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let ran = cluster.run(["run", "--tag", "echo x; test {} != bad", ":::", "good", "bad"]);
    let mut lines: Vec<String> = ran.stdout_text().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!((ran.code, lines), (Some(1), vec!["1.1 good\tx".to_owned(), "1.2 bad\tx".to_owned()]));
    assert!(ran.stderr_text().contains("task 1.2 (bad) "), "{ran:?}");
    assert!(cluster.ok(["show", "1", "--tasks"]).contains("good"));
    assert_eq!(cluster.json(["show", "1.2"])[0]["item"], "bad");
    assert!(cluster.ok(["explain", "1.2"]).contains("1.2 (bad)"));
    assert_eq!(cluster.ok(["logs", "1.2", "--tag"]), "1.2 bad\tx\n");
    assert!(cluster.run(["wait", "1.2"]).stderr_text().contains("task 1.2 (bad) "));
}

#[test]
fn a_job_in_json_has_the_options_that_it_was_given() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let options = ["--cpus", "0.5", "--mem", "64M", "--time-limit", "90s", "--priority", "3", "--retries", "2"];
    let mut line = vec!["submit", "--wait"];
    line.extend(options);
    line.extend(["--", "echo", "{}"]);
    cluster.ok(&line);
    let job = &cluster.json(["show", "1"])[0];
    assert_eq!(job["command"], json!(["echo", "{}"]));
    assert_eq!((&job["cpus"], &job["mem"], &job["time_limit"]), (&json!(0.5), &json!(64 << 20), &json!(90.0)));
    assert_eq!((&job["priority"], &job["retries"], &job["exit_code"]), (&json!(3), &json!(2), &json!(0)));
}

#[test]
fn commands_that_change_or_wait_answer_in_json() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    cluster.ok(["submit", "--retries", "0", "exit 7"]);
    let (code, waited) = printed(&cluster, &["wait", "1", "--json"]);
    assert_eq!((code, &waited[0]["state"], &waited[0]["exit_code"]), (Some(1), &json!("failed"), &json!(7)));
    let (code, progress) = printed(&cluster, &["progress", "1", "--json"]);
    assert_eq!((code, &progress[0]["id"]), (Some(1), &json!(1)));
    let (_, retried) = printed(&cluster, &["retry", "1", "--json"]);
    assert_eq!(retried[0]["affected"], 1);
    cluster.run(["wait", "1"]);
    let (_, cancelled) = printed(&cluster, &["cancel", "1", "--json"]);
    assert_eq!(cancelled[0]["affected"], 0);
    let (_, forgotten) = printed(&cluster, &["forget", "1", "--json"]);
    assert_eq!((&forgotten[0]["affected"], &forgotten[0]["jobs"]), (&json!(1), &json!(1)));
    let (_, token) = printed(&cluster, &["token", "create", "--role", "client", "--name", "anna", "--json"]);
    assert!(token[0]["token"].as_str().is_some_and(|token| token.starts_with("okt1-")), "{token}");
    assert_eq!(token[0]["name"], "anna");
}

#[test]
fn output_of_an_earlier_attempt_is_read_by_its_number() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let script = "echo attempt $OCTASKLY_ATTEMPT; test $OCTASKLY_ATTEMPT = 3";
    cluster.ok(["submit", "--wait", "--retries", "3", "--backoff", "1ms", script]);
    assert_eq!(cluster.ok(["logs", "1"]), "attempt 3\n");
    assert_eq!(cluster.ok(["logs", "1", "--attempt", "2"]), "attempt 2\n");
    cluster.run(["logs", "1", "--attempt", "9"]).says_failure(1, "there were attempts 1 to 3");
    let (_, lines) = printed(&cluster, &["logs", "1", "--attempt", "1", "--json"]);
    assert_eq!(lines, json!([{"task": "1.0", "stream": "stdout", "line": "attempt 1"}]));
}

#[test]
fn what_get_delivers_is_listed_in_json() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    cluster.ok(["submit", "--wait", "--out", "sum.txt", "echo 5 > sum.txt"]);
    let folder = cluster.scratch().display().to_string();
    let (code, brought) = printed(&cluster, &["get", "1", "-C", &folder, "--json"]);
    assert_eq!((code, &brought[0]["name"], &brought[0]["bytes"]), (Some(0), &json!("sum.txt"), &json!(2)));
    let path = brought[0]["path"].as_str().expect("a path");
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), "5\n");
}

#[test]
fn a_run_reports_itself_to_a_file_also_when_it_has_nothing_to_report() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let file = cluster.scratch().join("report.json");
    let name = file.display().to_string();
    let read = || -> Value { serde_json::from_str(&std::fs::read_to_string(&file).expect("a file")).expect("JSON") };
    assert_eq!(cluster.run(["run", "--json-to", &name, "test {} != b", ":::", "a", "b"]).code, Some(1));
    let report = read();
    assert_eq!((&report["job"]["state"], &report["tasks"][1]["item"]), (&json!("failed"), &json!("b")));
    assert_eq!(
        cluster.run(["run", "--json-to", &name, "--array", "1-2", "--strict", "--gpus", "9", "true"]).code,
        Some(125)
    );
    assert_eq!(read(), json!({"job": null, "tasks": []}));
    cluster
        .run(["run", "--json-to", "/nowhere/report", "true"])
        .says_failure(125, "cannot write the report to /nowhere/report");
    assert_eq!(cluster.json(["list", "--all"]).as_array().map(Vec::len), Some(1), "nothing else was queued");
}

#[test]
fn lines_of_several_tasks_that_are_followed_come_whole() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let script = "for n in 1 2 3; do printf 'one {} '; sleep 0.05; echo \"two $n\"; done; printf rest";
    cluster.ok(["submit", script, ":::", "a", "b"]);
    let text = cluster.ok(["logs", "1", "-f"]);
    let whole = |line: &str| line == "rest" || (line.starts_with("one ") && line.contains(" two "));
    assert!(text.lines().count() == 8 && text.lines().all(whole), "{text}");
}
