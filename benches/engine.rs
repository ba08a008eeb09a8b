//! What one task costs the dispatcher's engine, from the queue to its recorded
//! end: placed, assigned, reported, recorded, thanked for, with all effects
//! taken. No bytes, no disk, no processes.
//!
//! Each bench completes a fixed number of tasks while one dimension grows
//! (roster, queue, batch, demands); the cost a task should not.

use std::collections::BTreeMap;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use octaskly::engine::dispatcher::{Call, DispatcherConfig, DispatcherEngine, Inbound, LinkChange, Outbound};
use octaskly::model::handshake::{Credential, Hello, Intent};
use octaskly::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};
use octaskly::model::messages::{Assignment, DispatcherMessage, EndedAttempt, WorkerMessage};
use octaskly::model::node::WorkerProfile;
use octaskly::model::outcome::OutputSummary;
use octaskly::model::records::RestoredState;
use octaskly::model::requests::Submission;
use octaskly::model::spec::{CommandLine, Isolation};
use octaskly::model::trust::Voucher;
use octaskly::model::{
    AttemptReport, Capacity, Demand, Epoch, InstanceId, Items, JobSpec, LinkId, MilliCpu, Millis, NodeId, Outcome,
    RequestId, Role, SealedSpec, Timestamp,
};

fn main() {
    divan::main();
}

/// Tasks completed by every bench that lets another dimension grow.
const TASKS: u64 = 20_000;

/// A dispatcher and what its workers hold, by link.
struct Cluster {
    engine: DispatcherEngine,
    now: Timestamp,
    held: BTreeMap<LinkId, Vec<Assignment>>,
    requests: u64,
}

const CLIENT: LinkId = LinkId(1);

fn hello(intent: Intent) -> Hello {
    Hello {
        protocol_oldest: PROTOCOL_OLDEST,
        protocol_newest: PROTOCOL_VERSION,
        software: "1.0.0".to_owned(),
        instance: InstanceId(1),
        intent,
        credential: Credential::None,
    }
}

fn key(number: u64) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    NodeId(bytes)
}

impl Cluster {
    fn new(workers: u64, slots: u32) -> Self {
        let config = DispatcherConfig { max_workers: u32::MAX, ..DispatcherConfig::default() };
        let state = RestoredState { epoch: Epoch(1), next_job: 1, ..RestoredState::default() };
        let now = Timestamp::from_millis(1_000_000);
        let engine = DispatcherEngine::restore(config, now, state);
        let mut cluster = Self { engine, now, held: BTreeMap::new(), requests: 0 };
        cluster.up(CLIENT, Intent::Client, Role::Admin);
        for worker in 2..workers + 2 {
            let capacity = Capacity {
                slots,
                cpu: MilliCpu::from_cores(slots),
                memory_bytes: u64::from(slots) * 1_000_000,
                gpus: 0,
                resources: BTreeMap::new(),
            };
            let profile = WorkerProfile {
                name: None,
                capacity,
                labels: BTreeMap::new(),
                os: "linux".to_owned(),
                arch: "x86_64".to_owned(),
                isolation: Isolation::Basic,
                place: None,
            };
            cluster.up(LinkId(worker), Intent::Worker(profile), Role::Worker);
            cluster.say(LinkId(worker), WorkerMessage::Holding(Vec::new()));
        }
        cluster.perform();
        cluster
    }

    fn up(&mut self, link: LinkId, intent: Intent, role: Role) {
        let change = LinkChange::Up { node: key(link.0), hello: hello(intent), vouched: Some(Voucher::Access(role)) };
        self.engine.handle_link(self.now, link, change);
    }

    fn say(&mut self, link: LinkId, message: WorkerMessage) {
        self.engine.handle_message(self.now, link, Inbound::Worker(message));
    }

    fn submit(&mut self, items: Items, demand: Demand) {
        self.requests += 1;
        let spec = SealedSpec::seal(JobSpec {
            items,
            demand,
            labels: BTreeMap::from([("os".to_owned(), "linux".to_owned()), ("arch".to_owned(), "x86_64".to_owned())]),
            ..JobSpec::single(CommandLine::Exec(vec!["true".into()]))
        });
        let submission = Submission { spec, idempotency_key: self.requests.to_string(), strict: false };
        let call = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
        let request = RequestId(self.requests);
        self.engine.handle_message(self.now, CLIENT, Inbound::Request { request, call });
        self.perform();
    }

    /// Takes the effects as a shell would and hands assignments to their workers.
    fn perform(&mut self) {
        let effects = self.engine.take_effects();
        for (link, message) in effects.messages.into_iter().chain(effects.messages_after_sync) {
            if let Outbound::ToWorker(DispatcherMessage::Assign(list)) = message {
                self.held.entry(link).or_default().extend(list);
            }
        }
        black_box((effects.records, effects.notices));
    }

    /// Lets every worker report up to `batch` of what it holds in one message, in turn, until so many are done.
    fn complete(&mut self, tasks: u64, batch: usize) {
        let mut done = 0;
        while done < tasks {
            self.now = self.now + Millis(1);
            let now = self.now;
            let mut idle = true;
            for link in self.held.keys().copied().collect::<Vec<_>>() {
                let Some(held) = self.held.get_mut(&link).filter(|held| !held.is_empty()) else { continue };
                let reported = held.drain(..batch.min(held.len()));
                let ended: Vec<EndedAttempt> = reported.map(|one| ended(now, &one)).collect();
                done += ended.len() as u64;
                idle = false;
                self.say(link, WorkerMessage::Ended(ended));
                self.perform();
            }
            assert!(!idle, "the queue ran dry after {done} tasks");
        }
    }
}

fn ended(now: Timestamp, assignment: &Assignment) -> EndedAttempt {
    let report = AttemptReport {
        outcome: Outcome::Exited(0),
        started_at: Some(now),
        ended_at: now,
        peak_memory_bytes: 0,
        output: OutputSummary::default(),
        files: None,
    };
    EndedAttempt { id: assignment.id(), fence: assignment.fence, report }
}

fn array(tasks: u64) -> Items {
    Items::Range { first: 1, last: tasks, step: 1 }
}

/// The aim: 100,000 tasks a second. One array, 100 workers of 16 slots, 8 results a message.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn a_hundred_workers_run_an_array_of_100_000(bencher: Bencher) {
    bencher.counter(ItemsCount::new(100_000u64)).with_inputs(|| Cluster::new(100, 16)).bench_local_values(
        |mut cluster| {
            cluster.submit(array(100_000), Demand::default());
            cluster.complete(100_000, 8);
            cluster
        },
    );
}

/// The same work as jobs of one task each, submissions included.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn a_hundred_workers_run_100_000_jobs_of_one_task(bencher: Bencher) {
    bencher.counter(ItemsCount::new(100_000u64)).with_inputs(|| Cluster::new(100, 16)).bench_local_values(
        |mut cluster| {
            for _ in 0..100_000 {
                cluster.submit(Items::Single, Demand::default());
            }
            cluster.complete(100_000, 8);
            cluster
        },
    );
}

/// One result a message: placement is called for every task alone.
#[divan::bench(args = [1, 8, 64], sample_count = 5, sample_size = 1)]
fn batch_of_results(bencher: Bencher, batch: usize) {
    bencher
        .counter(ItemsCount::new(TASKS))
        .with_inputs(|| {
            let mut cluster = Cluster::new(100, 64);
            cluster.submit(array(TASKS + 6400), Demand::default());
            cluster
        })
        .bench_local_values(|mut cluster| {
            cluster.complete(TASKS, batch);
            cluster
        });
}

/// The cost of a task must not grow with the roster.
#[divan::bench(args = [10, 100, 1000, 4000], sample_count = 5, sample_size = 1)]
fn roster_of(bencher: Bencher, workers: u64) {
    bencher
        .counter(ItemsCount::new(TASKS))
        .with_inputs(|| {
            let mut cluster = Cluster::new(workers, 4);
            cluster.submit(array(TASKS + workers * 4), Demand { cpu: MilliCpu(500), ..Demand::default() });
            cluster
        })
        .bench_local_values(|mut cluster| {
            cluster.complete(TASKS, 4);
            cluster
        });
}

/// The cost of a task must not grow with the number of jobs that wait.
#[divan::bench(args = [20_000, 100_000, 400_000], sample_count = 3, sample_size = 1)]
fn queue_of_jobs(bencher: Bencher, jobs: u64) {
    bencher
        .counter(ItemsCount::new(TASKS / 2))
        .with_inputs(|| {
            let mut cluster = Cluster::new(100, 4);
            for _ in 0..jobs {
                cluster.submit(Items::Single, Demand::default());
            }
            cluster
        })
        .bench_local_values(|mut cluster| {
            cluster.complete(TASKS / 2, 4);
            cluster
        });
}

/// Jobs that all ask for different amounts of memory: as many demand classes, decided one by one.
#[divan::bench(args = [1, 10, 100, 1000], sample_count = 5, sample_size = 1)]
fn different_demands(bencher: Bencher, demands: u64) {
    bencher
        .counter(ItemsCount::new(TASKS))
        .with_inputs(|| {
            let mut cluster = Cluster::new(100, 8);
            for class in 0..demands {
                let demand = Demand { memory_bytes: 2_000_000 + class, ..Demand::default() };
                cluster.submit(array(2 * TASKS / demands + 4), demand);
            }
            cluster
        })
        .bench_local_values(|mut cluster| {
            cluster.complete(TASKS, 4);
            cluster
        });
}
