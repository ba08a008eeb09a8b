//! Jobs that wait for other jobs.

use super::*;
use crate::model::spec::{Dependency, DependencyCondition, RetryPolicy};

fn after(jobs: &[JobId], condition: DependencyCondition) -> JobSpec {
    JobSpec { after: jobs.iter().map(|job| Dependency { job: *job, condition }).collect(), ..single() }
}

fn failing() -> JobSpec {
    JobSpec { retry: RetryPolicy { limit: Some(0), ..RetryPolicy::default() }, ..single() }
}

#[test]
fn a_job_waits_until_all_it_comes_after_have_succeeded() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let (first, second) = (scene.submit(single()), scene.submit(single()));
    let last = scene.submit(after(&[first, second], DependencyCondition::Succeeded));
    assert_eq!(scene.state(task(last, 0)), TaskState::Waiting);
    scene.ends("a", task(first, 0), OK);
    assert_eq!(scene.state(task(last, 0)), TaskState::Waiting);
    scene.ends("a", task(second, 0), OK);
    assert_eq!(scene.on("a"), [task(last, 0)]);
}

#[test]
fn a_job_fails_with_the_job_that_it_comes_after_and_so_does_what_comes_after_it() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(failing());
    let mut chain = vec![first];
    for _ in 0..2000 {
        let before = *chain.last().expect("a first");
        let submission = scene.submission(after(&[before], DependencyCondition::Succeeded));
        let link = scene.clients["admin"];
        let call = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
        let request = RequestId(10_000 + chain.len() as u64);
        scene.engine.handle_message(scene.now, link, Inbound::Request { request, call });
        chain.push(JobId(before.0 + 1));
    }
    scene.perform();
    scene.ends("a", task(first, 0), exit(1));
    let last = *chain.last().expect("a last");
    assert_eq!(scene.ended(last), Some(TaskState::Failed));
    assert_eq!(scene.outcome(task(chain[1], 0)), Some(Outcome::DependencyFailed(first)));
    assert_eq!(scene.outcome(task(last, 0)), Some(Outcome::DependencyFailed(JobId(last.0 - 1))));
}

#[test]
fn a_job_that_comes_after_any_end_runs_after_a_failure_too() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let first = scene.submit(failing());
    let last = scene.submit(after(&[first], DependencyCondition::Ended));
    scene.ends("a", task(first, 0), exit(1));
    assert_eq!(scene.on("a"), [task(last, 0)]);
}

#[test]
fn a_dependency_that_ended_before_is_judged_by_how_it_ended() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let good = scene.submit(single());
    scene.ends("a", task(good, 0), OK);
    let bad = scene.submit(failing());
    scene.ends("a", task(bad, 0), exit(1));
    let runs = scene.submit(after(&[good], DependencyCondition::Succeeded));
    assert_eq!(scene.on("a"), [task(runs, 0)]);
    let fails = scene.submit(after(&[good, bad], DependencyCondition::Succeeded));
    assert_eq!(scene.outcome(task(fails, 0)), Some(Outcome::DependencyFailed(bad)));
    assert_eq!(scene.ended(fails), Some(TaskState::Failed));
}

#[test]
fn a_dependency_that_has_left_memory_is_judged_by_what_the_store_says() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let gone = JobId(500);
    for (state, ended) in [(TaskState::Succeeded, None), (TaskState::Cancelled, Some(TaskState::Failed))] {
        let submission = scene.submission(after(&[gone], DependencyCondition::Succeeded));
        let ended_dependencies = BTreeMap::from([(gone, state)]);
        let Reply::Submitted { job, .. } = scene.answer("admin", Call::Submit { submission, ended_dependencies })
        else {
            panic!("it was not taken")
        };
        assert_eq!(scene.ended(job), ended);
    }
    let submission = scene.submission(after(&[gone], DependencyCondition::Succeeded));
    let unknown = Call::Submit { submission, ended_dependencies: BTreeMap::new() };
    assert_eq!(scene.failure("admin", unknown), FailureCode::NotFound);
}

#[test]
fn cancelling_a_job_that_waits_frees_what_it_waits_for() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let first = scene.submit(single());
    let last = scene.submit(after(&[first], DependencyCondition::Succeeded));
    scene.cancel(job(last));
    assert_eq!(scene.ended(last), Some(TaskState::Cancelled));
    scene.works_off();
    assert_eq!(scene.ended(first), Some(TaskState::Succeeded));
}

#[test]
fn jobs_done_again_together_keep_their_order() {
    let mut scene = Scene::new();
    scene.worker("a", slots(4));
    let first = scene.submit(failing());
    let last = scene.submit(after(&[first], DependencyCondition::Succeeded));
    scene.ends("a", task(first, 0), exit(1));
    assert_eq!(scene.ended(last), Some(TaskState::Failed));
    assert_eq!(scene.retry(vec![Part::Jobs(first, last)], true), 2);
    assert_eq!(scene.on("a"), [task(first, 0)]);
    assert_eq!(scene.state(task(last, 0)), TaskState::Waiting);
    scene.works_off();
    assert_eq!(scene.ended(last), Some(TaskState::Succeeded));
}
