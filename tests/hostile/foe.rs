//! A peer that keeps to no rule: QUIC and TLS as any node speaks them, and
//! behind that whatever it likes.
//!
//! The one invariant: what it does is bounded in count and time, and ends with
//! the test. Absent: the keys of others; it has its own, or one that was let in.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use octaskly::model::handshake::{Credential, Hello, Intent};
use octaskly::model::{InstanceId, NodeId};
use octaskly::trust::{Alpn, Identity, access, tls};
use octaskly::wire::frame;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig, TransportConfig};

/// Longest frame of somebody who is not welcome yet.
pub(crate) const STRANGERS_CAP: u32 = 4096;

/// Random bytes from a seed that the test prints.
#[derive(Clone)]
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.0.usize(1..=most);
        std::iter::repeat_with(|| self.0.u8(..)).take(length).collect()
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }
}

/// A foe of the dispatcher at one address.
#[derive(Clone)]
pub(crate) struct Foe {
    endpoint: Endpoint,
    config: ClientConfig,
    dispatcher: SocketAddr,
    expected: NodeId,
    secret: [u8; 32],
}

impl Foe {
    /// One with a key of its own that nobody knows. It has read where the dispatcher of `home` is and which key
    /// that has, which is no secret. Inside a tokio runtime only.
    pub(crate) fn of(home: &Path, alpn: Alpn) -> Self {
        let file = access::read(&home.join("dispatcher/access.cbor")).expect("readable").expect("a dispatcher runs");
        let identity = Identity::ephemeral().expect("a key");
        let tls = tls::client_config(&identity, alpn).expect("a configuration");
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("QUIC's first cipher")));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
        Self { endpoint, config, dispatcher: file.addresses[0], expected: file.dispatcher, secret: file.secret }
    }

    /// A finished handshake, and nothing more.
    pub(crate) async fn dial(&self) -> Result<Connection, ConnectionError> {
        let name = tls::server_name_text(self.expected);
        let dialling = self.endpoint.connect_with(self.config.clone(), self.dispatcher, &name);
        dialling.expect("a sound configuration").await
    }

    /// What a client says first; with the secret of the access file it is let in.
    pub(crate) fn hello(&self, enrolled: bool) -> Vec<u8> {
        let credential = if enrolled { Credential::Access(self.secret) } else { Credential::None };
        let (software, instance, intent) = ("1.0.0".to_owned(), InstanceId(1), Intent::Client);
        let hello = Hello { protocol_oldest: 1, protocol_newest: 1, software, instance, intent, credential };
        let mut bytes = Vec::new();
        frame::encode(&hello, &mut bytes, STRANGERS_CAP).expect("a hello is short");
        bytes
    }

    /// A connection that was welcomed as a client, with its control stream.
    pub(crate) async fn let_in(&self) -> (Connection, quinn::SendStream, quinn::RecvStream) {
        let connection = self.dial().await.expect("the dispatcher answers");
        let (mut send, mut recv) = connection.open_bi().await.expect("one stream");
        send.write_all(&self.hello(true)).await.expect("it reads hellos");
        let mut header = [0; 4];
        recv.read_exact(&mut header).await.expect("a welcome");
        (connection, send, recv)
    }
}

/// Something that answers where a worker expects a dispatcher. Inside a tokio runtime only.
pub(crate) struct Trap {
    endpoint: Endpoint,
    /// Where it lies.
    pub(crate) port: u16,
}

impl Trap {
    pub(crate) fn open() -> Self {
        let identity = Identity::ephemeral().expect("a key");
        let tls = tls::server_config(&identity, &Alpn::ALL).expect("a configuration");
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("QUIC's first cipher")));
        let endpoint = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).expect("a socket");
        let port = endpoint.local_addr().expect("an address").port();
        Self { endpoint, port }
    }

    /// Waits for the next that says hello, answers with `bytes`, and waits until it has had enough.
    pub(crate) async fn answer(&mut self, bytes: &[u8]) {
        loop {
            let dial = self.endpoint.accept().await.expect("the trap is open");
            let Ok(connection) = dial.await else { continue };
            let Ok((mut send, mut recv)) = connection.accept_bi().await else { continue };
            let mut header = [0; 4];
            if recv.read_exact(&mut header).await.is_ok() {
                let _ = send.write_all(bytes).await;
                let _ = send.finish();
                let _ = connection.closed().await;
                return;
            }
        }
    }
}

/// Frames that no honest node sends, each with what is wrong with it.
pub(crate) fn nonsense(dice: &mut Dice) -> Vec<(&'static str, Vec<u8>)> {
    let framed = |body: &[u8]| [&u32::try_from(body.len()).expect("short").to_be_bytes(), body].concat();
    let random = dice.bytes(2000);
    vec![
        ("random bytes as a frame", framed(&random)),
        ("random bytes without a frame", random.clone()),
        ("an empty frame", framed(&[])),
        ("a frame cut short", [&[0, 0, 15, 0][..], &random[..random.len().min(100)]].concat()),
        ("a frame of four gigabytes", [&[255; 4][..], &random].concat()),
        ("arrays in arrays", framed(&[0x81; 4000])),
        ("endless arrays in arrays", framed(&[0x9f; 4000])),
        ("maps in maps", framed(&[0xa1; 4000])),
        ("tags on tags", framed(&[0xc6; 4000])),
        ("an array of 2^64 - 1 entries", framed(&[&[0x9b][..], &[0xff; 8]].concat())),
        ("a text of 2^63 bytes", framed(&[&[0x7b, 0x7f][..], &[0xff; 7]].concat())),
        ("bytes in endless pieces", framed(&[&[0x5f][..], &[0x41, 0].repeat(1500)].concat())),
        ("a map that says everything twice", framed(&[&[0xb8, 200][..], &[0x61, b'a', 0].repeat(200)].concat())),
        ("zeros", framed(&[0; 4000])),
    ]
}

/// Sends `count` datagrams of random length and content to `port`, `at_once` after each pause.
pub(crate) async fn datagrams(port: u16, count: usize, at_once: usize, pause: Duration, mut dice: Dice) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for number in 0..count {
        let mut datagram = dice.bytes(1400);
        // Half of them look like QUIC from afar: a long header, our version, connection ids of some length.
        if number % 2 == 0 && datagram.len() > 30 {
            datagram[0] |= 0xc0;
            let version: [u8; 4] = if number % 4 == 0 { [0, 0, 0, 1] } else { [0x1a, 0x2a, 0x3a, 0x4a] };
            datagram[1..5].copy_from_slice(&version);
            datagram[5] = u8::try_from(dice.below(24)).expect("small");
        }
        // A full socket buffer loses it, as a network would.
        let _ = socket.send_to(&datagram, ("127.0.0.1", port));
        if number % at_once == 0 {
            tokio::time::sleep(pause).await;
        }
    }
}
