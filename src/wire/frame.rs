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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::handshake::Hello;
    use crate::model::limits::{MAX_BATCH, MAX_FRAME, MAX_FRAME_UNAUTHENTICATED};
    use crate::model::messages::{DispatcherMessage, FencedAttempt, WorkerMessage};
    use crate::model::requests::{Reply, Request};
    use crate::model::{AttemptId, AttemptNo, Epoch, Fence, TaskId};

    fn recorded(count: usize) -> DispatcherMessage {
        let id = AttemptId { task: TaskId::new(1, 2), attempt: AttemptNo(3) };
        let one = FencedAttempt { id, fence: Fence { epoch: Epoch(1), counter: 4 } };
        DispatcherMessage::Recorded(vec![one; count])
    }

    #[test]
    fn a_length_beyond_the_cap_is_refused_by_the_header_alone() {
        assert_eq!(body_length([0, 0, 0x10, 0], MAX_FRAME_UNAUTHENTICATED), Ok(4096));
        let longer = WireError::TooLong { length: 4097, cap: 4096 };
        assert_eq!(body_length([0, 0, 0x10, 1], MAX_FRAME_UNAUTHENTICATED), Err(longer));
    }

    #[test]
    fn what_cannot_be_sent_leaves_nothing_behind_in_the_buffer() {
        let mut out = b"before".to_vec();
        assert!(matches!(encode(&recorded(1000), &mut out, 100), Err(WireError::TooLong { cap: 100, .. })));
        let too_many = encode(&recorded(MAX_BATCH + 1), &mut out, MAX_FRAME);
        assert!(matches!(too_many, Err(WireError::ListTooLong { .. })), "{too_many:?}");
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_message_ends_where_its_frame_ends() {
        let mut frame = Vec::new();
        encode(&recorded(2), &mut frame, MAX_FRAME).expect("fits");
        let body = &frame[HEADER_BYTES..];
        assert_eq!(body_length(*frame.first_chunk().expect("a header"), MAX_FRAME), Ok(body.len()));
        assert_eq!(decode(body), Ok(recorded(2)));
        let longer = [body, &[0]].concat();
        assert_eq!(decode::<DispatcherMessage>(&longer), Err(WireError::Trailing(1)));
        assert_eq!(decode::<DispatcherMessage>(&body[..body.len() - 1]), Err(WireError::Truncated));
        assert_eq!(decode::<DispatcherMessage>(&[]), Err(WireError::Truncated));
    }

    #[test]
    fn nesting_is_followed_only_so_deep() {
        for opener in [0x81, 0xa1, 0xc1, 0x9f] {
            let deep = vec![opener; 1 << 20];
            assert!(decode::<WorkerMessage>(&deep).is_err());
            // Behind a field that no message has, where a decoder only skips.
            let mut hidden = vec![0xa1, 0x61, b'x'];
            hidden.extend_from_slice(&deep);
            assert!(decode::<Hello>(&hidden).is_err());
        }
    }

    #[test]
    fn lengths_that_only_claim_to_be_long_are_refused() {
        for major in [0x5b, 0x7b, 0x9b, 0xbb] {
            let mut claim = vec![0xa1, 0x67];
            claim.extend_from_slice(b"Holding");
            claim.push(major);
            claim.extend_from_slice(&(u64::MAX / 2).to_be_bytes());
            assert!(decode::<WorkerMessage>(&claim).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Hello>(&bytes);
            let _ = decode::<WorkerMessage>(&bytes);
            let _ = decode::<DispatcherMessage>(&bytes);
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }

        #[test]
        fn a_damaged_message_is_another_message_or_an_error(at in 0usize..60, with: u8) {
            let mut frame = Vec::new();
            encode(&recorded(3), &mut frame, MAX_FRAME).expect("fits");
            let at = HEADER_BYTES + at % (frame.len() - HEADER_BYTES);
            frame[at] = with;
            if let Ok(message) = decode::<DispatcherMessage>(&frame[HEADER_BYTES..]) {
                let mut again = Vec::new();
                prop_assert!(encode(&message, &mut again, MAX_FRAME).is_ok());
            }
        }
    }
}
