//! Getting blobs: what is missing, from the dispatcher, piece by piece.
//!
//! The one invariant: a blob is fetched once however many attempts wait for
//! it, and pieces that came before a link broke do not come again.

use super::{FilesError, Pause, Stock, blocking};
use crate::blob::BlobError;
use crate::model::files::{BlobRef, BlobWish};
use crate::model::limits::MAX_FRAME;
use crate::model::messages::{FilesReply, StreamPurpose};
use crate::model::{AttemptId, NodeName};

/// Damaged pieces in a row after which a blob is given up.
const MOST_DAMAGED: u32 = 3;

/// What had to come for an attempt.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Bytes.
    pub(super) bytes: u64,
    /// The worker from which they came through the dispatcher, when they are not the dispatcher's own.
    pub(super) relayed_from: Option<NodeName>,
}

impl Stock {
    /// Has all of `blobs` here; says what had to come.
    pub(super) async fn fetch(&self, id: AttemptId, blobs: &[BlobRef]) -> Result<Moved, FilesError> {
        let (mut moved, mut damaged, mut pause) = (Moved::default(), 0, Pause::new());
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
        let missing = blocking(move || {
            let wishes = blobs.into_iter().map(|blob| BlobWish { blob, pieces: store.missing(blob) });
            Ok(wishes.filter(|wish| !wish.pieces.is_empty()).collect::<Vec<_>>())
        });
        let missing = missing.await?;
        let bytes = missing.iter().map(|wish| wish.blob.bytes).fold(0, u64::saturating_add);
        if bytes > 0 {
            self.make_room(bytes).await?;
        }
        Ok(missing)
    }

    async fn fetch_claimed(&self, id: AttemptId, wishes: Vec<BlobWish>, moved: &mut Moved) -> Result<(), FilesError> {
        for some in BlobWish::by_stream(wishes) {
            self.fetch_some(id, some, moved).await?;
        }
        Ok(())
    }

    /// One stream's worth.
    async fn fetch_some(&self, id: AttemptId, wishes: Vec<BlobWish>, moved: &mut Moved) -> Result<(), FilesError> {
        let link = self.link().await?;
        let (mut send, mut recv) = link.open_bi().await?;
        let blobs: Vec<BlobRef> = wishes.iter().map(|wish| wish.blob).collect();
        send.send(&StreamPurpose::BlobFetch { id, wishes }).await?;
        match recv.recv::<FilesReply>(MAX_FRAME).await? {
            Some(FilesReply::Follows) => {}
            Some(FilesReply::Relayed(worker)) => moved.relayed_from = Some(worker),
            Some(FilesReply::Away) => return Err(FilesError::Away),
            Some(FilesReply::Remade(text)) => return Err(FilesError::Remade(text)),
            Some(FilesReply::Refused(failure)) => return Err(FilesError::Refused(failure)),
            Some(_) => return Err(FilesError::Unexpected),
            None => return Err(crate::transport::TransportError::StreamClosed.into()),
        }
        while let Some(piece) = recv.recv_piece().await? {
            let Some(blob) = blobs.get(piece.blob as usize).copied() else { return Err(FilesError::Unexpected) };
            moved.bytes += piece.encoded.len() as u64;
            let store = self.store.clone();
            blocking(move || Ok(store.accept(blob, piece.number, &piece.encoded)?)).await?;
        }
        Ok(())
    }
}
