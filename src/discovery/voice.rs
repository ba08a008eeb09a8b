//! What a node says, and by which interfaces.
//!
//! Invariant: each interface hears the addresses of that interface alone, and
//! all of them the same number, so that one who hears several knows that it was
//! one beacon. Absent: when it speaks (`schedule`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::interfaces::Interface;
use super::schedule::Due;
use super::seal;
use super::sockets::{self, Speaker};
use super::station::{Announcement, Standing};
use crate::model::Timestamp;
use crate::trust::Identity;
use crate::wire::beacon::{
    BEACON_VERSION, Beacon, BeaconAddress, BeaconKind, MAX_BEACON_ADDRESSES, MAX_SOFTWARE_BYTES,
};

/// The speaking side of a node.
pub(super) struct Voice {
    identity: Arc<Identity>,
    port: u16,
    started_at: Timestamp,
    announcement: Announcement,
    standing: Standing,
    speakers: Vec<Speaker>,
    sequence: u64,
    /// It was said that nothing leaves.
    complained: bool,
}

impl Voice {
    pub(super) fn new(
        identity: Arc<Identity>,
        port: u16,
        started_at: Timestamp,
        announcement: Announcement,
        standing: Standing,
    ) -> Self {
        let (speakers, sequence, complained) = (Vec::new(), 0, false);
        Self { identity, port, started_at, announcement, standing, speakers, sequence, complained }
    }

    /// Whether the node takes part at all.
    pub(super) fn is_on(&self) -> bool {
        self.standing != Standing::Off
    }

    /// Whether it says anything.
    pub(super) fn speaks(&self) -> bool {
        matches!(self.standing, Standing::Seeking { .. } | Standing::Member { .. })
    }

    /// Stands elsewhere from now on. Who leaves a cluster, or stops to take part, says goodbye to it.
    pub(super) fn stand(&mut self, standing: Standing) {
        self.say_goodbye();
        self.standing = standing;
        if !self.is_on() {
            self.speakers.clear();
        }
    }

    /// Speaks by these interfaces from now on.
    pub(super) fn follow(&mut self, mut found: Vec<Interface>) {
        if self.listens().is_some_and(|bound| bound.ip().is_loopback()) {
            // Nobody else could reach it.
            found.retain(|interface| interface.is_loopback);
        }
        self.speakers.retain(|speaker| found.contains(&speaker.interface));
        for interface in found {
            if self.speakers.iter().any(|speaker| speaker.interface == interface) {
                continue;
            }
            match Speaker::open(interface) {
                Ok(speaker) => self.speakers.push(speaker),
                Err(error) => tracing::debug!("Beacons do not go to one network: {error}"),
            }
        }
    }

    /// Says the beacon that is due.
    pub(super) fn speak(&mut self, due: Due) {
        let kind = match self.standing {
            Standing::Seeking { .. } => BeaconKind::Query,
            _ if due.asks => BeaconKind::Query,
            _ => BeaconKind::Alive,
        };
        self.say(kind, due.broadcast);
    }

    /// Says that the node is going, to those who know that it is there.
    pub(super) fn say_goodbye(&mut self) {
        if matches!(self.standing, Standing::Member { .. }) && self.sequence > 0 {
            self.say(BeaconKind::Bye, true);
        }
    }

    fn say(&mut self, kind: BeaconKind, broadcast: bool) {
        self.sequence += 1;
        let mut left = false;
        let mut failed = None;
        for speaker in &self.speakers {
            let sealed = seal::seal(&self.identity, &self.beacon(kind, &speaker.interface));
            let said = sealed
                .map_err(|error| error.to_string())
                .and_then(|datagram| speaker.say(&datagram, self.port, broadcast).map_err(|error| error.to_string()));
            match said {
                Ok(()) => left = true,
                Err(error) => failed = Some(error),
            }
        }
        if left {
            self.complained = false;
        } else if let Some(error) = failed
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::warn!("Nobody hears of this node by beacon: failed to send to UDP {} ({error})", self.port);
        }
    }

    fn listens(&self) -> Option<SocketAddr> {
        match &self.standing {
            Standing::Member { listens, .. } => *listens,
            Standing::Off | Standing::Listening | Standing::Seeking { .. } => None,
        }
    }

    fn beacon(&self, kind: BeaconKind, interface: &Interface) -> Beacon {
        let (name, cluster) = match &self.standing {
            Standing::Off | Standing::Listening => (None, None),
            Standing::Seeking { name } => (name.clone(), None),
            Standing::Member { cluster, name, .. } => (Some(name.clone()), Some(*cluster)),
        };
        let listens = self.listens();
        let Announcement { role, cpu, memory_bytes, gpus, software } = &self.announcement;
        let mut addresses = sockets::reached_at(interface, listens);
        addresses.truncate(MAX_BEACON_ADDRESSES);
        let software = software.chars().filter(char::is_ascii_graphic).take(MAX_SOFTWARE_BYTES).collect();
        Beacon {
            version: BEACON_VERSION,
            kind,
            role: *role,
            name,
            cluster,
            boot: self.started_at,
            sequence: self.sequence,
            port: listens.as_ref().map_or(0, SocketAddr::port),
            addresses: addresses.into_iter().map(named).collect(),
            cpu: *cpu,
            memory_mb: memory_bytes / (1024 * 1024),
            gpus: *gpus,
            software,
        }
    }
}

fn named(address: IpAddr) -> BeaconAddress {
    match address {
        IpAddr::V4(ip) => BeaconAddress::V4(ip.octets()),
        IpAddr::V6(ip) => BeaconAddress::V6(ip.octets()),
    }
}
