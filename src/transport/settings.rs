//! What quinn is configured with: windows, streams and timeouts of a connection. Those of the gate in front of it
//! and of frames stand where they are used (`gate`, `stream`, `budget`).
//!
//! Invariant: before a peer is welcome it can make this process hold
//! [`STRANGER_WINDOW`] bytes of its data; after that [`LINK_WINDOW`], whatever
//! it sends and however slowly it is read. Absent: who is welcome.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;

use crate::model::limits::{DATA_FRAME, HEARTBEAT_INTERVAL, MAX_FRAME_UNAUTHENTICATED, SUSPECT_AFTER};
use crate::trust::{Alpn, EndpointKeys, Identity, TrustError, tls};

/// A connecting node has this long for its handshake and its hello, and an accepting one to answer.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// TLS alert of a certificate that our own verifier turned down: it is not the key that was asked for.
pub(super) const ALERT_ACCESS_DENIED: u8 = 49;
/// Connections that nobody has welcomed yet; beyond it the oldest of them goes. Each costs about 50 KiB.
pub(super) const MAX_STRANGERS: usize = 512;
/// Connections that wait for approval. They were let in to wait, so strangers do not push them out; each
/// costs what a stranger costs.
pub(super) const MAX_HELD: usize = 64;
/// Handshakes in flight beyond which a dialler must first show that it receives at its address. Not always,
/// because a retry costs everybody a round trip and a dropped dial hundreds of retries.
pub(super) const RETRY_ABOVE: usize = 64;
/// Dials that quinn holds for the accept loop, which never waits; beyond it they are refused unread.
const MAX_DIALS: usize = 1024;
/// Bytes held for one such dial and for all of them.
const DIAL_BUFFER: u64 = 16 * 1024;
const DIAL_BUFFERS: u64 = 4 * 1024 * 1024;

/// Streams a welcome peer may have open towards us, in both directions and in one: 4,096 would cost
/// half a megabyte a connection.
pub(super) const MAX_BIDI_STREAMS: u32 = 100;
pub(super) const MAX_UNI_STREAMS: u32 = 28;
/// What may be on its way on one stream: a gigabyte a second at half a millisecond, 100 MB/s at five.
/// quinn cannot change it on a live connection, so strangers get it too, under their connection's window.
const STREAM_WINDOW: u32 = 512 * 1024;
/// What may be on its way on a welcome peer's connection: every stream may stand full without holding up
/// the control stream, on which heartbeats travel.
pub(super) const LINK_WINDOW: u32 = (MAX_BIDI_STREAMS + MAX_UNI_STREAMS) * STREAM_WINDOW;
/// What may be on its way on a stranger's connection: a hello, and some room for its stream's framing.
const STRANGER_WINDOW: u32 = 4 * MAX_FRAME_UNAUTHENTICATED;
/// Bytes written and not yet acknowledged on one connection. Also what stands in front of a heartbeat when
/// the path is slow: well under [`SUSPECT_AFTER`] at 1 MB/s.
const SEND_WINDOW: u64 = 4 * 1024 * 1024;

/// Silence after which a connection is given up.
const IDLE_TIMEOUT_MS: u32 = 20_000;
/// The connecting side breaks its silence this often. A restarted dispatcher answers the first packet of an
/// old connection with a reset, so this is also how soon a silent client notices a restart.
const KEEP_ALIVE: Duration = HEARTBEAT_INTERVAL.as_duration();
/// Assumed round trip before the first is measured. Local networks are far below it; it decides when the
/// first lost packet of a handshake is sent again (after three of these).
const INITIAL_RTT: Duration = Duration::from_millis(100);

const _: () = assert!(STREAM_WINDOW as usize > 4 * DATA_FRAME, "a stream carries some frames while one is read");
const _: () = assert!(SEND_WINDOW / 1_000_000 < SUSPECT_AFTER.0 / 1000, "bulk data makes no worker suspect");
const _: () = assert!(2 * KEEP_ALIVE.as_millis() < IDLE_TIMEOUT_MS as u128, "one lost keep-alive closes nothing");

/// How this endpoint recognises what an earlier process of the same node began.
pub(super) fn endpoint(keys: &EndpointKeys) -> EndpointConfig {
    let reset = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &keys.reset);
    let mut config = EndpointConfig::new(Arc::new(reset));
    let key = keys.connection_ids;
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
    config
}

/// How connections that ask for one of `accept` are answered.
pub(super) fn server(identity: &Identity, accept: &[Alpn]) -> Result<ServerConfig, TrustError> {
    let tls = tls::server_config(identity, accept)?;
    #[expect(clippy::expect_used, reason = "the provider in trust::tls has the cipher that QUIC begins with")]
    let crypto = QuicServerConfig::try_from(tls).expect("TLS_AES_128_GCM_SHA256 is configured");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = transport();
    transport
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(MAX_DIALS)
        .incoming_buffer_size(DIAL_BUFFER)
        .incoming_buffer_size_total(DIAL_BUFFERS);
    Ok(config)
}

/// How this node connects for the purpose `alpn`. It has named the key it expects, so the other side
/// is no stranger from the first byte.
pub(super) fn client(identity: &Identity, alpn: Alpn) -> Result<ClientConfig, TrustError> {
    Ok(connecting(tls::client_config(identity, alpn)?))
}

/// How this node connects to a dispatcher that it does not know yet. Until an admin has typed its code
/// whoever answers is a stranger, and gets no more room than one.
pub(super) fn join_client(identity: &Identity) -> Result<ClientConfig, TrustError> {
    let mut config = connecting(tls::join_client_config(identity)?);
    let mut transport = transport();
    transport
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn connecting(tls: rustls::ClientConfig) -> ClientConfig {
    #[expect(clippy::expect_used, reason = "the provider in trust::tls has the cipher that QUIC begins with")]
    let crypto = QuicClientConfig::try_from(tls).expect("TLS_AES_128_GCM_SHA256 is configured");
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport();
    transport
        .receive_window(VarInt::from_u32(LINK_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_BIDI_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_UNI_STREAMS))
        .keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    config
}

/// What both sides have in common. Segmentation offload stays at quinn's default, which is on.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(None);
    transport
}
