//! What end-to-end tests speak: the real binary, a home of its own in a
//! temporary folder, ports that nobody else has, and processes that are ended
//! by their ids when the test is over, however it ends.
//!
//! The one invariant: nothing here waits by sleeping for a guessed time; it
//! polls for what it waits for and gives up loudly at a deadline. Absent: any
//! use of the library; what is tested is what a user can see.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of it")]

pub mod files;
pub mod lan;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);
/// The environment variable by which the processes of a test's tasks are found.
pub const MARKER: &str = "OCTEST_MARKER";

/// Set to `1` by people whose machine allows no namespaces and mounts, and who want the other tests to pass.
pub const WITHOUT: &str = "OCTASKLY_TESTS_WITHOUT_NAMESPACES";

/// Whether that is so.
pub fn without_namespaces() -> bool {
    std::env::var_os(WITHOUT).is_some_and(|set| set == "1")
}

/// Ends a test that this machine does not allow: it fails, unless whoever runs it has said that this is known.
pub fn not_tested(why: &str) {
    assert!(without_namespaces(), "NOT TESTED: {why} ({WITHOUT}=1 lets this pass)");
    eprintln!("NOT TESTED, and passed because {WITHOUT} is set: {why}");
}

/// A home with the nodes that run from it.
pub struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    /// Where its beacons go, so that clusters of tests do not hear each other; `None` is the usual port.
    discovery: Option<u16>,
    started: AtomicU32,
    /// What every command line begins with, where this home is on another host.
    through: Vec<OsString>,
}

impl Cluster {
    /// An empty home and a port for its dispatcher.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("octest-").tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("tmp")).expect("a folder");
        Self {
            folder,
            port: free_port(),
            discovery: Some(free_port()),
            started: AtomicU32::new(0),
            through: Vec::new(),
        }
    }

    /// One whose commands all run through `program args…`, where `port` is free.
    pub fn through(program_and_args: Vec<OsString>, port: u16) -> Self {
        Self { port, discovery: None, through: program_and_args, ..Self::new() }
    }

    /// One on this host whose commands all run through `program args…`: with another umask, as another user.
    pub fn wrapped(program_and_args: Vec<OsString>) -> Self {
        Self { through: program_and_args, ..Self::new() }
    }

    /// One with a dispatcher and a worker of four slots that has joined.
    pub fn with_a_worker() -> (Self, Node, Node) {
        let cluster = Self::new();
        let dispatcher = cluster.dispatcher();
        let worker = cluster.worker("worker-a");
        worker.says("Joined the dispatcher");
        (cluster, dispatcher, worker)
    }

    /// `OCTASKLY_HOME`.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// `TMPDIR`, where embedded clusters live.
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The port of the dispatcher.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `octaskly` with these arguments, this home, and an environment that holds nothing else.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut words = self.through.iter().cloned().chain([env!("CARGO_BIN_EXE_octaskly").into()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(args).env_clear().env("OCTASKLY_HOME", self.home()).env("TMPDIR", self.temporary());
        for kept in ["PATH", "HOME", "LANG", "TERM", "USER", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        if let Some(port) = self.discovery {
            command.env("OCTASKLY_DISCOVERY_PORT", port.to_string());
        }
        command.current_dir(self.folder.path());
        command
    }

    /// A dispatcher that listens on loopback.
    pub fn dispatcher(&self) -> Node {
        self.dispatcher_with(&[])
    }

    /// One with more options. It listens when this returns.
    pub fn dispatcher_with(&self, options: &[&str]) -> Node {
        let port = self.port.to_string();
        let mut args = vec!["dispatcher", "--bind", "127.0.0.1", "--port", &port];
        args.extend(options);
        let node = self.node(self.command(args));
        node.says("Dispatcher listening on");
        node
    }

    /// A worker by this name; it has not joined yet when this returns.
    pub fn worker(&self, name: &str) -> Node {
        self.worker_with(&["--name", name])
    }

    /// A worker with these options.
    pub fn worker_with(&self, options: &[&str]) -> Node {
        let mut args = vec!["worker"];
        args.extend(options);
        self.node(self.command(args))
    }

    /// Starts a node; what it says goes to a file that the test reads.
    pub fn node(&self, mut command: Command) -> Node {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.folder.path().join(format!("node-{number}.log"));
        let file = File::create(&log).expect("a log file");
        let out = file.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(file).spawn().expect("octaskly starts");
        Node { child, log, label: label(&command) }
    }

    /// Runs a client command to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.start(args).finish(SOON)
    }

    /// Runs a client command that has to succeed, and returns what it printed.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout_text()
    }

    /// Starts a client command whose output is collected meanwhile.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Started {
        Started::new(self.command(args), Vec::new())
    }

    /// Starts a client command with something on its standard input.
    pub fn start_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: Vec<u8>) -> Started {
        Started::new(self.command(args), input)
    }

    /// The answer of a read command with `--json`, as one line of text without blanks.
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> serde_json::Value {
        let mut all: Vec<std::ffi::OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        all.push("--json".into());
        let text = self.ok(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{all:?} printed no JSON ({error}): {text}"))
    }

    /// The state of a job, as `list --all` has it.
    pub fn job_state(&self, job: &str) -> Option<String> {
        let jobs = self.json(["list", "--all"]);
        let jobs = jobs.as_array().expect("an array of jobs").clone();
        let job: u64 = job.parse().expect("a job number");
        jobs.iter().find(|row| row["id"] == job).and_then(|row| row["state"].as_str().map(str::to_owned))
    }
}

/// A dispatcher or worker. Killed when dropped.
pub struct Node {
    child: Child,
    log: PathBuf,
    label: String,
}

impl Node {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `text`.
    pub fn says(&self, text: &str) {
        self.says_times(text, 1);
    }

    /// Waits until it has said `text` so many times.
    pub fn says_times(&self, text: &str, times: usize) {
        eventually(&format!("{} says {text:?} {times} times", self.label), SOON, || {
            (self.log().matches(text).count() >= times).then_some(())
        })
        .unwrap_or_else(|missed| panic!("{missed}; it said:\n{}", self.log()));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it is there to get a signal");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Asks it to stop and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits until it has ended by itself and returns its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let status = eventually(&format!("{} ends", self.label), SOON, || self.child.try_wait().expect("a status"));
        status.unwrap_or_else(|missed| panic!("{missed}; it said:\n{}", self.log())).code()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    /// Its children with this name: `octa-shim`, `octa-guard`.
    pub fn children(&self, name: &str) -> Vec<i32> {
        processes()
            .into_iter()
            .filter(|pid| parent(*pid) == Some(self.pid()))
            .filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
            .collect()
    }

    /// The most memory it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        peak_memory_of(self.child.id()).expect("it runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} said:\n{}", self.label, self.log());
        }
    }
}

/// A client command that runs.
pub struct Started {
    child: Child,
    label: String,
    stdout: Option<thread::JoinHandle<Vec<u8>>>,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
}

impl Started {
    fn new(mut command: Command, input: Vec<u8>) -> Self {
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut child =
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("octaskly starts");
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read all of it is nothing unusual.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { child, label: label(&command), stdout, stderr }
    }

    /// A command that was made elsewhere.
    pub fn of(command: Command) -> Self {
        Self::new(command, Vec::new())
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it is there to get a signal");
    }

    /// Waits for its end, or for `over` to hold a while before it ends; then it is killed and there is no result.
    pub fn finish_unless(mut self, mut over: impl FnMut() -> bool) -> Option<Ran> {
        let mut looks_since_over = 0;
        let ended = eventually(&format!("{} ends", self.label), SOON, || {
            looks_since_over += u32::from(over());
            let ended = self.child.try_wait().expect("a status").is_some();
            (ended || looks_since_over > 100).then_some(ended)
        });
        if ended == Ok(false) { None } else { Some(self.finish(SOON)) }
    }

    /// Waits for its end.
    pub fn finish(mut self, within: Duration) -> Ran {
        let ended = eventually(&format!("{} ends", self.label), within, || self.child.try_wait().expect("a status"));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let text =
            |thread: Option<thread::JoinHandle<Vec<u8>>>| thread.map_or(Vec::new(), |it| it.join().expect("read"));
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        let ran = Ran { label: self.label.clone(), code: None, stdout, stderr };
        match ended {
            Ok(status) => Ran { code: status.code(), ..ran },
            Err(missed) => panic!("{missed}: {ran:?}"),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client command that has ended.
pub struct Ran {
    label: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// Its standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails unless it ended with `code` after one line `error: …` that says `what`.
    pub fn says_failure(&self, code: i32, what: &str) {
        let text = self.stderr_text();
        assert_eq!(self.code, Some(code), "{self:?}");
        let error = text.lines().find(|line| line.starts_with("error: "));
        assert!(error.is_some_and(|line| line.contains(what)), "no error line about {what:?} in {self:?}");
        assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "a panic in {self:?}");
    }

    /// As [`Ran::says_failure`], with a line `hint: …` below it.
    pub fn says_failure_and_hint(&self, code: i32, what: &str) {
        self.says_failure(code, what);
        assert!(self.stderr_text().lines().any(|line| line.starts_with("hint: ")), "no hint in {self:?}");
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
            if bytes.len() > 4000 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
        };
        let (stdout, stderr) = (short(&self.stdout), short(&self.stderr));
        write!(f, "{} ended with {:?}\n--- stdout:\n{stdout}\n--- stderr:\n{stderr}", self.label, self.code)
    }
}

/// The arguments of a command, as far as a person wants to read them.
fn label(command: &Command) -> String {
    let args: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().chars().take(80).collect()).collect();
    // What it runs through is of no interest, but where is.
    let own = args.iter().position(|arg| *arg == env!("CARGO_BIN_EXE_octaskly").chars().take(80).collect::<String>());
    let host = own.and_then(|own| args.get(own.checked_sub(2)?)).map(|host| format!(" (host {host})"));
    format!("octaskly {}{}", args[own.map_or(0, |own| own + 1)..].join(" "), host.unwrap_or_default())
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("the pipe can be read");
        bytes
    })
}

/// Asks again and again until there is an answer, or fails with what was waited for.
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T, String> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if waited > within {
            return Err(format!("waited {within:?} in vain until {what}"));
        }
        let pause = Duration::from_millis(10);
        #[expect(clippy::disallowed_methods, reason = "a pause between two looks; no test depends on its length")]
        thread::sleep(pause);
        waited += pause;
    }
}

/// [`eventually`], for what has to come true within [`SOON`].
pub fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    if let Err(missed) = eventually(what, SOON, || holds().then_some(())) {
        panic!("{missed}");
    }
}

/// A value for [`MARKER`] that no other test has.
pub fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("m{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Processes that have `marker` in their environment: those of the test's tasks, whoever their parents are now.
pub fn marked(marker: &str) -> Vec<i32> {
    let wanted = format!("{MARKER}={marker}");
    processes()
        .into_iter()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
        })
        .collect()
}

/// Waits until `count` marked processes sleep. Their shells are not counted: one that is about to become
/// a sleeper loses the signals it gets on the way.
pub fn await_sleepers(marker: &str, count: usize) {
    let sleeps = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n");
    let seen = eventually("the task's processes run", SOON, || {
        (marked(marker).iter().filter(|pid| sleeps(pid)).count() >= count).then_some(())
    });
    seen.unwrap_or_else(|missed| panic!("{missed}: {:?}", marked(marker)));
}

/// Waits until nothing that a marked task started is left.
pub fn await_nothing_left(marker: &str) {
    let gone = eventually("nothing of the task is left", SOON, || marked(marker).is_empty().then_some(()));
    gone.unwrap_or_else(|missed| {
        let left: Vec<String> = marked(marker)
            .iter()
            .map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
            })
            .collect();
        panic!("{missed}: {left:?}")
    });
}

/// A shell script that starts a double-forked daemon in a session of its own, a
/// background process, and then sleeps: three processes that only a reaper of
/// all descendants gets rid of.
pub const DAEMON_AND_SLEEP: &str = "(setsid sh -c 'sleep 997 & exec sleep 998' >/dev/null 2>&1 &) ; exec sleep 999";

/// Process ids of everything that runs.
fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("this test needs /proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The parent of a process.
fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The most memory that a process ever had, in bytes; `None` once it is gone.
pub fn peak_memory_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes that a process has written so far, wherever to; 0 once it is gone.
pub fn bytes_written(pid: i32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).and_then(|it| it.trim().parse().ok()).unwrap_or(0)
}

/// A UDP port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}
