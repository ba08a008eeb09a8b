//! Tasks that leave what is no output, and what a user is told of it.

use std::time::Duration;

use crate::desk::Desk;

/// What a hundred thousand files may take on a machine that does other things as well.
const LONG: Duration = Duration::from_secs(240);

/// What a task that leaves such an `out` is told.
fn refused(script: &str, outputs: &str, says: &str) {
    let desk = Desk::new();
    desk.write("witness", "untouched");
    let ran = desk.run(["run", "--retries", "0", "--out", outputs, "--", "sh", "-ec", script]);
    ran.says_failure(125, says);
    assert_eq!(desk.read("witness"), b"untouched");
    assert_eq!(desk.json(["show", "1", "--tasks"])[0]["cause"], "transfer", "{script}");
    assert_eq!(desk.ok(["run", "echo", "still here"]), "still here\n", "{script}");
}

#[test]
fn paths_that_lead_out_are_refused_before_anything_is_queued() {
    let desk = Desk::new();
    desk.write("there", "");
    for path in ["../x", "/etc/passwd", "a/../../x", ".."] {
        desk.run(["run", "--out", path, "true"]).says_failure_and_hint(2, "--out");
        desk.run(["run", "--in", &format!("there={path}"), "true"]).says_failure(2, "--in");
    }
    assert_eq!(desk.json(["list", "--all"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn a_link_that_leads_out_is_no_output() {
    refused("ln -s /etc/passwd out", "out", "symbolic link");
    refused("mkdir out; ln -s ../../../etc out/etc", "out", "symbolic link");
    refused("ln -s / d", "d/etc/passwd", "symbolic link");
}

#[test]
fn links_that_go_round_end_in_an_error() {
    refused("ln -s b a; ln -s a b", "a", "too many others");
}

#[test]
fn a_pipe_is_no_output_and_nobody_waits_for_it() {
    refused("mkfifo out", "out", "pipe");
    refused("mkdir out; mkfifo out/pipe", "out", "pipe");
}

#[test]
fn a_directory_link_to_its_own_parent_is_kept_and_not_followed() {
    let desk = Desk::new();
    desk.ok(["run", "--out", "out", "mkdir -p out/a; ln -s .. out/a/up; echo x > out/a/x"]);
    desk.sh("test \"$(readlink out/a/up)\" = .. && test \"$(cat out/a/x)\" = x");
}

#[test]
fn a_directory_of_a_hundred_thousand_files_comes_or_is_refused_in_words() {
    let desk = Desk::new();
    let script = "mkdir out; cd out; seq 1 100000 | xargs touch";
    let run = desk.start(["run", "--retries", "0", "--out", "out", "--", "sh", "-c", script]);
    let ran = run.finish(LONG);
    match ran.code {
        Some(0) => assert_eq!(desk.sh("ls out | wc -l"), b"100000\n"),
        _ => ran.says_failure(125, "entries"),
    }
    assert_eq!(desk.ok(["run", "echo", "still here"]), "still here\n");
}
