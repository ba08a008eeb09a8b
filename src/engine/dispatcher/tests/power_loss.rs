//! Going on after the machine lost its power with records that were not synced.

use super::ledger::Ledger;
use super::*;
use crate::model::requests::NodeKind;

impl Scene {
    /// The machine loses its power with only `disk` on its disk, and the dispatcher starts anew.
    fn loses_power_with(&mut self, mut disk: Ledger) {
        disk.lose_power(&self.ledger);
        self.ledger = disk;
        self.dispatcher_restarts();
    }

    /// A worker's present instance comes back and says what it holds.
    fn comes_back(&mut self, who: &'static str) {
        self.reconnects(who);
        self.workers.get_mut(who).expect("a worker of this scene").beats = true;
    }

    fn waits_for(&mut self, job: JobId) -> Option<String> {
        match self.answer("admin", Call::Explain(vec![Part::Jobs(job, job)])) {
            Reply::Explained(list) => list.into_iter().next().and_then(|explained| explained.waits_for),
            other => panic!("not explained: {other:?}"),
        }
    }
}

#[test]
fn a_task_that_runs_and_whose_assignment_is_forgotten_is_not_started_a_second_time() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    scene.loses_its_link("a");
    scene.loses_its_link("b");
    let id = scene.submit(single());
    let disk = scene.ledger.clone();
    scene.reconnects("b");
    assert_eq!(scene.on("b"), [task(id, 0)]);
    scene.loses_power_with(disk);
    scene.comes_back("a");
    assert_eq!(scene.on("a"), [], "b may have it");
    scene.comes_back("b");
    assert_eq!(scene.on("a"), []);
    assert!(!scene.workers["b"].told_to_end(task(id, 0)));
    assert_eq!((scene.state(task(id, 0)), scene.counts(task(id, 0)).attempts), (TaskState::Running, 1));
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn tasks_wait_until_every_worker_has_reported_but_new_ones_do_not() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    scene.loses_its_link("a");
    scene.loses_its_link("b");
    let old = scene.submit(single());
    let disk = scene.ledger.clone();
    scene.loses_power_with(disk);
    scene.comes_back("a");
    let waits = scene.waits_for(old).expect("it waits");
    assert!(waits.contains("one worker") && waits.contains("power"), "{waits}");
    let new = scene.submit(single());
    assert_eq!(scene.on("a"), [task(new, 0)]);
    scene.comes_back("b");
    assert_eq!(scene.on("b"), [task(old, 0)]);
}

#[test]
fn a_worker_that_stays_away_is_waited_for_a_minute_and_not_at_all_once_it_is_revoked() {
    for revoked in [false, true] {
        let mut scene = Scene::new();
        scene.worker("a", slots(1));
        scene.worker("gone", slots(1));
        scene.loses_its_link("a");
        scene.loses_its_link("gone");
        let id = scene.submit(single());
        let disk = scene.ledger.clone();
        scene.loses_power_with(disk);
        scene.comes_back("a");
        if revoked {
            scene.revoke("gone", Some(NodeKind::Worker));
        } else {
            scene.pass(secs(59));
            assert_eq!(scene.on("a"), []);
            scene.pass(secs(1));
        }
        assert_eq!(scene.on("a"), [task(id, 0)]);
    }
}

#[test]
fn nobody_is_waited_for_where_no_worker_is_enrolled() {
    let mut scene = Scene::new();
    let id = scene.submit(single());
    let disk = scene.ledger.clone();
    scene.loses_power_with(disk);
    scene.worker("a", slots(1));
    assert_eq!(scene.on("a"), [task(id, 0)]);
}

#[test]
fn the_wait_goes_on_after_another_restart_and_ends_for_good_once_it_is_settled() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.loses_its_link("a");
    let id = scene.submit(single());
    let disk = scene.ledger.clone();
    scene.reconnects("a");
    scene.loses_power_with(disk);
    scene.dispatcher_restarts();
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), []);
    scene.comes_back("a");
    assert_eq!(scene.counts(task(id, 0)).attempts, 1, "it is a's");
    scene.worker("c", slots(1));
    let more = scene.submit(array(2));
    scene.loses_its_link("b");
    scene.dispatcher_restarts();
    scene.reconnects("c");
    assert_eq!(scene.on("c"), [task(more, 2)], "nobody is waited for any more");
}

#[test]
fn what_another_job_of_the_same_number_ran_is_not_taken_for_this_ones() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let disk = scene.ledger.clone();
    let forgotten = scene.submit(single());
    scene.loses_power_with(disk);
    let other = scene.submit(single());
    assert_eq!(forgotten, other, "its number is given again");
    scene.comes_back("a");
    assert!(scene.workers["a"].told_to_end(task(other, 0)));
}

#[test]
fn a_later_try_takes_the_place_of_one_whose_end_is_forgotten() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    let id = scene.submit(single());
    let disk = scene.ledger.clone();
    scene.ends("a", task(id, 0), exit(1));
    scene.pass(secs(2));
    assert_eq!(scene.on("b"), [task(id, 0)], "it is tried again elsewhere");
    scene.loses_power_with(disk);
    scene.comes_back("b");
    assert_eq!(scene.counts(task(id, 0)).attempts, 2);
    scene.comes_back("a");
    assert!(!scene.workers["b"].told_to_end(task(id, 0)));
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn results_that_wait_to_be_told_count_even_where_more_is_held_than_fits() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.loses_its_link("a");
    let id = scene.submit(array(2));
    let disk = scene.ledger.clone();
    scene.reconnects("a");
    let first = scene.workers["a"].holds[&task(id, 1)].clone();
    scene.ends("a", task(id, 1), OK);
    assert_eq!(scene.on("a"), [task(id, 2)]);
    scene.workers.get_mut("a").expect("a worker").holds.insert(first.task, first);
    scene.loses_power_with(disk);
    scene.comes_back("a");
    let more = scene.submit(single());
    scene.ends("a", task(id, 2), OK);
    scene.ends("a", task(id, 1), OK);
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
    assert_eq!([1, 2].map(|index| scene.counts(task(id, index)).attempts), [1, 1]);
    assert_eq!(scene.on("a"), [task(more, 0)]);
}

#[test]
fn more_tasks_than_a_job_allows_at_once_may_turn_out_to_run() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(JobSpec { max_concurrent: Some(1), ..array(3) });
    scene.worker("b", slots(1));
    scene.falls_silent("a");
    scene.pass(secs(7));
    let disk = scene.ledger.clone();
    let first = scene.workers["a"].holds[&task(id, 1)].clone();
    scene.reports("a", &first, OK);
    scene.falls_silent("b");
    let runs = if scene.on("b").is_empty() { "a" } else { "b" };
    assert!(scene.on(runs).contains(&task(id, 2)));
    scene.loses_power_with(disk);
    scene.comes_back(runs);
    scene.comes_back(if runs == "a" { "b" } else { "a" });
    let running = [1, 2, 3].map(|index| scene.state(task(id, index)));
    assert_eq!(running, [TaskState::Running, TaskState::Running, TaskState::Ready]);
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn what_is_not_in_doubt_is_not_reclaimed() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    scene.loses_its_link("a");
    let once = scene.submit(JobSpec { no_retry: true, ..single() });
    let cancelled = scene.submit(single());
    let mut disk = scene.ledger.clone();
    scene.reconnects("a");
    assert_eq!(scene.on("a").len(), 2);
    let at = scene.now;
    disk.write(&Record::JobCancelling { job: cancelled, why: Cancellation::requested(None), at });
    scene.loses_power_with(disk);
    scene.comes_back("a");
    assert!(scene.workers["a"].told_to_end(task(once, 0)), "its order was synced before it was sent");
    assert!(scene.workers["a"].told_to_end(task(cancelled, 0)));
}
