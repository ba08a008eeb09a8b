//! The small language of `tests/dispatcher.rs`: a dispatcher in this process,
//! and workers and clients that are played by the test over real QUIC.
//!
//! Nothing here decides anything: a played worker says what the test tells it
//! to say, so that it can be late, wrong, or not say anything at all.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use octaskly::model::handshake::{Credential, Hello, Intent, Welcome};
use octaskly::model::limits::{MAX_FRAME, PROTOCOL_OLDEST, PROTOCOL_VERSION};
use octaskly::model::messages::{
    Assignment, DispatcherMessage, EndedAttempt, StartedAttempt, StreamPurpose, WorkerMessage,
};
use octaskly::model::node::WorkerProfile;
use octaskly::model::outcome::{AttemptReport, Cancellation, KeptOutput, OutputSummary};
use octaskly::model::requests::{JobFilter, LogRequest, ReceivedOutput, Reply, Request, Submission, TaskFilter};
use octaskly::model::selector::Selector;
use octaskly::model::spec::{CommandLine, Isolation, OutputMode, StdinSource};
use octaskly::model::views::{JobView, TaskView};
use octaskly::model::{
    AttemptId, AttemptNo, Capacity, ClientId, InstanceId, Items, JobId, JobSpec, Outcome, SealedSpec, TaskId, Timestamp,
};
use octaskly::node::NodeError;
use octaskly::node::dispatcher::{self, DispatcherOptions, Running};
use octaskly::store::StoreError;
use octaskly::transport::{Alpn, Endpoint, FrameRecv, FrameSend, Link, TransportError, hello};
use octaskly::trust::{AccessFile, Identity};
use octaskly::wire::data::{DataFrame, OutputStream};

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`, not forever.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// One dispatcher with its home.
pub(crate) struct Stage {
    _home: tempfile::TempDir,
    options: DispatcherOptions,
    running: Option<Running>,
}

impl Stage {
    /// A dispatcher on a free port of loopback.
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    /// Likewise, with other options.
    pub(crate) async fn open_with(change: impl FnOnce(&mut DispatcherOptions)) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let mut options = DispatcherOptions::loopback(home.path().join("home"));
        // As a user starts one: with its store and its access file on the disk.
        options.embedded = false;
        change(&mut options);
        let running = Some(dispatcher::start(options.clone()).await.expect("the dispatcher starts"));
        Self { _home: home, options, running }
    }

    pub(crate) fn options(&self) -> DispatcherOptions {
        self.options.clone()
    }

    pub(crate) fn access(&self) -> AccessFile {
        self.running().access().clone()
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("the dispatcher runs")
    }

    /// From here on it comes back at the address that it has.
    #[allow(dead_code, reason = "for tests of nodes that look for it there")]
    pub(crate) fn keeps_its_address(&mut self) {
        self.options.port = self.running().local_addr().port();
    }

    /// Ends the dispatcher as `kill -9` would, and starts it again on what it left.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.running = None;
        self.running = Some(
            soon("the old process to let go of the store", async {
                loop {
                    match dispatcher::start(self.options.clone()).await {
                        Ok(running) => break running,
                        Err(
                            NodeError::Store(StoreError::Locked { .. })
                            | NodeError::DispatcherRuns { .. }
                            | NodeError::Transport(TransportError::PortInUse(_)),
                        ) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Err(error) => panic!("the dispatcher does not start again: {error}"),
                    }
                }
            })
            .await,
        );
    }

    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(&mut self) -> Result<(), NodeError> {
        self.running.take().expect("the dispatcher runs").stop().await
    }

    /// A new client with the access file's secret.
    pub(crate) async fn client(&self) -> Client {
        let identity = Identity::ephemeral().expect("a key");
        self.try_client(&identity, Credential::Access(self.access().secret)).await.expect("the client is let in")
    }

    pub(crate) async fn try_client(
        &self,
        identity: &Identity,
        credential: Credential,
    ) -> Result<Client, TransportError> {
        Client::join(self.dial(identity, Alpn::Client).await?, credential).await
    }

    /// A new worker of four slots with the access file's secret.
    pub(crate) async fn worker(&self, name: &str) -> Worker {
        let identity = Identity::ephemeral().expect("a key");
        self.try_worker(&identity, name).await.expect("the worker is let in")
    }

    pub(crate) async fn try_worker(&self, identity: &Identity, name: &str) -> Result<Worker, TransportError> {
        let (endpoint, link) = self.dial(identity, Alpn::Worker).await?;
        let intent = Intent::Worker(profile(name));
        let secret = Credential::Access(self.access().secret);
        let (welcome, send, recv) = hello(&link, &greeting(7, intent, secret)).await?;
        let mut worker = Worker { _endpoint: endpoint, link, welcome, send, recv, assigned: VecDeque::new() };
        worker.says(WorkerMessage::Holding(Vec::new())).await;
        Ok(worker)
    }

    /// A connection that has not said hello yet.
    pub(crate) async fn dial(&self, identity: &Identity, alpn: Alpn) -> Result<(Endpoint, Link), TransportError> {
        dial(&self.access(), identity, alpn).await
    }
}

async fn dial(access: &AccessFile, identity: &Identity, alpn: Alpn) -> Result<(Endpoint, Link), TransportError> {
    let endpoint = Endpoint::bind(identity, "127.0.0.1:0".parse().expect("an address"), &[])?;
    let link = endpoint.connect(access.addresses[0], access.dispatcher, alpn).await?;
    Ok((endpoint, link))
}

pub(crate) fn greeting(instance: u64, intent: Intent, credential: Credential) -> Hello {
    Hello {
        protocol_oldest: PROTOCOL_OLDEST,
        protocol_newest: PROTOCOL_VERSION,
        software: "1.0.0".to_owned(),
        instance: InstanceId(instance),
        intent,
        credential,
    }
}

pub(crate) fn profile(name: &str) -> WorkerProfile {
    WorkerProfile {
        name: (!name.is_empty()).then(|| name.parse().expect("a name")),
        capacity: Capacity { slots: 4, ..Capacity::default() },
        labels: Default::default(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        isolation: Isolation::Basic,
        place: None,
    }
}

/// A job of one task, as `submit` makes it.
pub(crate) fn job(command: &str) -> JobSpec {
    let mut spec = JobSpec::single(CommandLine::Shell(command.into()));
    spec.retry.limit = Some(0);
    spec
}

/// A job of `tasks` tasks numbered from 1.
pub(crate) fn array(tasks: u64) -> JobSpec {
    JobSpec { items: Items::Range { first: 1, last: tasks, step: 1 }, ..job("echo {}") }
}

/// A job of one task, as `run` makes it.
pub(crate) fn run(command: &str) -> JobSpec {
    JobSpec { output: OutputMode::Attached, stdin: StdinSource::Attached, ..job(command) }
}

/// A client played by the test.
pub(crate) struct Client {
    _endpoint: Endpoint,
    pub(crate) link: Link,
    _control: (FrameSend, FrameRecv),
}

impl Client {
    async fn join((endpoint, link): (Endpoint, Link), credential: Credential) -> Result<Self, TransportError> {
        let (_, send, recv) = hello(&link, &greeting(1, Intent::Client, credential)).await?;
        Ok(Client { _endpoint: endpoint, link, _control: (send, recv) })
    }

    pub(crate) async fn ask(&self, request: Request) -> Reply {
        self.open(request).await.next().await.expect("a reply")
    }

    pub(crate) async fn open(&self, request: Request) -> Answers {
        let (mut send, recv) = soon("a stream", self.link.open_bi()).await.expect("a stream");
        send.send(&request).await.expect("the request leaves");
        Answers { send, recv }
    }

    /// Submits and returns the number of the acknowledged job.
    pub(crate) async fn submit(&self, spec: JobSpec) -> JobId {
        static KEY: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let key = KEY.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.submit_as(spec, &format!("key-{key}")).await
    }

    pub(crate) async fn submit_as(&self, spec: JobSpec, key: &str) -> JobId {
        let submission = Submission { spec: SealedSpec::seal(spec), idempotency_key: key.to_owned(), strict: false };
        match self.ask(Request::Submit(submission)).await {
            Reply::Submitted { job, .. } => job,
            other => panic!("the submission was answered by {other:?}"),
        }
    }

    pub(crate) async fn jobs(&self) -> Vec<JobView> {
        match self.ask(Request::Jobs(JobFilter::default())).await {
            Reply::Jobs(jobs) => jobs,
            other => panic!("a listing was answered by {other:?}"),
        }
    }

    pub(crate) async fn task(&self, task: TaskId) -> TaskView {
        let filter = TaskFilter { of: Selector::task(task), states: Vec::new(), after: None, limit: 1 };
        match self.ask(Request::Tasks(filter)).await {
            Reply::Tasks(tasks) => tasks.into_iter().next().expect("the task"),
            other => panic!("a listing was answered by {other:?}"),
        }
    }

    pub(crate) async fn cancel(&self, job: JobId) -> Reply {
        self.ask(Request::Cancel { what: Selector::job(job), why: Cancellation::requested(None) }).await
    }

    /// All that `logs` brings: bytes of stdout and stderr.
    pub(crate) async fn logs(&self, of: Selector, follow: bool) -> (Vec<u8>, Vec<u8>) {
        let mut answers = self.open(Request::Logs(LogRequest { of, follow, attempt: None })).await;
        assert_eq!(answers.next().await, Some(Reply::Streaming));
        answers.output().await
    }

    /// Becomes the client of a `run` that has `bytes` of its first attempt already, and can send 4 bytes of stdin again.
    pub(crate) async fn attach(&self, task: TaskId, bytes: u64) -> Answers {
        let received = (bytes > 0).then_some(ReceivedOutput { attempt: AttemptNo(1), bytes });
        let attach = Request::Attach { task, client: ClientId(1), takes_over: true, received, resends: 4 };
        let mut answers = self.open(attach).await;
        assert_eq!(answers.next().await, Some(Reply::Streaming));
        answers
    }
}

/// What comes back on one request's stream.
pub(crate) struct Answers {
    pub(crate) send: FrameSend,
    pub(crate) recv: FrameRecv,
}

impl Answers {
    /// The next reply; `None` once the stream is finished.
    pub(crate) async fn next(&mut self) -> Option<Reply> {
        soon("a reply", self.recv.recv::<Reply>(MAX_FRAME)).await.expect("the stream stands")
    }

    /// The next data frame; `None` when the stream broke off.
    pub(crate) async fn frame(&mut self) -> Option<DataFrame<'static>> {
        soon("a frame", self.recv.recv_data()).await.ok()?.map(DataFrame::into_owned)
    }

    /// All output up to the end, stdout and stderr apart: that of the last attempt, if it is told apart from others.
    pub(crate) async fn output(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.frame().await {
                Some(DataFrame::AttemptBegins { from: 0, .. }) => (out, err) = (Vec::new(), Vec::new()),
                Some(DataFrame::Output { stream: OutputStream::Stdout, bytes }) => out.extend_from_slice(&bytes),
                Some(DataFrame::Output { stream: OutputStream::Stderr, bytes }) => err.extend_from_slice(&bytes),
                Some(DataFrame::End) => return (out, err),
                Some(_) => {}
                None => panic!("the stream broke off after {} and {} bytes", out.len(), err.len()),
            }
        }
    }

    /// Bytes of stdout, at least `bytes` of them.
    pub(crate) async fn stdout(&mut self, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < bytes {
            match self.frame().await {
                Some(DataFrame::Output { bytes, .. }) => out.extend_from_slice(&bytes),
                Some(_) => {}
                None => panic!("the stream broke off after {} bytes", out.len()),
            }
        }
        out
    }

    pub(crate) async fn says(&mut self, frame: DataFrame<'_>) {
        self.send.send_data(&frame).await.expect("the frame leaves");
    }
}

/// A worker played by the test.
pub(crate) struct Worker {
    _endpoint: Endpoint,
    pub(crate) link: Link,
    pub(crate) welcome: Welcome,
    pub(crate) send: FrameSend,
    pub(crate) recv: FrameRecv,
    assigned: VecDeque<Assignment>,
}

impl Worker {
    pub(crate) async fn says(&mut self, message: WorkerMessage) {
        self.send.send(&message).await.expect("the message leaves");
    }

    /// The next message that is no echo of a heartbeat.
    pub(crate) async fn hears(&mut self) -> DispatcherMessage {
        loop {
            let message = soon("a message", self.recv.recv::<DispatcherMessage>(MAX_FRAME)).await;
            match message.expect("the link stands").expect("the dispatcher goes on") {
                DispatcherMessage::HeartbeatSeen { .. } => {}
                message => return message,
            }
        }
    }

    /// The next assignment; specs and other words on the way are taken.
    pub(crate) async fn is_assigned(&mut self) -> Assignment {
        loop {
            if let Some(assignment) = self.assigned.pop_front() {
                return assignment;
            }
            if let DispatcherMessage::Assign(more) = self.hears().await {
                self.assigned.extend(more);
            }
        }
    }

    /// The next assignment, started at once.
    pub(crate) async fn starts(&mut self) -> Assignment {
        let assignment = self.is_assigned().await;
        let started = StartedAttempt { id: assignment.id(), fence: assignment.fence, at: Timestamp(1) };
        self.says(WorkerMessage::Started(vec![started])).await;
        assignment
    }

    pub(crate) async fn ends_with(&mut self, assignment: &Assignment, outcome: Outcome, output: OutputSummary) {
        let report = AttemptReport {
            outcome,
            started_at: Some(self.welcome.now),
            ended_at: self.welcome.now,
            peak_memory_bytes: 4096,
            output,
            files: None,
        };
        self.says(WorkerMessage::Ended(vec![EndedAttempt { id: assignment.id(), fence: assignment.fence, report }]))
            .await;
    }

    /// Waits until the dispatcher thanks for a result.
    pub(crate) async fn is_thanked_for(&mut self, assignment: &Assignment) {
        loop {
            match self.hears().await {
                DispatcherMessage::Recorded(recorded) if recorded.iter().any(|one| one.id == assignment.id()) => return,
                DispatcherMessage::Assign(more) => self.assigned.extend(more),
                _ => {}
            }
        }
    }

    /// Opens the stream of an attached attempt.
    pub(crate) async fn opens(&self, id: AttemptId, from: u64) -> Answers {
        let (mut send, recv) = self.link.open_bi().await.expect("a stream");
        send.send(&StreamPurpose::Attached { id, from }).await.expect("its purpose leaves");
        send.send_data(&DataFrame::Ack { received: 0 }).await.expect("the first word leaves");
        Answers { send, recv }
    }

    /// Uploads stored output and returns what the report says of it.
    pub(crate) async fn uploads(&self, id: AttemptId, stdout: &[u8]) -> OutputSummary {
        let log = log_of(stdout);
        let mut send = self.link.open_uni().await.expect("a stream");
        let bytes = log.len() as u64;
        send.send(&StreamPurpose::LogUpload { id, bytes }).await.expect("its purpose leaves");
        let mut rest = &log[..];
        while let Some(frame) = DataFrame::take(&mut rest).expect("a log") {
            send.send_data(&frame).await.expect("the log leaves");
        }
        soon("the log to be kept", send.until_kept()).await.expect("it is kept");
        OutputSummary { stdout_bytes: stdout.len() as u64, stderr_bytes: 0, kept: KeptOutput::Uploaded(bytes) }
    }

    /// Takes the dispatcher's next request for a running task's output.
    pub(crate) async fn is_read(&self) -> (AttemptId, Answers) {
        let (send, mut recv) = soon("a stream", self.link.accept_bi()).await.expect("a stream");
        match recv.recv::<StreamPurpose>(MAX_FRAME).await {
            Ok(Some(StreamPurpose::LogRead { id, .. })) => (id, Answers { send, recv }),
            other => panic!("the stream is for {other:?}"),
        }
    }
}

pub(crate) fn stdout(bytes: &[u8]) -> DataFrame<'_> {
    DataFrame::Output { stream: OutputStream::Stdout, bytes: Cow::Borrowed(bytes) }
}

/// A log that holds `bytes` of stdout.
pub(crate) fn log_of(bytes: &[u8]) -> Vec<u8> {
    let mut log = Vec::new();
    stdout(bytes).encode(&mut log);
    log
}

/// Small output as it travels inside a result.
pub(crate) fn inline(bytes: &[u8]) -> OutputSummary {
    OutputSummary { stdout_bytes: bytes.len() as u64, stderr_bytes: 0, kept: KeptOutput::Inline(log_of(bytes).into()) }
}

/// The reason of a refusal.
pub(crate) fn refusal<T>(tried: Result<T, TransportError>) -> octaskly::model::handshake::Refusal {
    match tried {
        Err(TransportError::Refused(refusal)) => refusal,
        Err(other) => panic!("not a refusal: {other}"),
        Ok(_) => panic!("was let in"),
    }
}
