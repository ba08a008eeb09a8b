//! What workers ask about files: the inputs of attempts they hold, and a place
//! for their outputs.
//!
//! The one invariant: a worker is given what its own live attempts need, and
//! nothing else. Absent: who holds which attempt (`worker_link` asks the store).

use super::allowed::inputs_of;
use super::holders::Holder;
use super::pull::Unavailable;
use super::{FilesError, blocking, failure, make_room, receive};
use crate::engine::dispatcher::LostInput;
use crate::model::files::{BlobRef, Content, InputSource};
use crate::model::messages::FilesReply;
use crate::model::requests::{Failure, FailureCode, Reply};
use crate::model::{AttemptId, LinkId, RawString};
use crate::node::dispatcher::shell::Shell;
use crate::store::Reader;
use crate::transport::{FrameRecv, FrameSend};

/// The contents of the inputs of `id`.
pub(super) async fn contents_of(shell: &Shell, id: AttemptId) -> Result<Vec<Content>, FilesError> {
    let files = shell.files.clone();
    let inputs = move |reader: &Reader| {
        let Some(spec) = files.spec(reader, id.task.job)? else { return Ok(Vec::new()) };
        inputs_of(reader, spec.spec(), id.task)
    };
    Ok(shell.history.read(inputs).await?)
}

/// What a worker is told that cannot be given inputs of `id`; an error when it is to ask again.
pub(super) async fn refusal(
    shell: &Shell,
    link: LinkId,
    why: Unavailable,
    id: AttemptId,
) -> Result<FilesReply, FilesError> {
    match why {
        Unavailable::Stranger(_) if takes_outputs(shell, id).await? => Ok(changed(id)),
        Unavailable::Stranger(blob) => Ok(FilesReply::Refused(not_its(blob, id))),
        Unavailable::Lost(content) => missing(shell, link, id, content, Vec::new()).await,
        Unavailable::Away(content, holders) => missing(shell, link, id, content, holders).await,
        Unavailable::Failed(error) => Err(error),
    }
}

/// What a worker is told of an input that no connected worker has: to wait, or to give up an attempt whose input is
/// made again, or why that cannot be.
async fn missing(
    shell: &Shell,
    link: LinkId,
    id: AttemptId,
    content: Content,
    holders: Vec<Holder>,
) -> Result<FilesReply, FilesError> {
    let files = shell.files.clone();
    let digest = content.blob().digest;
    let look_up = move |reader: &Reader| {
        let Some(spec) = files.spec(reader, id.task.job)? else { return Ok(None) };
        for input in &spec.spec().inputs {
            if let InputSource::Output { job, index, .. } = &input.source
                && let Some((producer, name)) = reader.made_by(*job, *index, digest)?
                && let Some(submitted) = reader.submitted(*job)?
            {
                return Ok(Some((producer, name, submitted)));
            }
        }
        Ok(None)
    };
    let Some((producer, name, submitted)) = shell.history.read_fresh(look_up).await? else {
        if !contents_of(shell, id).await?.contains(&content) && takes_outputs(shell, id).await? {
            return Ok(changed(id));
        }
        // A user brought it, and the dispatcher keeps what users bring as long as a job needs it.
        return Ok(FilesReply::Refused(lost(content, id)));
    };
    let lost = LostInput {
        attempt: id,
        producer,
        spec: submitted.spec.clone(),
        owner: submitted.owner,
        holders: holders.iter().map(|holder| holder.node).collect(),
    };
    Ok(match shell.ask_of_lost(link, lost).await {
        Some(Reply::Done { affected: 0 }) => {
            // Until somebody who has it is back.
            return Err(holders
                .into_iter()
                .next()
                .map_or(FilesError::Stopping, |holder| FilesError::Silent(holder.name)));
        }
        Some(Reply::Done { .. }) => FilesReply::Remade(format!("output {name} of task {producer} is made again")),
        Some(Reply::Failed(failure)) => FilesReply::Refused(told(failure)),
        _ => return Err(FilesError::Stopping),
    })
}

/// Whether an input of `id` is an output of another job, which may be made again while it is fetched.
async fn takes_outputs(shell: &Shell, id: AttemptId) -> Result<bool, FilesError> {
    let files = shell.files.clone();
    let look_up = move |reader: &Reader| {
        let Some(spec) = files.spec(reader, id.task.job)? else { return Ok(false) };
        Ok(spec.spec().inputs.iter().any(|input| matches!(input.source, InputSource::Output { .. })))
    };
    Ok(shell.history.read(look_up).await?)
}

/// What a worker is told that fetches what an input was before it was made again: to ask anew what it is.
fn changed(id: AttemptId) -> FilesReply {
    FilesReply::Remade(format!("an input of task {id} was made again meanwhile, and is another file now"))
}

/// A failure whose hint travels in its text: what a worker is told becomes the end of an attempt.
fn told(failure: Failure) -> Failure {
    let text = match &failure.hint {
        Some(hint) => format!("{}; make it again with {hint}", failure.text),
        None => failure.text,
    };
    Failure { text, hint: None, ..failure }
}

/// Takes the outputs of `id`, as far as they are not here. `is_recorded`: its result is known, so nothing is wanted.
pub(in crate::node::dispatcher) async fn take(
    shell: &Shell,
    id: AttemptId,
    blobs: Vec<BlobRef>,
    is_recorded: bool,
    stream: &mut FrameSend,
    recv: &mut FrameRecv,
) -> Result<(), FilesError> {
    let files = shell.files.clone();
    let wishes = match is_recorded {
        true => Vec::new(),
        false => {
            blocking(move || {
                files.hold_for_attempt(id, &blobs);
                Ok(files.lacking(&blobs))
            })
            .await?
        }
    };
    if let Err(error) = make_room(shell, &wishes).await {
        return refuse(stream, failure(&error)).await;
    }
    stream.send(&FilesReply::Wanted(wishes.clone())).await?;
    match receive(&shell.files.store, wishes, recv).await {
        Ok(()) => stream.send(&FilesReply::Kept).await?,
        Err(FilesError::Blob(error)) => return refuse(stream, failure(&error.into())).await,
        Err(other) => return Err(other),
    }
    Ok(stream.finish().await?)
}

/// Says which outputs of another job an input of `id` means.
pub(in crate::node::dispatcher) async fn name_outputs(
    shell: &Shell,
    id: AttemptId,
    input: u32,
    output: RawString,
    stream: &mut FrameSend,
) -> Result<(), FilesError> {
    let files = shell.files.clone();
    let look_up = move |reader: &Reader| {
        let spec = files.spec(reader, id.task.job)?;
        let source = spec.as_ref().and_then(|spec| spec.spec().inputs.get(input as usize)).map(|input| &input.source);
        let Some(InputSource::Output { job, index, .. }) = source else { return Ok(None) };
        let found = reader.outputs(*job, *index, &output)?;
        Ok(Some((*job, output, found.into_iter().map(|(_, output)| output).collect::<Vec<_>>())))
    };
    let reply = match shell.history.read(look_up).await? {
        None => FilesReply::Refused(Failure {
            code: FailureCode::Invalid,
            text: format!("input {input} of task {id} is no output of a job"),
            hint: None,
        }),
        Some((job, output, found)) if found.is_empty() => FilesReply::Refused(Failure {
            code: FailureCode::NotFound,
            text: format!("job {job} has no output {output}"),
            hint: None,
        }),
        Some((_, _, found)) => FilesReply::Found(found),
    };
    stream.send(&reply).await?;
    Ok(stream.finish().await?)
}

fn not_its(blob: BlobRef, id: AttemptId) -> Failure {
    let text = format!("{} is no input of task {id}", blob.digest.short());
    Failure { code: FailureCode::Forbidden, text, hint: None }
}

fn lost(content: Content, id: AttemptId) -> Failure {
    let text = format!("input {} of task {id} is lost: nobody has it any more", content.blob().digest.short());
    Failure { code: FailureCode::NotFound, text, hint: None }
}

async fn refuse(stream: &mut FrameSend, why: Failure) -> Result<(), FilesError> {
    stream.send(&FilesReply::Refused(why)).await?;
    Ok(stream.finish().await?)
}
