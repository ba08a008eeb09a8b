//! Which folder is the home, with the real binary: without `HOME`, without an
//! entry in the password database, and where nothing can be written.

#![cfg(target_os = "linux")]

mod harness;

use std::process::{Command, Stdio};

use harness::{not_tested, without_namespaces};

/// What `octaskly` with this environment and these arguments does, run through `through`.
fn octaskly(through: &[&str], environment: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String, String) {
    let temporary = tempfile::tempdir().expect("a folder");
    let words = [through, &[env!("CARGO_BIN_EXE_octaskly")], args].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", temporary.path());
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    let ran = command.output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

#[test]
fn without_the_variable_home_it_is_the_one_of_the_password_database() {
    for home in [&[][..], &[("HOME", "")], &[("HOME", "relative")]] {
        // A host that nobody has ends it before it touches anything there.
        let (code, _, stderr) = octaskly(&[], home, &["worker", "--dispatcher", "no-such-host.invalid"]);
        assert_eq!(code, Some(1), "{home:?} {stderr}");
        assert!(stderr.contains("no-such-host.invalid") && !stderr.contains("HOME"), "{home:?} {stderr}");
        let (_, _, stderr) = octaskly(&[], home, &["list"]);
        assert!(!stderr.contains("find a home folder"), "{home:?} {stderr}");
    }
}

#[test]
fn a_run_of_a_user_without_any_home_brings_its_own_cluster() {
    if without_namespaces() {
        return not_tested("nothing is known about users without an entry");
    }
    let nobody = ["unshare", "--user", "--map-user=4242", "--map-group=4242"];
    let (code, stdout, stderr) = octaskly(&nobody, &[], &["run", "-q", "--", "sh", "-c", "id -u; echo $HOME"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "4242\n/\n"), "{stderr}");
    for command in [&["list"][..], &["worker"], &["run", "--dispatcher", "127.0.0.1:9", "true"]] {
        let (code, _, stderr) = octaskly(&nobody, &[], command);
        assert!(matches!(code, Some(1 | 125)) && stderr.contains("find a home folder"), "{command:?} {stderr}");
        assert!(stderr.contains("hint: give a folder with --home or OCTASKLY_HOME"), "{command:?} {stderr}");
    }
}

#[test]
fn where_nothing_can_be_written_a_run_works_and_a_node_names_what_it_needs() {
    for home in ["/dev/null", "/proc"] {
        let (code, stdout, stderr) = octaskly(&[], &[("HOME", home)], &["run", "-q", "--", "echo", "here"]);
        assert_eq!((code, stdout.as_str()), (Some(0), "here\n"), "{home} {stderr}");
        let (code, _, stderr) = octaskly(&[], &[("HOME", home)], &["dispatcher", "--port", "0"]);
        assert_eq!(code, Some(1), "{home} {stderr}");
        let named = stderr.contains(&format!("create the folder {home}/.local/share/octaskly"));
        assert!(named && stderr.contains("hint: ") && stderr.contains("OCTASKLY_HOME"), "{home} {stderr}");
    }
    let (code, _, stderr) = octaskly(&[], &[("TMPDIR", "/proc"), ("HOME", "/proc")], &["run", "true"]);
    assert_eq!(code, Some(125), "{stderr}");
    assert!(stderr.contains("hint: set TMPDIR to a folder that this user can write to"), "{stderr}");
}

#[test]
fn a_length_of_time_without_a_unit_is_refused_with_the_likely_meanings() {
    let refused: [&[&str]; 6] = [
        &["dispatcher", "--retention", "7"],
        &["token", "create", "--ttl", "5"],
        &["wait", "--timeout", "30", "1"],
        &["run", "--time-limit", "10", "true"],
        &["submit", "--backoff", "1..60", "true"],
        &["worker", "--stop-grace", "30"],
    ];
    for command in refused {
        let number = command.iter().find_map(|word| word.split('.').next().filter(|text| text.parse::<u8>().is_ok()));
        let number = number.expect("a number");
        let (code, _, stderr) = octaskly(&[], &[("HOME", "/proc")], command);
        assert_eq!(code, Some(2), "{command:?} {stderr}");
        assert!(stderr.contains("it has no unit"), "{command:?} {stderr}");
        let hint = format!("hint: write the unit: {number}s, {number}m, {number}h or {number}d");
        assert!(stderr.contains(&hint), "{command:?} {stderr}");
    }
    // Seconds, as in the original help: understood, and then there is no place for a home.
    for seconds in [["--task-timeout", "600"], ["--heartbeat-timeout", "90"]] {
        let (code, _, stderr) = octaskly(&[], &[("HOME", "/proc")], &["dispatcher", seconds[0], seconds[1]]);
        assert_eq!(code, Some(1), "{seconds:?} {stderr}");
    }
}
