//! What workers hold alone: which of it is still needed, and what is taken over
//! before one of them leaves.
//!
//! The one invariant: a worker is told to need nothing only when the store names
//! it for nothing, or the bytes are here, synced. Absent: when workers ask.

use std::collections::BTreeSet;

use super::{FilesError, blocking, failure, make_room, receive};
use crate::model::files::{BlobRef, Content};
use crate::model::limits::{MAX_BATCH, MAX_FRAME};
use crate::model::messages::FilesReply;
use crate::model::views::{WorkerState, WorkerView};
use crate::model::{Digest, NodeId};
use crate::node::dispatcher::shell::Shell;
use crate::store::{Reader, StoreError};
use crate::transport::{FrameRecv, FrameSend};

/// Names the outputs that only `node` holds, and hears which of them it lacks.
pub(in crate::node::dispatcher) async fn tell_needed(
    shell: &Shell,
    node: NodeId,
    stream: &mut FrameSend,
    recv: &mut FrameRecv,
) -> Result<(), FilesError> {
    let mut after = None;
    loop {
        let held = shell.history.read_fresh(move |reader| reader.held_by(node, after)).await?;
        after = held.last().map(|content| content.blob().digest);
        let is_last = held.len() < MAX_BATCH;
        let files = shell.files.clone();
        let needed = blocking(move || Ok(held.into_iter().filter(|content| !files.has_all(*content)).collect()));
        stream.send(&FilesReply::Needed(needed.await?)).await?;
        if is_last {
            break;
        }
    }
    stream.finish().await?;
    while let Some(FilesReply::Lacking(digests)) = recv.recv(MAX_FRAME).await? {
        digests.into_iter().for_each(|digest| shell.files.note_lack(node, digest));
    }
    Ok(())
}

/// Says of workers that drain how many outputs they still have to copy; of more than a batch, that there are so many.
pub(in crate::node::dispatcher) async fn complete_draining(
    shell: &Shell,
    workers: &mut [WorkerView],
) -> Result<(), StoreError> {
    for view in workers.iter_mut().filter(|view| view.state == WorkerState::Draining) {
        let (files, node) = (shell.files.clone(), view.node);
        let count = move |reader: &Reader| {
            let (mut after, mut count) = (None, 0);
            loop {
                let held = reader.held_by(node, after)?;
                after = held.last().map(|content| content.blob().digest);
                count += held.iter().filter(|content| !files.has_all(**content)).count();
                if count > 0 || held.len() < MAX_BATCH {
                    return Ok(count as u64);
                }
            }
        };
        view.outputs_to_copy = Some(shell.history.read_fresh(count).await?);
    }
    Ok(())
}

/// Takes blobs of outputs that `node` holds, as far as they are not here.
pub(in crate::node::dispatcher) async fn copy(
    shell: &Shell,
    node: NodeId,
    contents: Vec<Content>,
    blobs: Vec<BlobRef>,
    stream: &mut FrameSend,
    recv: &mut FrameRecv,
) -> Result<(), FilesError> {
    // Whatever it says, only what the store says that it holds is taken.
    let its_own = shell.history.read_fresh(move |reader| {
        let mut its_own = Vec::new();
        for content in contents {
            if reader.holders(content.blob().digest)?.iter().any(|(holder, _)| *holder == node) {
                its_own.push(content);
            }
        }
        Ok(its_own)
    });
    let its_own = its_own.await?;
    let files = shell.files.clone();
    let wanted = blocking(move || {
        let mut belonging: BTreeSet<Digest> = BTreeSet::new();
        for content in its_own {
            belonging.insert(content.blob().digest);
            if let Content::Tree { manifest, .. } = content {
                belonging.extend(files.listed(manifest).unwrap_or_default());
            }
        }
        let blobs: Vec<BlobRef> = blobs.into_iter().filter(|blob| belonging.contains(&blob.digest)).collect();
        let pins = files.store.pin(blobs.iter().map(|blob| blob.digest));
        Ok((files.lacking(&blobs), pins))
    });
    let (wishes, _pins) = wanted.await?;
    if let Err(error) = make_room(shell, &wishes).await {
        stream.send(&FilesReply::Refused(failure(&error))).await?;
        return Ok(stream.finish().await?);
    }
    stream.send(&FilesReply::Wanted(wishes.clone())).await?;
    receive(&shell.files.store, wishes, recv).await?;
    stream.send(&FilesReply::Kept).await?;
    Ok(stream.finish().await?)
}
