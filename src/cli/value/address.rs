//! Where nodes are: `HOST[:PORT]` and the address to listen on. Nothing is
//! looked up here; a name stays a name until somebody connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{ValueError, port};

/// A host as it was named, with the port if one was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// A name or an address; an IPv6 address without its brackets.
    pub(crate) host: String,
    /// The port behind it.
    pub(crate) port: Option<u16>,
}

/// `mars`, `mars:7878`, `192.168.1.10`, `::1`, `[::1]:7878`.
pub(crate) fn host_port(text: &str) -> Result<HostPort, ValueError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(HostPort { host: text.to_owned(), port: None });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']').ok_or(ValueError::NotHost)?;
        host.parse::<Ipv6Addr>().map_err(|_| ValueError::NotHost)?;
        let port = match behind.strip_prefix(':') {
            Some(digits) => Some(port(digits, 1)?),
            None if behind.is_empty() => None,
            None => return Err(ValueError::NotHost),
        };
        return Ok(HostPort { host: host.to_owned(), port });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(port(digits, 1)?)),
        None => (text, None),
    };
    let plausible =
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if plausible { Ok(HostPort { host: host.to_owned(), port }) } else { Err(ValueError::NotHost) }
}

/// The address to listen on: an IP address, or `localhost` for 127.0.0.1.
pub(crate) fn bind_address(text: &str) -> Result<IpAddr, ValueError> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| ValueError::NotBindAddress)
}

/// Where to listen, `ADDR:PORT`; port 0 takes a free one.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, ValueError> {
    text.parse().map_err(|_| ValueError::NotListenAddress)
}

/// Where to be looked for: `ADDR`, which leaves the port open as 0, or `ADDR:PORT`.
pub(crate) fn advertised_address(text: &str) -> Result<SocketAddr, ValueError> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, 0)),
        Err(_) => text.parse::<SocketAddr>(),
    };
    address.ok().filter(|address| !address.ip().is_unspecified()).ok_or(ValueError::NotAdvertised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_with_or_without_a_port_and_in_both_families() {
        let read = |text: &str| host_port(text).map(|address| (address.host, address.port));
        assert_eq!(read("localhost"), Ok(("localhost".into(), None)));
        assert_eq!(read("192.168.1.100:7900"), Ok(("192.168.1.100".into(), Some(7900))));
        assert_eq!(read("::1"), Ok(("::1".into(), None)));
        assert_eq!(read("[::1]:7878"), Ok(("::1".into(), Some(7878))));
        assert_eq!(read("[::1]"), Ok(("::1".into(), None)));
        for text in ["", ":7878", "a b", "[::1", "[::1]7878", "[host]:1", "https://host"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(host_port("mars:0"), Err(ValueError::NotPort));
    }

    #[test]
    fn a_worker_listens_at_an_address_with_a_port_and_may_be_advertised_without_one() {
        let text = |read: Result<SocketAddr, ValueError>| read.map(|address| address.to_string());
        assert_eq!(text(listen_address("0.0.0.0:7900")), Ok("0.0.0.0:7900".to_owned()));
        assert_eq!(text(listen_address("[::]:0")), Ok("[::]:0".to_owned()));
        assert_eq!(listen_address("7900"), Err(ValueError::NotListenAddress));
        assert_eq!(listen_address("mars:7900"), Err(ValueError::NotListenAddress));
        assert_eq!(text(advertised_address("10.0.0.7")), Ok("10.0.0.7:0".to_owned()));
        assert_eq!(text(advertised_address("[fd00::7]")), Ok("[fd00::7]:0".to_owned()));
        assert_eq!(text(advertised_address("10.0.0.7:7900")), Ok("10.0.0.7:7900".to_owned()));
        for nowhere in ["0.0.0.0", "mars", ""] {
            assert_eq!(advertised_address(nowhere), Err(ValueError::NotAdvertised), "{nowhere:?}");
        }
    }

    #[test]
    fn a_dispatcher_binds_to_addresses_not_to_names() {
        assert_eq!(bind_address("0.0.0.0"), Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert_eq!(bind_address("localhost"), Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(bind_address("[::1]"), Ok(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(bind_address("eth0"), Err(ValueError::NotBindAddress));
    }
}
