//! Pieces that the dispatcher asks for: of outputs that are held here, and of
//! inputs that were fetched.
//!
//! The one invariant: what is sent was verified on its way out of the store.
//! Absent: who may have it, which the dispatcher has seen to; other workers do
//! not come here.

use super::{FilesError, blocking};
use crate::blob::BlobStore;
use crate::model::files::BlobWish;
use crate::model::messages::FilesReply;
use crate::node::serving::send_all;
use crate::transport::FrameSend;

/// Sends these pieces, or says that they are not here.
pub(in crate::node::worker) async fn serve(
    store: &BlobStore,
    wishes: Vec<BlobWish>,
    send: &mut FrameSend,
) -> Result<(), FilesError> {
    let (held, asked) = (store.clone(), wishes.clone());
    let (lacking, _pins) = blocking(move || {
        let pins = held.pin(asked.iter().map(|wish| wish.blob.digest));
        let lacks = |wish: &&BlobWish| {
            let missing = held.missing(wish.blob);
            !missing.is_empty() && wish.pieces.iter().any(|piece| missing.contains(piece))
        };
        let lacking: Vec<_> = asked.iter().filter(lacks).map(|wish| wish.blob.digest).collect();
        Ok((lacking, pins))
    })
    .await?;
    if !lacking.is_empty() {
        send.send(&FilesReply::Lacking(lacking)).await?;
        return Ok(send.finish().await?);
    }
    send.send(&FilesReply::Follows).await?;
    send_all::<FilesError>(store, (0..).zip(wishes), send).await?;
    Ok(send.finish().await?)
}
