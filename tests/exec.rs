//! The executor with real shims and real processes: what a task sees, how it
//! ends, and what becomes of its output. What is left when something is killed
//! is in `contain`.

#![cfg(target_os = "linux")]

#[path = "exec/contain.rs"]
mod contain;
#[path = "exec/flow.rs"]
mod flow;
#[path = "exec/lease.rs"]
mod lease;
#[path = "exec/rig.rs"]
mod rig;
#[path = "exec/shortage.rs"]
mod shortage;

use octaskly::model::outcome::{SpawnFailure, SpawnFailureKind};
use octaskly::model::spec::{CommandLine, StdinSource, Workdir};
use octaskly::model::{Items, Outcome, RawString};
use octaskly::wire::OutputStream;
use rig::{Rig, exec, output, shell};

fn spawn_failure(outcome: Outcome) -> (SpawnFailureKind, String) {
    match outcome {
        Outcome::SpawnFailed(SpawnFailure { kind, reason }) => (kind, reason),
        other => panic!("it {other}"),
    }
}

#[tokio::test]
async fn a_task_ends_with_its_exit_code_or_its_signal() {
    let mut rig = Rig::new();
    assert_eq!(rig.run(exec(["true"])).await.outcome, Outcome::Exited(0));
    assert_eq!(rig.run(shell("exit 7")).await.outcome, Outcome::Exited(7));
    assert_eq!(rig.run(shell("exit 255")).await.outcome, Outcome::Exited(255));
    assert_eq!(rig.run(shell("kill -TERM $$")).await.outcome, Outcome::Signalled(15));
    assert_eq!(rig.run(shell("kill -KILL $$")).await.outcome, Outcome::Signalled(9));
    // Within the shell, 127 is the shell's own word.
    assert_eq!(rig.run(shell("frobnicate-no-such-thing 2>&-")).await.outcome, Outcome::Exited(127));
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_127_and_one_that_cannot_run_is_126() {
    let mut rig = Rig::new();
    let (kind, reason) = spawn_failure(rig.run(exec(["frobnicate", "x"])).await.outcome);
    assert_eq!((kind, &*reason), (SpawnFailureKind::NotFound, "no such program: frobnicate"));
    let (kind, _) = spawn_failure(rig.run(exec(["/no/such/thing"])).await.outcome);
    assert_eq!(kind, SpawnFailureKind::NotFound);
    for (forbidden, why) in
        [("/etc/passwd", "permission denied: not executable (chmod +x)"), ("/etc", "is a directory")]
    {
        let (kind, reason) = spawn_failure(rig.run(exec([forbidden])).await.outcome);
        assert_eq!((kind, reason), (SpawnFailureKind::NotExecutable, format!("{forbidden}: {why}")));
    }
    let long = "x".repeat(200 * 1024);
    let (kind, reason) = spawn_failure(rig.run(exec(["true", &long])).await.outcome);
    assert_eq!(kind, SpawnFailureKind::NotExecutable);
    assert!(
        reason.starts_with("argument list too long: one argument has 204800 bytes, and at most 131071"),
        "{reason}"
    );
    let nul = spawn_failure(rig.run(exec(["true", "a\0b"])).await.outcome);
    assert_eq!(nul, (SpawnFailureKind::NotExecutable, "an argument holds a NUL byte".into()));
    assert_eq!(rig.run(exec(["true"])).await.outcome, Outcome::Exited(0), "the shim is still good");
}

/// Runs what no process can be given and says why it was not started.
async fn too_long(rig: &mut Rig, spec: octaskly::model::JobSpec) -> String {
    let (kind, reason) = spawn_failure(rig.run(spec).await.outcome);
    assert_eq!(kind, SpawnFailureKind::NotExecutable);
    assert!(reason.len() < 10_000, "a reason of {} bytes", reason.len());
    reason
}

#[tokio::test]
async fn a_command_longer_than_any_process_can_be_given_costs_neither_the_worker_nor_a_shim() {
    let mut rig = Rig::new();
    // 50 GB, were they put together.
    let mut multiplied = shell(&"{}".repeat(50_000));
    multiplied.items = Items::List(vec!["x".repeat(1 << 20).as_str().into()].into());
    let id = rig.start_index(multiplied, 1, None);
    let (kind, reason) = spawn_failure(rig.end_of(id).await.outcome);
    assert_eq!(kind, SpawnFailureKind::NotExecutable);
    assert!(reason.starts_with("argument list too long: with {} one argument has 1048590 bytes"), "{reason}");
    let mut many = exec(["true", "{}", "{}"]);
    let CommandLine::Exec(argv) = &mut many.command else { panic!("it is one") };
    argv.resize(60, "{}".into());
    many.items = Items::List(vec!["x".repeat(120 << 10).as_str().into()].into());
    let id = rig.start_index(many, 1, None);
    let (_, reason) = spawn_failure(rig.end_of(id).await.outcome);
    assert!(reason.starts_with("argument list too long: arguments and environment take more than 6 MiB"), "{reason}");
    let long = "x".repeat(9 << 20);
    assert!(too_long(&mut rig, exec(["true", &long])).await.starts_with("argument list too long"));
    assert!(too_long(&mut rig, shell(&long)).await.starts_with("argument list too long"));
    let mut environment = exec(["true"]);
    environment.env.insert("LONG".into(), long.as_str().into());
    assert!(too_long(&mut rig, environment).await.starts_with("argument list too long"));
    let mut nowhere = exec(["true"]);
    nowhere.workdir = Workdir::Existing(format!("/{long}").as_str().into());
    assert!(too_long(&mut rig, nowhere).await.starts_with("argument list too long"));
    let name = format!("/{}", "x".repeat(100 << 10));
    assert!(too_long(&mut rig, exec([name.as_str()])).await.ends_with('…'), "a long name is cut");
    assert_eq!(rig.run(exec(["true"])).await.outcome, Outcome::Exited(0), "the shim is still good");
}

#[tokio::test]
async fn a_script_without_an_interpreter_line_runs_in_the_shell_as_it_does_everywhere() {
    let mut rig = Rig::new();
    let script = rig.work.path().join("script");
    std::fs::write(&script, "echo \"$0: $1\"\n").expect("a file");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    let path = script.to_str().expect("text").to_owned();
    assert_eq!(rig.text_of(exec([&*path, "hello"])).await, format!("{path}: hello\n"));
    let mut relative = exec(["./script", "hello"]);
    relative.workdir = Workdir::Existing(rig.work.path().as_os_str().into());
    assert_eq!(rig.text_of(relative).await, "./script: hello\n");
}

#[tokio::test]
async fn a_script_that_no_interpreter_can_run_says_what_is_wrong_with_it() {
    let mut rig = Rig::new();
    let long = format!("#!/{}\necho wrong\n", "x".repeat(300));
    let scripts: [(&str, &[u8], u32, &str); 8] = [
        (
            "crlf",
            b"#!/bin/sh\r\necho wrong\r\n",
            0o755,
            "has Windows line endings (CRLF); convert it: sed -i 's/\\r$//' crlf",
        ),
        ("env", b"#!/usr/bin/env python3\r\n", 0o755, "has Windows line endings (CRLF)"),
        ("mark", b"\xef\xbb\xbf#!/usr/bin/python3\nprint(1)\n", 0o755, "begins with a byte order mark"),
        ("utf16", b"\xff\xfe#\0!\0", 0o755, "is text in UTF-16"),
        ("missing", b"#!/no/such/sh -x\n", 0o755, "no such interpreter: /no/such/sh"),
        ("locked", b"#!/etc/passwd\n", 0o755, "its interpreter /etc/passwd is not executable"),
        ("long", long.as_bytes(), 0o755, "its first line is too long: the system reads 256 bytes of it"),
        ("plain", b"#!/bin/sh\n", 0o644, "not executable (chmod +x)"),
    ];
    for (name, text, mode, why) in scripts {
        let file = rig.work.path().join(name);
        std::fs::write(&file, text).expect("a file");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("its mode");
        let path = format!("./{name}");
        let mut commands = vec![exec([&*path, "x"])];
        // A shell says of these that they are not found, or runs them as its own.
        commands.extend(matches!(name, "crlf" | "env" | "mark" | "utf16").then(|| shell(&format!("{path} x >&2"))));
        for mut spec in commands {
            spec.workdir = Workdir::Existing(rig.work.path().as_os_str().into());
            let (kind, reason) = spawn_failure(rig.run(spec).await.outcome);
            assert!(reason.starts_with(&format!("{path}: ")) && reason.contains(why), "{reason}");
            assert_eq!(kind, SpawnFailureKind::NotExecutable, "{reason}");
        }
    }
}

#[tokio::test]
async fn stdout_and_stderr_are_kept_apart_and_counted() {
    let mut rig = Rig::new();
    let ending = rig.run(shell("echo out; echo error >&2; echo more")).await;
    assert_eq!(output(&ending, OutputStream::Stdout), b"out\nmore\n");
    assert_eq!(output(&ending, OutputStream::Stderr), b"error\n");
    assert_eq!((ending.stdout_bytes, ending.stderr_bytes), (9, 6));
    assert!(ending.peak_memory_bytes > 100_000, "a shell takes more than {} bytes", ending.peak_memory_bytes);
}

#[tokio::test]
async fn a_task_sees_the_environment_of_the_contract_and_nothing_else() {
    let mut rig = Rig::new();
    let mut spec = exec(["env"]);
    spec.env.insert("GIVEN".into(), "a=b\nc".into());
    let text = rig.text_of(spec).await;
    let mut names: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    let own = "ATTEMPT CPUS FENCE GPUS INDEX JOB_ID SCRATCH_DIR TASK_ID WORKER".split(' ');
    let own: Vec<String> = own.map(|name| format!("OCTASKLY_{name}")).collect();
    let mut expected = vec!["GIVEN", "HOME", "LANG", "PATH", "TERM", "USER"];
    expected.extend(own.iter().map(String::as_str));
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(text.contains("GIVEN=a=b\nc\n") && text.contains("OCTASKLY_TASK_ID=1.0\n"));
}

#[tokio::test]
async fn a_task_runs_in_a_fresh_directory_that_is_gone_afterwards() {
    let mut rig = Rig::new();
    let text =
        rig.text_of(shell("pwd; ls -A; echo \"$OCTASKLY_SCRATCH_DIR\"; mkdir -p a/b; touch a/b/c; chmod 0 a/b")).await;
    let [cwd, scratch] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text:?}") };
    assert_eq!(cwd, scratch);
    assert!(!std::path::Path::new(cwd).exists(), "{cwd} is left");
    let mut existing = shell("pwd; touch \"$OCTASKLY_SCRATCH_DIR/x\"");
    existing.workdir = Workdir::Existing("/usr".into());
    assert_eq!(rig.text_of(existing).await, "/usr\n");
}

#[tokio::test]
async fn arguments_arrive_byte_for_byte() {
    let mut rig = Rig::new();
    let awkward: [&[u8]; 6] = [b"", b" a  b ", b"\n\t'\"\\$`", b"\xff\xfe\x80", b"-n", "ü€😀".as_bytes()];
    let mut spec = exec(["sh", "-c", r#"for a in "$@"; do printf '[%s]' "$a"; done"#, "sh"]);
    let CommandLine::Exec(argv) = &mut spec.command else { panic!("it is one") };
    argv.extend(awkward.iter().map(|bytes| RawString(bytes.to_vec())));
    let expected: Vec<u8> = awkward.iter().flat_map(|bytes| [b"[", *bytes, b"]"].concat()).collect();
    assert_eq!(rig.output_of(spec).await, expected);
}

#[tokio::test]
async fn each_task_of_an_array_gets_its_own_item() {
    let mut rig = Rig::new();
    let mut spec = shell("echo {#}:{}:{/.}:$OCTASKLY_ITEM");
    spec.items = Items::List(vec!["a/b c.txt".into(), "it's $HOME; ls".into()].into());
    let id = rig.start_index(spec.clone(), 1, None);
    assert_eq!(output(&rig.end_of(id).await, OutputStream::Stdout), b"1:a/b c.txt:b c:a/b c.txt\n");
    let id = rig.start_index(spec, 2, None);
    let text = output(&rig.end_of(id).await, OutputStream::Stdout);
    assert_eq!(String::from_utf8_lossy(&text), "2:it's $HOME; ls:it's $HOME; ls:it's $HOME; ls\n");
}

#[tokio::test]
async fn a_worker_runs_no_item_as_code() {
    let mut rig = Rig::new();
    let hostile = "'; touch canary; echo \"$(touch canary)";
    let of = |mut spec: octaskly::model::JobSpec, item: &str| {
        spec.items = Items::List(vec![item.into()].into());
        spec
    };
    for command in [exec(["sh", "-c", "echo {}; ls"]), exec(["sh", "-ec", "echo \"{}\"; ls"]), shell("echo '{}'; ls")] {
        let id = rig.start_index(of(command, hostile), 1, None);
        let text = output(&rig.end_of(id).await, OutputStream::Stdout);
        assert_eq!(String::from_utf8_lossy(&text), format!("{hostile}\n"));
    }
    for command in [exec(["env", "sh", "-c", "echo {}"]), exec(["perl", "-e", "print {}"]), shell("eval {}")] {
        let id = rig.start_index(of(command.clone(), hostile), 1, None);
        let (kind, reason) = spawn_failure(rig.end_of(id).await.outcome);
        assert_eq!(kind, SpawnFailureKind::NotExecutable);
        assert!(reason.starts_with("{} stands in code for ") && reason.contains("(write "), "{reason}");
    }
    let id = rig.start_index(of(exec(["env", "sh", "-c", "echo {}"]), "a.txt"), 1, None);
    assert_eq!(output(&rig.end_of(id).await, OutputStream::Stdout), b"a.txt\n", "a plain word is none");
}

#[tokio::test]
async fn an_item_too_large_for_an_argument_is_no_obstacle_to_a_command_that_does_not_take_it() {
    let mut rig = Rig::new();
    let large = RawString::from("x".repeat(200 * 1024).as_str());
    let mut run = async |mut spec: octaskly::model::JobSpec| {
        spec.items = Items::List(vec![large.clone()].into());
        let id = rig.start_index(spec, 1, None);
        rig.end_of(id).await
    };
    let ending = run(shell("echo {#} ${OCTASKLY_INDEX} \"${OCTASKLY_ITE-none}\"")).await;
    assert_eq!(output(&ending, OutputStream::Stdout), b"1 1 none\n");
    for command in [shell("wc -c '{}'"), exec(["wc", "{}"]), exec(["wc", "{.}.gz"]), shell("echo $OCTASKLY_ITEM")] {
        let (kind, reason) = spawn_failure(run(command).await.outcome);
        assert_eq!(kind, SpawnFailureKind::NotExecutable);
        let text = "bytes, at most 131071 are possible (put it into a file that the command reads: --in FILE";
        assert!(reason.starts_with("argument list too long: with ") && reason.contains(text), "{reason}");
    }
}

#[tokio::test]
async fn a_task_inherits_no_descriptor_signal_mask_or_ignored_signal() {
    let mut rig = Rig::new();
    // Something that could be inherited: open without close-on-exec.
    let leaky = std::fs::File::open("/dev/null").expect("a device");
    let set = std::process::Command::new("true").stdin(leaky).status();
    assert!(set.expect("true runs").success());
    // The fourth is the listing's own.
    assert_eq!(rig.text_of(exec(["ls", "/proc/self/fd"])).await, "0\n1\n2\n3\n");
    let status = rig.text_of(exec(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"])).await;
    let masks: Vec<u64> = status.lines().map(|line| u64::from_str_radix(&line[8..], 16).expect("hex")).collect();
    // Signals 32 and 33 are the C library's own, and its posix_spawn leaves them ignored.
    assert_eq!(masks.iter().map(|mask| mask & !(0b11 << 31)).collect::<Vec<_>>(), [0, 0], "{status}");
    assert_eq!(rig.run(shell("kill -PIPE $$")).await.outcome, Outcome::Signalled(13));
    assert_eq!(rig.text_of(shell("ulimit -c")).await, "0\n");
}

#[tokio::test]
async fn a_task_is_in_no_session_of_its_workers_so_a_terminals_signals_do_not_reach_it() {
    let mut rig = Rig::new();
    let text = rig.text_of(shell("ps -o sid=,pgid=,pid=,ppid= -p $$")).await;
    let fields: Vec<u32> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let [session, group, pid, parent] = fields[..] else { panic!("{text}") };
    assert_eq!((session, group), (parent, pid), "the session is its shim's, the group its own");
    assert_eq!(rig::children_named(std::process::id(), "octa-shim").iter().filter(|shim| **shim == parent).count(), 1);
}

#[tokio::test]
async fn stdin_is_empty_or_what_the_job_carries() {
    let mut rig = Rig::new();
    assert_eq!(rig.text_of(exec(["cat"])).await, "");
    let mut small = exec(["cat"]);
    small.stdin = StdinSource::Inline("hello\n".into());
    assert_eq!(rig.text_of(small).await, "hello\n");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 253) as u8).collect();
    let mut large = exec(["cksum"]);
    large.stdin = StdinSource::Inline(bytes.clone().into());
    assert!(rig.text_of(large).await.ends_with(" 3000000\n"));
    let mut ignored = exec(["true"]);
    ignored.stdin = StdinSource::Inline(bytes.into());
    assert_eq!(rig.run(ignored).await.outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn quick_tasks_are_reported_as_started_too() {
    let mut rig = Rig::new();
    let id = rig.start(exec(["true"]));
    rig.end_of(id).await;
    assert!(rig.started.contains_key(&id));
    let id = rig.start(exec(["frobnicate"]));
    rig.end_of(id).await;
    assert!(!rig.started.contains_key(&id), "it never had a process");
}
