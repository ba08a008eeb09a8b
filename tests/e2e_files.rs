//! Files that travel with tasks, as a user sees them: what went in is what
//! comes back, whatever it is called and whoever is killed meanwhile.
//!
//! The one invariant tested everywhere: a success has brought its outputs, and
//! what is brought is, byte for byte, what the task has made. Absent: any
//! assertion of time.

#![cfg(all(feature = "node", target_os = "linux"))]

#[path = "e2e_files/ahead.rs"]
mod ahead;
#[path = "e2e_files/desk.rs"]
mod desk;
mod harness;
#[path = "e2e_files/held.rs"]
mod held;
#[path = "e2e_files/hostile.rs"]
mod hostile;
#[path = "e2e_files/modes.rs"]
mod modes;
#[path = "e2e_files/remade.rs"]
mod remade;
#[path = "e2e_files/unsent.rs"]
mod unsent;
#[path = "e2e_files/upset.rs"]
mod upset;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;

use desk::Desk;
use harness::Cluster;

/// Names that have broken programs before.
fn awkward_names() -> Vec<OsString> {
    let names: [&[u8]; 12] = [
        b"with space",
        b"quo'te\"s",
        b"new\nline",
        b"\xff\xfe.bin",
        b"-dash",
        b"a=b",
        b"5:out",
        b"last:out",
        b"st*r",
        b"[ab]?",
        b"{braces}",
        b"back\\slash$HOME`id`",
    ];
    names.iter().map(|name| OsString::from_vec(name.to_vec())).collect()
}

#[test]
fn awkward_names_come_back_as_they_went() {
    let desk = Desk::new();
    let mut args: Vec<OsString> = vec!["run".into()];
    for (number, name) in awkward_names().iter().enumerate() {
        desk.write(name, format!("content {number}"));
        let option = |option: &str, end: &str| {
            let mut word = OsString::from(option);
            word.push(name);
            word.push(end);
            word
        };
        // With a `=`, since one of them begins with a dash.
        args.extend([option("--in=", ""), option("--out=", ".out")]);
    }
    args.extend(["--", "sh", "-c", "for f in ./*; do cp -- \"$f\" \"$f.out\"; done"].map(Into::into));
    desk.ok(args);
    for (number, name) in awkward_names().into_iter().enumerate() {
        let mut output = name;
        output.push(".out");
        assert_eq!(desk.read(&output), format!("content {number}").into_bytes(), "{output:?}");
    }
}

#[test]
fn an_embedded_run_brings_files_there_and_back_too() {
    let cluster = Cluster::new();
    let desk = Desk::of(cluster);
    desk.write("in.txt", "abc");
    desk.ok(["run", "--in", "in.txt", "--out", "out.txt", "tr a-z A-Z < in.txt > out.txt"]);
    assert_eq!(desk.read("out.txt"), b"ABC");
}

#[test]
fn empty_files_and_executable_bits_survive_both_ways() {
    let desk = Desk::new();
    desk.write("tool", "#!/bin/sh\necho made > made; chmod +x made; : > nothing\n");
    desk.make_executable("tool");
    desk.write("empty", "");
    desk.ok(["run", "--in", "tool", "--in", "empty", "--out", "made", "--out", "nothing", "test -f empty && ./tool"]);
    assert!(desk.is_executable("made") && !desk.is_executable("nothing"));
    assert_eq!((desk.read("made"), desk.read("nothing")), (b"made\n".to_vec(), Vec::new()));
}

#[test]
fn an_array_over_files_equals_a_local_loop() {
    let desk = Desk::new();
    let names: Vec<String> = (0..20).map(|number| format!("day {number}.log")).collect();
    names.iter().enumerate().for_each(|(number, name)| desk.write(name, "line\n".repeat(number * 997)));
    let args = ["run", "--in", "*.log", "--out", "{}.gz", "gzip -9 -c {} > {}.gz", ":::"];
    desk.ok(args.into_iter().chain(names.iter().map(String::as_str)));
    for name in &names {
        assert_eq!(desk.read(format!("{name}.gz")), desk.sh(&format!("gzip -9 -c '{name}'")), "{name}");
    }
}

#[test]
fn directories_and_patterns_go_and_come_with_what_is_in_them() {
    let desk = Desk::new();
    desk.sh("mkdir -p tree/a/b tree/void; echo 1 > tree/a/1; echo 2 > tree/a/b/2; ln -s a/1 tree/link");
    desk.ok([
        "run",
        "--in",
        "tree",
        "--out",
        "copy",
        "--out",
        "p*.txt",
        "cp -a tree copy; echo x > p1.txt; echo y > p2.txt",
    ]);
    desk.sh("diff -r --no-dereference tree copy && test -d copy/void && test \"$(readlink copy/link)\" = a/1");
    assert_eq!((desk.read("p1.txt"), desk.read("p2.txt")), (b"x\n".to_vec(), b"y\n".to_vec()));
    assert_eq!(desk.ok(["run", "--in", "tree/a/**", "find . -type f | sort"]), "./tree/a/1\n./tree/a/b/2\n");
}

#[test]
fn a_name_says_where_an_input_is_put() {
    let desk = Desk::new();
    desk.write("plain", "content");
    let absolute = desk.path("plain").display().to_string();
    for (given, found) in [
        ("plain=deep/er/name".to_owned(), "deep/er/name"),
        ("./plain".to_owned(), "plain"),
        (absolute.clone(), "plain"),
        (format!("{absolute}=x=y").replace("=x=y", "=renamed"), "renamed"),
    ] {
        let script = format!("cat {found}");
        assert_eq!(desk.ok(["run", "--in", &given, &script]), "content", "{given}");
    }
}

#[test]
fn each_task_gets_its_own_input_under_one_name() {
    let desk = Desk::new();
    desk.sh("mkdir d; echo one > d/1.txt; echo two > d/2.txt");
    desk.ok(["run", "--in", "d/{}.txt=here", "--out", "{}.out", "cat here > {}.out", ":::", "1", "2"]);
    assert_eq!((desk.read("1.out"), desk.read("2.out")), (b"one\n".to_vec(), b"two\n".to_vec()));
}

#[test]
fn jobs_are_chained_by_what_they_leave() {
    let desk = Desk::new();
    desk.ok(["submit", "-q", "--out", "{}.txt", "echo {} > {}.txt", ":::", "a", "b"]);
    let middle = desk.ok(["submit", "-q", "--in", "last:b.txt=x", "--out", "x2", "cat x x > x2"]);
    let chained = format!("{}:x2", middle.trim());
    assert_eq!(desk.ok(["run", "--in", &chained, "cat x2"]), "b\nb\n");
    assert_eq!(desk.ok(["run", "--in", "1.1:a.txt", "cat a.txt"]), "a\n");
    desk.run(["run", "--in", "1:nothing", "true"]).says_failure(125, "no output nothing");
}

#[test]
fn a_failed_task_brings_what_it_made_and_its_exit_code_stays() {
    let desk = Desk::new();
    let ran = desk.run(["run", "--retries", "0", "--out", "report", "--out", "never", "echo why > report; exit 7"]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert_eq!(desk.read("report"), b"why\n");
}

#[test]
fn what_was_cut_short_brings_nothing_by_itself_and_your_files_stay_as_they_were() {
    let desk = Desk::new();
    let flag = desk.path("../flag");
    desk.write("res", "precious");
    let script = format!("echo half > res; : > {}; sleep 600", flag.display());
    let run = desk.start(["run", "--out", "res", &script]);
    harness::soon("half of it is written", || flag.exists());
    run.signal(nix::sys::signal::Signal::SIGINT);
    let ran = run.finish(harness::SOON);
    assert_eq!((ran.code, desk.read("res")), (Some(130), b"precious".to_vec()), "{ran:?}");
    let limited = ["run", "--retries", "0", "--time-limit", "1s", "--out"];
    let ran = desk.run(limited.iter().chain(&["res", "echo half > res; sleep 600"]));
    assert_eq!((ran.code, desk.read("res")), (Some(124), b"precious".to_vec()), "{ran:?}");
    let array = ["re{}", "echo half > re{}; sleep 600", ":::", "s", "t"];
    let ran = desk.run(limited.iter().chain(&array));
    assert_eq!((ran.code, desk.read("res")), (Some(1), b"precious".to_vec()), "an array: {ran:?}");
    assert_eq!(desk.sh("ls -A"), b"res\n");
    desk.ok(["get", "1", "-C", "asked"]);
    assert_eq!(desk.read("asked/res"), b"half\n", "whoever asks for it gets it");
}

#[test]
fn an_output_that_cannot_be_put_down_is_kept_and_the_hint_says_how_to_get_it() {
    let desk = Desk::new();
    desk.sh("mkdir out");
    let ran = desk.run(["run", "--out", "out", "echo made > out"]);
    ran.says_failure_and_hint(125, "out");
    assert!(ran.stderr_text().contains("octaskly get 1 -C DIR"), "{ran:?}");
    desk.ok(["get", "1", "-C", "elsewhere"]);
    assert_eq!(desk.read("elsewhere/out"), b"made\n");
}

#[test]
fn a_success_without_its_output_is_a_failure_with_the_cause_transfer() {
    let desk = Desk::new();
    desk.run(["run", "--retries", "0", "--out", "never", "true"]).says_failure(125, "no output never");
    assert_eq!(desk.json(["show", "1", "--tasks"])[0]["cause"], "transfer");
}

#[test]
fn get_brings_all_or_what_is_named_to_where_it_is_told() {
    let desk = Desk::new();
    desk.ok([
        "submit",
        "-q",
        "--out",
        "a",
        "--out",
        "b.txt",
        "--out",
        "c.txt",
        "for f in a b.txt c.txt; do echo $f > $f; done",
    ]);
    desk.ok(["wait", "1"]);
    desk.ok(["get", "1", "-C", "all"]);
    desk.sh("test \"$(ls all)\" = \"$(printf 'a\\nb.txt\\nc.txt')\"");
    desk.ok(["get", "1", "a", "-C", "one"]);
    desk.ok(["get", "1", "*.txt", "-C", "two"]);
    desk.sh("test \"$(ls one two)\" = \"$(printf 'one:\\na\\n\\ntwo:\\nb.txt\\nc.txt')\"");
    desk.run(["get", "1", "zzz"]).says_failure(1, "zzz");
}

#[test]
fn a_file_that_is_there_already_is_not_fetched_again() {
    let desk = Desk::new();
    desk.ok(["run", "--out", "made", "echo same > made"]);
    let number = || std::fs::metadata(desk.path("made")).expect("it is there").ino();
    let before = number();
    desk.ok(["get", "1"]);
    assert_eq!(before, number(), "it was left where it was");
    desk.write("made", "SAME\n");
    desk.ok(["get", "1"]);
    assert_eq!(desk.read("made"), b"same\n");
    desk.make_executable("made");
    desk.ok(["get", "1"]);
    assert!(!desk.is_executable("made"), "it is what the task has left");
}

#[test]
fn the_outputs_of_an_attempt_that_failed_are_not_those_of_the_next() {
    let desk = Desk::new();
    let flag = desk.path("flag").display().to_string();
    let script = format!("if test -e {flag}; then exit 5; else : > {flag}; echo old > out; exit 4; fi");
    desk.ok(["submit", "-q", "--retries", "1", "--out", "out", &script]);
    assert_eq!(desk.run(["wait", "1"]).code, Some(1));
    desk.run(["get", "1"]).says_failure(1, "");
}

#[test]
fn two_tasks_that_bring_one_path_are_told_apart_unless_they_agree() {
    let desk = Desk::new();
    desk.ok(["run", "--out", "same*", ": {}; echo equal > same", ":::", "1", "2"]);
    assert_eq!(desk.read("same"), b"equal\n");
    let ran = desk.run(["run", "--out", "other*", "echo {} > other", ":::", "1", "2"]);
    ran.says_failure_and_hint(125, "other");
}

#[test]
fn what_the_dispatcher_has_is_not_sent_again() {
    let desk = Desk::new();
    desk.write("big", vec![7; 3 << 20]);
    assert!(desk.uploaded(&["run", "--in", "big", "true"]) >= 3 << 20);
    assert_eq!(desk.uploaded(&["run", "--in", "big=other", "true"]), 0);
    desk.sh("cp big elsewhere");
    assert_eq!(desk.uploaded(&["run", "--in", "elsewhere", "true"]), 0, "names are not content");
}

#[test]
fn programs_read_what_was_moved_as_json() {
    let desk = Desk::new();
    desk.write("in", "0123456789");
    desk.ok(["run", "--in", "in", "--out", "out", "cp in out"]);
    let task = &desk.json(["show", "1", "--tasks"])[0];
    assert_eq!((&task["outputs"][0]["name"], &task["outputs"][0]["bytes"]), (&"out".into(), &10.into()), "{task}");
    assert_eq!(task["transfers"][0]["path"], "dispatcher", "{task}");
    desk.ok(["run", "--in", "in", "cat in"]);
    let task = &desk.json(["show", "2", "--tasks"])[0];
    assert_eq!(task["transfers"][0]["path"], "local", "the worker has it: {task}");
}
