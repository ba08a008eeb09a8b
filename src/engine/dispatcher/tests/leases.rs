//! Heartbeats, silence, lost workers, and what becomes of what they held.

use super::*;
use crate::engine::dispatcher::LossCause;

fn lost(scene: &Scene, why: LossCause) -> usize {
    scene.noticed(|notice| matches!(notice, Notice::WorkerLost { cause, .. } if *cause == why))
}

#[test]
fn a_heartbeat_is_echoed_with_the_dispatchers_time() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.says("a", WorkerMessage::Heartbeat { sequence: 42 });
    let now = scene.now;
    let echo = DispatcherMessage::HeartbeatSeen { sequence: 42, now };
    assert!(scene.said.iter().any(|(_, message, waited)| *message == echo && !waited));
}

#[test]
fn a_worker_silent_for_six_seconds_is_suspect_and_gets_no_new_work() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let held = scene.submit(single());
    scene.falls_silent("a");
    scene.pass(secs(7));
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::WorkerSuspect { .. })), 1);
    let job = scene.submit(single());
    assert_eq!(scene.on("a"), [task(held, 0)], "it keeps what it has");
    scene.says("a", WorkerMessage::Heartbeat { sequence: 1 });
    assert_eq!(scene.on("a"), [task(held, 0), task(job, 0)], "once heard it is trusted again");
}

#[test]
fn a_worker_silent_for_sixty_seconds_is_lost_and_its_tasks_run_elsewhere_at_once() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    // One at a time: no second attempt while the first may run.
    let job = scene.submit(JobSpec { max_concurrent: Some(1), ..single() });
    scene.worker("b", slots(1));
    scene.starts("a", task(job, 0));
    scene.falls_silent("a");
    scene.pass(secs(59));
    assert_eq!(scene.on("b"), []);
    scene.pass(secs(2));
    assert_eq!(scene.on("b"), [task(job, 0)]);
    assert_eq!(scene.counts(task(job, 0)), TaskCounts { attempts: 2, failures: 0, lost: 1 });
    assert_eq!(lost(&scene, LossCause::Silence), 1);
    assert!(scene.workers["a"].closed.is_some(), "its link is closed");
}

#[test]
fn a_task_that_is_not_known_to_have_started_is_not_counted_as_lost() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.guard_reports("a");
    assert_eq!(scene.counts(task(job, 0)).lost, 0);
    assert_eq!(scene.state(task(job, 0)), TaskState::Ready);
}

#[test]
fn a_task_that_was_running_on_five_lost_workers_fails_as_lost() {
    let mut scene = Scene::new();
    let job = scene.submit(single());
    for who in ["a", "b", "c", "d", "e"] {
        assert_eq!(scene.ended(job), None);
        scene.worker(who, slots(1));
        scene.starts(who, task(job, 0));
        scene.guard_reports(who);
    }
    assert_eq!(scene.outcome(task(job, 0)), Some(Outcome::Lost));
    assert_eq!(scene.ended(job), Some(TaskState::Failed));
}

#[test]
fn a_new_instance_ends_what_the_old_one_ran() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.starts("a", task(job, 0));
    scene.restarts("a");
    assert_eq!(scene.on("a"), [task(job, 0)]);
    assert_eq!(scene.counts(task(job, 0)), TaskCounts { attempts: 2, failures: 0, lost: 1 });
}

#[test]
fn a_new_instance_that_kept_the_result_of_the_old_one_is_believed() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(JobSpec { no_retry: true, ..single() });
    scene.starts("a", task(job, 0));
    scene.loses_its_link("a");
    let kept = scene.forgets("a", task(job, 0));
    let profile = scene.workers["a"].profile.clone();
    scene.connects("a", profile, 2, None).expect("let in");
    let held = HeldAttempt { id: kept.id(), fence: kept.fence, started_at: None, gpus: Vec::new(), ended: false };
    scene.says("a", WorkerMessage::Holding(vec![held]));
    scene.reports("a", &kept, OK);
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn a_guard_that_reports_the_end_of_its_instance_need_not_be_waited_for() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    let job = scene.submit(array(2));
    let on_a = scene.on("a")[0];
    scene.ends("b", scene.on("b")[0], OK);
    scene.guard_reports("a");
    assert_eq!(scene.on("b"), [on_a]);
    assert_eq!(lost(&scene, LossCause::Guard), 1);
    scene.works_off_one("b");
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn a_guard_of_an_earlier_instance_changes_nothing() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.restarts("a");
    let job = scene.submit(single());
    let hello = scene.hello(Intent::Guard, 1);
    let link = scene.up(key("a"), hello, None);
    scene.engine.handle_message(scene.now, link, Inbound::Guard);
    scene.perform();
    assert_eq!(scene.state(task(job, 0)), TaskState::Running);
    assert_eq!(lost(&scene, LossCause::Guard), 0);
}

#[test]
fn a_broken_link_alone_loses_nothing() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    let job = scene.submit(single());
    scene.loses_its_link("a");
    scene.pass(secs(5));
    assert_eq!(scene.on("b"), []);
    scene.reconnects("a");
    scene.ends("a", task(job, 0), OK);
    assert_eq!(scene.counts(task(job, 0)), TaskCounts { attempts: 1, failures: 0, lost: 0 });
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn what_a_reconnected_worker_does_not_name_it_does_not_have() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let job = scene.submit(array(2));
    scene.loses_its_link("a");
    scene.forgets("a", task(job, 1));
    scene.reconnects("a");
    assert_eq!(scene.on("a").len(), 2);
    assert_eq!(scene.counts(task(job, 1)), TaskCounts { attempts: 2, failures: 0, lost: 0 });
    assert_eq!(scene.counts(task(job, 2)).attempts, 1);
}

#[test]
fn what_a_worker_holds_beyond_the_record_is_cancelled_there() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.loses_its_link("a");
    scene.pass(secs(61));
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), [task(job, 0)]);
    scene.reconnects("a");
    assert!(scene.workers["a"].told_to_end(task(job, 0)));
    scene.ends("b", task(job, 0), OK);
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn a_result_from_an_attempt_that_is_not_live_is_discarded_counted_and_thanked_for() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    let late = scene.workers["a"].holds[&task(job, 0)].clone();
    scene.loses_its_link("a");
    scene.pass(secs(61));
    scene.worker("b", slots(1));
    scene.reconnects("a");
    scene.reports("a", &late, exit(3));
    assert_eq!(scene.state(task(job, 0)), TaskState::Running, "the live attempt goes on");
    assert_eq!(scene.engine.status(scene.now).results_discarded, 1);
    assert_eq!(scene.workers["a"].thanked, [FencedAttempt { id: late.id(), fence: late.fence }]);
}

#[test]
fn a_worker_cannot_report_what_another_was_given() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.worker("b", slots(1));
    let stolen = scene.workers["a"].holds[&task(job, 0)].clone();
    scene.reports("b", &stolen, OK);
    scene.says("b", WorkerMessage::Returned(vec![FencedAttempt { id: stolen.id(), fence: stolen.fence }]));
    assert_eq!(scene.state(task(job, 0)), TaskState::Running);
    assert_eq!(scene.on("a"), [task(job, 0)]);
}

#[test]
fn a_repeated_result_counts_once_and_is_thanked_for_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    let assignment = scene.workers["a"].holds[&task(job, 0)].clone();
    scene.ends("a", task(job, 0), exit(0));
    scene.reports("a", &assignment, exit(1));
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
    assert_eq!(scene.workers["a"].thanked.len(), 2);
}

#[test]
fn silence_is_not_counted_while_the_dispatcher_itself_stood_still() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let job = scene.submit(single());
    scene.stall(secs(300));
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::LoopStalled { .. })), 1);
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::WorkerSuspect { .. })), 0);
    scene.falls_silent("a");
    scene.pass(secs(7));
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::WorkerSuspect { .. })), 1, "its time starts anew");
    assert_eq!(scene.state(task(job, 0)), TaskState::Running);
}

#[test]
fn an_idle_dispatcher_is_not_taken_for_one_that_stood_still() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    for _ in 0..100 {
        scene.now = scene.engine.poll_timeout().expect("a lease runs");
        scene.engine.handle_timeout(scene.now);
        scene.perform();
    }
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::LoopStalled { .. })), 0);
}

#[test]
fn a_worker_that_stops_gets_no_new_work_and_leaves_the_roster_when_its_link_does() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let held = scene.submit(single());
    scene.says("a", WorkerMessage::Stopping);
    let job = scene.submit(single());
    assert_eq!(scene.on("a"), [task(held, 0)]);
    scene.ends("a", task(held, 0), OK);
    scene.loses_its_link("a");
    assert_eq!(scene.engine.workers(scene.now), []);
    assert_eq!(scene.noticed(|notice| matches!(notice, Notice::WorkerLost { .. })), 0);
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), [task(job, 0)]);
}

#[test]
fn what_a_stopped_worker_did_not_report_is_requeued_without_being_counted() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.starts("a", task(job, 0));
    scene.says("a", WorkerMessage::Stopping);
    scene.loses_its_link("a");
    scene.worker("b", slots(1));
    assert_eq!(scene.on("b"), [task(job, 0)]);
    assert_eq!(scene.counts(task(job, 0)), TaskCounts { attempts: 2, failures: 0, lost: 0 });
}

#[test]
fn an_attempt_given_back_unstarted_counts_as_nothing_and_goes_elsewhere() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(JobSpec { no_retry: true, ..single() });
    scene.worker("b", slots(1));
    scene.gives_back("a", task(job, 0));
    assert_eq!(scene.on("b"), [task(job, 0)]);
    assert_eq!(scene.counts(task(job, 0)), TaskCounts { attempts: 2, failures: 0, lost: 0 });
}

#[test]
fn a_task_that_may_be_started_once_only_is_lost_with_its_worker() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(JobSpec { no_retry: true, ..single() });
    scene.worker("b", slots(1));
    scene.guard_reports("a");
    assert_eq!(scene.on("b"), []);
    assert_eq!(scene.outcome(task(job, 0)), Some(Outcome::Lost));
    assert_eq!(scene.ended(job), Some(TaskState::Failed));
}

#[test]
fn an_exclusive_task_of_a_lost_worker_waits_66_seconds_from_when_the_worker_was_last_heard() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(JobSpec { exclusive: true, ..single() });
    scene.worker("b", slots(1));
    scene.pass(secs(10));
    let last_heard = scene.now;
    scene.falls_silent("a");
    scene.pass(secs(61));
    assert_eq!(scene.state(task(job, 0)), TaskState::Waiting);
    assert_eq!(scene.ledger.not_before(task(job, 0)), Some(last_heard + secs(66)));
    assert_eq!(scene.on("b"), []);
    scene.pass(secs(6));
    assert_eq!(scene.on("b"), [task(job, 0)]);
}

#[test]
fn an_exclusive_task_that_its_worker_says_is_gone_need_not_wait() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(JobSpec { exclusive: true, ..single() });
    scene.worker("b", slots(1));
    scene.ends("a", task(job, 0), Outcome::Lost);
    assert_eq!(scene.on("b"), [task(job, 0)]);
}

#[test]
fn no_attempt_is_recorded_to_have_ended_before_it_started() {
    for lost in [true, false] {
        let mut scene = Scene::new();
        scene.worker("a", slots(1));
        let job = scene.submit(single());
        let assignment = scene.workers["a"].holds[&task(job, 0)].clone();
        let ahead = scene.now + Millis(20);
        let started = StartedAttempt { id: assignment.id(), fence: assignment.fence, at: ahead };
        scene.says("a", WorkerMessage::Started(vec![started]));
        if lost {
            scene.guard_reports("a");
        } else {
            let report = AttemptReport { started_at: None, ..scene.report(OK) };
            let ended = EndedAttempt { id: assignment.id(), fence: assignment.fence, report };
            scene.says("a", WorkerMessage::Ended(vec![ended]));
        }
        let ended = scene.records.iter().find_map(|record| match record {
            Record::AttemptEnded { report, .. } => Some(report.ended_at),
            _ => None,
        });
        assert_eq!(ended, Some(ahead));
    }
}

#[test]
fn a_lost_worker_is_shown_for_an_hour() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.guard_reports("a");
    let states = |scene: &Scene| -> Vec<crate::model::views::WorkerState> {
        scene.engine.workers(scene.now).iter().map(|worker| worker.state).collect()
    };
    assert_eq!(states(&scene), [crate::model::views::WorkerState::Lost]);
    scene.stall(secs(3599));
    assert_eq!(states(&scene).len(), 1);
    scene.stall(secs(2));
    assert_eq!(states(&scene), []);
}
