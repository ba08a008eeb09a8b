//! Pieces for workers: of what is here, and of what another worker has, passed on frame by frame.
//!
//! The one invariant: what another worker has goes past this dispatcher's disk and memory, a frame at a time, and so
//! many conversations of that kind are open at once. Whoever reads verifies every piece. Absent: who has what
//! (`guide`).

use std::sync::Arc;

use super::FilesError;
use super::guide::asked;
use super::workers::refusal;
use crate::model::files::BlobRef;
use crate::model::messages::{FilesReply, StreamPurpose};
use crate::model::pieces::{MAX_PIECES_FRAME, PieceAnswer, PieceAsk, are_sane};
use crate::model::requests::{Failure, FailureCode};
use crate::model::{AttemptId, LinkId, NodeId};
use crate::node::dispatcher::shell::Shell;
use crate::node::serving::{self, ServeError};
use crate::transport::{FrameRecv, FrameSend, TransportError};
use crate::wire::{DataFrame, WireError};

/// Converses with a worker about pieces of blobs that its attempt needs.
pub(in crate::node::dispatcher) async fn converse(
    shell: &Shell,
    link: LinkId,
    id: AttemptId,
    holder: Option<NodeId>,
    blobs: Vec<BlobRef>,
    send: &mut FrameSend,
    recv: &mut FrameRecv,
) -> Result<(), FilesError> {
    let asked = match asked(shell, id, blobs).await {
        Ok(asked) => asked,
        Err(unavailable) => {
            let FilesReply::Refused(why) = refusal(shell, link, unavailable, id).await? else { return Ok(()) };
            return answer(send, PieceAnswer::Refused(why)).await;
        }
    };
    let Some(holder) = holder else {
        let files = &shell.files;
        return Ok(serving::serve(&files.store, &asked.blobs, &files.uploads, || Ok(()), send, recv).await?);
    };
    let Some(link) = shell.directory.link_to(holder) else {
        let text = "the worker that has them is away".to_owned();
        let why = Failure { code: FailureCode::NotFound, text, hint: None };
        return answer(send, PieceAnswer::Refused(why)).await;
    };
    let Ok(_permit) = Arc::clone(&shell.files.relays).try_acquire_owned() else {
        return answer(send, PieceAnswer::Busy).await;
    };
    let (mut ask, mut given) = link.open_bi().await?;
    ask.send(&StreamPurpose::PieceRead { blobs: asked.blobs.clone() }).await?;
    let asks = async {
        while let Some(pieces) = recv.recv::<PieceAsk>(MAX_PIECES_FRAME).await? {
            if !are_sane(&pieces.0, &asked.blobs) {
                return Err(ServeError::from(TransportError::from(WireError::Malformed("no such pieces".to_owned()))));
            }
            ask.send(&pieces).await?;
        }
        Ok(ask.finish().await?)
    };
    let passed = tokio::select! {
        passed = pass_on(&mut given, send) => passed,
        // The reader has enough.
        asked = asks => asked,
    };
    Ok(passed?)
}

/// Passes answers and pieces on, as they come.
async fn pass_on(given: &mut FrameRecv, send: &mut FrameSend) -> Result<(), ServeError> {
    let mut is_first = true;
    loop {
        let Some(reply) = given.recv::<PieceAnswer>(MAX_PIECES_FRAME).await? else { return Ok(send.finish().await?) };
        let goes_on = matches!(reply, PieceAnswer::Has(_));
        serving::in_time(send.send(&reply)).await?;
        if !goes_on {
            return Ok(send.finish().await?);
        }
        if std::mem::take(&mut is_first) {
            // It is to no question, and nothing follows it.
            continue;
        }
        loop {
            match given.recv_data().await? {
                Some(frame @ (DataFrame::PieceBegins { .. } | DataFrame::Bytes(_))) => {
                    serving::in_time(send.feed_data(&frame)).await?;
                }
                Some(DataFrame::End) => {
                    serving::in_time(send.send_data(&DataFrame::End)).await?;
                    break;
                }
                Some(_) | None => return Err(TransportError::FrameCut.into()),
            }
        }
    }
}

async fn answer(send: &mut FrameSend, answer: PieceAnswer) -> Result<(), FilesError> {
    send.send(&answer).await?;
    Ok(send.finish().await?)
}

/// Says no to a worker that asks for files of an attempt which it was not given.
pub(in crate::node::dispatcher) async fn refuse_stranger(
    id: AttemptId,
    about: &StreamPurpose,
    send: &mut FrameSend,
) -> Result<(), FilesError> {
    let text = format!("task {id} was not given to this worker");
    let why = Failure { code: FailureCode::Forbidden, text, hint: None };
    match about {
        StreamPurpose::PieceFetch { .. } => answer(send, PieceAnswer::Refused(why)).await,
        _ => {
            send.send(&FilesReply::Refused(why)).await?;
            Ok(send.finish().await?)
        }
    }
}
