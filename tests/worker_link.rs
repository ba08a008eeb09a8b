//! A real worker with real tasks against a scripted dispatcher: what it says
//! when, and what it repeats until it is heard.
//!
//! The bodies speak a small language (`stage`, `joins`, `assign`, `hear`). What
//! a dispatcher makes of all this is tested elsewhere.

#![cfg(all(feature = "node", target_os = "linux"))]

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use octaskly::model::handshake::{Hello, Intent, Refusal, RefusalCode, Welcome};
use octaskly::model::limits::{KILL_GRACE, MAX_FRAME, PROTOCOL_VERSION};
use octaskly::model::messages::{
    Assignment, CancelAttempt, DispatcherMessage, EndedAttempt, FencedAttempt, JobOnWorker, StreamPurpose,
    WorkerMessage,
};
use octaskly::model::outcome::{Cancellation, KeptOutput};
use octaskly::model::spec::CommandLine;
use octaskly::model::{AttemptNo, Epoch, Fence, JobId, JobSpec, Millis, Outcome, Role, SealedSpec, TaskId, Timestamp};
use octaskly::node::worker::{self, WorkerOptions};
use octaskly::node::{NodeError, Shutdown};
use octaskly::transport::{Alpn, CloseCode, Endpoint, FrameRecv, FrameSend, Incoming, Link};
use octaskly::trust::{AccessFile, Identity, access};
use octaskly::wire::DataFrame;
use octaskly::wire::log::LogFrames;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

/// A home with a dispatcher that does as the test says.
struct Stage {
    home: tempfile::TempDir,
    identity: Identity,
    endpoint: Endpoint,
}

/// A worker that runs in this process.
struct Worker {
    ended: JoinHandle<Result<(), NodeError>>,
    shutdown: Shutdown,
}

/// A worker that was let in.
struct Joined {
    hello: Hello,
    link: Link,
    send: FrameSend,
    recv: FrameRecv,
}

fn stage() -> Stage {
    let home = tempfile::tempdir().expect("a folder");
    DirBuilder::new().mode(0o700).create(home.path().join("dispatcher")).expect("a folder");
    let identity = Identity::ephemeral().expect("a key");
    let stage = Stage { endpoint: listen(&identity), home, identity };
    stage.advertise();
    stage
}

fn listen(identity: &Identity) -> Endpoint {
    Endpoint::bind(identity, "127.0.0.1:0".parse().expect("an address"), &[Alpn::Worker]).expect("a socket")
}

impl Stage {
    /// Leaves the access file where workers look for it.
    fn advertise(&self) {
        let file = AccessFile::new(self.identity.id(), self.endpoint.local_addr()).expect("a secret");
        access::write(&self.home.path().join("dispatcher/access.cbor"), &file).expect("written");
    }

    /// The dispatcher is gone and another one, of this identity, comes.
    fn restart(&mut self, identity: Identity) {
        self.identity = identity;
        self.endpoint = listen(&self.identity);
        self.advertise();
    }

    fn worker(&self) -> Worker {
        let mut options = WorkerOptions::new(self.home.path().to_owned());
        options.name = Some("w".parse().expect("a name"));
        options.program = Some(PathBuf::from(env!("CARGO_BIN_EXE_octaskly")));
        options.stop_grace = Millis(0);
        let shutdown = Shutdown::new();
        Worker { ended: tokio::spawn(worker::run(options, shutdown.clone())), shutdown }
    }

    /// The next one that asks to be let in as a worker; guards of other tests' workers are none.
    async fn asks(&self) -> Incoming {
        let asked = async {
            loop {
                let incoming = self.endpoint.accept().await.expect("the endpoint is open");
                if matches!(incoming.hello.intent, Intent::Worker(_)) {
                    return incoming;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("a worker comes")
    }

    async fn joins(&self) -> Joined {
        let incoming = self.asks().await;
        let hello = incoming.hello.clone();
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            software: "1.0.0".to_owned(),
            role: Role::Worker,
            name: "w".parse().expect("a name"),
            epoch: Epoch(1),
            now: Timestamp::from_millis(1_000_000),
            heartbeat_interval: Millis(200),
            task_timeout: Millis::from_secs(300),
            p2p: false,
        };
        let (link, send, recv) = incoming.welcome(welcome).await.expect("let in");
        Joined { hello, link, send, recv }
    }
}

impl Joined {
    /// Hands out job `job` as a shell command.
    async fn assign(&mut self, job: u64, command: &str) -> FencedAttempt {
        let spec = SealedSpec::seal(JobSpec::single(CommandLine::Shell(command.into())));
        self.say(DispatcherMessage::Learn(vec![JobOnWorker { job: JobId(job), spec }])).await;
        let fence = Fence { epoch: Epoch(1), counter: job };
        let assignment = Assignment { task: TaskId::new(job, 0), attempt: AttemptNo(1), fence, gpus: Vec::new() };
        let id = assignment.id();
        self.say(DispatcherMessage::Assign(vec![assignment])).await;
        FencedAttempt { id, fence }
    }

    async fn say(&mut self, message: DispatcherMessage) {
        self.send.send(&message).await.expect("said");
    }

    /// Listens until `pick` finds what it wants; heartbeats are echoed meanwhile.
    async fn hear<T>(&mut self, what: &str, mut pick: impl FnMut(&WorkerMessage) -> Option<T>) -> T {
        let heard = async {
            loop {
                let message: WorkerMessage = self.recv.recv(MAX_FRAME).await.expect("a frame").expect("more");
                if let Some(found) = pick(&message) {
                    return found;
                }
                if let WorkerMessage::Heartbeat { sequence } = message {
                    let now = Timestamp::from_millis(1_000_000 + sequence);
                    self.say(DispatcherMessage::HeartbeatSeen { sequence, now }).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{what} is never said"))
    }

    async fn hears_end(&mut self, of: FencedAttempt) -> EndedAttempt {
        self.hear("the end", |message| match message {
            WorkerMessage::Ended(ended) => ended.iter().find(|it| it.id == of.id && it.fence == of.fence).cloned(),
            _ => None,
        })
        .await
    }

    async fn hears_start(&mut self, of: FencedAttempt) {
        self.hear("the start", |message| match message {
            WorkerMessage::Started(started) => started.iter().any(|it| it.id == of.id).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn hears_holding(&mut self) -> Vec<FencedAttempt> {
        self.hear("the holding", |message| match message {
            WorkerMessage::Holding(held) => {
                Some(held.iter().map(|it| FencedAttempt { id: it.id, fence: it.fence }).collect())
            }
            _ => None,
        })
        .await
    }
}

impl Worker {
    async fn stops(self) {
        self.shutdown.raise();
        let ended = tokio::time::timeout(PATIENCE, self.ended).await.expect("in time").expect("no panic");
        ended.expect("a clean end");
    }
}

fn text_of(report: &EndedAttempt) -> String {
    match &report.report.output.kept {
        KeptOutput::Nothing => String::new(),
        KeptOutput::Inline(log) => text_of_log(log.as_bytes()),
        KeptOutput::Uploaded(bytes) => panic!("{bytes} bytes were uploaded"),
    }
}

fn text_of_log(log: &[u8]) -> String {
    let mut text = String::new();
    for frame in LogFrames::new(log) {
        if let DataFrame::Output { bytes, .. } = frame.expect("a frame") {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_what_it_is_given_and_forgets_it_when_told() {
    let stage = stage();
    let worker = stage.worker();
    let mut dispatcher = stage.joins().await;
    assert_eq!(dispatcher.hears_holding().await, []);
    let one = dispatcher.assign(1, "echo hi; echo there >&2; exit 3").await;
    let ended = dispatcher.hears_end(one).await;
    assert_eq!(ended.report.outcome, Outcome::Exited(3));
    let mut lines: Vec<String> = text_of(&ended).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["hi", "there"]);
    assert!(ended.report.started_at.is_some_and(|at| at <= ended.report.ended_at));
    assert!(ended.report.ended_at >= Timestamp::from_millis(1_000_000), "dispatcher time");
    dispatcher.say(DispatcherMessage::Recorded(vec![one])).await;
    // A worker that stops has nothing left to say but goodbye.
    worker.shutdown.raise();
    dispatcher.hear("goodbye", |message| matches!(message, WorkerMessage::Stopping).then_some(())).await;
    dispatcher.link.close(CloseCode::Done, "goodbye");
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_repeated_over_new_links_until_it_is_recorded() {
    let stage = stage();
    let worker = stage.worker();
    let mut first = stage.joins().await;
    let quick = first.assign(1, "true").await;
    let slow = first.assign(2, "sleep 600").await;
    first.hears_end(quick).await;
    first.hears_start(slow).await;
    first.link.close(CloseCode::Done, "a test cuts the link");
    let mut second = stage.joins().await;
    assert_eq!(second.hello.instance, first.hello.instance, "it is the same start of it");
    let mut held = second.hears_holding().await;
    held.sort();
    assert_eq!(held, [quick, slow], "what ran runs on");
    second.hears_end(quick).await;
    second.say(DispatcherMessage::Recorded(vec![quick])).await;
    let (id, fence) = (slow.id, slow.fence);
    let why = Cancellation::requested(None);
    second.say(DispatcherMessage::Cancel(vec![CancelAttempt { id, fence, grace: KILL_GRACE, why: why.clone() }])).await;
    let ended = second.hears_end(slow).await;
    assert_eq!(ended.report.outcome, Outcome::Cancelled(why));
    second.say(DispatcherMessage::Recorded(vec![slow])).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_nobody_heard_is_reported_by_the_next_start() {
    let mut stage = stage();
    let worker = stage.worker();
    let mut first = stage.joins().await;
    let one = first.assign(1, "echo kept").await;
    first.hears_end(one).await;
    worker.stops().await;
    let again = stage.identity.clone();
    stage.restart(again);
    let worker = stage.worker();
    let mut second = stage.joins().await;
    assert_ne!(second.hello.instance, first.hello.instance);
    assert_eq!(second.hears_holding().await, [one]);
    let ended = second.hears_end(one).await;
    assert_eq!((ended.report.outcome.clone(), text_of(&ended).as_str()), (Outcome::Exited(0), "kept\n"));
    second.say(DispatcherMessage::Recorded(vec![one])).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_output_arrives_before_the_report_that_names_it() {
    let stage = stage();
    let worker = stage.worker();
    let mut dispatcher = stage.joins().await;
    let one = dispatcher.assign(1, "seq 100000").await;
    let mut upload = dispatcher.link.accept_uni().await.expect("a stream");
    let purpose = upload.recv::<StreamPurpose>(MAX_FRAME).await.expect("a purpose");
    let Some(StreamPurpose::LogUpload { id, bytes }) = purpose else { panic!("{purpose:?}") };
    assert_eq!(id, one.id);
    let log = all_of(&mut upload, bytes).await;
    upload.kept();
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(text_of_log(&log) == expected, "the output differs");
    let ended = dispatcher.hears_end(one).await;
    assert_eq!(ended.report.output.kept, KeptOutput::Uploaded(bytes));
    assert_eq!(ended.report.output.stdout_bytes, expected.len() as u64);
    dispatcher.say(DispatcherMessage::Recorded(vec![one])).await;
    worker.stops().await;
}

/// The log that an upload of so many bytes brings.
async fn all_of(upload: &mut FrameRecv, bytes: u64) -> Vec<u8> {
    let mut log = Vec::new();
    while (log.len() as u64) < bytes {
        upload.recv_data().await.expect("the stream").expect("a frame").encode(&mut log);
    }
    assert_eq!(log.len() as u64, bytes);
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_reported_when_its_output_is_kept_and_not_when_it_has_only_arrived() {
    let stage = stage();
    let worker = stage.worker();
    let mut dispatcher = stage.joins().await;
    // Small enough to be on its way as a whole before anybody reads it.
    let large = dispatcher.assign(1, "seq 12000").await;
    let mut upload = dispatcher.link.accept_uni().await.expect("a stream");
    let purpose = upload.recv::<StreamPurpose>(MAX_FRAME).await.expect("a purpose");
    let Some(StreamPurpose::LogUpload { bytes, .. }) = purpose else { panic!("{purpose:?}") };
    all_of(&mut upload, bytes).await;
    // Whoever ends later is heard first, as long as the output of the other is not kept.
    let small = dispatcher.assign(2, "echo small").await;
    let first = dispatcher.hear("an end", |message| match message {
        WorkerMessage::Ended(ended) => ended.first().map(|it| it.id),
        _ => None,
    });
    assert_eq!(first.await, small.id);
    upload.kept();
    assert_eq!(dispatcher.hears_end(large).await.report.output.kept, KeptOutput::Uploaded(bytes));
    dispatcher.say(DispatcherMessage::Recorded(vec![large, small])).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_output_the_dispatcher_refuses_is_reported_without_it() {
    let stage = stage();
    let worker = stage.worker();
    let mut dispatcher = stage.joins().await;
    let link = dispatcher.link.clone();
    let refusing = tokio::spawn(async move {
        let mut refused = 0;
        // Dropping a stream that has more to come is how a dispatcher with a full disk refuses it.
        while let Ok(upload) = link.accept_uni().await {
            drop(upload);
            refused += 1;
        }
        refused
    });
    let one = dispatcher.assign(1, "seq 1000000").await;
    let ended = dispatcher.hears_end(one).await;
    assert_eq!((ended.report.outcome, ended.report.output.kept), (Outcome::Exited(0), KeptOutput::Nothing));
    assert_eq!(ended.report.output.stdout_bytes, 6_888_896, "what was written is counted all the same");
    dispatcher.say(DispatcherMessage::Recorded(vec![one])).await;
    worker.stops().await;
    dispatcher.link.close(CloseCode::Done, "goodbye");
    assert!(refusing.await.expect("no panic") > 1, "it is tried more than once");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_was_refused_once_is_uploaded_by_the_next_try_on_the_same_link() {
    let stage = stage();
    let worker = stage.worker();
    let mut dispatcher = stage.joins().await;
    let one = dispatcher.assign(1, "seq 1000000").await;
    drop(dispatcher.link.accept_uni().await.expect("a stream"));
    let mut upload = dispatcher.link.accept_uni().await.expect("another stream");
    let purpose = upload.recv::<StreamPurpose>(MAX_FRAME).await.expect("a purpose");
    let Some(StreamPurpose::LogUpload { bytes, .. }) = purpose else { panic!("{purpose:?}") };
    all_of(&mut upload, bytes).await;
    upload.kept();
    assert_eq!(dispatcher.hears_end(one).await.report.output.kept, KeptOutput::Uploaded(bytes));
    dispatcher.say(DispatcherMessage::Recorded(vec![one])).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_running_task_is_followed_to_its_end() {
    let stage = stage();
    let worker = stage.worker();
    let mut dispatcher = stage.joins().await;
    let gate = stage.home.path().join("gate");
    let command = format!("echo first; while ! test -e {}; do sleep 0.02; done; echo last", gate.display());
    let one = dispatcher.assign(1, &command).await;
    dispatcher.hears_start(one).await;
    let (mut ask, mut answer) = dispatcher.link.open_bi().await.expect("a stream");
    ask.send(&StreamPurpose::LogRead { id: one.id, follow: true }).await.expect("asked");
    let mut text = String::new();
    let read = async {
        loop {
            match answer.recv_data().await.expect("a frame") {
                Some(DataFrame::Output { bytes, .. }) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Some(DataFrame::End) => break,
                other => panic!("{other:?}"),
            }
            if text == "first\n" {
                std::fs::write(&gate, "").expect("a file");
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("in time");
    assert_eq!(text, "first\nlast\n");
    dispatcher.hears_end(one).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_may_pass_is_waited_out_and_one_for_good_ends_the_worker() {
    let refusal = |code, text: &str| Refusal { code, text: text.to_owned(), hint: Some("wait".to_owned()) };
    let stage = stage();
    let worker = stage.worker();
    stage.asks().await.refuse(refusal(RefusalCode::TooManyWorkers, "10 of 10 workers are connected")).await;
    let dispatcher = stage.joins().await;
    dispatcher.link.close(CloseCode::Done, "a test cuts the link");
    stage.asks().await.refuse(refusal(RefusalCode::Version, "this worker is too old")).await;
    let ended = tokio::time::timeout(PATIENCE, worker.ended).await.expect("in time").expect("no panic");
    let error = ended.expect_err("it cannot go on");
    assert!(matches!(&error, NodeError::Refused(refusal) if refusal.code == RefusalCode::Version), "{error}");
    assert_eq!(error.hint().as_deref(), Some("wait"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_dispatcher_gets_a_worker_without_the_work_of_the_first() {
    let mut stage = stage();
    let worker = stage.worker();
    let mut first = stage.joins().await;
    let one = first.assign(1, "sleep 600").await;
    first.hears_start(one).await;
    let before = first.hello.instance;
    stage.restart(Identity::ephemeral().expect("a key"));
    first.link.close(CloseCode::Done, "a test cuts the link");
    // The first welcome only tells it who is there; it starts over and comes again.
    let probe = stage.joins().await;
    let mut second = stage.joins().await;
    assert_ne!(second.hello.instance, before, "a new start");
    assert_eq!(second.hears_holding().await, [], "nothing of the first dispatcher's");
    drop(probe);
    worker.stops().await;
}
