//! The sockets that beacons come and go by.
//!
//! Invariant: several nodes of one machine share the port and each hears every
//! beacon; nothing ever leaves this link (TTL 1), and nothing is sent to one
//! address alone. Absent: what is in a datagram, and when it is sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use super::interfaces::Interface;
use super::{GROUP_V4, GROUP_V6};

/// Room for the beacons that come while this node does something else: some thousand.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// Opens the port for IPv4 beacons.
///
/// `SO_REUSEADDR` is what lets several programs hear the same groups. On Linux `SO_REUSEPORT` would hand each
/// datagram to only one of them; the BSDs and macOS want both.
pub(super) fn listen_v4(port: u16) -> io::Result<UdpSocket> {
    let socket = shared(Domain::IPV4)?;
    #[cfg(target_os = "linux")]
    // Else the groups that other programs joined would come here as well.
    let _ = socket.set_multicast_all_v4(false);
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket.into())
}

/// Opens the port for IPv6 beacons and for nothing else.
pub(super) fn listen_v6(port: u16) -> io::Result<UdpSocket> {
    let socket = shared(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    #[cfg(target_os = "linux")]
    let _ = socket.set_multicast_all_v6(false);
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(socket.into())
}

fn shared(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(all(
        unix,
        not(any(target_os = "linux", target_os = "android", target_os = "solaris", target_os = "illumos"))
    ))]
    socket.set_reuse_port(true)?;
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Hears the IPv4 group on `interface`; that it does already is no error.
pub(super) fn join_v4(listener: &SockRef<'_>, interface: &Interface) -> io::Result<()> {
    let by = if interface.is_loopback || interface.index == 0 {
        let address = interface.v4.first().map_or(Ipv4Addr::UNSPECIFIED, |(ip, _)| *ip);
        InterfaceIndexOrAddress::Address(address)
    } else {
        InterfaceIndexOrAddress::Index(interface.index)
    };
    joined(listener.join_multicast_v4_n(&GROUP_V4, &by))
}

/// Hears the IPv6 group on `interface`; that it does already is no error.
pub(super) fn join_v6(listener: &SockRef<'_>, interface: &Interface) -> io::Result<()> {
    joined(listener.join_multicast_v6(&GROUP_V6, interface.index))
}

fn joined(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
        other => other,
    }
}

/// What speaks on one interface.
pub(super) struct Speaker {
    /// Where.
    pub(super) interface: Interface,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Speaker {
    /// Opens what `interface` takes.
    ///
    /// # Errors
    /// When it takes neither.
    pub(super) fn open(interface: Interface) -> io::Result<Self> {
        let v4 = interface.v4.first().map(|(ip, _)| speaker_v4(*ip));
        // Loopback has no groups of IPv6; whoever is there has been told by IPv4.
        let v6 = (!interface.is_loopback && !interface.v6.is_empty()).then(|| speaker_v6(interface.index));
        match (v4, v6) {
            (Some(Err(error)), None | Some(Err(_))) | (None, Some(Err(error))) => Err(error),
            (v4, v6) => Ok(Self { interface, v4: v4.and_then(Result::ok), v6: v6.and_then(Result::ok) }),
        }
    }

    /// Sends one datagram to everybody who listens there; succeeds when some of it left.
    pub(super) fn say(&self, datagram: &[u8], port: u16, broadcast: bool) -> io::Result<()> {
        let mut sent = Err(io::ErrorKind::AddrNotAvailable.into());
        if let Some(socket) = &self.v4 {
            sent = socket.send_to(datagram, (GROUP_V4, port)).map(drop);
            let all = self.interface.v4.iter().filter_map(|(_, all)| *all).filter(|_| broadcast);
            for all in all {
                sent = sent.or(socket.send_to(datagram, (all, port)).map(drop));
            }
        }
        if let Some(socket) = &self.v6 {
            let group = SocketAddrV6::new(GROUP_V6, port, 0, self.interface.index);
            let by_v6 = socket.send_to(datagram, group).map(drop);
            sent = if self.v4.is_some() { sent.or(by_v6) } else { by_v6 };
        }
        sent
    }
}

fn speaker_v4(ip: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_ttl_v4(1)?;
    socket.set_ttl_v4(1)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_broadcast(true)?;
    socket.set_multicast_if_v4(&ip)?;
    socket.bind(&SocketAddr::from((ip, 0)).into())?;
    Ok(socket.into())
}

fn speaker_v6(index: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(true)?;
    socket.set_multicast_hops_v6(1)?;
    socket.set_unicast_hops_v6(1)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_if_v6(index)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket.into())
}

/// The addresses of `interface` at which a node bound to `listens` is reached by it; its loopback counts for
/// those who share the machine.
pub(super) fn reached_at(interface: &Interface, listens: Option<SocketAddr>) -> Vec<IpAddr> {
    let Some(bound) = listens else { return interface.addresses().collect() };
    let suits = |ip: &IpAddr| match bound.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => ip.is_ipv4(),
        bound if bound.is_unspecified() => true,
        bound => *ip == bound,
    };
    interface.addresses().filter(suits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan() -> Interface {
        let v4 = vec![(Ipv4Addr::new(10, 0, 0, 2), Some(Ipv4Addr::new(10, 0, 0, 255)))];
        Interface { index: 2, is_loopback: false, v4, v6: vec!["fe80::2".parse().expect("an address")] }
    }

    #[test]
    fn a_node_names_the_addresses_that_it_listens_at() {
        let at = |bound: &str| {
            let found = reached_at(&lan(), Some(bound.parse().expect("an address")));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(at("0.0.0.0:7878"), ["10.0.0.2"]);
        assert_eq!(at("[::]:7878"), ["10.0.0.2", "fe80::2"]);
        assert_eq!(at("10.0.0.2:7878"), ["10.0.0.2"]);
        assert_eq!(at("10.0.1.2:7878"), Vec::<String>::new());
        assert_eq!(reached_at(&lan(), None).len(), 2, "who listens nowhere says where it is all the same");
    }

    #[test]
    fn several_sockets_share_the_port_and_each_hears_what_is_said() {
        let first = listen_v4(0).expect("a port");
        let port = first.local_addr().expect("an address").port();
        let second = listen_v4(port).expect("the same port");
        let loopback = super::super::interfaces::scan().into_iter().find(|it| it.is_loopback).expect("loopback");
        for listener in [&first, &second] {
            join_v4(&SockRef::from(listener), &loopback).expect("joins");
            join_v4(&SockRef::from(listener), &loopback).expect("twice is fine");
            listener.set_nonblocking(false).expect("blocks");
            listener.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("for a while");
        }
        Speaker::open(loopback).expect("opens").say(b"hello", port, true).expect("sends");
        for listener in [&first, &second] {
            let mut buffer = [0; 16];
            let (length, from) = listener.recv_from(&mut buffer).expect("it is heard");
            assert_eq!((&buffer[..length], from.ip()), (&b"hello"[..], Ipv4Addr::LOCALHOST.into()));
        }
    }
}
