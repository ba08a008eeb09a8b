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
use crate::transport::FrameSend;
use crate::wire::DataFrame;

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
    for (place, wish) in wishes.into_iter().enumerate() {
        for number in wish.pieces.iter() {
            let store = store.clone();
            let encoded = blocking(move || Ok(store.encode(wish.blob, number)?)).await?;
            send.feed_piece(place as u32, number, &encoded).await?;
        }
    }
    send.send_data(&DataFrame::End).await?;
    Ok(send.finish().await?)
}
