//! Which blobs belong to a task: its inputs, and the outputs of a task.
//!
//! The one invariant: a blob belongs to a task when its job's spec or a
//! recorded result says so, directly or by a manifest. What a peer claims
//! counts for nothing.

use super::Files;
use crate::model::files::{BlobRef, Content, InputSource};
use crate::model::{JobSpec, TaskId};
use crate::store::{Reader, StoreError};

/// Which of `contents` each of `asked` belongs to; the first that belongs to none is an error. Blocks.
pub(super) fn owners(files: &Files, contents: &[Content], asked: &[BlobRef]) -> Result<Vec<Content>, BlobRef> {
    let itself = |blob: &BlobRef| contents.iter().find(|content| content.blob() == *blob).copied();
    let mut owners: Vec<Option<Content>> = asked.iter().map(itself).collect();
    for content in contents {
        if owners.iter().all(Option::is_some) {
            break;
        }
        if let Content::Tree { manifest, .. } = content {
            // A manifest that is not here lists nothing that could be sent.
            let listed = files.listed(*manifest).unwrap_or_default();
            for (owner, blob) in owners.iter_mut().zip(asked) {
                if owner.is_none() && listed.contains(&blob.digest) {
                    *owner = Some(*content);
                }
            }
        }
    }
    owners.into_iter().zip(asked).map(|(owner, blob)| owner.ok_or(*blob)).collect()
}

/// What a task may ask for: the contents of its inputs.
pub(super) fn inputs_of(reader: &Reader, spec: &JobSpec, task: TaskId) -> Result<Vec<Content>, StoreError> {
    let mut contents = Vec::new();
    for input in &spec.inputs {
        match &input.source {
            InputSource::Shared(content) => contents.push(*content),
            InputSource::PerTask(each) => {
                let position = spec.items.position_of(task.index).and_then(|position| usize::try_from(position).ok());
                contents.extend(position.and_then(|position| each.get(position)));
            }
            InputSource::Output { job, index, .. } => contents.extend(reader.output_contents(*job, *index)?),
        }
    }
    Ok(contents)
}
