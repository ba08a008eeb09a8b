//! Files whose holders are workers: who gets them, and what becomes of a holder
//! that lies.

use octaskly::blob::digest_of;
use octaskly::model::FileMode;
use octaskly::model::files::{BlobRef, BlobWish, Content, InputSource, InputSpec, OutputFile, TaskFiles};
use octaskly::model::limits::MAX_FRAME;
use octaskly::model::messages::{EndedAttempt, FilesReply, StreamPurpose, WorkerMessage};
use octaskly::model::outcome::OutputSummary;
use octaskly::model::requests::{FailureCode, Reply, Request, Submission};
use octaskly::model::spec::{Dependency, DependencyCondition};
use octaskly::model::{
    AttemptId, AttemptReport, IntervalSet, JobId, JobSpec, Millis, Outcome, Role, SealedSpec, TaskId, Timestamp,
};
use octaskly::transport::{FrameRecv, FrameSend};
use octaskly::trust::{Identity, TokenText};

use crate::stage::{Client, Stage, Worker, job, soon};

const MADE: &[u8] = b"what the task has made";

fn made() -> (BlobRef, Content) {
    let blob = BlobRef { digest: digest_of(MADE), bytes: MADE.len() as u64 };
    (blob, Content::File { blob, mode: FileMode::FILE, modified_ns: None })
}

fn wish() -> BlobWish {
    BlobWish { blob: made().0, pieces: IntervalSet::from_range(0, 0) }
}

/// A job whose output `worker` holds.
async fn held_by(stage: &Stage, client: &Client, worker: &mut Worker) -> (JobId, AttemptId) {
    let _ = stage;
    let id = client.submit(JobSpec { outputs: vec!["made".into()], ..job("true") }).await;
    let assignment = worker.starts().await;
    let files = TaskFiles {
        outputs: vec![OutputFile { name: "made".into(), content: made().1 }],
        held: true,
        ..TaskFiles::default()
    };
    let report = AttemptReport {
        outcome: Outcome::Exited(0),
        started_at: Some(Timestamp(1)),
        ended_at: Timestamp(2),
        peak_memory_bytes: 0,
        output: OutputSummary::default(),
        files: Some(Box::new(files)),
    };
    let ended = EndedAttempt { id: assignment.id(), fence: assignment.fence, report };
    worker.says(WorkerMessage::Ended(vec![ended])).await;
    worker.is_thanked_for(&assignment).await;
    (id, assignment.id())
}

/// A client that is no admin.
async fn other_client(stage: &Stage, admin: &Client) -> Client {
    let wanted = Request::CreateToken { role: Role::Client, name: None, uses: 1, lifetime: Millis::from_secs(600) };
    let Reply::TokenCreated { token, .. } = admin.ask(wanted).await else { panic!("no token") };
    let token: TokenText = token.parse().expect("a token");
    let identity = Identity::ephemeral().expect("a key");
    stage.try_client(&identity, token.credential()).await.expect("let in")
}

async fn asks(worker: &Worker, purpose: StreamPurpose) -> (FrameSend, FrameRecv) {
    let (mut send, recv) = soon("a stream", worker.link.open_bi()).await.expect("a stream");
    send.send(&purpose).await.expect("its purpose leaves");
    (send, recv)
}

async fn reply(recv: &mut FrameRecv) -> FilesReply {
    soon("a reply", recv.recv::<FilesReply>(MAX_FRAME)).await.expect("the stream stands").expect("a reply")
}

fn failure(reply: Option<Reply>) -> FailureCode {
    match reply {
        Some(Reply::Failed(failure)) => failure.code,
        other => panic!("it was answered by {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clients_outputs_can_neither_be_fetched_nor_used() {
    let stage = Stage::open().await;
    let owner = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let (id, _) = held_by(&stage, &owner, &mut worker).await;
    let other = other_client(&stage, &owner).await;
    let fetch = Request::FetchOutput { task: TaskId::new(id.0, 0), wishes: vec![wish()] };
    assert_eq!(failure(other.open(fetch).await.next().await), FailureCode::NotFound);
    let source = InputSource::Output { job: id, index: None, output: "made".into() };
    let spec = JobSpec {
        inputs: vec![InputSpec { name: "made".into(), source }],
        after: vec![Dependency { job: id, condition: DependencyCondition::Succeeded }],
        ..job("cat made")
    };
    let submission = Submission { spec: SealedSpec::seal(spec), idempotency_key: "theft".to_owned(), strict: false };
    assert_eq!(failure(other.open(Request::Submit(submission)).await.next().await), FailureCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_nothing_of_its_task_but_its_outputs() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let (id, _) = held_by(&stage, &client, &mut worker).await;
    let stranger = BlobRef { digest: digest_of(b"something else"), bytes: 14 };
    let wishes = vec![BlobWish { blob: stranger, pieces: IntervalSet::from_range(0, 0) }];
    let fetch = Request::FetchOutput { task: TaskId::new(id.0, 0), wishes };
    assert_eq!(failure(client.open(fetch).await.next().await), FailureCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gets_no_files_of_a_task_that_it_was_not_given() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut honest = stage.worker("honest").await;
    let (_, id) = held_by(&stage, &client, &mut honest).await;
    let thief = stage.worker("thief").await;
    for purpose in [
        StreamPurpose::WhoHas { id, blobs: vec![made().0] },
        StreamPurpose::OutputsOf { id, input: 0, output: "made".into() },
        StreamPurpose::BlobOffer { id, blobs: vec![made().0] },
    ] {
        let (_send, mut recv) = asks(&thief, purpose.clone()).await;
        match reply(&mut recv).await {
            FilesReply::Refused(failure) => assert_eq!(failure.code, FailureCode::Forbidden, "{purpose:?}"),
            other => panic!("{purpose:?} was answered by {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_of_what_it_holds_itself_and_its_word_is_taken_for_nothing_else() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut honest = stage.worker("honest").await;
    held_by(&stage, &client, &mut honest).await;
    let thief = stage.worker("thief").await;
    for (worker, needed) in [(&honest, vec![made().1]), (&thief, Vec::new())] {
        let (mut send, mut recv) = asks(worker, StreamPurpose::Keeping).await;
        let FilesReply::Needed(told) = reply(&mut recv).await else { panic!("it is told what is needed") };
        let blobs = |contents: &[Content]| contents.iter().map(Content::blob).collect::<Vec<_>>();
        assert_eq!(blobs(&told), blobs(&needed), "without modes and times");
        send.finish().await.expect("it lacks nothing");
    }
    let copy = StreamPurpose::BlobCopy { contents: vec![made().1], blobs: vec![made().0] };
    for (worker, wanted) in [(&thief, Vec::new()), (&honest, vec![wish()])] {
        let (_send, mut recv) = asks(worker, copy.clone()).await;
        assert_eq!(reply(&mut recv).await, FilesReply::Wanted(wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_sends_something_else_is_found_out_and_not_asked_again() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut liar = stage.worker("liar").await;
    let (id, _) = held_by(&stage, &client, &mut liar).await;
    let fetch = Request::FetchOutput { task: TaskId::new(id.0, 0), wishes: vec![wish()] };
    let mut answers = client.open(fetch.clone()).await;
    let (mut send, mut recv) = soon("the question", liar.link.accept_bi()).await.expect("a stream");
    let asked = recv.recv::<StreamPurpose>(MAX_FRAME).await.expect("the stream stands");
    assert_eq!(asked, Some(StreamPurpose::BlobRead { wishes: vec![wish()] }));
    send.send(&FilesReply::Follows).await.expect("it leaves");
    send.feed_piece(0, 0, b"what the task has maid").await.expect("it leaves");
    send.flush().await.expect("it leaves");
    // The end of a stream that breaks off may overtake what was sent before it.
    if let Ok(begun) = soon("a reply", answers.recv.recv::<Reply>(MAX_FRAME)).await {
        assert_eq!(begun, Some(Reply::Streaming));
        assert!(answers.frame().await.is_none(), "nothing of it reaches the client");
    }
    assert_eq!(failure(client.open(fetch).await.next().await), FailureCode::NotFound, "nobody else has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lacks_what_it_held_is_not_named_as_its_holder_any_more() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let (id, _) = held_by(&stage, &client, &mut worker).await;
    let names = |view: octaskly::model::views::TaskView| view.holders_of(made().0.digest).to_vec();
    assert_eq!(names(client.task(TaskId::new(id.0, 0)).await), ["worker-01"]);
    let (mut send, mut recv) = asks(&worker, StreamPurpose::Keeping).await;
    reply(&mut recv).await;
    send.send(&FilesReply::Lacking(vec![made().0.digest])).await.expect("it leaves");
    send.finish().await.expect("it leaves");
    soon("it is heard", async {
        while !names(client.task(TaskId::new(id.0, 0)).await).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}
