//! What tokens are worth, to whom, and for how long.

use super::*;
use crate::model::Digest;
use crate::model::limits::{MAX_TOKENS, SUSPECT_AFTER, TOKEN_REMEMBERED};
use crate::model::trust::{TokenId, TokenState, TokenView};

fn secret(number: u64) -> Digest {
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&u32::try_from(number).expect("few tokens").to_be_bytes());
    Digest(hash)
}

impl Scene {
    pub(super) fn token(&mut self, number: u64, role: Role, uses: u32, lifetime: Millis) -> Digest {
        let hash = secret(number);
        let reply = self.answer("admin", Call::CreateToken(WantedToken { hash, role, name: None, uses, lifetime }));
        assert_eq!(reply, Reply::Done { affected: 1 });
        hash
    }

    /// A client brings a token.
    pub(super) fn client_with(&mut self, who: &str, token: Digest) -> Result<Role, Refusal> {
        let hello = self.hello(Intent::Client, 1);
        let link = self.up_with(key(who), hello, Some(Voucher::Token(token)));
        self.admission(link).map(|(role, _)| role)
    }

    /// A worker brings a token.
    pub(super) fn worker_with(&mut self, who: &str, token: Digest) -> Result<NodeName, Refusal> {
        let profile = self.profile(Some(who), slots(1));
        let hello = self.hello(Intent::Worker(profile), 1);
        let link = self.up_with(key(who), hello, Some(Voucher::Token(token)));
        self.admission(link).map(|(_, name)| name)
    }

    fn admission(&self, link: LinkId) -> Result<(Role, NodeName), Refusal> {
        match &self.answers[&link] {
            Answer::Welcome(welcome) => Ok((welcome.role, welcome.name.clone())),
            Answer::Refused(refusal) => Err(refusal.clone()),
            other @ (Answer::Waiting(_) | Answer::Peer(_)) => panic!("it is told {other:?}"),
        }
    }

    fn tokens(&mut self) -> Vec<TokenView> {
        match self.answer("admin", Call::Tokens) {
            Reply::Tokens(views) => views,
            other => panic!("no tokens: {other:?}"),
        }
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, words: &str) -> RefusalCode {
    let refusal = result.expect_err("refused");
    assert!(refusal.text.contains(words), "{}", refusal.text);
    assert!(refusal.hint.is_some_and(|hint| hint.contains("octaskly token create")));
    refusal.code
}

#[test]
fn a_token_enrols_a_node_in_its_role_and_the_welcome_waits_for_the_disk() {
    let mut scene = Scene::new();
    let token = scene.token(1, Role::Worker, 1, secs(60));
    assert_eq!(scene.worker_with("a", token), Ok(name("a")));
    assert!(scene.answered_late.contains(&LinkId(scene.links)));
    let token = scene.token(2, Role::Client, 1, secs(60));
    assert_eq!(scene.client_with("b", token), Ok(Role::Client));
    let token = scene.token(3, Role::Admin, 1, secs(60));
    assert_eq!(scene.client_with("c", token), Ok(Role::Admin));
    scene.dispatcher_restarts();
    let hello = scene.hello(Intent::Client, 1);
    let link = scene.up(key("b"), hello, None);
    assert!(matches!(&scene.answers[&link], Answer::Welcome(welcome) if welcome.role == Role::Client));
    assert!(!scene.answered_late.contains(&link), "an enrolled key waits for nothing");
}

#[test]
fn a_token_enrols_no_more_keys_than_it_was_made_for_and_each_of_them_again() {
    let mut scene = Scene::new();
    let token = scene.token(1, Role::Client, 2, secs(60));
    for who in ["a", "b", "a"] {
        assert_eq!(scene.client_with(who, token), Ok(Role::Client));
    }
    assert_eq!(refused(scene.client_with("c", token), "used up"), RefusalCode::BadCredential);
    assert_eq!((scene.tokens()[0].used, scene.tokens()[0].state), (2, TokenState::Used));
}

#[test]
fn a_key_whose_name_went_to_another_comes_back_by_the_token_that_enrolled_it() {
    let mut scene = Scene::new();
    let token = scene.token(1, Role::Worker, 1, secs(60));
    scene.worker_with("a", token).expect("let in");
    let link = LinkId(scene.links);
    scene.down(link);
    scene.pass(SUSPECT_AFTER);
    let profile = scene.profile(Some("a"), slots(1));
    assert_eq!(scene.connects("b", profile, 1, Some(Role::Worker)), Ok(name("a")));
    let profile = scene.profile(Some("c"), slots(1));
    let hello = scene.hello(Intent::Worker(profile), 1);
    let link = scene.up_with(key("a"), hello, Some(Voucher::Token(token)));
    assert!(matches!(&scene.answers[&link], Answer::Welcome(_)));
    assert_eq!(scene.tokens()[0].used, 1);
}

#[test]
fn a_token_takes_no_name_from_a_worker_that_is_away() {
    let mut scene = Scene::new();
    let token = scene.token(1, Role::Worker, 2, secs(60));
    scene.worker_with("a", token).expect("let in");
    scene.down(LinkId(scene.links));
    let hello = scene.hello(Intent::Worker(scene.profile(Some("a"), slots(1))), 1);
    let link = scene.up_with(key("b"), hello, Some(Voucher::Token(token)));
    assert!(matches!(&scene.answers[&link], Answer::Refused(refusal) if refusal.code == RefusalCode::NameTaken));
    assert_eq!(scene.tokens()[0].used, 1, "a refusal takes no use");
}

#[test]
fn unknown_expired_and_revoked_tokens_are_refused_by_what_they_are() {
    let mut scene = Scene::new();
    assert_eq!(refused(scene.client_with("a", secret(9)), "no such token"), RefusalCode::BadCredential);
    let short = scene.token(1, Role::Worker, 1, secs(1));
    scene.pass(secs(1));
    assert_eq!(refused(scene.worker_with("a", short), "expired"), RefusalCode::BadCredential);
    let taken_back = scene.token(2, Role::Client, 5, secs(60));
    let id = TokenId::of(&taken_back);
    assert_eq!(scene.answer("admin", Call::RevokeToken(id)), Reply::Done { affected: 1 });
    assert_eq!(scene.answer("admin", Call::RevokeToken(id)), Reply::Done { affected: 0 });
    assert_eq!(refused(scene.client_with("a", taken_back), "revoked"), RefusalCode::BadCredential);
    let states: Vec<TokenState> = scene.tokens().into_iter().map(|token| token.state).collect();
    assert_eq!(states, [TokenState::Revoked, TokenState::Expired], "newest first");
}

#[test]
fn a_token_for_one_role_does_not_serve_another() {
    let mut scene = Scene::new();
    let workers = scene.token(1, Role::Worker, 1, secs(60));
    let clients = scene.token(2, Role::Client, 1, secs(60));
    assert_eq!(refused(scene.client_with("a", workers), "for a worker, not for a client"), RefusalCode::WrongRole);
    assert_eq!(refused(scene.worker_with("a", clients), "for a client, not for a worker"), RefusalCode::WrongRole);
    assert!(scene.tokens().iter().all(|token| token.used == 0), "a refusal takes no use");
}

#[test]
fn an_enrolled_key_needs_no_token_but_a_client_rises_by_an_admins() {
    let mut scene = Scene::new();
    let first = scene.token(1, Role::Client, 1, secs(60));
    scene.client_with("a", first).expect("let in");
    assert_eq!(scene.client_with("a", secret(99)), Ok(Role::Client), "whatever it brings");
    let rise = scene.token(2, Role::Admin, 1, secs(60));
    assert_eq!(scene.client_with("a", rise), Ok(Role::Admin));
    assert_eq!(scene.client_with("a", first), Ok(Role::Admin), "it does not fall again");
    assert_eq!(scene.tokens()[0].used, 1);
}

#[test]
fn a_token_that_makes_no_sense_is_not_made() {
    let mut scene = Scene::new();
    let (hash, role) = (secret(1), Role::Worker);
    for (role, uses, lifetime) in [
        (Role::Dispatcher, 1, secs(60)),
        (role, 0, secs(60)),
        (role, 10_001, secs(60)),
        (role, 1, Millis(999)),
        (role, 1, secs(366 * 24 * 3600)),
    ] {
        let call = Call::CreateToken(WantedToken { hash, role, name: None, uses, lifetime });
        assert_eq!(scene.failure("admin", call), FailureCode::Invalid);
    }
    assert_eq!(scene.failure("admin", Call::RevokeToken(TokenId([9; 5]))), FailureCode::NotFound);
}

#[test]
fn dead_tokens_make_room_for_new_ones_oldest_first_and_valid_ones_never_do() {
    let mut scene = Scene::new();
    let most = MAX_TOKENS as u64;
    for number in 0..most {
        scene.token(number, Role::Worker, 1, secs(3600));
        scene.now = scene.now + Millis(1);
    }
    let call = Call::CreateToken(WantedToken {
        hash: secret(most),
        role: Role::Worker,
        name: None,
        uses: 1,
        lifetime: secs(60),
    });
    assert_eq!(scene.failure("admin", call), FailureCode::Full);
    for number in [7, 5] {
        scene.answer("admin", Call::RevokeToken(TokenId::of(&secret(number))));
    }
    scene.token(most, Role::Worker, 1, secs(60));
    assert!(!scene.ledger.tokens.contains_key(&secret(5)) && scene.ledger.tokens.contains_key(&secret(7)));
}

#[test]
fn what_became_of_a_token_is_remembered_for_a_week_after_its_lifetime() {
    let mut scene = Scene::new();
    let token = scene.token(1, Role::Worker, 1, secs(1));
    scene.stall(TOKEN_REMEMBERED);
    assert_eq!(scene.tokens().len(), 1);
    assert_eq!(refused(scene.worker_with("a", token), "expired"), RefusalCode::BadCredential);
    scene.stall(secs(1));
    assert_eq!((scene.tokens().len(), scene.ledger.tokens.len()), (0, 0));
}

#[test]
fn a_clock_that_is_set_back_prolongs_no_token_and_one_that_is_set_forward_ends_it() {
    let mut scene = Scene::new();
    scene.dispatcher_restarts_at(Timestamp::from_millis(2_000_000_000_000));
    let token = scene.token(1, Role::Client, 9, secs(60));
    scene.pass(secs(20));
    scene.engine.count_uptime(scene.now);
    scene.perform();
    scene.dispatcher_restarts_at(Timestamp::from_millis(1_000_000_000_000));
    assert_eq!(scene.client_with("b", token), Ok(Role::Client));
    let expires_at = scene.tokens()[0].expires_at;
    assert!(expires_at <= scene.now + secs(40), "{expires_at:?}");
    scene.pass(secs(41));
    refused(scene.client_with("c", token), "has expired");
    let token = scene.token(2, Role::Client, 9, secs(60));
    scene.dispatcher_restarts_at(Timestamp::from_millis(2_000_000_000_000));
    refused(scene.client_with("d", token), "has expired");
}
