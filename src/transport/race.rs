//! One node dialled at several addresses.
//!
//! Invariant: the first address at which the expected key is proved wins, and
//! whatever else was begun is given up. Absent: which addresses, and what is
//! said on the link.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Alpn, Endpoint, Link, TransportError};
use crate::model::NodeId;

/// How long an address is ahead of the next one. A dial on a local network is done long before that, so no other one
/// is begun where the first answers.
const STAGGER: Duration = Duration::from_millis(200);

/// Why a node was reached at none of its addresses: the reason of each, in their order.
pub type Unreached = Vec<(SocketAddr, TransportError)>;

/// Connects to `expected` at one of `places`, each with the endpoint to dial from. They are tried in their order; one
/// begins 200 ms after the one before it, or at once when all that began have failed. It takes no longer than
/// `patience`.
///
/// # Errors
/// When no place leads to it: why, of each.
pub async fn connect_first(
    places: Vec<(Arc<Endpoint>, SocketAddr)>,
    expected: NodeId,
    alpn: Alpn,
    patience: Duration,
) -> Result<(SocketAddr, Link), Unreached> {
    let mut failed: BTreeMap<usize, (SocketAddr, TransportError)> =
        places.iter().map(|(_, address)| (*address, TransportError::NoAnswer(*address))).enumerate().collect();
    let mut dials = JoinSet::new();
    let mut rest = places.into_iter().enumerate();
    let (mut begin_next, deadline) = (Instant::now(), Instant::now() + patience);
    loop {
        let is_due = dials.is_empty() || begin_next <= Instant::now();
        if is_due && let Some((at, (endpoint, address))) = rest.next() {
            dials.spawn(async move { (at, address, endpoint.connect(address, expected, alpn).await) });
            begin_next = Instant::now() + STAGGER;
        }
        tokio::select! {
            dialled = dials.join_next() => match dialled {
                Some(Ok((_, address, Ok(link)))) => return Ok((address, link)),
                Some(Ok((at, address, Err(error)))) => drop(failed.insert(at, (address, error))),
                // A dial neither panics nor is aborted before this ends.
                Some(Err(_)) => {}
                None => return Err(failed.into_values().collect()),
            },
            () = tokio::time::sleep_until(deadline) => return Err(failed.into_values().collect()),
            () = tokio::time::sleep_until(begin_next), if rest.len() > 0 => {}
        }
    }
}
