//! Giving pieces of blobs to whoever may read them: one conversation (`model::pieces`) from its first answer on.
//!
//! The one invariant: what leaves was verified on its way out of the store, and what is on its way at once is bounded,
//! however many ask and however slowly they read. Absent: who may read what (whoever calls has seen to that).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::blob::{BlobError, BlobStore, pieces_of};
use crate::model::files::BlobWish;
use crate::model::pieces::{MAX_PIECES_FRAME, PieceAnswer, PieceAsk, PiecesAt, are_sane};
use crate::model::requests::{Failure, FailureCode};
use crate::model::{BlobRef, IntervalSet};
use crate::transport::{FrameRecv, FrameSend, TransportError};
use crate::wire::{DataFrame, WireError};

/// A reader that asks nothing for so long is taken for one that is not there any more.
const ASK_PATIENCE: Duration = Duration::from_secs(60);
/// Whoever has waited for a turn for so long is told to come again: readers take a longer silence for a stall.
const TURN_PATIENCE: Duration = Duration::from_secs(1);
/// A reader that has not taken a piece by then is not waited for.
const PIECE_PATIENCE: Duration = Duration::from_secs(30);
/// What has come in is looked for again after this time.
const NEWS_EVERY: Duration = Duration::from_millis(100);
/// For each that sends, so many may wait for their turn; further ones are told that this node is busy.
const WAITING_EACH: usize = 4;

/// What a node sends at once, and has sent. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Uploads {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    sent: Arc<AtomicU64>,
}

impl Uploads {
    /// At most `at_once` answers with pieces are on their way at a time.
    pub(super) fn new(at_once: usize) -> Self {
        let semaphore = |count| Arc::new(Semaphore::new(count));
        Self { turns: semaphore(at_once), places: semaphore(at_once * (1 + WAITING_EACH)), sent: Arc::default() }
    }

    /// The same turns, with a count of its own.
    pub(super) fn counted_apart(&self) -> Self {
        Self { sent: Arc::default(), ..self.clone() }
    }

    /// Bytes of files that were sent.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A turn to send; `None` when too many wait for one.
    async fn turn(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let turn = timeout(TURN_PATIENCE, Arc::clone(&self.turns).acquire_owned()).await.ok()?.ok()?;
        Some((place, turn))
    }
}

/// Why a conversation ended early; completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    /// The stream or its link.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The folder of blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It neither asks nor reads.
    #[error("go on: whoever reads has stopped")]
    Gone,
}

/// Gives pieces of `blobs` for as long as `may_go_on` finds nothing against it.
pub(super) async fn serve(
    store: &BlobStore,
    blobs: &[BlobRef],
    uploads: &Uploads,
    may_go_on: impl Fn() -> Result<(), String>,
    send: &mut FrameSend,
    recv: &mut FrameRecv,
) -> Result<(), ServeError> {
    let _pins = store.pin(blobs.iter().map(|blob| blob.digest));
    let mut here = Here { store, blobs, told: vec![IntervalSet::new(); blobs.len()], looked_at: None };
    send.send(&PieceAnswer::Has(here.news())).await?;
    loop {
        let asked = timeout(ASK_PATIENCE, recv.recv::<PieceAsk>(MAX_PIECES_FRAME)).await;
        let Some(PieceAsk(asked)) = asked.map_err(|_| ServeError::Gone)?? else { return Ok(send.finish().await?) };
        if !are_sane(&asked, blobs) {
            return Err(TransportError::from(WireError::Malformed("no such pieces".to_owned())).into());
        }
        if let Err(text) = may_go_on() {
            return refuse(send, FailureCode::Forbidden, text).await;
        }
        let _turn = match asked.is_empty() {
            true => None,
            false => match uploads.turn().await {
                Some(turn) => Some(turn),
                None => {
                    send.send(&PieceAnswer::Busy).await?;
                    return Ok(send.finish().await?);
                }
            },
        };
        in_time(send.feed(&PieceAnswer::Has(here.news()))).await?;
        for PiecesAt { place, pieces } in &asked {
            // Nothing of it is here under that size, however many pieces a reader makes of it.
            if here.told.get(*place as usize).is_none_or(IntervalSet::is_empty) {
                continue;
            }
            for number in pieces.iter() {
                give(store, blobs, uploads, (*place, number), send).await?;
            }
        }
        in_time(send.send_data(&DataFrame::End)).await?;
    }
}

/// Sends the pieces of `wishes` in order, each under its place, and that this was all: to whoever asked for just these.
///
/// # Errors
/// When one of them is not here or cannot be read, or the stream or link is gone.
pub(super) async fn send_all<E: From<BlobError> + From<TransportError>>(
    store: &BlobStore,
    wishes: impl IntoIterator<Item = (u32, BlobWish)>,
    send: &mut FrameSend,
) -> Result<(), E> {
    for (place, BlobWish { blob, pieces }) in wishes {
        for number in pieces.iter() {
            let store = store.clone();
            // The runtime ends, and with it the link.
            let encoded = spawn_blocking(move || store.encode(blob, number)).await;
            let encoded = encoded.map_err(|_| TransportError::StreamClosed)??;
            send.feed_piece(place, number, &encoded).await?;
        }
    }
    Ok(send.send_data(&DataFrame::End).await?)
}

/// Whoever does not read keeps nobody else from being served for longer than this takes.
pub(super) async fn in_time(sending: impl Future<Output = Result<(), TransportError>>) -> Result<(), ServeError> {
    Ok(timeout(PIECE_PATIENCE, sending).await.map_err(|_| ServeError::Gone)??)
}

/// Says no.
pub(super) async fn refuse(send: &mut FrameSend, code: FailureCode, text: String) -> Result<(), ServeError> {
    send.send(&PieceAnswer::Refused(Failure { code, text, hint: None })).await?;
    Ok(send.finish().await?)
}

/// Sends one piece, if it is here.
async fn give(
    store: &BlobStore,
    blobs: &[BlobRef],
    uploads: &Uploads,
    (place, number): (u32, u64),
    send: &mut FrameSend,
) -> Result<(), ServeError> {
    let Some(blob) = blobs.get(place as usize).copied() else { return Ok(()) };
    let store = store.clone();
    let encoded = match spawn_blocking(move || store.encode(blob, number)).await {
        Ok(Ok(encoded)) => encoded,
        // The reader sees that it is not among what came.
        Ok(Err(BlobError::Missing { .. } | BlobError::MissingPiece { .. } | BlobError::Damaged { .. })) => {
            return Ok(());
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_stopping) => return Err(ServeError::Gone),
    };
    in_time(send.feed_piece(place, number, &encoded)).await?;
    uploads.sent.fetch_add(encoded.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// What is here of a stream's blobs, and what of it was said.
struct Here<'a> {
    store: &'a BlobStore,
    blobs: &'a [BlobRef],
    told: Vec<IntervalSet>,
    looked_at: Option<Instant>,
}

impl Here<'_> {
    /// All that is here of those blobs of which something has come or gone.
    fn news(&mut self) -> Vec<PiecesAt> {
        let now = Instant::now();
        if self.looked_at.is_some_and(|at| now.duration_since(at) < NEWS_EVERY) {
            return Vec::new();
        }
        self.looked_at = Some(now);
        let mut news = Vec::new();
        for (place, (blob, told)) in self.blobs.iter().zip(&mut self.told).enumerate() {
            let Some(last) = pieces_of(*blob).checked_sub(1) else { continue };
            let mut here = IntervalSet::from_range(0, last);
            self.store.missing(*blob).ranges().for_each(|(first, last)| here.remove_range(first, last));
            if here != *told {
                told.clone_from(&here);
                news.push(PiecesAt { place: place as u32, pieces: here });
            }
        }
        news
    }
}
