//! Who gets in and who does not, with real QUIC: the approval by code between
//! real workers and a real dispatcher, with liars between and beside them;
//! tokens; and revocation.
//!
//! The bodies speak the language of `dispatcher/stage.rs` and `join/cast.rs`.
//! What the engine decides alone is tested there, the proofs in `trust::code`.

#![cfg(all(feature = "node", target_os = "linux"))]

#[path = "join/cast.rs"]
mod cast;
#[allow(dead_code, reason = "most of it is for dispatcher.rs")]
#[path = "dispatcher/stage.rs"]
mod stage;

use std::time::Duration;

use cast::{Asking, Joiner, Machine, failure};
use octaskly::model::handshake::{Credential, Intent, RefusalCode, Waiting};
use octaskly::model::limits::{MAX_FRAME_UNAUTHENTICATED, PROTOCOL_VERSION};
use octaskly::model::requests::{FailureCode, NodeKind, Reply, Request};
use octaskly::model::trust::{JoinNews, JoinReply};
use octaskly::model::views::WorkerState;
use octaskly::model::{Millis, Role, TaskState};
use octaskly::node::NodeError;
use octaskly::transport::{Alpn, CloseCode, Endpoint, LinkEnd, TransportError, hello};
use octaskly::trust::code::{EXPORTER_LABEL, Joining, Side};
use octaskly::trust::{ApprovalCode, Identity};
use stage::{Client, Stage, greeting, job, refusal, soon};

const HOUR: Millis = Millis::from_secs(3600);

fn key() -> Identity {
    Identity::ephemeral().expect("a key")
}

/// Waits for the end of a job.
async fn outcome(client: &Client, command: &str) -> TaskState {
    let job = client.submit(job(command)).await;
    let mut news = client.open(Request::Watch(vec![job])).await;
    let mut state = None;
    while let Some(Reply::Progress(jobs)) = news.next().await {
        state = Some(jobs[0].state);
    }
    state.expect("a last word")
}

// ---- the approval by code ----

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_code_is_typed_works_at_once_and_is_asked_nothing_at_its_next_start() {
    let Asking { stage, admin, machine, worker, asked } = Asking::scene().await;
    assert_eq!(asked.line(), format!("octaskly approve b {}", asked.code));
    let pending = admin.sees("b", WorkerState::Pending).await;
    let shown = admin.workers().await;
    assert!(shown[0].address.as_ref().is_some_and(|at| at.starts_with("127.0.0.1:")), "{shown:?}");
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    let enrolled = admin.sees("b", WorkerState::Idle).await;
    assert_eq!(pending, enrolled);
    assert_eq!(outcome(&admin, "true").await, TaskState::Succeeded);
    worker.stops().await;

    let mut worker = machine.worker("b", stage.address());
    assert_eq!(admin.sees("b", WorkerState::Idle).await, enrolled);
    assert!(!worker.has_asked());
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_wrong_codes_burn_the_right_one_and_the_worker_shows_another() {
    let Asking { stage: _stage, admin, machine, mut worker, asked } = Asking::scene().await;
    let wrong = "aaaa-aaaa-aaaa-aaaa";
    for left in ["(2 tries left)", "(1 try left)", "last try"] {
        let failure = failure(admin.approve_as("b", wrong).await);
        assert_eq!(failure.code, FailureCode::Conflict);
        assert!(failure.text.contains("not the code that b shows") && failure.text.contains(left), "{failure:?}");
    }
    let next = worker.asks().await;
    assert_ne!(next.code, asked.code);
    admin.sees("b", WorkerState::Pending).await;
    let failure = failure(admin.approve(&asked).await);
    assert!(failure.text.contains("(2 tries left)"), "the burnt code is a wrong one: {failure:?}");
    assert!(!machine.pin("b").exists());
    assert_eq!(admin.approve(&next).await, Reply::Done { affected: 1 });
    admin.sees("b", WorkerState::Idle).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_code_or_names_nobody_costs_no_try() {
    let Asking { stage: _stage, admin, machine: _machine, worker, asked } = Asking::scene().await;
    for _ in 0..5 {
        assert_eq!(failure(admin.approve_as("b", "abcd").await).code, FailureCode::Invalid);
        assert_eq!(failure(admin.approve_as("c", &asked.code).await).code, FailureCode::NotFound);
    }
    // As people type: any case, no dashes.
    let typed = asked.code.replace('-', " ").to_ascii_uppercase();
    assert_eq!(admin.approve_as("b", &typed).await, Reply::Done { affected: 1 });
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_approves() {
    let Asking { stage, admin, machine: _machine, worker, asked } = Asking::scene().await;
    let (token, _) = admin.token(Role::Client, 1, HOUR).await;
    let client = client_with(&stage, &key(), &token).await.expect("let in");
    let failure = failure(client.approve(&asked).await);
    assert_eq!(failure.code, FailureCode::Forbidden);
    assert!(failure.text.contains("only an admin may"), "{failure:?}");
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_in_the_middle_makes_the_right_code_a_wrong_one_on_both_sides() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let identity = key();
    let address = "127.0.0.1:0".parse().expect("an address");
    let endpoint = Endpoint::bind(&identity, address, &[Alpn::Join]).expect("a socket");
    let between = endpoint.local_addr();
    let real = stage.address();
    let relay = tokio::spawn(async move {
        let incoming = endpoint.accept().await.expect("the worker comes");
        let mut forward = Joiner::at(real, &identity, "b").await.expect("it may wait");
        let (link, mut send, mut recv) = incoming.hold(forward.waiting.clone()).await.expect("held");
        loop {
            let news = forward.hears().await;
            send.send(&news).await.expect("passed on");
            let Ok(Some(reply)) = recv.recv::<JoinReply>(MAX_FRAME_UNAUTHENTICATED).await else { break };
            let was_wrong = matches!(reply, JoinReply::WrongCode { .. });
            forward.says(reply).await;
            assert!(was_wrong, "the worker believed somebody in the middle");
        }
        drop((link, endpoint));
    });
    let machine = Machine::new();
    let mut worker = machine.worker("b", between);
    let asked = worker.asks().await;
    admin.sees("b", WorkerState::Pending).await;
    let failure = failure(admin.approve(&asked).await);
    assert_eq!(failure.code, FailureCode::Conflict);
    assert!(!machine.pin("b").exists(), "the worker believes nobody");
    assert!(admin.workers().await.iter().all(|view| view.state == WorkerState::Pending), "nobody is enrolled");
    relay.abort();
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_believes_no_dispatcher_that_does_not_know_its_code() {
    let address = "127.0.0.1:0".parse().expect("an address");
    let fake = Endpoint::bind(&key(), address, &Alpn::ALL).expect("a socket");
    let machine = Machine::new();
    let mut worker = machine.worker("b", fake.local_addr());
    let incoming = soon("the worker", fake.accept()).await.expect("it comes");
    assert_eq!(incoming.hello.credential, Credential::None, "it says nothing secret");
    let waiting =
        Waiting { protocol: PROTOCOL_VERSION, software: "1.0.0".to_owned(), name: "b".parse().expect("a name") };
    let (_link, mut send, mut recv) = incoming.hold(waiting).await.expect("held");
    let asked = worker.asks().await;
    for left in [2, 1, 0] {
        send.send(&JoinNews::Proof([left; 32])).await.expect("said");
        let reply = recv.recv::<JoinReply>(MAX_FRAME_UNAUTHENTICATED).await.expect("an answer");
        assert_eq!(reply, Some(JoinReply::WrongCode { left }));
    }
    assert!(!machine.pin("b").exists());
    // "You are in" without a proof makes no difference either.
    let incoming = soon("the worker", fake.accept()).await.expect("it comes again");
    let waiting =
        Waiting { protocol: PROTOCOL_VERSION, software: "1.0.0".to_owned(), name: "b".parse().expect("a name") };
    let (_link, mut send, _recv) = incoming.hold(waiting).await.expect("held");
    assert_ne!(worker.asks().await.code, asked.code);
    send.send(&JoinNews::Enrolled).await.expect("said");
    let incoming = soon("the worker", fake.accept()).await.expect("it asks again");
    assert!(matches!(incoming.hello.intent, Intent::Join { .. }));
    assert!(!machine.pin("b").exists());
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_only_claims_to_know_the_code_is_not_let_in() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let identity = key();
    let mut liar = stage.joiner(&identity, "b").await.expect("it may wait");
    let code = ApprovalCode::generate().expect("a code");
    let typed = code.reveal();
    let approving = admin.approve_as("b", &typed);
    let lying = async {
        let JoinNews::Proof(proof) = liar.hears().await else { panic!("no proof") };
        liar.says(JoinReply::Proof(proof)).await;
        liar.link.closed().await
    };
    let (reply, end) = tokio::join!(approving, lying);
    assert_eq!(failure(reply).code, FailureCode::Conflict);
    assert!(matches!(end, LinkEnd::ByPeer { code: CloseCode::Refused, .. }), "{end:?}");
    assert!(admin.workers().await.is_empty());
    // And one that does know it is, by the same exchange.
    let mut honest = stage.joiner(&identity, "b").await.expect("it may wait");
    let joining = Joining {
        exporter: honest.link.exporter(EXPORTER_LABEL).expect("a value"),
        worker: identity.id(),
        dispatcher: honest.link.peer(),
        name: honest.waiting.name.clone(),
    };
    let approving = admin.approve_as("b", &typed);
    let proving = async {
        let JoinNews::Proof(proof) = honest.hears().await else { panic!("no proof") };
        assert!(code.verify(Side::Dispatcher, &joining, &proof));
        honest.says(JoinReply::Proof(code.prove(Side::Worker, &joining))).await;
        assert_eq!(honest.hears().await, JoinNews::Enrolled);
    };
    let (reply, ()) = tokio::join!(approving, proving);
    assert_eq!(reply, Reply::Done { affected: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_answered_within_five_seconds_also_when_the_worker_is_silent() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let silent = stage.joiner(&key(), "b").await.expect("it may wait");
    let code = "abcd-efgh-ijkl-mnop";
    let both = async { tokio::join!(admin.approve_as("b", code), admin.approve_as("b", code)) };
    let answered = tokio::time::timeout(Duration::from_secs(5), both).await;
    let (one, other) = answered.expect("both are answered in time");
    let texts = [failure(one).text, failure(other).text];
    assert!(texts.iter().any(|text| text.contains("b does not answer")), "{texts:?}");
    silent.link.closed().await;
    assert!(admin.workers().await.iter().all(|view| view.state != WorkerState::Pending));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_the_places_to_wait() {
    let stage = Stage::open().await;
    let mut waiting = Vec::new();
    for n in 0..8 {
        waiting.push(stage.joiner(&key(), &format!("w{n}")).await.expect("it may wait"));
    }
    assert_eq!(refusal(stage.joiner(&key(), "one-more").await).code, RefusalCode::TooManyJoining);
    // Work goes on, and a place that is left is free again.
    let _worker = stage.worker("a").await;
    waiting.pop();
    soon("a place", async {
        while stage.joiner(&key(), "one-more").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_under_the_name_of_a_live_worker_or_of_one_that_waits() {
    let stage = Stage::open().await;
    let worker = stage.worker("a").await;
    let refused = refusal(stage.joiner(&key(), "a").await);
    assert_eq!(refused.code, RefusalCode::NameTaken);
    assert!(refused.text.contains("another worker is called a"), "{refused:?}");
    let _waits = stage.joiner(&key(), "b").await.expect("it may wait");
    assert_eq!(refusal(stage.joiner(&key(), "b").await).code, RefusalCode::NameTaken);
    // A second live worker of the name, whatever it brings.
    assert_eq!(refusal(stage.try_worker(&key(), "a").await).code, RefusalCode::NameTaken);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_worker_keeps_its_code_when_the_dispatcher_is_started_again() {
    let mut stage = Stage::open().await;
    stage.keeps_its_address();
    let machine = Machine::new();
    let mut worker = machine.worker("b", stage.address());
    let asked = worker.asks().await;
    stage.stop().await.expect("a clean stop");
    stage.kill_and_restart().await;
    let admin = stage.client().await;
    admin.sees("b", WorkerState::Pending).await;
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    admin.sees("b", WorkerState::Idle).await;
    assert!(!worker.has_asked(), "it had nothing else to show");
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_worker_comes_back_to_a_dispatcher_that_was_killed() {
    let mut stage = Stage::open().await;
    stage.keeps_its_address();
    let admin = stage.client().await;
    let machine = Machine::new();
    let mut worker = machine.worker("b", stage.address());
    let asked = worker.asks().await;
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    // It heard that it is in, so that is on disk.
    admin.sees("b", WorkerState::Idle).await;
    stage.kill_and_restart().await;
    stage.client().await.sees("b", WorkerState::Idle).await;
    assert!(!worker.has_asked());
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_dispatcher_was_reinstalled_says_what_happened_and_both_ways_out() {
    let Asking { mut stage, admin, machine, worker, asked } = Asking::scene().await;
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    admin.sees("b", WorkerState::Idle).await;
    worker.stops().await;
    let address = stage.address();
    stage.stop().await.expect("a clean stop");
    drop(stage);

    let other = Stage::open_with(|options| options.port = address.port()).await;
    let error = machine.worker("b", address).ends().await.expect_err("it is another one");
    assert_eq!(
        error.to_string(),
        format!(
            "join: the dispatcher at {address} is not the one this worker was enrolled with: \
             it was reinstalled, or something else answers there"
        )
    );
    let hint = error.hint().expect("a way out");
    assert!(hint.contains("--token") && hint.contains(&machine.pin("b").display().to_string()), "{hint}");

    // Both ways out lead in.
    let admin = other.client().await;
    let (token, _) = admin.token(Role::Worker, 1, HOUR).await;
    let worker = machine.worker_with("b", address, Some(&token));
    admin.sees("b", WorkerState::Idle).await;
    worker.stops().await;
    std::fs::remove_file(machine.pin("b")).expect("there is a pin");
    let mut worker = machine.worker("b", address);
    let asked = worker.asks().await;
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    admin.sees("b", WorkerState::Idle).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_lost_its_store_is_asked_again_and_no_other() {
    let mut stage = Stage::open().await;
    stage.keeps_its_address();
    let machine = Machine::new();
    let mut worker = machine.worker("b", stage.address());
    let asked = worker.asks().await;
    assert_eq!(stage.client().await.approve(&asked).await, Reply::Done { affected: 1 });
    stage.client().await.sees("b", WorkerState::Idle).await;
    stage.stop().await.expect("a clean stop");
    let folder = stage.options().home.join("dispatcher");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("store.sqlite{suffix}")));
    }
    stage.kill_and_restart().await;
    let admin = stage.client().await;
    admin.sees("b", WorkerState::Pending).await;
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 }, "nobody has seen its code in vain");
    admin.sees("b", WorkerState::Idle).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_elsewhere_takes_up_with_a_dispatcher_of_its_own_home() {
    let elsewhere = Stage::open().await;
    let home = tempfile::tempdir().expect("a folder");
    let mut options = octaskly::node::worker::WorkerOptions::new(home.path().join("home"));
    options.name = Some("b".parse().expect("a name"));
    options.dispatcher.host = Some("127.0.0.1".to_owned());
    options.program = Some(env!("CARGO_BIN_EXE_octaskly").into());
    let (show, mut asks) = tokio::sync::mpsc::channel(4);
    options.show_approval = Some(show);
    options.dispatcher.port = Some(elsewhere.address().port());
    let shutdown = octaskly::node::Shutdown::new();
    let worker = tokio::spawn(octaskly::node::worker::run(options, shutdown.clone()));
    soon("it asks elsewhere", asks.recv()).await.expect("it runs");
    let mut elsewhere = elsewhere;
    let port = elsewhere.address().port();
    elsewhere.stop().await.expect("a clean stop");
    drop(elsewhere);
    let own = Stage::open_with(|options| (options.home, options.port) = (home.path().join("home"), port)).await;
    own.client().await.sees("b", WorkerState::Idle).await;
    assert!(asks.try_recv().is_err(), "nobody was asked to approve it");
    shutdown.raise();
    soon("its end", worker).await.expect("no panic").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_a_cluster_that_serves_one_run() {
    let stage = Stage::open_with(|options| options.embedded = true).await;
    let joined = stage.joiner(&key(), "b").await;
    assert!(matches!(joined.err(), Some(TransportError::NotOffered { .. })));
}

// ---- clients without enrolment ----

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_no_dispatcher_is_refused_at_once() {
    let stage = Stage::open().await;
    let endpoint = Endpoint::bind(&key(), "127.0.0.1:0".parse().expect("an address"), &[]).expect("a socket");
    let link = endpoint.connect_join(stage.address(), None).await.expect("connects");
    let greeting = greeting(1, Intent::Client, Credential::None);
    let asked = hello(&link, &greeting);
    let refused = refusal(tokio::time::timeout(Duration::from_secs(1), asked).await.expect("at once"));
    assert_eq!(refused.code, RefusalCode::NotEnrolled);
    assert!(refused.hint.is_some_and(|hint| hint.contains("--token")));
}

// ---- tokens ----

async fn client_with(
    stage: &Stage,
    identity: &Identity,
    token: &str,
) -> Result<Client, octaskly::transport::TransportError> {
    let token: octaskly::trust::TokenText = token.parse().expect("a token");
    stage.try_client(identity, token.credential()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_a_worker_in_without_a_question_and_it_comes_back_without_the_token() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let (token, id) = admin.token(Role::Worker, 1, HOUR).await;
    let machine = Machine::new();
    let mut worker = machine.worker_with("b", stage.address(), Some(&token));
    admin.sees("b", WorkerState::Idle).await;
    assert!(!worker.has_asked());
    worker.stops().await;
    let worker = machine.worker_with("b", stage.address(), Some(&token));
    admin.sees("b", WorkerState::Idle).await;
    worker.stops().await;
    assert_eq!(admin.ask(Request::RevokeToken(id)).await, Reply::Done { affected: 1 });
    let worker = machine.worker("b", stage.address());
    admin.sees("b", WorkerState::Idle).await;
    worker.stops().await;
    // Used up and taken back: nobody else comes in by it.
    let error = Machine::new().worker_with("c", stage.address(), Some(&token)).ends().await.expect_err("refused");
    assert!(matches!(&error, NodeError::Refused(refusal) if refusal.code == RefusalCode::BadCredential), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_dispatcher_is_shown_to_nobody() {
    let stage = Stage::open().await;
    let other = Stage::open().await;
    let (token, _) = other.client().await.token(Role::Worker, 1, HOUR).await;
    let error = Machine::new().worker_with("b", stage.address(), Some(&token)).ends().await.expect_err("not there");
    assert!(matches!(error, NodeError::OtherDispatcher { pin: None, .. }), "{error}");
    let views = match other.client().await.ask(Request::Tokens).await {
        Reply::Tokens(views) => views,
        reply => panic!("{reply:?}"),
    };
    assert_eq!(views[0].used, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_longer_good_says_why() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let refused = async |token: &str| refusal(client_with(&stage, &key(), token).await);
    let (used, _) = admin.token(Role::Client, 1, HOUR).await;
    let first = key();
    drop(client_with(&stage, &first, &used).await.expect("let in"));
    drop(client_with(&stage, &first, &used).await.expect("the same key again"));
    assert!(refused(&used).await.text.contains("used up"));
    let (revoked, id) = admin.token(Role::Client, 1, HOUR).await;
    admin.ask(Request::RevokeToken(id)).await;
    assert!(refused(&revoked).await.text.contains("revoked"));
    let (expired, _) = admin.token(Role::Client, 1, Millis::from_secs(1)).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(refused(&expired).await.text.contains("expired"));
    let dispatcher = stage.running().node_id();
    let altered = octaskly::trust::TokenText::with_secret(dispatcher, [7; 16]).reveal();
    assert!(refused(&altered).await.text.contains("no such token"));
    let (workers, _) = admin.token(Role::Worker, 1, HOUR).await;
    let wrong = refused(&workers).await;
    assert_eq!(wrong.code, RefusalCode::WrongRole);
    assert!(wrong.text.contains("for a worker"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_role_is_all_that_its_bearer_may_do() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let (token, _) = admin.token(Role::Client, 2, HOUR).await;
    let identity = key();
    let client = client_with(&stage, &identity, &token).await.expect("let in");
    client.submit(job("true")).await;
    let name = || "b".parse().expect("a name");
    let forbidden = [
        Request::Approve { name: name(), code: "abcd-efgh-ijkl-mnop".to_owned() },
        Request::Revoke { name: name(), kind: None },
        Request::Clients,
        Request::CreateToken { role: Role::Admin, name: None, uses: 1, lifetime: HOUR },
        Request::Tokens,
        Request::RevokeToken("aaaaaaaa".parse().expect("an id")),
        Request::Drain(name()),
        Request::Resume(name()),
    ];
    for request in forbidden {
        let failure = failure(client.ask(request.clone()).await);
        assert_eq!(failure.code, FailureCode::Forbidden, "{request:?}");
        assert!(failure.text.starts_with("only an admin may"), "{request:?}: {failure:?}");
    }
    // A client's key does not work, and a worker's does not ask.
    assert_eq!(refusal(stage.try_worker(&identity, "b").await).code, RefusalCode::WrongRole);
    let worker = key();
    drop(stage.try_worker(&worker, "w").await.expect("let in"));
    assert_eq!(refusal(stage.try_client(&worker, Credential::None).await).code, RefusalCode::WrongRole);
    // The same key may rise, by a token that says so.
    let (token, _) = admin.token(Role::Admin, 1, HOUR).await;
    let risen = client_with(&stage, &identity, &token).await.expect("let in");
    assert!(matches!(risen.ask(Request::Tokens).await, Reply::Tokens(_)));
}

// ---- revocation ----

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_loses_every_link_within_a_second_and_gets_no_new_one() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let identity = key();
    let worker = stage.try_worker(&identity, "w").await.expect("let in");
    let (_endpoint, guard) = stage.dial(&identity, Alpn::Worker).await.expect("connects");
    let _said = hello(&guard, &greeting(9, Intent::Guard, Credential::None)).await.expect("let in");
    let (token, _) = admin.token(Role::Client, 1, HOUR).await;
    let client_key = key();
    let client = client_with(&stage, &client_key, &token).await.expect("let in");
    let name = admin.clients().await.into_iter().find(|view| view.node == client_key.id()).expect("listed").name;

    let is_thrown_out = async |link: &octaskly::transport::Link| {
        let end = tokio::time::timeout(Duration::from_secs(1), link.closed()).await.expect("within a second");
        assert!(matches!(end, LinkEnd::ByPeer { code: CloseCode::Revoked, .. }), "{end:?}");
    };
    admin.revoke("w", Some(NodeKind::Worker)).await;
    is_thrown_out(&worker.link).await;
    // What a guard says it says at once; its link does not outlive that by a second in any case.
    tokio::time::timeout(Duration::from_secs(1), guard.closed()).await.expect("within a second");
    admin.revoke(name.as_str(), Some(NodeKind::Client)).await;
    is_thrown_out(&client.link).await;

    assert_eq!(refusal(stage.try_worker(&identity, "w").await).code, RefusalCode::Revoked);
    assert_eq!(refusal(stage.joiner(&identity, "w").await).code, RefusalCode::Revoked);
    assert_eq!(refusal(stage.try_client(&client_key, Credential::None).await).code, RefusalCode::Revoked);
    // The name is free.
    stage.try_worker(&key(), "w").await.expect("let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_worker_ends_its_tasks_and_itself_and_says_how_to_come_back() {
    let Asking { stage, admin, machine, worker, asked } = Asking::scene().await;
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    admin.sees("b", WorkerState::Idle).await;
    let trace = machine.home().join("pid");
    let endless = admin.submit(job(&format!("echo $$ > {}; exec sleep 600", trace.display()))).await;
    let pid = soon("the task's process", async {
        loop {
            match std::fs::read_to_string(&trace) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    admin.revoke("b", None).await;
    let error = worker.ends().await.expect_err("it cannot go on");
    assert!(error.to_string().contains("this worker's key was revoked"), "{error}");
    let hint = error.hint().expect("a way back");
    assert!(hint.contains(&machine.folder("b").display().to_string()), "{hint}");
    assert!(!std::path::Path::new("/proc").join(&pid).exists(), "its task is gone");
    // The task is nobody's failure: it waits for another worker.
    let view = admin.task(octaskly::model::TaskId::new(endless.0, 0)).await;
    assert_eq!(view.state, TaskState::Ready);

    let error = machine.worker("b", stage.address()).ends().await.expect_err("it stays out");
    assert!(matches!(error, NodeError::Revoked { .. }), "{error}");
    std::fs::remove_dir_all(machine.folder("b")).expect("removed");
    let mut worker = machine.worker("b", stage.address());
    let asked = worker.asks().await;
    assert_eq!(admin.approve(&asked).await, Reply::Done { affected: 1 });
    admin.sees("b", WorkerState::Busy).await;
    admin.cancel(endless).await;
    worker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_gets_nothing_new_until_it_is_resumed() {
    let stage = Stage::open().await;
    let admin = stage.client().await;
    let mut worker = stage.worker("w").await;
    let name = || "w".parse().expect("a name");
    assert_eq!(admin.ask(Request::Drain(name())).await, Reply::Done { affected: 1 });
    admin.sees("w", WorkerState::Draining).await;
    admin.submit(job("true")).await;
    assert_eq!(admin.ask(Request::Resume(name())).await, Reply::Done { affected: 1 });
    worker.starts().await;
}
