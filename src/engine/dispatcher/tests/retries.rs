//! Failures and what follows: backoff, other workers, limits.

use super::*;
use crate::model::outcome::LimitSource;
use crate::model::spec::{Backoff, RetryOn, RetryPolicy};

fn retrying(limit: u32) -> JobSpec {
    JobSpec { retry: RetryPolicy { limit: Some(limit), ..RetryPolicy::default() }, ..single() }
}

#[test]
fn a_failed_task_waits_a_while_and_is_tried_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.ends("a", task(job, 0), exit(1));
    assert_eq!(scene.state(task(job, 0)), TaskState::Waiting);
    assert!(scene.ledger.not_before(task(job, 0)).is_some_and(|at| at <= scene.now + secs(1)));
    scene.pass(secs(1));
    assert_eq!(scene.on("a"), [task(job, 0)]);
    assert_eq!(scene.counts(task(job, 0)), TaskCounts { attempts: 2, failures: 1, lost: 0 });
}

#[test]
fn a_task_fails_for_good_after_the_dispatchers_number_of_retries() {
    let mut scene = Scene::with(DispatcherConfig { task_retries: 2, ..without_backlog() });
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    for _ in 0..3 {
        assert_eq!(scene.ended(job), None);
        scene.ends("a", task(job, 0), exit(9));
        scene.pass(secs(60));
    }
    assert_eq!(scene.ended(job), Some(TaskState::Failed));
    assert_eq!(scene.outcome(task(job, 0)), Some(exit(9)));
    assert_eq!(scene.counts(task(job, 0)).failures, 3);
}

#[test]
fn a_job_may_name_its_own_number_of_retries() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(retrying(0));
    scene.ends("a", task(job, 0), exit(1));
    assert_eq!(scene.ended(job), Some(TaskState::Failed));
}

#[test]
fn only_failures_that_the_policy_covers_are_tried_again() {
    let on = RetryOn { codes: Some(vec![75]), signal: false, oom: false, timeout: true };
    let spec = JobSpec { retry: RetryPolicy { limit: Some(9), backoff: Backoff::default(), on }, ..single() };
    for (outcome, again) in [
        (exit(75), true),
        (exit(1), false),
        (Outcome::Signalled(9), false),
        (Outcome::TimedOut(secs(1), LimitSource::Job), true),
        (Outcome::OutOfMemory, false),
    ] {
        let mut scene = Scene::new();
        scene.worker("a", slots(1));
        let job = scene.submit(spec.clone());
        scene.ends("a", task(job, 0), outcome.clone());
        assert_eq!(scene.ended(job).is_none(), again, "{outcome:?}");
    }
}

#[test]
fn a_task_over_its_time_limit_is_not_tried_again_unless_asked_for() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.ends("a", task(job, 0), Outcome::TimedOut(secs(300), LimitSource::Dispatcher));
    assert_eq!(scene.ended(job), Some(TaskState::Failed));
}

#[test]
fn a_retry_goes_to_another_worker_when_one_is_eligible() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(1));
    let job = scene.submit(retrying(3));
    assert_eq!(scene.on("a"), [task(job, 0)], "it has most room");
    scene.ends("a", task(job, 0), exit(1));
    scene.pass(secs(1));
    assert_eq!(scene.on("b"), [task(job, 0)]);
}

#[test]
fn a_retry_waits_for_another_worker_only_for_so_long() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(1));
    let failing = scene.submit(retrying(3));
    scene.submit(array(4));
    assert_eq!(scene.on("b").len(), 1, "the other one is busy");
    scene.ends("a", task(failing, 0), exit(1));
    scene.pass(secs(9));
    assert!(!scene.on("a").contains(&task(failing, 0)));
    assert_eq!(scene.state(task(failing, 0)), TaskState::Ready);
    scene.pass(secs(3));
    assert!(scene.on("a").contains(&task(failing, 0)), "nobody watches an idle worker for long");
}

#[test]
fn a_retry_stays_where_it_failed_when_no_other_worker_could_run_it() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", Capacity { memory_bytes: 1, ..slots(1) });
    let job = scene.submit(JobSpec { demand: memory(100), ..retrying(3) });
    scene.ends("a", task(job, 0), exit(1));
    scene.pass(secs(1));
    assert_eq!(scene.on("a"), [task(job, 0)]);
}

#[test]
fn a_retry_that_looked_for_another_worker_stays_when_that_one_leaves() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    scene.worker("b", slots(1));
    let failing = scene.submit(retrying(3));
    scene.submit(array(4));
    scene.ends("a", task(failing, 0), exit(1));
    scene.pass(secs(2));
    scene.guard_reports("b");
    scene.works_off_one("a");
    scene.pass(secs(10));
    assert!(scene.on("a").contains(&task(failing, 0)));
}

#[test]
fn tasks_that_wait_for_a_retry_hold_nobody_up() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let failing = scene.submit(retrying(3));
    let other = scene.submit(single());
    scene.ends("a", task(failing, 0), exit(1));
    assert_eq!(scene.on("a"), [task(other, 0)]);
}

#[test]
fn a_failed_task_that_may_be_started_once_only_is_not_tried_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(JobSpec { no_retry: true, ..retrying(5) });
    scene.ends("a", task(job, 0), exit(1));
    assert_eq!(scene.ended(job), Some(TaskState::Failed));
}

#[test]
fn so_many_failed_tasks_cancel_the_rest_of_their_job() {
    let mut scene = Scene::new();
    scene.worker("a", slots(3));
    let job = scene.submit(JobSpec { max_fails: Some(2), items: array(10).items, ..retrying(0) });
    scene.ends("a", task(job, 1), exit(1));
    assert_eq!(scene.on("a").len(), 3, "one is not enough");
    scene.ends("a", task(job, 2), exit(1));
    assert_eq!(scene.outcome(task(job, 10)), Some(Outcome::Cancelled(Cancellation::MaxFails)));
    let running = scene.on("a");
    assert_eq!(running.len(), 2);
    for task in running {
        assert!(scene.workers["a"].told_to_end(task));
        scene.ends("a", task, Outcome::Cancelled(Cancellation::MaxFails));
    }
    assert_eq!(scene.ended(job), Some(TaskState::Failed));
}

#[test]
fn failed_tasks_are_done_again_on_request_with_new_attempt_numbers() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let id = scene.submit(JobSpec { items: array(4).items, ..retrying(0) });
    for (index, code) in [(1, 0), (2, 1), (3, 2), (4, 0)] {
        scene.ends("a", task(id, index), exit(code));
    }
    assert_eq!(scene.ended(id), Some(TaskState::Failed));
    assert_eq!(scene.retry(job(id), true), 2);
    assert_eq!(scene.ended(id), None);
    assert_eq!(scene.on("a"), [task(id, 2), task(id, 3)]);
    assert_eq!(scene.counts(task(id, 2)), TaskCounts { attempts: 2, failures: 0, lost: 0 });
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn a_cancelled_array_is_done_again_as_one_record() {
    let mut scene = Scene::new();
    let id = scene.submit(array(100_000));
    scene.cancel(job(id));
    assert_eq!(scene.retry(job(id), true), 0, "none of them failed");
    let records = scene.records.len();
    assert_eq!(scene.retry(job(id), false), 100_000);
    assert_eq!(scene.records.len() - records, 3, "the job goes on, so do its rows, and who asked for it is kept");
    scene.worker("a", slots(2));
    assert_eq!(scene.on("a"), [task(id, 1), task(id, 2)]);
}

#[test]
fn failed_tasks_are_done_again_and_ended_before_that_as_one_record_whatever_their_number() {
    let mut scene = Scene::new();
    scene.worker("a", slots(50));
    let id = scene.submit(JobSpec { items: array(50).items, ..retrying(0) });
    for index in 1..=50 {
        scene.ends("a", task(id, index), exit(i32::from(index % 3 == 0)));
    }
    scene.loses_its_link("a");
    let records = scene.records.len();
    assert_eq!(scene.retry(job(id), true), 16);
    assert_eq!(scene.records.len() - records, 3, "the job goes on, so do its rows, and who asked for it is kept");
    assert_eq!(scene.state(task(id, 48)), TaskState::Ready);
    let records = scene.records.len();
    assert_eq!(scene.cancel(job(id)), 16);
    assert_eq!(scene.records.len() - records, 3, "the job is cancelled, so are its rows, and it ends");
    assert_eq!((scene.ended(id), scene.state(task(id, 48))), (Some(TaskState::Cancelled), TaskState::Cancelled));
}

#[test]
fn one_task_of_a_cancelled_job_is_done_again_alone() {
    let mut scene = Scene::new();
    let id = scene.submit(array(5));
    scene.cancel(job(id));
    assert_eq!(scene.retry(vec![Part::Task(task(id, 3))], false), 1);
    scene.worker("a", slots(5));
    assert_eq!(scene.on("a"), [task(id, 3)]);
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Cancelled));
    assert_eq!(scene.retry(job(id), false), 4, "and the others later");
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn a_job_that_has_left_memory_is_recalled_to_be_done_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let id = scene.submit(JobSpec { items: array(2).items, ..retrying(0) });
    scene.ends("a", task(id, 1), exit(1));
    scene.ends("a", task(id, 2), OK);
    scene.pass(secs(120));
    assert!(!scene.engine.knows(id));
    assert_eq!(scene.retry(job(id), true), 1);
    assert_eq!(scene.on("a"), [task(id, 1)]);
    assert_eq!(scene.counts(task(id, 1)).attempts, 2, "no number is used twice");
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn a_job_that_is_still_being_cancelled_cannot_be_done_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(array(2));
    scene.cancel(job(id));
    let retry = Call::Retry { parts: job(id), whose: Whose::Allowed, failed_only: false, recalled: Vec::new() };
    assert_eq!(scene.failure("admin", retry), FailureCode::Conflict);
}

#[test]
fn an_exclusive_task_that_was_lost_for_good_is_done_again_when_its_lease_is_over() {
    for restarted in [false, true] {
        let mut scene = Scene::new();
        scene.worker("a", slots(1));
        scene.pass(secs(100));
        let id = scene.submit(JobSpec { exclusive: true, no_retry: true, ..single() });
        let assigned = scene.now;
        scene.starts("a", task(id, 0));
        scene.guard_reports("a");
        assert_eq!(scene.outcome(task(id, 0)), Some(Outcome::Lost));
        if restarted {
            scene.dispatcher_restarts();
        }
        scene.worker("b", slots(1));
        assert_eq!(scene.retry(job(id), false), 1);
        scene.pass(secs(65));
        assert_eq!(scene.on("b"), [], "its first process may still live");
        scene.pass(secs(2));
        assert_eq!(scene.on("b"), [task(id, 0)]);
        assert!(scene.now.since(assigned) >= secs(66));
    }
}
