//! What clients ask about files: what is missing before a submission, the
//! bytes of it, and the outputs of their tasks.
//!
//! The one invariant: a client gets the bytes of no blob that is not an output
//! of a task that it may see. Absent: the command line's paths.

use super::pull::{Unavailable, prepare};
use super::{FilesError, blocking, make_room, receive};
use crate::model::TaskId;
use crate::model::files::{BlobRef, BlobWish, Content, InputSource, OutputFile};
use crate::model::requests::{FailureCode, Reply};
use crate::model::selector::{Part, Selector};
use crate::model::spec::JobSpec;
use crate::node::dispatcher::outlet::Outlet;
use crate::node::dispatcher::requests::{Trouble, resolve};
use crate::node::dispatcher::shell::{Asker, Shell};
use crate::transport::FrameRecv;

/// Which of `blobs` the dispatcher lacks; those that it has stay while the client's link stands.
pub(in crate::node::dispatcher) async fn blobs(
    shell: &Shell,
    asker: &Asker,
    blobs: Vec<BlobRef>,
) -> Result<Reply, Trouble> {
    let files = shell.files.clone();
    let link = asker.link;
    let lacking = blocking(move || {
        files.hold_for_link(link, files.store.pin(blobs.iter().map(|blob| blob.digest)));
        Ok(files.lacking(&blobs))
    });
    Ok(Reply::Wanted(lacking.await?))
}

/// Takes the pieces of `wishes` from the client.
pub(in crate::node::dispatcher) async fn upload_blobs(
    shell: &Shell,
    asker: &Asker,
    wishes: Vec<BlobWish>,
    recv: &mut FrameRecv,
) -> Result<Reply, Trouble> {
    make_room(shell, &wishes).await?;
    shell.files.hold_for_link(asker.link, shell.files.store.pin(wishes.iter().map(|wish| wish.blob.digest)));
    let affected = wishes.len() as u64;
    receive(&shell.files.store, wishes, recv).await?;
    Ok(Reply::Done { affected })
}

/// Sends pieces of a task's outputs, from here or from the worker that holds them.
pub(in crate::node::dispatcher) async fn fetch_output(
    shell: &Shell,
    asker: &Asker,
    task: TaskId,
    wishes: Vec<BlobWish>,
    outlet: &mut Outlet,
) -> Result<(), Trouble> {
    resolve(shell, asker.viewer(), Selector::These(vec![Part::Task(task)])).await?;
    let outputs = shell.history.read_fresh(move |reader| reader.outputs_of(task)).await?;
    let contents = outputs.iter().map(|output| output.content).collect();
    let sending = match prepare(shell, contents, wishes).await {
        Ok(sending) => sending,
        Err(why) => return Err(not_to_be_had(task, &outputs, why)),
    };
    outlet.reply(&Reply::Streaming).await?;
    if let Err(error) = sending.pass_on(&shell.files, outlet.stream()?).await {
        tracing::debug!("Outputs of task {task} are to be asked for again: failed to {error}");
        return Err(Trouble::CutOff);
    }
    Ok(outlet.finish().await?)
}

/// What the client is told when an output cannot be sent.
fn not_to_be_had(task: TaskId, outputs: &[OutputFile], why: Unavailable) -> Trouble {
    let name = |content: Content| {
        let named = outputs.iter().find(|output| output.content == content);
        named.map_or_else(|| content.blob().digest.short().to_string(), |output| output.name.to_string())
    };
    let again = format!("octaskly retry {task}");
    let (text, hint) = match why {
        Unavailable::Failed(error) => return error.into(),
        Unavailable::Stranger(blob) => (format!("{} is no output of task {task}", blob.digest.short()), None),
        Unavailable::Away(content, holders) => {
            let workers: Vec<&str> = holders.iter().map(|holder| holder.name.as_str()).collect();
            let (are, that) = if workers.len() == 1 { ("is", "that worker") } else { ("are", "one of them") };
            let workers = workers.join(" and ");
            let text = format!("output {} of task {task} is at {workers}, which {are} not connected", name(content));
            (text, Some(format!("start {that} again, or make the output again: {again}")))
        }
        Unavailable::Lost(content) => {
            let text = format!("output {} of task {task} is lost: nobody has it any more", name(content));
            (text, Some(format!("make it again: {again}")))
        }
    };
    Trouble::refused(FailureCode::NotFound, text, hint.as_deref())
}

/// Refuses a job whose inputs are not all here, or are somebody else's outputs.
pub(in crate::node::dispatcher) async fn check_inputs(
    shell: &Shell,
    asker: &Asker,
    spec: &JobSpec,
) -> Result<(), Trouble> {
    let mut others: Vec<Part> = Vec::new();
    let mut contents: Vec<Content> = Vec::new();
    for input in &spec.inputs {
        match &input.source {
            InputSource::Shared(content) => contents.push(*content),
            InputSource::PerTask(each) => contents.extend(each),
            InputSource::Output { job, .. } => others.push(Part::Jobs(*job, *job)),
        }
    }
    if !others.is_empty() {
        resolve(shell, asker.viewer(), Selector::These(others)).await?;
    }
    let files = shell.files.clone();
    let missing = blocking(move || first_missing(&files, contents)).await?;
    match missing {
        None => Ok(()),
        Some(blob) => {
            let text = format!("input {} did not come before its job", blob.digest.short());
            Err(Trouble::refused(FailureCode::Conflict, text, Some("submit it again")))
        }
    }
}

/// A blob that some of `contents` consists of and that is not here.
fn first_missing(files: &super::Files, contents: Vec<Content>) -> Result<Option<BlobRef>, FilesError> {
    for content in contents {
        let blob = content.blob();
        if !files.store.has(blob.digest) {
            return Ok(Some(blob));
        }
        if let Content::Tree { manifest, .. } = content
            && let Some(digest) = files.listed(manifest)?.into_iter().find(|digest| !files.store.has(*digest))
        {
            return Ok(Some(BlobRef { digest, bytes: 0 }));
        }
    }
    Ok(None)
}
