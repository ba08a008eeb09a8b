//! `octaskly run` with the real binary and no dispatcher: a cluster of one
//! inside its process. What a user sees of a single command and of an array,
//! and that nothing is left behind whichever way it ends.

#![cfg(unix)]

use std::io::{Read as _, Seek as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// One `run` in an empty home.
fn run(line: &[&str]) -> (tempfile::TempDir, Command) {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_octaskly"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OCTASKLY_")) {
        command.env_remove(name);
    }
    command.env("OCTASKLY_HOME", home.path()).arg("run").args(line);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (home, command)
}

/// What a finished `run` said.
struct Said {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Said {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }
}

/// Runs `line` with `stdin` to its end; its stderr without the note that there is no dispatcher.
fn said_with(line: &[&str], stdin: &[u8]) -> Said {
    let (_home, mut command) = run(line);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let bytes = stdin.to_vec();
    let writer = std::thread::spawn(move || {
        // A task need not read all of it.
        let _ = input.write_all(&bytes);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written");
    let stderr = String::from_utf8(output.stderr).expect("text");
    let stderr = stderr.strip_prefix("note: no dispatcher is known: running here, in a cluster of one\n");
    Said { code: output.status.code(), stdout: output.stdout, stderr: stderr.expect("the note").to_owned() }
}

fn said(line: &[&str]) -> Said {
    said_with(line, b"")
}

/// Whether a process with this word among its arguments is there.
fn is_running(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    processes.filter_map(Result::ok).any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    })
}

/// Waits until `condition` holds, for half a minute at most.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        // A pipe that nobody writes to is a timer that needs no clock.
        let pause = Command::new("sleep").arg("0.05").status().expect("sleep");
        assert!(pause.success());
    }
    panic!("not in half a minute: {what}");
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

fn ended(mut child: Child) -> (ExitStatus, String) {
    let mut text = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
    (child.wait().expect("it ends"), text)
}

#[test]
fn both_outputs_and_the_exit_code_are_the_commands_own() {
    let said = said(&["--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.text(), said.stderr.as_str()), (Some(7), "out\n", "err\n"));
}

#[test]
fn one_argument_is_a_line_for_the_shell_and_more_are_exact() {
    assert_eq!(said(&["echo $((1 + 1)) | tr 2 3"]).text(), "3\n");
    assert_eq!(said(&["printf", "%s|", "a b", "$HOME", "*"]).text(), "a b|$HOME|*|");
    assert_eq!(said(&["--shell", "echo", "a", "|", "wc", "-l"]).text().trim(), "1");
}

#[test]
fn standard_input_reaches_the_command_byte_for_byte() {
    // More than every window on the way, and no pattern that could hide a lost piece.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(12 * 1024 * 1024)
    .collect();
    let said = said_with(&["--", "cat"], &bytes);
    assert_eq!((said.code, said.stdout.len()), (Some(0), bytes.len()));
    assert!(said.stdout == bytes, "the bytes are the same");
}

#[test]
fn a_command_that_cannot_run_ends_as_in_the_shell() {
    let missing = said(&["--", "no-such-program-anywhere", "x"]);
    assert_eq!(missing.code, Some(127));
    assert!(
        missing.stderr.starts_with("error: ") && missing.stderr.contains("no-such-program-anywhere"),
        "{}",
        missing.stderr
    );
    assert_eq!(said(&["--", "/etc/passwd", "x"]).code, Some(126));
}

#[test]
fn a_command_over_its_time_limit_ends_with_124_and_names_the_option() {
    let said = said(&["--time-limit", "300ms", "--", "sleep", "60"]);
    assert_eq!((said.code, said.text()), (Some(124), ""));
    assert!(said.stderr.contains("--time-limit of 300 ms"), "{}", said.stderr);
}

#[test]
fn a_command_that_dies_of_a_signal_ends_with_128_and_its_number() {
    let said = said(&["--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(said.code, Some(143));
    assert!(said.stderr.contains("SIGTERM"), "{}", said.stderr);
}

#[test]
fn an_array_prints_each_task_whole_and_fails_when_one_does() {
    let fine = said(&["echo", "item", "{}", "as", "{#}", ":::", "a", "b c"]);
    let mut lines: Vec<_> = fine.text().lines().collect();
    lines.sort_unstable();
    assert_eq!((fine.code, lines), (Some(0), vec!["item a as 1", "item b c as 2"]));
    let bad = said(&["--array", "1-3", "--", "sh", "-c", "echo $OCTASKLY_INDEX; test $OCTASKLY_INDEX -ne 2"]);
    assert_eq!((bad.code, bad.text().lines().count()), (Some(1), 3));
    assert!(bad.stderr.contains(".2 failed with exit code 1"), "{}", bad.stderr);
}

#[test]
fn tasks_that_others_overtake_are_printed_once_each_when_they_end() {
    let line = "case $OCTASKLY_INDEX in 1|40) sleep 2;; esac; echo $OCTASKLY_INDEX";
    let ran = said(&["--array", "1-60", "--", "sh", "-c", line]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let mut numbers: Vec<u32> = ran.text().lines().map(|line| line.parse().expect("a number")).collect();
    assert_ne!(numbers.first(), Some(&1), "it was overtaken");
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
}

#[test]
fn tagged_lines_name_their_task_and_an_unfinished_one_is_ended() {
    let ran = said(&["--tag", "--array", "1-3", "--", "sh", "-c", "echo a $OCTASKLY_INDEX; printf b"]);
    let mut lines: Vec<_> = ran.text().lines().collect();
    lines.sort_unstable();
    let expected = ["1.1\ta 1", "1.1\tb", "1.2\ta 2", "1.2\tb", "1.3\ta 3", "1.3\tb"];
    assert_eq!((ran.code, lines, ran.stderr.as_str()), (Some(0), expected.to_vec(), ""));
    let single = said(&["--tag", "--", "sh", "-c", "echo x; printf y; echo z >&2"]);
    assert_eq!((single.text(), single.stderr.as_str()), ("1.0\tx\n1.0\ty\n", "1.0\tz\n"));
}

#[test]
fn several_lists_run_every_combination_in_the_order_of_gnu_parallel() {
    let printed = |line: &[&str]| {
        let said = said(line);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let mut lines: Vec<String> = said.text().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let numbered = ["echo", "{#}", "{1}", "{2}", ":::", "a", "b", ":::", "x", "y z"];
    assert_eq!(printed(&numbered), ["1 a x", "2 a y z", "3 b x", "4 b y z"]);
    let linked = ["echo {#} {-1}{1}", ":::", "a", "b", ":::+", "1", "2", ":::", "x", "y"];
    assert_eq!(printed(&linked), ["1 xa", "2 ya", "3 xb", "4 yb"]);
    // A command that mentions no item gets one of each list, each an argument of its own.
    assert_eq!(printed(&["printf", "<%s>\\n", ":::", "a b", ":::", "c"]), ["<a b>", "<c>"]);
    let shell = ["printf '<%s>\\n' {/} \"$OCTASKLY_ITEM\"", ":::", "a/b", ":::", "c d"];
    assert_eq!(printed(&shell), ["<a/b c d>", "<b>", "<c d>"]);
}

#[test]
fn elements_of_a_json_array_can_be_the_items() {
    let json = br#"["one two", {"n": 1}]"#;
    let said = said_with(&["--from-json", "-", "--", "echo", "got {}"], json);
    let mut lines: Vec<_> = said.text().lines().collect();
    lines.sort_unstable();
    assert_eq!((said.code, lines), (Some(0), vec!["got one two", "got {\"n\":1}"]));
}

/// What `run` says of a job that it refuses before anything runs, and how it exits.
fn refused(line: &[&str], stdin: &[u8]) -> (Option<i32>, Vec<String>) {
    let (home, mut command) = run(line);
    let mut input = tempfile::tempfile().expect("a file");
    input.write_all(stdin).and_then(|()| input.rewind()).expect("written");
    let output = command.stdin(input).output().expect("it ends");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(std::fs::read_dir(home.path()).expect("a folder").next().is_none(), "nothing was started");
    (output.status.code(), String::from_utf8(output.stderr).expect("text").lines().map(str::to_owned).collect())
}

#[test]
fn an_item_is_quoted_as_its_placeholder_is() {
    let hostile = "'; touch canary; echo \"$(touch canary)\" # ";
    let line = "printf '<%s>' {} '{}' \"{}\" a{}b # {}\ncat <<EOF\n{}\nEOF\nls";
    let said = said(&[line, ":::", hostile]);
    assert_eq!(said.text(), format!("<{hostile}><{hostile}><{hostile}><a{hostile}b>{hostile}\n"), "{}", said.stderr);
    assert_eq!(said_with(&["sh", "-c", "echo '{}'; ls", ":::", hostile], b"").text(), format!("{hostile}\n"));
}

#[test]
fn an_item_that_would_become_code_is_refused_before_anything_runs() {
    let (code, said) = refused(&["env", "sh", "-c", "cat \"{}\" > out", ":::", "plain", "a b"], b"");
    let expected = [
        "error: task 2 cannot be run: {} stands in code for sh, and \"a b\" would be read as a part of it",
        "hint: write sh -c 'cat \"$1\" > out' sh {}",
    ];
    assert_eq!((code, said), (Some(2), expected.map(str::to_owned).to_vec()));
    let (code, said) = refused(&["--from-json", "-", "--", "echo"], br#"["a\u0000b"]"#);
    assert_eq!(
        (code, &*said[0]),
        (Some(2), "error: task 1 cannot be run: the item holds a NUL byte, and no argument can")
    );
}

#[test]
fn an_item_too_large_for_an_argument_is_refused_only_where_it_is_one() {
    let mut large = vec![b'x'; 200 * 1024];
    large.push(b'\n');
    assert_eq!(said_with(&["--each-line", "-", "--", "echo {#}"], &large).text(), "1\n");
    let (code, said) = refused(&["--each-line", "-", "--", "wc", "-c", "{}"], &large);
    assert_eq!(code, Some(126));
    let text =
        "error: task 1 cannot be run: argument list too long: with {} one argument has 204800 bytes, at most 131071";
    assert!(said[0].starts_with(text) && said[1].starts_with("hint: ") && said[1].contains("--in FILE"), "{said:?}");
}

#[test]
fn an_array_that_is_stopped_by_its_failures_says_so() {
    let ran = said(&["--array", "1-500", "--max-fails", "2", "--", "false"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("failed: stopped by --max-fails: of 500 tasks"), "{}", ran.stderr);
}

#[test]
fn lines_of_stdin_can_be_the_items() {
    let said = said_with(&["--each-line", "-", "--", "echo", "got {}"], b"one\ntwo\n");
    let mut lines: Vec<_> = said.text().lines().collect();
    lines.sort_unstable();
    assert_eq!((said.code, lines), (Some(0), vec!["got one", "got two"]));
}

#[test]
fn ctrl_c_cancels_the_command_and_leaves_nothing_running() {
    // A number that no other process sleeps for.
    let (_home, mut command) = run(&["--", "sh", "-c", "echo up; (setsid sleep 98761 &); sleep 98761"]);
    let mut child = command.spawn().expect("it starts");
    let mut up = [0; 3];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut up).expect("the task runs");
    eventually("the daemon is there", || is_running("98761"));
    signal(&child, "-INT");
    let (status, stderr) = ended(child);
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert!(!is_running("98761"), "nothing is left when it ends");
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let (_home, mut command) = run(&["--", "sh", "-c", "trap '' TERM; echo up; sleep 98762; sleep 98762"]);
    let mut child = command.spawn().expect("it starts");
    let mut up = [0; 3];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut up).expect("the task runs");
    signal(&child, "-TERM");
    let mut stderr = child.stderr.take().expect("a pipe");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("interrupted") {
        let mut byte = [0];
        stderr.read_exact(&mut byte).expect("a line about the first");
        seen.push(byte[0]);
    }
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    eventually("its shims end what ignores SIGTERM", || !is_running("98762"));
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let (_home, mut command) = run(&["--", "yes", "98763"]);
    let mut child = command.spawn().expect("it starts");
    let mut some = [0; 6];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut some).expect("the task runs");
    drop(child.stdout.take());
    let (status, stderr) = ended(child);
    assert_eq!(status.code(), Some(141), "{stderr}");
    assert_eq!(stderr, "note: no dispatcher is known: running here, in a cluster of one\n");
    assert!(!is_running("98763"));
}

#[test]
fn output_is_held_back_for_a_slow_reader_and_arrives_whole() {
    let (_home, mut command) = run(&["--", "head", "-c", "40000000", "/dev/zero"]);
    let mut child = command.spawn().expect("it starts");
    let mut out = child.stdout.take().expect("a pipe");
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let read = out.read(&mut buffer).expect("readable");
        if read == 0 {
            break;
        }
        length += read;
        if length < 3_000_000 {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    let (status, stderr) = ended(child);
    assert_eq!((status.code(), length), (Some(0), 40_000_000), "{stderr}");
}
