//! How links come in: one task a link, from its hello to its end.
//!
//! The one invariant: (intent, ALPN) is checked before the engine hears of a
//! link, and (role, ALPN) before its first message is read, so a worker's key
//! cannot submit and a client's cannot work. Absent: who is enrolled and which
//! name is free (the engine's).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::event::{Arrival, CONTROL_QUEUE, Event, LinkOut, Port, WORKER_QUEUE};
use super::shell::{Asker, Shell};
use super::{client_link, joining, worker_link};
use crate::engine::dispatcher::client_not_enrolled;
use crate::model::handshake::{Answer, Credential, Hello, Intent, Refusal, RefusalCode, Welcome};
use crate::model::trust::Voucher;
use crate::model::{LinkId, Role};
use crate::transport::{Alpn, CloseCode, Endpoint, Incoming, Link};
use crate::trust::token;

/// A guard has said what it has to say with its hello, and closes once it has heard the welcome; one that
/// does not is closed after this long.
const GUARD_PATIENCE: Duration = Duration::from_millis(500);

/// Lets links in until the endpoint is closed. Dropping the future ends all of them.
pub(super) async fn accept_links(shell: Arc<Shell>, endpoint: Arc<Endpoint>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => drop(links.spawn(serve(Arc::clone(&shell), incoming))),
                None => break,
            },
            Some(ended) = links.join_next() => {
                if let Err(crash) = ended
                    && crash.is_panic()
                {
                    error!("The task of a link has crashed; the link is closed");
                }
            }
        }
    }
}

async fn serve(shell: Arc<Shell>, incoming: Incoming) {
    if let Err(refusal) = may_knock(&shell, incoming.link.alpn(), &incoming.hello) {
        return refuse(&shell, incoming, refusal).await;
    }
    let _place = match &incoming.hello.intent {
        Intent::Join { .. } => match shell.joiners.enter(incoming.link.remote_addr().ip()) {
            Ok(place) => Some(place),
            Err(refusal) => return refuse(&shell, incoming, refusal).await,
        },
        Intent::Worker(_) | Intent::Client | Intent::Guard | Intent::Peer => None,
    };
    let id = shell.numbers.link();
    let vouched = voucher(&shell, &incoming.hello);
    let is_worker = matches!(incoming.hello.intent, Intent::Worker(_));
    let (out, queue) = mpsc::channel(if is_worker { WORKER_QUEUE } else { CONTROL_QUEUE });
    let port = Port { out, link: incoming.link.clone() };
    let (node, hello) = (incoming.link.peer(), incoming.hello.clone());
    shell.links.send_modify(|links| *links += 1);
    shell.tell(Event::LinkUp(Box::new(Arrival { link: id, node, hello, vouched, port }))).await;
    answer(&shell, id, incoming, queue).await;
    shell.tell(Event::LinkDown(id)).await;
    shell.links.send_modify(|links| *links -= 1);
}

/// What its credential comes to.
fn voucher(shell: &Shell, hello: &Hello) -> Option<Voucher> {
    match (&hello.credential, &hello.intent) {
        (Credential::Token(secret), Intent::Worker(_) | Intent::Client) => Some(Voucher::Token(token::hash(secret))),
        _ => shell.access.vouches_for(hello).map(Voucher::Access),
    }
}

/// Waits for the engine's answer, passes it on, and serves the link if it is a welcome.
async fn answer(shell: &Arc<Shell>, id: LinkId, incoming: Incoming, mut queue: mpsc::Receiver<LinkOut>) {
    let gone = incoming.link.clone();
    let answer = tokio::select! {
        out = queue.recv() => out,
        _ = gone.closed() => return,
    };
    match answer {
        Some(LinkOut::Answer(Answer::Welcome(welcome))) => {
            if let Err(error) = welcomed(shell, id, incoming, welcome, queue).await {
                debug!(peer = gone.peer().short(), "The link has ended: failed to {error}");
            }
        }
        Some(LinkOut::Answer(Answer::Refused(refusal))) => {
            let refusal = explain_bad_secret(refusal, &incoming.hello, shell);
            refuse(shell, incoming, refusal).await;
        }
        Some(LinkOut::Answer(Answer::Waiting(waiting))) => {
            if let Err(error) = joining::serve(shell, id, incoming, waiting, queue).await {
                debug!(peer = gone.peer().short(), "A node that asked to join has gone: failed to {error}");
            }
        }
        Some(LinkOut::Close(code, text)) => incoming.link.close(code, &text),
        Some(LinkOut::Answer(Answer::Peer(_)) | LinkOut::Message(_)) | None => {
            refuse(shell, incoming, stopping()).await
        }
    }
}

/// Turns it away, and tells people who it was.
async fn refuse(shell: &Shell, incoming: Incoming, refusal: Refusal) {
    shell.refusals.tell(incoming.link.peer(), incoming.link.remote_addr(), &incoming.hello, &refusal);
    incoming.refuse(refusal).await;
}

async fn welcomed(
    shell: &Arc<Shell>,
    id: LinkId,
    incoming: Incoming,
    welcome: Welcome,
    queue: mpsc::Receiver<LinkOut>,
) -> Result<(), crate::transport::TransportError> {
    let (role, name) = (welcome.role, welcome.name.clone());
    let intent = incoming.hello.intent.clone();
    let of_own_user = shell.access.vouches_for(&incoming.hello).is_some();
    let (node, from) = (incoming.link.peer(), incoming.link.remote_addr());
    let asker = Asker { link: id, node, from, role };
    let (link, send, recv) = incoming.welcome(welcome).await?;
    match (link.alpn(), intent, role) {
        (Alpn::Worker, Intent::Worker(_), Role::Worker) => {
            let worker = worker_link::Connected { id, name, link, of_own_user };
            worker_link::serve(shell, worker, send, recv, queue).await;
        }
        (Alpn::Worker, Intent::Guard, Role::Worker) => {
            shell.tell(Event::FromGuard(id)).await;
            let _ = tokio::time::timeout(GUARD_PATIENCE, link.closed()).await;
            link.close(CloseCode::Done, "heard");
        }
        (Alpn::Client, Intent::Client, Role::Client | Role::Admin) => {
            client_link::serve(shell, asker, &link, queue).await;
            drop((send, recv));
        }
        (alpn, intent, role) => wrong_role(&link, alpn, &intent, role),
    }
    Ok(())
}

/// The engine let in a role that has no business on this link: a bug of ours, which must not open a door.
fn wrong_role(link: &Link, alpn: Alpn, intent: &Intent, role: Role) {
    error!(peer = link.peer().short(), ?alpn, ?intent, %role, "A link was welcomed in a role that it cannot have");
    link.close(CloseCode::Malformed, "this key has another role");
}

/// What can be said to a newcomer without the engine.
fn may_knock(shell: &Shell, alpn: Alpn, hello: &Hello) -> Result<(), Refusal> {
    if shell.stopping.is_raised() {
        return Err(stopping());
    }
    match (alpn, &hello.intent) {
        (Alpn::Worker, Intent::Worker(_) | Intent::Guard)
        | (Alpn::Client, Intent::Client)
        | (Alpn::Join, Intent::Join { .. }) => Ok(()),
        // It knows no dispatcher, so it has brought nothing that it could be let in by.
        (Alpn::Join, Intent::Client) => Err(client_not_enrolled()),
        (Alpn::Worker, Intent::Client | Intent::Join { .. } | Intent::Peer)
        | (Alpn::Client, Intent::Worker(_) | Intent::Guard | Intent::Join { .. } | Intent::Peer)
        | (Alpn::Join, Intent::Worker(_) | Intent::Guard | Intent::Peer)
        | (Alpn::Peer, _) => Err(Refusal {
            code: RefusalCode::Malformed,
            text: "the hello wants something else than its connection was made for".to_owned(),
            hint: None,
        }),
    }
}

fn stopping() -> Refusal {
    Refusal {
        code: RefusalCode::Stopping,
        text: "the dispatcher is stopping".to_owned(),
        hint: Some("try again once it has been started".to_owned()),
    }
}

/// The engine knows only that nobody vouches; that a secret was brought and is wrong is a better reason.
fn explain_bad_secret(refusal: Refusal, hello: &Hello, shell: &Shell) -> Refusal {
    let brought_wrong_one = matches!(&hello.credential, Credential::Access(secret) if !shell.access.verify(secret));
    if refusal.code != RefusalCode::NotEnrolled || !brought_wrong_one {
        return refusal;
    }
    Refusal {
        code: RefusalCode::BadCredential,
        text: "the secret is not the one in this dispatcher's access file".to_owned(),
        hint: Some("use the same --home (or OCTASKLY_HOME) as the dispatcher, and try again".to_owned()),
    }
}
