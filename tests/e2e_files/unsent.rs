//! Files that a command names: those that nobody sent are named in a hint, and `--in auto` sends them.

use crate::desk::Desk;
use crate::harness::{Cluster, Ran};

/// The hints about files that were not sent.
fn hints(ran: &Ran) -> Vec<String> {
    let text = ran.stderr_text();
    let hints = text.lines().filter_map(|line| line.strip_prefix("hint: "));
    hints.filter(|hint| hint.contains("not sent")).map(str::to_owned).collect()
}

#[test]
fn a_failed_task_that_names_a_file_that_stayed_here_is_followed_by_one_hint() {
    let desk = Desk::new();
    desk.sh("echo 1 > data.csv; echo 2 > b.csv; mkdir -p d/e; echo 3 > d/e/f; echo 4 > 'a b'; echo x > ../up");
    let of_data = "\"data.csv\" is a file here, but was not sent: add --in data.csv";
    for (args, hint) in [
        (&["wc", "-l", "data.csv"][..], of_data),
        (&["wc -l data.csv | grep 1"], of_data),
        (&["wc -l < data.csv"], of_data),
        (&["grep", "--file=data.csv", "x"], of_data),
        (&["--in", "b.csv", "--", "cat", "b.csv", "data.csv"], of_data),
        (&["cat", "d/e/f"], "\"d/e/f\" is a file here, but was not sent: add --in d/e/f"),
        (&["ls", "d"], "\"d\" is a directory here, but was not sent: add --in d"),
        (&["cat 'a b'"], "\"a b\" is a file here, but was not sent: add --in 'a b'"),
        (
            &["cat", "data.csv", "b.csv"],
            "\"data.csv\", \"b.csv\" are here, but were not sent: add --in data.csv --in b.csv",
        ),
        (&["cat", "../up"], "\"../up\" is a file here, but was not sent: add --in ../up and write up in the command"),
        (&["cat", ":::", "data.csv", "b.csv"], "\"data.csv\" is a file here, but was not sent: add --in {}"),
        (&["cat", ":::", "data.csv", "none"], "\"data.csv\" is a file here, but was not sent: add --in auto"),
        (&["cat $OCTASKLY_ITEM", ":::", "data.csv"], "\"data.csv\" is a file here, but was not sent: add --in {}"),
    ] {
        let ran = desk.run(["run"].iter().chain(args));
        assert_ne!(ran.code, Some(0), "{args:?}");
        assert_eq!(hints(&ran), [hint], "{args:?}: {ran:?}");
    }
    let job = desk.ok(["submit", "-q", "--retries", "0", "--", "wc", "-l", "data.csv"]);
    assert_eq!(hints(&desk.run(["wait", job.trim()])), [of_data]);
    assert_eq!(hints(&desk.run(["submit", "--wait", "--retries", "0", "--", "wc", "-l", "data.csv"])), [of_data]);
}

#[test]
fn nothing_is_hinted_at_when_no_file_is_missing() {
    let desk = Desk::new();
    desk.sh("echo 1 > data.csv; echo 2 > false; mkdir d; echo 3 > d/f");
    let outside = desk.scratch().join("outside");
    std::fs::write(&outside, "x").expect("a file");
    let (outside, here) = (outside.to_str().expect("text"), desk.path(""));
    let here = here.to_str().expect("text");
    for args in [
        &["echo", "data.csv"][..],
        &["-q", "--", "cat", "data.csv"],
        &["--cwd", here, "--", "cat", "data.csv", "none"],
        &["--in", "data.csv", "--", "cat", "data.csv", "none"],
        &["--in", "d", "--", "cat", "d/f", "none"],
        &["--in", "d/f", "--", "cat", "d", "none"],
        &["--out", "data.csv", "--", "sh", "-c", "touch $1; exit 3", "sh", "data.csv"],
        &["echo 1 > data.csv; exit 3"],
        &["/bin/sh", "-c", "exit 3"],
        &["grep", "none", "/etc/passwd"],
        &["grep", "none", outside],
    ] {
        let ran = desk.run(["run"].iter().chain(args));
        assert_eq!(hints(&ran), [""; 0], "{args:?}: {ran:?}");
    }
    let ended = desk.run(["run", "--time-limit", "100ms", "--", "sh", "-c", "sleep 60", "data.csv"]);
    assert_eq!((ended.code, hints(&ended)), (Some(124), vec![]), "it was not the file");
}

#[test]
fn an_embedded_run_hints_at_files_too_and_not_at_those_of_this_machine() {
    let desk = Desk::of(Cluster::new());
    desk.write("data.csv", "1\n");
    assert_eq!(hints(&desk.run(["run", "--", "cat", "data.csv"])).len(), 1);
    let absolute = desk.path("data.csv");
    let ran = desk.run(["run", "--", "grep", "none", absolute.to_str().expect("text")]);
    assert_eq!((ran.code, hints(&ran)), (Some(1), vec![]));
}

#[test]
fn a_script_that_stays_here_is_said_before_it_is_queued_with_the_command_that_works() {
    let desk = Desk::new();
    desk.sh("printf '#!/bin/sh\\necho ran \"$@\"\\n' > job.sh; cp job.sh plain.sh; chmod +x job.sh; mkdir bin; cp job.sh bin/tool
        printf '#!/usr/bin/env bash\\necho bash\\n' > b.sh; echo 1 > data.csv");
    for (args, command) in [
        (&["job.sh"][..], "--in job.sh ./job.sh"),
        (&["./job.sh", "a b"], "--in ./job.sh ./job.sh 'a b'"),
        (&["job.sh", "1", "2"], "--in job.sh ./job.sh 1 2"),
        (&["./job.sh one two"], "--in ./job.sh './job.sh one two'"),
        (&["bin/tool", "data.csv"], "--in bin/tool --in data.csv bin/tool data.csv"),
        (&["bash", "job.sh", "x"], "--in job.sh bash job.sh x"),
        (&["plain.sh"], "--in plain.sh 'sh plain.sh'"),
        (&["b.sh", "x"], "--in b.sh bash b.sh x"),
    ] {
        let ran = desk.run(["submit", "--retries", "0", "--"].iter().chain(args));
        let text = ran.stderr_text();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let warning = text.lines().next().expect("a warning");
        assert!(warning.starts_with("warning: ") && warning.contains("is a file here"), "{text}");
        assert_eq!(
            text.lines().nth(1),
            Some(format!("hint: to send it: octaskly submit {command}").as_str()),
            "{text}"
        );
        let refused = desk.run(["submit", "--strict", "--"].iter().chain(args));
        refused.says_failure_and_hint(3, "is a file here");
        // What is to be typed works.
        let typed = format!("set -- {command}; exec \"$@\"");
        let words = String::from_utf8(desk.sh(&format!("set -- {command}; printf '%s\\n' \"$@\""))).expect(&typed);
        let made = desk.ok(["run"].into_iter().chain(words.lines()));
        assert!(made.starts_with("ran") || made.starts_with("bash"), "{made}");
    }
    assert_eq!(
        desk.json(["list", "--all"]).as_array().map(Vec::len),
        Some(16),
        "a warning stops nothing, --strict does"
    );
    for args in [
        &["--in", "job.sh", "--", "./job.sh"][..],
        &["--in", "bin", "bin/tool"],
        &["true"],
        &["--cwd", "/", "./job.sh"],
    ] {
        let ran = desk.run(["submit"].iter().chain(args));
        assert!(!ran.stderr_text().contains("is a file here"), "{args:?}: {ran:?}");
    }
    let ran = desk.run(["run", "./job.sh"]);
    assert_eq!((ran.code, hints(&ran)), (Some(127), vec![]), "it is said once");
    assert!(ran.stderr_text().contains("hint: to send it: octaskly run --in ./job.sh ./job.sh"), "{ran:?}");
}

#[test]
fn auto_sends_what_the_command_and_the_items_name() {
    let desk = Desk::new();
    desk.sh(
        "printf '#!/bin/sh\\ncat \"$@\"\\n' > tool; chmod +x tool; echo a > a.txt; echo b > b.txt; mkdir -p d/e; echo f > d/e/f
        echo c > 'c d'; echo auto > auto; echo old > out; echo i > a.idx",
    );
    for (args, printed) in [
        (&["./tool", "a.txt", "d/e/f"][..], "a\nf\n"),
        (&["cat a.txt \"c d\" < b.txt; cat b.txt"], "a\nc\nb\n"),
        (&["cat", "--", "auto"], "auto\n"),
        (&["find", "d", "-type", "f"], "d/e/f\n"),
        (&["sh", "-c", "ls", "x", "--conf=b.txt"], "b.txt\n"),
        (&["ls; true", ":::", "a.txt"], "a.txt\n"),
        (&["cat {} {.}.idx", ":::", "a.txt"], "a\ni\n"),
        (&["ls", "/etc/hosts", "/dev/null"], "/dev/null\n/etc/hosts\n"),
        (&["ls"], ""),
    ] {
        assert_eq!(desk.ok(["run", "--in", "auto", "--"].iter().chain(args)), printed, "{args:?}");
    }
    let each = ["run", "--in", "auto", "--tag", "ls; cat {}", ":::", "a.txt", "./b.txt", "d/e/f"];
    let printed = desk.ok(each);
    for line in ["1 a.txt", "1 a", "2 b.txt", "2 b", "3 d", "3 f"] {
        let (task, text) = line.split_once(' ').expect("two words");
        assert!(
            printed.lines().any(|found| found.ends_with(text) && found.contains(&format!(".{task}"))),
            "{line}: {printed}"
        );
    }
    let mixed = desk.ok(["run", "--in", "auto", "ls | wc -l; echo {}", ":::", "a.txt", "5", "d"]);
    let mut lines: Vec<_> = mixed.lines().map(str::trim).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0", "1", "1", "5", "a.txt", "d"], "an item that is no file is one all the same");
    let both = ["run", "--in", "auto", "--in", "b.txt=a.txt", "--out", "out", "test ! -e out && cat a.txt > out"];
    desk.ok(both);
    assert_eq!(desk.read("out"), b"b\n", "what another option names is left to it");
    assert_eq!(desk.ok(["run", "--in", "./auto", "ls"]), "auto\n");
}

#[test]
fn auto_refuses_what_the_task_would_look_for_in_another_place() {
    let desk = Desk::new();
    desk.sh("echo up > ../up; echo x > x");
    let absolute = desk.path("x");
    let absolute = absolute.to_str().expect("text");
    for args in
        [&["cat", "../up"][..], &["cat", absolute], &["cat", ":::", absolute, "x"], &["cat", ":::", "x", "../up"]]
    {
        let ran = desk.run(["run", "--in", "auto", "--"].iter().chain(args));
        ran.says_failure_and_hint(2, "does not lie beneath this directory");
    }
    assert_eq!(desk.json(["list", "--all"]), serde_json::json!([]), "nothing was queued");
}
