//! Revoking, listing and draining.

use super::*;
use crate::model::limits::REVOKED_SHOWN;
use crate::model::requests::NodeKind;
use crate::model::trust::{ClientView, TokenId};
use crate::model::views::WorkerState;
use crate::model::{Digest, LinkId};

impl Scene {
    pub(super) fn revoke(&mut self, who: &str, kind: Option<NodeKind>) -> Reply {
        self.answer("admin", Call::Revoke { name: name(who), kind })
    }

    fn drain(&mut self, who: &str, draining: bool) -> Reply {
        self.answer("admin", Call::Drain { name: name(who), draining })
    }

    fn listed(&mut self) -> Vec<ClientView> {
        match self.answer("admin", Call::Clients) {
            Reply::Clients(clients) => clients,
            other => panic!("no clients: {other:?}"),
        }
    }
}

const DONE: Reply = Reply::Done { affected: 1 };

#[test]
fn a_revoked_worker_loses_its_links_at_once_and_stays_out_for_good() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let hello = scene.hello(Intent::Guard, 1);
    let guard = scene.up(key("a"), hello, None);
    let (waiting, _) = scene.waits("a", None).expect("it waits");
    assert_eq!(scene.revoke("a", None), DONE);
    for link in [scene.workers["a"].link, guard, waiting] {
        assert_eq!(scene.closed.get(&link), Some(&CloseReason::Revoked));
    }
    let token = scene.token(1, Role::Worker, 1, secs(60));
    scene.dispatcher_restarts();
    let profile = scene.profile(Some("a"), slots(1));
    for intent in [Intent::Worker(profile), Intent::Guard, Intent::Join { name: None }, Intent::Client] {
        let hello = scene.hello(intent, 1);
        let link = scene.up_with(key("a"), hello, Some(Voucher::Token(token)));
        let answer = &scene.answers[&link];
        assert!(matches!(answer, Answer::Refused(refusal) if refusal.code == RefusalCode::Revoked), "{answer:?}");
    }
}

#[test]
fn what_a_revoked_worker_ran_is_queued_again_as_after_a_loss() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    let id = scene.submit(single());
    scene.starts("a", task(id, 0));
    scene.worker("b", slots(1));
    let assignment = scene.forgets("a", task(id, 0));
    scene.revoke("a", None);
    assert_eq!(scene.on("b"), [task(id, 0)]);
    assert_eq!(scene.counts(task(id, 0)), TaskCounts { attempts: 2, failures: 0, lost: 1 });
    scene.reports("a", &assignment, OK);
    assert_eq!(scene.ended(id), None, "its result is not heard");
}

#[test]
fn the_name_of_a_revoked_worker_is_free_and_shown_until_it_is_used_again() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.worker("b", slots(1));
    scene.revoke("a", None);
    scene.revoke("b", None);
    let revoked = |who: &str| (who.to_owned(), WorkerState::Revoked);
    assert_eq!(scene.shown(), [revoked("a"), revoked("b")]);
    let profile = scene.profile(Some("a"), slots(1));
    assert_eq!(scene.joins("c", profile), Ok(name("a")));
    assert_eq!(scene.shown(), [("a".to_owned(), WorkerState::Idle), revoked("b")]);
    scene.stall(REVOKED_SHOWN);
    assert!(!scene.shown().contains(&revoked("b")));
}

#[test]
fn a_revoked_client_is_cut_off_and_its_jobs_stay() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let id = scene.submit_as("eve", single());
    let link = scene.clients["eve"];
    let called = scene.listed().into_iter().find(|client| client.node == key("eve")).expect("eve is listed").name;
    assert_eq!(scene.revoke(called.as_str(), None), DONE);
    assert_eq!(scene.closed.get(&link), Some(&CloseReason::Revoked));
    let listed = scene.listed().into_iter().find(|client| client.node == key("eve")).expect("still listed");
    assert_eq!((listed.revoked, listed.links), (true, 0));
    scene.worker("a", slots(1));
    scene.works_off();
    assert_eq!(scene.ended(id), Some(TaskState::Succeeded));
}

#[test]
fn a_name_that_a_worker_and_a_client_share_needs_a_word_which() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let called = scene.listed().into_iter().find(|client| client.node == key("eve")).expect("listed").name;
    let profile = scene.profile(Some(called.as_str()), slots(1));
    scene.joins("w", profile).expect("let in");
    let call = Call::Revoke { name: called.clone(), kind: None };
    assert_eq!(scene.failure("admin", call), FailureCode::Conflict);
    assert_eq!(scene.revoke(called.as_str(), Some(NodeKind::Worker)), DONE);
    assert!(scene.closed.contains_key(&scene.workers["w"].link) && !scene.closed.contains_key(&scene.clients["eve"]));
    assert_eq!(scene.revoke(called.as_str(), None), DONE, "only the client is left");
}

#[test]
fn nobody_revokes_a_stranger_or_the_key_it_asks_with() {
    let mut scene = Scene::new();
    let own = scene.listed()[0].name.clone();
    let call = |who: &NodeName| Call::Revoke { name: who.clone(), kind: None };
    assert_eq!(scene.failure("admin", call(&own)), FailureCode::Conflict);
    assert_eq!(scene.failure("admin", call(&name("nobody"))), FailureCode::NotFound);
    scene.waits("w", Some("lab")).expect("it waits");
    assert_eq!(scene.failure("admin", call(&name("lab"))), FailureCode::Conflict);
}

#[test]
fn clients_are_listed_by_name_with_their_links() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    let hello = scene.hello(Intent::Client, 1);
    scene.up(key("eve"), hello, None);
    scene.worker("a", slots(1));
    let listed: Vec<_> = scene.listed().into_iter().map(|client| (client.node, client.role, client.links)).collect();
    assert_eq!(listed, [(key("admin"), Role::Admin, 1), (key("eve"), Role::Client, 2)]);
}

#[test]
fn a_draining_worker_keeps_what_it_runs_and_gets_nothing_new_until_it_is_resumed() {
    let mut scene = Scene::new();
    scene.worker("a", slots(2));
    let id = scene.submit(array(1));
    assert_eq!(scene.drain("a", true), DONE);
    assert_eq!(scene.drain("a", true), Reply::Done { affected: 0 }, "it drains already");
    scene.submit(array(1));
    assert_eq!(scene.on("a"), [task(id, 1)]);
    assert_eq!(scene.shown(), [("a".to_owned(), WorkerState::Draining)]);
    assert!(scene.said.iter().any(|(_, message, _)| *message == DispatcherMessage::Drain));
    assert_eq!(scene.drain("a", false), DONE);
    assert_eq!(scene.on("a").len(), 2);
    assert!(scene.said.iter().any(|(_, message, _)| *message == DispatcherMessage::Resume));
}

#[test]
fn draining_survives_restarts_of_both_sides_and_comes_before_the_workers_first_task() {
    let mut scene = Scene::new();
    scene.worker("a", slots(1));
    scene.drain("a", true);
    scene.dispatcher_restarts();
    scene.restarts("a");
    scene.submit(single());
    assert_eq!(scene.on("a"), []);
    assert_eq!(scene.shown(), [("a".to_owned(), WorkerState::Draining)]);
    scene.loses_its_link("a");
    scene.drain("a", false);
    scene.reconnects("a");
    assert_eq!(scene.on("a").len(), 1);
    assert_eq!(scene.failure("admin", Call::Drain { name: name("b"), draining: true }), FailureCode::NotFound);
}

#[test]
fn a_client_may_do_none_of_what_is_admins() {
    let mut scene = Scene::new();
    scene.client("eve", Role::Client);
    scene.worker("a", slots(1));
    let (hash, who) = (Digest([1; 32]), name("a"));
    let calls = [
        Call::Approve { link: LinkId(1) },
        Call::Revoke { name: who.clone(), kind: None },
        Call::Clients,
        Call::CreateToken(WantedToken { hash, role: Role::Worker, name: None, uses: 1, lifetime: secs(60) }),
        Call::Tokens,
        Call::RevokeToken(TokenId([1; 5])),
        Call::Drain { name: who, draining: true },
    ];
    let records = scene.records.len();
    for call in calls {
        let Reply::Failed(failure) = scene.answer("eve", call.clone()) else { panic!("{call:?} was done") };
        assert_eq!(failure.code, FailureCode::Forbidden);
        assert!(failure.text.starts_with("only an admin may"), "{}", failure.text);
    }
    assert_eq!(scene.records.len(), records);
}

#[test]
fn a_refusal_is_noticed_with_who_asked_for_what_and_why() {
    let mut scene = Scene::new();
    let profile = scene.profile(Some("lab"), slots(1));
    scene.connects("w", profile, 1, None).expect_err("refused");
    let told = scene.noticed(|notice| match notice {
        Notice::NodeRefused { node, name: asked, role: Role::Worker, refusal, .. } => {
            *node == key("w") && *asked == Some(name("lab")) && refusal.code == RefusalCode::NotEnrolled
        }
        _ => false,
    });
    assert_eq!(told, 1);
}
