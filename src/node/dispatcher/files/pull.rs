//! Bytes that a worker holds, brought when somebody asks: to the one who asks
//! and past this dispatcher's disk, except for manifests, which it has to read.
//!
//! The one invariant: what is passed on was verified here first, so that whoever
//! sent something else is named. Absent: who may ask (`clients`, `workers`).

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::holders::{Holder, holders_of};
use super::{Files, FilesError, allowed, blocking, make_room, receive};
use crate::blob::{Pins, open_piece};
use crate::model::files::{BlobRef, BlobWish, Content};
use crate::model::limits::{MAX_FRAME, MAX_MANIFEST_BYTES};
use crate::model::messages::{FilesReply, StreamPurpose};
use crate::model::{Digest, IntervalSet};
use crate::node::dispatcher::shell::Shell;
use crate::node::serving::send_all;
use crate::transport::{FrameRecv, FrameSend, Link};

/// A holder that says nothing for so long is taken for one that is away.
const HOLDER_PATIENCE: Duration = Duration::from_secs(5);
/// Holders that are asked anew after one was found not to have it.
const MOST_TRIES: usize = 16;

/// Pieces that are about to be sent, and where they come from.
pub(super) struct Sending {
    here: Vec<(u32, BlobWish)>,
    /// Keeps those.
    _pins: Pins,
    readings: Vec<Reading>,
    /// Bounds how many are sent from workers at once.
    _permit: Option<OwnedSemaphorePermit>,
}

/// Pieces on their way from one holder.
struct Reading {
    holder: Holder,
    wishes: Vec<Due>,
    _send: FrameSend,
    recv: FrameRecv,
}

/// Pieces of one blob that a holder was asked for.
struct Due {
    /// Its place in what was asked of this dispatcher.
    place: u32,
    blob: BlobRef,
    /// The content that it belongs to, which is what its holder is known by.
    owner: Digest,
    /// Those that have not come.
    pieces: IntervalSet,
}

/// Why nothing can be sent now.
#[derive(Debug)]
pub(super) enum Unavailable {
    /// It belongs to none of the contents.
    Stranger(BlobRef),
    /// This content is at workers that are not connected, and nowhere else.
    Away(Content, Vec<Holder>),
    /// Nobody has this content.
    Lost(Content),
    /// Something broke.
    Failed(FilesError),
}

impl<E: Into<FilesError>> From<E> for Unavailable {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Finds out where the pieces of `wishes` come from, which all are to belong to one of `contents`, and has them begin
/// to come.
pub(super) async fn prepare(
    shell: &Shell,
    contents: Vec<Content>,
    wishes: Vec<BlobWish>,
) -> Result<Sending, Unavailable> {
    let asked: Vec<BlobRef> = wishes.iter().map(|wish| wish.blob).collect();
    bring_manifests(shell, &contents, &asked).await?;
    let files = shell.files.clone();
    let found = blocking(move || {
        let pins = files.store.pin(asked.iter().map(|blob| blob.digest));
        let missing: Vec<bool> = asked.iter().map(|blob| !files.store.has(blob.digest)).collect();
        Ok((allowed::owners(&files, &contents, &asked), missing, pins))
    });
    let (owners, missing, pins) = found.await?;
    let owners = owners.map_err(Unavailable::Stranger)?;
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    for (place, ((wish, owner), missing)) in wishes.into_iter().zip(owners).zip(missing).enumerate() {
        match missing {
            false => here.push((place as u32, wish)),
            true => elsewhere.push((place as u32, wish, owner)),
        }
    }
    let mut permit = None;
    let mut readings = Vec::new();
    if !elsewhere.is_empty() {
        permit = Some(shell.files.pulls.clone().acquire_owned().await.map_err(|_| FilesError::Stopping)?);
        readings = read(shell, &elsewhere).await?;
    }
    Ok(Sending { here, _pins: pins, readings, _permit: permit })
}

impl Sending {
    /// Sends all of it.
    pub(super) async fn pass_on(self, files: &Files, out: &mut FrameSend) -> Result<(), FilesError> {
        for reading in self.readings {
            reading.pass_on(files, out).await?;
        }
        send_all(&files.store, self.here, out).await
    }
}

impl Reading {
    async fn pass_on(mut self, files: &Files, out: &mut FrameSend) -> Result<(), FilesError> {
        let name = self.holder.name.clone();
        let mut left: u64 = self.wishes.iter().map(|due| due.pieces.len()).sum();
        while left > 0 {
            let piece = timeout(HOLDER_PATIENCE, self.recv.recv_piece()).await;
            let piece = piece.map_err(|_| FilesError::Silent(name.clone()))?;
            let piece = piece.map_err(|error| FilesError::Holder(name.clone(), error))?;
            let Some(piece) = piece else { return Err(FilesError::Short(name)) };
            let not_asked = FilesError::NotAsked { blob: piece.blob, number: piece.number };
            let Some(due) = self.wishes.get_mut(piece.blob as usize) else { return Err(not_asked) };
            if !due.pieces.remove(piece.number) {
                return Err(not_asked);
            }
            left -= 1;
            let (place, owner, blob, number, encoded) = (due.place, due.owner, due.blob, piece.number, piece.encoded);
            let verified = blocking(move || Ok(open_piece(blob, number, &encoded).map(|_| encoded)?)).await;
            let encoded = verified.inspect_err(|error| {
                if let FilesError::Blob(error) = error {
                    tracing::warn!("Worker {name} sent a damaged piece of {}: failed to {error}", blob.digest.short());
                    files.note_lack(self.holder.node, owner);
                }
            })?;
            out.feed_piece(place, number, &encoded).await?;
        }
        Ok(())
    }
}

/// What one holder is asked for.
struct Errand {
    holder: Holder,
    link: Link,
    wishes: Vec<(u32, BlobWish, Digest)>,
    /// The contents that these belong to.
    owners: Vec<Digest>,
}

/// Has pieces begin to come from whoever has them.
async fn read(shell: &Shell, wanted: &[(u32, BlobWish, Content)]) -> Result<Vec<Reading>, Unavailable> {
    let mut tries = 0;
    'again: loop {
        let mut readings = Vec::new();
        for errand in errands(shell, wanted).await? {
            let Errand { holder, link, wishes, owners } = errand;
            let node = holder.node;
            match open(holder, &link, wishes).await {
                Ok(reading) => readings.push(reading),
                Err(FilesError::Lacking(..)) if tries < MOST_TRIES => {
                    // It may be one of several that it was asked for; each of them is asked of somebody else then.
                    owners.into_iter().for_each(|digest| shell.files.note_lack(node, digest));
                    tries += 1;
                    continue 'again;
                }
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(readings);
    }
}

/// Who is to be asked for what: one holder for each content.
async fn errands(shell: &Shell, wanted: &[(u32, BlobWish, Content)]) -> Result<Vec<Errand>, Unavailable> {
    let mut errands: Vec<Errand> = Vec::new();
    for (place, wish, owner) in wanted {
        let digest = owner.blob().digest;
        let wish = (*place, wish.clone(), digest);
        if let Some(errand) = errands.iter_mut().find(|errand| errand.owners.contains(&digest)) {
            errand.wishes.push(wish);
            continue;
        }
        let (holder, link) = reachable(shell, *owner).await?;
        match errands.iter_mut().find(|errand| errand.holder.node == holder.node) {
            Some(errand) => {
                errand.wishes.push(wish);
                errand.owners.push(digest);
            }
            None => errands.push(Errand { holder, link, wishes: vec![wish], owners: vec![digest] }),
        }
    }
    Ok(errands)
}

/// A connected holder of a content, and its link.
async fn reachable(shell: &Shell, content: Content) -> Result<(Holder, Link), Unavailable> {
    let holders = holders_of(shell, content).await?;
    let connected = |holder: &Holder| Some((holder.clone(), shell.directory.link_to(holder.node)?));
    match holders.iter().find_map(connected) {
        Some(found) => Ok(found),
        None if holders.is_empty() => Err(Unavailable::Lost(content)),
        None => Err(Unavailable::Away(content, holders)),
    }
}

/// Asks one holder.
async fn open(holder: Holder, link: &Link, wishes: Vec<(u32, BlobWish, Digest)>) -> Result<Reading, FilesError> {
    let name = holder.name.clone();
    let broken = |error| FilesError::Holder(name.clone(), error);
    let asked: Vec<BlobWish> = wishes.iter().map(|(_, wish, _)| wish.clone()).collect();
    let asking = async {
        let (mut send, mut recv) = link.open_bi().await.map_err(broken)?;
        send.send(&StreamPurpose::BlobRead { wishes: asked }).await.map_err(broken)?;
        match recv.recv::<FilesReply>(MAX_FRAME).await.map_err(broken)? {
            Some(FilesReply::Follows) => Ok((send, recv)),
            Some(FilesReply::Lacking(_)) => Err(FilesError::Lacking(name.clone())),
            _ => Err(FilesError::Short(name.clone())),
        }
    };
    let answered = timeout(HOLDER_PATIENCE, asking).await;
    let (send, recv) = answered.map_err(|_| FilesError::Silent(name.clone()))??;
    let due = |(place, BlobWish { blob, pieces }, owner)| Due { place, blob, owner, pieces };
    let wishes = wishes.into_iter().map(due).collect();
    Ok(Reading { holder, wishes, _send: send, recv })
}

/// Brings those manifests here that have to be read to know what `asked` is.
pub(super) async fn bring_manifests(shell: &Shell, contents: &[Content], asked: &[BlobRef]) -> Result<(), Unavailable> {
    if asked.iter().all(|blob| contents.iter().any(|content| content.blob() == *blob)) {
        return Ok(());
    }
    for content in contents {
        if let Content::Tree { manifest, .. } = content
            && manifest.bytes <= MAX_MANIFEST_BYTES as u64
            && !shell.files.store.has(manifest.digest)
        {
            bring(shell, *content, *manifest).await?;
        }
    }
    Ok(())
}

/// Has a blob of a content here.
async fn bring(shell: &Shell, content: Content, blob: BlobRef) -> Result<(), Unavailable> {
    let _pins = shell.files.store.pin([blob.digest]);
    let wish = BlobWish { blob, pieces: shell.files.store.missing(blob) };
    make_room(shell, std::slice::from_ref(&wish)).await?;
    for mut reading in read(shell, &[(0, wish.clone(), content)]).await? {
        let name = reading.holder.name.clone();
        let receiving = receive(&shell.files.store, vec![wish.clone()], &mut reading.recv);
        // A manifest has at most as many pieces as there are seconds in this.
        let whole = HOLDER_PATIENCE * u32::try_from(wish.pieces.len()).unwrap_or(1).max(1);
        timeout(whole, receiving).await.map_err(|_| FilesError::Silent(name))??;
    }
    Ok(())
}
