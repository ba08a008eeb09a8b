//! Which dispatcher a client command means, before anything is dialled.
//!
//! The order is that of docs/HELP.md: what was named, this home's access file, the
//! dispatcher that this client enrolled with last (and, where that one is gone, one
//! that is `heard`). The one invariant: a secret
//! goes only to the key it is meant for, whoever sits at the right address.
//! Absent: any connection attempt (`connect`), and reading the environment
//! (`cli/` does that).

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::ClientError;
use crate::model::NodeId;
use crate::model::handshake::Credential;
use crate::trust::access::{self, AccessFile};
use crate::trust::home::Home;
use crate::trust::{Pin, TokenText, pins};

/// A dispatcher's port unless it was told another.
pub const DEFAULT_PORT: u16 = 7878;

/// A dispatcher to talk to: where it may be, and who it may be.
#[derive(Debug, Clone)]
pub struct Target {
    /// Addresses to try, in this order.
    pub addresses: Vec<SocketAddr>,
    /// The keys that it may have, the likeliest first. With none of them there, or none at all, this client
    /// is not enrolled with it.
    pub expected: Vec<Expected>,
    /// What was typed for it, if anything.
    pub named: Option<String>,
    /// Whether it may be found by beacon where none of the addresses leads to it.
    pub may_be_heard: bool,
}

/// A key that a dispatcher may have.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The key it has to prove.
    pub dispatcher: NodeId,
    /// What to present when this client's key is not enrolled yet.
    pub credential: Credential,
    /// What names it.
    pub by: ExpectedBy,
}

/// What names a key, and so what it means when another one answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedBy {
    /// A token: the dispatcher that made it.
    Token,
    /// The access file of this home, with one of these very addresses.
    Access,
    /// An enrolment, with a dispatcher at one of these very addresses.
    Enrolment,
    /// Nothing more than that this client knows it: it is not known to be at any of these addresses.
    Acquaintance,
}

impl Target {
    /// The dispatcher of this home, at the addresses that its access file names.
    #[must_use]
    pub fn from_access(file: &AccessFile) -> Self {
        let expected = vec![of_access(file, &file.addresses)];
        // On this machine it is where the file says, or nowhere.
        Self { addresses: file.addresses.clone(), expected, named: None, may_be_heard: file.is_elsewhere() }
    }

    /// Whether a certain dispatcher should be there, so that any other one is an impostor, or its successor.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.expected.first().is_some_and(|first| first.by != ExpectedBy::Acquaintance)
    }

    /// A dispatcher that was enrolled with, where it was found before.
    fn from_pin(pin: &Pin) -> Self {
        let expected = vec![of_pin(pin, &pin.addresses)];
        Self { addresses: pin.addresses.clone(), expected, named: None, may_be_heard: true }
    }
}

/// Finds the dispatcher meant: the one that made `token` when there is one; the one at `named`
/// (`HOST[:PORT]`) when it is given; else the one whose access file is in `home`; else the one that this
/// home's client enrolled with last.
///
/// `None` when none is known: `run` then starts an embedded one.
///
/// # Errors
/// When `named` cannot be resolved, when a token comes without an address, or when
/// the access file or the list of dispatchers cannot be read.
pub fn find(home: &Home, named: Option<&str>, token: Option<&TokenText>) -> Result<Option<Target>, ClientError> {
    let access = access::read(&home.access_file())?;
    let known = known(home)?;
    if let Some(token) = token {
        let addresses = match named {
            Some(named) => resolve(named)?,
            None => whereabouts(token.dispatcher, access.as_ref(), &known).ok_or(ClientError::TokenWithoutAddress)?,
        };
        let by = ExpectedBy::Token;
        let expected = vec![Expected { dispatcher: token.dispatcher, credential: token.credential(), by }];
        return Ok(Some(Target { addresses, expected, named: named.map(str::to_owned), may_be_heard: false }));
    }
    Ok(match (named, access) {
        (Some(named), access) => {
            let addresses = resolve(named)?;
            let expected = candidates(&addresses, access.as_ref(), &known);
            Some(Target { addresses, expected, named: Some(named.to_owned()), may_be_heard: false })
        }
        (None, Some(access)) => {
            let mut target = Target::from_access(&access);
            let met = known.iter().filter(|pin| pin.dispatcher == access.dispatcher);
            target.addresses.extend(met.flat_map(|pin| pin.addresses.iter().copied()));
            let mut seen = std::collections::BTreeSet::new();
            target.addresses.retain(|address| seen.insert(*address));
            Some(target)
        }
        (None, None) => known.last().map(Target::from_pin),
    })
}

/// The dispatchers that this home's client enrolled with, the latest last.
pub(super) fn known(home: &Home) -> Result<Vec<Pin>, ClientError> {
    // A command that knows no dispatcher leaves no folder behind.
    if !home.client_folder().exists() {
        return Ok(Vec::new());
    }
    Ok(pins::of_client::read(home.client()?.path())?)
}

/// Where a dispatcher was found before.
fn whereabouts(dispatcher: NodeId, access: Option<&AccessFile>, known: &[Pin]) -> Option<Vec<SocketAddr>> {
    let here = access.filter(|file| file.dispatcher == dispatcher).map(|file| file.addresses.clone());
    let before = known.iter().find(|pin| pin.dispatcher == dispatcher).map(|pin| pin.addresses.clone());
    here.or(before)
}

/// Who may be at `addresses`: who was found there before, then this home's dispatcher, then all others, the
/// latest first. Each key once; this home's own with its secret wherever it stands.
fn candidates(addresses: &[SocketAddr], access: Option<&AccessFile>, known: &[Pin]) -> Vec<Expected> {
    let all = || known.iter().rev().map(|pin| of_pin(pin, addresses));
    let (there, elsewhere): (Vec<_>, Vec<_>) = all().partition(|one| one.by == ExpectedBy::Enrolment);
    let here = access.map(|file| of_access(file, addresses));
    let mut candidates: Vec<Expected> = Vec::new();
    for one in there.into_iter().chain(here).chain(elsewhere) {
        match candidates.iter_mut().find(|known| known.dispatcher == one.dispatcher) {
            Some(known) if one.credential != Credential::None => known.credential = one.credential,
            Some(_) => {}
            None => candidates.push(one),
        }
    }
    candidates
}

fn of_access(file: &AccessFile, addresses: &[SocketAddr]) -> Expected {
    let credential = Credential::Access(file.secret);
    let by = if overlap(&file.addresses, addresses) { ExpectedBy::Access } else { ExpectedBy::Acquaintance };
    Expected { dispatcher: file.dispatcher, credential, by }
}

pub(super) fn of_pin(pin: &Pin, addresses: &[SocketAddr]) -> Expected {
    let by = if overlap(&pin.addresses, addresses) { ExpectedBy::Enrolment } else { ExpectedBy::Acquaintance };
    Expected { dispatcher: pin.dispatcher, credential: Credential::None, by }
}

fn overlap(some: &[SocketAddr], others: &[SocketAddr]) -> bool {
    some.iter().any(|address| others.contains(address))
}

/// Takes note that the dispatcher with this key welcomed this home's client at `address`. One that was
/// enrolled with just now is the one that commands mean from here on.
///
/// # Errors
/// When the list of dispatchers cannot be read or written.
pub fn remember(home: &Home, dispatcher: NodeId, address: SocketAddr, newly: bool) -> Result<(), ClientError> {
    let known = known(home)?;
    let pin = match known.iter().find(|pin| pin.dispatcher == dispatcher) {
        Some(pin) => {
            let mut pin = pin.clone();
            let is_news = pin.reached_at(address);
            let is_latest = known.last().is_some_and(|last| last.dispatcher == dispatcher);
            match (newly && !is_latest, is_news) {
                (true, _) => pin,
                (false, true) => return Ok(pins::of_client::reached_at(&home.client()?, dispatcher, address)?),
                (false, false) => return Ok(()),
            }
        }
        None if newly => Pin::new(dispatcher, address),
        None => return Ok(()),
    };
    Ok(pins::of_client::remember(&home.client()?, pin)?)
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

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::locate(Some(dir.path().join("home"))).expect("a home");
        (dir, home)
    }

    fn token(key: u8) -> TokenText {
        TokenText::with_secret(NodeId([key; 32]), [key; 16])
    }

    /// Leaves the access file of a dispatcher in this home.
    fn serve(home: &Home, key: u8, address: &str) {
        let _dir = home.dispatcher().expect("a folder");
        let file = AccessFile::new(NodeId([key; 32]), at(address)).expect("an access file");
        access::write(&home.access_file(), &file).expect("written");
    }

    fn enrol(home: &Home, key: u8, address: &str) {
        remember(home, NodeId([key; 32]), at(address), true).expect("remembered");
    }

    fn found(home: &Home, named: Option<&str>, token: Option<&TokenText>) -> Option<(String, Vec<(u8, ExpectedBy)>)> {
        let target = find(home, named, token).expect("found or not")?;
        let keys = target.expected.iter().map(|one| (one.dispatcher.0[0], one.by)).collect();
        Some((target.addresses[0].to_string(), keys))
    }

    #[test]
    fn without_a_name_it_is_this_homes_dispatcher_or_the_last_one_enrolled_with_or_none() {
        let (_dir, home) = home();
        assert_eq!(found(&home, None, None), None);
        assert!(!home.client_folder().exists(), "looking leaves nothing behind");
        enrol(&home, 1, "10.0.0.1:7878");
        enrol(&home, 2, "10.0.0.2:7878");
        assert_eq!(found(&home, None, None), Some(("10.0.0.2:7878".into(), vec![(2, ExpectedBy::Enrolment)])));
        enrol(&home, 1, "10.0.0.1:7878");
        assert_eq!(found(&home, None, None), Some(("10.0.0.1:7878".into(), vec![(1, ExpectedBy::Enrolment)])));
        serve(&home, 9, "127.0.0.1:7878");
        assert_eq!(found(&home, None, None), Some(("127.0.0.1:7878".into(), vec![(9, ExpectedBy::Access)])));
    }

    #[test]
    fn at_a_named_address_whoever_was_found_there_is_expected_first() {
        let (_dir, home) = home();
        enrol(&home, 1, "10.0.0.1:7878");
        enrol(&home, 2, "10.0.0.2:7878");
        enrol(&home, 3, "10.0.0.3:7878");
        serve(&home, 9, "127.0.0.1:7878");
        let expected = vec![
            (2, ExpectedBy::Enrolment),
            (9, ExpectedBy::Acquaintance),
            (3, ExpectedBy::Acquaintance),
            (1, ExpectedBy::Acquaintance),
        ];
        assert_eq!(found(&home, Some("10.0.0.2"), None), Some(("10.0.0.2:7878".into(), expected)));
    }

    #[test]
    fn a_dispatcher_of_this_home_is_shown_its_secret_also_when_it_was_enrolled_with() {
        let (_dir, home) = home();
        enrol(&home, 9, "127.0.0.1:7878");
        serve(&home, 9, "127.0.0.1:7878");
        let target = find(&home, Some("127.0.0.1"), None).expect("found").expect("known");
        assert!(matches!(target.expected[..], [Expected { credential: Credential::Access(_), .. }]), "{target:?}");
    }

    #[test]
    fn a_token_names_its_dispatcher_and_needs_an_address_until_that_is_known() {
        let (_dir, home) = home();
        let error = find(&home, None, Some(&token(1))).expect_err("nobody knows where");
        assert!(matches!(error, ClientError::TokenWithoutAddress) && error.hint().is_some());
        enrol(&home, 2, "10.0.0.2:7878");
        serve(&home, 9, "127.0.0.1:7878");
        let named = found(&home, Some("10.0.0.1:7900"), Some(&token(1)));
        assert_eq!(named, Some(("10.0.0.1:7900".into(), vec![(1, ExpectedBy::Token)])));
        assert!(find(&home, None, Some(&token(1))).is_err(), "no other dispatcher will do");
        let known = found(&home, None, Some(&token(2)));
        assert_eq!(known, Some(("10.0.0.2:7878".into(), vec![(2, ExpectedBy::Token)])));
    }

    #[test]
    fn a_dispatcher_that_moved_is_remembered_where_it_is_now_and_others_stay_the_default() {
        let (_dir, home) = home();
        enrol(&home, 1, "10.0.0.1:7878");
        enrol(&home, 2, "10.0.0.2:7878");
        remember(&home, NodeId([1; 32]), at("10.0.0.7:7878"), false).expect("noted");
        assert_eq!(found(&home, None, None).expect("known").1, [(2, ExpectedBy::Enrolment)]);
        assert_eq!(found(&home, Some("10.0.0.7"), None).expect("known").1[0], (1, ExpectedBy::Enrolment));
        remember(&home, NodeId([5; 32]), at("10.0.0.5:7878"), false).expect("noted");
        assert_eq!(known(&home).expect("known").len(), 2, "who was only talked to is not enrolled with");
    }

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
