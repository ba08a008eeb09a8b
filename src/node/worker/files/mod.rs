//! The files of a worker's attempts: inputs are fetched and put into place
//! before a start; after an end outputs are taken up, and held here or offered
//! to the dispatcher.
//!
//! The one invariant: a task sees only bytes that were verified, and a result
//! that names outputs leaves when they are held, synced. What is under way
//! outlives a lost link and goes on over the next one. Absent: keeping and
//! verifying bytes (`blob`), and when an attempt starts (the engine's).

mod consult;
mod fetch;
mod give;
mod held;
mod offer;
mod reach;
mod serve;
mod session;
mod stage;
mod traffic;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) use give::Giver;
pub(super) use serve::serve;
pub(super) use stage::Staged;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
pub(super) use traffic::{Traffic, TrafficNews};

use crate::blob::{BlobError, BlobStore, Collected, Limit, Pins, Take, collect};
use crate::exec::{Scratch, fill, shortage};
use crate::model::files::{BlobRef, OutputFile, TreeEntry, TreeKind};
use crate::model::limits::MAX_MANIFEST_BYTES;
use crate::model::obstacle::Shortage;
use crate::model::offload::HandOverProof;
use crate::model::pieces::ReadPass;
use crate::model::requests::Failure;
use crate::model::spec::Workdir;
use crate::model::{AttemptId, Content, Digest, JobId, JobSpec, NodeId, NodeName, Outcome, RawString, TaskId};
use crate::node::Clock;
use crate::node::serving::Uploads;
use crate::node::worker::mesh::Mesh;
use crate::transport::{Link, TransportError};
use crate::wire::manifest;

/// Attempts that others handed over, of which is remembered who: more than a worker can hold.
const MOST_HANDED: usize = 4096;

/// First pause before something is tried again that failed on a link that stands; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Jobs of which it is remembered who sent damaged pieces.
const MOST_BANS: usize = 1024;
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A worker's blobs and the way to more of them. Clones share everything.
#[derive(Clone)]
pub(super) struct Stock {
    pub(super) store: BlobStore,
    /// The current link, if there is one.
    link: watch::Receiver<Option<Link>>,
    under_way: Arc<UnderWay>,
    held: held::Held,
    /// Held by whoever makes room at the cost of outputs that are only here.
    emptying: Arc<tokio::sync::Mutex<()>>,
    /// Whether outputs may stay here at all: the store outlives this process.
    holds: bool,
    clock: Clock,
    /// This worker's key.
    own: NodeId,
    /// The direct links to other workers.
    mesh: Mesh,
    uploads: Uploads,
    traffic: Traffic,
    /// Attempts that another worker handed over: who, and by what right its files may be read for them.
    handed: Arc<Mutex<BTreeMap<AttemptId, (NodeId, ReadPass)>>>,
    /// Workers that sent something else than they were asked for, by the job that it was for.
    banned: Arc<Mutex<BTreeMap<JobId, BTreeSet<NodeId>>>>,
}

/// How much it matters that inputs come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// An attempt waits for them.
    Now,
    /// One will, perhaps: nothing else is to suffer for it.
    Ahead,
}

/// What a stock is made with, beside the blobs.
pub(super) struct StockConfig {
    /// The current link, if there is one.
    pub(super) link: watch::Receiver<Option<Link>>,
    /// Whether the store outlives this process.
    pub(super) lasts: bool,
    pub(super) clock: Clock,
    /// This worker's key.
    pub(super) own: NodeId,
    pub(super) mesh: Mesh,
}

/// Blobs that some attempt is fetching: others wait for it instead of fetching them again.
#[derive(Default)]
struct UnderWay {
    digests: Mutex<BTreeSet<Digest>>,
    released: Notify,
}

/// Why files could not be moved; the text completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// This worker's own blobs, or the task's directory.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A manifest that lists nothing one could use.
    #[error("read the manifest {0}")]
    Manifest(Digest, #[source] crate::wire::WireError),
    /// The link, which may come back.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The dispatcher says no.
    #[error("get them from the dispatcher: {}", .0.text)]
    Refused(Failure),
    /// The dispatcher will not have them.
    #[error("keep its outputs: {}", .0.text)]
    NotKept(Failure),
    /// They are gone and being made again; the dispatcher's words.
    #[error("get them: {0}")]
    Remade(String),
    /// It answered with something else than it was asked for.
    #[error("understand the dispatcher's answer")]
    Unexpected,
    /// The same name, and not the same content.
    #[error("tell {count} outputs called {name} of job {job} apart: name the task, as {job}.1:{name}")]
    Ambiguous {
        /// How many.
        count: usize,
        /// Whose.
        job: JobId,
        /// Called so.
        name: RawString,
    },
    /// Bytes that are not what their name says, again and again.
    #[error("get {0} whole: what the dispatcher sends of it is damaged")]
    Damaged(Digest),
    /// A placeholder made a path of it that is too long.
    #[error("use {0}: the path is too long")]
    TooLong(RawString),
    /// The directory for it.
    #[error("make its directory")]
    Directory(#[source] std::io::Error),
    /// The worker is stopping.
    #[error("go on: the worker is stopping")]
    Stopping,
}

impl FilesError {
    /// How an attempt ends whose inputs cannot be had.
    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Remade(text) => Outcome::InputLost(text),
            other => Outcome::TransferFailed(format!("failed to {}", other.in_full())),
        }
    }

    /// What it is, with what is behind it.
    pub(super) fn in_full(&self) -> String {
        let (mut text, mut cause) = (self.to_string(), std::error::Error::source(self));
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        text
    }

    /// Whether there was no room here.
    pub(super) fn is_for_room(&self) -> bool {
        matches!(self, Self::Blob(BlobError::Full { .. }))
    }

    /// Whether there never will be.
    pub(super) fn is_too_large(&self) -> bool {
        matches!(self, Self::Blob(BlobError::Full { bytes, limit: Limit::Quota(quota) }) if bytes > quota)
    }

    /// What this worker is short of, when that is why. A quota that the files would not even fit into alone is not.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        let (Self::Blob(_) | Self::Directory(_)) = self else { return None };
        if self.is_for_room() {
            return (!self.is_too_large()).then_some(Shortage::Disk);
        }
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.filter_map(|error| error.downcast_ref()).find_map(shortage)
    }

    /// Whether it may go better on the next link, or on this one later.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Transport(_))
    }
}

impl Stock {
    /// What is in `store`.
    pub(super) fn new(store: BlobStore, config: StockConfig) -> Self {
        let StockConfig { link, lasts, clock, own, mesh } = config;
        let uploads = Uploads::new(give::UPLOADS);
        Self {
            store,
            link,
            under_way: Arc::default(),
            held: held::Held::default(),
            emptying: Arc::default(),
            holds: lasts,
            clock,
            own,
            mesh,
            traffic: Traffic::default(),
            uploads,
            handed: Arc::default(),
            banned: Arc::default(),
        }
    }

    /// What others may be given of it.
    pub(super) fn giver(&self) -> Giver {
        Giver::new(self.store.clone(), self.uploads.clone(), self.traffic.clone())
    }

    /// Whether files go straight from worker to worker.
    fn has_peers(&self) -> bool {
        self.mesh.roster().is_some()
    }

    /// Asks `node` for nothing more that is for `job`.
    fn ban(&self, job: JobId, node: NodeId) {
        let mut banned = self.banned.lock().unwrap_or_else(PoisonError::into_inner);
        if banned.len() >= MOST_BANS && !banned.contains_key(&job) {
            // Jobs are numbered in order: the oldest has most likely ended.
            banned.pop_first();
        }
        banned.entry(job).or_default().insert(node);
    }

    /// `giver` hands an attempt over, with what shows that its inputs may be read for it.
    pub(super) fn handed_over(&self, id: AttemptId, giver: NodeId, proof: &HandOverProof) {
        let (grant, hand_over) = (proof.grant.0.clone(), Some(proof.statement.0.clone()));
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        if handed.len() >= MOST_HANDED {
            // Of those that are remembered for nothing, because they were not taken, it is likely one.
            handed.pop_first();
        }
        handed.insert(id, (giver, ReadPass::Task { grant, hand_over, manifest: None }));
    }

    /// Who handed an attempt over, and by what right its files, and those that `manifest` lists, may be read.
    fn giver_of(&self, id: AttemptId, manifest: Option<BlobRef>) -> Option<(NodeId, ReadPass)> {
        let (giver, mut pass) = self.handed.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()?;
        if let ReadPass::Task { manifest: shown, .. } = &mut pass {
            *shown = manifest;
        }
        Some((giver, pass))
    }

    /// What the roster calls a worker, where nobody else has said it.
    fn name_of(&self, node: NodeId) -> String {
        let roster = self.mesh.roster();
        roster.and_then(|roster| Some(roster.entry(node)?.name.to_string())).unwrap_or_else(|| node.short())
    }

    /// Nothing more is fetched for an attempt.
    pub(super) fn is_through(&self, id: AttemptId) {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn banned(&self, job: JobId) -> Vec<NodeId> {
        let banned = self.banned.lock().unwrap_or_else(PoisonError::into_inner);
        banned.get(&job).into_iter().flatten().copied().collect()
    }

    /// Whether what is kept here is there for the next process of this worker.
    pub(super) fn outlives_worker(&self) -> bool {
        self.holds
    }

    /// Whether outputs may stay here for as long as they are needed: there is room, and the store lasts.
    pub(super) fn can_hold(&self) -> bool {
        let usage = self.store.usage();
        self.holds && usage.bytes <= usage.quota_bytes
    }

    /// The current link; waits until there is one.
    async fn link(&self) -> Result<Link, FilesError> {
        let mut link = self.link.clone();
        let standing = link.wait_for(Option::is_some).await.map_err(|_| FilesError::Stopping)?;
        standing.clone().ok_or(FilesError::Stopping)
    }

    /// The files that a content consists of, its manifest first.
    fn parts(&self, content: &Content) -> Result<Vec<BlobRef>, FilesError> {
        let Content::Tree { manifest, .. } = content else { return Ok(vec![content.blob()]) };
        let bytes = self.store.read(*manifest, MAX_MANIFEST_BYTES)?;
        let entries = manifest::decode(&bytes).map_err(|error| FilesError::Manifest(manifest.digest, error))?;
        let mut parts: Vec<BlobRef> = files_of(entries).collect();
        parts.sort_unstable();
        parts.dedup();
        parts.insert(0, *manifest);
        Ok(parts)
    }

    /// Takes up what a task left of its declared outputs, and removes its directory.
    pub(super) async fn collect(
        &self,
        task: TaskId,
        spec: &JobSpec,
        directory: Scratch,
    ) -> Result<(Collected, Pins), FilesError> {
        let item = spec.items.item(task.index);
        let filled = |output: &RawString| {
            fill(item.as_ref(), task.index.0, output).ok_or_else(|| FilesError::TooLong(output.clone()))
        };
        let patterns: Vec<RawString> = spec.outputs.iter().map(filled).collect::<Result<_, _>>()?;
        // What lies in a directory of the worker's own stays there.
        let (root, how) = match &spec.workdir {
            Workdir::Fresh => (directory.path().to_owned(), Take::Move),
            Workdir::Existing(existing) => (existing.as_os_str().into(), Take::Copy),
        };
        let (stock, store) = (self.clone(), self.store.clone());
        blocking(move || {
            let collected = collect(&store, &root, &patterns, how);
            let path = directory.path().to_owned();
            if let Err(error) = directory.remove() {
                tracing::warn!(path = %path.display(), %error, "failed to remove a task's directory");
            }
            // Before anything that takes long: until then a fetch may have them removed to make room.
            let kept = collected.map_err(FilesError::from).and_then(|collected| {
                let pins = stock.pin(&collected.outputs);
                stock.check_here(&collected.outputs)?;
                Ok((collected, pins))
            });
            store.sync()?;
            kept
        })
        .await
    }

    /// Whether every byte of these outputs is here. Blocks.
    fn check_here(&self, outputs: &[OutputFile]) -> Result<(), FilesError> {
        for output in outputs {
            if let Some(gone) = self.parts(&output.content)?.iter().find(|blob| !self.store.has(blob.digest)) {
                return Err(BlobError::Missing { digest: gone.digest }.into());
            }
        }
        Ok(())
    }

    /// Keeps the blobs of these outputs, and of what they list, from being collected.
    fn pin(&self, outputs: &[OutputFile]) -> Pins {
        let parts = outputs.iter().flat_map(|output| self.parts(&output.content).unwrap_or_default());
        self.store.pin(parts.map(|blob| blob.digest))
    }
}

/// The files among the entries of a manifest.
fn files_of(entries: Vec<TreeEntry>) -> impl Iterator<Item = BlobRef> {
    entries.into_iter().filter_map(|entry| match entry.kind {
        TreeKind::File { blob, .. } => Some(blob),
        TreeKind::Directory { .. } | TreeKind::Symlink(_) => None,
    })
}

/// Says where an attempt's inputs come from in its report.
fn source_name(name: &NodeName) -> String {
    name.as_str().to_owned()
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    spawn_blocking(work).await.unwrap_or(Err(FilesError::Stopping))
}

/// Waits a little longer each time.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// A list of blobs, claimed by one attempt until it is dropped.
struct Claim<'a> {
    under_way: &'a UnderWay,
    digests: Vec<Digest>,
}

impl UnderWay {
    /// Claims those of `wanted` that nobody else has claimed.
    fn claim(&self, wanted: impl Iterator<Item = Digest>) -> Claim<'_> {
        let mut claimed = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let digests = wanted.filter(|digest| claimed.insert(*digest)).collect();
        Claim { under_way: self, digests }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut claimed = self.under_way.digests.lock().unwrap_or_else(PoisonError::into_inner);
        self.digests.iter().for_each(|digest| _ = claimed.remove(digest));
        drop(claimed);
        self.under_way.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_claimed_by_one_attempt_until_that_lets_go() {
        let under_way = UnderWay::default();
        let (one, two) = (Digest([1; 32]), Digest([2; 32]));
        let first = under_way.claim([one].into_iter());
        let second = under_way.claim([one, two].into_iter());
        assert_eq!((&first.digests, &second.digests), (&vec![one], &vec![two]));
        drop(first);
        assert_eq!(under_way.claim([one, two].into_iter()).digests, [one], "the second still has its own");
    }

    #[tokio::test]
    async fn whoever_waits_for_a_blob_is_woken_when_its_claim_ends() {
        let under_way = UnderWay::default();
        let claim = under_way.claim([Digest([1; 32])].into_iter());
        let released = under_way.released.notified();
        tokio::pin!(released);
        released.as_mut().enable();
        drop(claim);
        released.await;
    }
}
