//! The networks that this machine is on just now.
//!
//! The one invariant: an interface is named by its index, because several may
//! have the same address and one may have none. Absent: sockets. On systems
//! other than Unix none are found, and the system chooses one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Interfaces that are used: Linux lets one socket be in 20 groups.
const MAX_INTERFACES: usize = 16;

/// One interface that is up and carries multicast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// The system's number for it.
    pub(super) index: u32,
    /// It leads nowhere but to this machine.
    pub(super) is_loopback: bool,
    /// Its IPv4 addresses, each with the address that all on its network listen to.
    pub(super) v4: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
    /// Its IPv6 addresses.
    pub(super) v6: Vec<Ipv6Addr>,
}

impl Interface {
    /// All its addresses, IPv4 first.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().map(|(ip, _)| IpAddr::V4(*ip)).chain(self.v6.iter().copied().map(IpAddr::V6))
    }
}

/// The interfaces, those with IPv4 first. Lines from point to point (tunnels) are none of a local network.
#[cfg(unix)]
pub(super) fn scan() -> Vec<Interface> {
    use nix::net::if_::{InterfaceFlags, if_nametoindex};

    let Ok(found) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut interfaces: Vec<Interface> = Vec::new();
    for entry in found {
        let is_loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let carries = entry.flags.contains(InterfaceFlags::IFF_MULTICAST) || is_loopback;
        if !entry.flags.contains(InterfaceFlags::IFF_UP)
            || !carries
            || entry.flags.contains(InterfaceFlags::IFF_POINTOPOINT)
        {
            continue;
        }
        let (Some(address), Ok(index)) = (entry.address, if_nametoindex(entry.interface_name.as_str())) else {
            continue;
        };
        let at = interfaces.iter().position(|known| known.index == index).unwrap_or_else(|| {
            interfaces.push(Interface { index, is_loopback, v4: Vec::new(), v6: Vec::new() });
            interfaces.len() - 1
        });
        let interface = &mut interfaces[at];
        if let Some(v4) = address.as_sockaddr_in() {
            let broadcast = entry.broadcast.as_ref().and_then(|address| address.as_sockaddr_in()).map(|at| at.ip());
            interface.v4.push((v4.ip(), broadcast.filter(|_| !is_loopback)));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            interface.v6.push(v6.ip());
        }
    }
    interfaces.retain(|interface| interface.addresses().next().is_some());
    interfaces.sort_by_key(|interface| (interface.v4.is_empty(), interface.index));
    interfaces.truncate(MAX_INTERFACES);
    interfaces
}

/// Interfaces that are up, lead somewhere and carry no multicast: beacons neither leave nor arrive by them.
#[cfg(unix)]
#[must_use]
pub fn mute_interfaces() -> Vec<String> {
    use nix::net::if_::InterfaceFlags;

    let Ok(found) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let leads_nowhere = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    let mute = found.filter(|entry| {
        let has_address = entry.address.as_ref().is_some_and(|address| address.as_sockaddr_in().is_some());
        has_address
            && entry.flags.contains(InterfaceFlags::IFF_UP)
            && !entry.flags.intersects(leads_nowhere | InterfaceFlags::IFF_MULTICAST)
    });
    let mut names: Vec<String> = mute.map(|entry| entry.interface_name).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(not(unix))]
#[must_use]
pub fn mute_interfaces() -> Vec<String> {
    Vec::new()
}

#[cfg(not(unix))]
pub(super) fn scan() -> Vec<Interface> {
    vec![Interface { index: 0, is_loopback: false, v4: vec![(Ipv4Addr::UNSPECIFIED, None)], v6: Vec::new() }]
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_loopback_and_every_interface_an_address_and_a_number() {
        let found = scan();
        let loopback = found.iter().find(|interface| interface.is_loopback).expect("loopback is up");
        assert!(loopback.v4.contains(&(Ipv4Addr::LOCALHOST, None)), "{loopback:?}");
        assert!(found.len() <= MAX_INTERFACES);
        assert!(found.iter().all(|interface| interface.index > 0 && interface.addresses().next().is_some()));
    }
}
