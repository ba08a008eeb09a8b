//! Outputs that stay here, because nobody else has them.
//!
//! The one invariant: what a result promised is not removed until the
//! dispatcher, asked after it had recorded that result, did not name it among
//! what it needs. Before it was ever asked in this life of the worker, nothing
//! is removed at all: so nothing about this has to be written down here.
//! Absent: when it is asked, and the bytes on their way (`offer`, `serve`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FilesError, Pause, Stock, Urgency, blocking};
use crate::blob::{BlobError, Pins};
use crate::model::files::{BlobRef, BlobWish, Content, OutputFile};
use crate::model::limits::{MAX_BATCH, MAX_FRAME};
use crate::model::messages::{FilesReply, StreamPurpose};
use crate::model::{AttemptId, Digest};

/// What is held. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    state: Arc<Mutex<State>>,
    /// One review at a time: each settles what was recorded before it, counted from the front.
    reviewing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Outputs of results that are not recorded yet.
    unrecorded: BTreeMap<AttemptId, Pins>,
    /// Of results that were recorded since the dispatcher was last asked.
    recorded: Vec<Pins>,
    /// What the dispatcher needed when it was last asked, and how many outputs that were.
    needed: (u64, Vec<Pins>),
    /// Whether it was ever asked.
    asked: bool,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    /// Holds the outputs of an attempt until its result is recorded, and then for as long as they are needed.
    pub(in crate::node::worker) fn hold(&self, id: AttemptId, pins: Pins) {
        self.held.lock().unrecorded.insert(id, pins);
    }

    /// The same for outputs of an earlier life of this worker, which may be gone.
    ///
    /// # Errors
    /// When some of them are not here.
    pub(in crate::node::worker) async fn hold_again(
        &self,
        id: AttemptId,
        outputs: Vec<OutputFile>,
    ) -> Result<(), FilesError> {
        let stock = self.clone();
        blocking(move || {
            let pins = stock.pin(&outputs);
            stock.check_here(&outputs)?;
            stock.hold(id, pins);
            Ok(())
        })
        .await
    }

    /// The result of this attempt is recorded, or of no interest.
    pub(in crate::node::worker) fn recorded(&self, id: AttemptId) {
        let mut held = self.held.lock();
        if let Some(pins) = held.unrecorded.remove(&id) {
            held.recorded.push(pins);
        }
    }

    /// How many results and outputs are held, as far as that is known.
    pub(in crate::node::worker) fn held_count(&self) -> u64 {
        let held = self.held.lock();
        held.needed.0 + (held.recorded.len() + held.unrecorded.len()) as u64
    }

    /// Asks the dispatcher what it needs of what is held here, and lets go of the rest.
    ///
    /// # Errors
    /// When the link breaks; then everything stays held.
    pub(in crate::node::worker) async fn review(&self) -> Result<Vec<Content>, FilesError> {
        let _one = self.held.reviewing.lock().await;
        // They stay where they are meanwhile: whoever asks may be cut short at any time.
        let before = self.held.lock().recorded.len();
        let (contents, pins) = self.ask_needed().await?;
        let mut held = self.held.lock();
        let former = std::mem::replace(&mut held.needed, (contents.len() as u64, pins));
        let settled: Vec<Pins> = held.recorded.drain(..before).collect();
        held.asked = true;
        drop(held);
        // Letting go takes the store's lock, once for each.
        drop((former, settled));
        Ok(contents)
    }

    async fn ask_needed(&self) -> Result<(Vec<Content>, Vec<Pins>), FilesError> {
        let link = self.link().await?;
        let (mut send, mut recv) = link.open_bi().await?;
        send.send(&StreamPurpose::Keeping).await?;
        let (mut needed, mut pins, mut lacking) = (Vec::new(), Vec::new(), Vec::<Digest>::new());
        while let Some(reply) = recv.recv::<FilesReply>(MAX_FRAME).await? {
            let FilesReply::Needed(contents) = reply else { return Err(FilesError::Unexpected) };
            let stock = self.clone();
            let (here, gone, pinned) = blocking(move || Ok(stock.pin_needed(contents))).await?;
            needed.extend(here);
            lacking.extend(gone);
            pins.push(pinned);
        }
        for some in lacking.chunks(MAX_BATCH) {
            send.send(&FilesReply::Lacking(some.to_vec())).await?;
        }
        send.finish().await?;
        Ok((needed, pins))
    }

    /// Which of `contents` are here and which are not; those that are are kept.
    fn pin_needed(&self, contents: Vec<Content>) -> (Vec<Content>, Vec<Digest>, Pins) {
        let (mut here, mut gone, mut blobs) = (Vec::new(), Vec::new(), Vec::<BlobRef>::new());
        for content in contents {
            match self.parts(&content) {
                Ok(parts) if parts.iter().all(|blob| self.store.has(blob.digest)) => {
                    blobs.extend(parts);
                    here.push(content);
                }
                _ => gone.push(content.blob().digest),
            }
        }
        let pins = self.store.pin(blobs.iter().map(|blob| blob.digest));
        (here, gone, pins)
    }

    /// Makes room for what is `coming`, at the cost of what nobody needs. Outputs that are only here go to the
    /// dispatcher when nothing else makes enough and an attempt waits for it.
    pub(super) async fn make_room(&self, coming: &[BlobWish], urgency: Urgency) -> Result<(), FilesError> {
        let made = self.room(coming).await;
        let Err(FilesError::Blob(BlobError::Full { .. })) = made else { return made };
        if !self.holds || urgency == Urgency::Ahead {
            return made;
        }
        // One at a time: whoever waited may find that there is room now.
        let _emptying = self.emptying.lock().await;
        match self.room(coming).await {
            Err(FilesError::Blob(BlobError::Full { .. })) => {}
            made => return made,
        }
        let mut pause = Pause::new();
        while let Err(error) = self.bring_home().await {
            if !error.is_passing() {
                return Err(error);
            }
            pause.wait().await;
        }
        self.room(coming).await
    }

    /// Makes room with what nobody needs, as far as that is known here.
    async fn room(&self, coming: &[BlobWish]) -> Result<(), FilesError> {
        let (stock, coming) = (self.clone(), coming.to_vec());
        blocking(move || {
            // Until the dispatcher was asked, anything that is here may be needed.
            let keeps_all = stock.holds && !stock.held.lock().asked;
            Ok(stock.store.make_room(&coming, &|_| keeps_all)?)
        })
        .await
    }

    /// Brings everything that only this worker has to the dispatcher, and lets go of it; says how much that was.
    ///
    /// # Errors
    /// When the dispatcher cannot keep it, or the link breaks.
    pub(in crate::node::worker) async fn bring_home(&self) -> Result<u64, FilesError> {
        let needed = self.review().await?;
        let count = needed.len() as u64;
        if count > 0 {
            self.copy(needed).await?;
            self.review().await?;
        }
        Ok(count)
    }
}
