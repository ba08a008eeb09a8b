//! Statements signed with a node's key.
//!
//! Invariant: a signature covers the very bytes that travel, behind a prefix
//! that names the kind of statement; nothing is ever encoded again to verify
//! it, and nothing in the bytes is looked at before the signature holds.
//! Absent: what a statement is good for (`roster`, `grants`), and time.

use std::fmt;
use std::marker::PhantomData;

use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Identity, cbor, weak};
use crate::model::{Digest, NodeId};

/// What can be signed.
pub trait Statement: Serialize + DeserializeOwned {
    /// Names the kind, and differs for every kind: a signature of one is none of another.
    const DOMAIN: &'static str;
    /// Longest encoding.
    const CAP: usize;

    /// Whether everything that the type cannot say is in order, such as the length of lists.
    fn is_sound(&self) -> bool {
        true
    }
}

/// A statement with its signature, as it travels. What it says is known only once it has been opened with
/// the key that must have signed it.
pub struct Signed<T> {
    body: Vec<u8>,
    signature: [u8; 64],
    kind: PhantomData<fn() -> T>,
}

/// Why a signed statement is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// It is longer than any statement of its kind.
    #[error("open a signed statement: {length} bytes are more than the {cap} that one of its kind may have")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most it may have.
        cap: usize,
    },
    /// It is shorter than a signature.
    #[error("open a signed statement: it was cut off")]
    CutOff,
    /// The signature is not that of the key that must have signed it: forged, altered, of another kind, or
    /// signed by somebody else.
    #[error("open a signed statement: node {} did not sign it", signer.short())]
    NotSignedBy {
        /// Who must have.
        signer: NodeId,
    },
    /// The signer wrote what no build of this version writes.
    #[error("open a signed statement: it was signed and makes no sense")]
    Senseless,
}

impl<T: Statement> Signed<T> {
    /// Signs `statement` as `signer`.
    ///
    /// # Errors
    /// When it is beyond the bounds of its kind, which whoever opens it would refuse.
    pub fn sign(signer: &Identity, statement: &T) -> Result<Self, SignedError> {
        if !statement.is_sound() {
            return Err(SignedError::Senseless);
        }
        let body = cbor::encode(statement);
        within_cap::<T>(body.len())?;
        let signature = signer.sign(&message::<T>(&body));
        Ok(Self { body, signature, kind: PhantomData })
    }

    /// What it says, if `signer` signed it.
    ///
    /// # Errors
    /// [`SignedError::NotSignedBy`] for whatever is wrong with the signature; the others for what no build signs.
    pub fn open(&self, signer: NodeId) -> Result<T, SignedError> {
        within_cap::<T>(self.body.len())?;
        if weak::is_weak(signer) {
            return Err(SignedError::NotSignedBy { signer });
        }
        UnparsedPublicKey::new(&ED25519, signer.0)
            .verify(&message::<T>(&self.body), &self.signature)
            .map_err(|_| SignedError::NotSignedBy { signer })?;
        let statement: T = cbor::decode(&self.body).ok_or(SignedError::Senseless)?;
        if statement.is_sound() { Ok(statement) } else { Err(SignedError::Senseless) }
    }

    /// The bytes that travel: the signature, then what it covers. No encoding lies between, so there is one
    /// way to write it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.signature[..], &self.body].concat()
    }

    /// The signed statement in `bytes`, not yet opened.
    ///
    /// # Errors
    /// When they are too long or no such thing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignedError> {
        let (signature, body) = bytes.split_first_chunk().ok_or(SignedError::CutOff)?;
        within_cap::<T>(body.len())?;
        Ok(Self { body: body.to_vec(), signature: *signature, kind: PhantomData })
    }

    /// What names this statement in another one. It is about what was said, not about the signature, of
    /// which there may be several.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("octaskly 1 hash of a signed statement");
        hasher.update(&message::<T>(&self.body));
        Digest(hasher.finalize().into())
    }
}

/// What a signature covers.
fn message<T: Statement>(body: &[u8]) -> Vec<u8> {
    // No kind's name contains the zero, so no name and body are another name and body.
    [b"octaskly 1 signed ", T::DOMAIN.as_bytes(), &[0], body].concat()
}

fn within_cap<T: Statement>(length: usize) -> Result<(), SignedError> {
    if length > T::CAP { Err(SignedError::TooLong { length, cap: T::CAP }) } else { Ok(()) }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { body: self.body.clone(), signature: self.signature, kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body && self.signature == other.signature
    }
}

impl<T> Eq for Signed<T> {}

impl<T: Statement> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} of {} bytes)", T::DOMAIN, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Word(String);

    impl Statement for Word {
        const DOMAIN: &'static str = "word";
        const CAP: usize = 64;

        fn is_sound(&self) -> bool {
            self.0 != "nonsense"
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Name(String);

    impl Statement for Name {
        const DOMAIN: &'static str = "name";
        const CAP: usize = 64;
    }

    fn signer() -> Identity {
        Identity::ephemeral().unwrap()
    }

    fn word() -> Word {
        Word("octopus".to_owned())
    }

    #[test]
    fn who_signed_is_who_must_have() {
        let (signer, other) = (signer(), signer());
        let signed = Signed::sign(&signer, &word()).unwrap();
        assert_eq!(signed.open(signer.id()), Ok(word()));
        assert_eq!(signed.open(other.id()), Err(SignedError::NotSignedBy { signer: other.id() }));
        assert_eq!(Signed::from_bytes(&signed.to_bytes()), Ok(signed));
    }

    #[test]
    fn a_signature_of_one_kind_is_none_of_another() {
        let signer = signer();
        let bytes = Signed::sign(&signer, &word()).unwrap().to_bytes();
        let as_name = Signed::<Name>::from_bytes(&bytes).unwrap();
        assert_eq!(as_name.open(signer.id()), Err(SignedError::NotSignedBy { signer: signer.id() }));
    }

    #[test]
    fn what_is_too_long_or_makes_no_sense_is_neither_signed_nor_opened() {
        let signer = signer();
        assert!(matches!(Signed::sign(&signer, &Word("x".repeat(64))), Err(SignedError::TooLong { cap: 64, .. })));
        assert_eq!(Signed::sign(&signer, &Word("nonsense".into())), Err(SignedError::Senseless));
        let forged = |body: &[u8]| {
            let signature = signer.sign(&message::<Word>(body));
            Signed::<Word> { body: body.to_vec(), signature, kind: PhantomData }
        };
        assert_eq!(forged(&cbor::encode(&Word("nonsense".into()))).open(signer.id()), Err(SignedError::Senseless));
        assert_eq!(forged(&[0x81; 40]).open(signer.id()), Err(SignedError::Senseless));
        let tailed = [cbor::encode(&word()), vec![0]].concat();
        assert_eq!(forged(&tailed).open(signer.id()), Err(SignedError::Senseless));
        let long = Signed::<Word>::from_bytes(&vec![0; 1000]);
        assert!(matches!(long, Err(SignedError::TooLong { length: 936, .. })));
        assert_eq!(Signed::<Word>::from_bytes(&[0; 63]), Err(SignedError::CutOff));
    }

    proptest! {
        #[test]
        fn an_altered_byte_anywhere_is_noticed(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let signer = signer();
            let mut bytes = Signed::sign(&signer, &word()).unwrap().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let opened = Signed::<Word>::from_bytes(&bytes).and_then(|signed| signed.open(signer.id()));
            prop_assert!(opened.is_err(), "{opened:?}");
        }

        #[test]
        fn no_bytes_break_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(signed) = Signed::<Word>::from_bytes(&bytes) {
                prop_assert!(signed.open(NodeId([1; 32])).is_err());
            }
        }
    }
}
