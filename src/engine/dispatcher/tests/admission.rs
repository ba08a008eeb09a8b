//! Who is let in, under which name, and who is not.

use super::*;
use crate::model::limits::{MAX_LINKS_OF_A_KEY, MAX_SLOTS};

impl Scene {
    fn refused(&mut self, who: &'static str, profile: WorkerProfile, vouched: Option<Role>) -> RefusalCode {
        self.connects(who, profile, 1, vouched).expect_err("refused").code
    }

    fn connected(&self) -> u32 {
        self.engine.status(self.now).workers
    }
}

#[test]
fn a_worker_is_let_in_when_it_is_vouched_for_and_from_then_on_by_its_key() {
    let mut scene = Scene::new();
    let profile = scene.profile(Some("a"), slots(1));
    assert_eq!(scene.refused("a", profile.clone(), None), RefusalCode::NotEnrolled);
    assert_eq!(scene.connects("a", profile.clone(), 1, Some(Role::Worker)), Ok(name("a")));
    scene.loses_its_link("a");
    assert_eq!(scene.connects("a", profile, 1, None), Ok(name("a")));
}

#[test]
fn a_refused_worker_leaves_no_trace() {
    let mut scene = Scene::new();
    let records = scene.records.len();
    let profile = scene.profile(Some("a"), slots(1));
    scene.refused("a", profile, None);
    assert_eq!(scene.records.len(), records);
    assert_eq!(scene.engine.workers(scene.now), []);
}

#[test]
fn a_key_keeps_to_its_role() {
    let mut scene = Scene::new();
    let profile = scene.profile(Some("admin"), slots(1));
    assert_eq!(scene.refused("admin", profile, Some(Role::Worker)), RefusalCode::WrongRole);
    scene.worker("a", slots(1));
    let hello = scene.hello(Intent::Client, 1);
    let link = scene.up(key("a"), hello, Some(Role::Admin));
    let answer = &scene.answers[&link];
    assert!(matches!(answer, Answer::Refused(refusal) if refusal.code == RefusalCode::WrongRole), "{answer:?}");
}

#[test]
fn a_client_that_nobody_vouches_for_is_refused_at_once() {
    let mut scene = Scene::new();
    let hello = scene.hello(Intent::Client, 1);
    let link = scene.up(key("stranger"), hello, None);
    let answer = &scene.answers[&link];
    assert!(matches!(answer, Answer::Refused(refusal) if refusal.code == RefusalCode::NotEnrolled), "{answer:?}");
}

#[test]
fn a_client_becomes_an_admin_when_the_access_file_says_so() {
    let mut scene = Scene::new();
    for (vouched, role) in [(Role::Client, Role::Client), (Role::Admin, Role::Admin), (Role::Client, Role::Admin)] {
        let hello = scene.hello(Intent::Client, 1);
        let link = scene.up(key("eve"), hello, Some(vouched));
        assert!(matches!(&scene.answers[&link], Answer::Welcome(welcome) if welcome.role == role));
    }
}

#[test]
fn a_worker_that_asks_for_no_name_gets_the_smallest_free_number_and_keeps_it() {
    let mut scene = Scene::new();
    let nameless = scene.profile(None, slots(1));
    assert_eq!(scene.joins("x", nameless.clone()), Ok(name("worker-1")));
    let named = scene.profile(Some("worker-2"), slots(1));
    assert_eq!(scene.joins("y", named), Ok(name("worker-2")));
    assert_eq!(scene.joins("z", nameless.clone()), Ok(name("worker-3")));
    scene.loses_its_link("x");
    assert_eq!(scene.joins("x", nameless), Ok(name("worker-1")));
}

#[test]
fn a_second_worker_of_a_connected_workers_name_is_refused_by_name() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let profile = scene.profile(Some("a"), slots(1));
    let refusal = scene.connects("b", profile, 1, Some(Role::Worker)).expect_err("refused");
    assert_eq!(refusal.code, RefusalCode::NameTaken);
    assert!(refusal.text.contains("called a"), "{}", refusal.text);
}

#[test]
fn the_name_of_a_worker_that_is_gone_goes_to_another_key_and_its_work_elsewhere() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let job = scene.submit(single());
    scene.loses_its_link("a");
    let profile = scene.profile(Some("a"), slots(1));
    assert_eq!(
        scene.refused("b", profile.clone(), Some(Role::Worker)),
        RefusalCode::NameTaken,
        "it may be back at once"
    );
    scene.pass(scene.config.suspect_after);
    assert_eq!(scene.joins("b", profile.clone()), Ok(name("a")));
    assert_eq!(scene.on("b"), [task(job, 0)]);
    assert_eq!(scene.refused("a", profile, None), RefusalCode::NotEnrolled, "its key was dropped");
}

#[test]
fn a_known_worker_may_come_back_under_another_name() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.loses_its_link("a");
    let profile = scene.profile(Some("b"), slots(1));
    assert_eq!(scene.joins("a", profile), Ok(name("b")));
    let free = scene.profile(Some("a"), slots(1));
    assert_eq!(scene.joins("c", free), Ok(name("a")), "the old name is free");
}

#[test]
fn no_more_workers_are_let_in_than_the_maximum_until_one_leaves() {
    let mut scene = Scene::with(DispatcherConfig { max_workers: 2, ..without_backlog() });
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    let third = scene.profile(Some("c"), slots(1));
    let refusal = scene.connects("c", third.clone(), 1, Some(Role::Worker)).expect_err("refused");
    assert_eq!(refusal.code, RefusalCode::TooManyWorkers);
    assert!(refusal.code.is_temporary() && refusal.hint.is_some_and(|hint| hint.contains("--max-workers")));
    scene.loses_its_link("b");
    assert_eq!(scene.joins("c", third), Ok(name("c")));
    assert_eq!(scene.connected(), 2);
}

#[test]
fn the_place_of_a_worker_that_is_away_with_work_in_hand_is_kept() {
    let mut scene = Scene::with(DispatcherConfig { max_workers: 1, ..without_backlog() });
    scene.worker("a", slots(1));
    scene.submit(single());
    scene.loses_its_link("a");
    let other = scene.profile(Some("b"), slots(1));
    assert_eq!(scene.refused("b", other, Some(Role::Worker)), RefusalCode::TooManyWorkers);
    scene.reconnects("a");
    assert_eq!(scene.connected(), 1);
}

#[test]
fn another_protocol_is_refused_with_the_side_to_upgrade() {
    let mut scene = Scene::new();
    for (oldest, newest, hint) in [(0, 0, "on this machine"), (9, 10, "dispatcher")] {
        let mut hello = scene.hello(Intent::Client, 1);
        (hello.protocol_oldest, hello.protocol_newest) = (oldest, newest);
        let link = scene.up(key("admin"), hello, Some(Role::Admin));
        let Answer::Refused(refusal) = &scene.answers[&link] else { panic!("it was let in") };
        assert_eq!(refusal.code, RefusalCode::Version);
        assert!(refusal.hint.as_ref().is_some_and(|text| text.contains(hint)));
    }
    let mut hello = scene.hello(Intent::Client, 1);
    hello.protocol_newest = PROTOCOL_VERSION + 3;
    let link = scene.up(key("admin"), hello, Some(Role::Admin));
    assert!(matches!(&scene.answers[&link], Answer::Welcome(welcome) if welcome.protocol == PROTOCOL_VERSION));
}

#[test]
fn a_worker_without_a_slot_is_refused() {
    let mut scene = Scene::new();
    let profile = scene.profile(Some("a"), slots(0));
    assert_eq!(scene.refused("a", profile, Some(Role::Worker)), RefusalCode::Malformed);
}

#[test]
fn a_new_link_of_the_same_key_takes_the_place_of_the_old_one() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let old = scene.workers["a"].link;
    let job = scene.submit(single());
    scene.reconnects("a");
    assert_eq!(scene.on("a"), [task(job, 0)], "it goes on with what it held");
    scene.engine.handle_link(scene.now, old, LinkChange::Down);
    scene.perform();
    assert_eq!(scene.connected(), 1, "the end of the old link means nothing");
}

#[test]
fn whoever_says_what_only_another_role_may_is_cut_off() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let link = scene.workers["a"].link;
    let call = Inbound::Request { request: RequestId(900), call: Call::Status };
    scene.engine.handle_message(scene.now, link, call);
    scene.perform();
    assert!(scene.workers["a"].closed.is_some());
    assert_eq!(scene.connected(), 0);

    let link = scene.clients["admin"];
    scene.engine.handle_message(scene.now, link, Inbound::Worker(WorkerMessage::Stopping));
    scene.perform();
    scene.ask("admin", Call::Status);
    assert_eq!(scene.replies, [], "nobody is behind that link any more");
}

#[test]
fn a_worker_that_does_not_say_first_what_it_holds_is_cut_off() {
    let mut scene = Scene::new();
    let profile = scene.profile(Some("a"), slots(1));
    scene.connects("a", profile, 1, Some(Role::Worker)).expect("let in");
    scene.submit(single());
    assert_eq!(scene.on("a"), [], "it gets no work before");
    scene.says("a", WorkerMessage::Started(Vec::new()));
    assert!(scene.workers["a"].closed.is_some());
}

#[test]
fn one_key_has_so_many_links_and_closed_ones_make_room_at_once() {
    let mut scene = Scene::new();
    let hello = scene.hello(Intent::Client, 1);
    for _ in 0..3 * MAX_LINKS_OF_A_KEY {
        let link = scene.up(key("eve"), hello.clone(), Some(Role::Client));
        assert!(matches!(scene.answers[&link], Answer::Welcome(_)), "one command after another");
        scene.down(link);
    }
    let open: Vec<LinkId> =
        (0..MAX_LINKS_OF_A_KEY).map(|_| scene.up(key("eve"), hello.clone(), Some(Role::Client))).collect();
    let one_more = scene.up(key("eve"), hello.clone(), Some(Role::Client));
    let Answer::Refused(refusal) = &scene.answers[&one_more] else { panic!("it was let in") };
    assert!(refusal.code == RefusalCode::TooManyLinks && refusal.code.is_temporary(), "{refusal:?}");
    scene.client("mallory", Role::Client);
    scene.down(open[7]);
    let again = scene.up(key("eve"), hello, Some(Role::Client));
    assert!(matches!(scene.answers[&again], Answer::Welcome(_)));
}

#[test]
fn a_worker_with_more_slots_than_a_message_speaks_of_is_refused() {
    let mut scene = Scene::new();
    let profile = scene.profile(Some("a"), slots(MAX_SLOTS + 1));
    assert_eq!(scene.refused("a", profile, Some(Role::Worker)), RefusalCode::Malformed);
    scene.worker("a", slots(MAX_SLOTS));
}

/// A worker whose key is locked at this place, in this start of it.
fn at(scene: &Scene, place: u8) -> WorkerProfile {
    WorkerProfile { place: Some(crate::model::Digest([place; 32])), ..scene.profile(Some("a"), slots(1)) }
}

#[test]
fn a_copy_of_a_worker_is_refused_while_that_is_alive_which_is_told_and_keeps_its_task() {
    let mut scene = Scene::new();
    let (first, copy) = (at(&scene, 1), at(&scene, 2));
    scene.joins("a", first).expect("let in");
    let job = scene.submit(single());
    let hello = scene.hello(Intent::Worker(copy.clone()), 7);
    for _ in 0..3 {
        let link = scene.up(key("a"), hello.clone(), None);
        let Answer::Refused(refusal) = &scene.answers[&link] else { panic!("{:?}", scene.answers[&link]) };
        assert_eq!(refusal.code, RefusalCode::KeyInUse);
        assert!(refusal.text.contains("connected as a") && refusal.text.contains("copied"), "{}", refusal.text);
        scene.pass(secs(5));
    }
    let told = scene.said.iter().filter(|(_, message, _)| *message == DispatcherMessage::KeyCopied).count();
    assert_eq!((told, scene.on("a").len(), scene.counts(task(job, 0)).attempts), (3, 1, 1));
    scene.ends("a", task(job, 0), OK);
    assert_eq!(scene.ended(job), Some(TaskState::Succeeded));
}

#[test]
fn a_worker_that_reconnects_or_is_started_again_where_it_was_is_no_copy() {
    let mut scene = Scene::new();
    let first = at(&scene, 1);
    scene.joins("a", first.clone()).expect("let in");
    let moved = at(&scene, 9);
    scene.connects("a", moved, 1, None).expect("the same process over a new link, whatever it says of its place");
    scene.says_what_it_holds("a");
    scene.connects("a", at(&scene, 9), 2, None).expect("killed and started again: its link still stands");
    scene.says("a", WorkerMessage::Holding(Vec::new()));
    scene.connects("a", first, 2, None).expect("the same process");
}

#[test]
fn a_copy_waits_for_a_worker_that_is_silent_until_that_is_lost_also_across_a_restart_of_the_dispatcher() {
    let mut scene = Scene::new();
    let (first, copy) = (at(&scene, 1), at(&scene, 2));
    scene.joins("a", first.clone()).expect("let in");
    let job = scene.submit(single());
    scene.loses_its_link("a");
    let refused = |scene: &mut Scene| scene.connects("a", at(scene, 2), 7, None).expect_err("refused").code;
    assert_eq!(refused(&mut scene), RefusalCode::KeyAwaited);
    scene.dispatcher_restarts();
    assert_eq!(refused(&mut scene), RefusalCode::KeyAwaited, "the first is expected back");
    scene.connects("a", first, 1, None).expect("it is back");
    scene.says_what_it_holds("a");
    assert_eq!(scene.counts(task(job, 0)).attempts, 1);
    scene.falls_silent("a");
    scene.pass(scene.config.suspect_after);
    assert_eq!(refused(&mut scene), RefusalCode::KeyAwaited, "its link stands, and nothing comes");
    scene.pass(scene.config.lost_after);
    scene.connects("a", copy, 7, None).expect("the first is gone");
    scene.says("a", WorkerMessage::Holding(Vec::new()));
    assert_eq!(scene.on("a"), [task(job, 0)]);
    let late = scene.connects("a", at(&scene, 1), 1, None).expect_err("now this one is the copy");
    assert_eq!(late.code, RefusalCode::KeyInUse);
}
