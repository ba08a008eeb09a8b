//! Workers that wait for approval.

use super::*;
use crate::model::limits::{MAX_JOINING, SUSPECT_AFTER};
use crate::model::views::WorkerState;

impl Scene {
    /// A node waits for approval.
    pub(super) fn waits(&mut self, who: &str, asked: Option<&str>) -> Result<(LinkId, NodeName), Refusal> {
        let hello = self.hello(Intent::Join { name: asked.map(name) }, 1);
        let link = self.up(key(who), hello, None);
        match &self.answers[&link] {
            Answer::Waiting(waiting) => Ok((link, waiting.name.clone())),
            Answer::Refused(refusal) => Err(refusal.clone()),
            other @ (Answer::Welcome(_) | Answer::Peer(_)) => panic!("it is told {other:?}"),
        }
    }

    pub(super) fn shown(&self) -> Vec<(String, WorkerState)> {
        let workers = self.engine.workers(self.now);
        workers.into_iter().map(|worker| (worker.name.to_string(), worker.state)).collect()
    }
}

#[test]
fn an_approved_worker_is_enrolled_durably_and_let_in_by_its_key() {
    let mut scene = Scene::new();
    let (link, called) = scene.waits("w", Some("lab")).expect("it waits");
    assert_eq!(scene.shown(), [("lab".to_owned(), WorkerState::Pending)]);
    assert_eq!(scene.answer("admin", Call::Approve { link }), Reply::Done { affected: 1 });
    assert_eq!(scene.shown(), []);
    let profile = scene.profile(Some("lab"), slots(1));
    assert_eq!(scene.connects("w", profile, 1, None), Ok(called));
    assert_eq!(scene.failure("admin", Call::Approve { link }), FailureCode::NotFound, "it waits no more");
}

#[test]
fn who_waits_leaves_no_trace_when_it_goes() {
    let mut scene = Scene::new();
    let records = scene.records.len();
    let (link, _) = scene.waits("w", Some("lab")).expect("it waits");
    scene.down(link);
    assert_eq!(scene.shown(), []);
    assert_eq!(scene.failure("admin", Call::Approve { link }), FailureCode::NotFound);
    assert_eq!(scene.records.len(), records);
}

#[test]
fn who_waits_may_not_say_anything() {
    let mut scene = Scene::new();
    let (link, _) = scene.waits("w", None).expect("it waits");
    scene.engine.handle_message(scene.now, link, Inbound::Worker(WorkerMessage::Holding(Vec::new())));
    scene.perform();
    assert_eq!(scene.closed.get(&link), Some(&CloseReason::Malformed));
}

#[test]
fn a_name_is_for_one_who_waits_and_not_for_a_live_workers() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.waits("w", Some("lab")).expect("it waits");
    for taken in ["a", "lab"] {
        let refusal = scene.waits("x", Some(taken)).expect_err("refused");
        assert_eq!(refusal.code, RefusalCode::NameTaken);
        assert!(refusal.text.contains(taken), "{}", refusal.text);
    }
    scene.loses_its_link("a");
    scene.waits("x", Some("a")).expect_err("it may be back in a moment");
    scene.pass(SUSPECT_AFTER);
    scene.waits("x", Some("a")).expect("its name may go to another");
}

#[test]
fn a_nameless_one_waits_under_a_number_that_nobody_has_or_waits_under() {
    let mut scene = Scene::new();
    let nameless = scene.profile(None, slots(1));
    assert_eq!(scene.joins("x", nameless.clone()), Ok(name("worker-1")));
    assert_eq!(scene.waits("y", None).expect("it waits").1, name("worker-2"));
    assert_eq!(scene.waits("z", None).expect("it waits").1, name("worker-3"));
    assert_eq!(scene.joins("v", nameless), Ok(name("worker-4")));
}

#[test]
fn the_same_key_waits_once() {
    let mut scene = Scene::new();
    let (first, _) = scene.waits("w", Some("lab")).expect("it waits");
    let (second, _) = scene.waits("w", Some("lab")).expect("it waits");
    assert_eq!(scene.closed.get(&first), Some(&CloseReason::Superseded));
    scene.down(first);
    assert_eq!(scene.answer("admin", Call::Approve { link: second }), Reply::Done { affected: 1 });
}

#[test]
fn no_more_wait_than_may() {
    let mut scene = Scene::new();
    for number in 0..MAX_JOINING {
        scene.waits(&format!("w{number}"), None).expect("it waits");
    }
    let refusal = scene.waits("x", None).expect_err("refused");
    assert!(refusal.code == RefusalCode::TooManyJoining && refusal.code.is_temporary());
    scene.waits("w3", None).expect("it waits already");
}

#[test]
fn a_clients_key_does_not_wait() {
    let mut scene = Scene::new();
    assert_eq!(scene.waits("admin", None).expect_err("refused").code, RefusalCode::WrongRole);
}

#[test]
fn a_worker_that_no_longer_knows_its_dispatcher_is_approved_anew() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.loses_its_link("a");
    let (link, called) = scene.waits("a", None).expect("it waits");
    assert_eq!(called, name("a"));
    assert_eq!(scene.answer("admin", Call::Approve { link }), Reply::Done { affected: 1 });
    scene.reconnects("a");
}

#[test]
fn an_approval_gives_away_the_name_of_a_worker_that_is_away_but_not_of_a_live_one() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.loses_its_link("a");
    scene.pass(SUSPECT_AFTER);
    let (link, _) = scene.waits("w", Some("a")).expect("it waits");
    scene.reconnects("a");
    assert_eq!(scene.failure("admin", Call::Approve { link }), FailureCode::Conflict);
    scene.loses_its_link("a");
    scene.pass(SUSPECT_AFTER);
    assert_eq!(scene.answer("admin", Call::Approve { link }), Reply::Done { affected: 1 });
    let profile = scene.profile(Some("a"), slots(1));
    let refusal = scene.connects("a", profile, 1, None).expect_err("its key was dropped");
    assert_eq!(refusal.code, RefusalCode::NotEnrolled);
}

#[test]
fn a_key_that_became_a_clients_meanwhile_is_not_approved() {
    let mut scene = Scene::new();
    let (link, _) = scene.waits("w", Some("lab")).expect("it waits");
    scene.client("w", Role::Client);
    assert_eq!(scene.failure("admin", Call::Approve { link }), FailureCode::Conflict);
}

#[test]
fn only_an_admin_approves() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let (link, _) = scene.waits("w", None).expect("it waits");
    assert_eq!(scene.failure("eve", Call::Approve { link }), FailureCode::Forbidden);
}
