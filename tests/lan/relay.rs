//! Somebody in the middle: a host that ends both connections with a key of its
//! own and passes on every word, hoping that nobody looks closely.
//!
//! The one invariant: it does all that an attacker without either side's key
//! can do with this protocol, so what it does not get is protected by more
//! than its good will. Absent: guesses at codes and secrets.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use octaskly::model::handshake::{Credential, Hello};
use octaskly::model::trust::{JoinNews, JoinReply};
use octaskly::transport::{Alpn, Endpoint, Incoming, TransportError, ask_to_join};
use octaskly::trust::Identity;

use super::harness::lan::Host;
use super::harness::soon;

/// Words of a stranger are short.
const CAP: u32 = 4096;

/// What the relay saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Hellos that were said to it.
    pub(crate) hellos: Vec<Hello>,
    /// Whether one brought a secret.
    pub(crate) secrets: usize,
    /// Proofs of the dispatcher that it passed on to the worker.
    pub(crate) proofs: usize,
    /// What the worker answered to them.
    pub(crate) replies: Vec<JoinReply>,
    /// Whether the dispatcher said through it that somebody was enrolled.
    pub(crate) enrolled: usize,
}

/// The relay. It goes with the test.
pub(crate) struct Relay {
    seen: Arc<Mutex<Seen>>,
}

impl Relay {
    /// Listens on `host` as if it were the dispatcher at `dispatcher`.
    pub(crate) fn on(host: &Host, dispatcher: SocketAddr) -> Self {
        let identity = Identity::ephemeral().expect("a key");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (ready, is_ready) = mpsc::channel();
        let (at, notes) = (host.at(), Arc::clone(&seen));
        drop(host.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let endpoint = Endpoint::bind(&identity, at, &Alpn::ALL).expect("the relay listens");
                let onwards = SocketAddr::new([0, 0, 0, 0].into(), 0);
                let onwards = Arc::new(Endpoint::bind(&identity, onwards, &[]).expect("the relay dials"));
                ready.send(()).expect("the test waits");
                while let Some(incoming) = endpoint.accept().await {
                    let (onwards, notes) = (Arc::clone(&onwards), Arc::clone(&notes));
                    tokio::spawn(async move {
                        let _ = pass_on(incoming, &onwards, dispatcher, &notes).await;
                    });
                }
            });
        }));
        is_ready.recv().expect("the relay starts");
        Self { seen }
    }

    /// Waits until what it saw is as `holds` says.
    pub(crate) fn saw(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        soon(what, || holds(&self.seen.lock().expect("notes")));
    }

    /// Looks at what it saw.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.seen.lock().expect("notes"))
    }
}

/// Joins the dispatcher in the worker's name and carries news and replies between them.
async fn pass_on(
    incoming: Incoming,
    onwards: &Endpoint,
    dispatcher: SocketAddr,
    seen: &Mutex<Seen>,
) -> Result<(), TransportError> {
    let note = |act: &dyn Fn(&mut Seen)| act(&mut seen.lock().expect("notes"));
    let hello = incoming.hello.clone();
    note(&|seen| {
        seen.hellos.push(hello.clone());
        seen.secrets += usize::from(hello.credential != Credential::None);
    });
    let link = onwards.connect_join(dispatcher, None).await?;
    let (waiting, mut up, mut down) = ask_to_join(&link, &hello).await?;
    let (_inner, mut to_worker, mut from_worker) = incoming.hold(waiting).await?;
    while let Some(news) = down.recv::<JoinNews>(CAP).await? {
        note(&|seen| match news {
            JoinNews::Proof(_) => seen.proofs += 1,
            JoinNews::Enrolled => seen.enrolled += 1,
        });
        to_worker.send(&news).await?;
        if let Some(reply) = from_worker.recv::<JoinReply>(CAP).await? {
            note(&|seen| seen.replies.push(reply.clone()));
            up.send(&reply).await?;
        }
    }
    Ok(())
}
