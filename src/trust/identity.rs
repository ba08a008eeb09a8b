//! A node's key, the certificate of this start, and what is derived from the key.
//!
//! Invariant: the id is the public half of the private key held beside it.
//! Absent: any way to get the raw secret out, except into TLS.

use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::server_name::server_name_text;
use super::{NodeDir, TrustError, private};
use crate::model::NodeId;

/// The key file in a node's folder: PKCS#8 in DER.
const KEY_FILE: &str = "identity.key";
/// Longest key file worth reading; an Ed25519 key in PKCS#8 takes 83 bytes.
const KEY_FILE_CAP: u64 = 4096;

/// A node's Ed25519 key with the certificate made from it at this start.
#[derive(Clone)]
pub struct Identity {
    id: NodeId,
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
    signer: Arc<Ed25519KeyPair>,
    endpoint_keys: EndpointKeys,
}

impl Identity {
    /// The identity kept in `dir`; made at the first start. Two processes that make it at once end up
    /// with the same one.
    ///
    /// # Errors
    /// When the key file cannot be read or written, is open to others, or holds no Ed25519 key.
    pub fn load_or_create(dir: &NodeDir) -> Result<Self, TrustError> {
        let path = dir.path().join(KEY_FILE);
        let stored = match private::read(&path, KEY_FILE_CAP)? {
            Some(bytes) => bytes,
            None => {
                let fresh = KeyPair::generate_for(&PKCS_ED25519).map_err(TrustError::Generate)?.serialize_der();
                if private::create(&path, &fresh)? {
                    fresh
                } else {
                    private::read(&path, KEY_FILE_CAP)?.unwrap_or_default()
                }
            }
        };
        let pkcs8 = PrivatePkcs8KeyDer::from(stored);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ED25519)
            .map_err(|source| TrustError::BadKey { path, source })?;
        // Processes that share a key must not share what their endpoints are recognised by: each could be made
        // to send a reset that the other's peers believe (RFC 9000 §21.11). The lock says who is alone.
        let endpoint_keys =
            if dir.is_locked() { EndpointKeys::derived(pair.serialized_der()) } else { EndpointKeys::random()? };
        Self::from_pair(&pair, endpoint_keys)
    }

    /// An identity that is gone with its process (embedded nodes, tests).
    ///
    /// # Errors
    /// When the system gives no random bits.
    pub fn ephemeral() -> Result<Self, TrustError> {
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(TrustError::Generate)?;
        Self::from_pair(&pair, EndpointKeys::random()?)
    }

    /// Its public key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The self-signed certificate of this start.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The private key for TLS.
    #[must_use]
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// The Ed25519 signature of `message`. Callers prefix it with what it is, so that no two uses of the
    /// key can be mistaken for each other; TLS does so itself.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.signer.sign(message).as_ref());
        signature
    }

    /// What lets a restarted endpoint of this node be recognised as one that has forgotten everything.
    #[must_use]
    pub fn endpoint_keys(&self) -> &EndpointKeys {
        &self.endpoint_keys
    }

    fn from_pair(pair: &KeyPair, endpoint_keys: EndpointKeys) -> Result<Self, TrustError> {
        let mut id = [0; 32];
        id.copy_from_slice(pair.public_key_raw());
        let id = NodeId(id);
        let name = server_name_text(id);
        let certificate = CertificateParams::new(vec![name])
            .and_then(|params| params.self_signed(pair))
            .map_err(TrustError::Generate)?;
        let pkcs8 = pair.serialize_der();
        let signer = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(TrustError::Sign)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8));
        let (certificate, signer) = (certificate.der().clone(), Arc::new(signer));
        Ok(Self { id, certificate, key: key.into(), signer, endpoint_keys })
    }
}

/// The id only: secrets are never printed.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Keys by which an endpoint is recognised after a restart.
///
/// Derived from the node's private key instead of stored beside it: they live
/// exactly as long as the identity, and there is no second secret file to guard.
#[derive(Clone)]
pub struct EndpointKeys {
    /// Makes stateless resets that peers of an earlier process believe.
    pub reset: [u8; 32],
    /// Recognises connection ids that an earlier process gave out.
    pub connection_ids: u64,
}

impl EndpointKeys {
    /// The keys that belong to a private key.
    fn derived(private_key: &[u8]) -> Self {
        let id_key = blake3::derive_key("octaskly 1 endpoint connection ids", private_key);
        let mut connection_ids = [0; 8];
        connection_ids.copy_from_slice(&id_key[..8]);
        Self {
            reset: blake3::derive_key("octaskly 1 endpoint stateless reset", private_key),
            connection_ids: u64::from_le_bytes(connection_ids),
        }
    }

    /// Keys that are gone with the process.
    fn random() -> Result<Self, TrustError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(TrustError::Random)?;
        Ok(Self::derived(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Home;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(dir.path().join("home"))).unwrap();
        (dir, home)
    }

    #[test]
    fn an_identity_is_the_same_at_the_next_start_and_so_is_its_endpoint() {
        let (_dir, home) = home();
        let first = Identity::load_or_create(&home.dispatcher().unwrap()).unwrap();
        let second = Identity::load_or_create(&home.dispatcher().unwrap()).unwrap();
        assert_eq!(first.id(), second.id());
        assert_eq!(first.endpoint_keys().reset, second.endpoint_keys().reset);
        assert_eq!(first.endpoint_keys().connection_ids, second.endpoint_keys().connection_ids);
        assert_ne!(first.id(), Identity::ephemeral().unwrap().id());
    }

    #[test]
    fn processes_that_share_a_key_do_not_share_a_reset_key() {
        let (_dir, home) = home();
        let one = Identity::load_or_create(&home.client().unwrap()).unwrap();
        let two = Identity::load_or_create(&home.client().unwrap()).unwrap();
        assert_eq!(one.id(), two.id());
        assert_ne!(one.endpoint_keys().reset, two.endpoint_keys().reset);
    }

    #[test]
    fn clients_that_start_at_once_agree_on_one_key() {
        let (_dir, home) = home();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let home = home.clone();
                std::thread::spawn(move || Identity::load_or_create(&home.client().unwrap()).unwrap().id())
            })
            .collect();
        let ids: std::collections::BTreeSet<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_by_name() {
        let (_dir, home) = home();
        let dir = home.dispatcher().unwrap();
        private::create(&dir.path().join(KEY_FILE), b"not a key").unwrap();
        let error = Identity::load_or_create(&dir).unwrap_err();
        assert!(matches!(&error, TrustError::BadKey { path, .. } if path.ends_with(KEY_FILE)), "{error}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let identity = Identity::ephemeral().unwrap();
        assert_eq!(format!("{identity:?}"), format!("Identity {{ id: NodeId({}), .. }}", identity.id().short()));
    }
}
