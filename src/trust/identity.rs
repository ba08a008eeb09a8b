//! A node's key and what is derived from it.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{NodeDir, TrustError};
use crate::model::NodeId;

/// A node's Ed25519 key with the certificate made from it at this start.
pub struct Identity {
    id: NodeId,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    endpoint_keys: EndpointKeys,
}

impl Identity {
    /// The identity kept in `dir`; made at the first start.
    pub fn load_or_create(dir: &NodeDir) -> Result<Self, TrustError> {
        let _ = dir;
        unimplemented!()
    }

    /// An identity that is gone with its process (embedded nodes, tests).
    pub fn ephemeral() -> Result<Self, TrustError> {
        unimplemented!()
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

    /// What lets a restarted endpoint of this node be recognised as one that has forgotten everything.
    #[must_use]
    pub fn endpoint_keys(&self) -> &EndpointKeys {
        &self.endpoint_keys
    }
}

/// Keys of an endpoint that outlive its process.
#[derive(Clone)]
pub struct EndpointKeys {
    /// Makes stateless resets that peers of an earlier process believe.
    pub reset: [u8; 64],
    /// Recognises connection ids that an earlier process gave out.
    pub connection_ids: u64,
}
