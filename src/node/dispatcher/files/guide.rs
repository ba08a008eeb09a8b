//! Telling a worker that fetches blobs who has them, for as long as it fetches.
//!
//! The one invariant: a worker is told, and granted, what its own attempt needs and nothing else. What is said of
//! others is a hint: whoever is asked for pieces says itself what it has. Absent: the pieces (`converse`).

use std::collections::{BTreeMap, BTreeSet};

use super::holders::Holder;
use super::pull::Unavailable;
use super::workers::{contents_of, refusal};
use super::{FilesError, allowed, blocking, pull};
use crate::model::files::{BlobRef, Content};
use crate::model::limits::MAX_FRAME_UNAUTHENTICATED;
use crate::model::messages::FilesReply;
use crate::model::pieces::{BlobHolder, BlobHolders, HoldersAsk, MAX_NAMED};
use crate::model::{AttemptId, Digest, IntervalSet, LinkId, NodeId};
use crate::node::dispatcher::shell::Shell;
use crate::store::Reader;
use crate::transport::{FrameRecv, FrameSend};

/// Blobs of an attempt, each with the content that it belongs to.
pub(super) struct Asked {
    pub(super) blobs: Vec<BlobRef>,
    pub(super) owners: Vec<Content>,
}

/// What `blobs` are to the attempt `id`.
pub(super) async fn asked(shell: &Shell, id: AttemptId, blobs: Vec<BlobRef>) -> Result<Asked, Unavailable> {
    let contents = contents_of(shell, id).await?;
    pull::bring_manifests(shell, &contents, &blobs).await?;
    let (files, named) = (shell.files.clone(), blobs.clone());
    let owners = blocking(move || Ok(allowed::owners(&files, &contents, &named))).await?;
    Ok(Asked { blobs, owners: owners.map_err(Unavailable::Stranger)? })
}

/// Answers a worker that asks who has blobs, and asks again.
pub(in crate::node::dispatcher) async fn guide(
    shell: &Shell,
    link: LinkId,
    worker: Holder,
    id: AttemptId,
    blobs: Vec<BlobRef>,
    send: &mut FrameSend,
    recv: &mut FrameRecv,
) -> Result<(), FilesError> {
    let asked = match asked(shell, id, blobs).await {
        Ok(asked) => asked,
        Err(unavailable) => return say_no(send, refusal(shell, link, unavailable, id).await?).await,
    };
    let _fetching = shell.files.fetching(&worker, asked.blobs.iter().map(|blob| blob.digest).collect());
    loop {
        let (holders, unavailable) = holders(shell, worker.node, &asked).await?;
        if let Some(unavailable) = unavailable {
            match refusal(shell, link, unavailable, id).await {
                Ok(no) => return say_no(send, no).await,
                // Others may have the rest of it between them meanwhile.
                Err(error) if holders.workers.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        send.send(&FilesReply::Holders(holders)).await?;
        match recv.recv::<HoldersAsk>(MAX_FRAME_UNAUTHENTICATED).await? {
            Some(HoldersAsk::Again { empty }) => {
                let contents: BTreeSet<Digest> = asked.owners.iter().map(|owner| owner.blob().digest).collect();
                shell.files.note_gone_copies(&empty, &contents);
                let node = worker.node;
                if shell.history.read(move |store| store.given_to(id, node)).await? != Some(false) {
                    // It has ended, or is another worker's by now: no further grant.
                    return Ok(send.finish().await?);
                }
            }
            Some(HoldersAsk::Fetched) => return note_fetched(shell, &worker, &asked).await,
            None => return Ok(()),
        }
    }
}

async fn say_no(send: &mut FrameSend, reply: FilesReply) -> Result<(), FilesError> {
    send.send(&reply).await?;
    Ok(send.finish().await?)
}

/// Who has what now, and the first of it that no connected node has whole.
async fn holders(
    shell: &Shell,
    reader: NodeId,
    asked: &Asked,
) -> Result<(BlobHolders, Option<Unavailable>), FilesError> {
    let (files, blobs, owners) = (shell.files.clone(), asked.blobs.clone(), asked.owners.clone());
    let look_up = move |store: &Reader| {
        let mut whole: BTreeMap<Digest, Vec<Holder>> = BTreeMap::new();
        for owner in &owners {
            if let std::collections::btree_map::Entry::Vacant(entry) = whole.entry(owner.blob().digest) {
                entry.insert(files.holders(store, owner.blob().digest)?);
            }
        }
        let here: IntervalSet =
            (0u64..).zip(&blobs).filter(|(_, blob)| files.store.has(blob.digest)).map(|(p, _)| p).collect();
        let fetching: Vec<Vec<Holder>> = {
            let shared = files.lock();
            blobs.iter().map(|blob| shared.fetchers.of(blob.digest)).collect()
        };
        Ok((whole, here, fetching))
    };
    let (whole, here, fetching) = shell.history.read_fresh(look_up).await?;
    let mut named: BTreeMap<NodeId, BlobHolder> = BTreeMap::new();
    let mut unavailable = None;
    for (place, (owner, fetchers)) in asked.owners.iter().zip(&fetching).enumerate() {
        // Whoever asks for it does not have it, whatever is written.
        let whole = whole.get(&owner.blob().digest).map_or(&[][..], Vec::as_slice);
        let whole: Vec<&Holder> = whole.iter().filter(|holder| holder.node != reader).collect();
        let is_there =
            here.contains(place as u64) || whole.iter().any(|holder| shell.directory.is_connected(holder.node));
        if !is_there && unavailable.is_none() {
            let away: Vec<Holder> = whole.iter().map(|holder| (*holder).clone()).collect();
            let lost = away.is_empty();
            unavailable = Some(if lost { Unavailable::Lost(*owner) } else { Unavailable::Away(*owner, away) });
        }
        for holder in whole.into_iter().chain(fetchers) {
            if holder.node != reader && shell.directory.is_connected(holder.node) {
                let places = IntervalSet::new();
                let entry = BlobHolder { node: holder.node, name: holder.name.clone(), places };
                named.entry(holder.node).or_insert(entry).places.insert(place as u64);
            }
        }
    }
    let (index, of) = share(reader, &asked.blobs, &fetching);
    let digests = asked.blobs.iter().map(|blob| blob.digest).collect();
    let grant = shell.granter.to_read(reader, digests);
    Ok((BlobHolders { here, workers: some(named, reader), index, of, grant }, unavailable))
}

/// As many as one answer names; others for each reader, when there are more.
fn some(named: BTreeMap<NodeId, BlobHolder>, reader: NodeId) -> Vec<BlobHolder> {
    let mut workers: Vec<BlobHolder> = named.into_values().collect();
    if workers.len() > MAX_NAMED {
        let first = usize::from(reader.0[0]) * 256 + usize::from(reader.0[1]);
        let count = workers.len();
        workers.rotate_left(first % count);
        workers.truncate(MAX_NAMED);
    }
    workers
}

/// The reader's number among those that fetch the largest of these blobs, and how many they are.
fn share(reader: NodeId, blobs: &[BlobRef], fetching: &[Vec<Holder>]) -> (u32, u32) {
    let largest = blobs.iter().zip(fetching).max_by_key(|(blob, _)| blob.bytes);
    let fetchers = largest.map_or(&[][..], |(_, fetchers)| fetchers);
    match fetchers.iter().position(|fetcher| fetcher.node == reader) {
        Some(index) => (index as u32, fetchers.len() as u32),
        None => (0, 1),
    }
}

/// A worker has all of what it asked for.
async fn note_fetched(shell: &Shell, worker: &Holder, asked: &Asked) -> Result<(), FilesError> {
    let mut whole = BTreeSet::new();
    for (blob, owner) in asked.blobs.iter().zip(&asked.owners) {
        // A manifest alone is not the directory.
        if !matches!(owner, Content::Tree { manifest, .. } if manifest == blob) {
            whole.insert(owner.blob().digest);
        }
    }
    shell.files.note_fetched(worker, whole);
    Ok(())
}
