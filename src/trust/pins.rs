//! Which dispatchers this node was enrolled with: whose key to expect, and where it was found last.
//!
//! A worker has at most one ([`of_worker`]); clients of one user share a list
//! ([`of_client`]). Invariant: a pin is written only once that dispatcher has
//! shown that it belongs (it knew the code, or it made the token), because from
//! then on whoever has its key may run commands here. Nothing in it is secret;
//! it is private so that nobody else can change it. Absent: dialling.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{NodeDir, TrustError, cbor, locks, private};
use crate::model::NodeId;

/// A worker's file, in its folder.
const WORKER_FILE: &str = "dispatcher.cbor";
/// The clients' file, in their folder, and what is locked while it is changed.
const CLIENT_FILE: &str = "dispatchers.cbor";
const CLIENT_LOCK: &str = "dispatchers.lock";
/// The version this build writes and the only one it reads.
const VERSION: u16 = 1;
/// Longest file worth reading: 16 dispatchers with 16 addresses take about 6 KiB.
const FILE_CAP: u64 = 32 * 1024;
/// Addresses kept of one dispatcher; the ones that worked longest ago go.
pub const MAX_ADDRESSES: usize = 16;
/// Dispatchers that clients remember; the ones enrolled with longest ago go.
pub const MAX_DISPATCHERS: usize = 16;

/// One known dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its key.
    pub dispatcher: NodeId,
    /// Where it was reached, the last one first.
    pub addresses: Vec<SocketAddr>,
}

impl Pin {
    /// A dispatcher that was reached at `address`.
    #[must_use]
    pub fn new(dispatcher: NodeId, address: SocketAddr) -> Self {
        Self { dispatcher, addresses: vec![address] }
    }

    /// Takes note that it was reached at `address`; says whether that is news worth writing.
    pub fn reached_at(&mut self, address: SocketAddr) -> bool {
        if self.addresses.first() == Some(&address) {
            return false;
        }
        self.addresses.retain(|known| *known != address);
        self.addresses.insert(0, address);
        self.addresses.truncate(MAX_ADDRESSES);
        true
    }
}

/// The pin of a worker.
pub mod of_worker {
    use super::{FILE_CAP, Path, PathBuf, Pin, TrustError, WORKER_FILE, bad, decode, encode, private};

    /// Where it is, for hints.
    #[must_use]
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(WORKER_FILE)
    }

    /// The dispatcher that the worker in `folder` was enrolled with; `None` when with none.
    ///
    /// # Errors
    /// When the file cannot be read, is open to others, or makes no sense.
    pub fn read(folder: &Path) -> Result<Option<Pin>, TrustError> {
        let path = path(folder);
        let Some(bytes) = private::read(&path, FILE_CAP)? else { return Ok(None) };
        match decode(&bytes).map(<[Pin; 1]>::try_from) {
            Ok(Ok([pin])) => Ok(Some(pin)),
            Ok(Err(_)) => Err(TrustError::DamagedPins { path }),
            Err(error) => Err(bad(error, path)),
        }
    }

    /// Makes `pin` the dispatcher of the worker in `folder`, durably.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(folder: &Path, pin: &Pin) -> Result<(), TrustError> {
        private::replace(&path(folder), &encode(std::slice::from_ref(pin)))
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the system refuses; that there is none is no error.
    pub fn forget(folder: &Path) -> Result<(), TrustError> {
        private::remove(&path(folder))
    }
}

/// The pins that all clients of a user share.
pub mod of_client {
    use super::{
        CLIENT_FILE, CLIENT_LOCK, FILE_CAP, MAX_DISPATCHERS, NodeDir, NodeId, Path, PathBuf, Pin, SocketAddr,
        TrustError, bad, decode, encode, locks, private,
    };

    /// Where they are, for hints.
    #[must_use]
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(CLIENT_FILE)
    }

    /// The dispatchers that clients enrolled with, the latest last; empty when with none.
    ///
    /// # Errors
    /// When the file cannot be read, is open to others, or makes no sense.
    pub fn read(folder: &Path) -> Result<Vec<Pin>, TrustError> {
        let path = path(folder);
        let Some(bytes) = private::read(&path, FILE_CAP)? else { return Ok(Vec::new()) };
        decode(&bytes).map_err(|error| bad(error, path))
    }

    /// Adds `pin` as the latest, or puts it in the place of an older one of the same dispatcher.
    ///
    /// # Errors
    /// As for [`read`], or when the system refuses to write.
    pub fn remember(dir: &NodeDir, pin: Pin) -> Result<(), TrustError> {
        change(dir, |pins| {
            pins.retain(|known| known.dispatcher != pin.dispatcher);
            pins.push(pin);
            let surplus = pins.len().saturating_sub(MAX_DISPATCHERS);
            pins.drain(..surplus);
        })
    }

    /// Takes note that a known `dispatcher` was reached at `address`, which leaves the order as it is.
    ///
    /// # Errors
    /// As for [`remember`].
    pub fn reached_at(dir: &NodeDir, dispatcher: NodeId, address: SocketAddr) -> Result<(), TrustError> {
        change(dir, |pins| {
            if let Some(known) = pins.iter_mut().find(|known| known.dispatcher == dispatcher) {
                known.reached_at(address);
            }
        })
    }

    /// Removes the pin of `dispatcher`, if there is one.
    ///
    /// # Errors
    /// As for [`remember`].
    pub fn forget(dir: &NodeDir, dispatcher: NodeId) -> Result<(), TrustError> {
        change(dir, |pins| pins.retain(|known| known.dispatcher != dispatcher))
    }

    /// Changes the list; clients that do so at once do it one after the other.
    fn change(dir: &NodeDir, act: impl FnOnce(&mut Vec<Pin>)) -> Result<(), TrustError> {
        let lock_path = dir.path().join(CLIENT_LOCK);
        let lock = private::open_lock(&lock_path)?;
        locks::take(&lock, &lock_path)?;
        let mut pins = read(dir.path())?;
        let before = pins.clone();
        act(&mut pins);
        if pins == before { Ok(()) } else { private::replace(&path(dir.path()), &encode(&pins)) }
    }
}

/// Why bytes are no file of pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinsError {
    /// Another build's version.
    OtherVersion(u16),
    /// Anything else.
    Damaged,
}

/// The file as it is on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u16,
    dispatchers: Vec<Pin>,
}

/// What every version of the file has.
#[derive(Deserialize)]
struct AnyVersion {
    version: u16,
}

fn encode(pins: &[Pin]) -> Vec<u8> {
    cbor::encode(&Stored { version: VERSION, dispatchers: pins.to_vec() })
}

/// The pins in a file's `bytes`.
///
/// # Errors
/// When they are no such file, whole and within its bounds.
pub fn decode(bytes: &[u8]) -> Result<Vec<Pin>, PinsError> {
    let AnyVersion { version } = cbor::decode(bytes).ok_or(PinsError::Damaged)?;
    if version != VERSION {
        return Err(PinsError::OtherVersion(version));
    }
    let Stored { dispatchers, .. } = cbor::decode(bytes).ok_or(PinsError::Damaged)?;
    let addressed = |pin: &Pin| (1..=MAX_ADDRESSES).contains(&pin.addresses.len());
    let sound = dispatchers.len() <= MAX_DISPATCHERS && dispatchers.iter().all(addressed);
    if sound { Ok(dispatchers) } else { Err(PinsError::Damaged) }
}

fn bad(error: PinsError, path: PathBuf) -> TrustError {
    match error {
        PinsError::OtherVersion(version) => TrustError::OtherPinsVersion { path, version },
        PinsError::Damaged => TrustError::DamagedPins { path },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trust::Home;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(dir.path().join("home"))).unwrap();
        (dir, home)
    }

    fn pin(key: u8) -> Pin {
        Pin::new(NodeId([key; 32]), "192.168.1.10:7878".parse().unwrap())
    }

    #[test]
    fn a_worker_knows_no_dispatcher_or_the_one_it_was_enrolled_with() {
        let (_dir, home) = home();
        let dir = home.worker(&"worker-b".parse().unwrap()).unwrap();
        assert_eq!(of_worker::read(dir.path()).unwrap(), None);
        of_worker::write(dir.path(), &pin(1)).unwrap();
        of_worker::write(dir.path(), &pin(2)).unwrap();
        assert_eq!(of_worker::read(dir.path()).unwrap(), Some(pin(2)));
        of_worker::forget(dir.path()).unwrap();
        of_worker::forget(dir.path()).unwrap();
        assert_eq!(of_worker::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn clients_remember_the_latest_dispatchers_each_once() {
        let (_dir, home) = home();
        let dir = home.client().unwrap();
        assert!(of_client::read(dir.path()).unwrap().is_empty());
        for key in (0..20).chain([5]) {
            of_client::remember(&dir, pin(key)).unwrap();
        }
        let known = of_client::read(dir.path()).unwrap();
        assert_eq!(known.len(), MAX_DISPATCHERS);
        assert_eq!((known.first(), known.last()), (Some(&pin(4)), Some(&pin(5))));
        of_client::forget(&dir, NodeId([5; 32])).unwrap();
        assert_eq!(of_client::read(dir.path()).unwrap().last(), Some(&pin(19)));
    }

    #[test]
    fn clients_that_enrol_at_once_are_all_remembered() {
        let (_dir, home) = home();
        let threads: Vec<_> = (0..8)
            .map(|key| {
                let home = home.clone();
                std::thread::spawn(move || of_client::remember(&home.client().unwrap(), pin(key)).unwrap())
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(of_client::read(home.client().unwrap().path()).unwrap().len(), 8);
    }

    #[test]
    fn where_it_was_reached_last_comes_first_and_the_oldest_goes() {
        let mut known = pin(1);
        assert!(!known.reached_at(known.addresses[0]), "no news");
        for port in 1..=20 {
            assert!(known.reached_at(SocketAddr::from(([127, 0, 0, 1], port))));
        }
        assert_eq!(known.addresses.len(), MAX_ADDRESSES);
        assert!(known.reached_at(SocketAddr::from(([127, 0, 0, 1], 10))));
        assert_eq!((known.addresses[0].port(), known.addresses[1].port(), known.addresses.len()), (10, 20, 16));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it_and_what_to_do() {
        let (_dir, home) = home();
        let dir = home.worker(&"worker-b".parse().unwrap()).unwrap();
        let path = of_worker::path(dir.path());
        private::replace(&path, &[encode(&[pin(1)]), vec![0]].concat()).unwrap();
        let error = of_worker::read(dir.path()).unwrap_err();
        assert!(matches!(&error, TrustError::DamagedPins { path: at } if *at == path), "{error}");
        assert!(error.hint().unwrap().contains(&path.display().to_string()));
        for count in [0, 2] {
            private::replace(&path, &encode(&vec![pin(1); count])).unwrap();
            assert!(matches!(of_worker::read(dir.path()), Err(TrustError::DamagedPins { .. })));
        }
        let newer = cbor::encode(&Stored { version: 2, dispatchers: Vec::new() });
        private::replace(&path, &newer).unwrap();
        assert!(matches!(of_worker::read(dir.path()), Err(TrustError::OtherPinsVersion { version: 2, .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_could_have_changed_is_not_believed() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, home) = home();
        let dir = home.client().unwrap();
        of_client::remember(&dir, pin(1)).unwrap();
        std::fs::set_permissions(of_client::path(dir.path()), std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(of_client::read(dir.path()), Err(TrustError::LoosePermissions { .. })));
    }

    proptest! {
        #[test]
        fn every_list_of_pins_survives_its_encoding(
            keys in proptest::collection::vec(any::<[u8; 32]>(), 0..=MAX_DISPATCHERS),
            ports in proptest::collection::vec(any::<u16>(), 1..=MAX_ADDRESSES), ip in any::<std::net::IpAddr>(),
        ) {
            let addresses: Vec<_> = ports.into_iter().map(|port| SocketAddr::new(ip, port)).collect();
            let pins: Vec<_> =
                keys.into_iter().map(|key| Pin { dispatcher: NodeId(key), addresses: addresses.clone() }).collect();
            let bytes = encode(&pins);
            prop_assert!((bytes.len() as u64) < FILE_CAP);
            prop_assert_eq!(decode(&bytes), Ok(pins));
        }

        #[test]
        fn no_bytes_break_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_file_is_refused_or_read_whole(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
            let mut bytes = encode(&[pin(1), pin(2)]);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = decode(&bytes);
        }
    }
}
