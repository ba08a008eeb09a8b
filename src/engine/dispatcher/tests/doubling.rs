//! Second attempts of what runs on a worker that has fallen silent.

use super::*;

/// A task on `a`, which is silent for long enough, and `b`, which has nothing to do.
fn doubled() -> (Scene, TaskId) {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.starts("a", task(job, 0));
    scene.worker("b", slots(1));
    scene.falls_silent("a");
    scene.pass(secs(7));
    assert_eq!(scene.on("b"), [task(job, 0)]);
    (scene, task(job, 0))
}

fn doublings(scene: &Scene) -> usize {
    scene.noticed(|notice| matches!(notice, Notice::TaskDoubled { .. }))
}

#[test]
fn the_first_of_two_results_ends_the_other_attempt_whichever_it_is() {
    for (first, other) in [("a", "b"), ("b", "a")] {
        let (mut scene, task) = doubled();
        scene.says("a", WorkerMessage::Heartbeat { sequence: 1 });
        scene.ends(first, task, OK);
        assert_eq!(scene.ended(task.job), Some(TaskState::Succeeded));
        assert_eq!(scene.outcome(task), Some(OK));
        assert!(scene.workers[other].told_to_end(task), "{other} is told to end its attempt");
        scene.ends(other, task, exit(9));
        assert_eq!(scene.outcome(task), Some(OK), "what comes later changes nothing");
        assert_eq!(scene.engine.status(scene.now).results_discarded, 1);
    }
}

#[test]
fn an_attempt_that_was_ended_for_the_sake_of_the_other_is_no_late_result() {
    let (mut scene, task) = doubled();
    scene.ends("b", task, OK);
    scene.says("a", WorkerMessage::Heartbeat { sequence: 1 });
    scene.ends("a", task, Outcome::Cancelled(Cancellation::Superseded));
    assert_eq!(scene.engine.status(scene.now).results_discarded, 0);
    assert_eq!(scene.workers["a"].thanked.len(), 1);
}

#[test]
fn a_second_attempt_uses_no_retry_and_counts_as_no_failure() {
    let (mut scene, task) = doubled();
    assert_eq!(scene.counts(task), TaskCounts { attempts: 2, failures: 0, lost: 0 });
    scene.ends("b", task, exit(1));
    assert_eq!(scene.counts(task), TaskCounts { attempts: 2, failures: 1, lost: 0 }, "one failure, not two");
    assert_ne!(scene.ended(task.job), Some(TaskState::Failed), "its retries are left");
}

#[test]
fn a_worker_that_returns_keeps_its_attempt_beside_the_second_one() {
    let (mut scene, task) = doubled();
    scene.reconnects("a");
    assert!(!scene.workers["a"].told_to_end(task) && !scene.workers["b"].told_to_end(task));
    scene.ends("a", task, OK);
    assert_eq!(scene.ended(task.job), Some(TaskState::Succeeded));
    assert!(scene.workers["b"].told_to_end(task));
}

#[test]
fn a_worker_that_is_lost_at_last_leaves_the_task_to_the_second_attempt() {
    let (mut scene, task) = doubled();
    scene.pass(secs(60));
    assert_eq!(scene.state(task), TaskState::Running);
    assert_eq!(scene.counts(task), TaskCounts { attempts: 2, failures: 0, lost: 1 });
    scene.ends("b", task, OK);
    assert_eq!(scene.ended(task.job), Some(TaskState::Succeeded));
}

#[test]
fn when_the_second_worker_falls_silent_too_there_is_no_third_attempt_until_the_first_is_lost() {
    let (mut scene, task) = doubled();
    scene.worker("c", slots(1));
    scene.falls_silent("b");
    scene.pass(secs(30));
    assert_eq!(scene.on("c"), []);
    scene.pass(secs(25));
    assert_eq!(scene.on("c"), [task], "`a` is lost, `b` is silent");
    assert_eq!(doublings(&scene), 2);
}

#[test]
fn a_second_attempt_that_cannot_be_started_leaves_the_first_alone() {
    let (mut scene, task) = doubled();
    scene.ends("b", task, Outcome::TransferFailed("its input is on a".to_owned()));
    assert_eq!(scene.state(task), TaskState::Running);
    assert_eq!(scene.counts(task).failures, 0);
    scene.pass(secs(5));
    assert_eq!(scene.on("b"), [], "it is not tried again and again");
    scene.says("a", WorkerMessage::Heartbeat { sequence: 1 });
    scene.ends("a", task, OK);
    assert_eq!(scene.outcome(task), Some(OK));
}

#[test]
fn second_attempts_take_only_what_nothing_else_wants() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let silent = scene.submit(single());
    scene.falls_silent("a");
    scene.pass(secs(7));
    let waiting = scene.submit(JobSpec { priority: -100, ..single() });
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), [task(waiting, 0)], "whatever its priority");
    scene.works_off_one("b");
    assert_eq!(scene.on("b"), [task(silent, 0)]);
}

#[test]
fn what_may_not_run_twice_or_is_heard_by_a_client_is_not_started_a_second_time() {
    let attached = JobSpec { output: crate::model::spec::OutputMode::Attached, ..single() };
    for spec in [JobSpec { exclusive: true, ..single() }, JobSpec { no_retry: true, ..single() }, attached] {
        let mut scene = Scene::new();
        scene.worker("a", slots(1));
        scene.submit(spec);
        scene.worker("b", slots(1));
        scene.falls_silent("a");
        scene.pass(secs(30));
        assert_eq!(scene.on("b"), []);
    }
}

#[test]
fn second_attempts_count_towards_the_most_tasks_of_a_job_at_once() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let job = scene.submit(JobSpec { max_concurrent: Some(3), ..array(2) });
    scene.worker("b", slots(4));
    scene.falls_silent("a");
    scene.pass(secs(7));
    assert_eq!(scene.on("b").len(), 1);
    scene.works_off_one("b");
    assert_eq!(scene.on("b").len(), 1, "there is room for the other one now");
    scene.works_off_one("b");
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn a_worker_that_is_heard_in_time_has_nothing_of_its_started_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.falls_silent("a");
    scene.pass(secs(7));
    scene.says("a", WorkerMessage::Heartbeat { sequence: 1 });
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), []);
    assert_eq!(scene.on("a"), [task(job, 0)]);
}

#[test]
fn a_dispatcher_that_stood_still_starts_nothing_twice_before_it_has_listened_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.submit(single());
    scene.falls_silent("a");
    scene.pass(secs(7));
    scene.stall(secs(5));
    scene.worker("b", slots(1));
    scene.pass(secs(5));
    assert_eq!(scene.on("b"), []);
    scene.pass(secs(2));
    assert_eq!(scene.on("b").len(), 1);
}

#[test]
fn a_restarted_dispatcher_starts_nothing_twice_while_it_waits_for_the_workers() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.submit(single());
    scene.dispatcher_restarts();
    scene.worker("b", slots(1));
    scene.pass(secs(55));
    assert_eq!(scene.on("b"), []);
}

#[test]
fn both_attempts_survive_a_restart_of_the_dispatcher() {
    let (mut scene, task) = doubled();
    scene.dispatcher_restarts();
    scene.reconnects("b");
    scene.reconnects("a");
    assert!(!scene.workers["a"].told_to_end(task) && !scene.workers["b"].told_to_end(task));
    scene.ends("a", task, OK);
    assert!(scene.workers["b"].told_to_end(task));
    assert_eq!(scene.ended(task.job), Some(TaskState::Succeeded));
}

#[test]
fn when_only_the_first_attempt_is_left_it_survives_a_restart_as_well() {
    let (mut scene, task) = doubled();
    scene.guard_reports("b");
    assert_eq!(scene.state(task), TaskState::Running);
    scene.dispatcher_restarts();
    scene.reconnects("a");
    scene.ends("a", task, OK);
    assert_eq!(scene.ended(task.job), Some(TaskState::Succeeded));
}

#[test]
fn a_cancel_reaches_both_attempts_and_the_first_answer_ends_the_task() {
    let (mut scene, task) = doubled();
    scene.cancel(job(task.job));
    assert!(scene.workers["b"].told_to_end(task));
    scene.ends("b", task, Outcome::Cancelled(Cancellation::requested(None)));
    assert_eq!(scene.ended(task.job), Some(TaskState::Cancelled));
}
