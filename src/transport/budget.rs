//! Who may have a large frame under way.
//!
//! Invariant: while a frame of more than [`LARGE_FRAME`] bytes is put together
//! its link has a permit for it, and a client's or a peer's one of its endpoint's as
//! well; so what peers make this process hold does not grow with how many
//! streams they open. Absent: small frames, which streams and windows bound.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Alpn;

/// Beyond this a frame waits for its permit before its bytes are kept.
pub(super) const LARGE_FRAME: usize = 256 * 1024;
/// Large frames of one link at a time. Nobody honest sends two.
const OF_A_LINK: usize = 1;
/// Large frames of all clients of an endpoint together: with frames of 96 MiB less than a gigabyte. Workers do
/// not count, because a client must not hold up their results; there are few of them.
const OF_ALL_CLIENTS: usize = 8;

/// What all links of an endpoint have in common.
#[derive(Clone)]
pub(super) struct SharedBudget(Arc<Semaphore>);

impl Default for SharedBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(OF_ALL_CLIENTS)))
    }
}

impl SharedBudget {
    /// The budget of one link that is there for `alpn`.
    pub(super) fn of_a_link(&self, alpn: Alpn) -> Budget {
        let shared = matches!(alpn, Alpn::Client | Alpn::Peer).then(|| Arc::clone(&self.0));
        Budget { own: Arc::new(Semaphore::new(OF_A_LINK)), shared }
    }
}

/// What the streams of one link have in common.
#[derive(Clone)]
pub(super) struct Budget {
    own: Arc<Semaphore>,
    shared: Option<Arc<Semaphore>>,
}

/// The right to put a large frame together; given back when dropped.
pub(super) struct Permit {
    _own: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Waits for room, first come, first served. May be cancelled.
    pub(super) async fn permit(&self) -> Option<Permit> {
        // Nothing closes these semaphores, so there is always a permit in the end.
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let shared = match &self.shared {
            Some(shared) => Some(Arc::clone(shared).acquire_owned().await.ok()?),
            None => None,
        };
        Some(Permit { _own: own, _shared: shared })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What `future` comes to when it is asked once.
    fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_link_has_one_large_frame_at_a_time_and_all_clients_have_few() {
        let shared = SharedBudget::default();
        let links: Vec<Budget> = (0..OF_ALL_CLIENTS + 1).map(|_| shared.of_a_link(Alpn::Client)).collect();
        let mut permits: Vec<_> = links.iter().filter_map(|link| at_once(link.permit()).flatten()).collect();
        assert_eq!(permits.len(), OF_ALL_CLIENTS);
        assert!(at_once(links[0].permit()).is_none(), "its own is taken");
        permits.pop();
        assert!(at_once(links[OF_ALL_CLIENTS].permit()).is_some());
    }

    #[test]
    fn clients_do_not_hold_up_workers() {
        let shared = SharedBudget::default();
        let clients: Vec<Budget> = (0..OF_ALL_CLIENTS).map(|_| shared.of_a_link(Alpn::Client)).collect();
        let _permits: Vec<_> = clients.iter().map(|link| at_once(link.permit())).collect();
        assert!(at_once(shared.of_a_link(Alpn::Worker).permit()).is_some());
    }
}
