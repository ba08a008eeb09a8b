//! Getting blobs: what is missing, from the dispatcher, piece by piece.
//!
//! The one invariant: a blob is fetched once however many attempts wait for
//! it, and pieces that came before a link broke do not come again.

use super::{FilesError, Pause, Stock, blocking};
use crate::blob::BlobError;
use crate::model::AttemptId;
use crate::model::files::{BlobRef, BlobWish};
use crate::model::limits::MAX_FRAME;
use crate::model::messages::{FilesReply, StreamPurpose};

/// Damaged pieces in a row after which a blob is given up.
const MOST_DAMAGED: u32 = 3;

impl Stock {
    /// Has all of `blobs` here; says how many bytes had to come.
    pub(super) async fn fetch(&self, id: AttemptId, blobs: &[BlobRef]) -> Result<u64, FilesError> {
        let (mut moved, mut damaged, mut pause) = (0, 0, Pause::new());
        loop {
            let released = self.under_way.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            let missing = self.missing(blobs).await?;
            if missing.is_empty() {
                return Ok(moved);
            }
            let claim = self.under_way.claim(missing.iter().map(|wish| wish.blob.digest));
            if claim.digests.is_empty() {
                released.await;
                continue;
            }
            let wishes: Vec<BlobWish> =
                missing.into_iter().filter(|wish| claim.digests.contains(&wish.blob.digest)).collect();
            match self.fetch_claimed(id, wishes, &mut moved).await {
                Ok(()) => {}
                Err(FilesError::Blob(BlobError::Corrupt { digest, .. })) => {
                    damaged += 1;
                    tracing::warn!("The dispatcher sent a damaged piece of {}", digest.short());
                    if damaged == MOST_DAMAGED {
                        return Err(FilesError::Damaged(digest));
                    }
                }
                Err(error) if error.is_passing() => {
                    tracing::debug!("Fetching inputs of task {id} starts again: failed to {error}");
                    pause.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What of `blobs` is not here yet; makes room for it.
    async fn missing(&self, blobs: &[BlobRef]) -> Result<Vec<BlobWish>, FilesError> {
        let (store, blobs) = (self.store.clone(), blobs.to_vec());
        blocking(move || {
            let wishes = blobs.into_iter().map(|blob| BlobWish { blob, pieces: store.missing(blob) });
            let missing: Vec<BlobWish> = wishes.filter(|wish| !wish.pieces.is_empty()).collect();
            let bytes = missing.iter().map(|wish| wish.blob.bytes).fold(0, u64::saturating_add);
            if bytes > 0 {
                store.make_room(bytes, &|_| false)?;
            }
            Ok(missing)
        })
        .await
    }

    async fn fetch_claimed(&self, id: AttemptId, wishes: Vec<BlobWish>, moved: &mut u64) -> Result<(), FilesError> {
        for some in BlobWish::by_stream(wishes) {
            self.fetch_some(id, some, moved).await?;
        }
        Ok(())
    }

    /// One stream's worth.
    async fn fetch_some(&self, id: AttemptId, wishes: Vec<BlobWish>, moved: &mut u64) -> Result<(), FilesError> {
        let link = self.link().await?;
        let (mut send, mut recv) = link.open_bi().await?;
        let blobs: Vec<BlobRef> = wishes.iter().map(|wish| wish.blob).collect();
        send.send(&StreamPurpose::BlobFetch { id, wishes }).await?;
        match recv.recv::<FilesReply>(MAX_FRAME).await? {
            Some(FilesReply::Follows) => {}
            Some(FilesReply::Refused(failure)) => return Err(FilesError::Refused(failure)),
            Some(_) => return Err(FilesError::Unexpected),
            None => return Err(crate::transport::TransportError::StreamClosed.into()),
        }
        while let Some(piece) = recv.recv_piece().await? {
            let Some(blob) = blobs.get(piece.blob as usize).copied() else { return Err(FilesError::Unexpected) };
            *moved += piece.encoded.len() as u64;
            let store = self.store.clone();
            blocking(move || Ok(store.accept(blob, piece.number, &piece.encoded)?)).await?;
        }
        Ok(())
    }
}
