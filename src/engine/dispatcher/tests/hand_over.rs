//! Attempts that workers hand to each other, as the dispatcher hears of it: in
//! any order, late, twice, or from one side alone.

use super::*;
use crate::engine::dispatcher::ProvedHandOver;
use crate::model::offload::GivenAway;

/// Worker `a` runs task 1 and has 2 and 3 waiting; `b` is there as well.
fn scene() -> (Scene, JobId) {
    let mut scene = Scene::with(DispatcherConfig::default());
    scene.worker("a", slots(1));
    let id = scene.submit(array(3));
    scene.worker("b", slots(1));
    (scene, id)
}

impl Scene {
    fn grant_of(&self, who: &'static str, task: TaskId) -> GrantedAttempt {
        let granted = self.workers[who].granted.iter().find(|granted| granted.attempt.id.task == task);
        granted.cloned().unwrap_or_else(|| panic!("{who} may not hand on {task}"))
    }

    /// A task goes from worker to worker; nobody else has heard of it.
    fn hands(&mut self, from: &'static str, to: &'static str, task: TaskId) -> GrantedAttempt {
        let granted = self.grant_of(from, task);
        let assignment = self.forgets(from, task);
        let assignment = Assignment { fence: granted.spare, ..assignment };
        self.workers.get_mut(to).expect("a worker").holds.insert(task, assignment);
        granted
    }

    /// The receiver tells, with a proof that holds.
    fn proves(&mut self, to: &'static str, from: &'static str, granted: &GrantedAttempt) {
        let attempt = FencedAttempt { id: granted.attempt.id, fence: granted.spare };
        let proved = ProvedHandOver { attempt, first: granted.attempt.fence, giver: key(from) };
        let link = self.workers[to].link;
        self.engine.handle_message(self.now, link, Inbound::HandedOver(vec![proved]));
        self.perform();
    }

    /// The giver tells.
    fn gave_away(&mut self, from: &'static str, to: &'static str, granted: &GrantedAttempt) {
        let instance = InstanceId(self.workers.get(to).map_or(1, |worker| worker.instance));
        let (attempt, spare, receiver) = (granted.attempt, granted.spare, key(to));
        self.says(from, WorkerMessage::GaveAway(vec![GivenAway { attempt, spare, receiver, instance }]));
    }

    fn is_settled(&self, who: &'static str, granted: &GrantedAttempt) -> bool {
        self.workers[who].thanked.contains(&granted.attempt)
    }
}

fn spare_of(granted: &GrantedAttempt) -> FencedAttempt {
    FencedAttempt { id: granted.attempt.id, fence: granted.spare }
}

#[test]
fn a_proved_hand_over_counts_and_its_receiver_brings_the_result() {
    let (mut scene, id) = scene();
    let granted = scene.hands("a", "b", task(id, 2));
    scene.proves("b", "a", &granted);
    let offloaded = |notice: &Notice| {
        *notice == Notice::TaskOffloaded { task: TaskId::new(id.0, 2), from: name("a"), to: name("b") }
    };
    assert_eq!(scene.noticed(offloaded), 1);
    scene.ends("b", task(id, 2), OK);
    assert_eq!(scene.state(task(id, 2)), TaskState::Succeeded);
    assert_eq!(scene.counts(task(id, 2)).attempts, 1, "a hand-over is no attempt");
}

#[test]
fn the_giver_may_tell_before_or_after_or_twice() {
    for order in [["a", "b", "b"], ["b", "a", "a"], ["a", "b", "a"]] {
        let (mut scene, id) = scene();
        let granted = scene.hands("a", "b", task(id, 2));
        for who in order {
            match who {
                "a" => scene.gave_away("a", "b", &granted),
                _ => scene.proves("b", "a", &granted),
            }
        }
        assert!(scene.is_settled("a", &granted), "the giver may forget it");
        scene.ends("b", task(id, 2), OK);
        assert_eq!(scene.state(task(id, 2)), TaskState::Succeeded);
        scene.works_off();
        assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
    }
}

#[test]
fn a_receiver_that_claims_what_was_never_handed_to_it_brings_no_result() {
    let (mut scene, id) = scene();
    let granted = scene.grant_of("a", task(id, 2));
    let claimed = Assignment { fence: granted.spare, ..scene.workers["a"].holds[&task(id, 2)].clone() };
    scene.reports("b", &claimed, OK);
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::ResultDiscarded { .. })), 1);
    assert_eq!(scene.state(task(id, 2)), TaskState::Running);
    scene.gave_away("a", "b", &granted);
    scene.reports("b", &claimed, OK);
    assert_eq!(scene.state(task(id, 2)), TaskState::Running, "the giver's word is not enough");
}

#[test]
fn a_proof_for_another_fence_or_of_what_has_started_moves_nothing() {
    let (mut scene, id) = scene();
    let granted = scene.grant_of("a", task(id, 2));
    let wrong = GrantedAttempt { spare: scene.grant_of("a", task(id, 3)).spare, ..granted.clone() };
    scene.proves("b", "a", &wrong);
    assert!(scene.workers["b"].told_to_end(task(id, 2)), "whatever it runs is not wanted");
    let granted = scene.grant_of("a", task(id, 3));
    scene.starts("a", task(id, 3));
    scene.proves("b", "a", &granted);
    scene.ends("a", task(id, 3), OK);
    assert_eq!(scene.state(task(id, 3)), TaskState::Succeeded);
}

#[test]
fn a_receiver_that_says_nothing_is_asked_and_what_never_came_is_handed_out_anew() {
    let (mut scene, id) = scene();
    let granted = scene.grant_of("a", task(id, 2));
    scene.forgets("a", task(id, 2));
    scene.gave_away("a", "b", &granted);
    assert_eq!(scene.workers["b"].asked, [spare_of(&granted)]);
    scene.says("b", WorkerMessage::NeverCame(vec![spare_of(&granted)]));
    assert!(scene.on("b").contains(&task(id, 2)) || scene.on("a").contains(&task(id, 2)));
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn what_was_handed_to_a_worker_that_is_gone_is_handed_out_anew() {
    let (mut scene, id) = scene();
    let granted = scene.hands("a", "b", task(id, 2));
    scene.workers.get_mut("b").expect("a worker").holds.clear();
    scene.restarts("b");
    let (attempt, spare, receiver) = (granted.attempt, granted.spare, key("b"));
    let gave = GivenAway { attempt, spare, receiver, instance: InstanceId(1) };
    scene.says("a", WorkerMessage::GaveAway(vec![gave]));
    assert_eq!(scene.on("b").len(), 1, "its new start may have it");
    let stranger = scene.grant_of("a", task(id, 3));
    scene.forgets("a", task(id, 3));
    scene.gave_away("a", "nobody", &stranger);
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn what_a_receiver_had_when_it_was_lost_goes_back_through_the_dispatcher() {
    let (mut scene, id) = scene();
    let granted = scene.hands("a", "b", task(id, 2));
    scene.proves("b", "a", &granted);
    scene.starts("b", task(id, 2));
    scene.guard_reports("b");
    scene.workers.remove("b");
    assert_eq!(scene.counts(task(id, 2)).lost, 1);
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn a_new_start_of_the_giver_does_not_end_what_it_handed_over() {
    for told_by in ["a", "b"] {
        let (mut scene, id) = scene();
        let granted = scene.hands("a", "b", task(id, 2));
        match told_by {
            "a" => scene.gave_away("a", "b", &granted),
            _ => scene.proves("b", "a", &granted),
        }
        scene.workers.get_mut("a").expect("a worker").holds.clear();
        scene.restarts("a");
        scene.proves("b", "a", &granted);
        scene.ends("b", task(id, 2), OK);
        assert_eq!(scene.state(task(id, 2)), TaskState::Succeeded);
        assert_eq!(scene.counts(task(id, 2)).attempts, 1);
    }
}

#[test]
fn a_cancel_that_the_giver_could_not_heed_is_passed_on_to_the_receiver() {
    let (mut scene, id) = scene();
    let granted = scene.hands("a", "b", task(id, 2));
    scene.cancel(vec![Part::Task(task(id, 2))]);
    assert!(scene.workers["a"].told_to_end(task(id, 2)) && !scene.workers["b"].told_to_end(task(id, 2)));
    scene.proves("b", "a", &granted);
    assert!(scene.workers["b"].told_to_end(task(id, 2)));
    scene.ends("b", task(id, 2), Outcome::Cancelled(Cancellation::requested(None)));
    assert_eq!(scene.state(task(id, 2)), TaskState::Cancelled);
}

#[test]
fn after_a_restart_of_the_dispatcher_giver_and_receiver_come_back_in_either_order() {
    for receiver_first in [true, false] {
        let (mut scene, id) = scene();
        let granted = scene.hands("a", "b", task(id, 2));
        scene.dispatcher_restarts();
        let profile =
            |scene: &Scene, who: &'static str| (scene.workers[who].profile.clone(), scene.workers[who].instance);
        let back = |scene: &mut Scene, who: &'static str| {
            let (it, instance) = profile(scene, who);
            scene.connects(who, it, instance, None).expect("a known worker is let in");
            if who == "b" {
                scene.proves("b", "a", &granted);
            }
            scene.says_what_it_holds(who);
        };
        if receiver_first {
            back(&mut scene, "b");
            back(&mut scene, "a");
        } else {
            // The giver names it until the dispatcher knows.
            let kept = Assignment { fence: granted.attempt.fence, ..scene.workers["b"].holds[&task(id, 2)].clone() };
            scene.workers.get_mut("a").expect("a worker").holds.insert(task(id, 2), kept);
            back(&mut scene, "a");
            scene.forgets("a", task(id, 2));
            back(&mut scene, "b");
        }
        scene.gave_away("a", "b", &granted);
        assert!(scene.is_settled("a", &granted));
        scene.ends("b", task(id, 2), OK);
        assert_eq!(scene.state(task(id, 2)), TaskState::Succeeded);
        assert_eq!(scene.counts(task(id, 2)).attempts, 1);
        scene.works_off();
    }
}

#[test]
fn what_is_handed_over_behind_a_holding_that_is_on_its_way_is_asked_for_and_not_given_up() {
    let (mut scene, id) = scene();
    let granted = scene.grant_of("a", task(id, 2));
    scene.dispatcher_restarts();
    for who in ["a", "b"] {
        let (profile, instance) = (scene.workers[who].profile.clone(), scene.workers[who].instance);
        scene.connects(who, profile, instance, None).expect("a known worker is let in");
        if who == "a" {
            scene.says_what_it_holds(who);
        }
    }
    let kept = scene.forgets("a", task(id, 2));
    scene.gave_away("a", "b", &granted);
    scene.says_what_it_holds("b");
    assert_eq!(scene.workers["b"].asked, [spare_of(&granted)], "it may have come when its holding was put together");
    scene
        .workers
        .get_mut("b")
        .expect("a worker")
        .holds
        .insert(task(id, 2), Assignment { fence: granted.spare, ..kept });
    scene.proves("b", "a", &granted);
    scene.ends("b", task(id, 2), OK);
    assert_eq!(scene.state(task(id, 2)), TaskState::Succeeded);
    assert_eq!(scene.counts(task(id, 2)).attempts, 1, "it was started once");
    scene.works_off();
}

#[test]
fn a_receiver_that_has_another_attempt_of_the_task_keeps_that_one() {
    let (mut scene, id) = scene();
    scene.falls_silent("a");
    scene.pass(secs(7));
    let second = scene.on("b").first().copied().expect("a second attempt runs where a slot is free");
    if second == task(id, 1) {
        scene.ends("b", second, OK);
    }
    let doubled = *scene.on("b").first().expect("another one");
    let granted = scene.grant_of("a", doubled);
    scene.forgets("a", doubled);
    scene.proves("b", "a", &granted);
    scene.ends("b", doubled, OK);
    assert_eq!(scene.state(doubled), TaskState::Succeeded);
}
