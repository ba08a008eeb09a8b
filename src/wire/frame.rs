//! Message frames: `u32` big-endian length, then one CBOR value.
//!
//! Invariant: a length is compared with its cap before anything is allocated
//! for it, and a frame is one message, whole, with nothing behind it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WireError;
use crate::model::limits::CBOR_DEPTH;

/// Bytes of the length in front of every frame.
pub const HEADER_BYTES: usize = 4;

/// What may travel as one frame.
pub trait Message: Serialize + DeserializeOwned {
    /// Checks what a type cannot say: that every list in it is within its bound.
    ///
    /// Both sides ask: the writer before it encodes, the reader after it decoded.
    ///
    /// # Errors
    /// [`WireError::ListTooLong`] for the first list that is not.
    fn check_bounds(&self) -> Result<(), WireError> {
        Ok(())
    }
}

/// Reads a frame's header: how many bytes of body follow.
///
/// # Errors
/// [`WireError::TooLong`] when they are more than `cap`.
pub fn body_length(header: [u8; HEADER_BYTES], cap: u32) -> Result<usize, WireError> {
    let length = u32::from_be_bytes(header);
    if length > cap {
        return Err(WireError::TooLong { length: length.into(), cap });
    }
    Ok(length as usize)
}

/// Appends `message` to `out` as one frame, header included.
///
/// # Errors
/// When a list in it is beyond its bound, or its body would exceed `cap`; `out` is then as it was.
pub fn encode<T: Message>(message: &T, out: &mut Vec<u8>, cap: u32) -> Result<(), WireError> {
    message.check_bounds()?;
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let written = ciborium::into_writer(message, &mut *out).map_err(|error| WireError::Unwritable(error.to_string()));
    let length = out.len() - start - HEADER_BYTES;
    let checked = written.and_then(|()| match u32::try_from(length) {
        Ok(length) if length <= cap => Ok(length),
        _ => Err(WireError::TooLong { length: length as u64, cap }),
    });
    match checked {
        Ok(length) => {
            out[start..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Decodes a frame's body, which is one message and nothing else.
///
/// # Errors
/// When it is not, or a list in it is beyond its bound.
pub fn decode<T: Message>(body: &[u8]) -> Result<T, WireError> {
    let mut rest = body;
    let message: T =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, CBOR_DEPTH).map_err(|error| match error {
            ciborium::de::Error::Io(_) => WireError::Truncated,
            other => WireError::Malformed(other.to_string()),
        })?;
    if !rest.is_empty() {
        return Err(WireError::Trailing(rest.len()));
    }
    message.check_bounds()?;
    Ok(message)
}
