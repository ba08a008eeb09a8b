//! Which dispatcher a client command means, before anything is dialled.
//!
//! The order is INTERFACE §1's: option, variable, this home's access file.
//! The one invariant: a target always names the key to expect, so a secret is
//! never shown to a stranger who sits at the right address. Absent on purpose:
//! any connection attempt, and reading the environment (`cli/` does that).

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::ClientError;
use crate::model::NodeId;
use crate::model::handshake::Credential;
use crate::trust::access::{self, AccessFile};
use crate::trust::home::Home;

/// The seed's port of a dispatcher.
pub const DEFAULT_PORT: u16 = 7878;

/// A dispatcher to talk to: where it may be, and who it has to be.
#[derive(Debug, Clone)]
pub struct Target {
    /// Addresses to try, in this order.
    pub addresses: Vec<SocketAddr>,
    /// The key it has to prove.
    pub dispatcher: NodeId,
    /// What to present when this client's key is not enrolled yet.
    pub credential: Credential,
}

impl Target {
    /// The dispatcher of this home, at the addresses that its access file names.
    #[must_use]
    pub fn from_access(file: &AccessFile) -> Self {
        Self {
            addresses: file.addresses.clone(),
            dispatcher: file.dispatcher,
            credential: Credential::Access(file.secret),
        }
    }
}

/// Finds the dispatcher meant by `named` (`HOST[:PORT]`), else the one whose access file is in `home`.
///
/// `None` when none is known: `run` then starts an embedded one.
///
/// # Errors
/// When `named` cannot be resolved, when its key is not known here, or when
/// the access file cannot be read.
pub fn find(home: &Home, named: Option<&str>) -> Result<Option<Target>, ClientError> {
    let file = access::read(&home.access_file())?;
    match (named, file) {
        (None, file) => Ok(file.as_ref().map(Target::from_access)),
        (Some(named), Some(file)) => {
            let addresses = resolve(named)?;
            Ok(Some(Target { addresses, ..Target::from_access(&file) }))
        }
        (Some(named), None) => {
            resolve(named)?;
            Err(ClientError::NotEnrolled { named: named.to_owned() })
        }
    }
}

/// The socket addresses of `HOST`, `HOST:PORT` or `[V6]:PORT`, IPv4 first (a dispatcher listens there by default).
///
/// # Errors
/// When the host is unknown or the text is no address.
pub fn resolve(named: &str) -> Result<Vec<SocketAddr>, ClientError> {
    let (host, port) = split(named).ok_or_else(|| ClientError::BadAddress(named.to_owned()))?;
    let found =
        (host, port).to_socket_addrs().map_err(|source| ClientError::UnknownHost { host: host.to_owned(), source })?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    if addresses.is_empty() { Err(ClientError::BadAddress(named.to_owned())) } else { Ok(addresses) }
}

/// Host and port of what a person typed; a bare IPv6 address needs no brackets.
fn split(named: &str) -> Option<(&str, u16)> {
    let (host, port) = match named.strip_prefix('[') {
        Some(rest) => match rest.split_once(']')? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':')?)),
        },
        None if named.matches(':').count() > 1 => (named, None),
        None => match named.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (named, None),
        },
    };
    let port = match port {
        Some(text) => text.parse().ok().filter(|port| *port != 0)?,
        None => DEFAULT_PORT,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dispatcher_is_named_by_host_and_maybe_port() {
        assert_eq!(split("lab"), Some(("lab", 7878)));
        assert_eq!(split("10.0.0.1:80"), Some(("10.0.0.1", 80)));
        assert_eq!(split("::1"), Some(("::1", 7878)));
        assert_eq!(split("[::1]:9"), Some(("::1", 9)));
        for bad in ["", ":80", "lab:", "lab:0", "lab:99999", "lab:x", "[::1", "[::1]9"] {
            assert_eq!(split(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_unknown_host_is_named_in_the_error() {
        let error = resolve("no-such-host.invalid").expect_err("the .invalid domain has no hosts");
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    }
}
