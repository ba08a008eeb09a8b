//! TLS with pinned keys: no certificate authority, no dates, no sessions.
//!
//! Invariant: a finished handshake means that the peer signed it with the key
//! that [`peer_id`] reads from its certificate, and, on the connecting side,
//! that this is the key the server name asked for. Absent: who is welcome; a
//! stranger's handshake succeeds and its hello is refused.
//!
//! Dates in certificates are ignored: the key is what is trusted, so a node
//! whose clock is wrong locks nobody out. Sessions are never resumed, because a
//! resumed one skips client authentication and would outlive a revocation.
//! Only a node that joins a dispatcher whose id it does not know yet takes any
//! key, and only under [`Alpn::Join`], where nothing secret is said.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ServerConfig};
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};

use super::server_name::named_node;
pub use super::server_name::{JOIN_NAME, server_name_text};
use super::{Identity, TrustError, weak};
use crate::model::NodeId;

/// What a connection is for; agreed on by TLS before the first byte of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alpn {
    /// `octaskly-worker/1`: a worker, or its guard, to its dispatcher.
    Worker,
    /// `octaskly-client/1`: a client to a dispatcher.
    Client,
    /// `octaskly-join/1`: a node that is not enrolled to a dispatcher that it may not know yet.
    Join,
    /// `octaskly-peer/1`: a worker to another worker.
    Peer,
}

impl Alpn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Worker, Self::Client, Self::Join, Self::Peer];
    /// What a dispatcher answers; a worker answers [`Alpn::Peer`] alone.
    pub const OF_A_DISPATCHER: [Self; 3] = [Self::Worker, Self::Client, Self::Join];

    /// The bytes that TLS carries.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Worker => b"octaskly-worker/1",
            Self::Client => b"octaskly-client/1",
            Self::Join => b"octaskly-join/1",
            Self::Peer => b"octaskly-peer/1",
        }
    }

    /// The one that TLS carried.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.as_bytes() == bytes)
    }
}

/// An Ed25519 key as X.509 writes it (RFC 8410 §4): this, then the 32 bytes of the key.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The node whose key `certificate` carries. Proves nothing by itself: the
/// handshake signature does.
///
/// # Errors
/// When it is no certificate, or its key is no Ed25519 key, or one that anybody can sign with.
pub fn peer_id(certificate: &CertificateDer<'_>) -> Result<NodeId, Error> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let key = spki.as_ref().strip_prefix(&ED25519_SPKI).and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.map(NodeId).filter(|id| !weak::is_weak(*id)).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// How a node answers connections that ask for one of `accept`.
///
/// # Errors
/// Only by a bug of ours: the key and certificate were made by this room.
pub fn server_config(identity: &Identity, accept: &[Alpn]) -> Result<ServerConfig, TrustError> {
    let provider = provider();
    let verifier = AnyClient(Signatures(provider.signature_verification_algorithms));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TrustError::Tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(vec![identity.certificate()], identity.private_key())
        .map_err(TrustError::Tls)?;
    config.alpn_protocols = accept.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// How a node connects for the purpose `alpn`; one configuration serves all peers, because the server
/// name says whom to expect.
///
/// # Errors
/// Only by a bug of ours: the key and certificate were made by this room.
pub fn client_config(identity: &Identity, alpn: Alpn) -> Result<ClientConfig, TrustError> {
    connecting(identity, alpn, Expected::Named)
}

/// How a node connects to a dispatcher that it does not know yet: whoever answers has proved *a* key, and
/// that is all. Speaks [`Alpn::Join`] and nothing else, so that such a link is never taken for another.
///
/// # Errors
/// Only by a bug of ours: the key and certificate were made by this room.
pub fn join_client_config(identity: &Identity) -> Result<ClientConfig, TrustError> {
    connecting(identity, Alpn::Join, Expected::Anybody)
}

fn connecting(identity: &Identity, alpn: Alpn, expected: Expected) -> Result<ClientConfig, TrustError> {
    let provider = provider();
    let verifier = Server { expected, signatures: Signatures(provider.signature_verification_algorithms) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TrustError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![identity.certificate()], identity.private_key())
        .map_err(TrustError::Tls)?;
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// ring with one key exchange, and the ciphers ordered for speed: AES with 128 bits where the processor
/// does AES, ChaCha20 where it does not (Raspberry Pi). The connecting side's order decides.
fn provider() -> Arc<CryptoProvider> {
    use ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    let mut provider = ring::default_provider();
    provider.kx_groups = vec![ring::kx_group::X25519];
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384];
    if !processor_does_aes() {
        provider.cipher_suites.swap(0, 1);
    }
    Arc::new(provider)
}

#[cfg(target_arch = "x86_64")]
fn processor_does_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn processor_does_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_does_aes() -> bool {
    false
}

/// Whether a handshake was really signed with the leaf's key: the same question on both sides.
#[derive(Debug)]
struct Signatures(WebPkiSupportedAlgorithms);

impl Signatures {
    fn check(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.0)
    }

    fn older() -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn schemes() -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Whom a connecting node takes for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The key that the server name asks for.
    Named,
    /// Whoever proves a key, which becomes the dispatcher's id to check by code.
    Anybody,
}

/// The connecting side's verifier: one leaf, of whom was expected.
#[derive(Debug)]
struct Server {
    expected: Expected,
    signatures: Signatures,
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = lone_leaf(end_entity, intermediates)?;
        if self.expected == Expected::Anybody || named_node(server_name) == Some(found) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Signatures::older()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.check(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Signatures::schemes()
    }
}

/// The accepting side's verifier: any Ed25519 leaf, whose key becomes the peer's id.
#[derive(Debug)]
struct AnyClient(Signatures);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        lone_leaf(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Signatures::older()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.check(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Signatures::schemes()
    }
}

/// The node of a certificate that came alone: a chain has no meaning here, so it is refused, not ignored.
fn lone_leaf(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<NodeId, Error> {
    if intermediates.is_empty() { peer_id(leaf) } else { Err(Error::InvalidCertificate(CertificateError::BadEncoding)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_server_name_carries_the_id_it_was_made_from() {
        let id = Identity::ephemeral().unwrap().id();
        let name = ServerName::try_from(server_name_text(id)).unwrap();
        assert_eq!(named_node(&name), Some(id));
        for other in ["octaskly.invalid", "localhost", "127.0.0.1", "aaaa.octaskly.invalid"] {
            assert_eq!(named_node(&ServerName::try_from(other).unwrap()), None);
        }
    }

    #[test]
    fn a_certificate_carries_the_id_of_the_key_that_made_it() {
        let identity = Identity::ephemeral().unwrap();
        assert_eq!(peer_id(&identity.certificate()).unwrap(), identity.id());
    }

    fn server(expected: Expected) -> Server {
        Server { expected, signatures: Signatures(provider().signature_verification_algorithms) }
    }

    #[test]
    fn the_name_that_asks_for_nobody_is_nobodys() {
        assert_eq!(named_node(&ServerName::try_from(JOIN_NAME).unwrap()), None);
        let join = join_client_config(&Identity::ephemeral().unwrap()).unwrap();
        assert_eq!(join.alpn_protocols, [b"octaskly-join/1".to_vec()]);
    }

    #[test]
    fn who_joins_takes_any_key_but_no_chain_and_no_key_of_another_kind() {
        let verifier = server(Expected::Anybody);
        let (one, other) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let name = ServerName::try_from(JOIN_NAME).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let verify = |leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]| {
            verifier.verify_server_cert(leaf, chain, &name, &[], now).is_ok()
        };
        assert!(verify(&one.certificate(), &[]) && verify(&other.certificate(), &[]));
        assert!(!verify(&one.certificate(), &[other.certificate()]));
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let strange = rcgen::CertificateParams::new(vec!["a.invalid".into()]).unwrap().self_signed(&pair).unwrap();
        assert!(!verify(strange.der(), &[]));
    }

    #[test]
    fn no_session_outlives_its_connection() {
        let identity = Identity::ephemeral().unwrap();
        let server = server_config(&identity, &Alpn::ALL).unwrap();
        assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
        assert!(!server.session_storage.can_cache() && !server.ticketer.enabled());
        assert!(!client_config(&identity, Alpn::Client).unwrap().enable_early_data);
    }

    #[test]
    fn a_key_of_another_kind_is_no_identity() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.invalid".into()]).unwrap().self_signed(&pair).unwrap();
        assert!(peer_id(certificate.der()).is_err());
    }

    #[test]
    fn only_the_node_that_was_asked_for_passes_and_only_alone() {
        let verifier = server(Expected::Named);
        let (wanted, other) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let name = ServerName::try_from(server_name_text(wanted.id())).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let verify = |leaf: &Identity, chain: &[CertificateDer<'_>]| {
            verifier.verify_server_cert(&leaf.certificate(), chain, &name, &[], now).is_ok()
        };
        assert!(verify(&wanted, &[]));
        assert!(!verify(&other, &[]));
        assert!(!verify(&wanted, &[other.certificate()]));
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_stranger_break_the_certificate_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = peer_id(&CertificateDer::from(bytes));
        }

        #[test]
        fn a_damaged_certificate_is_refused_or_read_but_never_breaks_the_reader(at in 0usize..400, to in any::<u8>()) {
            let mut bytes = Identity::ephemeral().unwrap().certificate().to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = peer_id(&CertificateDer::from(bytes));
        }
    }
}
