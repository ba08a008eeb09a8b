//! The small language that the executor's tests are written in.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use octaskly::exec::{
    AttachedIo, Ending, ExecConfig, ExecEvent, Executor, Kept, LogReader, OutputChunk, Presence, StartAttempt,
    Unstarted,
};
use octaskly::model::messages::Assignment;
use octaskly::model::spec::{CommandLine, JobSpec, OutputMode};
use octaskly::model::{AttemptId, AttemptNo, Epoch, Fence, Millis, RawString, SealedSpec, TaskId};
use octaskly::wire::{DataFrame, OutputStream};
use tokio::sync::mpsc;

/// Set in the children of [`in_a_process_of_its_own`].
const ALONE: &str = "OCTASKLY_TEST_ALONE";

/// An executor and what it said.
pub(crate) struct Rig {
    pub(crate) executor: Executor,
    events: mpsc::Receiver<ExecEvent>,
    ended: BTreeMap<AttemptId, Ending>,
    unstarted: BTreeMap<AttemptId, Unstarted>,
    pub(crate) started: BTreeMap<AttemptId, Duration>,
    pub(crate) work: tempfile::TempDir,
    jobs: u64,
}

/// A vector command as a job.
pub(crate) fn exec<'a>(argv: impl IntoIterator<Item = &'a str>) -> JobSpec {
    JobSpec::single(CommandLine::Exec(argv.into_iter().map(RawString::from).collect()))
}

/// A shell command as a job.
pub(crate) fn shell(command: &str) -> JobSpec {
    JobSpec::single(CommandLine::Shell(command.into()))
}

/// A shell command whose processes all carry `mark` in their environment.
pub(crate) fn marked(mark: &str, command: &str) -> JobSpec {
    let mut spec = shell(command);
    spec.env.insert("OCTASKLY_TEST_MARK".into(), mark.into());
    spec
}

/// The configuration of an executor under `work`.
pub(crate) fn config(work: &Path, presence: Option<Presence>) -> ExecConfig {
    let shim_program = env!("CARGO_BIN_EXE_octaskly").into();
    ExecConfig { shim_program, work_root: work.join("work"), ready_shims: 0, presence, oom_counter: None }
}

impl Rig {
    pub(crate) fn new() -> Self {
        let work = tempfile::tempdir().expect("a directory");
        let (executor, events) = Executor::start(config(work.path(), None)).expect("an executor");
        Self::around(executor, events, work)
    }

    /// A rig for an executor that was started already.
    pub(crate) fn around(executor: Executor, events: mpsc::Receiver<ExecEvent>, work: tempfile::TempDir) -> Self {
        Self {
            executor,
            events,
            ended: BTreeMap::new(),
            unstarted: BTreeMap::new(),
            started: BTreeMap::new(),
            work,
            jobs: 0,
        }
    }

    /// Starts task `index` of a new job.
    pub(crate) fn start_index(&mut self, spec: JobSpec, index: u64, attached: Option<AttachedIo>) -> AttemptId {
        self.jobs += 1;
        let fence = Fence { epoch: Epoch(1), counter: self.jobs };
        let task = TaskId::new(self.jobs, index);
        let assignment = Assignment { task, attempt: AttemptNo(1), fence, gpus: Vec::new() };
        let id = assignment.id();
        let worker = "worker-1".parse().expect("a name");
        self.executor.run(StartAttempt {
            assignment,
            spec: SealedSpec::seal(spec),
            worker,
            attached,
            directory: None,
            keep_directory: false,
        });
        id
    }

    pub(crate) fn start(&mut self, spec: JobSpec) -> AttemptId {
        self.start_index(spec, 0, None)
    }

    /// Starts a task with its client attached: where its output comes, where its stdin goes.
    pub(crate) fn attach(
        &mut self,
        mut spec: JobSpec,
    ) -> (AttemptId, mpsc::Receiver<OutputChunk>, mpsc::Sender<Vec<u8>>) {
        spec.output = OutputMode::Attached;
        let (output, received) = mpsc::channel(4);
        let (feed, stdin) = mpsc::channel(4);
        (self.start_index(spec, 0, Some(AttachedIo { output, stdin })), received, feed)
    }

    /// Waits for the end of an attempt.
    pub(crate) async fn end_of(&mut self, id: AttemptId) -> Ending {
        loop {
            if let Some(ending) = self.ended.remove(&id) {
                return ending;
            }
            if let Some(unstarted) = self.unstarted.get(&id) {
                panic!("{id} was not started: {unstarted:?}");
            }
            self.hear().await;
        }
    }

    /// Waits until it is said that an attempt is not started.
    pub(crate) async fn not_started(&mut self, id: AttemptId) -> Unstarted {
        loop {
            if let Some(unstarted) = self.unstarted.remove(&id) {
                return unstarted;
            }
            if let Some(ending) = self.ended.get(&id) {
                panic!("{id} has ended: {ending:?}");
            }
            self.hear().await;
        }
    }

    /// Whether an attempt was started, once it is known.
    pub(crate) async fn has_started(&mut self, id: AttemptId) -> bool {
        loop {
            if self.unstarted.contains_key(&id) {
                return false;
            }
            if self.started.contains_key(&id) || self.ended.contains_key(&id) {
                return true;
            }
            self.hear().await;
        }
    }

    /// Waits for one event.
    async fn hear(&mut self) {
        let event = tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await;
        let said = match event.expect("something happens within a minute").expect("the executor lives") {
            ExecEvent::Started { id, ago } => {
                self.started.insert(id, ago);
                return;
            }
            ExecEvent::Ended { id, ending } => (id, self.ended.insert(id, ending).is_none()),
            ExecEvent::NotStarted { id, unstarted } => (id, self.unstarted.insert(id, unstarted).is_none()),
        };
        assert!(said.1, "{} ended twice", said.0);
    }

    pub(crate) async fn run(&mut self, spec: JobSpec) -> Ending {
        let id = self.start(spec);
        self.end_of(id).await
    }

    /// Runs a task and returns its stdout.
    pub(crate) async fn output_of(&mut self, spec: JobSpec) -> Vec<u8> {
        let ending = self.run(spec).await;
        output(&ending, OutputStream::Stdout)
    }

    pub(crate) async fn text_of(&mut self, spec: JobSpec) -> String {
        String::from_utf8(self.output_of(spec).await).expect("text")
    }

    pub(crate) fn terminate(&self, id: AttemptId, grace_ms: u64) {
        self.executor.terminate(id, Millis(grace_ms));
    }

    /// Waits until a running task has printed `text`, and returns its whole stdout so far.
    pub(crate) async fn printed(&self, id: AttemptId, text: &str) -> String {
        let mut log = self.executor.read_log(id, true).expect("a running attempt has a log");
        let mut printed = String::new();
        while !printed.contains(text) {
            let frames = next(&mut log).await.expect("the task still runs");
            printed.push_str(&String::from_utf8_lossy(&payload(&frames, OutputStream::Stdout)));
        }
        printed
    }
}

/// The next frames of a log, within a minute.
pub(crate) async fn next(log: &mut LogReader) -> Option<Vec<u8>> {
    let next = tokio::time::timeout(Duration::from_secs(60), log.next()).await;
    next.expect("something is written within a minute").expect("the log reads")
}

/// What an attempt whose log is small wrote to `stream`.
pub(crate) fn output(ending: &Ending, stream: OutputStream) -> Vec<u8> {
    match &ending.kept {
        Kept::Nothing => Vec::new(),
        Kept::Inline(log) => payload(log.as_bytes(), stream),
        Kept::Spooled { bytes } => panic!("{bytes} bytes are no small log"),
    }
}

/// What a log's frames say that was written to `stream`.
pub(crate) fn payload(mut log: &[u8], stream: OutputStream) -> Vec<u8> {
    let mut payload = Vec::new();
    while let Some(frame) = DataFrame::take(&mut log).expect("whole frames") {
        if let DataFrame::Output { stream: of, bytes } = frame
            && of == stream
        {
            payload.extend_from_slice(&bytes);
        }
    }
    payload
}

/// The processes that carry `mark` in their environment or command line, zombies not counted.
pub(crate) fn processes_with(mark: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").expect("a Linux").flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let says = |file| std::fs::read(process.path().join(file)).unwrap_or_default();
        let holds = |bytes: Vec<u8>| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
        if pid != std::process::id() && (holds(says("environ")) || holds(says("cmdline"))) {
            found.push(pid);
        }
    }
    found
}

/// This process's children, as the kernel lists them, with their names and states.
pub(crate) fn children_of(pid: u32) -> Vec<(u32, String, char)> {
    let mut children = Vec::new();
    for process in std::fs::read_dir("/proc").expect("a Linux").flatten() {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        let Some((front, back)) = stat.rsplit_once(") ") else { continue };
        let Some((child, name)) = front.split_once(" (") else { continue };
        let mut fields = back.split(' ');
        let state = fields.next().and_then(|state| state.chars().next()).expect("a state");
        if fields.next() == Some(&pid.to_string()) {
            children.push((child.parse().expect("a number"), name.to_owned(), state));
        }
    }
    children
}

/// The shims (or guards) that are children of `pid` and alive.
pub(crate) fn children_named(pid: u32, name: &str) -> Vec<u32> {
    let is_it = |(child, of, state): (u32, String, char)| (of == name && state != 'Z').then_some(child);
    children_of(pid).into_iter().filter_map(is_it).collect()
}

/// Waits until `done`, for at most half a minute.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within half a minute");
}

/// A word that nothing else on this machine says.
pub(crate) fn mark(test: &str) -> String {
    format!("mark-{test}-{}", std::process::id())
}

pub(crate) fn kill_9(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
}

/// For tests that look at the whole process: runs `test` again, alone in a child. True in that child.
pub(crate) fn in_a_process_of_its_own(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let child = this_test_binary(test).output().expect("the test binary starts");
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "alone in a process, {test} says:\n{said}");
    false
}

/// The command that runs one test of this binary alone.
pub(crate) fn this_test_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", test, "--nocapture"]).env(ALONE, "yes");
    command
}
