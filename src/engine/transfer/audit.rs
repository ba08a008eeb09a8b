//! What holds of a fetch after every call.
//!
//! Invariant: this panics only by a bug of the engine. Absent: repairs.

use super::effects::Way;
use super::source::Standing;
use super::{AHEAD_BYTES, AHEAD_PIECES, Fetch, MOST_KNOWN, MOST_OPEN, SWARM_SOURCES};
use crate::model::limits::PIECE_BYTES;

impl Fetch {
    /// Holds everything that must be so against what is.
    pub fn check_invariants(&self) {
        self.wants.check();
        assert!(self.sessions.len() <= MOST_OPEN, "few sources are talked to");
        assert!(self.sources.len() <= 2 * MOST_KNOWN + 1, "few sources are remembered");
        for (session, way) in &self.sessions {
            assert_eq!(self.sources[way].session(), Some(*session), "a session is that of its source");
        }
        let (mut active, mut talking) = (0, 0);
        for (way, source) in &self.sources {
            talking += usize::from(source.session().is_some());
            if let Standing::Banned = source.standing {
                assert!(source.session().is_none(), "nobody talks to a banned source");
                let relay = way.holder().map(Way::Relay);
                assert!(relay.is_none_or(|relay| !self.sources.contains_key(&relay)), "a ban holds for every way");
            }
            let Some(session) = source.open() else { continue };
            let owed: Vec<_> = session.owed().collect();
            let bytes: u64 = owed.iter().map(|piece| self.wants.bytes_of(*piece)).sum();
            assert!(bytes < AHEAD_BYTES + PIECE_BYTES && owed.len() <= AHEAD_PIECES, "a source owes little");
            assert_eq!(session.busy_since.is_some(), !owed.is_empty(), "it is busy while it owes something");
            active += usize::from(!owed.is_empty());
        }
        assert_eq!(talking, self.sessions.len(), "every conversation is known");
        assert!(active <= SWARM_SOURCES, "few sources owe pieces");
    }
}
