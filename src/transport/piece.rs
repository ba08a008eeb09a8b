//! Pieces of blobs over a stream: where each belongs, and its bytes behind it.
//!
//! Invariant: a piece comes out whole or not at all, and no more than one is in
//! memory. Absent: what its bytes are worth (whoever gets them verifies them).

use std::borrow::Cow;

use super::{FrameRecv, FrameSend, TransportError};
use crate::model::limits::PIECE_BYTES;
use crate::wire::WireError;
use crate::wire::data::DataFrame;

/// Longest verified encoding of a piece: its bytes, and beside them the hashes that prove them, which are far fewer.
pub const MAX_PIECE_ON_WIRE: u32 = 2 * PIECE_BYTES as u32;

/// One piece as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Place of its blob in the list that opened the stream.
    pub blob: u32,
    /// Its number within the blob.
    pub number: u64,
    /// Its verified encoding.
    pub encoded: Vec<u8>,
}

impl FrameSend {
    /// Sends one piece.
    ///
    /// # Errors
    /// When the stream or link is gone.
    pub async fn feed_piece(&mut self, blob: u32, number: u64, encoded: &[u8]) -> Result<(), TransportError> {
        debug_assert!(encoded.len() <= MAX_PIECE_ON_WIRE as usize, "a piece that its reader would refuse");
        self.feed_data(&DataFrame::PieceBegins { blob, piece: number, length: encoded.len() as u32 }).await?;
        self.feed_data(&DataFrame::Bytes(Cow::Borrowed(encoded))).await
    }
}

impl FrameRecv {
    /// The next piece; `None` at the end of them. May be cancelled only together with its stream.
    ///
    /// # Errors
    /// When something else came, a piece was cut short, or the stream or link is gone.
    pub async fn recv_piece(&mut self) -> Result<Option<Piece>, TransportError> {
        self.recv_piece_with(|_| {}).await
    }

    /// The same, telling `progress` of every so many bytes of it that came.
    ///
    /// # Errors
    /// As [`FrameRecv::recv_piece`].
    pub async fn recv_piece_with(&mut self, mut progress: impl FnMut(usize)) -> Result<Option<Piece>, TransportError> {
        let (blob, number, length) = match self.recv_data().await? {
            Some(DataFrame::PieceBegins { blob, piece, length }) if length <= MAX_PIECE_ON_WIRE => {
                (blob, piece, length as usize)
            }
            Some(DataFrame::End) => return Ok(None),
            Some(other) => return Err(WireError::Unexpected { kind: other.kind_byte() }.into()),
            None => return Err(TransportError::FrameCut),
        };
        let mut encoded = Vec::with_capacity(length);
        while encoded.len() < length {
            match self.recv_data().await? {
                Some(DataFrame::Bytes(bytes)) if encoded.len() + bytes.len() <= length => {
                    encoded.extend_from_slice(&bytes);
                    progress(bytes.len());
                }
                Some(other) => return Err(WireError::Unexpected { kind: other.kind_byte() }.into()),
                None => return Err(TransportError::FrameCut),
            }
        }
        Ok(Some(Piece { blob, number, encoded }))
    }
}
