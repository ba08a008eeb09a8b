//! Who was heard lately.
//!
//! Pure: time is passed in, and nothing is looked up. Invariant: at most
//! [`MAX_NEIGHBOURS`] are kept, a beacon that is not newer than the last one
//! changes nothing, and an address counts only where the one who signed said
//! that it is his and the datagram came from it, so that neither an old
//! recording nor one sent from elsewhere leads anywhere. Absent: signatures
//! (they are checked between [`Neighbours::screen`] and [`Neighbours::hear`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::model::limits::{MAX_NEIGHBOURS, NEIGHBOUR_EXPIRES_AFTER};
use crate::model::{MilliCpu, NodeId, NodeName, Role, Timestamp};
use crate::wire::beacon::{Beacon, BeaconAddress, BeaconKind};

/// Addresses kept of one neighbour: more interfaces than two nodes share.
const MAX_WAYS: usize = 4;

/// Somebody who was heard lately, which proves nothing but that he has this key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The key.
    pub node: NodeId,
    /// What it calls itself.
    pub name: Option<NodeName>,
    /// What it says it is.
    pub role: Role,
    /// Whom it says it belongs to.
    pub cluster: Option<NodeId>,
    /// Where it was heard from, with the port where it listens (0: nowhere); the newest first, those of one link
    /// last.
    pub addresses: Vec<SocketAddr>,
    /// Processors.
    pub cpu: MilliCpu,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// GPUs.
    pub gpus: u32,
    /// When it was heard last.
    pub heard_at: Timestamp,
}

impl Neighbour {
    /// Its name, or the short form of its key.
    #[must_use]
    pub fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| self.node.short(), ToString::to_string)
    }
}

/// A dispatcher that was heard: where it may be, and whose key has to answer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its key.
    pub dispatcher: NodeId,
    /// Where to try, in order; not empty.
    pub addresses: Vec<SocketAddr>,
}

/// Whose beacons are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of this dispatcher and who belongs to it.
    Cluster(NodeId),
    /// Those of dispatchers: the listener looks for one.
    Dispatchers,
}

/// Whether a beacon is worth checking its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Screened {
    /// It may be news.
    Check,
    /// It is one's own, somebody else's affair, a repetition, or older than what is known.
    Drop,
}

/// What came of a beacon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A new neighbour.
    Discovered,
    /// A known one, and where it is reached has changed.
    Moved,
    /// A known one.
    Refreshed,
    /// It has said goodbye.
    Gone,
    /// Somebody who is not kept; all that can come of it is an answer.
    Passed,
}

/// One who is or was there.
#[derive(Debug)]
struct Entry {
    neighbour: Neighbour,
    /// The newest beacon.
    newest: (Timestamp, u64),
    /// Where it was heard from and when.
    ways: Vec<(SocketAddr, Timestamp)>,
    /// On the roster of whoever listens: never gives way to one who is not.
    is_member: bool,
    /// It has said goodbye, or has expired; kept so that its old beacons do not bring it back.
    is_gone: bool,
}

/// The table.
#[derive(Debug)]
pub(super) struct Neighbours {
    own: NodeId,
    scope: Scope,
    entries: BTreeMap<NodeId, Entry>,
}

impl Neighbours {
    pub(super) fn new(own: NodeId, scope: Scope) -> Self {
        Self { own, scope, entries: BTreeMap::new() }
    }

    /// Keeps others from now on, and forgets those who are none of them.
    pub(super) fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
        self.entries.retain(|_, entry| is_within(scope, entry.neighbour.role, entry.neighbour.cluster));
    }

    /// Whether anybody present was heard from this address.
    pub(super) fn knows_source(&self, source: IpAddr) -> bool {
        let present = self.entries.values().filter(|entry| !entry.is_gone);
        present.flat_map(|entry| &entry.ways).any(|(way, _)| way.ip() == source)
    }

    /// Looks at a beacon before its signature is checked, which costs more.
    pub(super) fn screen(&self, source: SocketAddr, key: NodeId, beacon: &Beacon) -> Screened {
        if key == self.own || !(self.keeps(beacon) || self.answers(beacon)) {
            return Screened::Drop;
        }
        let Some(entry) = self.entries.get(&key) else {
            // Whoever is not there cannot go.
            return if beacon.kind == BeaconKind::Bye { Screened::Drop } else { Screened::Check };
        };
        let said = (beacon.boot, beacon.sequence);
        let another_way = || !entry.is_gone && way(source, beacon).is_some_and(|way| !entry.has_way(way));
        if said > entry.newest || (said == entry.newest && another_way()) { Screened::Check } else { Screened::Drop }
    }

    /// Takes note of a beacon that its key has signed. `is_member` says that this key is on the roster.
    pub(super) fn hear(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        key: NodeId,
        beacon: &Beacon,
        is_member: bool,
    ) -> Heard {
        if !self.keeps(beacon) || self.screen(source, key, beacon) == Screened::Drop {
            return Heard::Passed;
        }
        let is_member = is_member || self.scope == Scope::Cluster(key);
        if !self.entries.contains_key(&key) && !self.make_room() {
            return Heard::Passed;
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry::new(key, beacon));
        entry.is_member |= is_member;
        entry.take(now, source, beacon)
    }

    /// Forgets who has been silent for too long; says whether anybody was there until now.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let mut lost = false;
        self.entries.retain(|_, entry| {
            let silence = now.since(entry.neighbour.heard_at);
            if !entry.is_gone && silence >= NEIGHBOUR_EXPIRES_AFTER {
                entry.is_gone = true;
                lost = true;
            }
            silence.0 < 2 * NEIGHBOUR_EXPIRES_AFTER.0
        });
        lost
    }

    /// When [`Self::expire`] has something to do next.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let due = |entry: &Entry| {
            let once = entry.neighbour.heard_at + NEIGHBOUR_EXPIRES_AFTER;
            if entry.is_gone { once + NEIGHBOUR_EXPIRES_AFTER } else { once }
        };
        self.entries.values().map(due).min()
    }

    /// Everybody who is there, by key.
    pub(super) fn present(&self) -> impl Iterator<Item = &Neighbour> {
        self.entries.values().filter(|entry| !entry.is_gone).map(|entry| &entry.neighbour)
    }

    /// One of them.
    pub(super) fn find(&self, node: NodeId) -> Option<&Neighbour> {
        self.entries.get(&node).filter(|entry| !entry.is_gone).map(|entry| &entry.neighbour)
    }

    /// Dispatchers that can be dialled.
    pub(super) fn offers(&self) -> impl Iterator<Item = Offer> {
        let dispatchers = self.present().filter(|neighbour| neighbour.role == Role::Dispatcher);
        dispatchers.filter_map(|neighbour| {
            let dialled = neighbour.addresses.iter().copied().filter(|address| address.port() != 0);
            let addresses: Vec<SocketAddr> = dialled.collect();
            (!addresses.is_empty()).then_some(Offer { dispatcher: neighbour.node, addresses })
        })
    }

    /// Whether who says this would get an answer: it asks, and is one of ours, or looks for a dispatcher, and this
    /// is one.
    pub(super) fn answers(&self, beacon: &Beacon) -> bool {
        let Scope::Cluster(ours) = self.scope else { return false };
        let concerns = beacon.cluster.map_or(self.own == ours, |cluster| cluster == ours);
        beacon.kind == BeaconKind::Query && concerns
    }

    fn keeps(&self, beacon: &Beacon) -> bool {
        is_within(self.scope, beacon.role, beacon.cluster)
    }

    /// Makes room for one more: who is gone goes first, then the stranger who has been silent for longest. Members
    /// stay.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < MAX_NEIGHBOURS {
            return true;
        }
        let leaving = self.entries.iter().filter(|(_, entry)| entry.is_gone || !entry.is_member);
        let leaving = leaving.min_by_key(|(_, entry)| (!entry.is_gone, entry.neighbour.heard_at));
        let Some(leaving) = leaving.map(|(key, _)| *key) else { return false };
        self.entries.remove(&leaving);
        true
    }
}

impl Entry {
    fn new(key: NodeId, beacon: &Beacon) -> Self {
        let neighbour = Neighbour {
            node: key,
            name: None,
            role: beacon.role,
            cluster: None,
            addresses: Vec::new(),
            cpu: MilliCpu(0),
            memory_mb: 0,
            gpus: 0,
            heard_at: Timestamp(0),
        };
        Self { neighbour, newest: (Timestamp(0), 0), ways: Vec::new(), is_member: false, is_gone: true }
    }

    fn has_way(&self, way: SocketAddr) -> bool {
        self.ways.iter().any(|(known, _)| *known == way)
    }

    fn take(&mut self, now: Timestamp, source: SocketAddr, beacon: &Beacon) -> Heard {
        let was_gone = self.is_gone;
        if beacon.boot > self.newest.0 {
            self.ways.clear();
        }
        self.newest = (beacon.boot, beacon.sequence);
        self.neighbour.heard_at = now;
        if beacon.kind == BeaconKind::Bye {
            self.is_gone = true;
            return if was_gone { Heard::Passed } else { Heard::Gone };
        }
        self.is_gone = false;
        let neighbour = &mut self.neighbour;
        (neighbour.name, neighbour.role, neighbour.cluster) = (beacon.name.clone(), beacon.role, beacon.cluster);
        (neighbour.cpu, neighbour.memory_mb, neighbour.gpus) = (beacon.cpu, beacon.memory_mb, beacon.gpus);
        let moved = self.take_way(now, way(source, beacon));
        match (was_gone, moved) {
            (true, _) => Heard::Discovered,
            (false, true) => Heard::Moved,
            (false, false) => Heard::Refreshed,
        }
    }

    /// Notes where it was heard from; says whether that changes where it is reached.
    fn take_way(&mut self, now: Timestamp, way: Option<SocketAddr>) -> bool {
        match way.and_then(|way| self.ways.iter_mut().find(|(known, _)| *known == way)) {
            Some((_, heard_at)) => *heard_at = now,
            None => self.ways.splice(0..0, way.map(|way| (way, now))).for_each(drop),
        }
        self.ways.retain(|(_, heard_at)| now.since(*heard_at) < NEIGHBOUR_EXPIRES_AFTER);
        self.ways.truncate(MAX_WAYS);
        let mut addresses: Vec<SocketAddr> = self.ways.iter().map(|(way, _)| *way).collect();
        // An address of one link is good only while the link keeps its number: the others first.
        addresses.sort_by_key(|address| matches!(address.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()));
        let moved = addresses != self.neighbour.addresses;
        self.neighbour.addresses = addresses;
        moved
    }
}

fn is_within(scope: Scope, role: Role, cluster: Option<NodeId>) -> bool {
    match scope {
        Scope::Cluster(own) => cluster == Some(own) && matches!(role, Role::Worker | Role::Dispatcher),
        Scope::Dispatchers => role == Role::Dispatcher,
    }
}

/// Where the one who signed `beacon` is reached, if the address that it came from is one that he named. An IPv6
/// address of one link keeps the interface that it was heard on.
fn way(source: SocketAddr, beacon: &Beacon) -> Option<SocketAddr> {
    let named = match source.ip() {
        IpAddr::V4(ip) => BeaconAddress::V4(ip.octets()),
        IpAddr::V6(ip) => BeaconAddress::V6(ip.octets()),
    };
    let mut way = source;
    way.set_port(beacon.port);
    beacon.addresses.contains(&named).then_some(way)
}

#[cfg(test)]
pub(super) mod tests;
