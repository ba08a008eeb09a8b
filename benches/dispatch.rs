//! What the dispatcher as a whole costs: submissions acknowledged durably, and
//! tasks assigned and recorded durably, through real QUIC and a real store.
//!
//! The worker is played: it says that a task has ended as soon as it has heard
//! of it. So what is measured is everything but running tasks. Both ends share
//! this machine and its processors.

#![expect(clippy::unwrap_used, reason = "a bench that cannot set itself up has nothing to measure")]

use std::sync::atomic::{AtomicU64, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use octaskly::model::handshake::{Credential, Hello, Intent};
use octaskly::model::limits::{MAX_FRAME, PROTOCOL_OLDEST, PROTOCOL_VERSION};
use octaskly::model::messages::{DispatcherMessage, EndedAttempt, WorkerMessage};
use octaskly::model::node::WorkerProfile;
use octaskly::model::outcome::{AttemptReport, OutputSummary};
use octaskly::model::requests::{Reply, Request, Submission};
use octaskly::model::spec::{CommandLine, Isolation};
use octaskly::model::{Capacity, InstanceId, Items, JobSpec, Outcome, SealedSpec};
use octaskly::node::dispatcher::{self, DispatcherOptions, Running};
use octaskly::transport::{Alpn, Endpoint, FrameRecv, FrameSend, Link, hello};
use octaskly::trust::Identity;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn main() {
    divan::main();
}

/// A dispatcher in a folder of its own, and somebody who talks to it.
struct Bed {
    runtime: Runtime,
    dispatcher: Running,
    _home: tempfile::TempDir,
}

/// One link to it.
struct Peer {
    _endpoint: Endpoint,
    link: Link,
    send: FrameSend,
    recv: FrameRecv,
}

impl Bed {
    fn make() -> Self {
        let runtime = Runtime::new().unwrap();
        let home = tempfile::tempdir().unwrap();
        let options = DispatcherOptions::loopback(home.path().join("home"));
        let dispatcher = runtime.block_on(dispatcher::start(options)).unwrap();
        Self { runtime, dispatcher, _home: home }
    }

    async fn join(&self, alpn: Alpn, intent: Intent) -> Peer {
        let endpoint = Endpoint::bind(&Identity::ephemeral().unwrap(), "127.0.0.1:0".parse().unwrap(), &[]).unwrap();
        let access = self.dispatcher.access();
        let link = endpoint.connect(self.dispatcher.local_addr(), access.dispatcher, alpn).await.unwrap();
        let greeting = Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: "1.0.0".into(),
            instance: InstanceId(1),
            intent,
            credential: Credential::Access(access.secret),
        };
        let (_, send, recv) = hello(&link, &greeting).await.unwrap();
        Peer { _endpoint: endpoint, link, send, recv }
    }

    async fn client(&self) -> Peer {
        self.join(Alpn::Client, Intent::Client).await
    }

    async fn worker(&self, slots: u32) -> Peer {
        let profile = WorkerProfile {
            name: None,
            capacity: Capacity { slots, ..Capacity::default() },
            labels: std::collections::BTreeMap::new(),
            os: "linux".into(),
            arch: "x86_64".into(),
            isolation: Isolation::Basic,
            place: None,
        };
        let mut worker = self.join(Alpn::Worker, Intent::Worker(profile)).await;
        worker.send.send(&WorkerMessage::Holding(Vec::new())).await.unwrap();
        worker
    }
}

async fn submit(link: &Link, items: Items) {
    static KEY: AtomicU64 = AtomicU64::new(0);
    let idempotency_key = KEY.fetch_add(1, Ordering::Relaxed).to_string();
    let spec = SealedSpec::seal(JobSpec { items, ..JobSpec::single(CommandLine::Shell("true".into())) });
    let (mut send, mut recv) = link.open_bi().await.unwrap();
    send.send(&Request::Submit(Submission { spec, idempotency_key, strict: false })).await.unwrap();
    let reply = recv.recv::<Reply>(MAX_FRAME).await.unwrap();
    assert!(matches!(reply, Some(Reply::Submitted { .. })));
}

/// Ends every task at once until `tasks` of them are recorded.
async fn work(worker: &mut Peer, tasks: u64) {
    let mut recorded = 0;
    while recorded < tasks {
        match worker.recv.recv::<DispatcherMessage>(MAX_FRAME).await.unwrap().unwrap() {
            DispatcherMessage::Assign(assignments) => {
                let ended = assignments.iter().map(|assignment| EndedAttempt {
                    id: assignment.id(),
                    fence: assignment.fence,
                    report: AttemptReport {
                        outcome: Outcome::Exited(0),
                        started_at: None,
                        ended_at: octaskly::model::Timestamp(1),
                        peak_memory_bytes: 0,
                        output: OutputSummary::default(),
                        files: None,
                    },
                });
                worker.send.send(&WorkerMessage::Ended(ended.collect())).await.unwrap();
            }
            DispatcherMessage::Recorded(more) => recorded += more.len() as u64,
            _ => {}
        }
    }
}

/// One client after the other's answer: the latency of a durable submission.
#[divan::bench]
fn submission_acknowledged(bencher: Bencher) {
    let bed = Bed::make();
    let client = bed.runtime.block_on(bed.client());
    bencher.bench_local(|| bed.runtime.block_on(submit(&client.link, Items::Single)));
}

/// Submissions by eight clients at once, each waiting for its own.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn submissions_of_eight_clients(bencher: Bencher) {
    const EACH: u64 = 100;
    let bed = Bed::make();
    let clients: Vec<Peer> = (0..8).map(|_| bed.runtime.block_on(bed.client())).collect();
    bencher.counter(ItemsCount::new(8 * EACH)).bench_local(|| {
        bed.runtime.block_on(async {
            let mut submitting = JoinSet::new();
            for client in &clients {
                let link = client.link.clone();
                submitting.spawn(async move {
                    for _ in 0..EACH {
                        submit(&link, Items::Single).await;
                    }
                });
            }
            submitting.join_all().await;
        });
    });
}

/// An array of ten thousand tasks through one worker with that many slots, from submission to the last thanks.
#[divan::bench(args = [4, 64, 1024], sample_count = 5, sample_size = 1)]
fn tasks_recorded(bencher: Bencher, slots: u32) {
    const TASKS: u64 = 10_000;
    let bed = Bed::make();
    let (client, mut worker) = bed.runtime.block_on(async { (bed.client().await, bed.worker(slots).await) });
    bencher.counter(ItemsCount::new(TASKS)).bench_local(|| {
        bed.runtime.block_on(async {
            submit(&client.link, Items::Range { first: 1, last: TASKS, step: 1 }).await;
            work(&mut worker, TASKS).await;
        });
    });
}
