//! A `run` whose worker is lost in the middle, and standard inputs of every kind: nothing comes twice, nothing is
//! missing without a word.

mod harness;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::{Cluster, Node, Started, soon};
use nix::sys::signal::Signal;

/// Longer than anything here takes, on a busy machine.
const LONG: Duration = Duration::from_secs(240);

/// Reads all input into a file of its attempt, and hangs if it is the first one.
const READS: &str = "cat >\"$0/$OCTASKLY_ATTEMPT\"; touch \"$0/read\"; while [ $OCTASKLY_ATTEMPT = 1 ]; do sleep 0.1; done; \
                     wc -c <\"$0/$OCTASKLY_ATTEMPT\"";

struct Scene {
    cluster: Cluster,
    _dispatcher: Node,
    worker: Node,
    out: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::new();
        let dispatcher = cluster.dispatcher();
        let worker = cluster.worker_with(&["--name", "first", "--stop-grace", "1s"]);
        worker.says("Joined the dispatcher");
        let out = cluster.scratch().join("out");
        fs::create_dir(&out).expect("a folder");
        Self { cluster, _dispatcher: dispatcher, worker, out }
    }

    /// The words of a `run` of `script`, which finds the folder in `$0`.
    fn words<'a>(&'a self, options: &[&'a str], script: &'a str) -> Vec<&'a str> {
        [&["run"], options, &["--", "sh", "-c", script, self.out.to_str().expect("text")]].concat()
    }

    /// Its first attempt has said that it may be killed.
    fn await_mark(&self, mark: &str) {
        let mark = self.out.join(mark);
        soon("the first attempt is there", || mark.exists());
    }

    /// The first worker is gone, and there is another one.
    fn loses_its_worker(&mut self) -> Node {
        self.worker.kill();
        let second = self.cluster.worker("second");
        second.says("Joined the dispatcher");
        second
    }
}

#[test]
fn a_second_attempt_reads_all_of_stdin_from_a_pipe_or_a_file() {
    let bytes = vec![b'x'; 5_000_000];
    for named in [false, true] {
        let mut scene = Scene::new();
        let file = scene.cluster.scratch().join("input");
        // A file may be longer than what is kept of a pipe.
        let length = if named { 20_000_000 } else { bytes.len() };
        fs::write(&file, vec![b'x'; length]).expect("written");
        let options: &[&str] = if named { &["-q", "--stdin", file.to_str().expect("text")] } else { &["-q"] };
        let words = scene.words(options, READS);
        let running = match named {
            true => scene.cluster.start(words),
            false => scene.cluster.start_with_input(words, bytes.clone()),
        };
        scene.await_mark("read");
        let _second = scene.loses_its_worker();
        let ran = running.finish(LONG);
        assert_eq!((ran.code, ran.stdout_text().trim()), (Some(0), length.to_string().as_str()), "{ran:?}");
    }
}

#[test]
fn more_of_a_pipe_than_is_kept_is_not_read_again_and_the_run_says_so() {
    let mut scene = Scene::new();
    let running = scene.cluster.start_with_input(scene.words(&["-q"], READS), vec![b'x'; 12_000_000]);
    scene.await_mark("read");
    let _second = scene.loses_its_worker();
    let ran = running.finish(LONG);
    ran.says_failure_and_hint(125, "cannot be repeated");
    assert!(ran.stdout.is_empty() && !scene.out.join("2").exists(), "there was a second attempt: {ran:?}");
    let task = &scene.cluster.json(["show", "1", "--tasks"])[0];
    assert_eq!(task["cause"].as_str(), Some("lost"), "{task}");
}

#[test]
fn output_that_was_shown_is_not_followed_by_that_of_another_attempt() {
    // Killed, and stopped in order with a task that does not end in time.
    for stopped in [false, true] {
        let mut scene = Scene::new();
        let script = "trap '' TERM; printf '1\\n2\\n3\\n'; sleep 60; sleep 60; echo end";
        let shown = scene.out.join("stdout");
        let command = scene.cluster.command(scene.words(&["-q"], script));
        let running = Started::of(redirected(&command, &format!(">{}", shown.display())));
        soon("it is shown", || fs::read(&shown).is_ok_and(|shown| shown.len() == 6));
        if stopped {
            scene.worker.signal(Signal::SIGTERM);
        } else {
            scene.worker.kill();
        }
        let _second = scene.cluster.worker("second");
        let ran = running.finish(LONG);
        assert_eq!(fs::read_to_string(&shown).expect("text"), "1\n2\n3\n", "{ran:?}");
        ran.says_failure_and_hint(125, "some of its output was already passed on");
    }
}

#[test]
fn with_retries_output_is_that_of_the_last_attempt_and_stdin_comes_whole_to_each() {
    let scene = Scene::new();
    let script = "echo attempt $OCTASKLY_ATTEMPT; echo to stderr >&2; cat; [ $OCTASKLY_ATTEMPT = 3 ]";
    let words = scene.words(&["--retries", "3", "--backoff", "1ms..1ms"], script);
    let ran = scene.cluster.start_with_input(words, b"1\n2\n3\n".to_vec()).finish(LONG);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(0), "attempt 3\n1\n2\n3\n"), "{ran:?}");
    assert_eq!(ran.stderr_text().matches("to stderr").count(), 1, "{ran:?}");
    // Held output is shown when the last attempt fails, too.
    let words = scene.words(&["--retries", "1", "--backoff", "1ms..1ms"], "echo $OCTASKLY_ATTEMPT; exit 7");
    let ran = scene.cluster.start(words).finish(LONG);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(7), "2\n"), "{ran:?}");
}

#[test]
fn what_writes_more_than_is_held_is_shown_once_and_not_retried() {
    let scene = Scene::new();
    let script = "head -c 6000000 /dev/zero; exit 3";
    let words = scene.words(&["--retries", "3", "--backoff", "1ms..1ms"], script);
    let ran = scene.cluster.start(words).finish(LONG);
    assert_eq!((ran.code, ran.stdout.len()), (Some(3), 6_000_000), "{ran:?}");
    assert!(ran.stderr_text().contains("was not retried"), "{ran:?}");
}

/// `command`, started by a shell that redirects something.
fn redirected(command: &Command, redirection: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirection}"));
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// `command` with this stdin.
fn with_stdin(mut command: Command, stdin: File) -> std::process::Output {
    command.stdin(stdin).output().expect("octaskly starts")
}

#[test]
fn a_stdin_that_cannot_be_read_is_an_error_and_none_is_none() {
    let scene = Scene::new();
    let cat = || scene.cluster.command(["run", "--", "cat"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

    let directory = with_stdin(cat(), File::open("/").expect("a directory"));
    let writing = with_stdin(cat(), File::create(scene.out.join("writing")).expect("a file"));
    let closed = redirected(&cat(), "<&-").output().expect("sh starts");
    for (ended, cause) in [(directory, "directory"), (writing, "Bad file descriptor"), (closed, "Bad file descriptor")]
    {
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(125), "{said}");
        assert!(said.starts_with("error: cannot read stdin: ") && said.contains(cause), "{said}");
    }

    let none = with_stdin(cat(), File::open("/dev/null").expect("the null device"));
    assert_eq!((none.status.code(), text(&none.stdout).as_str()), (Some(0), ""));
    // What nohup gives.
    let nohup = with_stdin(cat(), File::options().write(true).open("/dev/null").expect("the null device"));
    assert_eq!((nohup.status.code(), text(&nohup.stderr).as_str()), (Some(0), ""));
    let mut own = scene.cluster.command(["run", "--stdin", "/dev/stdin", "--", "cat"]);
    let path = scene.out.join("text");
    fs::write(&path, "text").expect("written");
    let own = own.stdin(File::open(&path).expect("a file")).output().expect("octaskly starts");
    assert_eq!(text(&own.stdout), "text");
}

#[test]
fn a_named_pipe_is_read_to_its_end_whenever_somebody_writes_there() {
    let scene = Scene::new();
    let pipe = scene.out.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a named pipe");
    let path = pipe.to_str().expect("text").to_owned();
    let running = scene.cluster.start(["run", "--stdin", &path, "--", "cat"]);
    let writer =
        std::thread::spawn(move || File::options().write(true).open(pipe).and_then(|mut to| to.write_all(b"through")));
    let ran = running.finish(LONG);
    writer.join().expect("no panic").expect("written");
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(0), "through"), "{ran:?}");
    // Nobody ever writes: a task that reads nothing ends all the same.
    let ran = scene.cluster.start(["run", "--stdin", &path, "--", "echo", "done"]).finish(LONG);
    assert_eq!((ran.code, ran.stdout_text().as_str()), (Some(0), "done\n"), "{ran:?}");
}

#[test]
fn an_array_that_cannot_show_all_output_says_how_much_is_missing_and_ends_with_125() {
    let scene = Scene::new();
    let words = ["run", "head -c 130000000 /dev/zero; true {}", ":::", "1"];
    let ran = Started::of(scene.cluster.command(words)).finish(LONG);
    ran.says_failure(125, "of the output of task 1.1 are missing");
    let said = ran.stderr_text();
    let missing =
        said.lines().find_map(|line| line.strip_prefix("error: ")?.strip_suffix(" MiB are kept").map(str::to_owned));
    let missing: usize = missing.as_deref().and_then(|line| line.split(' ').next()?.parse().ok()).expect("a number");
    assert_eq!(ran.stdout.len() + missing, 130_000_000, "{ran:?}");
}
