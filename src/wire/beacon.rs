//! A beacon as one datagram: the magic, then CBOR `[payload, key, signature]`.
//!
//! Invariant: a datagram that is longer than [`MAX_BEACON_BYTES`], holds more
//! than one value, or says more than its bounds allow is an error, and decoding
//! costs no more than a copy of it. Absent: whether the signature holds
//! (`discovery/`), and what a neighbour is good for.

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteArray, ByteBuf, Bytes};

use super::WireError;
use crate::model::{MilliCpu, NodeId, NodeName, Role, Timestamp};

/// What every beacon begins with. Another format has another one.
pub const MAGIC: [u8; 4] = *b"OKB1";
/// Longest datagram: what every path carries in one piece, as QUIC's first packets are (RFC 9000 §14).
pub const MAX_BEACON_BYTES: usize = 1200;
/// Longest payload: the envelope around it takes 4 + 1 + 3 + 34 + 66 bytes.
pub const MAX_PAYLOAD_BYTES: usize = MAX_BEACON_BYTES - 108;
/// The version of the payload that this build writes. Later ones may have more fields, and no fewer.
pub const BEACON_VERSION: u16 = 1;
/// Addresses in one beacon: those of the one interface that it leaves by.
pub const MAX_BEACON_ADDRESSES: usize = 8;
/// Longest software version.
pub const MAX_SOFTWARE_BYTES: usize = 32;

/// Nesting of a payload (a map, a list, its entries), and a little more.
const DEPTH: usize = 8;

/// What a node says of itself to whoever listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// Of this payload; see [`BEACON_VERSION`].
    pub version: u16,
    /// Why it was sent.
    pub kind: BeaconKind,
    /// What the node is.
    pub role: Role,
    /// What it is called; a worker that has not joined yet may have no name.
    pub name: Option<NodeName>,
    /// The key of the dispatcher that it belongs to; of a dispatcher, its own.
    pub cluster: Option<NodeId>,
    /// When it started. A later start comes after every beacon of an earlier one.
    pub boot: Timestamp,
    /// Counts up within one start. What leaves by several interfaces at once has one number.
    pub sequence: u64,
    /// Where it listens for links; 0 when it does not.
    pub port: u16,
    /// Its addresses on the network that this was sent to, as far as it listens there.
    #[serde(deserialize_with = "few_addresses")]
    pub addresses: Vec<BeaconAddress>,
    /// Processors.
    pub cpu: MilliCpu,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// GPUs.
    pub gpus: u32,
    /// Software version (`1.0.0`).
    pub software: String,
}

/// Why a beacon was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BeaconKind {
    /// The node is there.
    Alive,
    /// It is going.
    Bye,
    /// It is there, and would like to hear soon who else is.
    Query,
}

/// An address without a port: 4 bytes of IPv4 or 16 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BeaconAddress {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl Beacon {
    /// Whether everything is in order that the types cannot say.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.version >= BEACON_VERSION
            && self.addresses.len() <= MAX_BEACON_ADDRESSES
            && self.software.len() <= MAX_SOFTWARE_BYTES
            && self.software.bytes().all(|byte| byte.is_ascii_graphic())
            && (self.role != Role::Dispatcher || self.cluster.is_some())
    }
}

/// A beacon with the key that is said to have signed it; nothing of it is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBeacon {
    /// The very bytes that were signed.
    pub payload: Vec<u8>,
    /// Whose they are said to be.
    pub key: NodeId,
    /// That key's signature.
    pub signature: [u8; 64],
}

impl SealedBeacon {
    /// The datagram.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when it is longer than a beacon may be.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut datagram = MAGIC.to_vec();
        let parts = (Bytes::new(&self.payload), self.key, Bytes::new(&self.signature));
        ciborium::into_writer(&parts, &mut datagram).map_err(|error| WireError::Unwritable(error.to_string()))?;
        within_bounds(datagram.len())?;
        Ok(datagram)
    }

    /// The envelope in `datagram`.
    ///
    /// # Errors
    /// When it is no beacon, or longer than one may be.
    pub fn decode(datagram: &[u8]) -> Result<Self, WireError> {
        within_bounds(datagram.len())?;
        let bytes = datagram.strip_prefix(&MAGIC).ok_or(WireError::NoBeacon)?;
        let (payload, key, signature): (ByteBuf, NodeId, ByteArray<64>) = whole(bytes)?;
        Ok(Self { payload: payload.into_vec(), key, signature: signature.into_array() })
    }

    /// What it says, whoever wrote it.
    ///
    /// # Errors
    /// When the payload is none, or out of bounds.
    pub fn content(&self) -> Result<Beacon, WireError> {
        let beacon: Beacon = whole(&self.payload)?;
        let belongs = beacon.role != Role::Dispatcher || beacon.cluster == Some(self.key);
        if beacon.is_sound() && belongs { Ok(beacon) } else { Err(WireError::NoBeacon) }
    }
}

fn within_bounds(length: usize) -> Result<(), WireError> {
    let cap = MAX_BEACON_BYTES as u32;
    if length > MAX_BEACON_BYTES { Err(WireError::TooLong { length: length as u64, cap }) } else { Ok(()) }
}

/// The one value in `bytes`.
fn whole<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, WireError> {
    let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, DEPTH).map_err(|error| match error {
        ciborium::de::Error::Io(_) => WireError::Truncated,
        other => WireError::Malformed(other.to_string()),
    })?;
    if bytes.is_empty() { Ok(value) } else { Err(WireError::Trailing(bytes.len())) }
}

impl Serialize for BeaconAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::V4(bytes) => serializer.serialize_bytes(bytes),
            Self::V6(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for BeaconAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        match bytes.len() {
            4 => Ok(Self::V4(bytes.first_chunk().copied().unwrap_or_default())),
            16 => Ok(Self::V6(bytes.first_chunk().copied().unwrap_or_default())),
            length => Err(D::Error::custom(format_args!("an address of {length} bytes"))),
        }
    }
}

/// A list that is refused as soon as it is too long.
fn few_addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<BeaconAddress>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<BeaconAddress>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_BEACON_ADDRESSES} addresses")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut addresses = Vec::new();
            while let Some(address) = list.next_element()? {
                if addresses.len() == MAX_BEACON_ADDRESSES {
                    return Err(A::Error::custom(format_args!("more than {MAX_BEACON_ADDRESSES} addresses")));
                }
                addresses.push(address);
            }
            Ok(addresses)
        }
    }
    deserializer.deserialize_seq(Few)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beacon() -> Beacon {
        Beacon {
            version: BEACON_VERSION,
            kind: BeaconKind::Alive,
            role: Role::Worker,
            name: Some("worker-02".parse().expect("a name")),
            cluster: Some(NodeId([7; 32])),
            boot: Timestamp(1),
            sequence: 2,
            port: 7879,
            addresses: vec![BeaconAddress::V4([10, 0, 0, 1]), BeaconAddress::V6([0xfe; 16])],
            cpu: MilliCpu(8000),
            memory_mb: 16_384,
            gpus: 1,
            software: "1.0.0".to_owned(),
        }
    }

    fn sealed(beacon: &Beacon) -> SealedBeacon {
        let mut payload = Vec::new();
        ciborium::into_writer(beacon, &mut payload).expect("encodes");
        SealedBeacon { payload, key: NodeId([1; 32]), signature: [2; 64] }
    }

    #[test]
    fn a_beacon_reads_back_as_it_was_written() {
        let sealed = sealed(&beacon());
        let datagram = sealed.encode().expect("fits");
        assert_eq!(SealedBeacon::decode(&datagram), Ok(sealed.clone()));
        assert_eq!(sealed.content(), Ok(beacon()));
    }

    #[test]
    fn the_longest_beacon_that_a_node_says_fits_into_its_datagram() {
        let longest = Beacon {
            name: Some("n".repeat(63).parse().expect("a name")),
            boot: Timestamp(u64::MAX),
            sequence: u64::MAX,
            port: u16::MAX,
            addresses: vec![BeaconAddress::V6([0xff; 16]); MAX_BEACON_ADDRESSES],
            cpu: MilliCpu(u32::MAX),
            memory_mb: u64::MAX,
            gpus: u32::MAX,
            software: "v".repeat(MAX_SOFTWARE_BYTES),
            ..beacon()
        };
        let sealed = sealed(&longest);
        assert!(sealed.payload.len() <= MAX_PAYLOAD_BYTES, "{}", sealed.payload.len());
        let full = SealedBeacon { payload: vec![0; MAX_PAYLOAD_BYTES], ..sealed };
        assert_eq!(full.encode().expect("fits").len(), MAX_BEACON_BYTES, "the envelope is what its constant says");
        let over = SealedBeacon { payload: vec![0; MAX_PAYLOAD_BYTES + 1], ..full };
        assert!(matches!(over.encode(), Err(WireError::TooLong { .. })));
    }

    #[test]
    fn what_is_no_beacon_is_refused() {
        let datagram = sealed(&beacon()).encode().expect("fits");
        let decode = |bytes: &[u8]| SealedBeacon::decode(bytes);
        assert_eq!(decode(b"OKB2rest"), Err(WireError::NoBeacon));
        assert_eq!(decode(b""), Err(WireError::NoBeacon));
        assert_eq!(decode(&[&datagram[..], &[0]].concat()), Err(WireError::Trailing(1)));
        assert_eq!(decode(&datagram[..datagram.len() - 1]), Err(WireError::Truncated));
        assert!(matches!(decode(&[&MAGIC[..], &[0; 1197]].concat()), Err(WireError::TooLong { length: 1201, .. })));
        assert!(decode(&[&MAGIC[..], &[0x81; 1000]].concat()).is_err());
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let refused = |beacon: Beacon| sealed(&beacon).content().is_err();
        assert!(refused(Beacon { version: 0, ..beacon() }));
        assert!(refused(Beacon { addresses: vec![BeaconAddress::V4([1; 4]); 9], ..beacon() }));
        assert!(refused(Beacon { software: "x".repeat(33), ..beacon() }));
        assert!(refused(Beacon { software: "1.0\u{1b}[2J".to_owned(), ..beacon() }));
        assert!(refused(Beacon { role: Role::Dispatcher, ..beacon() }), "a dispatcher is its own cluster");
        assert!(!refused(Beacon { role: Role::Dispatcher, cluster: Some(NodeId([1; 32])), ..beacon() }));
        assert!(!refused(Beacon { version: 2, ..beacon() }), "a later payload says at least as much");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_beacon_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            let _ = SealedBeacon::decode(&bytes);
            let _ = SealedBeacon::decode(&[&MAGIC[..], &bytes].concat());
            let _ = SealedBeacon { payload: bytes, key: NodeId([0; 32]), signature: [0; 64] }.content();
        }

        #[test]
        fn a_damaged_beacon_is_another_one_or_an_error(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
            let mut sealed = sealed(&beacon());
            let place = at.index(sealed.payload.len());
            sealed.payload[place] = to;
            let _ = sealed.content();
            let mut datagram = sealed.encode().expect("fits");
            let place = at.index(datagram.len());
            datagram[place] = to;
            if let Ok(other) = SealedBeacon::decode(&datagram) {
                prop_assert!(other.encode().is_ok());
            }
        }
    }
}
