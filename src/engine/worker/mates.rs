//! The other workers as this one knows them: who could take something over.
//!
//! Invariant: no more is offered to a peer at once than it has said to have
//! free; after a refusal nothing is, until it has said anew how it stands.
//! Absent: links (the shell's), and what was offered (`offering`).

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{InstanceId, JobId, Millis, NodeId, Timestamp};

/// What a peer said is believed for so long: it says so every 2 s, and one of these may be late.
const BELIEVED: Millis = Millis::from_secs(5);

/// Pairs of peers and jobs that are known not to suit each other; the set starts anew beyond.
const MOST_UNSUITABLE: usize = 4096;

/// Peers by key.
#[derive(Debug, Clone, Default)]
pub(super) struct Mates {
    known: BTreeMap<NodeId, Mate>,
    /// Whose tasks cannot run where.
    unsuitable: BTreeSet<(NodeId, JobId)>,
}

/// One peer.
#[derive(Debug, Clone)]
struct Mate {
    instance: InstanceId,
    /// Free slots, less what was offered for them and is not answered.
    free: u32,
    accepting: bool,
    heard_at: Timestamp,
}

impl Mates {
    /// A peer says how it stands; `offered` attempts that it was offered are not answered yet.
    pub(super) fn stands(
        &mut self,
        now: Timestamp,
        peer: NodeId,
        (instance, free, accepting): (InstanceId, u32, bool),
        offered: u32,
    ) {
        let free = free.saturating_sub(offered);
        self.known.insert(peer, Mate { instance, free, accepting, heard_at: now });
    }

    /// The link to a peer is gone.
    pub(super) fn gone(&mut self, peer: NodeId) {
        self.known.remove(&peer);
    }

    /// Whether anybody could take anything.
    pub(super) fn any_free(&self, now: Timestamp) -> bool {
        self.known.values().any(|mate| mate.takes(now))
    }

    /// Takes one free slot of the peer that has most, among those that `may` have a task of `job`.
    pub(super) fn take_slot(
        &mut self,
        now: Timestamp,
        job: JobId,
        may: impl Fn(NodeId) -> bool,
    ) -> Option<(NodeId, InstanceId)> {
        let fit = |peer: NodeId| may(peer) && !self.unsuitable.contains(&(peer, job));
        let free = self.known.iter().filter(|(peer, mate)| mate.takes(now) && fit(**peer));
        let peer = free.max_by_key(|(peer, mate)| (mate.free, std::cmp::Reverse(**peer))).map(|(peer, _)| *peer)?;
        let mate = self.known.get_mut(&peer)?;
        mate.free -= 1;
        Some((peer, mate.instance))
    }

    /// A peer refused something.
    pub(super) fn refused(&mut self, peer: NodeId) {
        if let Some(mate) = self.known.get_mut(&peer) {
            mate.free = 0;
        }
    }

    /// No task of this job can run there.
    pub(super) fn unsuitable(&mut self, peer: NodeId, job: JobId) {
        if self.unsuitable.len() >= MOST_UNSUITABLE {
            self.unsuitable.clear();
        }
        self.unsuitable.insert((peer, job));
    }

    /// The start of a peer that is linked, if it is.
    pub(super) fn instance(&self, peer: NodeId) -> Option<InstanceId> {
        self.known.get(&peer).map(|mate| mate.instance)
    }

    /// Panics with what is broken.
    pub(super) fn check(&self) {
        assert!(self.unsuitable.len() <= MOST_UNSUITABLE, "{} misfits are remembered", self.unsuitable.len());
    }
}

impl Mate {
    fn takes(&self, now: Timestamp) -> bool {
        self.accepting && self.free > 0 && now <= self.heard_at + BELIEVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn peer(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    #[test]
    fn the_peer_with_most_room_comes_first_and_none_gets_more_than_it_has() {
        let mut mates = Mates::default();
        mates.stands(NOW, peer(1), (InstanceId(1), 1, true), 0);
        mates.stands(NOW, peer(2), (InstanceId(2), 2, true), 0);
        mates.stands(NOW, peer(3), (InstanceId(3), 9, false), 0);
        let mut take = || mates.take_slot(NOW, JobId(1), |_| true).map(|(peer, _)| peer);
        assert_eq!([take(), take(), take(), take()], [Some(peer(2)), Some(peer(1)), Some(peer(2)), None]);
    }

    #[test]
    fn a_peer_that_refused_or_fell_silent_is_left_alone() {
        let mut mates = Mates::default();
        mates.stands(NOW, peer(1), (InstanceId(1), 4, true), 0);
        mates.refused(peer(1));
        assert!(!mates.any_free(NOW));
        mates.stands(NOW, peer(1), (InstanceId(1), 4, true), 0);
        mates.unsuitable(peer(1), JobId(7));
        assert_eq!(mates.take_slot(NOW, JobId(7), |_| true), None);
        assert!(mates.take_slot(NOW, JobId(8), |_| true).is_some());
        assert!(!mates.any_free(NOW + BELIEVED + Millis(1)));
        mates.stands(NOW, peer(1), (InstanceId(1), 2, true), 2);
        assert!(!mates.any_free(NOW), "what was offered and not answered is taken off");
    }
}
