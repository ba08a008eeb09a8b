//! Going on after a restart of the dispatcher.

use super::*;
use crate::model::spec::{Dependency, DependencyCondition, RetryPolicy};

impl Scene {
    /// The dispatcher dies and starts anew on what it had written. Workers keep what they hold.
    pub(super) fn dispatcher_restarts(&mut self) {
        self.dispatcher_restarts_at(self.now + secs(1));
    }

    /// The same, with the machine's clock at `now` afterwards.
    pub(super) fn dispatcher_restarts_at(&mut self, now: Timestamp) {
        self.now = now;
        let restored = self.ledger.restored();
        self.engine = DispatcherEngine::restore(self.config.clone(), self.now, restored);
        for worker in self.workers.values_mut() {
            worker.beats = false;
            worker.link = LinkId(0);
        }
        self.perform();
        self.client("admin", Role::Admin);
    }
}

#[test]
fn what_was_queued_is_still_queued_and_new_jobs_get_new_numbers() {
    let mut scene = Scene::new();
    let old = scene.submit(array(100));
    scene.cancel(vec![Part::Task(task(old, 7))]);
    scene.dispatcher_restarts();
    let new = scene.submit(single());
    assert!(new > old);
    scene.worker("a", slots(7));
    assert_eq!(scene.on("a"), [1, 2, 3, 4, 5, 6, 8].map(|index| task(old, index)));
    scene.works_off();
    assert_eq!(scene.ended(old), Some(TaskState::Cancelled));
    assert_eq!(scene.ended(new), Some(TaskState::Succeeded));
}

#[test]
fn tasks_of_a_list_keep_their_numbers_across_a_restart_and_a_retry() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let items = Items::Range { first: 1, last: 9, step: 1 }.at_positions(&[0, 2, 6, 7, 8].into_iter().collect());
    let retry = RetryPolicy { limit: Some(0), ..RetryPolicy::default() };
    let id = scene.submit(JobSpec { items: items.expect("five tasks"), retry, ..single() });
    assert_eq!(scene.on("a"), [task(id, 1), task(id, 3)]);
    scene.ends("a", task(id, 3), Outcome::Exited(1));
    scene.ends("a", task(id, 1), OK);
    assert_eq!(scene.on("a"), [task(id, 7), task(id, 8)]);
    scene.dispatcher_restarts();
    scene.reconnects("a");
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Failed));
    scene.retry(vec![Part::Task(task(id, 3))], false);
    assert_eq!(scene.on("a"), [task(id, 3)]);
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn a_running_task_whose_worker_comes_back_is_neither_ended_nor_repeated() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { gpus: 2, ..slots(2) });
    let demand = Demand { gpus: 1, ..Demand::default() };
    let id = scene.submit(JobSpec { demand, ..array(3) });
    scene.dispatcher_restarts();
    scene.worker("b", Capacity { gpus: 1, ..slots(1) });
    assert_eq!(scene.on("b"), [task(id, 3)], "only what did not run is placed");
    scene.pass(secs(30));
    scene.reconnects("a");
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
    assert_eq!(scene.counts(task(id, 1)).attempts, 1);
}

#[test]
fn a_running_task_whose_worker_does_not_come_back_is_tried_again_after_the_grace() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.starts("a", task(id, 0));
    scene.dispatcher_restarts();
    scene.worker("b", slots(1));
    scene.pass(secs(59));
    assert_eq!(scene.on("b"), []);
    scene.pass(secs(2));
    assert_eq!(scene.on("b"), [task(id, 0)]);
    assert_eq!(scene.counts(task(id, 0)), TaskCounts { attempts: 2, failures: 0, lost: 1 });
}

#[test]
fn a_running_exclusive_task_waits_66_seconds_from_the_start_of_the_dispatcher() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(JobSpec { exclusive: true, ..single() });
    scene.dispatcher_restarts();
    let started = scene.now;
    scene.worker("b", slots(1));
    scene.pass(secs(61));
    assert_eq!(scene.ledger.not_before(task(id, 0)), Some(started + secs(66)));
    scene.pass(secs(6));
    assert_eq!(scene.on("b"), [task(id, 0)]);
}

#[test]
fn a_task_that_may_be_started_once_only_and_that_its_returning_worker_does_not_name_is_lost() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(JobSpec { no_retry: true, ..single() });
    scene.dispatcher_restarts();
    scene.restarts("a");
    assert_eq!(scene.outcome(task(id, 0)), Some(Outcome::Lost));
    assert_eq!(scene.ended(id), Some(TaskState::Failed));
}

#[test]
fn fences_ascend_and_attempts_count_on_over_a_restart() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.ends("a", task(id, 0), exit(1));
    scene.dispatcher_restarts();
    scene.pass(secs(2));
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), [task(id, 0)]);
    assert_eq!(scene.counts(task(id, 0)), TaskCounts { attempts: 2, failures: 1, lost: 0 });
}

#[test]
fn a_cancel_is_not_forgotten() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(array(5));
    scene.cancel(job(id));
    scene.dispatcher_restarts();
    scene.reconnects("a");
    assert!(scene.workers["a"].told_to_end(task(id, 1)));
    scene.ends("a", task(id, 1), Outcome::Cancelled(Cancellation::requested(None)));
    assert_eq!(scene.ended(id), Some(TaskState::Cancelled));
}

#[test]
fn a_job_that_waits_for_another_still_waits_for_it() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let first = scene.submit(single());
    let middle = scene.submit(single());
    let condition = DependencyCondition::Succeeded;
    let after = [first, middle].map(|job| Dependency { job, condition }).to_vec();
    let last = scene.submit(JobSpec { after, ..single() });
    scene.works_off_one("a");
    scene.dispatcher_restarts();
    assert_eq!(scene.state(task(last, 0)), TaskState::Waiting);
    scene.reconnects("a");
    assert_eq!(scene.on("a"), [task(middle, 0)]);
    scene.works_off();
    assert_eq!(scene.ended(last), Some(TaskState::Succeeded));
}

#[test]
fn names_and_roles_survive() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.dispatcher_restarts();
    let profile = scene.profile(Some("a"), slots(1));
    assert_eq!(scene.connects("a", profile, 9, None), Ok(name("a")));
    let other = scene.profile(Some("a"), slots(1));
    assert!(scene.connects("b", other, 1, Some(Role::Worker)).is_err(), "the name is taken");
}

#[test]
fn a_worker_that_claims_more_than_it_can_hold_is_not_believed() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { gpus: 2, ..slots(2) });
    let demand = Demand { gpus: 1, ..Demand::default() };
    let id = scene.submit(JobSpec { demand, ..array(2) });
    scene.dispatcher_restarts();
    for held in scene.workers.get_mut("a").expect("a worker").holds.values_mut() {
        held.gpus = vec![0];
    }
    let profile = scene.workers["a"].profile.clone();
    scene.connects("a", profile, 1, None).expect("let in");
    scene.says_what_it_holds_and_forgets("a");
    assert!(scene.workers["a"].told_to_end(task(id, 2)), "two tasks cannot have the same GPU");
    assert_eq!(scene.counts(task(id, 1)).attempts, 1);
}

impl Scene {
    fn says_what_it_holds_and_forgets(&mut self, who: &'static str) {
        let held = std::mem::take(&mut self.workers.get_mut(who).expect("a worker").holds);
        let held = held.values().map(|one| HeldAttempt {
            id: one.id(),
            fence: one.fence,
            started_at: None,
            gpus: one.gpus.clone(),
            ended: false,
        });
        let held = held.collect();
        self.says(who, WorkerMessage::Holding(held));
    }
}

#[test]
fn a_result_of_the_time_without_dispatcher_counts_also_when_the_worker_has_less_room_since() {
    let mut scene = Scene::new();
    scene.worker("a", Capacity { gpus: 1, ..slots(2) });
    let demand = Demand { gpus: 1, ..Demand::default() };
    let gpu = scene.submit(JobSpec { demand, no_retry: true, ..single() });
    let other = scene.submit(JobSpec { no_retry: true, ..single() });
    scene.dispatcher_restarts();
    // A new start of it, with one slot and no GPU, and with the results of the one before.
    let smaller = scene.profile(Some("a"), slots(1));
    let before = std::mem::take(&mut scene.workers.get_mut("a").expect("a worker").holds);
    scene.connects("a", smaller, 2, None).expect("let in");
    scene.workers.get_mut("a").expect("a worker").holds = before.clone();
    let told = |one: &Assignment| HeldAttempt {
        id: one.id(),
        fence: one.fence,
        started_at: None,
        gpus: Vec::new(),
        ended: true,
    };
    scene.says("a", WorkerMessage::Holding(before.values().map(told).collect()));
    let next = scene.submit(single());
    assert!(scene.on("a").contains(&task(next, 0)), "results take no room");
    for job in [gpu, other] {
        scene.ends("a", task(job, 0), OK);
        assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
    }
}
