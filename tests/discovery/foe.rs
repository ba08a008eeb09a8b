//! Somebody on the LAN who sends whatever he likes to the port of beacons.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use octaskly::model::{MilliCpu, NodeId, Role, Timestamp};
use octaskly::trust::{Identity, Signed, access};
use octaskly::wire::beacon::{BEACON_VERSION, Beacon, BeaconAddress, BeaconKind, SealedBeacon};

/// The dispatcher's key, which is no secret, from the file that is one.
pub(crate) fn key_in(access_file: &Path) -> NodeId {
    access::read(access_file).expect("readable").expect("a dispatcher runs").dispatcher
}

/// The foe with his socket; made on the host that he sits on.
pub(crate) struct Foe {
    socket: UdpSocket,
    sent: usize,
}

impl Foe {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        socket.set_broadcast(true).expect("broadcasts");
        Self { socket, sent: 0 }
    }

    /// Everything that he can think of; says how many datagrams that were.
    pub(crate) fn attacks(mut self, dispatcher: NodeId) -> usize {
        let own = Identity::ephemeral().expect("a key");
        // In the dispatcher's name, without its key.
        let mut forged = said_by(&own, &beacon(Role::Dispatcher, dispatcher, 1, BeaconKind::Bye), false);
        forged.key = dispatcher;
        self.sends(&forged.encode().expect("fits"), 100);
        // As members of the cluster, and as dispatchers, of many keys.
        for number in 0..300u64 {
            let identity = Identity::ephemeral().expect("a key");
            let member = beacon(Role::Worker, dispatcher, number, BeaconKind::Query);
            self.sends(&said_by(&identity, &member, true).encode().expect("fits"), 2);
            let other = beacon(Role::Dispatcher, identity.id(), number, BeaconKind::Alive);
            self.sends(&said_by(&identity, &other, true).encode().expect("fits"), 1);
        }
        // One recording ten thousand times, and noise.
        let recording = said_by(&own, &beacon(Role::Worker, dispatcher, 7, BeaconKind::Query), true);
        self.sends(&recording.encode().expect("fits"), 10_000);
        for length in 0..1300u16 {
            let noise: Vec<u8> = (0..length).map(|at| (at.wrapping_mul(length) >> 3) as u8).collect();
            self.sends(&[b"OKB1", &noise[..]].concat(), 1);
        }
        self.sent
    }

    fn sends(&mut self, datagram: &[u8], times: usize) {
        for group in [Ipv4Addr::new(239, 255, 79, 75), Ipv4Addr::new(10, 77, 0, 255)] {
            for _ in 0..times {
                // What the kernel drops was not needed.
                self.sent += usize::from(self.socket.send_to(datagram, SocketAddr::from((group, 5555))).is_ok());
            }
        }
    }
}

/// A beacon that offers a door on host 3 behind which nobody is.
fn beacon(role: Role, cluster: NodeId, sequence: u64, kind: BeaconKind) -> Beacon {
    Beacon {
        version: BEACON_VERSION,
        kind,
        role,
        name: Some("a".parse().expect("a name")),
        cluster: Some(cluster),
        boot: Timestamp(u64::MAX - 1),
        sequence,
        port: 7878,
        addresses: vec![BeaconAddress::V4([10, 77, 0, 3])],
        cpu: MilliCpu(1_000_000),
        memory_mb: 1 << 40,
        gpus: 64,
        software: "9.9.9".to_owned(),
    }
}

/// Signed by `identity`, or with the signature spoilt.
fn said_by(identity: &Identity, beacon: &Beacon, truly: bool) -> SealedBeacon {
    let bytes = Signed::sign(identity, beacon).expect("sound").to_bytes();
    let (signature, payload) = bytes.split_first_chunk::<64>().expect("a signature");
    let mut signature = *signature;
    signature[0] ^= u8::from(!truly);
    SealedBeacon { payload: payload.to_vec(), key: identity.id(), signature }
}
