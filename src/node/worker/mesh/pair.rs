//! This worker and one other: one link between them, whoever dialled it.
//!
//! Both may dial. Invariant: when both do so at the same time they keep the same
//! link, which is the one that the smaller key dialled: it holds a visitor back
//! while its own dial is under way, and the other gives its dial up for a
//! visitor. Otherwise the newest link wins, because whoever dials again knows
//! that the old one is gone. Absent: what is said on it (`conversation`).

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::conversation::{self, Standing, Talk};
use super::dialling::{self, DialFailure};
use super::{Shared, visitors};
use crate::model::{NodeId, NodeName};
use crate::transport::{CloseCode, Incoming};
use crate::trust::roster::RosterEntry;

/// Visitors of one peer that wait: the one that is looked at, and its replacement.
const VISITORS: usize = 2;
/// How long the greater key leaves it to the smaller one to dial.
const PRECEDENCE: Duration = Duration::from_millis(500);
/// How long the smaller key holds a visitor back for the sake of its own dial: one that is going to be answered is
/// answered by then.
const HELD_BACK: Duration = Duration::from_millis(300);
/// First pause after a dial that failed or a link that ended; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// One peer, as the mesh keeps it.
pub(super) struct Pair {
    pub(super) name: NodeName,
    pub(super) standing: Option<Standing>,
    visits: mpsc::Sender<Incoming>,
    about: Arc<About>,
    task: AbortHandle,
}

/// What its task is told.
struct About {
    /// Where the roster says that it is.
    addresses: Mutex<Vec<SocketAddr>>,
    /// Somebody wants the link, or it may be elsewhere by now: dial at once.
    wanted: Notify,
    /// What the last try came to.
    trouble: Mutex<String>,
}

impl Pair {
    /// Begins to keep a link with the node of `entry`.
    pub(super) fn begin(shared: &Arc<Shared>, entry: &RosterEntry) -> Self {
        let (visits, visitors) = mpsc::channel(VISITORS);
        let about = Arc::new(About {
            addresses: Mutex::new(entry.addresses.clone()),
            wanted: Notify::new(),
            trouble: Mutex::new("it was not tried yet".to_owned()),
        });
        let keeper = Keeper {
            shared: Arc::downgrade(shared),
            peer: entry.node,
            goes_first: shared.own < entry.node,
            about: Arc::clone(&about),
            visitors,
        };
        let task = tokio::spawn(keeper.keep()).abort_handle();
        Self { name: entry.name.clone(), standing: None, visits, about, task }
    }

    /// Takes over what a newer roster says.
    pub(super) fn update(&mut self, entry: &RosterEntry) {
        self.name = entry.name.clone();
        let mut addresses = self.about.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if *addresses != entry.addresses {
            addresses.clone_from(&entry.addresses);
            self.about.wanted.notify_one();
        }
    }

    /// Dials at once, unless a link stands.
    pub(super) fn wake(&self) {
        self.about.wanted.notify_one();
    }

    /// Hands in a link that the peer has dialled; gives it back when enough of them wait.
    pub(super) fn visit(&self, visitor: Incoming) -> Option<Incoming> {
        match self.visits.try_send(visitor) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(visitor) | mpsc::error::TrySendError::Closed(visitor)) => Some(visitor),
        }
    }

    /// Where the roster says that it is.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.about.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the last try came to.
    pub(super) fn trouble(&self) -> String {
        self.about.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is a peer no more.
    pub(super) fn end(self, code: CloseCode, text: &str) {
        self.task.abort();
        if let Some(standing) = self.standing {
            tracing::debug!("[P2P] Direct link to {} has ended: {text}", self.name);
            standing.link().0.close(code, text);
        }
    }
}

/// The task that keeps the link.
struct Keeper {
    shared: Weak<Shared>,
    peer: NodeId,
    /// Of two dials at the same time ours counts.
    goes_first: bool,
    about: Arc<About>,
    visitors: mpsc::Receiver<Incoming>,
}

impl Keeper {
    /// Until the task is ended with its pair.
    async fn keep(mut self) {
        let mut dice = fastrand::Rng::with_seed(getrandom::u64().unwrap_or_default());
        let mut pause = if self.goes_first { Duration::ZERO } else { PRECEDENCE };
        loop {
            match self.meet(pause).await {
                Ok(talk) => {
                    let mut present = Some(talk);
                    while let Some(talk) = present.take() {
                        present = self.talk(talk).await;
                    }
                    pause = if self.goes_first { FIRST_PAUSE } else { PRECEDENCE };
                }
                Err(failure) => {
                    self.note(failure.to_string());
                    pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE).mul_f64(0.8 + 0.4 * dice.f64());
                }
            }
        }
    }

    /// Waits for the peer or for the time to dial, whichever comes first.
    async fn meet(&mut self, pause: Duration) -> Result<Talk, DialFailure> {
        tokio::select! {
            visitor = self.visitors.recv() => return self.let_in(visitor).await,
            () = tokio::time::sleep(pause) => {}
            () = self.about.wanted.notified() => {}
        }
        let known = self.about.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (shared, peer) = (self.shared.clone(), self.peer);
        let mut dial = std::pin::pin!(dialling::dial(shared, peer, known));
        let visitor = tokio::select! {
            dialled = &mut dial => return dialled,
            visitor = self.visitors.recv() => visitor,
        };
        if self.goes_first
            && let Ok(Ok(talk)) = timeout(HELD_BACK, dial).await
        {
            if let Some(visitor) = visitor {
                visitors::turn_away(visitor).await;
            }
            return Ok(talk);
        }
        self.let_in(visitor).await
    }

    /// What a try came to, for those who want to know why there is no link.
    fn note(&self, trouble: String) {
        let former =
            std::mem::replace(&mut *self.about.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble.clone());
        if former != trouble
            && let Some(shared) = self.shared.upgrade()
        {
            shared.changed();
        }
    }

    async fn let_in(&self, visitor: Option<Incoming>) -> Result<Talk, DialFailure> {
        // The channel closes with the pair, which ends this task.
        let Some(visitor) = visitor else { return pending().await };
        let Some(shared) = self.shared.upgrade() else { return pending().await };
        visitors::welcome(&shared, visitor).await
    }

    /// Talks until the link ends, or until the peer comes by a newer one, which is returned.
    async fn talk(&mut self, talk: Talk) -> Option<Talk> {
        let link = talk.link.clone();
        let mut conversation = std::pin::pin!(conversation::hold(self.shared.clone(), self.peer, talk));
        loop {
            tokio::select! {
                () = &mut conversation => return None,
                visitor = self.visitors.recv() => {
                    let newer = self.let_in(visitor).await;
                    if let Ok(newer) = newer {
                        link.close(CloseCode::Superseded, "a newer link has taken its place");
                        return Some(newer);
                    }
                }
                // It stands: there is nothing to dial.
                () = self.about.wanted.notified() => {}
            }
        }
    }
}
