//! Keys that prove nothing.
//!
//! Ed25519 has a few public keys of small order, for which one signature holds
//! for every message, so that anybody can speak as such a node. No key that was
//! made by drawing a secret is one of them. Invariant: none of them ever
//! becomes the id of a peer or the signer of a statement. Absent: everything
//! that the signature scheme checks itself.

use crate::model::NodeId;

/// Every encoding of a point of small order, without the bit of its sign (RFC 8032 §5.1.2 lets x be either).
const SMALL_ORDER: [[u8; 32]; 7] = [
    // Order 4: y is 0.
    with_ends(0x00, 0x00, 0x00),
    // Order 1: y is 1.
    with_ends(0x01, 0x00, 0x00),
    // Order 2: y is -1.
    with_ends(0xec, 0xff, 0x7f),
    // The first two again, with the field's prime added.
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
    // Order 8: both values of y.
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Whether anybody can sign as `id`.
pub(super) fn is_weak(id: NodeId) -> bool {
    let mut y = id.0;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// A number whose first byte, middle bytes and last byte are these.
const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::trust::Identity;

    /// The signature that holds for everything under the key of order 1: the neutral point, and zero.
    fn holds_for_everything() -> [u8; 64] {
        let mut signature = [0; 64];
        signature[0] = 1;
        signature
    }

    #[test]
    fn there_is_a_key_under_which_one_signature_holds_for_everything_and_it_is_refused() {
        let key = with_ends(1, 0, 0);
        let check = |message: &[u8]| UnparsedPublicKey::new(&ED25519, key).verify(message, &holds_for_everything());
        assert!(check(b"one thing").is_ok() && check(b"another").is_ok(), "this is what the list is for");
        assert!(SMALL_ORDER.iter().all(|key| is_weak(NodeId(*key))));
    }

    #[test]
    fn the_bit_of_the_sign_does_not_hide_a_weak_key() {
        for mut key in SMALL_ORDER {
            key[31] |= 0x80;
            assert!(is_weak(NodeId(key)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_key_that_was_drawn_is_never_weak(_again: bool) {
            prop_assert!(!is_weak(Identity::ephemeral().unwrap().id()));
        }
    }
}
