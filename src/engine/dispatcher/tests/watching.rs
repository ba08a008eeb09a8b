//! Watching jobs: at once, not too often, and the end for sure.

use super::*;
use crate::model::views::JobView;

impl Scene {
    fn progress(&self, request: RequestId) -> Vec<Vec<JobView>> {
        let views = |reply: &Reply| match reply {
            Reply::Progress(views) => views.clone(),
            other => panic!("not progress: {other:?}"),
        };
        self.heard(request).into_iter().map(views).collect()
    }
}

#[test]
fn a_watcher_hears_at_once_how_its_jobs_stand() {
    let mut scene = Scene::new();
    let (one, two) = (scene.submit(array(5)), scene.submit(single()));
    let watch = scene.ask("admin", Call::Watch(vec![one, two]));
    let progress = scene.progress(watch);
    let [views] = &progress[..] else { panic!("heard once") };
    assert_eq!(views.iter().map(|view| view.job).collect::<Vec<_>>(), [one, two]);
    assert_eq!((views[0].tasks.total, views[0].tasks.ready, views[0].state), (5, 5, TaskState::Ready));
}

#[test]
fn a_watcher_hears_at_most_ten_times_a_second() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(array(1000));
    let watch = scene.ask("admin", Call::Watch(vec![id]));
    for _ in 0..400 {
        scene.works_off_one("a");
        scene.now = scene.now + Millis(5);
        scene.engine.handle_timeout(scene.now);
        scene.perform();
    }
    let heard = scene.progress(watch).len();
    assert!((20..=22).contains(&heard), "two seconds have passed, heard {heard} times");
}

#[test]
fn a_watcher_hears_the_last_change_though_it_came_too_soon_after_the_one_before() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(array(3));
    let watch = scene.ask("admin", Call::Watch(vec![id]));
    scene.works_off_one("a");
    assert_eq!(scene.progress(watch).len(), 1);
    scene.pass(Millis(250));
    let last = scene.progress(watch).pop().expect("heard");
    assert_eq!(last[0].tasks.succeeded, 1);
}

#[test]
fn the_end_of_the_last_job_is_told_at_once_and_ends_the_watch() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let (one, two) = (scene.submit(single()), scene.submit(single()));
    let watch = scene.ask("admin", Call::Watch(vec![one, two]));
    scene.ends("a", task(one, 0), OK);
    scene.ends("a", task(two, 0), exit(0));
    let last = scene.progress(watch).pop().expect("heard");
    assert!(last.iter().all(|view| view.state == TaskState::Succeeded && view.outcome == Some(OK)));
    let heard = scene.progress(watch).len();
    scene.retry(job(one), false);
    scene.pass(secs(1));
    assert_eq!(scene.progress(watch).len(), heard, "nothing follows the end");
}

#[test]
fn news_of_results_wait_until_those_are_durable() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.ask("admin", Call::Watch(vec![id]));
    let held = scene.forgets("a", task(id, 0));
    let report = scene.report(OK);
    let ended = EndedAttempt { id: held.id(), fence: held.fence, report };
    let link = scene.workers["a"].link;
    scene.engine.handle_message(scene.now, link, Inbound::Worker(WorkerMessage::Ended(vec![ended])));
    let effects = scene.engine.take_effects();
    let news = |(_, message): &(LinkId, Outbound)| matches!(message, Outbound::Reply { .. });
    assert!(!effects.messages.iter().any(news));
    assert_eq!(effects.messages_after_sync.iter().filter(|message| news(message)).count(), 1);
}

#[test]
fn a_watcher_of_jobs_that_have_ended_hears_so_and_no_more() {
    let mut scene = Scene::new();
    let id = scene.submit(single());
    scene.cancel(job(id));
    let watch = scene.ask("admin", Call::Watch(vec![id, id]));
    assert_eq!(scene.progress(watch)[0][0].state, TaskState::Cancelled);
    assert_eq!(scene.progress(watch).len(), 1);
}

#[test]
fn an_ended_job_stays_in_the_news_of_a_watch_that_goes_on() {
    let mut scene = Scene::new();
    let (one, two) = (scene.submit(single()), scene.submit(single()));
    let watch = scene.ask("admin", Call::Watch(vec![one, two]));
    scene.cancel(job(one));
    scene.pass(secs(100));
    assert!(!scene.engine.knows(one));
    scene.cancel(job(two));
    let last = scene.progress(watch).pop().expect("heard");
    assert_eq!(last.iter().map(|view| view.job).collect::<Vec<_>>(), [one, two]);
}

#[test]
fn whoever_closes_its_stream_or_its_link_hears_no_more() {
    let mut scene = Scene::new();
    let id = scene.submit(array(10));
    let closed = scene.ask("admin", Call::Watch(vec![id]));
    let link = scene.clients["admin"];
    scene.engine.handle_message(scene.now, link, Inbound::RequestGone(closed));
    scene.perform();
    let cut = scene.ask("admin", Call::Watch(vec![id]));
    scene.engine.handle_link(scene.now, link, LinkChange::Down);
    scene.perform();
    scene.worker("a", slots(1));
    scene.pass(secs(1));
    assert_eq!((scene.progress(closed).len(), scene.progress(cut).len()), (1, 1));
}

#[test]
fn a_job_that_is_not_in_memory_cannot_be_watched() {
    let mut scene = Scene::new();
    assert_eq!(scene.failure("admin", Call::Watch(vec![JobId(9)])), FailureCode::NotFound);
}

#[test]
fn a_watcher_is_told_the_short_title_of_a_long_command() {
    let mut scene = Scene::new();
    let long = CommandLine::Shell("x".repeat(100_000).into());
    let id = scene.submit(JobSpec::single(long));
    let watch = scene.ask("admin", Call::Watch(vec![id]));
    let views = scene.progress(watch).pop().expect("heard");
    assert_eq!(views[0].name.chars().count(), crate::model::limits::MAX_TITLE);
}
