//! What waits on workers beyond their slots: how much, of what, and when it is
//! wanted back.

use super::*;
use crate::model::spec::{OutputMode, StdinSource};

fn scene() -> Scene {
    Scene::with(DispatcherConfig::default())
}

fn alone(slots_each: u32) -> Scene {
    let mut scene = scene();
    scene.worker("a", slots(slots_each));
    scene
}

impl Scene {
    /// A worker has run a task for so long, and reports its success.
    pub(super) fn runs(&mut self, who: &'static str, task: TaskId, span: Millis) {
        self.starts(who, task);
        self.pass(span);
        let assignment = self.forgets(who, task);
        let started_at = Timestamp(self.now.0 - span.0 * 1000);
        let report = AttemptReport { started_at: Some(started_at), ..self.report(OK) };
        let ended = EndedAttempt { id: assignment.id(), fence: assignment.fence, report };
        self.says(who, WorkerMessage::Ended(vec![ended]));
    }

    /// A worker gives back what it was told to.
    fn obeys(&mut self, who: &'static str) -> usize {
        let wanted = std::mem::take(&mut self.workers.get_mut(who).expect("a worker").retracted);
        for attempt in &wanted {
            self.forgets(who, attempt.id.task);
        }
        let count = wanted.len();
        self.says(who, WorkerMessage::Returned(wanted));
        count
    }
}

#[test]
fn before_anything_is_known_two_tasks_wait_for_each_slot() {
    let mut scene = alone(2);
    scene.submit(array(100));
    assert_eq!(scene.on("a").len(), 2 + 4);
    let shown = scene.engine.status(scene.now).slots;
    assert_eq!((shown.used, shown.total), (2, 2), "what waits takes no slot");
}

#[test]
fn once_tasks_have_ended_half_a_minute_of_work_waits() {
    let mut scene = alone(2);
    let id = scene.submit(array(100));
    for index in 1..=6 {
        scene.runs("a", task(id, index), secs(2));
    }
    let waits = scene.on("a").len() - 2;
    assert!((26..=30).contains(&waits), "{waits} tasks of two seconds wait for two slots");
}

#[test]
fn a_long_task_waits_alone_so_that_a_slot_is_not_left_without() {
    let mut scene = alone(1);
    let id = scene.submit(array(10));
    scene.runs("a", task(id, 1), secs(50));
    scene.runs("a", task(id, 2), secs(50));
    scene.runs("a", task(id, 3), secs(50));
    assert_eq!(scene.on("a").len(), 2);
}

#[test]
fn very_short_tasks_wait_for_a_second_and_are_not_worth_a_grant() {
    let mut scene = alone(1);
    scene.worker("b", slots(1));
    let id = scene.submit(array(5_000));
    scene.runs("a", task(id, 1), Millis(10));
    let granted = scene.workers["a"].granted.len();
    for _ in 0..20 {
        let first = scene.on("a")[0];
        scene.runs("a", first, Millis(10));
    }
    assert!(scene.on("a").len() <= 101, "{} wait", scene.on("a").len());
    assert_eq!(scene.workers["a"].granted.len(), granted);
}

#[test]
fn a_task_that_must_not_run_twice_or_is_watched_or_needs_a_gpu_never_waits_on_a_worker() {
    let gpu = Demand { gpus: 1, ..Demand::default() };
    let delicate = [
        JobSpec { exclusive: true, ..array(9) },
        JobSpec { no_retry: true, ..array(9) },
        JobSpec { demand: gpu, ..array(9) },
        JobSpec { output: OutputMode::Attached, ..array(9) },
        JobSpec { stdin: StdinSource::Attached, ..array(9) },
    ];
    for spec in delicate {
        let mut scene = scene();
        scene.worker("a", Capacity { gpus: 4, ..slots(2) });
        scene.submit(spec);
        assert_eq!(scene.on("a").len(), 2);
    }
}

#[test]
fn what_waits_on_a_worker_counts_for_the_limit_of_its_job() {
    let mut scene = alone(2);
    scene.submit(JobSpec { max_concurrent: Some(3), ..array(9) });
    assert_eq!(scene.on("a").len(), 3);
}

#[test]
fn what_waits_on_a_worker_is_shown_as_ready_and_what_runs_there_as_running() {
    let mut scene = alone(2);
    let id = scene.submit(array(5));
    let totals = scene.engine.jobs.at(id).shown_totals();
    assert_eq!((totals.running, totals.ready), (2, 3));
    scene.works_off_one("a");
    let totals = scene.engine.jobs.at(id).shown_totals();
    assert_eq!((totals.running, totals.ready), (2, 2));
}

#[test]
fn a_task_of_higher_priority_is_handed_out_at_once_and_what_it_displaces_is_wanted_back() {
    let mut scene = alone(1);
    let low = scene.submit(array(9));
    assert_eq!(scene.on("a").len(), 3);
    let high = scene.submit(JobSpec { priority: 5, ..array(1) });
    assert!(scene.on("a").contains(&task(high, 1)));
    let displaced: Vec<TaskId> = scene.workers["a"].retracted.iter().map(|attempt| attempt.id.task).collect();
    assert_eq!(displaced, [task(low, 3)], "the last one goes, and no more than has to");
    assert_eq!(scene.obeys("a"), 1);
    assert_eq!(scene.on("a"), [task(low, 1), task(low, 2), task(high, 1)]);
    assert!(scene.counts(task(low, 3)).is_clean(), "that is no failure");
}

#[test]
fn an_exclusive_task_of_higher_priority_gets_the_next_slot() {
    let mut scene = alone(1);
    let low = scene.submit(array(9));
    let high = scene.submit(JobSpec { priority: 5, exclusive: true, ..array(1) });
    assert_eq!(scene.obeys("a"), 2);
    assert_eq!(scene.on("a"), [task(low, 1)]);
    scene.ends("a", task(low, 1), OK);
    assert!(scene.on("a").contains(&task(high, 1)));
}

#[test]
fn tasks_of_another_size_do_not_pass_over_those_that_wait() {
    let mut scene = scene();
    scene.worker("a", Capacity { memory_bytes: 1000, ..slots(4) });
    let large = scene.submit(JobSpec { demand: memory(800), ..array(3) });
    let small = scene.submit(JobSpec { demand: memory(300), ..array(9) });
    let smalls = scene.on("a").iter().filter(|task| task.job == small).count();
    assert_eq!((scene.on("a").len(), smalls), (3, 0));
    scene.ends("a", task(large, 1), OK);
    assert!(!scene.on("a").iter().any(|task| task.job == small), "the next large one has its room");
}

#[test]
fn a_slot_that_stays_free_beside_waiting_work_gets_some_after_a_moment() {
    let mut scene = alone(1);
    scene.submit(array(3));
    assert_eq!(scene.on("a").len(), 3);
    scene.worker("b", slots(1));
    assert!(scene.workers["a"].retracted.is_empty(), "the two may see to it themselves");
    scene.pass(secs(1));
    assert_eq!(scene.obeys("a"), 1);
    assert_eq!(scene.on("b").len(), 1);
}

#[test]
fn where_workers_do_not_talk_to_each_other_it_gets_some_at_once() {
    let mut scene = Scene::with(DispatcherConfig { p2p: false, ..DispatcherConfig::default() });
    scene.worker("a", slots(1));
    scene.submit(array(3));
    scene.worker("b", slots(1));
    assert_eq!(scene.obeys("a"), 1);
    assert_eq!(scene.on("b").len(), 1);
    assert!(scene.workers["a"].granted.is_empty(), "nobody may hand anything on");
}

#[test]
fn what_waits_may_be_handed_on_as_soon_as_there_is_a_second_worker() {
    let mut scene = alone(1);
    let id = scene.submit(array(3));
    assert!(scene.workers["a"].granted.is_empty(), "there is nobody to hand it to");
    scene.worker("b", slots(1));
    let granted: Vec<TaskId> = scene.workers["a"].granted.iter().map(|granted| granted.attempt.id.task).collect();
    assert_eq!(granted, [task(id, 2), task(id, 3)], "what runs is not among it");
    scene.submit(array(9));
    assert!(scene.workers["b"].granted.iter().all(|granted| granted.attempt.fence < granted.spare));
    assert!(!scene.workers["b"].granted.is_empty(), "what is handed out ahead of time from then on is");
}

#[test]
fn a_cancelled_task_that_waits_on_a_worker_ends_when_the_worker_says_so() {
    let mut scene = alone(1);
    let id = scene.submit(array(3));
    assert_eq!(scene.cancel(vec![Part::Task(task(id, 3))]), 1);
    assert!(scene.workers["a"].told_to_end(task(id, 3)));
    scene.ends("a", task(id, 3), Outcome::Cancelled(Cancellation::requested(None)));
    assert_eq!(scene.state(task(id, 3)), TaskState::Cancelled);
}

#[test]
fn a_drained_worker_keeps_nothing_that_waits() {
    let mut scene = alone(1);
    scene.submit(array(3));
    scene.answer("admin", Call::Drain { name: name("a"), draining: true });
    let waiting = scene.on("a").split_off(1);
    for task in waiting {
        scene.gives_back("a", task);
    }
    assert_eq!(scene.on("a").len(), 1);
    scene.worker("b", slots(4));
    assert_eq!(scene.on("b").len(), 2);
}

#[test]
fn what_waited_when_the_dispatcher_was_restarted_waits_on() {
    let mut scene = alone(1);
    scene.submit(array(4));
    let before = scene.on("a");
    scene.dispatcher_restarts();
    scene.reconnects("a");
    assert_eq!(scene.on("a"), before);
    assert!(scene.workers["a"].told_to_end.is_empty());
    scene.works_off();
}

#[test]
fn what_a_lost_worker_had_waiting_is_handed_out_again_and_counts_as_nothing() {
    let mut scene = alone(1);
    let id = scene.submit(array(3));
    scene.loses_its_link("a");
    scene.pass(secs(70));
    scene.worker("b", slots(4));
    assert_eq!(scene.on("b").len(), 3);
    assert!((1..=3).all(|index| scene.counts(task(id, index)).is_clean()));
}

#[test]
fn a_worker_that_starts_another_task_than_was_reckoned_is_believed() {
    let mut scene = alone(1);
    let id = scene.submit(array(4));
    scene.starts("a", task(id, 3));
    let totals = scene.engine.jobs.at(id).shown_totals();
    assert_eq!((totals.running, totals.ready), (1, 3));
    scene.ends("a", task(id, 3), OK);
    assert_eq!(scene.state(task(id, 3)), TaskState::Succeeded);
}
