//! How this room's values become bytes and values again: one CBOR value, whole.
//!
//! Invariant: what is read is bounded in length by its caller and in depth
//! here, and has nothing behind it. Absent: frames (`wire/`).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Nesting that the deepest of this room's values has, and a little more.
const DEPTH: usize = 12;

/// The bytes of `value`.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    #[expect(clippy::expect_used, reason = "plain structs written to memory")]
    ciborium::into_writer(value, &mut bytes).expect("encoding to memory does not fail");
    bytes
}

/// The value that `bytes` hold, all of them.
pub(super) fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Option<T> {
    let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, DEPTH).ok()?;
    bytes.is_empty().then_some(value)
}
