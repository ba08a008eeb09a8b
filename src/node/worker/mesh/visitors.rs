//! Those who dial this worker.
//!
//! Invariant: nobody is let in but a worker on the valid roster, and everybody
//! else hears why not; the key is the one proved by TLS, never one that was
//! named. Absent: which of two links stays (`pair`).

use std::sync::{Arc, Weak};

use super::Shared;
use super::conversation::Talk;
use super::dialling::DialFailure;
use crate::engine::dispatcher::negotiate;
use crate::model::Role;
use crate::model::handshake::{Intent, Refusal, RefusalCode};
use crate::model::peers::PeerWelcome;
use crate::transport::{Endpoint, Incoming};

/// Our software version.
pub(super) const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// Receives visitors until the endpoint is closed.
pub(super) async fn receive_all(shared: Weak<Shared>, endpoint: Arc<Endpoint>) {
    while let Some(visitor) = endpoint.accept().await {
        let Some(shared) = shared.upgrade() else { return };
        if let Some((visitor, refusal)) = pass_on(&shared, visitor) {
            let (from, peer) = (visitor.link.remote_addr(), visitor.link.peer());
            tracing::debug!(%from, peer = peer.short(), "Another worker is not let in: {}", refusal.text);
            visitor.refuse(refusal).await;
        }
    }
}

/// Passes a visitor on to its pair; gives back whom it does not, with the reason.
fn pass_on(shared: &Shared, visitor: Incoming) -> Option<(Incoming, Refusal)> {
    if visitor.hello.intent != Intent::Peer {
        let text = "the hello wants something else than a worker has".to_owned();
        return Some((visitor, Refusal { code: RefusalCode::Malformed, text, hint: None }));
    }
    if let Err(refusal) = negotiate(&visitor.hello, Role::Worker, SOFTWARE) {
        return Some((visitor, refusal));
    }
    let state = shared.state();
    let Some(pair) = state.pairs.get(&visitor.link.peer()) else {
        return Some((visitor, not_on_roster()));
    };
    pair.visit(visitor).map(|visitor| (visitor, too_many()))
}

/// Lets a visitor in.
pub(super) async fn welcome(shared: &Shared, visitor: Incoming) -> Result<Talk, DialFailure> {
    let (instance, peer) = (visitor.hello.instance, visitor.link.peer());
    let protocol = match negotiate(&visitor.hello, Role::Worker, SOFTWARE) {
        Ok(protocol) if shared.is_member(peer) => protocol,
        Ok(_) | Err(_) => {
            visitor.refuse(not_on_roster()).await;
            return Err(DialFailure::Closed);
        }
    };
    let welcome = PeerWelcome { protocol, software: SOFTWARE.to_owned(), instance: shared.config.instance };
    let (link, send, recv) = visitor.welcome_peer(welcome).await?;
    Ok(Talk { link, instance, send, recv })
}

/// Turns away a visitor whose peer was reached meanwhile.
pub(super) async fn turn_away(visitor: Incoming) {
    visitor.refuse(too_many()).await;
}

fn not_on_roster() -> Refusal {
    Refusal {
        code: RefusalCode::NotOnRoster,
        text: "this worker's roster does not name you".to_owned(),
        hint: Some("only workers of the same dispatcher are linked; a new one is known within a second".to_owned()),
    }
}

fn too_many() -> Refusal {
    Refusal { code: RefusalCode::TooManyLinks, text: "a link stands between us already".to_owned(), hint: None }
}
