//! The access file: how clients and workers of the same user find their
//! dispatcher and convince it, on its machine and on every other one that shares
//! the home.
//!
//! Invariant: it is written by the dispatcher alone and readable by its user
//! alone, so whoever knows the secret is that user. Being on the same machine
//! proves nothing by itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{TrustError, boot, cbor, private};
use crate::model::handshake::{Credential, Hello, Intent};
use crate::model::{NodeId, Role};

/// The version this build writes and the only one it reads; the file is rewritten at every start.
const VERSION: u16 = 1;
/// Longest access file worth reading.
const FILE_CAP: u64 = 4096;
/// Addresses that a client tries at most.
const MAX_ADDRESSES: usize = 16;

/// What the dispatcher writes for nodes of its own user (0600).
#[derive(Clone, PartialEq, Eq)]
pub struct AccessFile {
    /// Whom to expect there.
    pub dispatcher: NodeId,
    /// The port it listens on.
    pub port: u16,
    /// Where to try, in order: on its own machine first, then as other machines reach it.
    pub addresses: Vec<SocketAddr>,
    /// Which boot of which machine it runs on; `None` where that has no name.
    pub machine: Option<String>,
    /// What to present as `Credential::Access`.
    pub secret: [u8; 32],
}

impl AccessFile {
    /// For a dispatcher that listens at `bound`, with a fresh secret.
    ///
    /// # Errors
    /// When the system gives no random bits.
    pub fn new(dispatcher: NodeId, bound: SocketAddr) -> Result<Self, TrustError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(TrustError::Random)?;
        let hosts: &[IpAddr] = match bound.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            one => &[one],
        };
        let addresses = hosts.iter().map(|host| SocketAddr::new(*host, bound.port())).collect();
        Ok(Self { dispatcher, port: bound.port(), addresses, machine: None, secret })
    }

    /// With the addresses at which other machines reach it, and the machine that it runs on: a home may be shared.
    #[must_use]
    pub fn announced_at(mut self, hosts: &[IpAddr], machine: Option<String>) -> Self {
        self.addresses.extend(hosts.iter().map(|host| SocketAddr::new(*host, self.port)));
        let mut seen = std::collections::BTreeSet::new();
        self.addresses.retain(|address| seen.insert(*address));
        self.addresses.truncate(MAX_ADDRESSES);
        self.machine = machine;
        self
    }

    /// Whether the dispatcher runs on another machine than this one, or did so before this machine was started.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.machine.is_some() && self.machine != boot::id()
    }

    /// Whether `presented` is the secret; takes the same time for any wrong one.
    #[must_use]
    pub fn verify(&self, presented: &[u8; 32]) -> bool {
        blake3::Hash::from(self.secret) == blake3::Hash::from(*presented)
    }

    /// The role that a hello with this file's secret is worth: the dispatcher's own user may do
    /// everything, and its workers may join. `None` for every other hello.
    #[must_use]
    pub fn vouches_for(&self, hello: &Hello) -> Option<Role> {
        match &hello.credential {
            Credential::Access(secret) if self.verify(secret) => match hello.intent {
                Intent::Client => Some(Role::Admin),
                Intent::Worker(_) => Some(Role::Worker),
                Intent::Guard | Intent::Join { .. } | Intent::Peer => None,
            },
            Credential::Access(_) | Credential::Token(_) | Credential::None => None,
        }
    }
}

/// Where and who only: secrets are never printed.
impl fmt::Debug for AccessFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dispatcher, addresses, .. } = self;
        f.debug_struct("AccessFile")
            .field("dispatcher", dispatcher)
            .field("addresses", addresses)
            .finish_non_exhaustive()
    }
}

/// Writes `file` to `path` in one step, readable by this user only.
///
/// # Errors
/// When the system refuses.
pub fn write(path: &Path, file: &AccessFile) -> Result<(), TrustError> {
    private::replace(path, &encode(file))
}

/// Reads the access file at `path`; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is open to others, or makes no sense.
pub fn read(path: &Path) -> Result<Option<AccessFile>, TrustError> {
    let Some(bytes) = private::read(path, FILE_CAP)? else { return Ok(None) };
    decode(&bytes).map(Some).ok_or_else(|| TrustError::BadAccessFile { path: path.to_owned() })
}

/// Removes the access file, as a dispatcher does when it stops.
///
/// # Errors
/// When the system refuses; that there is none is no error.
pub fn remove(path: &Path) -> Result<(), TrustError> {
    private::remove(path)
}

/// The file as it is on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u16,
    dispatcher: NodeId,
    port: u16,
    addresses: Vec<SocketAddr>,
    #[serde(default)]
    machine: Option<String>,
    #[serde(with = "serde_bytes")]
    secret: [u8; 32],
}

fn encode(file: &AccessFile) -> Vec<u8> {
    let AccessFile { dispatcher, port, addresses, machine, secret } = file.clone();
    cbor::encode(&Stored { version: VERSION, dispatcher, port, addresses, machine, secret })
}

fn decode(bytes: &[u8]) -> Option<AccessFile> {
    let Stored { version, dispatcher, port, addresses, machine, secret } = cbor::decode(bytes)?;
    let sound = version == VERSION && port != 0 && (1..=MAX_ADDRESSES).contains(&addresses.len());
    sound.then_some(AccessFile { dispatcher, port, addresses, machine, secret })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::InstanceId;

    fn sample() -> AccessFile {
        AccessFile::new(NodeId([7; 32]), "0.0.0.0:7878".parse().unwrap()).unwrap()
    }

    fn hello(intent: Intent, credential: Credential) -> Hello {
        let software = "1.0.0".to_owned();
        Hello { protocol_oldest: 1, protocol_newest: 1, software, instance: InstanceId(1), intent, credential }
    }

    #[test]
    fn an_access_file_comes_back_as_it_was_written_and_goes_when_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.cbor");
        assert_eq!(read(&path).unwrap(), None);
        let file = sample();
        write(&path, &file).unwrap();
        assert_eq!(read(&path).unwrap(), Some(file));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn its_addresses_can_be_dialled_from_the_same_machine() {
        let at = |bound: &str| AccessFile::new(NodeId([7; 32]), bound.parse().unwrap()).unwrap().addresses;
        assert_eq!(at("0.0.0.0:7878"), ["127.0.0.1:7878".parse().unwrap()]);
        assert_eq!(at("[::]:1"), ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()]);
        assert_eq!(at("192.168.1.10:7878"), ["192.168.1.10:7878".parse().unwrap()]);
    }

    #[test]
    fn another_machine_that_shares_the_home_learns_where_to_dial() {
        let hosts: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let file = sample().announced_at(&hosts, Some("another boot".to_owned()));
        assert_eq!(file.addresses, ["127.0.0.1:7878".parse().unwrap(), "10.0.0.1:7878".parse().unwrap()]);
        assert!(file.is_elsewhere());
        assert!(!sample().announced_at(&hosts, boot::id()).is_elsewhere());
        assert!(!sample().is_elsewhere(), "where no machine is named it is this one");
        let many: Vec<IpAddr> = (0..99).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let crowded = sample().announced_at(&many, None);
        assert_eq!(decode(&encode(&crowded)), Some(crowded));
    }

    #[test]
    fn only_the_right_secret_vouches_and_only_for_what_was_asked() {
        let file = sample();
        let right = || Credential::Access(file.secret);
        let mut wrong = file.secret;
        wrong[31] ^= 1;
        assert_eq!(file.vouches_for(&hello(Intent::Client, right())), Some(Role::Admin));
        assert_eq!(file.vouches_for(&hello(Intent::Guard, right())), None);
        assert_eq!(file.vouches_for(&hello(Intent::Client, Credential::Access(wrong))), None);
        assert_eq!(file.vouches_for(&hello(Intent::Client, Credential::None)), None);
    }

    #[test]
    fn a_file_from_another_version_or_with_a_tail_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.cbor");
        let mut tailed = encode(&sample());
        tailed.push(0);
        private::replace(&path, &tailed).unwrap();
        assert!(matches!(read(&path), Err(TrustError::BadAccessFile { .. })));
    }

    #[test]
    fn the_secret_is_not_printed() {
        let file = AccessFile { secret: [211; 32], ..sample() };
        assert!(!format!("{file:?}").contains("211"));
    }

    proptest! {
        #[test]
        fn every_access_file_survives_its_encoding(
            key in any::<[u8; 32]>(), secret in any::<[u8; 32]>(), port in 1u16..,
            addresses in proptest::collection::vec(any::<SocketAddr>().prop_map(plain), 1..=MAX_ADDRESSES),
            machine in any::<Option<String>>(),
        ) {
            let file = AccessFile { dispatcher: NodeId(key), port, addresses, machine, secret };
            prop_assert_eq!(decode(&encode(&file)), Some(file));
        }

        #[test]
        fn no_bytes_break_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_file_is_refused_or_read_whole(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
            let mut bytes = encode(&sample());
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = decode(&bytes);
        }
    }

    /// Without scope and flow label of IPv6, which an address file does not carry.
    fn plain(address: SocketAddr) -> SocketAddr {
        SocketAddr::new(address.ip(), address.port())
    }
}
