//! The roster: who belongs to the mesh just now, signed by the dispatcher.
//!
//! Invariant: a worker that holds a valid roster knows who may ask it for work
//! and files while the dispatcher is away; it holds the newest one it was ever
//! shown and never goes back. Good for ten minutes, and renewed long before, so
//! that is also how long a revoked node can still reach a worker that is cut
//! off from the dispatcher. Absent: reachability, and changes as deltas; a
//! roster is always whole.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::signed::{Signed, SignedError, Statement};
use crate::model::limits::MAX_BATCH;
use crate::model::{Epoch, Millis, NodeId, NodeName, Role, Timestamp};

/// How long a roster is believed after it was issued.
pub const ROSTER_VALID: Millis = Millis::from_secs(600);
/// How often the dispatcher issues it anew.
pub const ROSTER_RENEWAL: Millis = Millis::from_secs(20);
/// Nodes on one roster.
pub const MAX_ENTRIES: usize = MAX_BATCH;
/// Addresses of one node.
pub const MAX_ADDRESSES: usize = 8;

const _: () = assert!(10 * ROSTER_RENEWAL.0 < ROSTER_VALID.0, "many renewals may be lost before a roster runs out");

/// Counts the changes of who belongs, across restarts of the dispatcher: a later one is always greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RosterEpoch {
    /// The dispatcher's start.
    pub start: Epoch,
    /// Changes since then.
    pub change: u64,
}

/// One node on the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// Its key.
    pub node: NodeId,
    /// What it is called.
    pub name: NodeName,
    /// Where it listens for peers, the likeliest first; empty when it does not.
    pub addresses: Vec<SocketAddr>,
    /// What it may do.
    pub role: Role,
}

/// Who belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Which change of it this is; a renewal has the same.
    pub epoch: RosterEpoch,
    /// Dispatcher time.
    pub issued_at: Timestamp,
    /// Each node once.
    pub entries: Vec<RosterEntry>,
}

impl Statement for Roster {
    const DOMAIN: &'static str = "roster";
    /// An entry with all its addresses takes about 400 bytes.
    const CAP: usize = 512 * MAX_ENTRIES;

    fn is_sound(&self) -> bool {
        self.entries.len() <= MAX_ENTRIES && self.entries.iter().all(|entry| entry.addresses.len() <= MAX_ADDRESSES)
    }
}

impl Roster {
    /// When it stops being good for anything.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.issued_at + ROSTER_VALID
    }

    /// Whether it is still good at `now`, in dispatcher time.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.expires_at()
    }

    /// The entry of `node`.
    #[must_use]
    pub fn entry(&self, node: NodeId) -> Option<&RosterEntry> {
        self.entries.iter().find(|entry| entry.node == node)
    }

    /// Whether `node` is on it as a worker.
    #[must_use]
    pub fn has_worker(&self, node: NodeId) -> bool {
        self.entry(node).is_some_and(|entry| entry.role == Role::Worker)
    }
}

/// Why a roster is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// It is not a roster that this dispatcher signed.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// It ran out.
    #[error("take the roster: it ran out {} ago", .0)]
    Expired(Millis),
    /// A newer one is known: somebody shows an old one, on which a node still stands that was thrown out.
    #[error("take the roster: a newer one is known")]
    Older,
}

/// Opens a roster that was shown, and says whether to hold it from now on: it is by `dispatcher`, good at
/// `now` (dispatcher time), and not older than `held`.
///
/// # Errors
/// Which of these it is not.
pub fn accept(
    shown: &Signed<Roster>,
    dispatcher: NodeId,
    held: Option<&Roster>,
    now: Timestamp,
) -> Result<Roster, RosterError> {
    let roster = shown.open(dispatcher)?;
    if !roster.is_valid(now) {
        return Err(RosterError::Expired(now.since(roster.expires_at())));
    }
    match held {
        Some(held) if (held.epoch, held.issued_at) > (roster.epoch, roster.issued_at) => Err(RosterError::Older),
        _ => Ok(roster),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trust::Identity;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn epoch(start: u32, change: u64) -> RosterEpoch {
        RosterEpoch { start: Epoch(start), change }
    }

    fn roster(epoch: RosterEpoch, issued_at: Timestamp) -> Roster {
        let (node, name) = (NodeId([7; 32]), "worker-b".parse().unwrap());
        let addresses = vec!["192.168.1.11:7879".parse().unwrap()];
        Roster { epoch, issued_at, entries: vec![RosterEntry { node, name, addresses, role: Role::Worker }] }
    }

    #[test]
    fn a_roster_is_good_for_ten_minutes_and_no_longer() {
        let dispatcher = Identity::ephemeral().unwrap();
        let signed = Signed::sign(&dispatcher, &roster(epoch(1, 1), NOW)).unwrap();
        let at = |now| accept(&signed, dispatcher.id(), None, now);
        let last = Timestamp(NOW.0 + 600_000_000 - 1);
        assert!(at(last).is_ok());
        assert_eq!(at(Timestamp(last.0 + 1)), Err(RosterError::Expired(Millis(0))));
    }

    #[test]
    fn a_roster_of_somebody_else_is_none() {
        let (dispatcher, rogue) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let signed = Signed::sign(&rogue, &roster(epoch(1, 1), NOW)).unwrap();
        let error = SignedError::NotSignedBy { signer: dispatcher.id() };
        assert_eq!(accept(&signed, dispatcher.id(), None, NOW), Err(RosterError::Signed(error)));
    }

    #[test]
    fn nobody_is_brought_back_by_an_older_roster() {
        let dispatcher = Identity::ephemeral().unwrap();
        let held = roster(epoch(2, 5), NOW);
        let shown = |roster: &Roster| {
            let signed = Signed::sign(&dispatcher, roster).unwrap();
            accept(&signed, dispatcher.id(), Some(&held), NOW).map(|roster| roster.epoch)
        };
        assert_eq!(shown(&roster(epoch(2, 4), NOW + Millis(1))), Err(RosterError::Older), "a change ago");
        assert_eq!(shown(&roster(epoch(1, 9), NOW)), Err(RosterError::Older), "a restart ago");
        assert_eq!(shown(&roster(epoch(2, 5), Timestamp(NOW.0 - 1))), Err(RosterError::Older), "a renewal ago");
        assert_eq!(shown(&held), Ok(epoch(2, 5)), "the same again");
        assert_eq!(shown(&roster(epoch(2, 5), NOW + Millis(1))), Ok(epoch(2, 5)), "renewed");
        assert_eq!(shown(&roster(epoch(3, 0), Timestamp(NOW.0 - 9))), Ok(epoch(3, 0)), "the clock went back");
    }

    #[test]
    fn only_workers_are_workers() {
        let mut roster = roster(epoch(1, 1), NOW);
        assert!(roster.has_worker(NodeId([7; 32])) && !roster.has_worker(NodeId([8; 32])));
        roster.entries[0].role = Role::Client;
        assert!(!roster.has_worker(NodeId([7; 32])));
    }

    #[test]
    fn the_largest_roster_fits_its_cap() {
        let one = RosterEntry {
            node: NodeId([255; 32]),
            name: "x".repeat(63).parse().unwrap(),
            addresses: vec!["[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(); MAX_ADDRESSES],
            role: Role::Worker,
        };
        let entries = vec![one.clone(); MAX_ENTRIES];
        let dispatcher = Identity::ephemeral().unwrap();
        let mut largest = Roster { epoch: epoch(u32::MAX, u64::MAX), issued_at: NOW, entries };
        let signed = Signed::sign(&dispatcher, &largest).unwrap();
        assert_eq!(Signed::from_bytes(&signed.to_bytes()).unwrap().open(dispatcher.id()).as_ref(), Ok(&largest));
        largest.entries.push(one);
        assert_eq!(Signed::sign(&dispatcher, &largest), Err(SignedError::Senseless));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = crate::trust::cbor::decode::<Roster>(&bytes);
            if let Ok(signed) = Signed::<Roster>::from_bytes(&bytes) {
                prop_assert!(signed.open(NodeId([1; 32])).is_err());
            }
        }
    }
}
