//! Workers that cannot start a task although nothing is wrong with it: they do not have its directory, or are short of
//! something.

use super::*;
use crate::model::messages::RefusedAttempt;
use crate::model::obstacle::{DirectoryFault, Shortage};
use crate::model::spec::Workdir;

impl Scene {
    /// A worker refuses a task that it holds.
    fn refuses(&mut self, who: &'static str, task: TaskId, fault: DirectoryFault) {
        let order = self.forgets(who, task);
        self.says(who, WorkerMessage::Refused(vec![RefusedAttempt { id: order.id(), fence: order.fence, fault }]));
    }

    /// What each worker lacks for the first task of a job that waits.
    fn lacking(&mut self, id: JobId) -> Vec<String> {
        let workers = self.explained(job(id)).remove(0).workers;
        workers.into_iter().map(|lack| format!("{} {}", lack.worker, lack.lacks.join("; "))).collect()
    }
}

fn within(directory: &str) -> JobSpec {
    JobSpec { workdir: Workdir::Existing(directory.into()), ..single() }
}

#[test]
fn a_task_whose_directory_is_missing_runs_elsewhere_and_nothing_is_counted() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    scene.worker("b", slots(1));
    let id = scene.submit(JobSpec { no_retry: true, ..within("/data") });
    assert_eq!(scene.on("a"), [task(id, 0)]);
    scene.refuses("a", task(id, 0), DirectoryFault::Missing);
    assert_eq!(scene.on("b"), [task(id, 0)]);
    scene.ends("b", task(id, 0), OK);
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
    let TaskCounts { failures, lost, .. } = scene.counts(task(id, 0));
    assert_eq!((failures, lost), (0, 0));
}

#[test]
fn a_task_that_no_worker_has_the_directory_for_waits_and_is_explained() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    scene.worker("b", slots(2));
    let id = scene.submit(within("/data"));
    scene.refuses("a", task(id, 0), DirectoryFault::Missing);
    scene.refuses("b", task(id, 0), DirectoryFault::Forbidden);
    assert_eq!(scene.state(task(id, 0)), TaskState::Ready);
    let expected = ["a has no directory /data", "b has no directory /data to run in: permission denied"];
    assert_eq!(scene.lacking(id), expected);
    let other = scene.submit(within("/data"));
    assert_eq!((scene.on("a"), scene.on("b")), (vec![], vec![]), "another job of that directory is not tried either");
    let elsewhere = scene.submit(within("/other"));
    assert_eq!(scene.on("a"), [task(elsewhere, 0)]);
    scene.pass(secs(9));
    assert!(scene.on("b").is_empty());
    scene.pass(secs(2));
    let held: BTreeSet<TaskId> = [scene.on("a"), scene.on("b")].concat().into_iter().collect();
    assert_eq!(held, BTreeSet::from([task(id, 0), task(other, 0), task(elsewhere, 0)]), "both are tried again");
}

#[test]
fn a_worker_that_joins_is_tried_at_once() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(within("/data"));
    scene.refuses("a", task(id, 0), DirectoryFault::NotDirectory);
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), [task(id, 0)]);
}

#[test]
fn room_is_not_kept_for_a_task_on_a_worker_without_its_directory() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let small = |id| JobSpec { demand: memory(id), ..single() };
    let running = scene.submit(small(40_000));
    let large = scene.submit(JobSpec { demand: memory(60_000), ..within("/data") });
    assert!(scene.lacking(large)[0].contains("memory"), "its room is reserved");
    scene.ends("a", task(running, 0), OK);
    scene.refuses("a", task(large, 0), DirectoryFault::Missing);
    let behind = scene.submit(small(50_000));
    assert_eq!(scene.on("a"), [task(behind, 0)]);
}

#[test]
fn a_started_task_cannot_be_refused() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(JobSpec { no_retry: true, ..within("/data") });
    scene.starts("a", task(id, 0));
    scene.refuses("a", task(id, 0), DirectoryFault::Missing);
    assert_eq!(scene.outcome(task(id, 0)), Some(Outcome::Lost));
}

#[test]
fn a_worker_that_is_short_of_something_gets_no_task_until_it_says_so() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    scene.worker("b", slots(1));
    scene.submit(array(3));
    let first = scene.on("a")[0];
    scene.says("a", WorkerMessage::Short(Some(Shortage::Descriptors)));
    scene.gives_back("a", first);
    scene.works_off_one("b");
    assert_eq!(scene.on("b"), [first], "what it gave back runs elsewhere");
    scene.ends("b", first, OK);
    assert_eq!(scene.counts(first).failures, 0);
    let waiting = scene.submit(single());
    assert_eq!(scene.on("b"), [task(waiting, 0)]);
    let last = scene.submit(single());
    let explained = scene.lacking(last);
    assert_eq!(explained[0], "a no file descriptors left: it tries again by itself");
    let Reply::Workers(views) = scene.answer("admin", Call::Workers) else { panic!("no workers") };
    assert_eq!(views[0].shortage, Some(Shortage::Descriptors));
    scene.says("a", WorkerMessage::Short(None));
    assert!(scene.on("a").contains(&task(last, 0)));
}

#[test]
fn a_worker_that_comes_back_is_not_thought_short_any_more() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.says("a", WorkerMessage::Short(Some(Shortage::Disk)));
    scene.loses_its_link("a");
    scene.reconnects("a");
    let id = scene.submit(single());
    assert_eq!(scene.on("a"), [task(id, 0)]);
}
