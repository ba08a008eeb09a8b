//! What one end of a link can do to the other: streams, slow bytes, frames that are too long or too deep.
//!
//! One end is a listener of ours; the other speaks QUIC and TLS as any node
//! does and keeps to no further rule. Only deadlines of the protocol are waited
//! for. Absent: whole nodes under attack (`hostile`).

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use octaskly::model::handshake::{Credential, Hello, Intent, Waiting, Welcome};
use octaskly::model::limits::{MAX_FRAME, PROTOCOL_VERSION};
use octaskly::model::trust::JoinReply;
use octaskly::model::{Epoch, InstanceId, Millis, NodeId, Role, Timestamp};
use octaskly::transport::{Alpn, CloseCode, Endpoint, FrameRecv, FrameSend, Link, TransportError};
use octaskly::trust::{Identity, tls};
use octaskly::wire::{Message, frame};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, RecvStream, SendStream, TransportConfig};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// Streams that a welcome peer may have open at once.
const STREAMS: usize = 100;

/// Any frame of these tests.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Word(String);

impl Message for Word {}

struct Listener {
    id: NodeId,
    endpoint: Endpoint,
}

fn listener() -> Listener {
    let identity = Identity::ephemeral().unwrap();
    let endpoint = Endpoint::bind(&identity, any_port(), &Alpn::ALL).unwrap();
    Listener { id: identity.id(), endpoint }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// One connection of the end that keeps to no rule, and what keeps it alive.
struct Unruly {
    connection: Connection,
    /// Ends with its handle, so it is kept.
    control: Option<SendStream>,
    _endpoint: quinn::Endpoint,
}

impl Unruly {
    async fn dial(to: &Listener, alpn: Alpn) -> Self {
        let tls = tls::client_config(&Identity::ephemeral().unwrap(), alpn).unwrap();
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::client(any_port()).unwrap();
        let name = tls::server_name_text(to.id);
        let connection = endpoint.connect_with(config, to.endpoint.local_addr(), &name).unwrap().await.unwrap();
        Self { connection, control: None, _endpoint: endpoint }
    }

    /// Says hello and is let in by `by`.
    async fn let_in(&mut self, by: &Listener) -> (Link, FrameSend, FrameRecv) {
        let (mut send, _recv) = self.connection.open_bi().await.unwrap();
        send.write_all(&framed(&hello(Intent::Client))).await.unwrap();
        let incoming = by.endpoint.accept().await.unwrap();
        let inside = incoming.welcome(welcome()).await.unwrap();
        self.control = Some(send);
        inside
    }

    async fn end(&self) -> CloseCode {
        match timeout(PATIENCE, self.connection.closed()).await.expect("it is turned away") {
            ConnectionError::ApplicationClosed(close) => {
                CloseCode::from_number(u32::try_from(close.error_code.into_inner()).unwrap())
            }
            other => panic!("closed otherwise: {other:?}"),
        }
    }
}

fn hello(intent: Intent) -> Hello {
    let (software, instance, credential) = ("1.0.0".to_owned(), InstanceId(7), Credential::None);
    Hello { protocol_oldest: 1, protocol_newest: PROTOCOL_VERSION, software, instance, intent, credential }
}

fn welcome() -> Welcome {
    Welcome {
        protocol: PROTOCOL_VERSION,
        software: "1.0.0".to_owned(),
        role: Role::Client,
        name: "a".parse().unwrap(),
        epoch: Epoch(1),
        now: Timestamp::from_millis(1),
        heartbeat_interval: Millis::from_secs(2),
        task_timeout: Millis::from_secs(300),
        p2p: false,
    }
}

fn framed<T: Message>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(message, &mut bytes, MAX_FRAME).unwrap();
    bytes
}

#[tokio::test]
async fn a_stranger_that_says_its_hello_a_byte_at_a_time_is_turned_away() {
    let listener = listener();
    let slow = Unruly::dial(&listener, Alpn::Client).await;
    let (mut send, _recv) = slow.connection.open_bi().await.unwrap();
    let drip = async {
        for byte in framed(&hello(Intent::Client)) {
            if send.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(250)).await;
        }
    };
    let (code, ()) = tokio::join!(slow.end(), drip);
    assert_eq!(code, CloseCode::TooSlow);
}

#[tokio::test]
async fn a_frame_that_comes_a_byte_at_a_time_is_given_up_and_other_streams_go_on() {
    let listener = listener();
    let mut slow = Unruly::dial(&listener, Alpn::Client).await;
    let (link, _send, _recv) = slow.let_in(&listener).await;
    let (mut dripping, _) = slow.connection.open_bi().await.unwrap();
    let drip = tokio::spawn(async move {
        for byte in framed(&Word("x".repeat(1000))) {
            if dripping.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    let (_, mut recv) = link.accept_bi().await.unwrap();
    let given_up = timeout(PATIENCE, recv.recv::<Word>(MAX_FRAME)).await.expect("ten seconds a frame");
    assert!(matches!(given_up, Err(TransportError::FrameTooSlow)), "{given_up:?}");
    drop(recv);
    timeout(PATIENCE, drip).await.expect("its writer is told").unwrap();

    let (mut send, _) = slow.connection.open_bi().await.unwrap();
    send.write_all(&framed(&Word("quick".to_owned()))).await.unwrap();
    let (_, mut recv) = link.accept_bi().await.unwrap();
    assert_eq!(recv.recv::<Word>(MAX_FRAME).await.unwrap(), Some(Word("quick".to_owned())));
}

#[tokio::test]
async fn who_opens_streams_as_fast_as_it_can_has_a_hundred_and_holds_up_nobody() {
    let listener = listener();
    let mut greedy = Unruly::dial(&listener, Alpn::Client).await;
    let (link, _send, _recv) = greedy.let_in(&listener).await;
    let connection = greedy.connection.clone();
    let opener = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut send, recv)) = connection.open_bi().await {
            // The beginning of a frame, so that every stream costs what a stream can.
            if send.write_all(&[0, 0, 0, 9]).await.is_err() {
                break;
            }
            open.push((send, recv));
        }
        open.len()
    });
    let mut held = Vec::new();
    while let Ok(stream) = timeout(Duration::from_secs(1), link.accept_bi()).await {
        held.push(stream.unwrap());
    }
    // One of them is its control stream.
    assert_eq!(held.len(), STREAMS - 1);

    let mut other = Unruly::dial(&listener, Alpn::Client).await;
    let (others, _send, _recv) = timeout(PATIENCE, other.let_in(&listener)).await.expect("others are let in");
    let (mut send, _) = other.connection.open_bi().await.unwrap();
    send.write_all(&framed(&Word("me too".to_owned()))).await.unwrap();
    let (_, mut recv) = timeout(PATIENCE, others.accept_bi()).await.unwrap().unwrap();
    assert_eq!(recv.recv::<Word>(MAX_FRAME).await.unwrap(), Some(Word("me too".to_owned())));

    link.close(CloseCode::Malformed, "enough");
    assert_eq!(timeout(PATIENCE, opener).await.unwrap().unwrap(), STREAMS - 1);
}

/// A node that waits for approval at `listener`: its connection, its streams, and the other end of them.
async fn waiting_at(listener: &Listener) -> (Unruly, (SendStream, RecvStream), (Link, FrameSend, FrameRecv)) {
    let joiner = Unruly::dial(listener, Alpn::Join).await;
    let (mut send, recv) = joiner.connection.open_bi().await.unwrap();
    send.write_all(&framed(&hello(Intent::Join { name: None }))).await.unwrap();
    let incoming = listener.endpoint.accept().await.unwrap();
    let waiting = Waiting { protocol: 1, software: "1.0.0".to_owned(), name: "worker-1".parse().unwrap() };
    (joiner, (send, recv), incoming.hold(waiting).await.unwrap())
}

/// What a node that waits for approval gets for these bytes instead of its reply.
async fn waiting_and_says(bytes: &[u8]) -> (CloseCode, TransportError) {
    let listener = listener();
    let (joiner, (mut send, _recv), (_link, _send, mut recv)) = waiting_at(&listener).await;
    send.write_all(bytes).await.unwrap();
    let error = timeout(PATIENCE, recv.recv::<JoinReply>(4096)).await.unwrap().unwrap_err();
    (joiner.end().await, error)
}

#[tokio::test]
async fn who_waits_and_sends_a_frame_too_long_or_too_deep_waits_no_longer() {
    let (code, error) = waiting_and_says(&5000u32.to_be_bytes()).await;
    assert!(code == CloseCode::Malformed && error.to_string().contains("4096"), "{error}");
    let deep = [&4000u32.to_be_bytes()[..], &[0x81; 4000]].concat();
    let (code, error) = waiting_and_says(&deep).await;
    assert!(code == CloseCode::Malformed && matches!(error, TransportError::Wire(_)), "{error}");
}

#[tokio::test]
async fn a_joiner_whose_machine_is_gone_is_noticed_and_one_that_is_silent_is_not_given_up() {
    let listener = listener();
    let (joiner, _streams, (link, ..)) = &waiting_at(&listener).await;
    // Longer than the idle timeout: keep-alives are all that is heard of it.
    assert!(timeout(Duration::from_secs(22), link.closed()).await.is_err(), "it still waits");
    joiner.connection.close(0u32.into(), b"gone");
    timeout(PATIENCE, link.closed()).await.expect("its end is noticed");
}
