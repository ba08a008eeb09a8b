//! Which attempts of a `run` are followed by another one.

use super::*;
use crate::model::outcome::Unrepeatable;
use crate::model::spec::{Backoff, OutputMode, RetryPolicy, StdinSource};
use crate::model::{AttemptId, AttemptNo};

/// A `run`, retried after a moment.
fn run() -> JobSpec {
    let retry =
        RetryPolicy { limit: Some(2), backoff: Backoff { min: Millis(1), max: Millis(1) }, ..Default::default() };
    JobSpec { output: OutputMode::Attached, stdin: StdinSource::Attached, retry, ..single() }
}

fn first(id: JobId) -> AttemptId {
    AttemptId { task: task(id, 0), attempt: AttemptNo(1) }
}

fn marked(id: AttemptId) -> Call {
    Call::Unrepeatable { id, why: Unrepeatable::OutputPassedOn }
}

impl Scene {
    /// A `run` whose first attempt is on worker "a" and shows something.
    fn shows_output(&mut self) -> JobId {
        self.worker("a", slots(1));
        let id = self.submit(run());
        self.starts("a", task(id, 0));
        assert_eq!(self.answer("admin", marked(first(id))), Reply::Done { affected: 1 });
        id
    }
}

#[test]
fn what_was_shown_or_read_is_not_repeated_when_its_worker_is_lost() {
    for why in [Unrepeatable::OutputPassedOn, Unrepeatable::StdinConsumed] {
        for stopped in [false, true] {
            let mut scene = Scene::new();
            scene.worker("a", slots(1));
            let id = scene.submit(run());
            scene.starts("a", task(id, 0));
            scene.answer("admin", Call::Unrepeatable { id: first(id), why });
            scene.worker("b", slots(1));
            if stopped {
                scene.says("a", WorkerMessage::Stopping);
                scene.loses_its_link("a");
            } else {
                scene.guard_reports("a");
            }
            scene.pass(secs(120));
            assert_eq!(scene.outcome(task(id, 0)), Some(Outcome::Unrepeatable(why)), "stopped: {stopped}");
            assert_eq!((scene.ended(id), scene.on("b")), (Some(TaskState::Failed), vec![]));
        }
    }
}

#[test]
fn a_run_that_has_shown_and_read_nothing_is_repeated() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(run());
    scene.starts("a", task(id, 0));
    scene.worker("b", slots(1));
    scene.guard_reports("a");
    assert_eq!(scene.on("b"), [task(id, 0)]);
    scene.ends("b", task(id, 0), exit(1));
    scene.pass(secs(1));
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded), "and retried");
}

#[test]
fn the_failure_of_what_was_shown_is_the_tasks_own_though_it_has_retries_left() {
    let mut scene = Scene::new();
    let id = scene.shows_output();
    scene.ends("a", task(id, 0), exit(7));
    assert_eq!((scene.outcome(task(id, 0)), scene.ended(id)), (Some(exit(7)), Some(TaskState::Failed)));
}

#[test]
fn what_was_shown_is_still_known_after_a_restart() {
    let mut scene = Scene::new();
    let id = scene.shows_output();
    scene.dispatcher_restarts();
    scene.worker("b", slots(1));
    scene.pass(secs(130));
    let lost = Outcome::Unrepeatable(Unrepeatable::OutputPassedOn);
    assert_eq!((scene.outcome(task(id, 0)), scene.on("b")), (Some(lost), vec![]));
}

#[test]
fn what_is_marked_twice_is_written_once_and_what_is_over_cannot_be_marked() {
    let mut scene = Scene::new();
    let id = scene.shows_output();
    let records = scene.records.len();
    assert_eq!(scene.answer("admin", marked(first(id))), Reply::Done { affected: 1 });
    assert_eq!(scene.records.len(), records);
    let later = AttemptId { attempt: AttemptNo(2), ..first(id) };
    assert_eq!(scene.answer("admin", marked(later)), Reply::Done { affected: 0 }, "no such attempt");
    scene.works_off();
    assert_eq!(scene.answer("admin", marked(first(id))), Reply::Done { affected: 0 });
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn a_client_marks_only_runs_and_only_its_own() {
    let mut scene = Scene::new();
    scene.client("other", Role::Client);
    let id = scene.shows_output();
    assert_eq!(scene.failure("other", marked(first(id))), FailureCode::Forbidden);
    scene.worker("b", slots(1));
    let submitted = scene.submit(single());
    assert_eq!(scene.failure("admin", marked(first(submitted))), FailureCode::Conflict);
}
