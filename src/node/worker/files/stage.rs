//! Getting a task's directory ready: its inputs fetched, verified and in place.
//!
//! The one invariant: a directory comes out of here with every input of its
//! task, or is removed.

use std::collections::BTreeMap;

use super::transfer::Moved;
use super::{FilesError, Stock, Urgency, blocking, source_name};
use crate::blob::{Pins, place};
use crate::exec::{Executor, Scratch, fill};
use crate::model::files::{
    BlobRef, InputSource, MAX_FAILED_SOURCES, OutputFile, TaskFiles, Transfer, TransferPath, tidy,
};
use crate::model::limits::{MAX_BATCH, MAX_FRAME};
use crate::model::messages::{FilesReply, StreamPurpose};
use crate::model::{AttemptId, Content, JobSpec, NodeName, RawString, SealedSpec};
use crate::transport::TransportError;

/// A directory with a task's inputs in it.
pub(in crate::node::worker) struct Staged {
    /// Removed when nobody takes it: its attempt may be ended at any time.
    directory: Option<Scratch>,
    /// How they came.
    moved: TaskFiles,
}

impl Staged {
    /// The directory, for whoever runs the attempt in it, and how its inputs came.
    pub(in crate::node::worker) fn into_parts(mut self) -> (Option<Scratch>, TaskFiles) {
        (self.directory.take(), std::mem::take(&mut self.moved))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take() {
            let path = directory.path().to_owned();
            if let Err(error) = directory.remove() {
                tracing::warn!(path = %path.display(), %error, "failed to remove a task's directory");
            }
        }
    }
}

impl Stock {
    /// Gets everything ready for one attempt of a job with inputs. Waits as long as the dispatcher is away. Ahead of a
    /// start nothing is sent away to make room for it, and the disk is left what it is to have.
    pub(in crate::node::worker) async fn stage(
        &self,
        id: AttemptId,
        spec: &SealedSpec,
        worker: &NodeName,
        executor: &Executor,
        urgency: Urgency,
    ) -> Result<Staged, FilesError> {
        let inputs = self.inputs(id, spec.spec()).await?;
        let (mut transfers, mut pins) = (Vec::new(), Vec::new());
        let mut failed = BTreeMap::new();
        for (_, content) in &inputs {
            let mut moved = Moved::default();
            self.bring(id, content, &mut pins, &mut moved, urgency).await?;
            let (total, came) = (content.total_bytes(), moved.bytes());
            failed.extend(moved.take_failed().map(|source| (source.name.clone(), source)));
            let mut note = |bytes: u64, from: String, path| {
                if transfers.len() < MAX_BATCH {
                    let blob = BlobRef { digest: content.blob().digest, bytes };
                    transfers.push(Transfer { blob, from, path });
                }
            };
            // A directory's manifest came too, and is no byte of its files.
            let mut left = total;
            for (from, path, bytes) in moved.parts() {
                note(bytes.min(left), from, path);
                left -= bytes.min(left);
            }
            if left > 0 || came == 0 {
                note(left, source_name(worker), TransferPath::Local);
            }
        }
        let failed_sources = failed.into_values().take(MAX_FAILED_SOURCES).collect();
        let moved = TaskFiles { transfers, failed_sources, ..TaskFiles::default() };
        let (store, executor) = (self.store.clone(), executor.clone());
        // From here on nothing is given up half-way: a directory that was made is put into place or removed.
        blocking(move || {
            // Held until everything is a copy.
            let _pins: Vec<Pins> = pins;
            if urgency == Urgency::Ahead {
                let copies = inputs.iter().map(|(_, content)| content.total_bytes());
                store.check_disk(copies.fold(0, u64::saturating_add))?;
            }
            let directory = executor.new_directory().map_err(FilesError::Directory)?;
            let path = directory.path().to_owned();
            let staged = Staged { directory: Some(directory), moved };
            place(&store, &path, &inputs)?;
            Ok(staged)
        })
        .await
    }

    /// What goes where, in the order of the spec.
    async fn inputs(&self, id: AttemptId, spec: &JobSpec) -> Result<Vec<(RawString, Content)>, FilesError> {
        let index = id.task.index;
        let item = spec.items.item(index);
        let filled =
            |path: &RawString| fill(item.as_ref(), index.0, path).ok_or_else(|| FilesError::TooLong(path.clone()));
        let mut inputs = Vec::new();
        for (place, input) in spec.inputs.iter().enumerate() {
            let content = match &input.source {
                InputSource::Shared(content) => *content,
                InputSource::PerTask(contents) => {
                    let position = spec.items.position_of(index).and_then(|position| usize::try_from(position).ok());
                    // The dispatcher has checked that there is one for each task.
                    *position.and_then(|position| contents.get(position)).ok_or(FilesError::Unexpected)?
                }
                InputSource::Output { job, output, .. } => {
                    let output = filled(output)?;
                    let found = self.outputs(id, place as u32, output.clone()).await?;
                    let mut contents: Vec<Content> = found.into_iter().map(|output| output.content).collect();
                    contents.dedup_by_key(|content| content.undated());
                    match contents[..] {
                        [content] => content,
                        _ => return Err(FilesError::Ambiguous { count: contents.len(), job: *job, name: output }),
                    }
                }
            };
            // An item may be typed as `./a`.
            inputs.push((tidy(filled(&input.name)?.as_bytes()), content));
        }
        Ok(inputs)
    }

    /// Has the files of a content here and keeps them; adds to `moved` what had to come.
    async fn bring(
        &self,
        id: AttemptId,
        content: &Content,
        pins: &mut Vec<Pins>,
        moved: &mut Moved,
        urgency: Urgency,
    ) -> Result<(), FilesError> {
        let blob = content.blob();
        pins.push(self.store.pin([blob.digest]));
        self.fetch(id, &[blob], None, moved, urgency).await?;
        if let Content::Tree { manifest, .. } = content {
            let (stock, content, manifest) = (self.clone(), *content, *manifest);
            let parts = blocking(move || stock.parts(&content)).await?;
            pins.push(self.store.pin(parts.iter().map(|blob| blob.digest)));
            self.fetch(id, &parts, Some(manifest), moved, urgency).await?;
        }
        Ok(())
    }

    /// Asks the dispatcher which outputs of another job are meant; waits until it can be asked.
    async fn outputs(&self, id: AttemptId, input: u32, output: RawString) -> Result<Vec<OutputFile>, FilesError> {
        let mut pause = super::Pause::new();
        loop {
            match self.ask_outputs(id, input, output.clone()).await {
                Err(error) if error.is_passing() => pause.wait().await,
                other => return other,
            }
        }
    }

    async fn ask_outputs(&self, id: AttemptId, input: u32, output: RawString) -> Result<Vec<OutputFile>, FilesError> {
        let link = self.link().await?;
        let (mut send, mut recv) = link.open_bi().await?;
        send.send(&StreamPurpose::OutputsOf { id, input, output }).await?;
        match recv.recv::<FilesReply>(MAX_FRAME).await? {
            Some(FilesReply::Found(found)) => Ok(found),
            Some(FilesReply::Refused(failure)) => Err(FilesError::Refused(failure)),
            Some(_) => Err(FilesError::Unexpected),
            None => Err(TransportError::StreamClosed.into()),
        }
    }
}
