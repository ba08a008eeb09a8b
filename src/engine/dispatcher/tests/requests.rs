//! What clients may ask, and what they are answered.

use super::*;
use crate::model::limits::{MAX_INLINE_STDIN, MAX_ITEMS_BYTES, MAX_REASON_BYTES, MAX_RETRIES};
use crate::model::spec::{RetryPolicy, StdinSource};
use crate::model::views::{Explanation, WorkerState};
use crate::model::{NumberList, NumberRange};

impl Scene {
    fn submitted(&mut self, spec: JobSpec, strict: bool) -> Reply {
        let submission = Submission { strict, ..self.submission(spec) };
        self.answer("admin", Call::Submit { submission, ended_dependencies: BTreeMap::new() })
    }

    pub(super) fn explained(&mut self, parts: Vec<Part>) -> Vec<Explanation> {
        match self.answer("admin", Call::Explain(parts)) {
            Reply::Explained(list) => list,
            other => panic!("not explained: {other:?}"),
        }
    }
}

#[test]
fn a_submission_is_acknowledged_only_after_it_is_durable() {
    let mut scene = Scene::new();
    let submission = scene.submission(single());
    let link = scene.clients["admin"];
    let call = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
    scene.engine.handle_message(scene.now, link, Inbound::Request { request: RequestId(500), call });
    let effects = scene.engine.take_effects();
    let reply = |(_, message): &(LinkId, Outbound)| matches!(message, Outbound::Reply { .. });
    assert!(effects.records.iter().any(|record| matches!(record, Record::JobSubmitted(_))));
    assert!(!effects.messages.iter().any(reply) && effects.messages_after_sync.iter().any(reply));
}

#[test]
fn a_result_is_acknowledged_only_after_it_is_durable() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.ends("a", task(id, 0), OK);
    let thanks = scene.said.iter().find(|(_, message, _)| matches!(message, DispatcherMessage::Recorded(_)));
    assert!(matches!(thanks, Some((_, _, true))));
}

#[test]
fn the_same_idempotency_key_never_makes_a_second_job() {
    let mut scene = Scene::new();
    let submission = scene.submission(single());
    let submit =
        |submission: &Submission| Call::Submit { submission: submission.clone(), ended_dependencies: BTreeMap::new() };
    let first = scene.answer("admin", submit(&submission));
    assert_eq!(scene.answer("admin", submit(&submission)), first);
}

#[test]
fn a_job_that_makes_no_sense_is_refused_and_leaves_no_trace() {
    let mut scene = Scene::new();
    let range = |first, last, step| JobSpec { items: Items::Range { first, last, step }, ..single() };
    let some_of = |whole: Items, numbers: &[u64]| {
        let ranges = numbers.iter().filter_map(|number| NumberRange::new(*number, *number, 1)).collect();
        let items = Items::Subset { numbers: NumberList::new(ranges).expect("numbers"), of: Box::new(whole) };
        JobSpec { items, ..single() }
    };
    let records = scene.records.len();
    for spec in [
        range(5, 4, 1),
        range(0, u64::MAX, 1),
        range(u64::MAX, u64::MAX, 1),
        JobSpec { items: Items::List(Vec::new().into()), ..single() },
        some_of(Items::Range { first: 1, last: 9, step: 1 }, &[3]),
        some_of(Items::List(vec!["a".into()].into()), &[0, 1]),
        some_of(Items::List(vec!["a".into()].into()), &[1, 3]),
        JobSpec { max_concurrent: Some(0), ..array(3) },
        JobSpec { stdin: StdinSource::Inline(vec![0; MAX_INLINE_STDIN + 1].into()), ..single() },
        JobSpec { items: Items::List(vec![vec![0; MAX_ITEMS_BYTES / 2 + 1].into(); 2].into()), ..single() },
        JobSpec { retry: RetryPolicy { limit: Some(MAX_RETRIES + 1), ..RetryPolicy::default() }, ..single() },
    ] {
        let submission = scene.submission(spec);
        let call = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
        assert_eq!(scene.failure("admin", call), FailureCode::Invalid);
    }
    let long = Submission { idempotency_key: "k".repeat(257), ..scene.submission(single()) };
    let call = Call::Submit { submission: long, ended_dependencies: BTreeMap::new() };
    assert_eq!(scene.failure("admin", call), FailureCode::Invalid);
    assert_eq!(scene.records.len(), records);
}

#[test]
fn a_reason_that_every_task_would_repeat_is_short() {
    let mut scene = Scene::new();
    let id = scene.submit(array(3));
    let cancel = |bytes| Call::Cancel {
        parts: job(id),
        whose: Whose::Allowed,
        why: Cancellation::requested(Some("x".repeat(bytes))),
    };
    assert_eq!(scene.failure("admin", cancel(MAX_REASON_BYTES + 1)), FailureCode::Invalid);
    assert_eq!(scene.changed("admin", cancel(MAX_REASON_BYTES)).affected, 3);
}

#[test]
fn a_job_that_no_connected_worker_could_ever_run_is_taken_with_a_warning_or_refused_when_strict() {
    let mut scene = Scene::new();
    let Reply::Submitted { unplaceable: Some(reason), .. } = scene.submitted(single(), false) else {
        panic!("no warning")
    };
    assert_eq!(reason, "no worker is connected");
    scene.worker("a", slots(1));
    let spec = JobSpec { demand: memory(1 << 40), ..single() };
    let Reply::Submitted { unplaceable: Some(reason), .. } = scene.submitted(spec.clone(), false) else {
        panic!("no warning")
    };
    assert!(reason.contains("a lacks memory: wants 1024.0 GiB"), "{reason}");
    let Reply::Failed(failure) = scene.submitted(spec, true) else { panic!("it was taken") };
    assert_eq!(failure.code, FailureCode::Unplaceable);
    let Reply::Submitted { unplaceable: None, .. } = scene.submitted(array(50), true) else {
        panic!("a busy worker could run it later")
    };
}

#[test]
fn a_client_touches_only_its_own_jobs_and_an_admin_everybodys() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let (mine, theirs) = (scene.submit_as("eve", single()), scene.submit(single()));
    let cancel = |parts: Vec<Part>| Call::Cancel { parts, whose: Whose::Allowed, why: Cancellation::Interrupted };
    let retry =
        |parts: Vec<Part>| Call::Retry { parts, whose: Whose::Allowed, failed_only: false, recalled: Vec::new() };
    assert_eq!(scene.failure("eve", cancel(job(theirs))), FailureCode::Forbidden);
    assert_eq!(scene.failure("eve", cancel(vec![Part::Task(task(theirs, 0))])), FailureCode::Forbidden);
    assert_eq!(scene.failure("eve", retry(job(theirs))), FailureCode::Forbidden);
    assert_eq!(scene.failure("eve", Call::Watch(vec![theirs])), FailureCode::Forbidden);
    assert_eq!(scene.failure("eve", Call::Explain(job(theirs))), FailureCode::Forbidden);
    let forget = Call::Forget { jobs: vec![(theirs, key("admin"))], whose: Whose::Allowed };
    assert_eq!(scene.failure("eve", forget), FailureCode::Forbidden);
    let all = vec![Part::Jobs(JobId(0), JobId(u64::MAX))];
    assert_eq!(scene.changed("eve", cancel(all)).affected, 1, "a range means its own");
    assert_eq!(scene.ended(mine), Some(TaskState::Cancelled));
    assert_eq!(scene.ended(theirs), None);
    let changes = scene.changed("admin", retry(job(mine)));
    assert_eq!((changes.affected, changes.owners), (1, vec![(name("client-2"), 1)]), "and it is told whose it was");
}

#[test]
fn a_recalled_job_of_somebody_else_cannot_be_done_again() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let theirs = scene.submit(single());
    scene.cancel(job(theirs));
    scene.pass(secs(100));
    let recalled = scene.ledger.recall(theirs).into_iter().collect();
    let retry = Call::Retry { parts: job(theirs), whose: Whose::Allowed, failed_only: false, recalled };
    assert_eq!(scene.failure("eve", retry), FailureCode::Forbidden);
    assert!(!scene.engine.knows(theirs));
}

#[test]
fn nobody_can_wait_for_somebody_elses_job() {
    use crate::model::spec::{Dependency, DependencyCondition};
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let theirs = scene.submit(single());
    let after = vec![Dependency { job: theirs, condition: DependencyCondition::Ended }];
    let submission = scene.submission(JobSpec { after, ..single() });
    let call = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
    assert_eq!(scene.failure("eve", call), FailureCode::Forbidden);
}

#[test]
fn only_ended_jobs_are_forgotten() {
    let mut scene = Scene::new();
    let (active, ended) = (scene.submit(single()), scene.submit(single()));
    scene.cancel(job(ended));
    let forget = |jobs: &[JobId]| {
        let jobs = jobs.iter().map(|job| (*job, key("admin"))).collect();
        Call::Forget { jobs, whose: Whose::Allowed }
    };
    let both = forget(&[ended, active]);
    assert_eq!(scene.failure("admin", both), FailureCode::Conflict);
    assert!(scene.ledger.has(ended), "all or nothing");
    assert_eq!(scene.changed("admin", forget(&[ended, ended])).affected, 1);
    assert!(!scene.ledger.has(ended) && !scene.engine.knows(ended));
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::JobForgotten { .. })), 1);
}

#[test]
fn an_explanation_says_for_each_worker_what_it_lacks() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", Capacity { memory_bytes: 10, ..slots(1) });
    let first = scene.submit(JobSpec { demand: memory(100), ..single() });
    assert_eq!(scene.on("a"), [task(first, 0)]);
    let waiting = scene.submit(JobSpec { demand: memory(100), ..single() });
    let explained = scene.explained(job(waiting));
    let [explanation] = &explained[..] else { panic!("one task waits") };
    assert_eq!((explanation.task, explanation.state), (task(waiting, 0), TaskState::Ready));
    let lacks: Vec<(String, Vec<String>, bool)> =
        explanation.workers.iter().map(|w| (w.worker.to_string(), w.lacks.clone(), w.never)).collect();
    assert_eq!(
        lacks,
        [
            ("a".to_owned(), vec!["slots: 1 of 1 taken".to_owned()], false),
            ("b".to_owned(), vec!["memory: wants 100 bytes, has 10 bytes".to_owned()], true),
        ]
    );
}

#[test]
fn an_explanation_says_what_is_no_workers_fault() {
    use crate::model::spec::{Dependency, DependencyCondition};
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let throttled = scene.submit(JobSpec { max_concurrent: Some(1), ..array(2) });
    let condition = DependencyCondition::Succeeded;
    let last = scene.submit(JobSpec { after: vec![Dependency { job: throttled, condition }], ..single() });
    let failed = scene.submit(single());
    scene.ends("a", task(failed, 0), exit(1));
    let waits: Vec<String> = [throttled, last, failed]
        .into_iter()
        .map(|id| scene.explained(job(id)).pop().and_then(|one| one.waits_for).expect("it waits"))
        .collect();
    assert_eq!(waits[0], "%MAX: 1 of its job's tasks are running");
    assert_eq!(waits[1], format!("job {throttled} to end"));
    assert!(waits[2].starts_with("its next try in "), "{}", waits[2]);
    assert_eq!(scene.explained(vec![Part::Task(task(throttled, 1))])[0].state, TaskState::Running);
}

#[test]
fn a_job_all_of_whose_tasks_run_is_explained_by_where_they_do() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let id = scene.submit(array(2));
    let [explained] = scene.explained(job(id)).try_into().expect("one for the job");
    assert_eq!((explained.task, explained.state), (task(id, 1), TaskState::Running));
    assert_eq!((explained.workers[0].worker.as_str(), explained.waits_for), ("a", None));
}

#[test]
fn the_roster_shows_what_each_worker_has_and_uses() {
    let mut scene = Scene::new();
    scene.worker("b", slots(2));
    scene.worker("a", Capacity { gpus: 2, ..slots(4) });
    let demand = Demand { cpu: MilliCpu(500), memory_bytes: 7, gpus: 1, ..Demand::default() };
    let id = scene.submit(JobSpec { demand, ..single() });
    let Reply::Workers(workers) = scene.answer("admin", Call::Workers) else { panic!("no roster") };
    let seen: Vec<_> = workers.iter().map(|w| (w.name.as_str(), w.state, w.slots.used, w.gpus.used)).collect();
    assert_eq!(seen, [("a", WorkerState::Busy, 1, 1), ("b", WorkerState::Idle, 0, 0)]);
    assert_eq!((workers[0].cpu.used, workers[0].memory_bytes.used), (500, 7));
    assert_eq!(workers[0].labels["arch"], "x86_64");
    scene.ends("a", task(id, 0), OK);
    let Reply::Workers(workers) = scene.answer("admin", Call::Workers) else { panic!("no roster") };
    assert_eq!(workers[0].tasks_done, 1);
}

#[test]
fn the_status_counts_the_cluster() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    scene.submit(array(5));
    scene.works_off_one("a");
    let Reply::Status(status) = scene.answer("admin", Call::Status) else { panic!("no status") };
    assert_eq!((status.workers, status.max_workers), (1, 10));
    assert_eq!((status.slots.total, status.slots.used), (2, 2));
    assert_eq!((status.jobs_active, status.tasks_done, status.tasks_last_minute), (1, 1, 1));
    assert_eq!((status.tasks.total, status.tasks.running, status.tasks.ready), (5, 2, 2));
}

#[test]
fn a_job_is_one_target_in_however_many_ranges_it_is_named() {
    let mut scene = Scene::new();
    let jobs: Vec<JobId> = (0..3).map(|_| scene.submit(single())).collect();
    let parts = vec![Part::Jobs(JobId(0), JobId(u64::MAX)); 10_000];
    let targets = scene.engine.targets(scene.clients["admin"], &parts, Whose::Allowed).expect("they are the admin's");
    assert_eq!(targets.len(), jobs.len());
    assert_eq!(scene.explained(parts.clone()).len(), jobs.len());
    let cancel = Call::Cancel { parts, whose: Whose::Allowed, why: Cancellation::Interrupted };
    assert_eq!(scene.changed("admin", cancel).affected, 3);
}
