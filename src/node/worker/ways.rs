//! Whom a worker expects to be its dispatcher, and where it looks for it.
//!
//! The one invariant: a token names its dispatcher before a pin does, the
//! access file of this machine's user stands between them, and only a worker
//! that knows of none of them takes whoever answers, to be approved by code.
//! Absent: dialling (`dial`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::dial::DialError;
use super::options::DispatcherAddress;
use crate::discovery::{Hearing, Offer, Standing};
use crate::model::NodeId;
use crate::node::NodeError;
use crate::node::dispatcher::DISPATCHER_PORT;
use crate::trust::pins::{Pin, of_worker};
use crate::trust::token::TokenText;
use crate::trust::{AccessFile, TrustError, access};

/// Where a worker learns which key its dispatcher has.
#[derive(Clone)]
pub(super) enum AccessSource {
    /// The access file of its home, read anew at every try: a dispatcher may come later, or come back elsewhere.
    File(PathBuf),
    /// Told once by the dispatcher of the same process, which starts at the same time (an embedded cluster).
    Promised(watch::Receiver<Option<AccessFile>>),
}

/// What this worker knows of dispatchers.
#[derive(Clone)]
pub(super) struct Knowledge {
    pub(super) source: AccessSource,
    pub(super) address: DispatcherAddress,
    /// `--token`.
    pub(super) token: Option<TokenText>,
    /// Where its pin is; an embedded worker has none.
    pub(super) folder: Option<FolderPath>,
    /// Who is heard by beacon; an embedded worker hears nobody.
    pub(super) hearing: Option<Hearing>,
}

/// One dispatcher to expect.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// The one that left its access file for this user.
    Access(AccessFile),
    /// The one that made the token.
    Token(TokenText),
    /// The one that enrolled this worker earlier.
    Pinned(Pin),
    /// Whoever answers, or only this one: to be approved by code.
    Join(Option<Pin>),
    /// One that was heard by beacon, which is worth no more than an address: to be approved by code.
    Heard(Offer),
}

impl Knowledge {
    /// What to try, in order. `let_in` says that a dispatcher has let this process in before; then nobody
    /// unknown is asked any more.
    pub(super) async fn ways(&self, let_in: bool) -> Result<Vec<Way>, DialError> {
        let path = match &self.source {
            AccessSource::Promised(promise) => {
                return match promise.clone().wait_for(Option::is_some).await.map(|access| access.clone()) {
                    Ok(Some(access)) => Ok(vec![Way::Access(access)]),
                    Ok(None) | Err(_) => Err(DialError::Forsaken),
                };
            }
            AccessSource::File(path) => path,
        };
        if let Some(token) = &self.token {
            return Ok(vec![Way::Token(token.clone())]);
        }
        let mut ways = Vec::new();
        match access::read(path) {
            Ok(Some(access)) if self.asks_for(&access) => return Ok(vec![Way::Access(access)]),
            Ok(Some(access)) => ways.push(Way::Access(access)),
            Err(error) if self.is_local() => return Err(DialError::Trust(error)),
            Ok(None) | Err(_) => {}
        }
        match self.pin().map_err(DialError::Trust)? {
            Some(pin) => ways.push(Way::Pinned(pin)),
            None if !let_in => ways.push(Way::Join(None)),
            None => {}
        }
        if ways.is_empty() { Err(self.none_known()) } else { Ok(ways) }
    }

    /// That nothing here says who the dispatcher is, and nobody answers who might be.
    pub(super) fn none_known(&self) -> DialError {
        match &self.source {
            AccessSource::File(path) => DialError::NoneKnown { access_file: path.clone() },
            AccessSource::Promised(_) => DialError::Forsaken,
        }
    }

    /// Whether the access file is there now and is the better way to the dispatcher with this key.
    pub(super) fn access_leads_to(&self, dispatcher: NodeId) -> bool {
        let AccessSource::File(path) = &self.source else { return false };
        let access = if self.token.is_none() { access::read(path).ok().flatten() } else { None };
        access.is_some_and(|access| self.asks_for(&access) || access.dispatcher == dispatcher)
    }

    /// Whether the access file says something else than `earlier` by now.
    pub(super) fn access_differs_from(&self, earlier: &AccessFile) -> bool {
        let AccessSource::File(path) = &self.source else { return false };
        access::read(path).ok().flatten().is_some_and(|access| access != *earlier)
    }

    /// Whether what the user gave can mean nobody else than the dispatcher of this home.
    fn asks_for(&self, access: &AccessFile) -> bool {
        self.is_local() && self.address.port.is_none_or(|port| port == access.port)
    }

    /// Whether the dispatcher is looked for on this machine.
    fn is_local(&self) -> bool {
        self.address.host.as_deref().is_none_or(is_loopback)
    }

    /// The dispatcher that enrolled this worker.
    fn pin(&self) -> Result<Option<Pin>, TrustError> {
        match &self.folder {
            Some(folder) => of_worker::read(&folder.get()),
            None => Ok(None),
        }
    }

    /// Keeps `dispatcher` as the one that enrolled this worker, last met at `address`.
    pub(super) fn remember(&self, dispatcher: NodeId, address: SocketAddr) -> Result<(), TrustError> {
        let Some(folder) = self.folder.as_ref().map(FolderPath::get) else { return Ok(()) };
        let known = of_worker::read(&folder).ok().flatten().filter(|pin| pin.dispatcher == dispatcher);
        match known {
            Some(mut pin) => {
                if pin.reached_at(address) {
                    of_worker::write(&folder, &pin)
                } else {
                    Ok(())
                }
            }
            None => of_worker::write(&folder, &Pin::new(dispatcher, address)),
        }
    }

    /// Whether `dispatcher` has enrolled this worker for good.
    pub(super) fn is_enrolled_with(&self, dispatcher: NodeId) -> bool {
        self.pin().ok().flatten().is_some_and(|pin| pin.dispatcher == dispatcher)
    }

    /// Where the pin is, for people.
    pub(super) fn pin_file(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| of_worker::path(&folder.get()))
    }

    /// Where to try `way`, in order.
    ///
    /// What the user gave is kept to; what was left open comes from what is
    /// known of that dispatcher. A host without a port is tried at the
    /// default port first, then at those that the dispatcher was met at.
    pub(super) async fn candidates(&self, way: &Way) -> Result<Vec<SocketAddr>, DialError> {
        candidates(&self.address, &self.known_addresses(way)).await
    }

    /// Where the dispatcher of `way` may be as well: where it was heard, which may be news, and on this machine, for
    /// a home may be shared or moved. Nobody is believed because of it: whoever answers there has to have the key.
    pub(super) fn guesses(&self, way: &Way) -> Vec<SocketAddr> {
        let (dispatcher, known) = match way {
            Way::Access(access) => (access.dispatcher, access.addresses.first()),
            Way::Token(token) => (token.dispatcher, None),
            Way::Pinned(pin) | Way::Join(Some(pin)) => (pin.dispatcher, pin.addresses.first()),
            Way::Join(None) | Way::Heard(_) => return Vec::new(),
        };
        let heard = self.hearing.as_ref().map(|hearing| hearing.whereabouts(dispatcher));
        let port = self.address.port.or(known.map(SocketAddr::port)).unwrap_or(DISPATCHER_PORT);
        let here = self.address.host.is_none().then(|| (Ipv4Addr::LOCALHOST, port).into());
        heard.unwrap_or_default().into_iter().chain(here).collect()
    }

    /// Dispatchers that are heard, for a worker that knows of none and was told of none; nobody until those who
    /// are there have had time to answer.
    pub(super) fn offers(&self) -> Vec<Offer> {
        let Some(hearing) = self.hearing.as_ref().filter(|hearing| hearing.has_asked()) else { return Vec::new() };
        let mut offers = hearing.offers();
        for offer in &mut offers {
            offer.addresses.retain(|at| self.address.port.is_none_or(|port| port == at.port()));
        }
        offers.retain(|offer| !offer.addresses.is_empty());
        offers
    }

    /// The node stands there from now on, as far as beacons go.
    pub(super) fn stand(&self, standing: Standing) {
        if let Some(hearing) = &self.hearing {
            hearing.stand(standing);
        }
    }

    /// Where the dispatcher of `way` was announced or met.
    fn known_addresses(&self, way: &Way) -> Vec<SocketAddr> {
        let met = |dispatcher| {
            let pin = self.pin().ok().flatten().filter(|pin| pin.dispatcher == dispatcher);
            pin.map(|pin| pin.addresses).unwrap_or_default()
        };
        let known = match way {
            Way::Heard(offer) => offer.addresses.clone(),
            Way::Access(access) => [access.addresses.clone(), met(access.dispatcher)].concat(),
            Way::Pinned(pin) | Way::Join(Some(pin)) => pin.addresses.clone(),
            Way::Token(token) => met(token.dispatcher),
            Way::Join(None) => Vec::new(),
        };
        if known.is_empty() { vec![(Ipv4Addr::LOCALHOST, DISPATCHER_PORT).into()] } else { known }
    }
}

/// Where the worker's folder is: a dispatcher that gives the worker its name renames it.
#[derive(Clone)]
pub(super) struct FolderPath(Arc<Mutex<PathBuf>>);

impl FolderPath {
    pub(super) fn new(path: &Path) -> Self {
        Self(Arc::new(Mutex::new(path.to_owned())))
    }

    pub(super) fn get(&self) -> PathBuf {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, path: &Path) {
        path.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Fails when `--dispatcher` names a host that cannot be resolved: most likely it is misspelt,
/// and a worker that waits for it would wait for ever.
pub(super) async fn check_host(address: &DispatcherAddress) -> Result<(), NodeError> {
    match &address.host {
        None => Ok(()),
        Some(host) => match resolve(host, 1).await {
            Ok(_) => Ok(()),
            Err(source) => Err(NodeError::UnknownHost { host: host.clone(), source }),
        },
    }
}

async fn candidates(address: &DispatcherAddress, known: &[SocketAddr]) -> Result<Vec<SocketAddr>, DialError> {
    let mut candidates: Vec<SocketAddr> = match &address.host {
        None => known.iter().map(|at| with_port(*at, address.port)).collect(),
        Some(host) => {
            let ports = match address.port {
                Some(port) => vec![port],
                None => std::iter::once(DISPATCHER_PORT).chain(known.iter().map(SocketAddr::port)).collect(),
            };
            let resolved = resolve(host, ports[0]).await;
            let resolved = resolved.map_err(|source| DialError::UnknownHost { host: host.clone(), source })?;
            ports.iter().flat_map(|port| resolved.iter().map(|at| with_port(*at, Some(*port)))).collect()
        }
    };
    let mut seen = Vec::new();
    candidates.retain(|at| {
        let new = !seen.contains(at);
        seen.push(*at);
        new
    });
    Ok(candidates)
}

/// The addresses of `host`, IPv4 first: a dispatcher listens on IPv4 unless told otherwise.
async fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

fn with_port(mut address: SocketAddr, port: Option<u16>) -> SocketAddr {
    address.set_port(port.unwrap_or(address.port()));
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tried(host: Option<&str>, port: Option<u16>) -> Vec<String> {
        let address = DispatcherAddress { host: host.map(str::to_owned), port };
        let known = ["127.0.0.1:8080".parse().expect("an address"), "[::1]:8080".parse().expect("an address")];
        let candidates = candidates(&address, &known).await.expect("candidates");
        candidates.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn without_options_what_is_known_says_where_to_look() {
        assert_eq!(tried(None, None).await, ["127.0.0.1:8080", "[::1]:8080"]);
    }

    #[tokio::test]
    async fn a_given_port_replaces_the_known_one() {
        assert_eq!(tried(None, Some(9)).await, ["127.0.0.1:9", "[::1]:9"]);
    }

    #[tokio::test]
    async fn a_given_host_is_tried_at_the_usual_port_and_then_at_the_dispatchers_own() {
        assert_eq!(tried(Some("10.0.0.1"), None).await, ["10.0.0.1:7878", "10.0.0.1:8080"]);
        assert_eq!(tried(Some("[::1]"), Some(9)).await, ["[::1]:9"]);
    }

    #[tokio::test]
    async fn an_unknown_host_is_named_at_the_start() {
        let address = DispatcherAddress { host: Some("no-such-host.invalid".to_owned()), port: None };
        let error = check_host(&address).await.expect_err("nobody has this name");
        assert!(matches!(error, NodeError::UnknownHost { host, .. } if host == "no-such-host.invalid"));
    }

    /// What a worker tries, given the files of a home that it has.
    async fn ways(host: Option<&str>, has_access: bool, has_pin: bool, has_token: bool, let_in: bool) -> Vec<String> {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("access.cbor");
        if has_access {
            let access = AccessFile::new(NodeId([1; 32]), "127.0.0.1:8080".parse().expect("an address"));
            access::write(&path, &access.expect("a secret")).expect("written");
        }
        let knowledge = Knowledge {
            source: AccessSource::File(path),
            address: DispatcherAddress { host: host.map(str::to_owned), port: None },
            token: has_token.then(|| TokenText::with_secret(NodeId([3; 32]), [4; 16])),
            folder: Some(FolderPath::new(home.path())),
            hearing: None,
        };
        if has_pin {
            knowledge.remember(NodeId([2; 32]), "10.0.0.1:7878".parse().expect("an address")).expect("written");
        }
        let ways = match knowledge.ways(let_in).await {
            Ok(ways) => ways,
            Err(DialError::NoneKnown { .. }) => Vec::new(),
            Err(other) => panic!("{other:?}"),
        };
        let word = |way: &Way| match way {
            Way::Access(_) => "access",
            Way::Token(_) => "token",
            Way::Pinned(_) => "pin",
            Way::Join(_) | Way::Heard(_) => "join",
        };
        ways.iter().map(|way| word(way).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_token_comes_before_everything_and_whoever_answers_comes_last() {
        assert_eq!(ways(None, true, true, true, false).await, ["token"]);
        assert_eq!(ways(None, true, true, false, false).await, ["access"]);
        assert_eq!(ways(Some("127.0.0.1"), true, true, false, false).await, ["access"]);
        assert_eq!(ways(None, false, true, false, false).await, ["pin"]);
        assert_eq!(ways(None, false, false, false, false).await, ["join"]);
    }

    #[tokio::test]
    async fn at_another_host_this_users_own_dispatcher_is_only_one_of_several_it_may_be() {
        assert_eq!(ways(Some("10.0.0.1"), true, true, false, false).await, ["access", "pin"]);
        assert_eq!(ways(Some("10.0.0.1"), true, false, false, false).await, ["access", "join"]);
    }

    #[tokio::test]
    async fn who_was_let_in_once_asks_no_stranger_afterwards() {
        assert_eq!(ways(None, false, false, false, true).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_dispatcher_of_a_shared_home_is_looked_for_wherever_it_was_announced_or_met() {
        let home = tempfile::tempdir().expect("a folder");
        let knowledge = Knowledge {
            source: AccessSource::File(home.path().join("access.cbor")),
            address: DispatcherAddress::default(),
            token: None,
            folder: Some(FolderPath::new(home.path())),
            hearing: None,
        };
        knowledge.remember(NodeId([1; 32]), "10.0.0.9:7878".parse().expect("an address")).expect("written");
        let access = AccessFile::new(NodeId([1; 32]), "0.0.0.0:8080".parse().expect("an address")).expect("a secret");
        let way = Way::Access(access.announced_at(&["10.0.0.1".parse().expect("an address")], None));
        let known: Vec<String> =
            knowledge.candidates(&way).await.expect("candidates").iter().map(ToString::to_string).collect();
        assert_eq!(known, ["127.0.0.1:8080", "10.0.0.1:8080", "10.0.0.9:7878"]);
        let pinned = Way::Pinned(Pin::new(NodeId([1; 32]), "10.0.0.9:7900".parse().expect("an address")));
        assert_eq!(knowledge.guesses(&pinned), ["127.0.0.1:7900".parse().expect("an address")]);
        let named =
            Knowledge { address: DispatcherAddress { host: Some("10.0.0.7".to_owned()), port: None }, ..knowledge };
        assert_eq!(named.guesses(&pinned), [], "what the user gave is kept to");
    }
}
