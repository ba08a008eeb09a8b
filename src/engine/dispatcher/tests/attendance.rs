//! The client of a `run`: gone for too long, back in time, or another one.

use super::*;
use crate::model::limits::CLIENT_RETURN;
use crate::model::spec::{OutputMode, RetryPolicy};

/// The job of a `run` that goes on for two minutes without its client.
fn attended(spec: JobSpec) -> JobSpec {
    JobSpec { client_grace: Some(secs(120)), ..spec }
}

fn attach(job: JobId, client: u64, takes_over: bool) -> Call {
    Call::Attach { job, client: ClientId(client), takes_over }
}

impl Scene {
    /// The link of a client is gone.
    fn cut(&mut self, who: &str) {
        self.engine.handle_link(self.now, self.clients[who], LinkChange::Down);
        self.perform();
    }

    /// The stream of a request is gone.
    fn leaves(&mut self, who: &str, request: RequestId) {
        self.engine.handle_message(self.now, self.clients[who], Inbound::RequestGone(request));
        self.perform();
    }

    fn is_attached(&mut self, who: &'static str, call: Call) -> bool {
        matches!(self.answer(who, call), Reply::Done { .. })
    }

    fn lost_its_client(&self, task: TaskId) -> bool {
        self.outcome(task) == Some(Outcome::Cancelled(Cancellation::ClientGone))
    }
}

#[test]
fn a_run_whose_client_is_gone_for_longer_than_its_grace_is_cancelled_be_it_one_task_or_an_array() {
    for spec in [attended(JobSpec { output: OutputMode::Attached, ..single() }), attended(array(3))] {
        let mut scene = Scene::new();
        scene.worker("a", slots(1));
        scene.client("eve", Role::Client);
        let id = scene.submit_as("eve", spec);
        let running = scene.on("a")[0];
        scene.pass(secs(300));
        assert_eq!(scene.state(running), TaskState::Running, "its client is there");
        scene.cut("eve");
        scene.pass(secs(119));
        assert!(!scene.workers["a"].told_to_end(running));
        scene.pass(secs(2));
        assert!(scene.workers["a"].told_to_end(running));
        scene.ends("a", running, Outcome::Cancelled(Cancellation::ClientGone));
        assert_eq!(scene.ended(id), Some(TaskState::Cancelled));
        assert!(scene.lost_its_client(running));
    }
}

#[test]
fn a_run_that_streams_and_says_nothing_else_goes_on_for_an_hour() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", JobSpec { output: OutputMode::Attached, ..single() });
    scene.cut("eve");
    scene.pass(secs(3599));
    assert_eq!(scene.ended(id), None);
    scene.pass(secs(2));
    assert!(scene.lost_its_client(task(id, 0)));
}

#[test]
fn a_run_that_is_not_to_outlive_its_client_ends_with_it() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", JobSpec { client_grace: Some(Millis(0)), ..array(2) });
    scene.cut("eve");
    scene.pass(Millis(1));
    assert!(scene.lost_its_client(task(id, 1)));
}

#[test]
fn a_run_whose_client_comes_back_in_time_goes_on() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(attended(single()));
    let first = scene.ask("admin", attach(id, 1, false));
    scene.leaves("admin", first);
    scene.pass(secs(110));
    scene.client("admin", Role::Admin);
    assert!(scene.is_attached("admin", attach(id, 1, false)));
    scene.pass(secs(110));
    assert!(!scene.workers["a"].told_to_end(task(id, 0)));
}

#[test]
fn the_end_of_an_older_stream_of_the_same_client_changes_nothing() {
    let mut scene = Scene::new();
    let id = scene.submit(attended(single()));
    let first = scene.ask("admin", attach(id, 1, false));
    assert!(scene.is_attached("admin", attach(id, 1, false)));
    scene.leaves("admin", first);
    scene.pass(secs(300));
    assert_eq!(scene.ended(id), None);
}

#[test]
fn a_second_client_is_refused_until_it_takes_over_and_the_first_is_told() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", attended(single()));
    let first = scene.ask("eve", attach(id, 1, false));
    assert_eq!(scene.failure("eve", attach(id, 2, false)), FailureCode::Conflict);
    assert_eq!(scene.heard(first).len(), 1, "it is not put out");
    assert!(scene.is_attached("admin", attach(id, 2, true)), "an admin may");
    let told = scene.heard(first).pop().cloned();
    assert!(matches!(told, Some(Reply::Failed(failure)) if failure.code == FailureCode::Conflict));
    assert_eq!(scene.failure("eve", attach(id, 1, false)), FailureCode::Conflict, "it comes back too late");
    scene.leaves("eve", first);
    scene.pass(secs(300));
    assert_eq!(scene.ended(id), None, "the newer one is there");
    scene.cut("admin");
    assert!(scene.is_attached("eve", attach(id, 1, false)), "now nobody is");
}

#[test]
fn only_the_owner_of_a_run_and_admins_can_be_its_client() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit(attended(single()));
    scene.cut("admin");
    assert_eq!(scene.failure("eve", attach(id, 1, true)), FailureCode::Forbidden);
    scene.pass(secs(121));
    assert!(scene.lost_its_client(task(id, 0)));
}

#[test]
fn a_submitted_job_needs_no_client() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    let looks = scene.ask("admin", attach(id, 1, false));
    scene.leaves("admin", looks);
    scene.pass(secs(4000));
    assert!(!scene.workers["a"].told_to_end(task(id, 0)));
}

#[test]
fn a_run_has_its_whole_grace_after_a_restart_to_find_its_client_again() {
    let mut scene = Scene::new();
    let ids = [(); 2].map(|()| scene.submit(attended(single())));
    scene.dispatcher_restarts();
    assert!(scene.is_attached("admin", attach(ids[0], 1, false)));
    scene.pass(secs(119));
    assert_eq!(scene.ended(ids[1]), None);
    scene.pass(secs(2));
    assert_eq!(scene.ended(ids[0]), None);
    assert!(scene.lost_its_client(task(ids[1], 0)));
}

#[test]
fn a_restart_ends_no_run_before_its_client_can_have_come_back() {
    let mut scene = Scene::new();
    let id = scene.submit(JobSpec { client_grace: Some(Millis(0)), ..single() });
    scene.dispatcher_restarts();
    scene.pass(Millis(CLIENT_RETURN.0 - 1000));
    assert_eq!(scene.ended(id), None);
    scene.pass(secs(2));
    assert!(scene.lost_its_client(task(id, 0)));
}

#[test]
fn the_time_that_the_dispatcher_stood_still_is_not_the_clients_absence() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", attended(single()));
    scene.cut("eve");
    scene.pass(secs(60));
    scene.stall(secs(1000));
    assert_eq!(scene.ended(id), None);
    scene.pass(secs(58));
    assert_eq!(scene.ended(id), None);
    scene.pass(secs(3));
    assert!(scene.lost_its_client(task(id, 0)));
}

#[test]
fn a_run_that_is_done_again_needs_no_client_and_keeps_to_that_over_a_restart() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let retry = RetryPolicy { limit: Some(0), ..RetryPolicy::default() };
    let id = scene.submit(attended(JobSpec { retry, ..array(2) }));
    scene.ends("a", task(id, 1), exit(1));
    scene.ends("a", task(id, 2), exit(1));
    assert_eq!(scene.ended(id), Some(TaskState::Failed));
    scene.retry(job(id), false);
    scene.cut("admin");
    scene.client("admin", Role::Admin);
    scene.pass(secs(300));
    scene.dispatcher_restarts();
    scene.reconnects("a");
    scene.pass(secs(300));
    assert_eq!(scene.ended(id), None);
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}
