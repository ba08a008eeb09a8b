//! What nodes are told that are not let in: one sentence each, and what to do.
//!
//! Words only; whom to refuse is decided elsewhere (`admission`, `tokens`,
//! `joining`).

use crate::model::handshake::{Refusal, RefusalCode};
use crate::model::limits::{MAX_JOINING, MAX_LINKS_OF_A_KEY, MAX_SLOTS};
use crate::model::trust::Token;
use crate::model::{Millis, NodeName, Role};

/// A refusal.
pub(super) fn refusal(code: RefusalCode, text: String, hint: Option<&str>) -> Refusal {
    Refusal { code, text, hint: hint.map(str::to_owned) }
}

/// `a worker`, `an admin`.
pub(super) fn with_article(role: Role) -> String {
    let article = if role == Role::Admin { "an" } else { "a" };
    format!("{article} {role}")
}

/// A worker's key is not known, and it brought nothing to change that.
pub(super) fn worker_not_enrolled() -> Refusal {
    let hint = "start it on the dispatcher's machine as the user who runs the dispatcher, or with the --token that \
                `octaskly token create` prints there, or with nothing but --dispatcher, and it waits for approval";
    refusal(RefusalCode::NotEnrolled, "this worker is not enrolled here".to_owned(), Some(hint))
}

/// A client's key is not known, and it brought nothing to change that. The
/// shell says the same to a client that knows no dispatcher to bring anything to.
#[must_use]
pub fn client_not_enrolled() -> Refusal {
    let hint =
        "give it --token once, with what `octaskly token create --role client` prints on the dispatcher's machine";
    refusal(RefusalCode::NotEnrolled, "this client is not enrolled here".to_owned(), Some(hint))
}

/// A worker that looks for another worker has come to the dispatcher.
pub(super) fn no_peer() -> Refusal {
    refusal(RefusalCode::Malformed, "a dispatcher is no peer of a worker".to_owned(), None)
}

/// A key that has one role wants to be something else.
pub(super) fn wrong_role(has: Role, wants: Role) -> Refusal {
    let text = format!("this key is enrolled as {}, not as {}", with_article(has), with_article(wants));
    refusal(RefusalCode::WrongRole, text, None)
}

/// A key that was thrown out.
pub(super) fn revoked(was: Role) -> Refusal {
    let kind = if was == Role::Worker { "worker" } else { "client" };
    let hint = "remove its key folder for a new key, and join again";
    refusal(RefusalCode::Revoked, format!("this {kind}'s key was revoked"), Some(hint))
}

/// Another process has this worker's key, and was heard a moment ago.
pub(super) fn key_in_use(name: &NodeName) -> Refusal {
    let text = format!("another worker with this key is connected as {name}: its key folder was copied");
    refusal(RefusalCode::KeyInUse, text, Some(NEW_IDENTITY))
}

/// Another process had this worker's key, is silent, and may come back for as long as its silence is borne.
pub(super) fn key_awaited(name: &NodeName, silent: Millis, lost_after: Millis) -> Refusal {
    let text = format!(
        "a worker with this key was connected as {name} from elsewhere until {silent} ago, and may come back until it \
         has been silent for {lost_after}"
    );
    refusal(RefusalCode::KeyAwaited, text, Some(NEW_IDENTITY))
}

/// How a copy becomes a worker of its own; the worker itself knows the folder.
const NEW_IDENTITY: &str =
    "for an identity of its own remove its folder in workers/ of its home, and start it with another --name";

/// A live worker of another key has the name.
pub(super) fn name_of_live_worker(name: &NodeName) -> Refusal {
    refusal(RefusalCode::NameTaken, format!("another worker is called {name}"), Some("choose another --name"))
}

/// A worker that is away has the name, and nobody vouches that this one may have it instead.
pub(super) fn name_of_another_key(name: &NodeName) -> Refusal {
    let text = format!("the name {name} belongs to another worker, which is away");
    let hint = format!("choose another --name, or free this one on the dispatcher's machine: octaskly revoke {name}");
    refusal(RefusalCode::NameTaken, text, Some(&hint))
}

/// Somebody else waits for approval under the name.
pub(super) fn name_of_joiner(name: &NodeName) -> Refusal {
    let text = format!("another worker waits for approval as {name}");
    refusal(RefusalCode::NameTaken, text, Some("choose another --name"))
}

/// As many wait for approval as may.
pub(super) fn too_many_joining() -> Refusal {
    let text = format!("{MAX_JOINING} workers wait for approval, which is the most this dispatcher takes");
    refusal(RefusalCode::TooManyJoining, text, Some("approve some of them, or start this one with --token"))
}

/// One key has as many links as it may.
pub(super) fn too_many_links() -> Refusal {
    let text = format!("this key has {MAX_LINKS_OF_A_KEY} links to the dispatcher, which is the most");
    refusal(RefusalCode::TooManyLinks, text, Some("wait until some of its commands have ended"))
}

/// A worker that offers more slots than one message speaks of.
pub(super) fn too_many_slots(offered: u32) -> Refusal {
    let text = format!("it offers {offered} job slots, and {MAX_SLOTS} are the most");
    refusal(RefusalCode::Malformed, text, Some("start it with a smaller --max-jobs"))
}

/// A token that this dispatcher never made, or that was altered on its way.
pub(super) fn token_unknown() -> Refusal {
    bad_token("this dispatcher has made no such token".to_owned(), Role::Worker)
}

/// A token that was taken back.
pub(super) fn token_revoked(token: &Token) -> Refusal {
    bad_token("this token was revoked".to_owned(), token.role)
}

/// A token whose lifetime is over.
pub(super) fn token_expired(token: &Token) -> Refusal {
    bad_token("this token has expired".to_owned(), token.role)
}

/// A token that enrolled as many keys as it was made for.
pub(super) fn token_used_up(token: &Token) -> Refusal {
    let text = match token.uses {
        1 => "this token is used up: it was made for one node".to_owned(),
        uses => format!("this token is used up: it was made for {uses} nodes"),
    };
    bad_token(text, token.role)
}

/// A worker's token brought by a client, or the reverse.
pub(super) fn token_for_another_role(token: &Token, wants: Role) -> Refusal {
    let text = format!("this token is for {}, not for {}", with_article(token.role), with_article(wants));
    refusal(RefusalCode::WrongRole, text, Some(another_token(wants)))
}

/// A token for a worker of one name, brought by a worker that asks for another one.
pub(super) fn token_for_another_name(given: &NodeName, asked: &NodeName) -> Refusal {
    let text = format!("this token is for a worker called {given}, not {asked}");
    let hint = format!("start it with --name {given}, or without --name");
    refusal(RefusalCode::BadCredential, text, Some(&hint))
}

fn bad_token(text: String, role: Role) -> Refusal {
    refusal(RefusalCode::BadCredential, text, Some(another_token(role)))
}

fn another_token(role: Role) -> &'static str {
    match role {
        Role::Admin => "`octaskly token create --role admin` on the dispatcher's machine makes another",
        Role::Client => "`octaskly token create --role client` on the dispatcher's machine makes another",
        Role::Worker | Role::Dispatcher => "`octaskly token create` on the dispatcher's machine makes another",
    }
}
