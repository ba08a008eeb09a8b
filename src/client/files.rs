//! Files of jobs between this machine and the dispatcher: what it lacks goes
//! up before a submission, outputs come down after an end.
//!
//! The one invariant: nothing is sent that the other side has, and nothing is
//! kept that was not verified. What was moved before a link broke is not moved
//! again: whoever goes on asks anew what is missing. Absent: paths that people
//! type, and when files are moved (`cli/`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::spawn_blocking;

use super::{Client, ClientError, unexpected};
use crate::blob::{BlobError, FileDelivery, Source};
use crate::model::TaskId;
use crate::model::files::{BlobRef, BlobWish};
use crate::model::limits::{MAX_BATCH, MAX_FRAME};
use crate::model::requests::{Reply, Request};
use crate::transport::{FrameRecv, FrameSend, Piece};
use crate::wire::DataFrame;

/// Where the bytes of a blob are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file of this machine.
    File(PathBuf),
    /// Bytes that were made here: a manifest.
    Bytes(Vec<u8>),
}

/// The blobs that a job needs, and where they are.
pub type Luggage = BTreeMap<BlobRef, Origin>;

/// How many bytes of files have moved: to be looked at while they do. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ByteCount(Arc<AtomicU64>);

impl ByteCount {
    /// So many more have moved.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was counted since it was `bytes` has to move again.
    pub fn back_to(&self, bytes: u64) {
        self.0.fetch_min(bytes, Ordering::Relaxed);
    }

    /// How many have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Client {
    /// What the dispatcher lacks of these blobs. What it has it keeps as long as this link stands.
    ///
    /// # Errors
    /// When it refuses, or the link breaks.
    pub async fn missing(&self, blobs: impl IntoIterator<Item = BlobRef>) -> Result<Vec<BlobWish>, ClientError> {
        let all: Vec<BlobRef> = blobs.into_iter().collect();
        let mut missing = Vec::new();
        for some in all.chunks(MAX_BATCH) {
            match self.ask(&Request::Blobs(some.to_vec())).await? {
                Reply::Wanted(mut wishes) => missing.append(&mut wishes),
                other => return Err(unexpected("blobs", other)),
            }
        }
        Ok(missing)
    }

    /// Sends what was said to be missing, and counts it in `count`.
    ///
    /// # Errors
    /// When a file has changed or cannot be read, the dispatcher has no room, or the link breaks.
    pub async fn upload(&self, wishes: Vec<BlobWish>, luggage: &Luggage, count: &ByteCount) -> Result<(), ClientError> {
        for some in BlobWish::by_stream(wishes) {
            let (files, before) = (some.len(), count.bytes());
            let uploaded = self.upload_some(some, luggage, count).await;
            tracing::debug!("Uploaded {} bytes of {files} files", count.bytes() - before);
            uploaded?;
        }
        Ok(())
    }

    async fn upload_some(
        &self,
        wishes: Vec<BlobWish>,
        luggage: &Luggage,
        count: &ByteCount,
    ) -> Result<(), ClientError> {
        let (mut send, mut recv) = self.open(&Request::UploadBlobs(wishes.clone())).await?;
        let feeding = async {
            for (place, wish) in wishes.into_iter().enumerate() {
                // The dispatcher asks for nothing that it was not told of.
                let Some(origin) = luggage.get(&wish.blob).cloned() else {
                    return Err(ClientError::UnexpectedReply("blobs"));
                };
                let blob = wish.blob;
                let mut source = blocking(move || match origin {
                    Origin::File(path) => Source::open(&path, blob),
                    Origin::Bytes(bytes) => Source::of_bytes(bytes, blob),
                })
                .await?;
                for number in wish.pieces.iter() {
                    let encoded;
                    (source, encoded) = blocking(move || {
                        let encoded = source.encode(number)?;
                        Ok((source, encoded))
                    })
                    .await?;
                    send.feed_piece(place as u32, number, &encoded).await?;
                    count.add(blob.bytes_between(number, number));
                }
            }
            send.send_data(&DataFrame::End).await?;
            Ok(())
        };
        // A refusal comes while we still send.
        let answer = recv.recv::<Reply>(MAX_FRAME);
        tokio::pin!(answer);
        tokio::select! {
            // One that has refused takes nothing more: why not is the better error.
            fed = feeding => match fed {
                Err(ClientError::LinkLost(_)) | Ok(()) => {}
                Err(ours) => return Err(ours),
            },
            early = &mut answer => return kept(early?),
        }
        kept(answer.await?)
    }

    /// Asks for pieces of the outputs of `task`, at most [`BLOBS_A_STREAM`](crate::model::limits::BLOBS_A_STREAM) blobs at once.
    ///
    /// # Errors
    /// When they are no outputs of that task or not kept any more, the task is somebody else's, or the link breaks.
    pub async fn fetch_output(&self, task: TaskId, wishes: Vec<BlobWish>) -> Result<Pieces, ClientError> {
        let (send, mut recv) = self.open(&Request::FetchOutput { task, wishes }).await?;
        super::streaming(&mut recv, "fetch").await?;
        Ok(Pieces { _send: send, recv })
    }
}

impl Client {
    /// Fetches outputs of `task` into files that were begun, as many as one stream carries and at most
    /// [`BLOBS_A_STREAM`](crate::model::limits::BLOBS_A_STREAM), gives them their names, and counts their bytes in
    /// `count`.
    ///
    /// # Errors
    /// As [`Client::fetch_output`]; when a piece is not what it should be, or the disk fails.
    pub async fn fetch_into(
        &self,
        task: TaskId,
        mut files: Vec<(FileDelivery, BlobRef)>,
        count: &ByteCount,
    ) -> Result<(), ClientError> {
        let wishes: Vec<BlobWish> =
            files.iter().map(|(file, blob)| BlobWish { blob: *blob, pieces: file.missing() }).collect();
        if wishes.iter().any(|wish| !wish.pieces.is_empty()) {
            let mut pieces = self.fetch_output(task, wishes).await?;
            while let Some(piece) = pieces.next().await? {
                let place = piece.blob as usize;
                if place >= files.len() {
                    return Err(ClientError::UnexpectedReply("fetch"));
                }
                let (mut file, blob) = files.swap_remove(place);
                let number = piece.number;
                file = blocking(move || file.accept(number, &piece.encoded).map(|_| file)).await?;
                count.add(blob.bytes_between(number, number));
                files.push((file, blob));
                let last = files.len() - 1;
                files.swap(place, last);
            }
        }
        blocking(move || files.into_iter().try_for_each(|(file, _)| file.finish())).await
    }
}

fn kept(reply: Option<Reply>) -> Result<(), ClientError> {
    match reply {
        Some(Reply::Done { .. }) => Ok(()),
        Some(other) => Err(unexpected("upload", other)),
        None => Err(ClientError::NoReply),
    }
}

/// Pieces on their way down, in the order in which they were asked for.
pub struct Pieces {
    _send: FrameSend,
    recv: FrameRecv,
}

impl Pieces {
    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// When the link breaks.
    pub async fn next(&mut self) -> Result<Option<Piece>, ClientError> {
        Ok(self.recv.recv_piece().await?)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, ClientError> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        // The runtime ends, and this command with it.
        Err(_) => Err(ClientError::NoReply),
    }
}
