//! Another node with this one's key: its home was copied.
//!
//! Pure: time is passed in. Invariant: it is told of at most once an hour, and
//! not because of one recorded beacon of an earlier start. Absent: checking
//! signatures.

use crate::model::{Millis, Timestamp};
use crate::wire::beacon::{Beacon, BeaconKind};

/// It is told of again after this long.
const TOLD_AGAIN: Millis = Millis::from_secs(3600);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Twin {
    /// Its newest beacon.
    newest: Option<(Timestamp, u64)>,
    told_at: Option<Timestamp>,
}

impl Twin {
    /// Takes note of a beacon that this node's key has signed; says whether it is to be told that another node did.
    /// `boot` is this start.
    pub(super) fn hears(&mut self, now: Timestamp, boot: Timestamp, beacon: &Beacon) -> bool {
        if beacon.boot == boot || beacon.kind == BeaconKind::Bye {
            return false;
        }
        let said = (beacon.boot, beacon.sequence);
        let goes_on = self.newest.is_some_and(|newest| newest.0 == said.0 && newest < said);
        self.newest = self.newest.max(Some(said));
        let is_told = self.told_at.is_some_and(|at| now.since(at) < TOLD_AGAIN);
        if goes_on && !is_told {
            self.told_at = Some(now);
        }
        goes_on && !is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MilliCpu, NodeId, Role};

    #[test]
    fn a_twin_that_goes_on_speaking_is_told_of_once_an_hour_and_nothing_else_is() {
        let said = |boot: u64, sequence: u64| Beacon {
            version: crate::wire::beacon::BEACON_VERSION,
            kind: BeaconKind::Alive,
            role: Role::Dispatcher,
            name: None,
            cluster: Some(NodeId([1; 32])),
            boot: Timestamp(boot),
            sequence,
            port: 7878,
            addresses: Vec::new(),
            cpu: MilliCpu(0),
            memory_mb: 0,
            gpus: 0,
            software: "1.0.0".to_owned(),
        };
        let (mut twin, own) = (Twin::default(), Timestamp(100));
        let at = |minutes: u64| Timestamp::from_millis(minutes * 60_000);
        assert!(!twin.hears(at(0), own, &said(100, 1)) && !twin.hears(at(0), own, &said(100, 2)), "its own");
        assert!(!twin.hears(at(0), own, &said(90, 5)) && !twin.hears(at(0), own, &said(90, 5)), "one recording");
        assert!(twin.hears(at(1), own, &said(90, 6)));
        assert!(!twin.hears(at(2), own, &said(90, 7)), "told a minute ago");
        assert!(twin.hears(at(62), own, &said(90, 9)));
        let bye = Beacon { kind: BeaconKind::Bye, ..said(90, 10) };
        assert!(!twin.hears(at(200), own, &bye));
    }
}
