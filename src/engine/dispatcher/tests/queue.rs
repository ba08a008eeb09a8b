//! The queue: order, arrays, `%MAX`, and what is said to workers.

use super::*;
use crate::model::spec::RetryPolicy;

#[test]
fn a_submitted_task_runs_on_a_free_worker_and_its_success_ends_the_job() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    assert_eq!(scene.on("a"), [task(job, 0)]);
    assert_eq!(scene.state(task(job, 0)), TaskState::Running);
    scene.ends("a", task(job, 0), OK);
    assert_eq!(scene.state(task(job, 0)), TaskState::Succeeded);
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn while_the_disk_is_full_nothing_new_is_taken_or_started_and_what_runs_ends() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let (running, queued) = (scene.submit(single()), scene.submit(single()));
    let earlier = scene.submission(single());
    let call = |submission| Call::Submit { submission, ended_dependencies: BTreeMap::new() };
    let Reply::Submitted { job: known, .. } = scene.answer("admin", call(earlier.clone())) else { panic!("refused") };
    scene.disk(DiskSpace::Reserve);
    let new = scene.submission(single());
    assert_eq!(scene.failure("admin", call(new.clone())), FailureCode::Full);
    assert!(
        matches!(scene.answer("admin", call(earlier)), Reply::Submitted { job, .. } if job == known),
        "asked again"
    );
    scene.ends("a", task(running, 0), OK);
    assert_eq!(scene.ended(running), Some(TaskState::Succeeded));
    assert_eq!((scene.on("a"), scene.state(task(queued, 0))), (vec![], TaskState::Ready));
    scene.disk(DiskSpace::Enough);
    assert_eq!(scene.on("a"), [task(queued, 0)]);
    assert!(matches!(scene.answer("admin", call(new)), Reply::Submitted { .. }));
}

#[test]
fn a_job_that_has_expired_is_forgotten_unless_it_was_taken_up_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let (old, again) = (
        scene.submit(single()),
        scene.submit(JobSpec { retry: RetryPolicy { limit: Some(0), ..RetryPolicy::default() }, ..single() }),
    );
    scene.ends("a", task(old, 0), OK);
    scene.ends("a", task(again, 0), exit(1));
    assert_eq!(scene.retry(job(again), true), 1);
    scene.expire(&[old, again]);
    let forgotten = |id: JobId| Notice::JobForgotten { job: id };
    assert!(scene.notices.contains(&forgotten(old)) && !scene.notices.contains(&forgotten(again)));
    assert!(scene.notices.contains(&Notice::JobsExpired { jobs: vec![old] }), "the log says which");
    scene.ends("a", task(again, 0), OK);
    assert_eq!(scene.ended(again), Some(TaskState::Succeeded));
}

#[test]
fn jobs_of_one_priority_run_in_the_order_of_their_submission() {
    let mut scene = Scene::new();
    let jobs: Vec<JobId> = (0..3).map(|_| scene.submit(single())).collect();
    scene.worker("a", slots(1));
    for id in jobs {
        assert_eq!(scene.on("a"), [task(id, 0)]);
        scene.works_off_one("a");
    }
}

#[test]
fn a_job_of_higher_priority_goes_before_those_that_wait() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let running = scene.submit(single());
    let low = scene.submit(JobSpec { priority: -1, ..single() });
    let plain = scene.submit(single());
    let high = scene.submit(JobSpec { priority: 7, ..single() });
    for id in [running, high, plain, low] {
        assert_eq!(scene.on("a"), [task(id, 0)]);
        scene.works_off_one("a");
    }
}

#[test]
fn tasks_of_an_array_are_numbered_by_their_values_and_run_in_that_order() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let job = scene.submit(JobSpec { items: Items::Range { first: 10, last: 30, step: 10 }, ..single() });
    assert_eq!(scene.on("a"), [task(job, 10), task(job, 20)]);
    scene.ends("a", task(job, 20), OK);
    assert_eq!(scene.on("a"), [task(job, 10), task(job, 30)]);
}

#[test]
fn an_array_of_a_million_costs_a_row_only_for_tasks_that_were_handed_out() {
    let mut scene = Scene::new();
    let job = scene.submit(array(1_000_000));
    scene.worker("a", slots(3));
    assert_eq!(scene.on("a").len(), 3);
    assert_eq!(scene.ledger.rows(job), 3);
    assert_eq!(scene.engine.jobs.at(job).tasks.len(), 3);
    assert_eq!(scene.engine.jobs.at(job).ready.range_count(), 1);
}

#[test]
fn an_array_with_a_maximum_never_has_more_tasks_handed_out() {
    let mut scene = Scene::new();
    scene.worker("a", slots(8));
    let job = scene.submit(JobSpec { max_concurrent: Some(2), ..array(5) });
    assert_eq!(scene.on("a"), [task(job, 1), task(job, 2)]);
    let other = scene.submit(single());
    assert!(scene.on("a").contains(&task(other, 0)), "others use the slots that it may not");
    scene.ends("a", task(job, 1), OK);
    assert_eq!(scene.on("a").iter().filter(|task| task.job == job).count(), 2);
    scene.works_off();
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn tasks_assigned_in_one_step_go_in_one_message_behind_the_spec_they_need() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.said.clear();
    scene.submit(array(4));
    let kinds: Vec<&str> = scene
        .said
        .iter()
        .map(|(_, message, _)| match message {
            DispatcherMessage::Learn(_) => "learn",
            DispatcherMessage::Assign(list) if list.len() == 4 => "assign all",
            _ => "else",
        })
        .collect();
    assert_eq!(kinds, ["learn", "assign all"]);
}

#[test]
fn a_spec_is_sent_once_a_job_and_link() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(array(3));
    scene.ends("a", task(job, 1), OK);
    assert_eq!(scene.workers["a"].learnt, [job]);
    scene.loses_its_link("a");
    scene.reconnects("a");
    scene.ends("a", task(job, 2), OK);
    assert_eq!(scene.workers["a"].learnt, [job], "the new link needs it again");
}

#[test]
fn a_worker_that_misses_a_spec_gets_it_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.says("a", WorkerMessage::SpecMissing(job));
    assert_eq!(scene.workers["a"].learnt, [job, job]);
    scene.says("a", WorkerMessage::SpecMissing(JobId(77)));
    assert_eq!(scene.workers["a"].learnt, [job, job], "of a job that it has nothing of there is no spec to send");
}

#[test]
fn a_job_that_has_left_memory_is_forgotten_by_the_workers_that_know_it() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.works_off();
    assert!(scene.engine.knows(job));
    scene.pass(secs(61));
    assert!(!scene.engine.knows(job));
    assert_eq!(scene.workers["a"].learnt, []);
}

#[test]
fn only_so_many_ended_jobs_are_kept_in_memory() {
    let mut scene = Scene::new();
    let first = scene.submit(single());
    scene.cancel(job(first));
    let engine = &mut scene.engine;
    let (link, now) = (scene.clients["admin"], scene.now);
    for n in 0..10_050 {
        let spec = SealedSpec::seal(single());
        let submission = Submission { spec, idempotency_key: format!("{n}"), strict: false };
        let submit = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
        engine.handle_message(now, link, Inbound::Request { request: RequestId(100_000 + n), call: submit });
    }
    let all = vec![Part::Jobs(JobId(0), JobId(u64::MAX))];
    let cancel = Call::Cancel { parts: all, whose: Whose::Allowed, why: Cancellation::Interrupted };
    engine.handle_message(now, link, Inbound::Request { request: RequestId(1_000_000), call: cancel });
    assert!(!engine.knows(first), "it ended first");
    assert_eq!(engine.jobs.iter().count(), 10_000);
    engine.check_invariants();
}

#[test]
fn assignments_of_tasks_that_must_not_run_twice_wait_for_the_disk_and_so_do_their_cancels() {
    for spec in [JobSpec { no_retry: true, ..single() }, JobSpec { exclusive: true, ..single() }] {
        let mut scene = Scene::new();
        scene.worker("a", slots(1));
        scene.said.clear();
        let id = scene.submit(spec);
        scene.cancel(job(id));
        let waited = |wanted: fn(&DispatcherMessage) -> bool| -> Vec<bool> {
            scene.said.iter().filter(|(_, message, _)| wanted(message)).map(|(_, _, waited)| *waited).collect()
        };
        assert_eq!(waited(|message| matches!(message, DispatcherMessage::Assign(_))), [true]);
        assert_eq!(waited(|message| matches!(message, DispatcherMessage::Cancel(_))), [true]);
    }
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.submit(single());
    let assign = scene.said.iter().find(|(_, message, _)| matches!(message, DispatcherMessage::Assign(_)));
    assert!(matches!(assign, Some((_, _, false))), "other assignments need not wait");
}

#[test]
fn every_assignment_has_a_greater_fence_than_all_before() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.submit(array(5));
    scene.works_off();
    let fences: Vec<_> = scene.records.iter().filter_map(fence_of).collect();
    assert_eq!(fences.len(), 5);
    assert!(fences.windows(2).all(|pair| pair[0] < pair[1]));
}

fn fence_of(record: &Record) -> Option<crate::model::Fence> {
    match record {
        Record::AttemptAssigned { fence, .. } => Some(*fence),
        _ => None,
    }
}

#[test]
fn the_queue_is_full_when_its_specs_fill_the_memory_and_ended_jobs_leave_early_for_others() {
    let mut scene = Scene::new();
    let large = JobSpec { items: Items::List(vec![vec![0; 60 << 20].into()].into()), ..single() };
    let large = scene.submission(large);
    let submit = |key: usize| {
        let submission = Submission { idempotency_key: format!("large {key}"), ..large.clone() };
        Call::Submit { submission, ended_dependencies: BTreeMap::new() }
    };
    let mut taken = Vec::new();
    let refused = loop {
        match scene.answer("admin", submit(taken.len())) {
            Reply::Submitted { job, .. } => taken.push(job),
            Reply::Failed(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((taken.len(), refused.code), (17, FailureCode::Full));
    assert_eq!(refused.text, "the queue is full: its jobs take 1024 MiB, which is the most");
    scene.submit(single());
    scene.cancel(job(taken[0]));
    assert_eq!(scene.failure("admin", submit(18)), FailureCode::Full, "it has only just ended");
    scene.pass(secs(3));
    assert!(scene.engine.knows(taken[0]));
    assert!(matches!(scene.answer("admin", submit(18)), Reply::Submitted { .. }));
    assert!(!scene.engine.knows(taken[0]), "it left early");
    let recalled = scene.ledger.recall(taken[0]).into_iter().collect();
    let retry = Call::Retry { parts: job(taken[0]), whose: Whose::Allowed, failed_only: false, recalled };
    assert_eq!(scene.failure("admin", retry), FailureCode::Full);
    scene.dispatcher_restarts();
    assert!(scene.engine.knows(taken[1]), "what was taken is not refused later");
}
