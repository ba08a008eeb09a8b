//! What the dispatcher reads here on streams of its own: output of attempts,
//! pieces of the files that this worker has, and how it sees the others.
//!
//! The one invariant: every stream is answered by itself, so a slow reader
//! delays no other. Absent: who may read what, which the dispatcher has seen to.

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::examine::Examiner;
use super::files::{FilesError, Giver, serve};
use super::logs::{LogTransferError, copy};
use crate::exec::Executor;
use crate::model::limits::MAX_FRAME;
use crate::model::messages::StreamPurpose;
use crate::node::serving::ServeError;
use crate::transport::{FrameRecv, FrameSend, Link, TransportError};
use crate::wire::DataFrame;

/// This worker's files; `None` until they are open, which is right behind the first welcome.
pub(super) type FilesSlot = watch::Receiver<Option<Giver>>;

/// Why an answer ended early; the text completes "failed to …".
#[derive(Debug, thiserror::Error)]
enum ReadError {
    /// The output, or the stream.
    #[error(transparent)]
    Log(#[from] LogTransferError),
    /// The files, or the stream.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Pieces of them.
    #[error(transparent)]
    Pieces(#[from] ServeError),
    /// The stream.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Answers every `LogRead`, `BlobRead`, `PieceRead` and `Examine` that the dispatcher sends on `link`, until the link
/// ends.
pub(super) async fn serve_reads(
    link: &Link,
    executor: &Executor,
    files: &FilesSlot,
    examiner: &Examiner,
) -> TransportError {
    // Bounded by the number of streams that a link allows at once.
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = link.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let (executor, files, examiner) = (executor.clone(), files.clone(), examiner.clone());
                    readers.spawn(async move {
                        if let Err(error) = answer(send, recv, &executor, files, &examiner).await {
                            tracing::debug!("What the dispatcher reads here ended early: failed to {error}");
                        }
                    });
                }
                Err(error) => return error,
            },
            Some(_) = readers.join_next() => {}
        }
    }
}

async fn answer(
    mut send: FrameSend,
    mut recv: FrameRecv,
    executor: &Executor,
    mut files: FilesSlot,
    examiner: &Examiner,
) -> Result<(), ReadError> {
    match recv.recv::<StreamPurpose>(MAX_FRAME).await? {
        Some(StreamPurpose::LogRead { id, follow }) => {
            if let Some(mut log) = executor.read_log(id, follow) {
                copy(&mut log, &mut send).await?;
            }
        }
        Some(purpose @ (StreamPurpose::BlobRead { .. } | StreamPurpose::PieceRead { .. })) => {
            // Right behind the welcome they may not be open yet.
            let opened = files.wait_for(Option::is_some).await.ok().and_then(|files| files.clone());
            match (opened, purpose) {
                (Some(files), StreamPurpose::BlobRead { wishes }) => {
                    return Ok(serve(files.store(), wishes, &mut send).await?);
                }
                (Some(files), StreamPurpose::PieceRead { blobs }) => {
                    return Ok(files.to_dispatcher(&blobs, &mut send, &mut recv).await?);
                }
                _ => {}
            }
        }
        Some(StreamPurpose::Examine) => {
            send.send(&examiner.findings().await).await?;
            return Ok(send.finish().await?);
        }
        _ => {}
    }
    send.send_data(&DataFrame::End).await?;
    Ok(send.finish().await?)
}
