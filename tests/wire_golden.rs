//! The bytes of every message, pinned: a test fails when they change.
//!
//! Each file of `tests/golden/` holds one type, a line a variant: its name and
//! its bytes in hex. After a change that is meant (and is a new protocol
//! version, once one is released) run the tests with `OCTASKLY_BLESS=1`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use octaskly::model::FileMode;
use octaskly::model::examination::{Examination, ExaminedNode, ExaminedPair, ProbedPeer, Reach, WorkerFindings};
use octaskly::model::files::{
    BlobRef, BlobWish, Content, FailedSource, FileTraffic, InputSource, InputSpec, OutputFile, TaskFiles, Transfer,
    TransferPath,
};
use octaskly::model::handshake::{Answer, Credential, Hello, Intent, Refusal, RefusalCode, Waiting, Welcome};
use octaskly::model::messages::{
    Assignment, CancelAttempt, DispatcherMessage, EndedAttempt, FencedAttempt, FilesReply, HeardPeer, HeldAttempt,
    JobOnWorker, RefusedAttempt, StartedAttempt, StreamPurpose, WorkerMessage,
};
use octaskly::model::node::WorkerProfile;
use octaskly::model::obstacle::{DirectoryFault, Obstacle, Shortage};
use octaskly::model::offload::{
    GivenAway, GrantedAttempt, HandOverProof, Offer, OfferAnswer, OfferVerdict, SignedBytes, TakenOver,
};
use octaskly::model::outcome::{
    AttemptReport, Cancellation, KeptOutput, LimitSource, OutputSummary, SpawnFailure, SpawnFailureKind, Unrepeatable,
};
use octaskly::model::peers::{LinkedPeer, PeerMessage, PeerPurpose, PeerSelf, PeerStatus, PeerWelcome};
use octaskly::model::pieces::{BlobHolder, BlobHolders, HoldersAsk, PieceAnswer, PieceAsk, PiecesAt, ReadPass};
use octaskly::model::records::{Act, DiskSpace, TaskCounts};
use octaskly::model::requests::{
    Changes, Failure, FailureCode, JobFilter, LogRequest, NodeKind, OwnerFilter, ReceivedOutput, Reply, Request,
    Submission, TaskFilter,
};
use octaskly::model::selector::{Part, Selector};
use octaskly::model::spec::{
    CommandLine, Dependency, DependencyCondition, Isolation, OutputMode, RetryPolicy, StdinSource, TimeLimit, Workdir,
};
use octaskly::model::trust::{ClientView, JoinNews, JoinReply, TokenId, TokenState, TokenView};
use octaskly::model::views::{
    AttemptView, Explanation, HoldersView, JobView, PeerLink, PeerView, StatusView, TaskTotals, TaskView, Usage,
    WorkerLack, WorkerState, WorkerView,
};
use octaskly::model::{
    Actor, AttemptId, AttemptNo, Axis, Capacity, ClientId, Combination, Demand, Digest, Epoch, Fence, InstanceId,
    IntervalSet, Items, JobId, JobSpec, MilliCpu, Millis, NodeId, NodeName, NumberList, NumberRange, Outcome,
    RawString, Role, SealedSpec, TaskId, TaskIndex, TaskState, Timestamp,
};
use octaskly::trust::grants::{BlobGrant, HandOver, TaskGrant};
use octaskly::trust::roster::{Roster, RosterEntry, RosterEpoch};
use octaskly::wire::beacon::{BEACON_VERSION, Beacon, BeaconAddress, BeaconKind, SealedBeacon};
use octaskly::wire::shim::{GuardOrder, ShimFact, ShimOrder, ShimStatus, StartTask, TaskLease};
use octaskly::wire::{DataFrame, OutputStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Pins one type. The patterns have to cover it, so a new variant does not
/// compile before it has a sample here.
macro_rules! golden {
    ($test:ident, $file:literal, $type:ty, { $($name:literal: $pattern:pat => $sample:expr),+ $(,)? }) => {
        #[test]
        fn $test() {
            #[allow(unreachable_patterns, reason = "a variant may have several samples")]
            fn covered(value: &$type) {
                match value {
                    $($pattern => {})+
                }
            }
            let samples: Vec<(&str, $type)> = vec![$(($name, $sample)),+];
            for (name, sample) in &samples {
                covered(sample);
                assert_eq!(&read::<$type>(&written(sample)), sample, "{name} reads back");
            }
            let bytes = samples.iter().map(|(name, sample)| (*name, written(sample))).collect();
            compare($file, bytes);
        }
    };
}

fn written<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("encodes");
    bytes
}

fn read<T: DeserializeOwned + Debug>(bytes: &[u8]) -> T {
    ciborium::from_reader(bytes).expect("decodes")
}

fn compare(file: &str, samples: Vec<(&str, Vec<u8>)>) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let now: String = samples.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    compare_text(file, &now);
}

fn compare_text(file: &str, now: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("OCTASKLY_BLESS").is_some() {
        std::fs::write(&path, now).expect("writes");
    }
    let pinned = std::fs::read_to_string(&path).unwrap_or_default();
    for (pinned, now) in pinned.lines().zip(now.lines()) {
        assert_eq!(now, pinned, "{file} has changed; see the head of this test");
    }
    assert_eq!(now.lines().count(), pinned.lines().count(), "{file} has more or fewer lines than are pinned");
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

fn id() -> AttemptId {
    AttemptId { task: TaskId::new(5, 300), attempt: AttemptNo(2) }
}

fn fence() -> Fence {
    Fence { epoch: Epoch(3), counter: 70_000 }
}

fn fenced() -> FencedAttempt {
    FencedAttempt { id: id(), fence: fence() }
}

fn proof() -> HandOverProof {
    HandOverProof { grant: SignedBytes(vec![1, 2, 3]), statement: SignedBytes(vec![4, 5]) }
}

fn spec() -> SealedSpec {
    SealedSpec::seal(JobSpec::single(CommandLine::Shell("true".into())))
}

fn ended(outcome: Outcome, kept: KeptOutput) -> EndedAttempt {
    let report = AttemptReport {
        outcome,
        started_at: Some(Timestamp(1_700_000_000_000_000)),
        ended_at: Timestamp(1_700_000_000_250_000),
        peak_memory_bytes: 1 << 20,
        output: OutputSummary { stdout_bytes: 10, stderr_bytes: 0, kept },
        files: None,
    };
    EndedAttempt { id: id(), fence: fence(), report }
}

fn profile() -> WorkerProfile {
    WorkerProfile {
        name: Some(name("worker-01")),
        capacity: Capacity {
            slots: 4,
            cpu: MilliCpu(8000),
            memory_bytes: 16 << 30,
            gpus: 1,
            resources: BTreeMap::from([("licence".to_owned(), 2)]),
        },
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        isolation: Isolation::Basic,
        place: Some(Digest([8; 32])),
    }
}

fn hello(intent: Intent, credential: Credential) -> Hello {
    let software = "1.0.0".to_owned();
    Hello { protocol_oldest: 1, protocol_newest: 1, software, instance: InstanceId(77), intent, credential }
}

golden!(join_news_keep_their_bytes, "join_news.hex", JoinNews, {
    "Proof": JoinNews::Proof(_) => JoinNews::Proof([7; 32]),
    "Enrolled": JoinNews::Enrolled => JoinNews::Enrolled,
});

golden!(join_reply_keeps_its_bytes, "join_reply.hex", JoinReply, {
    "Proof": JoinReply::Proof(_) => JoinReply::Proof([7; 32]),
    "WrongCode": JoinReply::WrongCode { .. } => JoinReply::WrongCode { left: 2 },
});

golden!(hello_keeps_its_bytes, "hello.hex", Hello, {
    "Worker": Hello { intent: Intent::Worker(_), .. } => hello(Intent::Worker(profile()), Credential::None),
    "Client": Hello { intent: Intent::Client, .. } => hello(Intent::Client, Credential::Access([7; 32])),
    "Guard": Hello { intent: Intent::Guard, .. } => hello(Intent::Guard, Credential::None),
    "Join": Hello { intent: Intent::Join { .. }, .. } => hello(Intent::Join { name: Some(name("worker-b")) }, Credential::None),
    "JoinUnnamed": Hello { intent: Intent::Join { .. }, .. } => hello(Intent::Join { name: None }, Credential::None),
    "Peer": Hello { intent: Intent::Peer, .. } => hello(Intent::Peer, Credential::None),
});

golden!(peer_message_keeps_its_bytes, "peer_message.hex", PeerMessage, {
    "Status": PeerMessage::Status(_) =>
        PeerMessage::Status(PeerStatus { instance: InstanceId(77), free_slots: 3, ready: 12, accepting: true }),
    "Offer": PeerMessage::Offer(_) => PeerMessage::Offer(Box::new(Offer { attempt: fenced(), proof: proof(), spec: None })),
    "Answer": PeerMessage::Answer(_) =>
        PeerMessage::Answer(OfferAnswer { attempt: fenced(), verdict: OfferVerdict::NoRoom }),
});

golden!(peer_purpose_keeps_its_bytes, "peer_purpose.hex", PeerPurpose, {
    "Probe": PeerPurpose::Probe => PeerPurpose::Probe,
    "Pieces": PeerPurpose::Pieces { .. } => PeerPurpose::Pieces {
        pass: ReadPass::Blobs(vec![1, 2]),
        blobs: vec![wish().blob],
    },
});

golden!(peer_self_keeps_its_bytes, "peer_self.hex", PeerSelf, {
    "PeerSelf": PeerSelf { .. } => PeerSelf { software: "1.0.0".to_owned(), clock: Timestamp(1_700_000_000_000_000) },
});

golden!(reach_keeps_its_bytes, "reach.hex", Reach, {
    "Reached": Reach::Reached(_) => Reach::Reached("192.168.1.13:7879".to_owned()),
    "Failed": Reach::Failed(_) => Reach::Failed("it does not answer".to_owned()),
    "NotDialled": Reach::NotDialled => Reach::NotDialled,
});

golden!(worker_findings_keep_their_bytes, "worker_findings.hex", WorkerFindings, {
    "WorkerFindings": WorkerFindings { .. } => WorkerFindings {
        clock: Timestamp(1_700_000_000_000_000),
        listens_for_beacons: true,
        mute_interfaces: vec!["eth1".to_owned()],
        heard: vec![NodeId([7; 32])],
        peers: vec![ProbedPeer {
            node: NodeId([8; 32]),
            reach: Reach::Failed("it does not answer".to_owned()),
            tried: vec!["192.168.1.13:7879".to_owned()],
            way: Some("eth0 192.168.1.12".to_owned()),
            linked: false,
        }],
    },
});

golden!(credential_keeps_its_bytes, "credential.hex", Credential, {
    "None": Credential::None => Credential::None,
    "Access": Credential::Access(_) => Credential::Access([7; 32]),
    "Token": Credential::Token(_) => Credential::Token([7; 16]),
});

golden!(answer_keeps_its_bytes, "answer.hex", Answer, {
    "Welcome": Answer::Welcome(_) => Answer::Welcome(Welcome {
        protocol: 1,
        software: "1.0.0".to_owned(),
        role: Role::Worker,
        name: name("worker-01"),
        epoch: Epoch(3),
        now: Timestamp(1_700_000_000_000_000),
        heartbeat_interval: Millis(2000),
        task_timeout: Millis(300_000),
        p2p: true,
    }),
    "Waiting": Answer::Waiting(_) => Answer::Waiting(Waiting { protocol: 1, software: "1.0.0".to_owned(), name: name("worker-b") }),
    "Peer": Answer::Peer(_) => Answer::Peer(PeerWelcome { protocol: 1, software: "1.0.0".to_owned(), instance: InstanceId(77) }),
    "Refused": Answer::Refused(_) => Answer::Refused(Refusal {
        code: RefusalCode::TooManyWorkers,
        text: "10 workers are connected already".to_owned(),
        hint: Some("start the dispatcher with --max-workers 11".to_owned()),
    }),
});

golden!(refusal_code_keeps_its_bytes, "refusal_code.hex", RefusalCode, {
    "NotEnrolled": RefusalCode::NotEnrolled => RefusalCode::NotEnrolled,
    "BadCredential": RefusalCode::BadCredential => RefusalCode::BadCredential,
    "WrongRole": RefusalCode::WrongRole => RefusalCode::WrongRole,
    "NameTaken": RefusalCode::NameTaken => RefusalCode::NameTaken,
    "TooManyWorkers": RefusalCode::TooManyWorkers => RefusalCode::TooManyWorkers,
    "Version": RefusalCode::Version => RefusalCode::Version,
    "Stopping": RefusalCode::Stopping => RefusalCode::Stopping,
    "Malformed": RefusalCode::Malformed => RefusalCode::Malformed,
    "Revoked": RefusalCode::Revoked => RefusalCode::Revoked,
    "TooManyJoining": RefusalCode::TooManyJoining => RefusalCode::TooManyJoining,
    "TooManyLinks": RefusalCode::TooManyLinks => RefusalCode::TooManyLinks,
    "KeyInUse": RefusalCode::KeyInUse => RefusalCode::KeyInUse,
    "KeyAwaited": RefusalCode::KeyAwaited => RefusalCode::KeyAwaited,
    "NotOnRoster": RefusalCode::NotOnRoster => RefusalCode::NotOnRoster,
});

golden!(role_keeps_its_bytes, "role.hex", Role, {
    "Admin": Role::Admin => Role::Admin,
    "Client": Role::Client => Role::Client,
    "Worker": Role::Worker => Role::Worker,
    "Dispatcher": Role::Dispatcher => Role::Dispatcher,
});

golden!(worker_message_keeps_its_bytes, "worker_message.hex", WorkerMessage, {
    "Holding": WorkerMessage::Holding(_) => WorkerMessage::Holding(vec![
        HeldAttempt { id: id(), fence: fence(), started_at: None, gpus: vec![], ended: true },
        HeldAttempt { id: id(), fence: fence(), started_at: Some(Timestamp(5)), gpus: vec![0, 3], ended: false },
    ]),
    "Heartbeat": WorkerMessage::Heartbeat { .. } => WorkerMessage::Heartbeat { sequence: 9 },
    "Started": WorkerMessage::Started(_) => WorkerMessage::Started(vec![StartedAttempt { id: id(), fence: fence(), at: Timestamp(5) }]),
    "Ended": WorkerMessage::Ended(_) => WorkerMessage::Ended(vec![ended(Outcome::Exited(0), KeptOutput::Nothing)]),
    "Returned": WorkerMessage::Returned(_) => WorkerMessage::Returned(vec![FencedAttempt { id: id(), fence: fence() }]),
    "Refused": WorkerMessage::Refused(_) => WorkerMessage::Refused(vec![RefusedAttempt {
        id: id(),
        fence: fence(),
        fault: DirectoryFault::Missing,
    }]),
    "Short": WorkerMessage::Short(_) => WorkerMessage::Short(Some(Shortage::Disk)),
    "Short.Over": WorkerMessage::Short(_) => WorkerMessage::Short(None),
    "SpecMissing": WorkerMessage::SpecMissing(_) => WorkerMessage::SpecMissing(JobId(5)),
    "Stopping": WorkerMessage::Stopping => WorkerMessage::Stopping,
    "Neighbours": WorkerMessage::Neighbours(_) => WorkerMessage::Neighbours(vec![
        HeardPeer { node: NodeId([7; 32]), address: Some("192.168.1.12:0".to_owned()), silent_for: Some(Millis(500)) },
        HeardPeer { node: NodeId([8; 32]), address: None, silent_for: None },
    ]),
    "Listening": WorkerMessage::Listening(_) => WorkerMessage::Listening(vec!["192.168.1.12:7879".to_owned()]),
    "Moved": WorkerMessage::Moved(_) => WorkerMessage::Moved(FileTraffic {
        sent_direct: 1,
        received_direct: 2,
        received_relay: 3,
        received_dispatcher: 4,
    }),
    "Linked": WorkerMessage::Linked(_) =>
        WorkerMessage::Linked(vec![LinkedPeer { node: NodeId([7; 32]), address: "192.168.1.12:7879".to_owned() }]),
    "TookOver": WorkerMessage::TookOver(_) => WorkerMessage::TookOver(vec![TakenOver { attempt: fenced(), proof: proof() }]),
    "GaveAway": WorkerMessage::GaveAway(_) => WorkerMessage::GaveAway(vec![GivenAway {
        attempt: fenced(),
        spare: Fence { epoch: Epoch(3), counter: 70_001 },
        receiver: NodeId([7; 32]),
        instance: InstanceId(9),
    }]),
    "NeverCame": WorkerMessage::NeverCame(_) => WorkerMessage::NeverCame(vec![fenced()]),
});

golden!(dispatcher_message_keeps_its_bytes, "dispatcher_message.hex", DispatcherMessage, {
    "HeartbeatSeen": DispatcherMessage::HeartbeatSeen { .. } => DispatcherMessage::HeartbeatSeen { sequence: 9, now: Timestamp(5) },
    "Learn": DispatcherMessage::Learn(_) => DispatcherMessage::Learn(vec![JobOnWorker { job: JobId(5), spec: spec() }]),
    "Assign": DispatcherMessage::Assign(_) => DispatcherMessage::Assign(vec![
        Assignment { task: id().task, attempt: id().attempt, fence: fence(), gpus: vec![] },
        Assignment { task: id().task, attempt: id().attempt, fence: fence(), gpus: vec![1] },
    ]),
    "Cancel": DispatcherMessage::Cancel(_) => DispatcherMessage::Cancel(vec![CancelAttempt {
        id: id(),
        fence: fence(),
        grace: Millis(10_000),
        why: Cancellation::Interrupted,
    }]),
    "Recorded": DispatcherMessage::Recorded(_) => DispatcherMessage::Recorded(vec![FencedAttempt { id: id(), fence: fence() }]),
    "ForgetJobs": DispatcherMessage::ForgetJobs(_) => DispatcherMessage::ForgetJobs(vec![JobId(5), JobId(6)]),
    "Drain": DispatcherMessage::Drain => DispatcherMessage::Drain,
    "Resume": DispatcherMessage::Resume => DispatcherMessage::Resume,
    "KeyCopied": DispatcherMessage::KeyCopied => DispatcherMessage::KeyCopied,
    "Roster": DispatcherMessage::Roster(_) => DispatcherMessage::Roster(vec![1, 2, 3]),
    "Retract": DispatcherMessage::Retract(_) => DispatcherMessage::Retract(vec![fenced()]),
    "Grant": DispatcherMessage::Grant(_) => DispatcherMessage::Grant(vec![GrantedAttempt {
        attempt: fenced(),
        spare: Fence { epoch: Epoch(3), counter: 70_001 },
        expires_at: Timestamp(5),
        grant: SignedBytes(vec![1, 2, 3]),
    }]),
    "Account": DispatcherMessage::Account(_) => DispatcherMessage::Account(vec![fenced()]),
});

golden!(offer_keeps_its_bytes, "offer.hex", Offer, {
    "Bare": Offer { .. } => Offer { attempt: fenced(), proof: proof(), spec: None },
    "WithSpec": Offer { .. } => Offer { attempt: fenced(), proof: proof(), spec: Some(spec()) },
});

golden!(offer_verdict_keeps_its_bytes, "offer_verdict.hex", OfferVerdict, {
    "Taken": OfferVerdict::Taken => OfferVerdict::Taken,
    "SpecMissing": OfferVerdict::SpecMissing => OfferVerdict::SpecMissing,
    "NoRoom": OfferVerdict::NoRoom => OfferVerdict::NoRoom,
    "Unsuitable": OfferVerdict::Unsuitable => OfferVerdict::Unsuitable,
    "Closed": OfferVerdict::Closed => OfferVerdict::Closed,
    "NotProved": OfferVerdict::NotProved => OfferVerdict::NotProved,
});

golden!(stream_purpose_keeps_its_bytes, "stream_purpose.hex", StreamPurpose, {
    "Attached": StreamPurpose::Attached { .. } => StreamPurpose::Attached { id: id(), from: 65_536 },
    "LogUpload": StreamPurpose::LogUpload { .. } => StreamPurpose::LogUpload { id: id(), bytes: 1 << 20 },
    "LogRead": StreamPurpose::LogRead { .. } => StreamPurpose::LogRead { id: id(), follow: true },
    "WhoHas": StreamPurpose::WhoHas { .. } => StreamPurpose::WhoHas { id: id(), blobs: vec![wish().blob] },
    "PieceFetch": StreamPurpose::PieceFetch { .. } => StreamPurpose::PieceFetch {
        id: id(),
        holder: Some(NodeId([9; 32])),
        blobs: vec![wish().blob],
    },
    "PieceRead": StreamPurpose::PieceRead { .. } => StreamPurpose::PieceRead { blobs: vec![wish().blob] },
    "BlobOffer": StreamPurpose::BlobOffer { .. } => StreamPurpose::BlobOffer { id: id(), blobs: vec![blob(7)] },
    "OutputsOf": StreamPurpose::OutputsOf { .. } =>
        StreamPurpose::OutputsOf { id: id(), input: 2, output: "model.bin".into() },
    "BlobRead": StreamPurpose::BlobRead { .. } => StreamPurpose::BlobRead { wishes: vec![wish()] },
    "Keeping": StreamPurpose::Keeping => StreamPurpose::Keeping,
    "Examine": StreamPurpose::Examine => StreamPurpose::Examine,
    "BlobCopy": StreamPurpose::BlobCopy { .. } =>
        StreamPurpose::BlobCopy { contents: vec![tree()], blobs: vec![blob(8)] },
});

fn failure(kind: SpawnFailureKind) -> Outcome {
    Outcome::SpawnFailed(SpawnFailure { kind, reason: "no such program: frobnicate".to_owned() })
}

golden!(outcome_keeps_its_bytes, "outcome.hex", Outcome, {
    "Exited": Outcome::Exited(_) => Outcome::Exited(7),
    "Signalled": Outcome::Signalled(_) => Outcome::Signalled(9),
    "TimedOut.Job": Outcome::TimedOut(..) => Outcome::TimedOut(Millis(300_000), LimitSource::Job),
    "TimedOut.Dispatcher": Outcome::TimedOut(..) => Outcome::TimedOut(Millis(300_000), LimitSource::Dispatcher),
    "OutOfMemory": Outcome::OutOfMemory => Outcome::OutOfMemory,
    "OomKilled": Outcome::OomKilled => Outcome::OomKilled,
    "SpawnFailed": Outcome::SpawnFailed(_) => failure(SpawnFailureKind::NotFound),
    "SpawnFailed.NotExecutable": Outcome::SpawnFailed(_) => failure(SpawnFailureKind::NotExecutable),
    "SpawnFailed.Worker": Outcome::SpawnFailed(_) => failure(SpawnFailureKind::Worker),
    "TransferFailed": Outcome::TransferFailed(_) => Outcome::TransferFailed("the holder went away".to_owned()),
    "OutputMissing": Outcome::OutputMissing(_) => Outcome::OutputMissing("there is no output a".to_owned()),
    "InputLost": Outcome::InputLost(_) => Outcome::InputLost("worker-01 is gone".to_owned()),
    "Lost": Outcome::Lost => Outcome::Lost,
    "Unrepeatable": Outcome::Unrepeatable(_) => Outcome::Unrepeatable(Unrepeatable::OutputPassedOn),
    "Unrepeatable.StdinConsumed": Outcome::Unrepeatable(_) => Outcome::Unrepeatable(Unrepeatable::StdinConsumed),
    "DependencyFailed": Outcome::DependencyFailed(_) => Outcome::DependencyFailed(JobId(4)),
    "Cancelled": Outcome::Cancelled(_) => Outcome::Cancelled(Cancellation::requested(None)),
});

fn anna() -> Actor {
    Actor { key: NodeId([7; 32]).key_no(), name: name("anna") }
}

golden!(cancellation_keeps_its_bytes, "cancellation.hex", Cancellation, {
    "Requested": Cancellation::Requested { .. } => Cancellation::requested(Some("wrong input".to_owned())),
    "RequestedBy": Cancellation::Requested { .. } => Cancellation::Requested { by: Some(anna()), reason: None },
    "Interrupted": Cancellation::Interrupted => Cancellation::Interrupted,
    "ClientGone": Cancellation::ClientGone => Cancellation::ClientGone,
    "MaxFails": Cancellation::MaxFails => Cancellation::MaxFails,
    "Superseded": Cancellation::Superseded => Cancellation::Superseded,
});

golden!(kept_output_keeps_its_bytes, "kept_output.hex", KeptOutput, {
    "Nothing": KeptOutput::Nothing => KeptOutput::Nothing,
    "Inline": KeptOutput::Inline(_) => KeptOutput::Inline("frames".into()),
    "Uploaded": KeptOutput::Uploaded(_) => KeptOutput::Uploaded(1 << 20),
});

golden!(task_state_keeps_its_bytes, "task_state.hex", TaskState, {
    "Waiting": TaskState::Waiting => TaskState::Waiting,
    "Ready": TaskState::Ready => TaskState::Ready,
    "Running": TaskState::Running => TaskState::Running,
    "Succeeded": TaskState::Succeeded => TaskState::Succeeded,
    "Failed": TaskState::Failed => TaskState::Failed,
    "Cancelled": TaskState::Cancelled => TaskState::Cancelled,
});

golden!(selector_keeps_its_bytes, "selector.hex", Selector, {
    "All": Selector::All => Selector::All,
    "Everyone": Selector::Everyone => Selector::Everyone,
    "Last": Selector::Last => Selector::Last,
    "These": Selector::These(_) => Selector::These(vec![Part::Jobs(JobId(1), JobId(3)), Part::Task(TaskId::new(5, 3))]),
});

golden!(part_keeps_its_bytes, "part.hex", Part, {
    "Jobs": Part::Jobs(..) => Part::Jobs(JobId(1), JobId(3)),
    "Task": Part::Task(_) => Part::Task(TaskId::new(5, 3)),
});

golden!(request_keeps_its_bytes, "request.hex", Request, {
    "Submit": Request::Submit(_) => Request::Submit(Submission { spec: spec(), idempotency_key: "k1".to_owned(), strict: false }),
    "Watch": Request::Watch(_) => Request::Watch(vec![JobId(5)]),
    "Attach": Request::Attach { .. } => Request::Attach {
        task: id().task,
        client: ClientId(9),
        takes_over: true,
        received: Some(ReceivedOutput { attempt: AttemptNo(2), bytes: 65_536 }),
        resends: 8_388_608,
    },
    "Attend": Request::Attend { .. } => Request::Attend { job: JobId(5), client: ClientId(9), takes_over: false },
    "Cancel": Request::Cancel { .. } => Request::Cancel { what: Selector::Last, why: Cancellation::requested(None) },
    "Retry": Request::Retry { .. } => Request::Retry { what: Selector::job(JobId(5)), failed_only: true },
    "Forget": Request::Forget(_) => Request::Forget(Selector::All),
    "Jobs": Request::Jobs(_) => Request::Jobs(JobFilter { only: None, states: vec![TaskState::Running], limit: 50, ..JobFilter::default() }),
    "JobsOfOwner": Request::Jobs(_) => Request::Jobs(JobFilter {
        owner: Some(OwnerFilter::Named(name("anna"))),
        ..JobFilter::default()
    }),
    "OwnJobs": Request::Jobs(_) => Request::Jobs(JobFilter { owner: Some(OwnerFilter::Me), ..JobFilter::default() }),
    "Tasks": Request::Tasks(_) => Request::Tasks(TaskFilter {
        of: Selector::job(JobId(5)),
        states: vec![],
        after: Some(id().task),
        limit: 0,
    }),
    "Explain": Request::Explain(_) => Request::Explain(Selector::task(id().task)),
    "Logs": Request::Logs(_) => Request::Logs(LogRequest { of: Selector::job(JobId(5)), follow: true, attempt: None }),
    "Blobs": Request::Blobs(_) => Request::Blobs(vec![blob(7), blob(8)]),
    "UploadBlobs": Request::UploadBlobs(_) => Request::UploadBlobs(vec![wish()]),
    "FetchOutput": Request::FetchOutput { .. } => Request::FetchOutput { task: id().task, wishes: vec![wish()] },
    "Workers": Request::Workers => Request::Workers,
    "Status": Request::Status => Request::Status,
    "Approve": Request::Approve { .. } => Request::Approve { name: name("worker-b"), code: "abcd-efgh-ijkl-mnop".to_owned() },
    "Revoke": Request::Revoke { .. } => Request::Revoke { name: name("worker-b"), kind: Some(NodeKind::Worker) },
    "RevokeClient": Request::Revoke { .. } => Request::Revoke { name: name("a"), kind: Some(NodeKind::Client) },
    "Clients": Request::Clients => Request::Clients,
    "CreateToken": Request::CreateToken { .. } => Request::CreateToken {
        role: Role::Worker,
        name: None,
        uses: 3,
        lifetime: Millis(86_400_000),
    },
    "CreateNamedToken": Request::CreateToken { .. } => Request::CreateToken {
        role: Role::Client,
        name: Some(name("anna")),
        uses: 1,
        lifetime: Millis(86_400_000),
    },
    "RenameClient": Request::RenameClient { .. } => Request::RenameClient { from: name("client-1"), to: name("anna") },
    "Tokens": Request::Tokens => Request::Tokens,
    "RevokeToken": Request::RevokeToken(_) => Request::RevokeToken(TokenId([7; 5])),
    "Drain": Request::Drain(_) => Request::Drain(name("worker-b")),
    "Resume": Request::Resume(_) => Request::Resume(name("worker-b")),
    "Peers": Request::Peers => Request::Peers,
    "Examine": Request::Examine => Request::Examine,
});

fn job_view() -> JobView {
    JobView {
        job: JobId(5),
        name: "true".to_owned(),
        state: TaskState::Succeeded,
        tasks: TaskTotals { total: 1, succeeded: 1, ..TaskTotals::default() },
        owner: NodeId([1; 32]),
        owner_name: name("anna"),
        submitted_at: Timestamp(1),
        started_at: Some(Timestamp(2)),
        ended_at: Some(Timestamp(3)),
        outcome: Some(Outcome::Exited(0)),
        cancelling: None,
        retried: Some(Act { by: anna(), at: Timestamp(4) }),
        spec: Some(spec()),
    }
}

fn task_view() -> TaskView {
    let attempt = AttemptView {
        id: id(),
        fence: fence(),
        worker: name("worker-01"),
        assigned_at: Timestamp(1),
        started_at: Some(Timestamp(2)),
        ended_at: None,
        outcome: None,
        peak_memory_bytes: 0,
        stdout_bytes: 0,
        stderr_bytes: 0,
        files: Some(Box::new(task_files())),
        handed_over_by: None,
        unrepeatable: Some(Unrepeatable::StdinConsumed),
    };
    TaskView {
        task: id().task,
        state: TaskState::Running,
        counts: TaskCounts { attempts: 2, failures: 1, lost: 0 },
        not_before: None,
        submitted_at: Timestamp(1),
        outcome: None,
        ended_at: None,
        attempts: vec![attempt],
        holders: vec![HoldersView { digest: blob(7).digest, names: vec!["worker-01".to_owned()] }],
    }
}

fn worker_view() -> WorkerView {
    let usage = Usage { total: 4, used: 1 };
    WorkerView {
        name: name("worker-01"),
        node: NodeId([9; 32]),
        state: WorkerState::Busy,
        slots: usage,
        cpu: usage,
        memory_bytes: usage,
        gpus: Usage::default(),
        address: Some("127.0.0.1:7879".to_owned()),
        latency_us: None,
        version: "1.0.0".to_owned(),
        labels: BTreeMap::from([("os".to_owned(), "linux".to_owned())]),
        tasks_done: 3,
        shortage: Some(Shortage::Descriptors),
        is_drained: true,
        drain_act: Some(Act { by: anna(), at: Timestamp(4) }),
        outputs_to_copy: Some(2),
        traffic: FileTraffic::default(),
    }
}

fn status_view() -> StatusView {
    StatusView {
        disk: DiskSpace::Enough,
        dispatcher: NodeId([2; 32]),
        version: "1.0.0".to_owned(),
        epoch: 3,
        started_at: Timestamp(1),
        now: Timestamp(2),
        address: "0.0.0.0:7878".to_owned(),
        workers: 1,
        max_workers: 10,
        slots: Usage { total: 4, used: 1 },
        jobs_active: 1,
        tasks: TaskTotals::default(),
        tasks_done: 3,
        tasks_last_minute: 2,
        store_bytes: 4096,
        files_bytes: 8192,
        results_discarded: 0,
    }
}

golden!(reply_keeps_its_bytes, "reply.hex", Reply, {
    "Submitted": Reply::Submitted { .. } => Reply::Submitted { job: JobId(5), unplaceable: Some("no worker has 2 GPUs".to_owned()) },
    "Progress": Reply::Progress(_) => Reply::Progress(vec![job_view()]),
    "Streaming": Reply::Streaming => Reply::Streaming,
    "Wanted": Reply::Wanted(_) => Reply::Wanted(vec![wish()]),
    "Changed": Reply::Changed(_) => Reply::Changed(Changes {
        affected: 3,
        jobs: 2,
        owners: vec![(name("anna"), 2)],
        absent: 1,
    }),
    "Done": Reply::Done { .. } => Reply::Done { affected: 3 },
    "Jobs": Reply::Jobs(_) => Reply::Jobs(vec![job_view()]),
    "Tasks": Reply::Tasks(_) => Reply::Tasks(vec![task_view()]),
    "Explained": Reply::Explained(_) => Reply::Explained(vec![Explanation {
        task: id().task,
        owner: name("anna"),
        state: TaskState::Ready,
        waits_for: None,
        workers: vec![WorkerLack { worker: name("worker-01"), lacks: vec!["slots: 4 of 4 taken".to_owned()], never: false }],
    }]),
    "Workers": Reply::Workers(_) => Reply::Workers(vec![worker_view()]),
    "Status": Reply::Status(_) => Reply::Status(status_view()),
    "Clients": Reply::Clients(_) => Reply::Clients(vec![ClientView {
        name: name("client-1"),
        node: NodeId([7; 32]),
        role: Role::Admin,
        enrolled_at: Timestamp(5),
        links: 1,
        revoked: false,
    }]),
    "TokenCreated": Reply::TokenCreated { .. } => Reply::TokenCreated { token: "okt1-a-b".to_owned(), id: TokenId([7; 5]) },
    "Tokens": Reply::Tokens(_) => Reply::Tokens(vec![TokenView {
        id: TokenId([7; 5]),
        role: Role::Worker,
        name: Some(name("worker-01")),
        uses: 3,
        used: 1,
        created_at: Timestamp(5),
        expires_at: Timestamp(6),
        state: TokenState::Valid,
    }]),
    "Examined": Reply::Examined(_) => Reply::Examined(Box::new(Examination {
        p2p: true,
        discovery_port: 5555,
        nodes: vec![ExaminedNode {
            name: name("worker-01"),
            node: NodeId([7; 32]),
            role: Role::Worker,
            version: "1.0.0".to_owned(),
            address: Some("192.168.1.12:7879".to_owned()),
            answered: true,
            latency_us: Some(300),
            clock_ahead_us: -1500,
            listens_for_beacons: true,
            mute_interfaces: vec!["eth1".to_owned()],
            same_user: false,
        }],
        pairs: vec![ExaminedPair {
            from: name("worker-01"),
            to: name("worker-02"),
            reach: Reach::Reached("192.168.1.13:7879".to_owned()),
            tried: vec!["192.168.1.13:7879".to_owned()],
            way: Some("eth0 192.168.1.12".to_owned()),
            linked: true,
            heard: true,
        }],
        clients: 2,
    })),
    "Peers": Reply::Peers(_) => Reply::Peers(vec![PeerView {
        name: name("worker-b"),
        node: NodeId([7; 32]),
        role: Role::Worker,
        address: Some("192.168.1.12:0".to_owned()),
        heard_by: name("dispatcher"),
        heard_at: Some(Timestamp(5)),
        silent_for: Some(Millis(500)),
        link: PeerLink::Standing,
    }]),
    "Failed": Reply::Failed(_) => Reply::Failed(Failure {
        code: FailureCode::NotFound,
        text: "there is no job 9".to_owned(),
        hint: None,
    }),
});

golden!(failure_code_keeps_its_bytes, "failure_code.hex", FailureCode, {
    "NotFound": FailureCode::NotFound => FailureCode::NotFound,
    "Forbidden": FailureCode::Forbidden => FailureCode::Forbidden,
    "Invalid": FailureCode::Invalid => FailureCode::Invalid,
    "Unplaceable": FailureCode::Unplaceable => FailureCode::Unplaceable,
    "Full": FailureCode::Full => FailureCode::Full,
    "Conflict": FailureCode::Conflict => FailureCode::Conflict,
    "Internal": FailureCode::Internal => FailureCode::Internal,
});

golden!(worker_state_keeps_its_bytes, "worker_state.hex", WorkerState, {
    "Pending": WorkerState::Pending => WorkerState::Pending,
    "Idle": WorkerState::Idle => WorkerState::Idle,
    "Busy": WorkerState::Busy => WorkerState::Busy,
    "Draining": WorkerState::Draining => WorkerState::Draining,
    "Suspect": WorkerState::Suspect => WorkerState::Suspect,
    "Lost": WorkerState::Lost => WorkerState::Lost,
    "Revoked": WorkerState::Revoked => WorkerState::Revoked,
});

fn full_spec() -> JobSpec {
    JobSpec {
        name: Some("render".to_owned()),
        command: CommandLine::Exec(vec!["render".into(), vec![0xff, 0xfe].into()]),
        items: Items::Range { first: 1, last: 100, step: 3 },
        demand: Demand {
            cpu: MilliCpu(500),
            memory_bytes: 1 << 30,
            gpus: 1,
            resources: BTreeMap::from([("licence".to_owned(), 1)]),
        },
        labels: BTreeMap::from([("os".to_owned(), "linux".to_owned())]),
        time_limit: TimeLimit::Limited(Millis(600_000)),
        priority: -5,
        env: BTreeMap::from([("KEY".into(), "value".into())]),
        workdir: Workdir::Existing("/srv".into()),
        stdin: StdinSource::Inline("input".into()),
        output: OutputMode::Attached,
        client_grace: Some(Millis(3_600_000)),
        job_log: None,
        retry: RetryPolicy { limit: Some(2), ..RetryPolicy::default() },
        max_concurrent: Some(8),
        max_fails: Some(3),
        exclusive: true,
        no_retry: false,
        isolation: Isolation::Strict,
        after: vec![Dependency { job: JobId(4), condition: DependencyCondition::Succeeded }],
        inputs: vec![
            InputSpec { name: "data.csv".into(), source: InputSource::Shared(file()) },
            InputSpec { name: "{}".into(), source: InputSource::PerTask(vec![file(), tree()]) },
            InputSpec {
                name: "model".into(),
                source: InputSource::Output { job: JobId(4), index: Some(TaskIndex(2)), output: "model.bin".into() },
            },
        ],
        outputs: vec!["{}.png".into()],
        remakes: Some(TaskId::new(5, 3)),
    }
}

fn blob(byte: u8) -> BlobRef {
    BlobRef { digest: Digest([byte; 32]), bytes: 3 << 20 }
}

fn file() -> Content {
    Content::File { blob: blob(7), mode: FileMode::of(0o750), modified_ns: Some(1_700_000_000_123_456_789) }
}

fn tree() -> Content {
    Content::Tree { manifest: blob(8), total_bytes: 1 << 40, mode: FileMode::of(0o2700), modified_ns: Some(-1) }
}

fn task_files() -> TaskFiles {
    TaskFiles {
        outputs: vec![OutputFile { name: "a.png".into(), content: file() }],
        transfers: vec![Transfer { blob: blob(7), from: "worker-02".to_owned(), path: TransferPath::Direct }],
        held: false,
        failed_sources: Vec::new(),
    }
}

golden!(a_piece_ask_keeps_its_bytes, "piece_ask.hex", PieceAsk, {
    "PieceAsk": PieceAsk(_) => PieceAsk(vec![PiecesAt { place: 1, pieces: IntervalSet::from_range(2, 3) }]),
});

golden!(a_piece_answer_keeps_its_bytes, "piece_answer.hex", PieceAnswer, {
    "Has": PieceAnswer::Has(_) => PieceAnswer::Has(vec![PiecesAt { place: 0, pieces: IntervalSet::from_range(0, 9) }]),
    "Busy": PieceAnswer::Busy => PieceAnswer::Busy,
    "Refused": PieceAnswer::Refused(_) => PieceAnswer::Refused(Failure {
        code: FailureCode::Forbidden,
        text: "no".into(),
        hint: None,
    }),
});

golden!(an_ask_for_holders_keeps_its_bytes, "holders_ask.hex", HoldersAsk, {
    "Again": HoldersAsk::Again { .. } => HoldersAsk::Again { empty: vec![NodeId([7; 32])] },
    "Fetched": HoldersAsk::Fetched => HoldersAsk::Fetched,
});

golden!(a_read_pass_keeps_its_bytes, "read_pass.hex", ReadPass, {
    "Blobs": ReadPass::Blobs(_) => ReadPass::Blobs(vec![1, 2]),
    "Task": ReadPass::Task { .. } => ReadPass::Task { grant: vec![1], hand_over: Some(vec![2]), manifest: None },
});

golden!(files_reply_keeps_its_bytes, "files_reply.hex", FilesReply, {
    "Follows": FilesReply::Follows => FilesReply::Follows,
    "Wanted": FilesReply::Wanted(_) => FilesReply::Wanted(vec![wish()]),
    "Kept": FilesReply::Kept => FilesReply::Kept,
    "Holders": FilesReply::Holders(_) => FilesReply::Holders(BlobHolders {
        here: IntervalSet::from_range(0, 0),
        workers: vec![BlobHolder {
            node: NodeId([9; 32]),
            name: "worker-a".parse().unwrap(),
            places: IntervalSet::from_range(0, 1),
        }],
        index: 1,
        of: 3,
        grant: Some(vec![1, 2, 3]),
    }),
    "Found": FilesReply::Found(_) => FilesReply::Found(vec![OutputFile { name: "a".into(), content: tree() }]),
    "Refused": FilesReply::Refused(_) => FilesReply::Refused(Failure {
        code: FailureCode::Full,
        text: "no room".to_owned(),
        hint: None,
    }),
    "Remade": FilesReply::Remade(_) => FilesReply::Remade("output a of task 5.3 was lost".to_owned()),
    "Needed": FilesReply::Needed(_) => FilesReply::Needed(vec![tree()]),
    "Lacking": FilesReply::Lacking(_) => FilesReply::Lacking(vec![blob(7).digest]),
});

golden!(task_files_keep_their_bytes, "task_files.hex", TaskFiles, {
    "Local": TaskFiles { .. } => TaskFiles {
        outputs: vec![OutputFile { name: vec![0xff].into(), content: tree() }],
        transfers: vec![Transfer { blob: blob(1), from: "worker-01".to_owned(), path: TransferPath::Local }],
        held: false,
        failed_sources: Vec::new(),
    },
    "Direct": TaskFiles { .. } => task_files(),
    "Held": TaskFiles { .. } => TaskFiles { held: true, ..task_files() },
    "Failed": TaskFiles { .. } => TaskFiles {
        failed_sources: vec![FailedSource { name: "worker-03".to_owned(), why: "it sent a damaged piece".to_owned() }],
        ..task_files()
    },
    "Relay": TaskFiles { .. } => TaskFiles {
        outputs: Vec::new(),
        transfers: vec![Transfer { blob: blob(1), from: "worker-01".to_owned(), path: TransferPath::Relay }],
        held: false,
        failed_sources: Vec::new(),
    },
    "Dispatcher": TaskFiles { .. } => TaskFiles {
        outputs: Vec::new(),
        transfers: vec![Transfer { blob: blob(1), from: "dispatcher".to_owned(), path: TransferPath::Dispatcher }],
        held: false,
        failed_sources: Vec::new(),
    },
});

fn wish() -> BlobWish {
    BlobWish { blob: blob(7), pieces: IntervalSet::from_range(0, 2) }
}

golden!(job_spec_keeps_its_bytes, "job_spec.hex", JobSpec, {
    "Full": JobSpec { .. } => full_spec(),
    "Default": JobSpec { .. } => JobSpec::single(CommandLine::Shell("true".into())),
});

golden!(command_line_keeps_its_bytes, "command_line.hex", CommandLine, {
    "Shell": CommandLine::Shell(_) => CommandLine::Shell("echo hi".into()),
    "Exec": CommandLine::Exec(_) => CommandLine::Exec(vec!["echo".into(), "hi".into()]),
});

/// Two lists that go along with each other, and one of which each goes with every item.
fn combination() -> Combination {
    let axis = |lists: &[&[&str]]| {
        let list = |items: &&[&str]| items.iter().map(|item| RawString::from(*item)).collect();
        Axis::new(lists.iter().map(list).collect()).expect("an axis")
    };
    Combination::new(vec![axis(&[&["a", "b"], &["c", "d"]]), axis(&[&["e"]])]).expect("three lists")
}

/// `1,3-9:3`.
fn numbers() -> NumberList {
    let range = |first, last, step| NumberRange::new(first, last, step).expect("a range");
    NumberList::new(vec![range(1, 1, 1), range(3, 9, 3)]).expect("a list")
}

golden!(items_keeps_its_bytes, "items.hex", Items, {
    "Single": Items::Single => Items::Single,
    "Range": Items::Range { .. } => Items::Range { first: 1, last: 9, step: 2 },
    "Numbers": Items::Numbers(_) => Items::Numbers(numbers()),
    "List": Items::List(_) => Items::List(vec!["a".into(), "b".into()].into()),
    "Combined": Items::Combined(_) => Items::Combined(combination()),
    "Subset": Items::Subset { .. } => {
        let of = Box::new(Items::List(vec!["a".into(); 9].into()));
        Items::Subset { numbers: numbers(), of }
    },
    "One": Items::One { .. } => Items::One { index: TaskIndex(3), parts: vec!["c".into()] },
});

golden!(time_limit_keeps_its_bytes, "time_limit.hex", TimeLimit, {
    "Dispatcher": TimeLimit::Dispatcher => TimeLimit::Dispatcher,
    "Unlimited": TimeLimit::Unlimited => TimeLimit::Unlimited,
    "Limited": TimeLimit::Limited(_) => TimeLimit::Limited(Millis(5)),
});

golden!(workdir_keeps_its_bytes, "workdir.hex", Workdir, {
    "Fresh": Workdir::Fresh => Workdir::Fresh,
    "Existing": Workdir::Existing(_) => Workdir::Existing("/srv".into()),
});

golden!(stdin_source_keeps_its_bytes, "stdin_source.hex", StdinSource, {
    "Empty": StdinSource::Empty => StdinSource::Empty,
    "Inline": StdinSource::Inline(_) => StdinSource::Inline("input".into()),
    "Attached": StdinSource::Attached => StdinSource::Attached,
});

golden!(output_mode_keeps_its_bytes, "output_mode.hex", OutputMode, {
    "Stored": OutputMode::Stored => OutputMode::Stored,
    "Attached": OutputMode::Attached => OutputMode::Attached,
});

golden!(isolation_keeps_its_bytes, "isolation.hex", Isolation, {
    "None": Isolation::None => Isolation::None,
    "Basic": Isolation::Basic => Isolation::Basic,
    "Strict": Isolation::Strict => Isolation::Strict,
});

golden!(dependency_condition_keeps_its_bytes, "dependency_condition.hex", DependencyCondition, {
    "Succeeded": DependencyCondition::Succeeded => DependencyCondition::Succeeded,
    "Ended": DependencyCondition::Ended => DependencyCondition::Ended,
});

golden!(shim_order_keeps_its_bytes, "shim_order.hex", ShimOrder, {
    "Start": ShimOrder::Start(_) => ShimOrder::Start(StartTask {
        argv: vec!["true".into()],
        env: vec![("PATH".into(), "/bin".into())],
        cwd: "/tmp".into(),
        memory_bytes: 1 << 20,
        lease: Some(TaskLease { terminate_at_us: 1 << 40, kill_at_us: 1 << 41 }),
    }),
    "Terminate": ShimOrder::Terminate { .. } => ShimOrder::Terminate { grace: Millis(10_000) },
    "Renew": ShimOrder::Renew(_) => ShimOrder::Renew(TaskLease { terminate_at_us: 40_000_000, kill_at_us: 50_000_000 }),
});

golden!(shim_fact_keeps_its_bytes, "shim_fact.hex", ShimFact, {
    "Started": ShimFact::Started { .. } => ShimFact::Started { pid: 4711, running_us: 5000 },
    "SpawnFailed": ShimFact::SpawnFailed(_) => ShimFact::SpawnFailed(SpawnFailure {
        kind: SpawnFailureKind::NotFound,
        reason: "no such program: frobnicate".to_owned(),
    }),
    "NotStarted": ShimFact::NotStarted { .. } => ShimFact::NotStarted {
        obstacle: Obstacle::Shortage(Shortage::Processes),
        detail: "start /bin/true: resource temporarily unavailable".to_owned(),
    },
    "Ended": ShimFact::Ended { .. } => ShimFact::Ended { status: ShimStatus::Exited(0), ran_us: 900, peak_memory_bytes: 1 << 20 },
});

golden!(obstacle_keeps_its_bytes, "obstacle.hex", Obstacle, {
    "Directory.Missing": Obstacle::Directory(_) => Obstacle::Directory(DirectoryFault::Missing),
    "Directory.NotDirectory": Obstacle::Directory(_) => Obstacle::Directory(DirectoryFault::NotDirectory),
    "Directory.Forbidden": Obstacle::Directory(_) => Obstacle::Directory(DirectoryFault::Forbidden),
    "Shortage.Descriptors": Obstacle::Shortage(_) => Obstacle::Shortage(Shortage::Descriptors),
    "Shortage.Processes": Obstacle::Shortage(_) => Obstacle::Shortage(Shortage::Processes),
    "Shortage.Memory": Obstacle::Shortage(_) => Obstacle::Shortage(Shortage::Memory),
    "Shortage.Disk": Obstacle::Shortage(_) => Obstacle::Shortage(Shortage::Disk),
    "Shortage.Other": Obstacle::Shortage(_) => Obstacle::Shortage(Shortage::Other),
});

golden!(shim_status_keeps_its_bytes, "shim_status.hex", ShimStatus, {
    "Exited": ShimStatus::Exited(_) => ShimStatus::Exited(7),
    "Signalled": ShimStatus::Signalled(_) => ShimStatus::Signalled(9),
    "OutOfMemory": ShimStatus::OutOfMemory => ShimStatus::OutOfMemory,
    "LeaseOver": ShimStatus::LeaseOver => ShimStatus::LeaseOver,
});

golden!(guard_order_keeps_its_bytes, "guard_order.hex", GuardOrder, {
    "Brief": GuardOrder::Brief(_) => GuardOrder::Brief("opaque".into()),
    "Dismiss": GuardOrder::Dismiss => GuardOrder::Dismiss,
});

#[test]
fn data_frames_keep_their_bytes() {
    let frames = [
        ("Stdout", DataFrame::Output { stream: OutputStream::Stdout, bytes: b"out"[..].into() }),
        ("Stderr", DataFrame::Output { stream: OutputStream::Stderr, bytes: b"err"[..].into() }),
        ("Cut", DataFrame::Cut { omitted: 1 << 33 }),
        ("TaskBegins", DataFrame::TaskBegins(TaskId::new(5, 300))),
        ("AttemptBegins", DataFrame::AttemptBegins { attempt: AttemptNo(2), from: 65_536 }),
        ("End", DataFrame::End),
        ("Stdin", DataFrame::Stdin(b"in"[..].into())),
        ("StdinEnd", DataFrame::StdinEnd),
        ("Ack", DataFrame::Ack { received: 65_536 }),
        ("PieceBegins", DataFrame::PieceBegins { blob: 3, piece: 70_000, length: 1_048_640 }),
        ("Bytes", DataFrame::Bytes(b"piece".as_slice().into())),
        ("Fails", DataFrame::Fails),
    ];
    let bytes = |frame: &DataFrame<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(DataFrame::take(&mut &bytes[..]).as_ref(), Ok(&Some(frame.clone())));
        // A new kind does not compile before it is pinned above.
        match frame {
            DataFrame::Output { .. } | DataFrame::Cut { .. } | DataFrame::TaskBegins(_) | DataFrame::End => bytes,
            DataFrame::Stdin(_) | DataFrame::StdinEnd | DataFrame::Ack { .. } => bytes,
            DataFrame::AttemptBegins { .. }
            | DataFrame::PieceBegins { .. }
            | DataFrame::Bytes(_)
            | DataFrame::Fails => bytes,
        }
    };
    compare("data_frames.hex", frames.iter().map(|(name, frame)| (*name, bytes(frame))).collect());
}

/// The tables of both stores, as SQLite describes them.
#[cfg(feature = "node")]
#[test]
fn store_schemas_keep_their_tables() {
    use octaskly::store::{self, Outbox};
    let directory = tempfile::tempdir().expect("a directory");
    let (jobs, outbox) = (directory.path().join("jobs.db"), directory.path().join("outbox.db"));
    store::open(&jobs, Box::new(|_| ()), Timestamp(1), None).expect("opens").0.close().expect("closes");
    Outbox::open(&outbox, Box::new(|_| ())).expect("opens").0.close().expect("closes");
    for (file, path) in [("store.sql", jobs), ("outbox.sql", outbox)] {
        let connection = rusqlite::Connection::open(path).expect("opens");
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).expect("reads");
        let mut text = format!(
            "PRAGMA application_id = {};\nPRAGMA user_version = {};\n",
            number("application_id"),
            number("user_version")
        );
        let mut select =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").expect("prepares");
        let mut rows = select.query([]).expect("selects");
        while let Some(row) = rows.next().expect("reads") {
            text.push_str(&row.get::<_, String>(0).expect("text"));
            text.push_str(";\n");
        }
        compare_text(file, &text);
    }
}

fn roster_epoch() -> RosterEpoch {
    RosterEpoch { start: Epoch(3), change: 9 }
}

golden!(a_roster_keeps_its_bytes, "roster.hex", Roster, {
    "Roster": Roster { .. } => Roster {
        epoch: roster_epoch(),
        issued_at: Timestamp::from_millis(1_700_000_000_000),
        entries: vec![RosterEntry {
            node: NodeId([7; 32]),
            name: name("worker-b"),
            addresses: vec!["192.168.1.11:7879".parse().expect("an address"), "[fd00::1]:7879".parse().expect("an address")],
            role: Role::Worker,
        }],
    },
});

golden!(a_task_grant_keeps_its_bytes, "task_grant.hex", TaskGrant, {
    "TaskGrant": TaskGrant { .. } => TaskGrant {
        attempt: id(),
        spec: Digest([5; 32]),
        inputs: vec![Digest([6; 32])],
        worker: NodeId([7; 32]),
        fences: [fence(), Fence { counter: fence().counter + 1, ..fence() }],
        roster: roster_epoch(),
        expires_at: Timestamp::from_millis(1_700_000_000_000),
    },
});

golden!(a_blob_grant_keeps_its_bytes, "blob_grant.hex", BlobGrant, {
    "BlobGrant": BlobGrant { .. } => BlobGrant {
        digests: vec![Digest([6; 32])],
        reader: NodeId([7; 32]),
        expires_at: Timestamp::from_millis(1_700_000_000_000),
    },
});

golden!(a_hand_over_keeps_its_bytes, "hand_over.hex", HandOver, {
    "HandOver": HandOver { .. } => HandOver {
        grant: Digest([5; 32]),
        receiver: NodeId([7; 32]),
        instance: InstanceId(77),
        fence: fence(),
    },
});

fn beacon(kind: BeaconKind) -> Beacon {
    Beacon {
        version: BEACON_VERSION,
        kind,
        role: Role::Worker,
        name: Some(name("worker-02")),
        cluster: Some(NodeId([7; 32])),
        boot: Timestamp::from_millis(1_700_000_000_000),
        sequence: 3,
        port: 7879,
        addresses: vec![BeaconAddress::V4([192, 168, 1, 12]), BeaconAddress::V6([0xfe; 16])],
        cpu: MilliCpu(8000),
        memory_mb: 16_384,
        gpus: 1,
        software: "1.0.0".to_owned(),
    }
}

golden!(a_beacon_keeps_its_bytes, "beacon.hex", Beacon, {
    "Alive": Beacon { kind: BeaconKind::Alive, .. } => beacon(BeaconKind::Alive),
    "Bye": Beacon { kind: BeaconKind::Bye, .. } => Beacon { name: None, cluster: None, ..beacon(BeaconKind::Bye) },
    "Query": Beacon { kind: BeaconKind::Query, .. } => beacon(BeaconKind::Query),
});

#[test]
fn the_datagram_of_a_beacon_keeps_its_bytes() {
    let payload = written(&beacon(BeaconKind::Alive));
    let sealed = SealedBeacon { payload, key: NodeId([5; 32]), signature: [6; 64] };
    let datagram = sealed.encode().expect("it fits");
    assert_eq!(SealedBeacon::decode(&datagram), Ok(sealed));
    compare("beacon_datagram.hex", vec![("SealedBeacon", datagram)]);
}
