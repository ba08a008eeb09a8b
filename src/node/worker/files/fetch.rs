//! Getting blobs: what is missing, once.
//!
//! The one invariant: a blob is fetched once however many attempts wait for
//! it, and pieces that came before a link broke do not come again. Absent: from
//! whom it comes (`transfer`).

use super::transfer::Moved;
use super::{FilesError, Stock, Urgency, blocking};
use crate::model::AttemptId;
use crate::model::files::{BlobRef, BlobWish};

impl Stock {
    /// Has all of `blobs` here, which `manifest` lists if there is one; adds to `moved` what had to come.
    pub(super) async fn fetch(
        &self,
        id: AttemptId,
        blobs: &[BlobRef],
        manifest: Option<BlobRef>,
        moved: &mut Moved,
        urgency: Urgency,
    ) -> Result<(), FilesError> {
        loop {
            let released = self.under_way.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            let missing = self.missing(blobs).await?;
            if missing.is_empty() {
                return Ok(());
            }
            let claim = self.under_way.claim(missing.iter().map(|wish| wish.blob.digest));
            if claim.digests.is_empty() {
                released.await;
                continue;
            }
            let wishes: Vec<BlobWish> =
                missing.into_iter().filter(|wish| claim.digests.contains(&wish.blob.digest)).collect();
            self.make_room(&wishes, urgency).await?;
            for some in BlobWish::by_stream(wishes) {
                self.transfer(id, some, manifest, moved).await?;
            }
        }
    }

    /// What of `blobs` is not here yet.
    async fn missing(&self, blobs: &[BlobRef]) -> Result<Vec<BlobWish>, FilesError> {
        let (store, blobs) = (self.store.clone(), blobs.to_vec());
        blocking(move || {
            let wishes = blobs.into_iter().map(|blob| BlobWish { blob, pieces: store.missing(blob) });
            Ok(wishes.filter(|wish| !wish.pieces.is_empty()).collect())
        })
        .await
    }
}
