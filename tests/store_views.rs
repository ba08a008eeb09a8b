//! What the store shows of what was written: lists, single jobs and tasks,
//! selectors, and what a restart gets back.

#![cfg(feature = "node")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use octaskly::model::outcome::{AttemptReport, Cancellation, KeptOutput, LimitSource, OutputSummary};
use octaskly::model::records::{Act, Record, RestoredState, SubmittedJob, TaskCounts};
use octaskly::model::requests::{JobFilter, OwnerFilter, TaskFilter};
use octaskly::model::selector::{Part, Selector};
use octaskly::model::spec::CommandLine;
use octaskly::model::views::TaskTotals;
use octaskly::model::{
    Actor, AttemptId, AttemptNo, Epoch, Fence, Items, JobId, JobSpec, Millis, NodeId, NumberList, NumberRange, Outcome,
    Role, SealedSpec, TaskId, TaskIndex, TaskState, Timestamp,
};
use octaskly::store::{self, BatchNo, Durability, Progress, Reader, Removal, Store, Viewer};
use proptest::prelude::*;

const ADMIN: Viewer = Viewer { node: NodeId([1; 32]), sees_all: true };
const OTHER: Viewer = Viewer { node: NodeId([2; 32]), sees_all: false };
const WORKER: NodeId = NodeId([9; 32]);

/// A store in a directory of its own, and a small language to write into it.
struct Desk {
    directory: tempfile::TempDir,
    store: Store,
    restored: RestoredState,
    batch: u64,
    progress: Receiver<Progress>,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, restored, progress) = open(&directory.path().join("jobs.db"));
        Self { directory, store, restored, batch: 0, progress }
    }

    fn reopened(self) -> Self {
        self.store.close().expect("closes");
        let (store, restored, progress) = open(&self.directory.path().join("jobs.db"));
        Self { store, restored, progress, ..Self { directory: self.directory, ..Self::new() } }
    }

    fn write(&mut self, records: impl IntoIterator<Item = Record>) -> Reader {
        self.batch += 1;
        self.store
            .append(BatchNo(self.batch), records.into_iter().collect(), Durability::Written)
            .expect("the store takes it");
        self.store.flush().unwrap_or_else(|error| panic!("{error}: {:?}", self.progress.try_iter().last()));
        self.store.reader().expect("a reader")
    }
}

fn open(path: &Path) -> (Store, RestoredState, Receiver<Progress>) {
    let (said, progress) = channel();
    let on_progress = Box::new(move |news| {
        // The listener may be gone already.
        let _ = said.send(news);
    });
    let (store, restored) = store::open(path, on_progress, Timestamp(1_000_000), None).expect("opens");
    (store, restored, progress)
}

/// A client under the name that it has, by the number that fills its key.
fn actor(number: u8, called: &str) -> Actor {
    Actor { key: NodeId([number; 32]).key_no(), name: called.parse().expect("a name") }
}

fn act(number: u8, called: &str, at: u64) -> Act {
    Act { by: actor(number, called), at: Timestamp(at) }
}

fn client(number: u8, called: &str) -> Record {
    let (node, role, name) = (NodeId([number; 32]), Role::Client, called.parse().expect("a name"));
    Record::NodeEnrolled { node, role, name, at: Timestamp(1) }
}

fn submitted(job: u64, items: Items) -> Record {
    by(ADMIN.node, job, items)
}

fn by(owner: NodeId, job: u64, items: Items) -> Record {
    let spec = SealedSpec::seal(JobSpec { items, ..JobSpec::single(CommandLine::Shell(format!("echo {job}").into())) });
    let at = Timestamp(job * 1000);
    Record::JobSubmitted(Arc::new(SubmittedJob {
        job: JobId(job),
        spec,
        owner,
        idempotency_key: format!("k{job}"),
        at,
    }))
}

fn array(first: u64, last: u64) -> Items {
    Items::Range { first, last, step: 1 }
}

fn attempt(job: u64, index: u64, attempt: u32) -> AttemptId {
    AttemptId { task: TaskId::new(job, index), attempt: AttemptNo(attempt) }
}

fn fence(id: AttemptId) -> Fence {
    Fence { epoch: Epoch(1), counter: id.task.index.0 * 10 + u64::from(id.attempt.0) }
}

fn assigned(id: AttemptId, at: u64) -> Record {
    let name = "worker-1".parse().expect("a name");
    Record::AttemptAssigned { id, fence: fence(id), worker: WORKER, worker_name: name, at: Timestamp(at) }
}

fn ended(id: AttemptId, outcome: Outcome, kept: KeptOutput, at: u64) -> Record {
    let report = AttemptReport {
        outcome,
        started_at: Some(Timestamp(at - 1)),
        ended_at: Timestamp(at),
        peak_memory_bytes: 4096,
        output: OutputSummary { stdout_bytes: 3, stderr_bytes: 0, kept },
        files: None,
    };
    Record::AttemptEnded { id, report }
}

fn changed(task: TaskId, state: TaskState, attempts: u32, at: u64) -> Record {
    let counts = TaskCounts { attempts, failures: 0, lost: 0 };
    Record::TaskChanged { task, state, counts, not_before: None, outcome: None, at: Timestamp(at) }
}

/// A task from its assignment to its end.
fn done(job: u64, index: u64, code: i32, at: u64) -> Vec<Record> {
    let id = attempt(job, index, 1);
    let state = if code == 0 { TaskState::Succeeded } else { TaskState::Failed };
    vec![
        assigned(id, at),
        Record::AttemptStarted { id, at: Timestamp(at + 1) },
        ended(id, Outcome::Exited(code), KeptOutput::Nothing, at + 2),
        changed(id.task, state, 1, at + 2),
    ]
}

fn job_ended(job: u64, state: TaskState, at: u64) -> Record {
    Record::JobEnded { job: JobId(job), state, at: Timestamp(at), uptime: Millis(at) }
}

fn numbers(reader: &Reader, filter: &JobFilter, viewer: Viewer) -> Vec<u64> {
    reader.jobs(filter, viewer).expect("lists").iter().map(|view| view.job.0).collect()
}

fn tasks(reader: &Reader, filter: &TaskFilter) -> Vec<(u64, TaskState)> {
    reader.tasks(filter, ADMIN).expect("lists").iter().map(|view| (view.task.index.0, view.state)).collect()
}

fn of(text: &str) -> TaskFilter {
    TaskFilter { of: text.parse().expect("a selector"), states: vec![], after: None, limit: 0 }
}

#[test]
fn a_single_job_is_shown_from_its_submission_to_its_end() {
    let mut desk = Desk::new();
    let reader = desk.write([submitted(1, Items::Single)]);
    let shown = || reader.jobs(&JobFilter { only: Some(Selector::job(JobId(1))), ..JobFilter::default() }, ADMIN);
    let queued = shown().expect("lists").remove(0);
    assert_eq!((queued.state, queued.name.as_str()), (TaskState::Ready, "echo 1"));
    assert!(queued.spec.is_some(), "one job comes with its spec");
    assert_eq!(queued.tasks, TaskTotals { total: 1, ready: 1, ..TaskTotals::default() });

    let id = attempt(1, 0, 1);
    desk.write([assigned(id, 5000)]);
    let running = shown().expect("lists").remove(0);
    assert_eq!((running.state, running.started_at), (TaskState::Running, Some(Timestamp(5000))));

    let log = KeptOutput::Inline("log".into());
    desk.write([
        Record::AttemptStarted { id, at: Timestamp(5001) },
        ended(id, Outcome::Exited(7), log.clone(), 6000),
        changed(id.task, TaskState::Failed, 1, 6000),
        job_ended(1, TaskState::Failed, 6000),
    ]);
    let over = shown().expect("lists").remove(0);
    assert_eq!((over.state, over.ended_at), (TaskState::Failed, Some(Timestamp(6000))));
    assert_eq!(over.outcome, Some(Outcome::Exited(7)));

    let task = reader.tasks(&of("1.0"), ADMIN).expect("lists").remove(0);
    assert_eq!(
        (task.state, task.outcome, task.ended_at),
        (TaskState::Failed, Some(Outcome::Exited(7)), Some(Timestamp(6000)))
    );
    assert_eq!(task.attempts, reader.attempts(id.task).expect("reads"));
    let seen = &task.attempts[0];
    assert_eq!((seen.worker.as_str(), seen.fence, seen.peak_memory_bytes), ("worker-1", fence(id), 4096));
    assert_eq!(reader.kept_output(id).expect("reads"), Some(log));
    assert_eq!(reader.inline_log(id).expect("reads"), Some("log".into()));
    assert_eq!(reader.kept_output(attempt(1, 0, 2)).expect("reads"), None);
    assert_eq!(reader.ended(JobId(1)).expect("reads"), Some(TaskState::Failed));
    assert_eq!(reader.job_by_key(NodeId([1; 32]), "k1").expect("reads"), Some(JobId(1)));
    assert!(reader.bytes().expect("a size") > 0);
}

#[test]
fn a_cancelled_array_is_one_record_and_shows_every_task() {
    let mut desk = Desk::new();
    let mut records = vec![submitted(1, array(10, 19))];
    records.extend(done(1, 12, 0, 100));
    let why = Cancellation::requested(Some("wrong input".into()));
    records.push(Record::JobCancelling { job: JobId(1), why: why.clone(), at: Timestamp(150) });
    let outcome = Some(Outcome::Cancelled(why));
    records.push(Record::RestChanged {
        job: JobId(1),
        state: TaskState::Cancelled,
        outcome: outcome.clone(),
        at: Timestamp(200),
    });
    records.push(job_ended(1, TaskState::Cancelled, 200));
    let reader = desk.write(records);

    let job = reader.jobs(&JobFilter::default(), ADMIN).expect("lists").remove(0);
    assert_eq!(job.tasks, TaskTotals { total: 10, succeeded: 1, cancelled: 9, ..TaskTotals::default() });
    let all = reader.tasks(&of("1"), ADMIN).expect("lists");
    assert_eq!(all.iter().map(|view| view.task.index.0).collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
    assert_eq!((all[0].outcome.clone(), all[0].ended_at), (outcome, Some(Timestamp(200))));
    assert_eq!(all[2].state, TaskState::Succeeded);
}

#[test]
fn jobs_are_listed_by_the_name_of_their_owner_which_a_rename_changes_at_once() {
    let mut desk = Desk::new();
    let of = |node: u8, job| by(NodeId([node; 32]), job, Items::Single);
    let revoked = Record::NodeRevoked { node: NodeId([3; 32]), at: Timestamp(5) };
    let reader = desk.write([
        client(1, "root"),
        client(2, "client-1"),
        client(3, "bob"),
        of(1, 1),
        of(2, 2),
        of(3, 3),
        of(2, 4),
        revoked,
        client(2, "anna"),
    ]);
    let owned = |owner| JobFilter { owner: Some(owner), ..JobFilter::default() };
    let named = |name: &str| owned(OwnerFilter::Named(name.parse().expect("a name")));
    assert_eq!(numbers(&reader, &named("anna"), ADMIN), [4, 2]);
    assert_eq!(numbers(&reader, &JobFilter { limit: 1, ..named("anna") }, ADMIN), [4]);
    let ready = JobFilter { states: vec![TaskState::Ready], before: Some(JobId(4)), ..named("anna") };
    assert_eq!(numbers(&reader, &ready, ADMIN), [2]);
    assert!(numbers(&reader, &named("client-1"), ADMIN).is_empty(), "nobody is called that any more");
    assert_eq!(numbers(&reader, &named("bob"), ADMIN), [3], "who was revoked keeps the last name");
    assert!(numbers(&reader, &named("root"), OTHER).is_empty(), "others see their own");
    assert_eq!(numbers(&reader, &owned(OwnerFilter::Me), ADMIN), [1]);
    assert_eq!(reader.jobs(&named("anna"), ADMIN).expect("lists")[0].owner_name.as_str(), "anna");
    assert!(!reader.is_client(&"client-1".parse().expect("a name")).expect("reads"));
    let owners = reader.owners(2).expect("reads");
    assert_eq!(owners.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["anna", "bob"]);
}

#[test]
fn who_cancelled_and_retried_a_job_is_shown_under_the_name_that_they_have_now() {
    let mut desk = Desk::new();
    let why = |called: &str| Cancellation::Requested { by: Some(actor(2, called)), reason: Some("wrong".into()) };
    let cancelled = |called: &str| Outcome::Cancelled(why(called));
    let mut records = vec![client(2, "client-1"), submitted(1, array(1, 3))];
    records.extend([
        assigned(attempt(1, 1, 1), 5),
        ended(attempt(1, 1, 1), cancelled("client-1"), KeptOutput::Nothing, 6),
    ]);
    records.push(changed(TaskId::new(1, 1), TaskState::Cancelled, 1, 6));
    records.push(Record::JobRetried { job: JobId(1), act: act(2, "client-1", 3) });
    records.push(Record::JobCancelling { job: JobId(1), why: why("client-1"), at: Timestamp(4) });
    let (state, outcome) = (TaskState::Cancelled, Some(cancelled("client-1")));
    records.push(Record::RestChanged { job: JobId(1), state, outcome, at: Timestamp(6) });
    records.push(client(2, "anna"));
    let reader = desk.write(records);
    let job = reader.jobs(&JobFilter::default(), ADMIN).expect("lists").remove(0);
    assert_eq!((job.cancelling, job.retried), (Some(why("anna")), Some(act(2, "anna", 3))));
    let tasks = reader.tasks(&of("1"), ADMIN).expect("lists");
    assert!(tasks.iter().all(|task| task.outcome == Some(cancelled("anna"))), "{tasks:?}");
    let restored = &desk.reopened().restored.jobs[0];
    assert_eq!((&restored.cancelling, &restored.retried), (&Some(why("anna")), &Some(act(2, "anna", 3))));
}

#[test]
fn a_removed_job_is_remembered_with_who_removed_it_for_those_who_could_see_it() {
    let mut desk = Desk::new();
    let forgotten = |job, by| Record::JobForgotten { job: JobId(job), by, at: Timestamp(9) };
    let reader = desk.write([
        client(2, "anna"),
        submitted(1, Items::Single),
        by(OTHER.node, 2, Items::Single),
        forgotten(1, Some(actor(2, "anna"))),
        forgotten(2, None),
    ]);
    let removed = |job, viewer| reader.removed(JobId(job), viewer).expect("reads");
    assert_eq!(removed(1, ADMIN), Some(Removal { by: Some(actor(2, "anna")), at: Timestamp(9) }));
    assert_eq!((removed(1, OTHER), removed(3, ADMIN)), (None, None));
    assert_eq!(removed(2, OTHER), Some(Removal { by: None, at: Timestamp(9) }));
}

fn all_rows(job: u64, from: TaskState, state: TaskState, outcome: Option<Outcome>, at: u64) -> Record {
    Record::RowsChanged { job: JobId(job), from, state, outcome, at: Timestamp(at) }
}

#[test]
fn failed_tasks_are_done_again_and_cancelled_by_one_record_each_and_restored_as_ranges() {
    let mut desk = Desk::new();
    let mut records = vec![submitted(1, array(1, 6))];
    for (index, code) in [(1, 0), (2, 1), (3, 1)] {
        records.extend(done(1, index, code, 100));
    }
    records.push(assigned(attempt(1, 4, 1), 110));
    records.push(all_rows(1, TaskState::Failed, TaskState::Ready, None, 120));
    let reader = desk.write(records);
    let totals = TaskTotals { total: 6, ready: 4, running: 1, succeeded: 1, ..TaskTotals::default() };
    assert_eq!(reader.jobs(&JobFilter::default(), ADMIN).expect("lists")[0].tasks, totals);
    let again = reader.tasks(&of("1.2"), ADMIN).expect("lists").remove(0);
    assert_eq!((again.state, again.outcome, again.ended_at), (TaskState::Ready, None, None));
    assert_eq!((again.counts, again.attempts.len()), (TaskCounts { attempts: 1, failures: 0, lost: 0 }, 1));
    let failed = TaskFilter { states: vec![TaskState::Failed], ..of("1") };
    assert_eq!(tasks(&reader, &failed), []);
    drop(reader);

    let mut desk = desk.reopened();
    let restored = &desk.restored.jobs[0];
    assert_eq!(restored.again.ranges().collect::<Vec<_>>(), [(2, 3)]);
    assert_eq!(restored.tasks.iter().map(|task| task.task.index.0).collect::<Vec<_>>(), [4]);

    let cancelled = Outcome::Cancelled(Cancellation::requested(None));
    let records = [
        assigned(attempt(1, 2, 2), 130),
        all_rows(1, TaskState::Ready, TaskState::Cancelled, Some(cancelled.clone()), 140),
    ];
    let reader = desk.write(records);
    let totals = TaskTotals { total: 6, ready: 2, running: 2, succeeded: 1, cancelled: 1, ..TaskTotals::default() };
    assert_eq!(reader.jobs(&JobFilter::default(), ADMIN).expect("lists")[0].tasks, totals);
    let ended = reader.tasks(&of("1.3"), ADMIN).expect("lists").remove(0);
    assert_eq!((ended.outcome, ended.ended_at), (Some(cancelled), Some(Timestamp(140))));
}

#[test]
fn tasks_of_a_list_of_numbers_are_listed_found_paged_and_restored_by_their_numbers() {
    let mut desk = Desk::new();
    let range = |first, last, step| NumberRange::new(first, last, step).expect("a range");
    let numbers = NumberList::new(vec![range(3, 3, 1), range(10, 20, 5), range(1_000_000, 2_000_000, 1)]);
    let numbers = numbers.expect("a list");
    let mut records = vec![submitted(1, Items::Numbers(numbers.clone())), submitted(2, array(1, 3))];
    records.extend([3, 15, 1_000_001].into_iter().flat_map(|index| done(1, index, 1, 100)));
    let reader = desk.write(records);
    let page = |after, limit| TaskFilter { after: Some(TaskId::new(1, after)), limit, ..of("1") };
    let (ready, failed) = (TaskState::Ready, TaskState::Failed);
    let first = TaskFilter { limit: 5, ..of("1") };
    let shown = [(3, failed), (10, ready), (15, failed), (20, ready), (1_000_000, ready)];
    assert_eq!(tasks(&reader, &first), shown);
    assert_eq!(tasks(&reader, &page(10, 2)), [(15, failed), (20, ready)]);
    assert_eq!(tasks(&reader, &page(16, 2)), [(20, ready), (1_000_000, ready)], "behind a number between two tasks");
    assert_eq!(tasks(&reader, &page(1_999_999, 9)), [(2_000_000, ready)]);
    assert_eq!(tasks(&reader, &of("1.4,1.10,1.1000001")), [(10, ready), (1_000_001, failed)]);
    assert!(reader.tasks(&of("1.15"), ADMIN).expect("lists")[0].attempts.len() == 1);
    let found = reader.resolve(&"1.4,1.15,2.3,1.21,2.4".parse().expect("a selector"), ADMIN).expect("resolves");
    assert_eq!(Selector::These(found.parts).to_string(), "1.15,2.3");
    assert_eq!(Selector::These(found.missing).to_string(), "1.4,1.21,2.4");
    drop(reader);

    let mut desk = desk.reopened();
    let restored = &desk.restored.jobs[0];
    assert_eq!(restored.submitted.spec.spec().items, Items::Numbers(numbers));
    assert_eq!(restored.failed.iter().collect::<Vec<_>>(), [3, 15, 1_000_001]);
    let reader = desk.write([Record::JobForgotten { job: JobId(1), by: None, at: Timestamp(9) }]);
    assert_eq!(tasks(&reader, &of("1.3")), []);
}

#[test]
fn attempts_are_found_whether_tasks_lie_close_together_or_far_apart() {
    let mut desk = Desk::new();
    let mut records = vec![submitted(1, array(1, 1000)), submitted(2, array(1, 3))];
    for (job, index) in [(1, 1), (1, 500), (1, 1000), (2, 1), (2, 3)] {
        records.extend(done(job, index, 1, 100));
        records.extend([assigned(attempt(job, index, 2), 200)]);
    }
    let reader = desk.write(records);
    let running = TaskFilter { states: vec![TaskState::Running], ..of("1-2") };
    let found = reader.tasks(&running, ADMIN).expect("lists");
    assert_eq!(found, reader.tried_tasks(&of("1-2"), ADMIN).expect("lists"), "nothing else was tried");
    assert_eq!(found.len(), 5);
    for task in found {
        let own: Vec<AttemptId> = [1, 2].map(|no| attempt(task.task.job.0, task.task.index.0, no)).into();
        assert_eq!(task.attempts.iter().map(|attempt| attempt.id).collect::<Vec<_>>(), own);
        assert_eq!(task.attempts, reader.attempts(task.task).expect("reads"));
    }
}

#[test]
fn tasks_are_paged_and_filtered_in_order() {
    let mut desk = Desk::new();
    let mut records = vec![submitted(1, Items::Range { first: 0, last: 18, step: 2 }), submitted(2, Items::Single)];
    for (index, code) in [(4, 0), (6, 1), (16, 1)] {
        records.extend(done(1, index, code, 100));
    }
    let reader = desk.write(records);
    let page = TaskFilter { after: Some(TaskId::new(1, 2)), limit: 3, ..of("1-2") };
    assert_eq!(tasks(&reader, &page), [(4, TaskState::Succeeded), (6, TaskState::Failed), (8, TaskState::Ready)]);
    let failed = TaskFilter { states: vec![TaskState::Failed], ..of("1-2") };
    assert_eq!(tasks(&reader, &failed), [(6, TaskState::Failed), (16, TaskState::Failed)]);
    let later = TaskFilter { after: Some(TaskId::new(1, 6)), ..failed };
    assert_eq!(tasks(&reader, &later), [(16, TaskState::Failed)]);
    let open = TaskFilter { states: vec![TaskState::Ready], after: Some(TaskId::new(1, 12)), ..of("all") };
    assert_eq!(tasks(&reader, &open), [(14, TaskState::Ready), (18, TaskState::Ready), (0, TaskState::Ready)]);
    let over = TaskFilter { states: vec![TaskState::Succeeded, TaskState::Failed], ..of("1") };
    assert_eq!(tasks(&reader, &over), [(4, TaskState::Succeeded), (6, TaskState::Failed), (16, TaskState::Failed)]);
    assert_eq!(
        tasks(&reader, &of("1.6,1.2,1.3,2")),
        [(2, TaskState::Ready), (6, TaskState::Failed), (0, TaskState::Ready)]
    );
    assert_eq!(tasks(&reader, &TaskFilter { after: Some(TaskId::new(1, 18)), ..of("1") }), []);
}

#[test]
fn jobs_are_listed_newest_first_by_state_and_only_to_whom_they_belong() {
    let mut desk = Desk::new();
    let mut records: Vec<_> =
        (1..=6).map(|job| by(if job % 2 == 0 { OTHER.node } else { ADMIN.node }, job, Items::Single)).collect();
    records.extend(done(2, 0, 0, 100));
    records.push(job_ended(2, TaskState::Succeeded, 110));
    records.extend(done(3, 0, 1, 100));
    records.push(job_ended(3, TaskState::Failed, 110));
    records.push(assigned(attempt(5, 0, 1), 120));
    let reader = desk.write(records);
    let filter = |only: Option<&str>, states: &[TaskState], limit| JobFilter {
        only: only.map(|text| text.parse().expect("a selector")),
        states: states.to_vec(),
        limit,
        ..JobFilter::default()
    };
    use TaskState::{Failed, Ready, Running, Succeeded};
    assert_eq!(numbers(&reader, &filter(None, &[], 0), ADMIN), [6, 5, 4, 3, 2, 1]);
    assert_eq!(numbers(&reader, &filter(None, &[], 2), ADMIN), [6, 5]);
    assert_eq!(numbers(&reader, &filter(None, &[], 0), OTHER), [6, 4, 2]);
    assert_eq!(numbers(&reader, &filter(None, &[Ready, Running], 0), ADMIN), [6, 5, 4, 1]);
    assert_eq!(numbers(&reader, &filter(None, &[Running, Failed, Succeeded], 0), ADMIN), [5, 3, 2]);
    assert_eq!(numbers(&reader, &filter(None, &[Running, Failed, Succeeded], 2), ADMIN), [5, 3]);
    assert_eq!(numbers(&reader, &filter(Some("1-3,2-4,6.0,9"), &[], 0), ADMIN), [6, 4, 3, 2, 1]);
    assert_eq!(numbers(&reader, &filter(Some("last"), &[], 0), ADMIN), [5]);
    assert_eq!(numbers(&reader, &filter(Some("last"), &[], 0), OTHER), [6]);
    assert_eq!(numbers(&reader, &filter(Some("1-3"), &[], 0), OTHER), [2]);
    let older = |than, states: &[TaskState]| JobFilter { before: Some(JobId(than)), ..filter(None, states, 2) };
    assert_eq!(numbers(&reader, &older(5, &[]), ADMIN), [4, 3], "the next page");
    assert_eq!(numbers(&reader, &older(3, &[Ready, Succeeded]), ADMIN), [2, 1]);
    assert_eq!(numbers(&reader, &older(0, &[]), ADMIN), [0; 0]);
}

#[test]
fn selectors_resolve_to_what_exists_and_name_what_does_not() {
    let mut desk = Desk::new();
    let mut records: Vec<_> = [1, 2, 3, 5, 6].into_iter().map(|job| submitted(job, Items::Single)).collect();
    records.push(by(OTHER.node, 4, Items::Range { first: 3, last: 9, step: 3 }));
    let reader = desk.write(records);
    let resolve = |text: &str, viewer| {
        let found = reader.resolve(&text.parse().expect("a selector"), viewer).expect("resolves");
        let parts: Vec<Part> = found.parts;
        (Selector::These(parts).to_string(), Selector::These(found.missing).to_string())
    };
    let is = |found: &str, missing: &str| (found.to_owned(), missing.to_owned());
    assert_eq!(resolve("all", ADMIN), is("1-6", ""));
    assert_eq!(resolve("all", OTHER), is("4", ""));
    assert_eq!(resolve("last", ADMIN), is("6", ""));
    assert_eq!(resolve("5-20,8,1", ADMIN), is("1,5-6", "8"));
    assert_eq!(resolve("4.3,4.9,4.4,4.12,4.0", ADMIN), is("4.3,4.9", "4.4,4.12,4.0"));
    assert_eq!(resolve("6,1-3,2-6,4.9,1-3,4.3,4.9", ADMIN), is("1-6,4.3,4.9", ""), "each once");
    assert_eq!(resolve("1,4", OTHER), is("4", "1"));
    assert_eq!(resolve("1.0", OTHER), is("", "1.0"));
}

#[test]
fn a_restart_gets_back_what_is_not_over_and_a_greater_epoch() {
    let mut desk = Desk::new();
    let first = desk.restored.epoch;
    let name = |text: &str| text.parse().expect("a name");
    let mut records = vec![submitted(1, Items::Single), submitted(2, array(1, 100)), submitted(3, Items::Single)];
    records.extend(done(1, 0, 0, 50));
    records.push(job_ended(1, TaskState::Succeeded, 60));
    for index in 1..=40 {
        records.extend(done(2, index, i32::from(index == 7), 100));
    }
    records.push(assigned(attempt(2, 41, 3), 200));
    records.push(Record::AttemptStarted { id: attempt(2, 41, 3), at: Timestamp(210) });
    let waiting = Record::TaskChanged {
        task: TaskId::new(2, 42),
        state: TaskState::Waiting,
        counts: TaskCounts { attempts: 2, failures: 1, lost: 1 },
        not_before: Some(Timestamp(900)),
        outcome: None,
        at: Timestamp(300),
    };
    records.push(waiting);
    records.push(Record::JobCancelling { job: JobId(3), why: Cancellation::Interrupted, at: Timestamp(1) });
    records.push(Record::JobForgotten { job: JobId(3), by: None, at: Timestamp(1) });
    let enrol = |node, named: &str, role| Record::NodeEnrolled {
        node: NodeId([node; 32]),
        role,
        name: name(named),
        at: Timestamp(1),
    };
    records.push(enrol(7, "worker-1", Role::Worker));
    records.push(enrol(8, "worker-1", Role::Worker));
    records.push(Record::WorkerDraining { node: NodeId([8; 32]), draining: true, act: act(9, "root", 2) });
    records.push(enrol(9, "worker-1", Role::Admin));
    desk.write(records);

    let desk = desk.reopened();
    let restored = &desk.restored;
    assert!(restored.epoch > first);
    assert_eq!(restored.next_job, 4, "numbers of forgotten jobs are not used again");
    let nodes: Vec<_> = restored.nodes.iter().map(|node| (node.node.0[0], node.role, node.draining)).collect();
    assert_eq!(nodes, [(8, Role::Worker, true), (9, Role::Admin, false)], "a name's new key drops the old one");
    assert_eq!(restored.jobs.len(), 1);
    let job = &restored.jobs[0];
    assert_eq!((job.submitted.job, job.rest, job.last_attempt), (JobId(2), TaskState::Ready, AttemptNo(3)));
    assert_eq!(job.started_at, Some(Timestamp(100)));
    assert_eq!(job.succeeded.ranges().collect::<Vec<_>>(), [(1, 6), (8, 40)]);
    assert_eq!(job.failed.ranges().collect::<Vec<_>>(), [(7, 7)]);
    let [running, waiting] = &job.tasks[..] else { panic!("two tasks are under way: {:?}", job.tasks) };
    assert_eq!((running.task.index, running.state, running.counts.attempts), (TaskIndex(41), TaskState::Running, 3));
    let live = &running.live[0];
    assert_eq!((live.fence, live.worker, live.started_at), (fence(live.id), WORKER, Some(Timestamp(210))));
    assert_eq!((waiting.counts.failures, waiting.not_before), (1, Some(Timestamp(900))));

    let reader = desk.store.reader().expect("a reader");
    let recalled = reader.recall(JobId(1)).expect("reads").expect("is there");
    assert_eq!((recalled.succeeded.len(), recalled.tasks.len()), (1, 0));
    assert!(reader.recall(JobId(3)).expect("reads").is_none());
}

#[test]
fn a_row_that_contradicts_its_job_is_named_instead_of_restored() {
    let running = |attempts| Record::TaskChanged {
        task: TaskId::new(1, 0),
        state: TaskState::Running,
        counts: TaskCounts { attempts, ..TaskCounts::default() },
        not_before: None,
        outcome: None,
        at: Timestamp(5),
    };
    for (bad, column) in [
        (vec![changed(TaskId::new(1, 77), TaskState::Succeeded, 1, 5)], "the row 1.77 of table tasks, column task "),
        (vec![changed(TaskId::new(1, 77), TaskState::Ready, 1, 5)], "the row 1.77 of table tasks, column task "),
        (vec![assigned(attempt(1, 0, 2), 5), running(1)], "the row 1.0 of table tasks, column attempts "),
    ] {
        let mut desk = Desk::new();
        let reader = desk.write([submitted(1, Items::Single)].into_iter().chain(bad));
        let recalled = reader.recall(JobId(1)).expect_err("makes no sense");
        assert!(recalled.to_string().contains(column), "{recalled}");
        drop(reader);
        let path = desk.directory.path().join("jobs.db");
        desk.store.close().expect("closes");
        let opened = store::open(&path, Box::new(|_| {}), Timestamp(2_000_000), None);
        let error = opened.err().expect("a dispatcher does not start on that");
        let cause = std::error::Error::source(&error).expect("it says what it found").to_string();
        assert!(cause.contains(column), "{error}: {cause}");
    }
}

#[test]
fn an_attempt_given_back_is_as_if_it_had_never_been() {
    let mut desk = Desk::new();
    let id = attempt(1, 0, 1);
    let reader = desk.write([
        submitted(1, Items::Single),
        assigned(id, 10),
        Record::AttemptReturned { id },
        changed(id.task, TaskState::Ready, 0, 11),
    ]);
    let task = reader.tasks(&of("1"), ADMIN).expect("lists").remove(0);
    assert_eq!((task.state, task.counts.attempts, task.attempts.len()), (TaskState::Ready, 0, 0));
}

#[test]
fn both_live_attempts_of_a_task_are_restored_and_it_ended_by_the_one_that_brought_a_result() {
    let mut desk = Desk::new();
    let (first, second) = (attempt(1, 0, 1), attempt(1, 0, 2));
    let reader = desk.write([submitted(1, Items::Single), assigned(first, 10), assigned(second, 20)]);
    let restored = reader.recall(JobId(1)).expect("reads").expect("is there");
    let live: Vec<AttemptId> = restored.tasks[0].live.iter().map(|attempt| attempt.id).collect();
    assert_eq!(live, [first, second]);
    let superseded = Outcome::Cancelled(Cancellation::Superseded);
    let reader = desk.write([
        ended(second, superseded, KeptOutput::Nothing, 30),
        ended(first, Outcome::Exited(0), KeptOutput::Nothing, 30),
        changed(first.task, TaskState::Succeeded, 2, 30),
    ]);
    let task = reader.tasks(&of("1"), ADMIN).expect("lists").remove(0);
    assert_eq!((task.attempts.len(), task.outcome.clone()), (2, Some(Outcome::Exited(0))));
    assert_eq!(task.decisive().map(|attempt| attempt.id), Some(first));
}

#[test]
fn a_reopened_job_is_active_again() {
    let mut desk = Desk::new();
    let mut records = vec![submitted(1, Items::Single)];
    records.extend(done(1, 0, 1, 10));
    records.push(job_ended(1, TaskState::Failed, 20));
    records.push(Record::JobReopened { job: JobId(1), at: Timestamp(30) });
    records.push(changed(TaskId::new(1, 0), TaskState::Ready, 1, 30));
    let reader = desk.write(records);
    let job = reader
        .jobs(&JobFilter { states: vec![TaskState::Ready], ..JobFilter::default() }, ADMIN)
        .expect("lists")
        .remove(0);
    assert_eq!((job.ended_at, job.outcome, job.tasks.ready), (None, None, 1));
    assert_eq!(reader.ended(JobId(1)).expect("reads"), None);
}

#[test]
fn forgotten_jobs_leave_no_row_behind() {
    let mut desk = Desk::new();
    let mut records = vec![submitted(1, array(1, 5000)), submitted(2, Items::Single)];
    for index in 1..=5000 {
        let id = attempt(1, index, 1);
        records.push(assigned(id, 5));
        records.push(ended(id, Outcome::Exited(0), KeptOutput::Inline("x".into()), 6));
    }
    records.extend(done(2, 0, 0, 7));
    records.push(Record::JobForgotten { job: JobId(1), by: None, at: Timestamp(1) });
    let reader = desk.write(records);
    assert_eq!(numbers(&reader, &JobFilter::default(), ADMIN), [2]);
    assert_eq!(tasks(&reader, &of("1")), []);
    let rows = rusqlite::Connection::open(desk.directory.path().join("jobs.db")).expect("opens");
    let left = || -> i64 {
        let sql = "SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM attempts) + (SELECT count(*) FROM logs)
            + (SELECT count(*) FROM forgotten)";
        rows.query_row(sql, [], |row| row.get(0)).expect("counts")
    };
    while left() > 2 {
        desk.store.flush().expect("goes on");
    }
    assert_eq!(left(), 2, "the other job keeps its task and its attempt");
    let free = || -> i64 { rows.pragma_query_value(None, "freelist_count", |row| row.get(0)).expect("reads") };
    while free() > 0 {
        desk.store.flush().expect("goes on");
    }
    assert_eq!(rows.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0)).expect("reads"), 2);
}

#[test]
fn a_million_tasks_are_listed_without_being_looked_at() {
    let mut desk = Desk::new();
    let mut records: Vec<_> = (1..=50).map(|job| submitted(job, array(1, 1_000_000))).collect();
    records.extend(done(7, 999_999, 1, 10));
    let reader = desk.write(records);
    let jobs = reader.jobs(&JobFilter::default(), ADMIN).expect("lists");
    assert_eq!(jobs.iter().map(|job| job.tasks.total).sum::<u64>(), 50_000_000);
    assert_eq!(jobs[43].tasks, TaskTotals { total: 1_000_000, ready: 999_999, failed: 1, ..TaskTotals::default() });
    let page = TaskFilter { after: Some(TaskId::new(7, 999_997)), limit: 2, ..of("7") };
    assert_eq!(tasks(&reader, &page), [(999_998, TaskState::Ready), (999_999, TaskState::Failed)]);
}

/// Every row of every table, as text; rows of forgotten jobs may or may not be gone yet.
fn dump(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).expect("opens");
    let mut lines = Vec::new();
    let queries = [
        ("meta", "SELECT * FROM meta WHERE name <> 'syncs'"),
        ("jobs", "SELECT * FROM jobs"),
        ("specs", "SELECT * FROM specs"),
        ("numberings", "SELECT * FROM numberings"),
        ("tasks", "SELECT * FROM tasks WHERE job IN (SELECT job FROM jobs)"),
        ("attempts", "SELECT * FROM attempts WHERE job IN (SELECT job FROM jobs)"),
        ("logs", "SELECT * FROM logs WHERE job IN (SELECT job FROM jobs)"),
        ("nodes", "SELECT * FROM nodes"),
        ("workers", "SELECT * FROM workers"),
    ];
    for (table, sql) in queries {
        let mut select = connection.prepare(sql).expect("prepares");
        let columns = select.column_count();
        let mut rows = select.query([]).expect("selects");
        while let Some(row) = rows.next().expect("reads") {
            let values: Vec<_> = (0..columns).map(|at| format!("{:?}", row.get_ref(at).expect("a value"))).collect();
            lines.push(format!("{table}: {}", values.join(", ")));
        }
    }
    lines
}

/// Records as an engine might write them about two jobs of three tasks, in any order after their submission.
fn record() -> impl Strategy<Value = Record> {
    let id = (1u64..=2, 1u64..=3, 1u32..=2).prop_map(|(job, index, no)| attempt(job, index, no));
    let state = prop::sample::select(vec![
        TaskState::Waiting,
        TaskState::Ready,
        TaskState::Running,
        TaskState::Succeeded,
        TaskState::Failed,
        TaskState::Cancelled,
    ]);
    let outcome = prop::sample::select(vec![
        None,
        Some(Outcome::Lost),
        Some(Outcome::TimedOut(Millis(5), LimitSource::Dispatcher)),
    ]);
    let kept =
        prop::sample::select(vec![KeptOutput::Nothing, KeptOutput::Inline("log".into()), KeptOutput::Uploaded(9)]);
    (0..14, id, state, outcome, kept, 10u64..20).prop_map(|(kind, id, state, outcome, kept, at)| {
        let (task, job, when) = (id.task, id.task.job, Timestamp(at));
        match kind {
            0..=2 => assigned(id, at),
            3 => Record::AttemptStarted { id, at: when },
            4 => ended(id, outcome.unwrap_or(Outcome::Exited(0)), kept, at),
            5 => Record::AttemptReturned { id },
            6..=7 => {
                let counts = TaskCounts { attempts: 1, failures: 1, lost: 0 };
                Record::TaskChanged { task, state, counts, not_before: Some(when), outcome, at: when }
            }
            8 => Record::RestChanged { job, state, outcome, at: when },
            9 => Record::JobEnded { job, state, at: when, uptime: Millis(when.0) },
            10 => Record::JobReopened { job, at: when },
            11 => match state {
                TaskState::Failed | TaskState::Cancelled => all_rows(job.0, state, TaskState::Ready, None, at),
                _ => all_rows(job.0, TaskState::Ready, TaskState::Failed, Some(Outcome::DependencyFailed(job)), at),
            },
            12 => Record::JobRetried { job, act: act(1, "anna", at) },
            _ => Record::JobCancelling { job, why: Cancellation::MaxFails, at: when },
        }
    })
}

/// Leaves out what no engine writes: an attempt is assigned, then started, then ended or given back.
fn plausible(records: Vec<Record>, live: &mut BTreeMap<AttemptId, bool>) -> Vec<Record> {
    let mut keep = |record: &Record| match record {
        Record::AttemptAssigned { id, .. } => live.insert(*id, true).is_none(),
        Record::AttemptStarted { id, .. } => live.get(id) == Some(&true),
        Record::AttemptEnded { id, .. } => live.get(id) == Some(&true) && live.insert(*id, false).is_some(),
        Record::AttemptReturned { id } => live.get(id) == Some(&true) && live.remove(id).is_some(),
        _ => true,
    };
    records.into_iter().filter(|record| keep(record)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_batch_applied_twice_leaves_what_it_left_once(
        before in proptest::collection::vec(record(), 0..20),
        batch in proptest::collection::vec(record(), 0..20),
        forgets: bool,
    ) {
        let mut desk = Desk::new();
        let path = desk.directory.path().join("jobs.db");
        let mut opening = vec![submitted(1, array(1, 3)), submitted(2, array(1, 3))];
        let mut live = BTreeMap::new();
        opening.extend(plausible(before, &mut live));
        desk.write(opening);
        let mut batch = plausible(batch, &mut live);
        // Of what they speak, only what came before them says.
        batch.retain(|record| !matches!(record, Record::RowsChanged { .. }));
        batch.insert(0, submitted(3, Items::Single));
        if forgets {
            batch.push(Record::JobForgotten { job: JobId(1), by: None, at: Timestamp(1) });
        }
        desk.write(batch.clone());
        let once = dump(&path);
        desk.write(batch);
        prop_assert_eq!(dump(&path), once);
        // The sums in the job's row are those of its tasks' rows.
        let reader = desk.store.reader().expect("a reader");
        for job in reader.jobs(&JobFilter::default(), ADMIN).expect("lists") {
            let all = reader.tasks(&TaskFilter { of: Selector::job(job.job), states: vec![], after: None, limit: 0 }, ADMIN).expect("lists");
            let count = |state| all.iter().filter(|task| task.state == state).count() as u64;
            prop_assert_eq!(job.tasks.running, count(TaskState::Running));
            prop_assert_eq!(job.tasks.failed, count(TaskState::Failed));
            prop_assert_eq!(job.tasks.ended(), all.iter().filter(|task| task.state.is_terminal()).count() as u64);
        }
    }
}
