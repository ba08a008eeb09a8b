//! Giving pieces to other workers, and to the dispatcher.
//!
//! The one invariant: another worker gets what a grant of the dispatcher's says that it may read, while that grant is
//! good and while it is on the roster. Absent: the conversation (`node::serving`), and links (`mesh`).

use std::collections::BTreeSet;

use tokio::task::spawn_blocking;

use super::Traffic;
use crate::blob::BlobStore;
use crate::model::limits::MAX_MANIFEST_BYTES;
use crate::model::pieces::ReadPass;
use crate::model::requests::FailureCode;
use crate::model::{BlobRef, Digest, NodeId, Timestamp};
use crate::node::serving::{ServeError, Uploads, refuse, serve};
use crate::node::worker::mesh::Mesh;
use crate::transport::{FrameRecv, FrameSend};
use crate::trust::Signed;
use crate::trust::grants::{GrantError, Known};
use crate::wire::manifest;

/// Answers with pieces that are on their way from one worker at a time: few, so that each is quick.
pub(super) const UPLOADS: usize = 8;

/// What a worker gives of its files. Clones are the same.
#[derive(Clone)]
pub(in crate::node::worker) struct Giver {
    pub(super) store: BlobStore,
    /// To other workers.
    pub(super) uploads: Uploads,
    /// To the dispatcher, by the same turns.
    pub(super) passed_on: Uploads,
    pub(super) traffic: Traffic,
}

impl Giver {
    /// What is in `store`; `uploads` are those to other workers.
    pub(in crate::node::worker) fn new(store: BlobStore, uploads: Uploads, traffic: Traffic) -> Self {
        Self { store, passed_on: uploads.counted_apart(), uploads, traffic }
    }

    /// Its blobs.
    pub(in crate::node::worker) fn store(&self) -> &BlobStore {
        &self.store
    }

    /// Gives pieces to `peer`, if it may read them.
    pub(in crate::node::worker) async fn to_peer(
        &self,
        mesh: &Mesh,
        peer: NodeId,
        pass: ReadPass,
        blobs: &[BlobRef],
        send: &mut FrameSend,
        recv: &mut FrameRecv,
    ) -> Result<(), ServeError> {
        let listed = match &pass {
            ReadPass::Task { manifest: Some(manifest), .. } => self.listed(*manifest).await,
            ReadPass::Task { .. } | ReadPass::Blobs(_) => BTreeSet::new(),
        };
        let until = match mesh.known(|known| may_read(&known, peer, &pass, blobs, &listed)) {
            Some(Ok(until)) => until,
            Some(Err(error)) => {
                tracing::warn!(peer = peer.short(), "[P2P] A worker asks for files in vain: failed to {error}");
                return refuse(send, FailureCode::Forbidden, format!("failed to {error}")).await;
            }
            None => return refuse(send, FailureCode::Forbidden, "there is no roster".to_owned()).await,
        };
        let still = || {
            let is_good = mesh.known(|known| known.now < until && known.roster.has_worker(peer));
            if is_good == Some(true) { Ok(()) } else { Err("the grant has run out".to_owned()) }
        };
        serve(&self.store, blobs, &self.uploads, still, send, recv).await
    }

    /// Gives pieces to the dispatcher.
    pub(in crate::node::worker) async fn to_dispatcher(
        &self,
        blobs: &[BlobRef],
        send: &mut FrameSend,
        recv: &mut FrameRecv,
    ) -> Result<(), ServeError> {
        serve(&self.store, blobs, &self.passed_on, || Ok(()), send, recv).await
    }

    /// The files that a manifest lists, and itself; nothing when it is not here.
    async fn listed(&self, manifest: BlobRef) -> BTreeSet<Digest> {
        let store = self.store.clone();
        let listing = spawn_blocking(move || {
            let bytes = store.read(manifest, MAX_MANIFEST_BYTES).ok()?;
            let files = super::files_of(manifest::decode(&bytes).ok()?);
            Some(files.chain([manifest]).map(|blob| blob.digest).collect())
        });
        listing.await.ok().flatten().unwrap_or_default()
    }
}

/// Until when `peer` may read these, by what it shows. `listed` are the files of the manifest that it names.
fn may_read(
    known: &Known<'_>,
    peer: NodeId,
    pass: &ReadPass,
    blobs: &[BlobRef],
    listed: &BTreeSet<Digest>,
) -> Result<Timestamp, GrantError> {
    let digests = blobs.iter().map(|blob| blob.digest);
    match pass {
        ReadPass::Blobs(grant) => known.may_read(&Signed::from_bytes(grant).map_err(GrantError::Grant)?, peer, digests),
        ReadPass::Task { grant, hand_over, manifest } => {
            let grant = Signed::from_bytes(grant).map_err(GrantError::Grant)?;
            let hand_over = hand_over.as_deref().map(Signed::from_bytes).transpose().map_err(GrantError::HandOver)?;
            // What a granted manifest lists is granted with it.
            let by_itself = digests.filter(|digest| !listed.contains(digest));
            let granted = by_itself.chain(manifest.iter().map(|manifest| manifest.digest));
            known.may_read_inputs(&grant, hand_over.as_ref(), peer, granted)
        }
    }
}
