//! Who belongs: the roster that is held, and one pair for each other worker on
//! it.
//!
//! Invariant: there is a pair for exactly those workers that the held roster
//! names, and none once that has run out; a pair that goes takes its link with
//! it at once. Absent: how a roster is verified (`trust::roster`).

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::pair::Pair;
use super::{Shared, State};
use crate::model::{NodeId, Role};
use crate::transport::CloseCode;
use crate::trust::Signed;
use crate::trust::roster::{self, Roster, RosterError};

/// How often it is looked whether the roster has run out.
const LOOK: Duration = Duration::from_secs(1);

impl Shared {
    /// Takes a roster that was shown, if it is to be believed.
    pub(super) fn show(self: &Arc<Self>, signed: &[u8]) {
        let now = self.time.now();
        let mut state = self.state();
        let Some(dispatcher) = state.open.as_ref().map(|open| open.dispatcher) else { return };
        let opened = Signed::from_bytes(signed).map_err(RosterError::from);
        match opened.and_then(|signed| roster::accept(&signed, dispatcher, state.roster.as_deref(), now)) {
            Ok(roster) => {
                self.follow(&mut state, roster);
                drop(state);
                self.changed();
            }
            Err(error) => tracing::warn!("A roster of the dispatcher is of no use: failed to {error}"),
        }
    }

    /// Whether `node` may be linked now.
    pub(super) fn is_member(&self, node: NodeId) -> bool {
        self.state().pairs.contains_key(&node)
    }

    fn follow(self: &Arc<Self>, state: &mut State, roster: Roster) {
        let is_peer = |node: NodeId| node != self.own && roster.has_worker(node);
        let gone: Vec<NodeId> = state.pairs.keys().copied().filter(|node| !is_peer(*node)).collect();
        for node in gone {
            if let Some(pair) = state.pairs.remove(&node) {
                pair.end(CloseCode::Refused, "not on the roster any more");
            }
        }
        for entry in roster.entries.iter().filter(|entry| entry.node != self.own && entry.role == Role::Worker) {
            let pair = state.pairs.entry(entry.node);
            pair.or_insert_with(|| Pair::begin(self, entry)).update(entry);
        }
        state.roster = Some(Arc::new(roster));
    }

    /// Ends every link once the roster has run out.
    fn expire(&self) {
        let now = self.time.now();
        let mut state = self.state();
        if state.pairs.is_empty() || state.roster.as_ref().is_some_and(|roster| roster.is_valid(now)) {
            return;
        }
        let pairs = std::mem::take(&mut state.pairs);
        drop(state);
        tracing::warn!(
            "The roster has run out, and with it the direct links: the dispatcher has been away for too long"
        );
        pairs.into_values().for_each(|pair| pair.end(CloseCode::Refused, "the roster has run out"));
        self.changed();
    }
}

/// Ends links when the roster runs out, for as long as the mesh is there.
pub(super) async fn watch_expiry(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.expire();
    }
}
