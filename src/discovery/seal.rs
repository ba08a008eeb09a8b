//! Signing beacons, and finding out who signed one.
//!
//! Invariant: what comes out of [`open`] was signed by the key beside it, as a
//! beacon and as nothing else. Absent: whether anybody should care.

use crate::model::NodeId;
use crate::trust::Identity;
use crate::trust::signed::{Signed, SignedError, Statement};
use crate::wire::WireError;
use crate::wire::beacon::{Beacon, MAX_PAYLOAD_BYTES, SealedBeacon};

impl Statement for Beacon {
    const DOMAIN: &'static str = "beacon";
    const CAP: usize = MAX_PAYLOAD_BYTES;

    fn is_sound(&self) -> bool {
        Self::is_sound(self)
    }
}

/// The datagram that says `beacon` as `identity`.
///
/// # Errors
/// When it is out of its bounds.
pub(super) fn seal(identity: &Identity, beacon: &Beacon) -> Result<Vec<u8>, SealError> {
    let bytes = Signed::sign(identity, beacon)?.to_bytes();
    let (signature, payload) = bytes.split_first_chunk().ok_or(SignedError::CutOff)?;
    Ok(SealedBeacon { payload: payload.to_vec(), key: identity.id(), signature: *signature }.encode()?)
}

/// What `sealed` says, if its key signed it.
///
/// # Errors
/// When it did not.
pub(super) fn open(sealed: &SealedBeacon) -> Result<(NodeId, Beacon), SignedError> {
    let bytes = [&sealed.signature[..], &sealed.payload].concat();
    Ok((sealed.key, Signed::<Beacon>::from_bytes(&bytes)?.open(sealed.key)?))
}

/// Why a beacon cannot be said.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    /// It cannot be signed.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// It fits into no datagram.
    #[error(transparent)]
    Wire(#[from] WireError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::neighbours::tests::beacon_of;

    #[test]
    fn a_sealed_beacon_opens_with_its_own_key_alone() {
        let (signer, other) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let beacon = beacon_of(1, 1);
        let sealed = SealedBeacon::decode(&seal(&signer, &beacon).unwrap()).unwrap();
        assert_eq!(open(&sealed), Ok((signer.id(), beacon)));
        let forged = SealedBeacon { key: other.id(), ..sealed.clone() };
        assert_eq!(open(&forged), Err(SignedError::NotSignedBy { signer: other.id() }));
        let mut altered = sealed;
        *altered.payload.last_mut().unwrap() ^= 1;
        assert!(open(&altered).is_err());
    }
}
