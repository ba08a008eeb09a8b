//! Bringing outputs to the dispatcher, as far as it does not have them.

use super::{FilesError, Pause, Stock, blocking};
use crate::model::AttemptId;
use crate::model::files::{BlobRef, BlobWish, Content, OutputFile};
use crate::model::limits::{BLOBS_A_STREAM, MAX_BATCH, MAX_FRAME};
use crate::model::messages::{FilesReply, StreamPurpose};
use crate::node::serving::send_all;
use crate::transport::{FrameSend, TransportError};

impl Stock {
    /// Returns when the dispatcher has every byte of `outputs`, for as long as that takes.
    ///
    /// # Errors
    /// When it refuses them, or they are not here any more.
    pub(in crate::node::worker) async fn offer(
        &self,
        id: AttemptId,
        outputs: Vec<OutputFile>,
    ) -> Result<(), FilesError> {
        let stock = self.clone();
        // Kept here until the dispatcher has them.
        let (blobs, _pins) = blocking(move || {
            let mut blobs = Vec::new();
            for output in &outputs {
                blobs.append(&mut stock.parts(&output.content)?);
            }
            blobs.sort_unstable();
            blobs.dedup();
            let pins = stock.store.pin(blobs.iter().map(|blob| blob.digest));
            Ok((blobs, pins))
        })
        .await?;
        for some in blobs.chunks(MAX_BATCH) {
            let mut pause = Pause::new();
            while let Err(error) = self.send_on(StreamPurpose::BlobOffer { id, blobs: some.to_vec() }).await {
                if !error.is_passing() {
                    return Err(error);
                }
                tracing::debug!("Bringing outputs of task {id} starts again: failed to {error}");
                pause.wait().await;
            }
        }
        Ok(())
    }

    /// Brings contents that only this worker has to the dispatcher.
    ///
    /// # Errors
    /// When it refuses them, they are not here any more, or the link breaks.
    pub(super) async fn copy(&self, contents: Vec<Content>) -> Result<(), FilesError> {
        let (trees, files): (Vec<Content>, Vec<Content>) =
            contents.into_iter().partition(|content| matches!(content, Content::Tree { .. }));
        for some in files.chunks(BLOBS_A_STREAM) {
            let blobs = some.iter().map(Content::blob).collect();
            self.send_on(StreamPurpose::BlobCopy { contents: some.to_vec(), blobs }).await?;
        }
        for tree in trees {
            let stock = self.clone();
            let parts = blocking(move || stock.parts(&tree)).await?;
            // The manifest goes by itself: it says what else belongs to the output.
            let (manifest, listed) = parts.split_at(parts.len().min(1));
            for blobs in std::iter::once(manifest).chain(listed.chunks(BLOBS_A_STREAM)) {
                self.send_on(StreamPurpose::BlobCopy { contents: vec![tree], blobs: blobs.to_vec() }).await?;
            }
        }
        Ok(())
    }

    /// One stream's worth, by a purpose that names blobs.
    async fn send_on(&self, purpose: StreamPurpose) -> Result<(), FilesError> {
        let (StreamPurpose::BlobOffer { blobs, .. } | StreamPurpose::BlobCopy { blobs, .. }) = &purpose else {
            return Err(FilesError::Unexpected);
        };
        let link = self.link().await?;
        let (mut send, mut recv) = link.open_bi().await?;
        send.send(&purpose).await?;
        let wishes = match recv.recv::<FilesReply>(MAX_FRAME).await? {
            Some(FilesReply::Wanted(wishes)) => wishes,
            other => return Err(unexpected(other)),
        };
        match self.feed(blobs, wishes, &mut send).await {
            // A dispatcher that can keep no more stops us, and then says why.
            Err(FilesError::Transport(_)) | Ok(()) => {}
            Err(ours) => return Err(ours),
        }
        match recv.recv::<FilesReply>(MAX_FRAME).await? {
            Some(FilesReply::Kept) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Sends what of `blobs` the dispatcher wishes for.
    async fn feed(&self, blobs: &[BlobRef], wishes: Vec<BlobWish>, send: &mut FrameSend) -> Result<(), FilesError> {
        if wishes.iter().any(|wish| !blobs.contains(&wish.blob)) {
            return Err(FilesError::Unexpected);
        }
        send_all(&self.store, (0..).zip(wishes), send).await
    }
}

fn unexpected(reply: Option<FilesReply>) -> FilesError {
    match reply {
        Some(FilesReply::Refused(failure)) => FilesError::NotKept(failure),
        Some(_) => FilesError::Unexpected,
        None => TransportError::StreamClosed.into(),
    }
}
