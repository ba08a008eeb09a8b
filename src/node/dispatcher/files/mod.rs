//! The files of jobs on the dispatcher: kept under the names of their contents,
//! taken from clients and workers, given to those whose task they belong to.
//!
//! The one invariant: a blob that a job of the store needs or has brought back
//! is never removed to make room for another. Absent: verifying and keeping
//! bytes (`blob`), and which job needs which (the store knows).

mod allowed;
mod clients;
mod converse;
mod fetchers;
mod guide;
mod holders;
mod keeping;
mod pull;
mod workers;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use clients::{blobs, check_inputs, fetch_output, upload_blobs};
pub(super) use converse::{converse, refuse_stranger};
pub(super) use guide::guide;
pub(super) use holders::Holder;
pub(super) use keeping::{complete_draining, copy, tell_needed};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
pub(super) use workers::{name_outputs, take};

use super::requests::Trouble;
use super::shell::Shell;
use crate::blob::{BlobError, BlobStore, Pins};
use crate::model::files::{BlobRef, BlobWish, Content, TreeKind};
use crate::model::limits::MAX_MANIFEST_BYTES;
use crate::model::requests::{Failure, FailureCode};
use crate::model::{AttemptId, Digest, IntervalSet, JobId, LinkId, NodeName, SealedSpec};
use crate::node::serving::{ServeError, Uploads};
use crate::store::{Live, Reader, StoreError};
use crate::transport::TransportError;
use crate::wire::manifest;

/// Specs kept open for those who fetch inputs: as many jobs as run side by side as a rule.
const OPEN_SPECS: usize = 16;
/// Attempts whose outputs are held until their results are recorded; beyond these the oldest are let go.
const MOST_HELD: usize = 4096;
/// Requests that are answered with what workers hold, at once: each takes a few MiB on its way through.
const PULLS_AT_ONCE: usize = 16;
/// Workers that are sent pieces of another's files through here, at once: each takes a frame in memory, and shares the
/// link of this machine with everything else.
const RELAYS_AT_ONCE: usize = 32;
/// Answers with pieces that are on their way to workers at once: each takes a piece in memory.
const UPLOADS_AT_ONCE: usize = 64;

/// The dispatcher's files. Clones share them.
#[derive(Clone)]
pub(super) struct Files {
    store: BlobStore,
    shared: Arc<Mutex<Shared>>,
    pulls: Arc<Semaphore>,
    /// Conversations between workers that go through here.
    relays: Arc<Semaphore>,
    uploads: Uploads,
}

#[derive(Default)]
struct Shared {
    /// What clients named on their links: it stays until the job that needs it is in the store.
    links: HashMap<LinkId, Vec<Pins>>,
    /// What workers brought, until the result that names it is in the store; much comes in parts, each known by its
    /// first blob.
    brought: HashMap<AttemptId, BTreeMap<Option<Digest>, Pins>>,
    /// Specs of jobs whose inputs were asked for lately, the latest last.
    specs: Vec<(JobId, SealedSpec)>,
    /// Who has what, beside what the store says.
    copies: holders::Copies,
    fetchers: fetchers::Fetchers,
}

/// Why bytes could not be moved.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// The folder of blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A conversation about pieces.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The other side sent what it did not say it would.
    #[error("take piece {number} of blob {blob}: nobody asked for it")]
    NotAsked {
        /// Place of the blob.
        blob: u32,
        /// The piece.
        number: u64,
    },
    /// The other side ended before it had sent all.
    #[error("receive {0}: pieces of it are missing")]
    Incomplete(Digest),
    /// A worker that is asked for what it holds.
    #[error("get it from {0}")]
    Holder(NodeName, #[source] TransportError),
    /// The same, and it says nothing.
    #[error("get it from {0}: it does not answer")]
    Silent(NodeName),
    /// The same, and it sends less than it was asked for.
    #[error("get it from {0}: it sends less than it said")]
    Short(NodeName),
    /// The same, and it does not have it.
    #[error("get it from {0}: it does not have it any more")]
    Lacking(NodeName),
    /// The dispatcher is stopping.
    #[error("go on: the dispatcher is stopping")]
    Stopping,
}

impl Files {
    pub(super) fn new(store: BlobStore) -> Self {
        Self {
            store,
            shared: Arc::default(),
            pulls: Arc::new(Semaphore::new(PULLS_AT_ONCE)),
            relays: Arc::new(Semaphore::new(RELAYS_AT_ONCE)),
            uploads: Uploads::new(UPLOADS_AT_ONCE),
        }
    }

    /// Bytes that the folder holds.
    pub(super) fn bytes(&self) -> u64 {
        self.store.usage().bytes
    }

    /// The client of this link has gone: what it named is nobody's, unless a job has it.
    pub(super) fn link_ended(&self, link: LinkId) {
        let released = self.lock().links.remove(&link);
        drop(released);
    }

    /// The result of this attempt is in the store, or of no interest.
    pub(super) fn attempt_over(&self, id: AttemptId) {
        let released = self.lock().brought.remove(&id);
        drop(released);
    }

    /// Keeps what a client named while its link stands.
    fn hold_for_link(&self, link: LinkId, pins: Pins) {
        self.lock().links.entry(link).or_default().push(pins);
    }

    /// Keeps what a worker brings until its result is recorded.
    fn hold_for_attempt(&self, id: AttemptId, blobs: &[BlobRef]) {
        let pins = self.store.pin(blobs.iter().map(|blob| blob.digest));
        let part = blobs.first().map(|blob| blob.digest);
        let mut shared = self.lock();
        if shared.brought.len() >= MOST_HELD
            && !shared.brought.contains_key(&id)
            && let Some(oldest) = shared.brought.keys().min().copied()
        {
            shared.brought.remove(&oldest);
        }
        let former = shared.brought.entry(id).or_default().insert(part, pins);
        drop(shared);
        drop(former);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of `blobs` is not here. Blocks.
    fn lacking(&self, blobs: &[BlobRef]) -> Vec<BlobWish> {
        let wishes = blobs.iter().map(|blob| BlobWish { blob: *blob, pieces: self.store.missing(*blob) });
        wishes.filter(|wish| !wish.pieces.is_empty()).collect()
    }

    /// The spec of a job, read once for many tasks.
    fn spec(&self, reader: &Reader, job: JobId) -> Result<Option<SealedSpec>, StoreError> {
        if let Some((_, spec)) = self.lock().specs.iter().find(|(known, _)| *known == job) {
            return Ok(Some(spec.clone()));
        }
        let Some(spec) = reader.spec(job)? else { return Ok(None) };
        let mut shared = self.lock();
        if shared.specs.len() >= OPEN_SPECS {
            shared.specs.remove(0);
        }
        shared.specs.push((job, spec.clone()));
        Ok(Some(spec))
    }

    /// Makes room for what is `coming`, at the cost of what no job needs. Blocks.
    fn make_room(&self, reader: &Reader, coming: &[BlobWish]) -> Result<(), FilesError> {
        let live = OnceCell::new();
        let is_live = |digest: Digest| {
            // Read when it comes to removing something, which is seldom. The store asks without its lock.
            live.get_or_init(|| self.live_digests(reader)).as_ref().is_none_or(|live| live.contains(&digest))
        };
        Ok(self.store.make_room(coming, &is_live)?)
    }

    /// Everything that jobs need; `None` when that cannot be said, and nothing may be removed.
    fn live_digests(&self, reader: &Reader) -> Option<BTreeSet<Digest>> {
        let Live { blobs: mut live, manifests } = match reader.live_blobs() {
            Ok(live) => live,
            Err(error) => {
                tracing::warn!("No file is removed to make room: failed to {error}");
                return None;
            }
        };
        for manifest in manifests {
            // One that is not here lists nothing that is.
            live.extend(self.listed(manifest).unwrap_or_default());
        }
        Some(live)
    }

    /// Whether every file of a content is here. Blocks.
    fn has_all(&self, content: Content) -> bool {
        let listed = match content {
            Content::File { .. } => Ok(BTreeSet::new()),
            Content::Tree { manifest, .. } if self.store.has(manifest.digest) => self.listed(manifest),
            Content::Tree { .. } => return false,
        };
        self.store.has(content.blob().digest)
            && listed.is_ok_and(|listed| listed.iter().all(|digest| self.store.has(*digest)))
    }

    /// The files that a manifest lists.
    fn listed(&self, manifest: BlobRef) -> Result<BTreeSet<Digest>, FilesError> {
        let bytes = self.store.read(manifest, MAX_MANIFEST_BYTES)?;
        let entries = manifest::decode(&bytes).map_err(|error| FilesError::Transport(error.into()))?;
        let files = entries.into_iter().filter_map(|entry| match entry.kind {
            TreeKind::File { blob, .. } => Some(blob.digest),
            TreeKind::Directory { .. } | TreeKind::Symlink(_) => None,
        });
        Ok(files.collect())
    }
}

/// Receives the pieces of `wishes`, verifies and keeps them, and makes them last.
async fn receive(
    store: &BlobStore,
    wishes: Vec<BlobWish>,
    recv: &mut crate::transport::FrameRecv,
) -> Result<(), FilesError> {
    let mut wanted: Vec<(BlobRef, IntervalSet)> = wishes.into_iter().map(|wish| (wish.blob, wish.pieces)).collect();
    let mut left: u64 = wanted.iter().map(|(_, pieces)| pieces.len()).sum();
    while left > 0 {
        let Some(piece) = recv.recv_piece().await? else { break };
        let not_asked = FilesError::NotAsked { blob: piece.blob, number: piece.number };
        let Some((blob, pieces)) = wanted.get_mut(piece.blob as usize) else { return Err(not_asked) };
        if !pieces.remove(piece.number) {
            return Err(not_asked);
        }
        left -= 1;
        let (store, blob) = (store.clone(), *blob);
        blocking(move || Ok(store.accept(blob, piece.number, &piece.encoded)?)).await?;
    }
    if let Some((blob, _)) = wanted.iter().find(|(_, pieces)| !pieces.is_empty()) {
        return Err(FilesError::Incomplete(blob.digest));
    }
    let store = store.clone();
    blocking(move || Ok(store.sync()?)).await
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    spawn_blocking(work).await.unwrap_or(Err(FilesError::Stopping))
}

/// Makes room for what is about to come.
async fn make_room(shell: &Shell, coming: &[BlobWish]) -> Result<(), FilesError> {
    let (files, coming) = (shell.files.clone(), coming.to_vec());
    shell.history.read(move |reader| Ok(files.make_room(reader, &coming))).await?
}

/// What a peer is told of a failure.
fn failure(error: &FilesError) -> Failure {
    let (code, hint) = match error {
        FilesError::Blob(BlobError::Full { .. }) => {
            (FailureCode::Full, Some("free space with octaskly forget, or raise the dispatcher's --file-quota"))
        }
        FilesError::Blob(BlobError::Missing { .. } | BlobError::MissingPiece { .. }) => (FailureCode::NotFound, None),
        _ => (FailureCode::Internal, Some("the dispatcher's log may say more")),
    };
    Failure { code, text: format!("the dispatcher failed to {error}"), hint: hint.map(str::to_owned) }
}

impl From<FilesError> for Trouble {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Store(error) => Self::Store(error),
            FilesError::Transport(error) => Self::Gone(error),
            FilesError::Stopping => Self::CutOff,
            other => Self::Refused(failure(&other)),
        }
    }
}
