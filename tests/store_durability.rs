//! What the store promises when things go wrong: a process killed while it
//! writes, a full disk, a damaged or foreign file, two dispatchers on one file.
//!
//! Ignored tests named `child_…` are the programs that other tests start and
//! kill; alone they fail for want of a store.

#![cfg(feature = "node")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use octaskly::model::messages::{EndedAttempt, FencedAttempt};
use octaskly::model::outcome::{AttemptReport, OutputSummary};
use octaskly::model::records::{DiskSpace, OutboxRecord, Record, SubmittedJob, TaskCounts, Unsettled};
use octaskly::model::requests::JobFilter;
use octaskly::model::spec::CommandLine;
use octaskly::model::{
    AttemptId, AttemptNo, Epoch, Fence, Items, JobId, JobSpec, Millis, NodeId, Outcome, SealedSpec, TaskId, TaskState,
    Timestamp,
};
use octaskly::store::{
    self, BatchNo, Durability, OnProgress, Outbox, Progress, Repair, Saved, Store, StoreError, Viewer,
};

const EVERYBODY: Viewer = Viewer { node: NodeId([1; 32]), sees_all: true };
/// Tells a child where its store is.
const CHILD_STORE: &str = "OCTASKLY_TEST_CHILD_STORE";

fn listener() -> (OnProgress, Receiver<Progress>) {
    let (said, progress) = channel();
    let on_progress = move |news| {
        // The test may have heard enough.
        let _ = said.send(news);
    };
    (Box::new(on_progress), progress)
}

fn open(path: &Path) -> (Store, Receiver<Progress>) {
    // A child that another test is starting has copies of all descriptors, locks too, until it runs its own program.
    for _try in 0..500 {
        let (on_progress, progress) = listener();
        match store::open(path, on_progress, Timestamp(1), None) {
            Err(StoreError::Locked { .. }) => pause(),
            opened => return (opened.expect("opens").0, progress),
        }
    }
    panic!("{} stays locked", path.display());
}

#[expect(clippy::disallowed_methods, reason = "a pause between two tries; no test depends on its length")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(10));
}

fn refused(path: &Path) -> StoreError {
    match store::open(path, Box::new(|_| ()), Timestamp(1), None) {
        Ok(_) => panic!("opened what it should have refused"),
        Err(error) => error,
    }
}

/// A job of two tasks and a row for each, in one batch: all of it is there, or nothing.
fn batch(job: u64, ballast: usize) -> Vec<Record> {
    let command = CommandLine::Shell("x".repeat(ballast).into());
    let items = Items::Range { first: 1, last: 2, step: 1 };
    let spec = SealedSpec::seal(JobSpec { items, ..JobSpec::single(command) });
    let (job, at) = (JobId(job), Timestamp(job));
    let owner = EVERYBODY.node;
    let submitted = SubmittedJob { job, spec, owner, idempotency_key: job.to_string(), at };
    let state = TaskState::Succeeded;
    let changed = |index| Record::TaskChanged {
        task: TaskId::new(job.0, index),
        state,
        counts: TaskCounts::default(),
        not_before: None,
        outcome: None,
        at,
    };
    vec![Record::JobSubmitted(Arc::new(submitted)), changed(1), changed(2)]
}

/// The jobs that are there, each checked to be whole.
fn whole_jobs(store: &Store) -> BTreeSet<u64> {
    let reader = store.reader().expect("a reader");
    let mut jobs = BTreeSet::new();
    let mut page = reader.jobs(&JobFilter::default(), EVERYBODY).expect("lists");
    while let Some(oldest) = page.last().map(|view| view.job.0) {
        for view in page {
            assert_eq!((view.tasks.total, view.tasks.succeeded), (2, 2), "half of a batch is there");
            assert!(jobs.insert(view.job.0), "a job is there twice");
        }
        let older = format!("0-{}", oldest - 1).parse().expect("a selector");
        page = reader.jobs(&JobFilter { only: Some(older), ..JobFilter::default() }, EVERYBODY).expect("lists");
    }
    jobs
}

/// Runs the test `name` once more in a process of its own, by way of `wrapper`: there [`child_store`] names `store`.
fn child(name: &str, wrapper: &[&str], store: &Path) -> Child {
    let this = std::env::current_exe().expect("this program");
    let mut command = match wrapper.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
        None => Command::new(this),
    };
    command.args(["--exact", name, "--nocapture"]).env(CHILD_STORE, store);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts")
}

/// In a child: the store to write.
fn child_store() -> Option<PathBuf> {
    std::env::var_os(CHILD_STORE).map(PathBuf::from)
}

/// Writes jobs for ever and prints the number of each that the store has acknowledged.
fn write_until_killed(path: &Path) {
    let acknowledge: OnProgress = Box::new(|news| {
        if let Progress::Synced(upto) = news {
            println!("acknowledged {}", upto.0);
        }
    });
    let (store, restored) = store::open(path, acknowledge, Timestamp(1), None).expect("opens");
    for job in restored.next_job.. {
        // Not every batch asks for it, and some are large, so that groups and syncs fall everywhere.
        let durability = if job % 3 == 0 { Durability::Written } else { Durability::Synced };
        let ballast = if job % 10 == 0 { 20_000 } else { 10 };
        store.append(BatchNo(job), batch(job, ballast), durability).expect("takes it");
        if job % 16 == 0 {
            store.flush().expect("written");
        }
    }
}

#[test]
fn what_was_acknowledged_outlives_a_process_killed_at_any_moment() {
    if let Some(store) = child_store() {
        return write_until_killed(&store);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let mut acknowledged = 0;
    let mut last_epoch = Epoch(0);
    for round in 1..=6 {
        let mut child = child("what_was_acknowledged_outlives_a_process_killed_at_any_moment", &[], &path);
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let number = |line: &str| line.split("acknowledged ").nth(1).and_then(|number| number.parse().ok());
        let heard: Vec<u64> = said.by_ref().filter_map(|line| number(&line)).take(round * 7).collect();
        child.kill().expect("SIGKILL");
        // What it said before it died, it said.
        let heard = heard.into_iter().chain(said.filter_map(|line| number(&line))).max();
        child.wait().expect("reaped");
        acknowledged = heard.expect("it got to acknowledge something").max(acknowledged);

        let (on_progress, _progress) = listener();
        let (store, restored) = store::open(&path, on_progress, Timestamp(1), None).expect("opens after the crash");
        assert!(restored.epoch > last_epoch);
        last_epoch = restored.epoch;
        let jobs = whole_jobs(&store);
        assert!((1..=acknowledged).all(|job| jobs.contains(&job)), "an acknowledged job is missing");
        assert_eq!(jobs.len() as u64 + 1, restored.next_job, "jobs are there in the order of their batches");
        store.close().expect("closes");
    }
}

/// Fills the disk of the store at `path` until nothing can be written, reads, makes room, and finds everything.
fn write_until_the_disk_is_full(path: &Path) {
    let filler = path.with_file_name("filler");
    // Half of the disk: so much is to be free again that there is room to set aside twice over.
    std::fs::write(&filler, vec![1; 24 << 20]).expect("writes");
    let (store, progress) = open(path);
    let mut disk = vec![DiskSpace::Enough];
    let (mut appended, mut acknowledged) = (0, 0);
    let mut hear = |disk: &mut Vec<DiskSpace>| {
        match progress.recv().expect("the store lives") {
            Progress::Synced(upto) => acknowledged = upto.0,
            Progress::Disk(space) => disk.push(space),
            Progress::Written(_) => {}
            Progress::Failed(error) => panic!("failed to {error}"),
        }
        acknowledged
    };
    while disk.last() != Some(&DiskSpace::Nothing) {
        appended += 1;
        store.append(BatchNo(appended), batch(appended, 20_000), Durability::Synced).expect("takes it");
        let seen = disk.len();
        while hear(&mut disk) < appended && disk.len() == seen {}
    }
    assert_eq!(disk, [DiskSpace::Enough, DiskSpace::Reserve, DiskSpace::Nothing]);
    assert_eq!(whole_jobs(&store).len() as u64, appended - 1, "readers go on, and no half of the last batch is there");

    std::fs::remove_file(&filler).expect("makes room");
    while hear(&mut disk) < appended || disk.last() != Some(&DiskSpace::Enough) {}
    assert_eq!(disk[3..], [DiskSpace::Reserve, DiskSpace::Enough]);
    store.close().expect("closes");
    let (store, _progress) = open(path);
    assert_eq!(whole_jobs(&store), (1..=appended).collect(), "all that was appended is there");
    println!("acknowledged {appended} through a full disk");
    std::io::stdout().flush().expect("says it");
}

/// Writes until the store fails; prints what was acknowledged and why it ended. What
/// took up room beside the store is then deleted, and the store opened again.
fn write_until_the_store_fails(path: &Path) {
    // More than half of the disk: when it is full, all of it may still be in the log, and goes into the database
    // when that is opened again. In pieces, because one of the disks takes no large files.
    let rooms = ["room", "another room", "a third room"].map(|room| path.with_file_name(room));
    for room in &rooms {
        std::fs::write(room, vec![1; 3 << 20]).expect("writes");
    }
    let (store, progress) = open(path);
    let mut job = 0;
    while store.append(BatchNo(job + 1), batch(job + 1, 20_000), Durability::Synced).is_ok() {
        job += 1;
    }
    assert!(matches!(store.flush(), Err(StoreError::Stopped)));
    let mut acknowledged = 0;
    let mut failures = Vec::new();
    for news in progress.try_iter() {
        match news {
            Progress::Synced(upto) => acknowledged = upto.0,
            Progress::Failed(error) => failures.push(error),
            Progress::Written(_) | Progress::Disk(_) => {}
        }
    }
    assert_eq!(failures.len(), 1, "a store fails once");
    assert!(whole_jobs(&store).len() as u64 >= acknowledged, "readers go on");
    assert!(matches!(store.close(), Err(StoreError::Stopped)));
    for room in &rooms {
        std::fs::remove_file(room).expect("makes room");
    }
    let (store, _progress) = open(path);
    let jobs = whole_jobs(&store);
    assert!((1..=acknowledged).all(|job| jobs.contains(&job)), "an acknowledged job is missing");
    println!("acknowledged {acknowledged} and then {:?}", failures[0]);
    std::io::stdout().flush().expect("says it");
}

/// What the test `name` says as the child that writes until the store fails.
fn said_by_failing_child(name: &str, wrapper: &[&str], store: &Path) -> Option<String> {
    let child = child(name, wrapper, store);
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(said).filter(|said| said.contains("acknowledged"))
}

#[test]
fn a_full_disk_holds_the_store_up_and_loses_nothing() {
    if let Some(store) = child_store() {
        return write_until_the_disk_is_full(&store);
    }
    let directory = tempfile::tempdir().expect("a directory");
    // A file system of 48 MiB that only the child sees and that goes with it.
    let script = format!("mount -t tmpfs -o size=48m none {} && exec \"$0\" \"$@\"", directory.path().display());
    let wrapper = ["unshare", "-Urm", "sh", "-c", script.as_str()];
    let allowed = Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|status| status.success());
    if !allowed {
        const WITHOUT: &str = "OCTASKLY_TESTS_WITHOUT_NAMESPACES";
        let what = "NOT TESTED: this machine allows no file system of one's own, so no disk could be filled";
        assert!(std::env::var_os(WITHOUT).is_some_and(|set| set == "1"), "{what} ({WITHOUT}=1 lets this pass)");
        return eprintln!("{what}, and passed because {WITHOUT} is set");
    }
    let said = said_by_failing_child(
        "a_full_disk_holds_the_store_up_and_loses_nothing",
        &wrapper,
        &directory.path().join("jobs.db"),
    )
    .expect("the child goes through");
    assert!(said.contains("through a full disk"), "{said}");
}

#[test]
fn a_failing_disk_stops_the_store_and_loses_nothing_acknowledged() {
    if let Some(store) = child_store() {
        return write_until_the_store_fails(&store);
    }
    let directory = tempfile::tempdir().expect("a directory");
    // Files may not grow beyond 4 MiB (in blocks of 512 bytes), and writing on is an error instead of a signal.
    let wrapper = ["sh", "-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""];
    let said = said_by_failing_child(
        "a_failing_disk_stops_the_store_and_loses_nothing_acknowledged",
        &wrapper,
        &directory.path().join("jobs.db"),
    )
    .expect("the child goes through");
    assert!(said.contains("and then Io("), "{said}");
}

#[test]
fn a_second_dispatcher_on_the_same_file_is_refused_until_the_first_has_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let (store, _progress) = open(&path);
    let error = refused(&path);
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("jobs.db"));
    store.close().expect("closes");
    open(&path).0.close().expect("closes");
}

#[test]
fn files_that_are_not_ours_are_refused_untouched() {
    let directory = tempfile::tempdir().expect("a directory");
    let garbage = directory.path().join("garbage.db");
    std::fs::write(&garbage, "this is a letter, not a database\n".repeat(100)).expect("writes");
    assert!(matches!(refused(&garbage), StoreError::Damaged { .. }));
    assert!(std::fs::read_to_string(&garbage).expect("reads").starts_with("this is a letter"));

    let foreign = directory.path().join("foreign.db");
    let other = rusqlite::Connection::open(&foreign).expect("opens");
    other.execute_batch("CREATE TABLE recipes (name TEXT)").expect("creates");
    assert!(matches!(refused(&foreign), StoreError::Foreign { .. }));

    let newer = directory.path().join("newer.db");
    open(&newer).0.close().expect("closes");
    let ours = rusqlite::Connection::open(&newer).expect("opens");
    ours.pragma_update(None, "user_version", 999).expect("writes");
    drop(ours);
    let error = refused(&newer);
    assert!(matches!(error, StoreError::NewerSchema { found: 999, .. }), "{error:?}");

    let outbox = directory.path().join("outbox.db");
    Outbox::open(&outbox, Box::new(|_| ())).expect("opens").0.close().expect("closes");
    assert!(matches!(refused(&outbox), StoreError::Foreign { .. }), "a worker's outbox is no dispatcher's store");

    let nowhere = directory.path().join("missing").join("jobs.db");
    assert!(matches!(refused(&nowhere), StoreError::Open { .. }));
}

#[test]
fn a_damaged_page_is_named_as_damage() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let (store, _progress) = open(&path);
    for job in 1..=50 {
        store.append(BatchNo(job), batch(job, 100), Durability::Written).expect("takes it");
    }
    store.close().expect("closes");
    let mut bytes = std::fs::read(&path).expect("reads");
    // Everything behind the first page, which says what the file is.
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).expect("writes");
    assert!(matches!(refused(&path), StoreError::Damaged { .. }));
}

/// A store of this many jobs, closed.
fn made(path: &Path, jobs: u64) {
    let (store, _progress) = open(path);
    for job in 1..=jobs {
        store.append(BatchNo(job), batch(job, 2000), Durability::Written).expect("takes it");
    }
    store.close().expect("closes");
}

/// Some day in 2026.
const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

/// Repairs a store that needs it, and says what was saved and which jobs are there then.
fn repaired(path: &Path) -> (Saved, BTreeSet<u64>) {
    let Repair::Done(saved) = store::repair(path, NOW).expect("repairs") else { panic!("it was sound") };
    let (on_progress, _progress) = listener();
    let (store, state) = store::open(path, on_progress, Timestamp(2), None).expect("opens");
    assert!(!state.after_power_loss.is_empty(), "workers are asked what they run before anything starts again");
    assert!(state.epoch > Epoch(1), "no fence is issued twice");
    let jobs = whole_jobs(&store);
    store.close().expect("closes");
    assert_eq!(saved.jobs, jobs.len() as u64);
    assert!(saved.damaged.exists());
    (saved, jobs)
}

#[test]
fn a_cut_an_emptied_and_an_overwritten_store_are_refused_and_each_is_repaired() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    made(&path, 60);
    assert_eq!(store::repair(&path, Timestamp(1)).expect("checks"), Repair::Sound);
    let whole = std::fs::read(&path).expect("reads");

    std::fs::write(&path, &whole[..whole.len() / 2 / 4096 * 4096]).expect("cuts it");
    assert!(matches!(refused(&path), StoreError::Damaged { .. }));
    let (saved, jobs) = repaired(&path);
    assert_eq!(std::fs::metadata(&saved.damaged).expect("is kept").len(), whole.len() as u64 / 2 / 4096 * 4096);
    assert!(jobs.len() < 60);

    std::fs::write(&path, "").expect("empties it");
    assert!(matches!(refused(&path), StoreError::Emptied { .. }));
    assert_eq!(repaired(&path).1, BTreeSet::new());

    std::fs::write(&path, vec![0x5a; 40_000]).expect("overwrites it");
    assert!(matches!(refused(&path), StoreError::Damaged { .. }));
    let (saved, _) = repaired(&path);
    assert!(saved.damaged.ends_with("jobs.db.damaged-3"), "nothing is overwritten: {saved:?}");
}

#[test]
fn one_bad_page_costs_the_jobs_on_it_and_no_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    made(&path, 100);
    let mut bytes = std::fs::read(&path).expect("reads");
    // The last one: the first ones are also left over in a page that has become the root of all.
    let spec = bytes.windows(1000).rposition(|piece| piece.iter().all(|byte| *byte == b'x')).expect("a spec");
    bytes[spec / 4096 * 4096..][..4096].fill(0x5a);
    std::fs::write(&path, &bytes).expect("writes");
    let (saved, jobs) = repaired(&path);
    assert!(std::fs::read(&saved.damaged).expect("reads") == bytes, "the damaged file is kept as it was");
    assert!(!saved.lost_jobs.is_empty() && jobs.len() + saved.lost_jobs.len() == 100, "{saved:?}");
    assert!(jobs.len() > 90, "{saved:?}");
}

#[test]
fn a_repair_that_was_cut_short_is_finished_by_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    made(&path, 3);
    std::fs::rename(&path, directory.path().join("jobs.db.repaired")).expect("the new one is ready");
    std::fs::write(&path, "damaged").expect("the old one is still there");
    let (store, _progress) = open(&path);
    assert_eq!(whole_jobs(&store), (1..=3).collect());
    assert_eq!(std::fs::read(directory.path().join("jobs.db.damaged-1")).expect("reads"), b"damaged");
}

#[test]
fn a_month_of_work_takes_no_more_room_than_a_week_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let (store, _progress) = open(&path);
    let looking = rusqlite::Connection::open(&path).expect("opens");
    let left = |sql: &str| -> i64 { looking.query_row(sql, [], |row| row.get(0)).expect("counts") };
    let reader = store.reader().expect("a reader");
    let (mut next, mut job, mut sizes) = (1, 1, Vec::new());
    let mut write = |records: Vec<Record>| {
        store.append(BatchNo(next), records, Durability::Written).expect("takes it");
        next += 1;
    };
    // Jobs of a day; a job stands for a thousand of them.
    const A_DAY: u64 = 100;
    let day = |day: u64| Millis(day * 24 * 3600 * 1000);
    for today in 1..=30 {
        for _ in 0..A_DAY {
            let mut records = batch(job, 2000);
            records.push(Record::JobEnded {
                job: JobId(job),
                state: TaskState::Succeeded,
                at: Timestamp(today),
                uptime: day(today),
            });
            write(records);
            job += 1;
        }
        store.flush().expect("written");
        loop {
            let old = reader.ended_before(day(today.saturating_sub(6)), 64, |_| true).expect("looks");
            assert!(old.len() <= 64, "a round is bounded");
            if old.is_empty() {
                break;
            }
            write(old.into_iter().map(|job| Record::JobForgotten { job, by: None, at: Timestamp(1) }).collect());
            store.flush().expect("written");
        }
        let rest = "SELECT (SELECT count(*) FROM forgotten) + (SELECT freelist_count FROM pragma_freelist_count)";
        while left(rest) > 0 {
            pause();
        }
        sizes.push(left("SELECT page_count FROM pragma_page_count"));
    }
    assert_eq!(whole_jobs(&store).len() as u64, 7 * A_DAY);
    let (week, month) = (sizes[7], sizes[29]);
    assert!(month <= week + week / 4, "{sizes:?}");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _progress) = open(&directory.path().join("jobs.db"));
    store.append(BatchNo(1), batch(1, 10), Durability::Synced).expect("takes it");
    store.flush().expect("written");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory.path()).expect("lists") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
        seen += 1;
    }
    assert!(seen >= 3, "the database, its log, its lock");
}

#[test]
fn progress_comes_in_order_and_a_sync_covers_everything_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let (store, progress) = open(&path);
    for job in 1..=100 {
        let durability = if job % 25 == 0 { Durability::Synced } else { Durability::Written };
        store.append(BatchNo(job), batch(job, 10), durability).expect("takes it");
    }
    store.close().expect("closes");
    let (mut written, mut synced) = (0, 0);
    for news in progress {
        match news {
            Progress::Written(BatchNo(upto)) => {
                assert!(upto > written);
                written = upto;
            }
            Progress::Synced(BatchNo(upto)) => {
                assert!(upto > synced && upto <= written);
                synced = upto;
            }
            Progress::Disk(_) => {}
            Progress::Failed(error) => panic!("{error}"),
        }
    }
    assert_eq!((written, synced), (100, 100));
}

#[test]
fn an_empty_batch_can_make_durable_what_was_written_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let (store, progress) = open(&path);
    store.append(BatchNo(1), batch(1, 10), Durability::Synced).expect("takes it");
    store.flush().expect("written");
    let looking = rusqlite::Connection::open(&path).expect("opens");
    let syncs = || -> i64 {
        looking.query_row("SELECT value FROM meta WHERE name = 'syncs'", [], |row| row.get(0)).expect("reads")
    };
    let before = syncs();
    store.append(BatchNo(2), batch(2, 10), Durability::Written).expect("takes it");
    store.flush().expect("written");
    store.append(BatchNo(3), vec![], Durability::Synced).expect("takes it");
    store.flush().expect("written");
    // SQLite syncs only commits that change a page, so there has to be a change.
    assert_eq!(syncs(), before + 1);
    store.append(BatchNo(4), vec![], Durability::Synced).expect("takes it");
    store.flush().expect("written");
    assert_eq!(syncs(), before + 1, "nothing is left to sync");
    assert!(progress.try_iter().any(|news| matches!(news, Progress::Synced(BatchNo(4)))));
}

#[test]
fn a_closed_store_takes_nothing_and_the_last_handle_to_go_writes_what_is_queued() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let (store, _progress) = open(&path);
    let other = store.clone();
    store.append(BatchNo(1), batch(1, 10), Durability::Written).expect("takes it");
    store.close().expect("closes");
    assert!(matches!(other.append(BatchNo(2), vec![], Durability::Written), Err(StoreError::Stopped)));
    assert!(matches!(other.flush(), Err(StoreError::Stopped)));

    let (store, progress) = open(&path);
    store.append(BatchNo(1), batch(2, 10), Durability::Written).expect("takes it");
    drop(store);
    // The listener goes with the writer.
    assert!(progress.iter().any(|news| matches!(news, Progress::Written(BatchNo(1)))));
}

#[test]
fn the_log_is_copied_into_the_database_while_writing_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.db");
    let (store, _progress) = open(&path);
    let looking = rusqlite::Connection::open(&path).expect("opens");
    let pages = || -> i64 { looking.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).expect("asks") };
    let mut most = 0;
    for job in 1.. {
        store.append(BatchNo(job), batch(job, 40_000), Durability::Written).expect("takes it");
        store.flush().expect("written");
        let now = pages();
        if now < most {
            break;
        }
        most = now;
        assert!(job < 100_000, "the log only grows");
    }
    assert!(most >= 1000, "it was begun anew before it was worth it: {most} pages");
    store.close().expect("closes");
    drop(looking);
    assert_eq!(std::fs::metadata(path.with_file_name("jobs.db-wal")).map_or(0, |log| log.len()), 0);
}

fn kept(index: u64, epoch: u32) -> EndedAttempt {
    let id = AttemptId { task: TaskId::new(1, index), attempt: AttemptNo(1) };
    let output = OutputSummary::default();
    let (outcome, ended_at) = (Outcome::Exited(0), Timestamp(index));
    let report = AttemptReport { outcome, started_at: None, ended_at, peak_memory_bytes: 0, output, files: None };
    EndedAttempt { id, fence: Fence { epoch: Epoch(epoch), counter: 1 }, report }
}

#[test]
fn an_outbox_keeps_results_in_order_until_they_are_settled_by_fence() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("outbox.db");
    let reopened = |records: Vec<OutboxRecord>| {
        let (on_progress, progress) = listener();
        let (outbox, _) = Outbox::open(&path, on_progress).expect("opens");
        outbox.append(BatchNo(1), records, Durability::Synced).expect("takes it");
        outbox.close().expect("closes");
        assert!(progress.iter().any(|news| matches!(news, Progress::Synced(BatchNo(1)))));
        let (outbox, Unsettled { results: kept, .. }) = Outbox::open(&path, Box::new(|_| ())).expect("opens");
        outbox.close().expect("closes");
        kept
    };
    let all = [kept(3, 1), kept(1, 1), kept(2, 1), kept(3, 2)];
    assert_eq!(reopened(all.iter().cloned().map(OutboxRecord::Kept).collect()), all);
    assert_eq!(reopened(vec![OutboxRecord::Kept(all[1].clone())]), all, "kept twice is kept once");
    let settled = |ended: &EndedAttempt| OutboxRecord::Settled(FencedAttempt { id: ended.id, fence: ended.fence });
    let left = reopened(vec![settled(&all[0]), settled(&all[2]), settled(&kept(9, 9))]);
    assert_eq!(left, [all[1].clone(), all[3].clone()], "the namesake of a settled attempt stays");
}
