//! Where this machine can be reached by others of its network.
//!
//! The one invariant: nothing is sent to find out. Absent: names, and which of
//! several networks a given machine is on; whoever reads the list chooses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses of this machine that another one may dial, the likeliest first: the one that it would
/// itself use to go out, then IPv4 before IPv6. Neither loopback nor link-local ones are among them.
#[must_use]
pub fn lan_addresses() -> Vec<IpAddr> {
    let mut found = of_interfaces();
    found.retain(is_reachable);
    let preferred = outgoing();
    found.extend(preferred);
    found.sort_by_key(|address| (Some(*address) != preferred, address.is_ipv6(), *address));
    found.dedup();
    found
}

/// Whether `address` is one of this machine's own.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || of_interfaces().contains(&address)
}

/// The addresses at which a dispatcher bound to `bound` is dialled from other machines.
#[must_use]
pub fn reachable_at(bound: SocketAddr) -> Vec<IpAddr> {
    match bound.ip() {
        ip if ip.is_loopback() => Vec::new(),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => lan_addresses().into_iter().filter(IpAddr::is_ipv4).collect(),
        ip if ip.is_unspecified() => lan_addresses(),
        ip => vec![ip],
    }
}

/// The interface and the own address by which packets to `there` leave, as `eth0 192.168.1.11`. Nothing is sent.
#[must_use]
pub fn way_to(there: SocketAddr) -> Option<String> {
    let any: IpAddr = if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(there).ok()?;
    let own = socket.local_addr().ok()?.ip();
    Some(match interface_of(own) {
        Some(interface) => format!("{interface} {own}"),
        None => own.to_string(),
    })
}

#[cfg(unix)]
fn interface_of(own: IpAddr) -> Option<String> {
    let mut interfaces = nix::ifaddrs::getifaddrs().ok()?;
    let has_it = |interface: &nix::ifaddrs::InterfaceAddress| {
        interface.address.as_ref().is_some_and(|address| {
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip()))) == Some(own)
        })
    };
    interfaces.find(has_it).map(|interface| interface.interface_name)
}

#[cfg(not(unix))]
fn interface_of(_own: IpAddr) -> Option<String> {
    None
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

/// The source address of a packet to far away; connecting a UDP socket sends none.
fn outgoing() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address reserved for documentation (RFC 5737): nobody has it.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(is_reachable)
}

#[cfg(unix)]
fn of_interfaces() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    });
    addresses.collect()
}

#[cfg(not(unix))]
fn of_interfaces() -> Vec<IpAddr> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_not_reached_by_its_loopback() {
        assert!(lan_addresses().iter().all(|address| !address.is_loopback()));
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 1).into()));
    }

    #[test]
    fn a_dispatcher_is_reached_where_it_listens() {
        let at = |bound: &str| reachable_at(bound.parse().expect("an address"));
        assert_eq!(at("127.0.0.1:7878"), Vec::<IpAddr>::new());
        assert_eq!(at("10.1.2.3:7878"), ["10.1.2.3".parse::<IpAddr>().expect("an address")]);
        assert!(at("0.0.0.0:7878").iter().all(IpAddr::is_ipv4));
    }
}
