//! Cancelling, and how jobs end.

use super::*;
use crate::model::spec::RetryPolicy;

#[test]
fn a_job_fails_when_any_task_failed_and_is_cancelled_when_any_was() {
    for (codes, ended) in [([0, 0], TaskState::Succeeded), ([0, 4], TaskState::Failed)] {
        let mut scene = Scene::new();
        scene.worker("a", slots(2));
        let retry = RetryPolicy { limit: Some(0), ..RetryPolicy::default() };
        let id = scene.submit(JobSpec { retry, ..array(2) });
        scene.ends("a", task(id, 1), exit(codes[0]));
        scene.ends("a", task(id, 2), exit(codes[1]));
        assert_eq!(scene.ended(id), Some(ended));
    }
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(array(2));
    scene.cancel(vec![Part::Task(task(id, 2))]);
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Cancelled));
}

#[test]
fn a_cancelled_array_is_one_record_and_ends_when_what_runs_has_ended() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let id = scene.submit(array(100_000));
    let records = scene.records.len();
    assert_eq!(scene.cancel(job(id)), 100_000);
    assert_eq!(scene.records.len() - records, 2);
    assert_eq!(scene.state(task(id, 50_000)), TaskState::Cancelled);
    assert_eq!(scene.ended(id), None);
    for index in [1, 2] {
        assert!(scene.workers["a"].told_to_end(task(id, index)));
        scene.ends("a", task(id, index), Outcome::Cancelled(Cancellation::requested(None)));
    }
    assert_eq!(scene.ended(id), Some(TaskState::Cancelled));
}

#[test]
fn a_cancelled_task_that_ended_first_ends_as_it_did_and_is_not_tried_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let id = scene.submit(array(2));
    scene.cancel(job(id));
    scene.ends("a", task(id, 1), OK);
    scene.ends("a", task(id, 2), exit(1));
    assert_eq!(scene.state(task(id, 1)), TaskState::Succeeded);
    assert_eq!(scene.state(task(id, 2)), TaskState::Failed);
}

#[test]
fn a_task_that_waits_for_its_next_try_is_cancelled_at_once() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.ends("a", task(id, 0), exit(1));
    assert_eq!(scene.cancel(job(id)), 1);
    assert_eq!(scene.ended(id), Some(TaskState::Cancelled));
    scene.pass(secs(5));
    assert_eq!(scene.on("a"), []);
}

#[test]
fn what_is_cancelled_while_its_worker_is_away_is_cancelled_there_when_it_returns() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.loses_its_link("a");
    scene.cancel(job(id));
    assert_eq!(scene.ended(id), None, "it may still run");
    scene.reconnects("a");
    assert!(scene.workers["a"].told_to_end(task(id, 0)));
}

#[test]
fn what_is_cancelled_while_its_worker_is_away_ends_with_that_worker() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.loses_its_link("a");
    scene.cancel(job(id));
    scene.pass(secs(61));
    let by = Some(super::owners::actor("admin", "client-1"));
    assert_eq!(scene.outcome(task(id, 0)), Some(Outcome::Cancelled(Cancellation::Requested { by, reason: None })));
    assert_eq!(scene.ended(id), Some(TaskState::Cancelled));
}

#[test]
fn cancelling_twice_concerns_nothing_the_second_time() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(array(3));
    assert_eq!(scene.cancel(job(id)), 3);
    assert_eq!(scene.cancel(job(id)), 0);
    assert_eq!(scene.workers["a"].told_to_end.len(), 1);
    assert_eq!(scene.cancel(vec![Part::Task(task(id, 1))]), 0);
}

#[test]
fn a_task_that_the_job_does_not_have_cannot_be_cancelled() {
    let mut scene = Scene::new();
    let id = scene.submit(array(3));
    let cancel =
        Call::Cancel { parts: vec![Part::Task(task(id, 4))], whose: Whose::Allowed, why: Cancellation::Interrupted };
    assert_eq!(scene.failure("admin", cancel), FailureCode::NotFound);
}

#[test]
fn an_ended_attempt_is_said_to_be_over_once() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.ends("a", task(id, 0), OK);
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::AttemptOver { .. })), 1);
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::TaskEnded { worker: Some(_), .. })), 1);
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::JobEnded { .. })), 1);
}
