//! Everyday options of arrays: lists of numbers, `-j`, `-k`, `-0`, `--dry-run`, empty lists, and the job log with
//! `--resume` and `--resume-failed`.

#![cfg(all(feature = "node", target_os = "linux"))]

mod harness;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::{Cluster, Ran, soon};
use nix::sys::signal::Signal;

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";

/// The columns of each row of a job log.
fn rows(log: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(log).expect("the log");
    assert!(text.ends_with('\n'), "the last row is whole: {text:?}");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(HEADER));
    lines.map(|line| line.splitn(9, '\t').map(str::to_owned).collect()).collect()
}

/// Number, exit code and signal of each row, by number.
fn ends(log: &Path) -> Vec<(u64, String)> {
    let mut ends: Vec<_> =
        rows(log).iter().map(|row| (row[0].parse().expect("a number"), format!("{}/{}", row[6], row[7]))).collect();
    ends.sort();
    ends
}

/// How many jobs the dispatcher has had.
fn jobs(cluster: &Cluster) -> usize {
    cluster.json(["list", "--all"]).as_array().expect("jobs").len()
}

fn run_with(cluster: &Cluster, args: &[&str], input: &[u8]) -> Ran {
    cluster.start_with_input(args, input.to_vec()).finish(harness::SOON)
}

#[test]
fn a_list_of_numbers_is_one_job_whose_tasks_keep_their_numbers_everywhere() {
    let (cluster, mut dispatcher, _worker) = Cluster::with_a_worker();
    let line = ["run", "--array", "1,3,7-9,100-90000000:30000000", "echo {#} $OCTASKLY_INDEX; test {} -ne 8"];
    let ran = cluster.run(line);
    let mut lines: Vec<String> = ran.stdout_text().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    let numbers = [1, 100, 3, 30_000_100, 60_000_100, 7, 8, 9];
    assert_eq!((ran.code, lines), (Some(1), numbers.map(|number| format!("{number} {number}")).to_vec()), "{ran:?}");
    let _ = dispatcher.stop();
    let _dispatcher = cluster.dispatcher();
    let tasks = cluster.json(["show", "1", "--tasks"]);
    let ids: Vec<&str> = tasks.as_array().expect("tasks").iter().filter_map(|task| task["id"].as_str()).collect();
    assert_eq!(ids, ["1.1", "1.3", "1.7", "1.8", "1.9", "1.100", "1.30000100", "1.60000100"]);
    assert_eq!(cluster.ok(["logs", "1.9"]), "9 9\n");
    assert_eq!(cluster.ok(["logs", "1.60000100"]), "60000100 60000100\n");
    cluster.run(["logs", "1.4"]).says_failure(1, "1.4");
    cluster.ok(["retry", "1.8"]);
    assert_eq!(cluster.run(["wait", "1"]).code, Some(1));
    assert!(cluster.ok(["show", "1"]).contains("1,3,7-9,100-60000100:30000000"));
    cluster.run(["run", "--array", "9-7", "true"]).says_failure_and_hint(2, "--array");
    cluster.run(["run", "--array", "1,,3", "true"]).says_failure_and_hint(2, "--array");
}

#[test]
fn no_more_tasks_run_at_once_than_the_option_says() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    // Each task leaves the number of those that it sees running, itself included.
    let script = "mkdir -p R && touch R/{#} && ls R | wc -l >>seen && sleep 0.05 && ls R | wc -l >>seen && rm R/{#}";
    let here = cluster.scratch().display().to_string();
    for bound in [&["-j2"][..], &["--at-most", "2"], &["-j", "2", "--each-line", "items"]] {
        fs::write(cluster.scratch().join("items"), "a\nb\nc\nd\ne\nf\n").expect("written");
        let mut line = ["run", "--cwd", &here].iter().chain(bound).copied().collect::<Vec<_>>();
        line.push(script);
        if !line.contains(&"--each-line") {
            line.extend([":::", "a", "b", "c", "d", "e", "f"]);
        }
        cluster.ok(&line);
        let seen = fs::read_to_string(cluster.scratch().join("seen")).expect("numbers");
        let most = seen.lines().filter_map(|line| line.trim().parse::<u32>().ok()).max();
        assert!(most.is_some_and(|most| most <= 2) && seen.lines().count() == 12, "{bound:?}: {seen}");
        fs::remove_file(cluster.scratch().join("seen")).expect("removed");
    }
    assert!(cluster.ok(["show", "1"]).contains("at most 2 at once"));
    let refused = |args: &[&str], what: &str| cluster.run(args).says_failure_and_hint(2, what);
    for wrong in ["0", "50%", "+2", "-1", "x"] {
        refused(&["run", "-j", wrong, "echo", ":::", "a"], "--at-most");
        refused(&["submit", "-j", wrong, "echo", ":::", "a"], "--at-most");
    }
    refused(&["run", "-j4", "--array", "1-9%2", "echo"], "--at-most 4 and %2");
    refused(&["run", "-j4", "echo"], "--at-most needs an array");
    refused(&["run", "-k", "echo"], "--keep-order needs an array");
    refused(&["submit", "-k", "echo", ":::", "a"], "--keep-order needs octaskly run");
    assert_eq!(jobs(&cluster), 3);
}

#[test]
fn output_is_kept_in_order_and_printed_as_early_as_that_allows() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let here = cluster.scratch().display().to_string();
    // The first waits for the fourth, and the third for us; the second fails, is retried and has no last line end.
    let script = "touch began.{#}; echo {}; case {#} in 1) until [ -e began.4 ]; do sleep 0.01; done;; \
                  2) [ -e again ] || { touch again; exit 1; }; printf half;; \
                  3) until [ -e go ]; do sleep 0.01; done; exit 3;; esac";
    let mut command = cluster.command(["run", "-k", "--tag", "--retries", "1", "--backoff", "1ms", "--cwd", &here]);
    command.args([script, ":::", "a", "b", "c", "d"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().map(|line| line.expect("text"));
    assert_eq!(line().as_deref(), Some("1.1 a\ta"));
    assert_eq!(line().as_deref(), Some("1.2 b\tb"));
    assert_eq!(line().as_deref(), Some("1.2 b\thalf"));
    soon("the fourth has ended", || cluster.json(["show", "1.4"])[0]["state"] == "succeeded");
    fs::write(cluster.scratch().join("go"), "").expect("written");
    assert_eq!(line().as_deref(), Some("1.3 c\tc"));
    assert_eq!(line().as_deref(), Some("1.4 d\td"));
    assert_eq!((line(), child.wait().expect("it ends").code()), (None, Some(1)));
}

#[test]
fn order_is_kept_when_failures_or_ctrl_c_end_the_rest() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let ran = cluster.run(["run", "-k", "-j1", "--max-fails", "1", "echo {}; test {} != b", ":::", "a", "b", "c", "d"]);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(1), "a\nb\n"), "{ran:?}");
    let here = cluster.scratch().display().to_string();
    let script = "touch began.{#}; echo {}; [ {#} -ne 1 ] || exec sleep 600";
    let run = cluster.start(["run", "-k", "--cwd", &here, script, ":::", "a", "b", "c"]);
    soon("it is queued", || cluster.job_state("2").is_some());
    soon("the others have ended", || cluster.json(["show", "2"])[0]["tasks"]["succeeded"] == 2);
    run.signal(Signal::SIGINT);
    let ran = run.finish(harness::SOON);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(130), "a\nb\nc\n"), "{ran:?}");
}

#[test]
fn a_dry_run_prints_commands_that_can_be_pasted_and_asks_nobody() {
    let cluster = Cluster::new();
    let printed = cluster.ok(["run", "--dry-run", "printf", "%s,", ":::", "a b", "it's", "$HOME", "x\ny", ""]);
    assert_eq!(printed.lines().count(), 5, "one a line: {printed}");
    let pasted = Command::new("bash").args(["-c", &printed]).output().expect("bash");
    assert_eq!(String::from_utf8_lossy(&pasted.stdout), "a b,it's,$HOME,x\ny,,");
    let line = ["run", "--dry-run", "echo '<{}>' {#}", ":::", "a;b", ":::", "1", "2"];
    let printed = cluster.ok(line);
    let pasted = Command::new("sh").args(["-c", &printed]).output().expect("sh");
    assert_eq!(String::from_utf8_lossy(&pasted.stdout), "<a;b 1> 1\n<a;b 2> 2\n", "{printed}");
    assert_eq!(
        cluster.ok(["submit", "--dry-run", "--array", "2,5-6", "--", "./render", "{}"]).lines().last(),
        Some("./render 6")
    );
    assert_eq!(cluster.ok(["run", "--dry-run", "echo hi | wc"]), "echo hi | wc\n");
    let json = cluster.ok(["submit", "--dry-run", "--json", "echo {}", ":::", "a b"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json, serde_json::json!([{"index": 1, "item": "a b", "command": "echo 'a b'"}]));
    let many = cluster.ok(["submit", "--dry-run", "--array", "1-300000", "echo {}"]);
    assert_eq!((many.lines().count(), many.lines().last()), (300_000, Some("echo 300000")));
    cluster.run(["run", "--dry-run", "--in", "/no/such/file", "true"]).says_failure(125, "/no/such/file");
    cluster.run(["run", "--dry-run", "--mem", "4X", "true"]).says_failure_and_hint(2, "--mem");
    assert!(!cluster.home().exists(), "no client was enrolled, no dispatcher started");
}

#[test]
fn items_of_a_file_may_end_with_a_nul_byte() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let items = b"a b\0c\nd\0\0 e ";
    let ran = run_with(&cluster, &["run", "-k", "-0", "--each-line", "-", "printf", "<%s>", "{}"], items);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(0), "<a b><c\nd><>< e >"), "{ran:?}");
    fs::write(cluster.scratch().join("list"), items).expect("written");
    let ran = cluster.run(["run", "-k", "--null", "printf", "<%s>", "::::", "list", ":::", "x"]);
    assert_eq!(ran.stdout_text(), "<a b><x><c\nd><x><><x>< e ><x>", "{ran:?}");
    for line in
        [&["run", "-0", "echo", ":::", "a"][..], &["run", "-0", "--array", "1-3", "echo"], &["run", "-0", "cat"]]
    {
        cluster.run(line).says_failure_and_hint(2, "--null needs a file of items");
    }
    run_with(&cluster, &["run", "--stdin", "-", "cat {}", "::::", "-"], b"a\n").says_failure_and_hint(2, "--stdin -");
    run_with(&cluster, &["run", "echo {}", "::::", "-", "-"], b"a\n")
        .says_failure_and_hint(2, "stdin can be read once");
}

#[test]
fn an_empty_list_is_no_failure_and_queues_nothing() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    fs::write(cluster.scratch().join("empty"), "").expect("written");
    fs::write(cluster.scratch().join("none.json"), " [ ] ").expect("written");
    let lists: [&[&str]; 8] = [
        &["echo", ":::"],
        &["echo", ":::", "a", ":::"],
        &["echo", ":::", "a", ":::+"],
        &["echo", "::::", "empty"],
        &["--each-line", "empty", "echo"],
        &["--each-line", "-", "echo"],
        &["--from-json", "none.json", "echo"],
        &["-0", "-k", "-j2", "--each-line", "empty", "--", "echo"],
    ];
    for (verb, list) in ["run", "submit"].into_iter().flat_map(|verb| lists.iter().map(move |list| (verb, list))) {
        let line: Vec<&str> =
            [verb].iter().chain(list.iter()).copied().filter(|word| verb == "run" || *word != "-k").collect();
        let ran = cluster.run(&line);
        assert_eq!((ran.code, ran.stdout.len()), (Some(0), 0), "{ran:?}");
        let text = ran.stderr_text();
        assert!(text.starts_with("note: ") && text.contains("nothing to run") && text.lines().count() == 1, "{ran:?}");
        let quiet = cluster.run([&["-q"], &line[..]].concat());
        assert_eq!((quiet.code, quiet.stdout.len(), quiet.stderr.len()), (Some(0), 0, 0), "{quiet:?}");
        cluster.run([&line[..1], &["--mem", "4X"], &line[1..]].concat()).says_failure_and_hint(2, "--mem");
    }
    assert_eq!(jobs(&cluster), 0);
    let log = cluster.scratch().join("log");
    fs::write(&log, "no log at all").expect("written");
    assert_eq!(cluster.run(["run", "--joblog", "log", "echo", ":::"]).code, Some(0));
    assert_eq!(fs::read_to_string(&log).expect("the file"), "no log at all");
}

#[test]
fn a_job_log_is_that_of_gnu_parallel() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let log = cluster.scratch().join("log");
    let script = "echo {}\nexit {2}";
    let ran = cluster.run(["run", "-k", "--joblog", "log", script, ":::", "a b", "c", ":::", "0", "3"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let mut found = rows(&log);
    found.sort();
    assert_eq!(found.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    for row in &found {
        assert_eq!((row.len(), row[1].as_str(), row[4].as_str()), (9, "worker-a", "0"), "{row:?}");
        let (seconds, millis) = row[2].split_once('.').expect("a fraction");
        assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds > 1_600_000_000) && millis.len() == 3, "{row:?}");
        assert!(row[3].len() == 10 && row[3].trim().parse::<f64>().is_ok_and(|seconds| seconds < 60.0), "{row:?}");
        assert!(row[8].contains("\0exit "), "a line end is a NUL: {row:?}");
    }
    assert_eq!((found[1][5].as_str(), found[1][6].as_str(), found[1][7].as_str()), ("6", "3", "0"));
    fs::remove_file(&log).expect("removed");
    cluster.run([
        "run",
        "--joblog",
        "log",
        "--time-limit",
        "100ms",
        "sh",
        "-c",
        "eval \"$1\"",
        "sh",
        ":::",
        "kill -9 $$",
        "sleep 60",
    ]);
    assert_eq!(ends(&log), [(1, "0/9".to_owned()), (2, "124/0".to_owned())]);
    let submitted = cluster.run(["submit", "--wait", "--joblog", "waited", "--retries", "0", "exit", ":::", "0", "1"]);
    assert_eq!(submitted.code, Some(1), "{submitted:?}");
    assert_eq!(ends(&cluster.scratch().join("waited")).len(), 2);
    cluster.run(["submit", "--joblog", "other", "echo", ":::", "a"]).says_failure_and_hint(2, "--joblog needs --wait");
    cluster.run(["run", "--joblog", "other", "echo"]).says_failure_and_hint(2, "--joblog needs an array");
    cluster.run(["run", "--joblog", "no/such/folder", "echo", ":::", "a"]).says_failure(2, "no/such/folder");
    cluster.run(["run", "--joblog", "-", "echo", ":::", "a"]).says_failure_and_hint(2, "--joblog");
    assert!(!cluster.scratch().join("other").exists());
}

#[test]
fn what_a_job_log_lists_is_skipped_or_repeated_as_the_option_says() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let (log, fixed) = (cluster.scratch().join("log"), cluster.scratch().join("fixed"));
    let script = format!("echo {{#}}:{{}}; [ -e {} ] || [ {{}} != c ]", fixed.display());
    let run = |options: &[&str], items: &[&str]| {
        let line = [&["run", "-k", "--joblog", "log"], options, &[&script, ":::"], items].concat();
        cluster.run(&line)
    };
    assert_eq!(run(&[], &["a", "b", "c"]).code, Some(1));
    assert_eq!(ends(&log), [(1, "0/0".to_owned()), (2, "0/0".to_owned()), (3, "1/0".to_owned())]);
    run(&[], &["a", "b", "c"]).says_failure_and_hint(2, "has rows of an earlier command");
    let again = run(&["--resume"], &["a", "b", "c", "d"]);
    assert_eq!((again.code, again.stdout_text().as_str()), (Some(0), "4:d\n"), "numbers stay: {again:?}");
    let nothing = run(&["--resume"], &["a", "b", "c", "d"]);
    assert_eq!((nothing.code, nothing.stdout.len()), (Some(0), 0), "{nothing:?}");
    assert!(nothing.stderr_text().contains("--resume-failed"), "one had failed: {nothing:?}");
    let before = jobs(&cluster);
    let dry = run(&["--resume-failed", "--dry-run"], &["a", "b", "c", "d", "e"]);
    assert_eq!(dry.stdout_text().lines().count(), 2, "{dry:?}");
    run(&["--resume"], &["a", "x", "c", "d"]).says_failure_and_hint(2, "line 3: task 2 was");
    assert_eq!((jobs(&cluster), rows(&log).len()), (before, 4), "nothing was queued or written");
    fs::write(&fixed, "").expect("written");
    let failed = run(&["--resume-failed"], &["a", "b", "c", "d", "e"]);
    assert_eq!((failed.code, failed.stdout_text().as_str()), (Some(0), "3:c\n5:e\n"), "{failed:?}");
    assert_eq!(run(&["--resume-failed"], &["a", "b", "c", "d", "e"]).stdout.len(), 0, "the last row of a task counts");
    assert_eq!(rows(&log).len(), 6);
    for option in ["--resume", "--resume-failed"] {
        cluster.run(["run", option, "echo", ":::", "a"]).says_failure_and_hint(2, "needs --joblog FILE");
    }
}

#[test]
fn a_half_written_row_is_removed_and_other_files_are_left_alone() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let log = cluster.scratch().join("log");
    let run = |options: &[&str]| {
        cluster.run([&["run", "-k", "--joblog", "log"], options, &["--array", "1,5", "echo {}"]].concat())
    };
    assert_eq!(run(&[]).stdout_text(), "1\n5\n");
    let whole = fs::read_to_string(&log).expect("the log");
    for cut in [whole.len() - 1, whole.len() - 7, HEADER.len() + 1, HEADER.len() - 3, 0] {
        fs::write(&log, &whole[..cut]).expect("written");
        let ran = run(&["--resume"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ends(&log), [(1, "0/0".to_owned()), (5, "0/0".to_owned())], "cut at {cut}");
    }
    for other in ["name,size\na,1\n", "name,size", &whole.replace("worker-a\t", "worker-a "), &format!("{HEADER}\nx\n")]
    {
        fs::write(&log, other).expect("written");
        for option in [&["--resume"][..], &["--resume-failed"], &[]] {
            run(option).says_failure_and_hint(2, "is no row of a job log");
            assert_eq!(fs::read_to_string(&log).expect("the file"), other);
        }
    }
}

#[test]
fn a_killed_client_leaves_the_rows_of_what_had_ended_and_locks_nobody_out() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let log = cluster.scratch().join("log");
    let here = cluster.scratch().display().to_string();
    let script = "case {} in a|d) until [ -e go ]; do sleep 0.01; done;; esac; echo {} >>done";
    let line = ["run", "-j2", "-k", "--joblog", "log", "--cwd", &here];
    let items = [script, ":::", "a", "b", "c", "d", "e"];
    let first = cluster.start([&line[..], &items].concat());
    soon("two rows are there", || log.exists() && fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 3));
    cluster.run([&line[..], &["--resume"], &items].concat()).says_failure(2, "is in use");
    first.signal(Signal::SIGKILL);
    assert_eq!(first.finish(harness::SOON).code, None);
    assert_eq!(ends(&log), [(2, "0/0".to_owned()), (3, "0/0".to_owned())]);
    let resumed = cluster.start([&line[..], &["--resume"], &items].concat());
    soon("what the killed client left has ended", || cluster.job_state("1").as_deref() == Some("cancelled"));
    fs::write(cluster.scratch().join("go"), "").expect("written");
    let ran = resumed.finish(harness::SOON);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ends(&log).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let done = fs::read_to_string(cluster.scratch().join("done")).expect("the file");
    let mut done: Vec<&str> = done.lines().collect();
    done.sort_unstable();
    assert_eq!(done, ["a", "b", "c", "d", "e"], "each was done once");
}

#[test]
fn tasks_that_were_cancelled_are_run_by_the_next_resume() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let log = cluster.scratch().join("log");
    let line = ["run", "-j1", "--max-fails", "1", "--joblog", "log"];
    let items = ["test {} != b", ":::", "a", "b", "c", "d"];
    assert_eq!(cluster.run([&line[..], &items].concat()).code, Some(1));
    assert_eq!(ends(&log), [(1, "0/0".to_owned()), (2, "1/0".to_owned())]);
    let resumed = cluster.run([&line[..], &["--resume"], &items].concat());
    assert_eq!((resumed.code, ends(&log).len()), (Some(0), 4), "{resumed:?}");
}

#[test]
fn a_job_log_that_cannot_be_written_to_its_end_is_a_failure_that_is_told() {
    let (cluster, _dispatcher, _worker) = Cluster::with_a_worker();
    let ran = cluster.run(["run", "--joblog", "/dev/full", "echo", ":::", "a"]);
    ran.says_failure(2, "/dev/full");
    assert_eq!(jobs(&cluster), 0, "nothing was queued");
    assert_eq!(cluster.run(["run", "--joblog", "/dev/null", "echo", ":::", "a"]).code, Some(0));
}
