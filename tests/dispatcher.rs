//! What the dispatcher's shell promises, with real QUIC and real files: workers
//! and clients are played by the test (`dispatcher/stage.rs`).

#![cfg(feature = "node")]

#[path = "dispatcher/files.rs"]
mod files;
#[path = "dispatcher/stage.rs"]
mod stage;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use octaskly::model::handshake::{Credential, Intent, RefusalCode};
use octaskly::model::messages::WorkerMessage;
use octaskly::model::outcome::{OutputSummary, Unrepeatable};
use octaskly::model::requests::{FailureCode, Reply, Request, Submission};
use octaskly::model::selector::Selector;
use octaskly::model::{AttemptNo, ClientId, JobId, JobSpec, Outcome, SealedSpec, TaskId, TaskState};
use octaskly::node::{NodeError, dispatcher};
use octaskly::transport::{Alpn, CloseCode, LinkEnd, TransportError, hello};
use octaskly::trust::{Home, Identity, access};
use octaskly::wire::data::DataFrame;
use stage::{Answers, Client, Stage, array, greeting, inline, job, profile, refusal, run, soon, stdout};

fn task(job: JobId, index: u64) -> TaskId {
    TaskId::new(job.0, index)
}

async fn watch(client: &Client, job: JobId) -> Answers {
    client.open(Request::Watch(vec![job])).await
}

/// Waits for the end of `job`.
async fn wait(client: &Client, job: JobId) -> TaskState {
    let mut news = watch(client, job).await;
    let mut state = None;
    while let Some(reply) = news.next().await {
        match reply {
            Reply::Progress(jobs) => state = Some(jobs[0].state),
            other => panic!("a watch was answered by {other:?}"),
        }
    }
    state.expect("a last word")
}

// ---- submissions and results ----

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_submission_survives_an_abrupt_end() {
    let mut stage = Stage::open().await;
    let client = stage.client().await;
    let mut submitted = Vec::new();
    for _ in 0..50 {
        submitted.push(client.submit(job("true")).await);
    }
    stage.kill_and_restart().await;
    let client = stage.client().await;
    let there: Vec<JobId> = client.jobs().await.iter().rev().map(|view| view.job).collect();
    assert_eq!(there.len(), 50);
    assert!(submitted.iter().all(|job| there.contains(job)), "every acknowledged job is there, none twice");
}

/// How much a cancel, retry or forget changed.
fn changed(reply: Reply) -> u64 {
    match reply {
        Reply::Changed(changes) => changes.affected,
        other => panic!("nothing was changed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_makes_one_job_also_after_a_restart() {
    let mut stage = Stage::open().await;
    let identity = Identity::ephemeral().expect("a key");
    let secret = Credential::Access(stage.access().secret);
    let client = stage.try_client(&identity, secret).await.expect("let in");
    let first = client.submit_as(job("true"), "once").await;
    assert_eq!(client.submit_as(job("true"), "once").await, first);
    stage.kill_and_restart().await;
    let client = stage.try_client(&identity, Credential::None).await.expect("its key is known");
    assert_eq!(client.submit_as(job("true"), "once").await, first);
    assert_eq!(client.jobs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_assigned_run_and_recorded_and_a_watch_ends_with_its_job() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(job("true")).await;
    let waiting = wait(&client, id);
    let working = async {
        let assignment = worker.starts().await;
        assert_eq!(assignment.task, task(id, 0));
        worker.ends_with(&assignment, Outcome::Exited(0), inline(b"hello\n")).await;
        worker.is_thanked_for(&assignment).await;
    };
    let (state, ()) = tokio::join!(waiting, working);
    assert_eq!(state, TaskState::Succeeded);
    let view = client.task(task(id, 0)).await;
    assert_eq!(view.state, TaskState::Succeeded);
    assert_eq!(view.attempts[0].worker.as_str(), "worker-01");
    assert_eq!(client.logs(Selector::job(id), false).await, (b"hello\n".to_vec(), vec![]));
    // A watch of what has ended says so at once.
    assert_eq!(wait(&client, id).await, TaskState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_job_that_is_not_there_fails() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    match watch(&client, JobId(7)).await.next().await {
        Some(Reply::Failed(failure)) => assert_eq!(failure.code, FailureCode::NotFound),
        other => panic!("the watch was answered by {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_queue_and_the_worker_finishes_what_it_holds() {
    let mut stage = Stage::open().await;
    let identity = Identity::ephemeral().expect("a key");
    let mut worker = stage.try_worker(&identity, "worker-01").await.expect("let in");
    let client = stage.client().await;
    let id = client.submit(job("sleep 1")).await;
    let assignment = worker.starts().await;
    // The dispatcher has heard of the start when it answers the next thing on this link.
    worker.says(WorkerMessage::Heartbeat { sequence: 1 }).await;
    stage.kill_and_restart().await;

    let (_endpoint, link) = stage.dial(&identity, Alpn::Worker).await.expect("connects");
    let secret = Credential::Access(stage.access().secret);
    let (_, mut send, _recv) =
        hello(&link, &greeting(7, Intent::Worker(profile("worker-01")), secret)).await.expect("let in");
    let held = octaskly::model::messages::HeldAttempt {
        id: assignment.id(),
        fence: assignment.fence,
        started_at: None,
        gpus: Vec::new(),
        ended: false,
    };
    send.send(&WorkerMessage::Holding(vec![held])).await.expect("says what it holds");
    let ended = octaskly::model::messages::EndedAttempt {
        id: assignment.id(),
        fence: assignment.fence,
        report: octaskly::model::AttemptReport {
            outcome: Outcome::Exited(0),
            started_at: None,
            ended_at: octaskly::model::Timestamp(1),
            peak_memory_bytes: 0,
            output: OutputSummary::default(),
            files: None,
        },
    };
    send.send(&WorkerMessage::Ended(vec![ended])).await.expect("says how it ended");
    let client = stage.client().await;
    assert_eq!(wait(&client, id).await, TaskState::Succeeded);
    assert_eq!(client.task(task(id, 0)).await.attempts.len(), 1, "nothing was repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_retry_and_forget_reach_the_queue_and_the_store() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let id = client.submit(array(1000)).await;
    assert_eq!(changed(client.cancel(id).await), 1000);
    assert_eq!(wait(&client, id).await, TaskState::Cancelled);
    let what = Selector::job(id);
    let retried = client.ask(Request::Retry { what: what.clone(), failed_only: false }).await;
    assert_eq!(changed(retried), 1000);
    match client.ask(Request::Forget(what.clone())).await {
        Reply::Failed(failure) => assert_eq!(failure.code, FailureCode::Conflict),
        other => panic!("an active job was forgotten: {other:?}"),
    }
    client.cancel(id).await;
    assert_eq!(changed(client.ask(Request::Forget(what)).await), 1);
    assert!(client.jobs().await.is_empty());
}

// ---- who may do what ----

#[tokio::test(flavor = "multi_thread")]
async fn an_unenrolled_client_is_refused_at_once_with_a_hint() {
    let stage = Stage::open().await;
    let stranger = Identity::ephemeral().expect("a key");
    let refused = refusal(stage.try_client(&stranger, Credential::None).await);
    assert_eq!(refused.code, RefusalCode::NotEnrolled);
    assert!(refused.hint.is_some());
    let refused = refusal(stage.try_client(&stranger, Credential::Access([9; 32])).await);
    assert_eq!(refused.code, RefusalCode::BadCredential);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolled_client_needs_no_secret_any_more() {
    let mut stage = Stage::open().await;
    let identity = Identity::ephemeral().expect("a key");
    let secret = Credential::Access(stage.access().secret);
    let client = stage.try_client(&identity, secret).await.expect("let in");
    let id = client.submit(job("true")).await;
    stage.kill_and_restart().await;
    let client = stage.try_client(&identity, Credential::None).await.expect("its key is known");
    assert_eq!(client.jobs().await[0].job, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_key_cannot_submit() {
    let stage = Stage::open().await;
    let identity = Identity::ephemeral().expect("a key");
    let _worker = stage.try_worker(&identity, "worker-01").await.expect("let in");
    let refused = refusal(stage.try_client(&identity, Credential::None).await);
    assert!(matches!(refused.code, RefusalCode::WrongRole | RefusalCode::NotEnrolled), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_asks_like_a_client_loses_its_link() {
    let stage = Stage::open().await;
    let mut worker = stage.worker("worker-01").await;
    let submission = Submission { spec: SealedSpec::seal(job("true")), idempotency_key: "x".to_owned(), strict: false };
    worker.send.send(&Request::Submit(submission)).await.expect("the request leaves");
    soon("the link to be closed", worker.link.closed()).await;
    assert!(stage.client().await.jobs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_for_another_purpose_than_the_connection_is_refused() {
    let stage = Stage::open().await;
    let secret = Credential::Access(stage.access().secret);
    for (alpn, intent) in [(Alpn::Worker, Intent::Client), (Alpn::Client, Intent::Worker(profile("x")))] {
        let identity = Identity::ephemeral().expect("a key");
        let (_endpoint, link) = stage.dial(&identity, alpn).await.expect("connects");
        let refused = refusal(hello(&link, &greeting(1, intent, secret.clone())).await);
        assert_eq!(refused.code, RefusalCode::Malformed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_worker_is_refused_and_admitted_when_a_place_is_free() {
    let stage = Stage::open().await;
    let mut workers = Vec::new();
    for number in 1..=10 {
        workers.push(stage.worker(&format!("w{number}")).await);
    }
    let eleventh = Identity::ephemeral().expect("a key");
    let refused = refusal(stage.try_worker(&eleventh, "w11").await);
    assert_eq!(refused.code, RefusalCode::TooManyWorkers);
    assert!(refused.code.is_temporary());
    let mut leaving = workers.pop().expect("ten workers");
    leaving.says(WorkerMessage::Stopping).await;
    drop(leaving);
    soon("a free place", async {
        while stage.try_worker(&eleventh, "w11").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unnamed_workers_get_the_smallest_free_numbers() {
    let stage = Stage::open().await;
    let first = stage.worker("").await;
    let second = stage.worker("").await;
    assert_eq!([first.welcome.name.as_str(), second.welcome.name.as_str()], ["worker-1", "worker-2"]);
    let client = stage.client().await;
    match client.ask(Request::Workers).await {
        Reply::Workers(workers) => {
            assert_eq!(workers.len(), 2);
            assert!(workers.iter().all(|worker| worker.address.is_some() && worker.latency_us.is_some()));
        }
        other => panic!("the roster was answered by {other:?}"),
    }
}

// ---- starting and stopping ----

#[tokio::test(flavor = "multi_thread")]
async fn the_access_file_is_private_and_goes_with_a_clean_stop() {
    let mut stage = Stage::open().await;
    let home = Home::locate(Some(stage.options().home)).expect("a home");
    let path = home.access_file();
    let mode = std::fs::metadata(&path).expect("the access file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(access::read(&path).expect("reads").expect("is there"), stage.access());
    stage.stop().await.expect("stops");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_dispatcher_of_the_same_home_is_refused_by_name() {
    let stage = Stage::open().await;
    match dispatcher::start(stage.options()).await.err() {
        Some(error @ NodeError::DispatcherRuns { .. }) => assert!(error.hint().is_some()),
        other => panic!("the second one got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_dispatcher_on_the_same_port_is_told_to_try_another() {
    let stage = Stage::open().await;
    let other = tempfile::tempdir().expect("a folder");
    let mut options = dispatcher::DispatcherOptions::loopback(other.path().join("home"));
    options.port = stage.running().local_addr().port();
    match dispatcher::start(options).await.err() {
        Some(error @ NodeError::Transport(TransportError::PortInUse(_))) => {
            assert_eq!(error.hint().as_deref(), Some("another dispatcher? try --port"));
        }
        other => panic!("the second one got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_others_may_read_is_refused_with_the_command_to_type() {
    let place = tempfile::tempdir().expect("a folder");
    let home = place.path().join("home");
    std::fs::create_dir_all(home.join("dispatcher")).expect("a folder");
    std::fs::set_permissions(home.join("dispatcher"), std::fs::Permissions::from_mode(0o755)).expect("is loosened");
    let error = dispatcher::start(dispatcher::DispatcherOptions::loopback(home)).await.err().expect("is refused");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("chmod 700 ")), "{error}: {:?}", error.hint());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_seconds_at_most_though_no_peer_says_a_word() {
    let mut stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(run("cat")).await;
    let _assignment = worker.starts().await;
    let _attached = client.attach(task(id, 0), 0).await;
    let _watching = watch(&client, id).await;
    tokio::time::timeout(Duration::from_secs(5), stage.stop()).await.expect("in time").expect("cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_learn_that_the_dispatcher_is_stopping_and_a_watch_is_not_said_to_be_over() {
    let mut stage = Stage::open().await;
    let client = stage.client().await;
    let id = client.submit(job("true")).await;
    let mut news = watch(&client, id).await;
    assert!(matches!(news.next().await, Some(Reply::Progress(_))));
    let (stopped, next) =
        tokio::join!(stage.stop(), soon("the end", news.recv.recv::<Reply>(octaskly::model::limits::MAX_FRAME)));
    stopped.expect("stops");
    assert!(next.is_err(), "a watch that was cut off looks finished: {next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_no_messages_is_cut_off_and_holds_up_nobody() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("deaf").await;
    let end = worker.link.clone();
    let shouting = async {
        // Each is answered by an echo that nobody reads.
        for sequence in 0.. {
            if worker.send.send(&WorkerMessage::Heartbeat { sequence }).await.is_err() {
                break;
            }
        }
    };
    let submitting = async {
        for _ in 0..20 {
            client.submit(job("true")).await;
        }
    };
    tokio::join!(soon("the deaf worker to be cut off", shouting), submitting);
    // The goodbye may drown in what the worker shouts; then the next packet is answered by a reset.
    let end = end.closed().await;
    assert!(matches!(end, LinkEnd::ByPeer { code: CloseCode::TooSlow, .. } | LinkEnd::Reset), "{end}");
}

// ---- output ----

#[tokio::test(flavor = "multi_thread")]
async fn a_runs_output_and_input_pass_through() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(run("cat")).await;
    let mut attached = client.attach(task(id, 0), 0).await;
    let assignment = worker.starts().await;
    let mut stream = worker.opens(assignment.id(), 0).await;
    assert_eq!(attached.frame().await, Some(DataFrame::AttemptBegins { attempt: AttemptNo(1), from: 0 }));
    assert_eq!(attached.frame().await, Some(DataFrame::Ack { received: 0 }), "the worker's first word");
    attached.says(DataFrame::Stdin(b"typed"[..].into())).await;
    attached.says(DataFrame::StdinEnd).await;
    assert_eq!(stream.frame().await, Some(DataFrame::Stdin(b"typed"[..].into())));
    assert_eq!(stream.frame().await, Some(DataFrame::StdinEnd));
    stream.says(stdout(b"typed")).await;
    stream.says(DataFrame::End).await;
    worker.ends_with(&assignment, Outcome::Exited(0), inline(b"typed")).await;
    assert_eq!(attached.output().await.0, b"typed");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_of_a_task_that_was_faster_than_its_stream_comes_from_its_result() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(run("echo hi")).await;
    let mut attached = client.attach(task(id, 0), 0).await;
    let assignment = worker.starts().await;
    worker.ends_with(&assignment, Outcome::Exited(0), inline(b"hi\n")).await;
    assert_eq!(attached.output().await.0, b"hi\n");
    // And for a client that comes after everything is over.
    assert_eq!(stage.client().await.attach(task(id, 0), 0).await.output().await.0, b"hi\n");
    assert_eq!(stage.client().await.attach(task(id, 0), 1).await.output().await.0, b"i\n", "it has one byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_where_its_client_is_after_either_side_came_back() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(run("x")).await;
    let mut attached = client.attach(task(id, 0), 0).await;
    let assignment = worker.starts().await;
    let mut stream = worker.opens(assignment.id(), 0).await;
    stream.says(stdout(b"0123")).await;
    assert_eq!(attached.stdout(4).await, b"0123");
    // The worker's stream breaks; the new one begins at what was acknowledged, which is less.
    drop(stream);
    let mut stream = worker.opens(assignment.id(), 2).await;
    stream.says(stdout(b"2345")).await;
    assert_eq!(attached.stdout(2).await, b"45");
    // The client comes back with five of six bytes.
    drop(attached);
    let second = stage.client().await;
    let mut attached = second.attach(task(id, 0), 5).await;
    assert!(soon("the worker's stream to break", stream.recv.recv_data()).await.is_err());
    let mut stream = worker.opens(assignment.id(), 4).await;
    stream.says(stdout(b"4567")).await;
    assert_eq!(stream.frame().await, Some(DataFrame::Ack { received: 5 }), "the worker may forget what the client has");
    assert_eq!(attached.stdout(3).await, b"567");
    attached.says(DataFrame::Ack { received: 8 }).await;
    assert_eq!(stream.frame().await, Some(DataFrame::Ack { received: 8 }));
    stream.says(DataFrame::End).await;
    worker.ends_with(&assignment, Outcome::Exited(0), inline(b"01234567")).await;
    assert_eq!(attached.output().await.0, b"");
}

/// A `run` with two retries after no wait.
fn retried() -> JobSpec {
    let mut spec = run("x");
    spec.retry.limit = Some(2);
    spec.retry.backoff.min = octaskly::model::Millis(1);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_a_retried_run_is_told_whose_output_it_gets() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(retried()).await;
    let mut attached = client.attach(task(id, 0), 0).await;
    for (number, outcome, text) in [(1, Outcome::Exited(1), b"first."), (2, Outcome::Exited(1), b"second")] {
        let assignment = worker.starts().await;
        let mut stream = worker.opens(assignment.id(), 0).await;
        stream.says(stdout(text)).await;
        let begins = DataFrame::AttemptBegins { attempt: AttemptNo(number), from: 0 };
        while attached.frame().await.expect("the stream stands") != begins {}
        assert_eq!(attached.stdout(6).await, text);
        stream.says(DataFrame::End).await;
        worker.ends_with(&assignment, outcome, inline(text)).await;
    }
    // The last one writes nothing, and is told all the same.
    let assignment = worker.starts().await;
    worker.ends_with(&assignment, Outcome::Exited(0), Default::default()).await;
    let last = DataFrame::AttemptBegins { attempt: AttemptNo(3), from: 0 };
    while attached.frame().await.expect("what was held is void") != last {}
    assert_eq!(attached.output().await.0, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_was_given_beyond_what_it_holds_or_has_read_beyond_what_it_sends_again_is_not_repeated() {
    let held = vec![7; 64 * 1024];
    let frames = octaskly::model::limits::HELD_OUTPUT as usize / held.len();
    for (output, stdin, why) in [
        (frames + 1, &b"1234"[..], Some(Unrepeatable::OutputPassedOn)),
        (frames, &b"12345"[..], Some(Unrepeatable::StdinConsumed)),
        (frames, &b"1234"[..], None),
    ] {
        let stage = Stage::open().await;
        let client = stage.client().await;
        let mut worker = stage.worker("worker-01").await;
        let id = client.submit(retried()).await;
        let mut attached = client.attach(task(id, 0), 0).await;
        let assignment = worker.starts().await;
        let mut stream = worker.opens(assignment.id(), 0).await;
        for _ in 0..output {
            stream.says(stdout(&held)).await;
            attached.stdout(held.len()).await;
        }
        attached.says(DataFrame::Stdin(stdin.into())).await;
        assert_eq!(stream.frame().await, Some(DataFrame::Stdin(stdin.into())));
        worker.ends_with(&assignment, Outcome::Exited(1), Default::default()).await;
        match why {
            None => assert_eq!(worker.starts().await.attempt, AttemptNo(2)),
            Some(why) => {
                assert_eq!(wait(&client, id).await, TaskState::Failed);
                let view = client.task(task(id, 0)).await;
                assert_eq!((view.attempts[0].unrepeatable, view.attempts.len()), (Some(why), 1));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_of_an_attempt_that_others_follow_does_not_reach_the_client() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let mut spec = retried();
    // Shown as it is written: the client holds nothing.
    spec.retry.limit = Some(0);
    let id = client.submit(spec).await;
    let mut attached = client.attach(task(id, 0), 0).await;
    let first = worker.starts().await;
    worker.ends_with(&first, Outcome::Lost, Default::default()).await;
    let second = worker.starts().await;
    let mut late = worker.opens(first.id(), 0).await;
    let _ = late.send.send_data(&stdout(b"of the first")).await;
    let _ = soon("the late stream to be left", late.recv.recv_data()).await;
    let mut stream = worker.opens(second.id(), 0).await;
    stream.says(stdout(b"of the second")).await;
    stream.says(DataFrame::End).await;
    worker.ends_with(&second, Outcome::Exited(0), inline(b"of the second")).await;
    let mut shown = Vec::new();
    while let Some(frame) = attached.frame().await.filter(|frame| *frame != DataFrame::End) {
        if let DataFrame::Output { bytes, .. } = frame {
            shown.extend_from_slice(&bytes);
        }
    }
    assert_eq!(shown, b"of the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_client_learns_of_a_task_that_ends_without_ever_running() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let id = client.submit(run("x")).await;
    let mut attached = client.attach(task(id, 0), 0).await;
    client.cancel(id).await;
    assert_eq!(attached.output().await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_attached_to_a_task_that_was_only_submitted() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let id = client.submit(job("true")).await;
    let (task, client_id) = (task(id, 0), ClientId(1));
    let attach = Request::Attach { task, client: client_id, takes_over: false, received: None, resends: 0 };
    match client.ask(attach).await {
        Reply::Failed(failure) => assert_eq!(failure.code, FailureCode::Conflict),
        other => panic!("the attach was answered by {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cannot_write_into_a_task_of_another() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut honest = stage.worker("honest").await;
    let id = client.submit(run("x")).await;
    let mut attached = client.attach(task(id, 0), 0).await;
    let assignment = honest.starts().await;
    let thief = stage.worker("thief").await;
    let mut stolen = thief.opens(assignment.id(), 0).await;
    let _ = stolen.send.send_data(&stdout(b"lies")).await;
    assert!(soon("the stream to be closed", stolen.recv.recv_data()).await.is_ok_and(|frame| frame.is_none()));
    let mut stream = honest.opens(assignment.id(), 0).await;
    stream.says(stdout(b"truth")).await;
    stream.says(DataFrame::End).await;
    honest.ends_with(&assignment, Outcome::Exited(0), inline(b"truth")).await;
    assert_eq!(attached.output().await.0, b"truth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_kept_as_a_file_read_back_and_removed_with_its_job() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(job("seq")).await;
    let assignment = worker.starts().await;
    let text: Vec<u8> = (0..300_000_u32).flat_map(|number| number.to_be_bytes()).collect();
    let output = worker.uploads(assignment.id(), &text).await;
    worker.ends_with(&assignment, Outcome::Exited(0), output).await;
    assert_eq!(wait(&client, id).await, TaskState::Succeeded);
    assert!(client.logs(Selector::job(id), false).await.0 == text, "the log is what was uploaded");

    let folder = stage.options().home.join(format!("dispatcher/logs/{id}"));
    assert!(folder.join("0.1.log").is_file());
    assert_eq!(changed(client.ask(Request::Forget(Selector::job(id))).await), 1);
    soon("the log to be removed", async {
        while folder.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_is_told_as_that_and_leaves_the_link_as_it_is() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(job("seq")).await;
    let assignment = worker.starts().await;
    let output = worker.uploads(assignment.id(), &vec![7; 100_000]).await;
    worker.ends_with(&assignment, Outcome::Exited(0), output).await;
    assert_eq!(wait(&client, id).await, TaskState::Succeeded);
    let log = stage.options().home.join(format!("dispatcher/logs/{id}/0.1.log"));
    std::fs::remove_file(&log).expect("it was there");
    std::fs::create_dir(&log).expect("what is no log takes its place");

    let request = octaskly::model::requests::LogRequest { of: Selector::job(id), follow: false, attempt: None };
    let mut logs = client.open(Request::Logs(request)).await;
    assert_eq!(logs.next().await, Some(Reply::Streaming));
    while logs.frame().await.expect("the stream stands") != DataFrame::Fails {}
    let Some(Reply::Failed(failure)) = logs.next().await else { panic!("it is not told why") };
    assert!(failure.text.contains("read"), "{}", failure.text);
    assert_eq!(wait(&client, id).await, TaskState::Succeeded, "the client asks on over the same link");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_a_log_passes_from_the_running_task_to_its_stored_output() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(job("x")).await;
    let following = client.logs(Selector::job(id), true);
    let working = async {
        let assignment = worker.starts().await;
        let (read, mut stream) = worker.is_read().await;
        assert_eq!(read, assignment.id());
        stream.says(stdout(b"live, ")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        worker.ends_with(&assignment, Outcome::Exited(0), inline(b"live, stored")).await;
    };
    let ((out, _), ()) = tokio::join!(following, working);
    assert_eq!(out, b"live, stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_several_tasks_say_whose_they_are() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut worker = stage.worker("worker-01").await;
    let id = client.submit(array(3)).await;
    for _ in 0..3 {
        let assignment = worker.starts().await;
        let text = format!("task {}", assignment.task.index.0);
        worker.ends_with(&assignment, Outcome::Exited(0), inline(text.as_bytes())).await;
    }
    assert_eq!(wait(&client, id).await, TaskState::Succeeded);
    let request = octaskly::model::requests::LogRequest { of: Selector::job(id), follow: false, attempt: None };
    let mut logs = client.open(Request::Logs(request)).await;
    assert_eq!(logs.next().await, Some(Reply::Streaming));
    for index in 1..=3 {
        assert_eq!(logs.frame().await, Some(DataFrame::TaskBegins(task(id, index))));
        assert_eq!(logs.frame().await, Some(stdout(format!("task {index}").as_bytes()).into_owned()));
    }
    assert_eq!(logs.frame().await, Some(DataFrame::End));
}
