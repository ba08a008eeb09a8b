//! What a store has, in memory: which blobs, how large, who needs them, and which was used last.
//!
//! Invariant: a blob that is listed as whole has its files where the layout says, and `bytes` is the sum of what is
//! listed. Everything here is done under the store's one lock, and is quick. Absent: reading or writing contents.

use std::collections::HashMap;
use std::sync::Arc;

use super::partial::Partial;
use crate::model::{BlobRef, Digest};

/// A blob that is all there.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: u64,
    /// Greater is later.
    pub(super) used: u64,
    /// When it is not yet durable: a number that no other has, not even the same blob when it comes in again.
    pub(super) fresh: Option<u64>,
    /// It was asked for under another size, and has been read to see who is right.
    pub(super) questioned: bool,
}

/// A blob that is arriving.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) partial: Arc<Partial>,
    pub(super) used: u64,
}

/// What could be removed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Victim {
    Whole(Digest),
    Arriving(BlobRef),
}

impl Victim {
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Whole(digest) => *digest,
            Self::Arriving(blob) => blob.digest,
        }
    }
}

/// What was not pinned when it was looked at.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) victim: Victim,
    pub(super) bytes: u64,
    used: u64,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) whole: HashMap<Digest, Whole>,
    /// By digest and size: a lie about the size does not stand in the way of the truth.
    pub(super) arriving: HashMap<BlobRef, Arriving>,
    /// Whole ones that are not durable, in the order in which they came.
    pub(super) fresh: Vec<(Digest, u64)>,
    /// How many [`super::Pins`] hold each.
    pub(super) pins: HashMap<Digest, usize>,
    /// Of whole blobs, and of arriving ones what they will have when they are whole.
    pub(super) bytes: u64,
    uses: u64,
}

impl Index {
    /// The next number of a use.
    pub(super) fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// The whole blob, when it has this size; it counts as used.
    pub(super) fn used(&mut self, blob: BlobRef) -> Option<&mut Whole> {
        let used = self.next_use();
        let whole = self.whole.get_mut(&blob.digest).filter(|whole| whole.bytes == blob.bytes)?;
        whole.used = used;
        Some(whole)
    }

    pub(super) fn has(&self, blob: BlobRef) -> bool {
        self.whole.get(&blob.digest).is_some_and(|whole| whole.bytes == blob.bytes)
    }

    /// Lists a blob whose files are in place.
    pub(super) fn add(&mut self, blob: BlobRef, fresh: bool) {
        let used = self.next_use();
        let before = self
            .whole
            .insert(blob.digest, Whole { bytes: blob.bytes, used, fresh: fresh.then_some(used), questioned: false });
        debug_assert!(before.is_none(), "a blob is added once");
        self.bytes += blob.bytes;
        if fresh {
            self.fresh.push((blob.digest, used));
        }
    }

    /// Lists a blob that arrives.
    pub(super) fn add_arriving(&mut self, blob: BlobRef, partial: Arc<Partial>) {
        let used = self.next_use();
        let before = self.arriving.insert(blob, Arriving { partial, used });
        debug_assert!(before.is_none(), "a blob begins to arrive once");
        self.bytes += blob.bytes;
    }

    /// Forgets a whole blob.
    pub(super) fn drop_whole(&mut self, digest: Digest) -> Option<Whole> {
        let whole = self.whole.remove(&digest)?;
        self.bytes -= whole.bytes;
        if whole.fresh.is_some() {
            self.fresh.retain(|(other, _)| *other != digest);
        }
        Some(whole)
    }

    /// Forgets a blob that was arriving.
    pub(super) fn drop_arriving(&mut self, blob: BlobRef) -> Option<Arc<Partial>> {
        let arriving = self.arriving.remove(&blob)?;
        self.bytes -= blob.bytes;
        Some(arriving.partial)
    }

    /// Keeps a blob, whether it is here or not yet. That is a use of it.
    pub(super) fn pin(&mut self, digest: Digest) {
        *self.pins.entry(digest).or_insert(0) += 1;
        let used = self.next_use();
        if let Some(whole) = self.whole.get_mut(&digest) {
            whole.used = used;
        }
    }

    /// What is not pinned, the least recently used first.
    pub(super) fn unpinned(&self) -> Vec<Candidate> {
        let is_free = |digest: &Digest| !self.pins.contains_key(digest);
        let whole = self.whole.iter().filter(|(digest, _)| is_free(digest));
        let arriving = self.arriving.iter().filter(|(blob, _)| is_free(&blob.digest));
        let mut found: Vec<Candidate> = whole
            .map(|(digest, whole)| (Victim::Whole(*digest), whole.bytes, whole.used))
            .chain(arriving.map(|(blob, arriving)| (Victim::Arriving(*blob), blob.bytes, arriving.used)))
            .map(|(victim, bytes, used)| Candidate { victim, bytes, used })
            .collect();
        found.sort_unstable_by_key(|candidate| candidate.used);
        found
    }

    /// Whether it is still there, not pinned, and neither used nor pinned meanwhile: what somebody has named since then
    /// may be live by now.
    pub(super) fn is_as_found(&self, candidate: &Candidate) -> bool {
        let used = match &candidate.victim {
            Victim::Whole(digest) => self.whole.get(digest).map(|whole| whole.used),
            Victim::Arriving(blob) => self.arriving.get(blob).map(|arriving| arriving.used),
        };
        used == Some(candidate.used) && !self.pins.contains_key(&candidate.victim.digest())
    }
}
