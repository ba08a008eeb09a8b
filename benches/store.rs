//! What durability costs: the store against a bare SQLite loop that writes the
//! same rows in the same run, and listings beside big arrays.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use divan::Bencher;
use divan::counter::ItemsCount;
use octaskly::model::outcome::{AttemptReport, OutputSummary};
use octaskly::model::records::{Record, SubmittedJob, TaskCounts};
use octaskly::model::requests::{JobFilter, TaskFilter};
use octaskly::model::selector::Selector;
use octaskly::model::spec::CommandLine;
use octaskly::model::{
    AttemptId, AttemptNo, Epoch, Fence, Items, JobId, JobSpec, NodeId, Outcome, SealedSpec, TaskId, TaskState,
    Timestamp,
};
use octaskly::store::{self, BatchNo, Durability, Progress, Store, Viewer};
use rusqlite::{Connection, params};

fn main() {
    divan::main();
}

/// Tasks a round; each is four records, which are two new rows and three changes of them.
const TASKS: u64 = 10_000;
/// Tasks whose records travel in one batch, as a busy dispatcher's do.
const BATCH: u64 = 100;
/// A time as it is written: eight bytes, as real ones are.
const AT: i64 = 1_800_000_000_000_000;
const EVERYBODY: Viewer = Viewer { node: NodeId([1; 32]), sees_all: true };

fn opened(path: &Path) -> (Store, Receiver<BatchNo>) {
    let (said, synced) = sync_channel(100_000);
    let on_progress = move |news| match news {
        // Closing syncs once more, when nobody listens any more.
        Progress::Synced(upto) => drop(said.send(upto)),
        Progress::Failed(error) => panic!("{error}"),
        Progress::Written(_) | Progress::Disk(_) => {}
    };
    (store::open(path, Box::new(on_progress), Timestamp(1), None).expect("opens").0, synced)
}

fn submitted(job: u64, last: u64) -> Record {
    let items = Items::Range { first: 1, last, step: 1 };
    let spec = SealedSpec::seal(JobSpec { items, ..JobSpec::single(CommandLine::Shell("true".into())) });
    let (job, at) = (JobId(job), Timestamp(1));
    Record::JobSubmitted(Arc::new(SubmittedJob {
        job,
        spec,
        owner: NodeId([1; 32]),
        idempotency_key: job.to_string(),
        at,
    }))
}

/// A task from its assignment to its recorded success.
fn lifecycle(job: u64, index: u64) -> [Record; 4] {
    let task = TaskId::new(job, index);
    let id = AttemptId { task, attempt: AttemptNo(1) };
    let at = Timestamp(1_800_000_000_000_000 + index);
    let report = AttemptReport {
        outcome: Outcome::Exited(0),
        started_at: Some(at),
        ended_at: at,
        peak_memory_bytes: 3 << 20,
        output: OutputSummary::default(),
        files: None,
    };
    let worker_name = "worker-1".parse().expect("a name");
    let counts = TaskCounts { attempts: 1, failures: 0, lost: 0 };
    [
        Record::AttemptAssigned {
            id,
            fence: Fence { epoch: Epoch(1), counter: index },
            worker: NodeId([2; 32]),
            worker_name,
            at,
        },
        Record::AttemptStarted { id, at },
        Record::AttemptEnded { id, report },
        Record::TaskChanged { task, state: TaskState::Succeeded, counts, not_before: None, outcome: None, at },
    ]
}

/// All of it through the store, in batches that each ask to be synced.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn ten_thousand_tasks_by_the_store(bencher: Bencher<'_, '_>) {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, synced) = opened(&directory.path().join("jobs.db"));
    let (mut job, mut batch) = (0, 0);
    bencher
        .counter(ItemsCount::new(TASKS))
        .with_inputs(|| {
            job += 1;
            let first = vec![submitted(job, TASKS)];
            let rest = (0..TASKS / BATCH)
                .map(|part| (1..=BATCH).flat_map(|n| lifecycle(job, part * BATCH + n)).collect::<Vec<_>>());
            std::iter::once(first).chain(rest).collect::<Vec<_>>()
        })
        .bench_local_values(|batches| {
            for records in batches {
                batch += 1;
                store.append(BatchNo(batch), records, Durability::Synced).expect("takes it");
            }
            while synced.recv().expect("goes on") < BatchNo(batch) {}
        });
}

/// The same changes by prepared statements in one synced transaction: the floor.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn ten_thousand_tasks_by_bare_sqlite(bencher: Bencher<'_, '_>) {
    let directory = tempfile::tempdir().expect("a directory");
    let connection = bare(&directory.path().join("bare.db"));
    let mut job = 0i64;
    bencher.counter(ItemsCount::new(TASKS)).bench_local(|| {
        job += 1;
        let transaction = connection.unchecked_transaction().expect("begins");
        for task in 1..=TASKS as i64 {
            let run = |sql, values: &[&dyn rusqlite::ToSql]| {
                transaction.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).expect("runs");
            };
            run("INSERT INTO attempts VALUES (?1, ?2, 1, ?3, 1, ?4, NULL, NULL, NULL, NULL, NULL)", params![job, task, task, AT]);
            run("INSERT INTO tasks VALUES (?1, ?2, 2, 1, ?3)", params![job, task, AT]);
            run("UPDATE attempts SET started_at = ?3 WHERE job = ?1 AND task = ?2 AND attempt = 1", params![job, task, AT]);
            run(
                "UPDATE attempts SET ended_at = ?3, outcome = 'exit', outcome_number = 0, peak = ?4 WHERE job = ?1 AND task = ?2 AND attempt = 1",
                params![job, task, AT, 3 << 20],
            );
            run("UPDATE tasks SET state = 3, changed_at = ?3 WHERE job = ?1 AND task = ?2", params![job, task, AT]);
        }
        transaction.commit().expect("commits");
    });
}

fn bare(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("opens");
    connection.pragma_update(None, "journal_mode", "WAL").expect("takes it");
    connection.pragma_update(None, "synchronous", "FULL").expect("takes it");
    connection
        .execute_batch(
            "CREATE TABLE tasks (job, task, state, attempts, changed_at, PRIMARY KEY (job, task)) WITHOUT ROWID;
             CREATE TABLE attempts (job, task, attempt, fence, worker, assigned_at, started_at, ended_at, outcome,
                outcome_number, peak, PRIMARY KEY (job, task, attempt)) WITHOUT ROWID;",
        )
        .expect("creates");
    connection
}

/// One small batch from `append` to `Synced`: what a lone submission waits for.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn one_synced_batch_by_the_store(bencher: Bencher<'_, '_>) {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, synced) = opened(&directory.path().join("jobs.db"));
    let mut job = 0;
    bencher.bench_local(|| {
        job += 1;
        store.append(BatchNo(job), vec![submitted(job, 1)], Durability::Synced).expect("takes it");
        synced.recv().expect("goes on")
    });
}

/// One row, one synced transaction.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn one_synced_row_by_bare_sqlite(bencher: Bencher<'_, '_>) {
    let directory = tempfile::tempdir().expect("a directory");
    let connection = bare(&directory.path().join("bare.db"));
    let mut job = 0i64;
    bencher.bench_local(|| {
        job += 1;
        connection.execute("INSERT INTO tasks VALUES (?1, 1, 2, 1, 5)", [job]).expect("runs")
    });
}

/// `list` beside twenty arrays of a million tasks, one of which has half of its tasks done.
#[divan::bench(sample_count = 20)]
fn list_jobs_beside_big_arrays(bencher: Bencher<'_, '_>) {
    let (_directory, store) = big_arrays();
    let reader = store.reader().expect("a reader");
    bencher.bench_local(|| reader.jobs(&JobFilter::default(), EVERYBODY).expect("lists").len());
}

/// The failed tasks of that array.
#[divan::bench(sample_count = 20)]
fn list_failed_tasks_of_a_big_array(bencher: Bencher<'_, '_>) {
    let (_directory, store) = big_arrays();
    let reader = store.reader().expect("a reader");
    let filter = TaskFilter { of: Selector::job(JobId(1)), states: vec![TaskState::Failed], after: None, limit: 0 };
    bencher.bench_local(|| reader.tasks(&filter, EVERYBODY).expect("lists").len());
}

/// What a restart reads of it.
#[divan::bench(sample_count = 5)]
fn restore_a_big_array(bencher: Bencher<'_, '_>) {
    let (_directory, store) = big_arrays();
    let reader = store.reader().expect("a reader");
    bencher.bench_local(|| reader.recall(JobId(1)).expect("reads").map(|job| job.succeeded.len()));
}

fn big_arrays() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _synced) = opened(&directory.path().join("jobs.db"));
    let all = (1..=20).map(|job| submitted(job, 1_000_000)).collect();
    store.append(BatchNo(1), all, Durability::Written).expect("takes it");
    for part in 0..500u64 {
        let records = (1..=1000).map(|n| {
            let index = part * 1000 + n;
            let state = if index.is_multiple_of(10_000) { TaskState::Failed } else { TaskState::Succeeded };
            let counts = TaskCounts { attempts: 1, failures: 0, lost: 0 };
            let task = TaskId::new(1, index);
            Record::TaskChanged { task, state, counts, not_before: None, outcome: None, at: Timestamp(1) }
        });
        store.append(BatchNo(2 + part), records.collect(), Durability::Written).expect("takes it");
    }
    store.flush().expect("written");
    (directory, store)
}
