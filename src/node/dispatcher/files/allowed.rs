//! Which blobs belong to a task: its inputs, and the outputs of a task.
//!
//! The one invariant: a blob belongs to a task when its job's spec or a
//! recorded result says so, directly or by a manifest. What a peer claims
//! counts for nothing.

use super::Files;
use crate::model::files::{BlobRef, Content, InputSource};
use crate::model::{JobSpec, TaskId};
use crate::store::{Reader, StoreError};

/// The first of `asked` that none of `contents` consists of.
pub(super) fn is_output(files: &Files, contents: &[Content], asked: &[BlobRef]) -> Option<BlobRef> {
    let strangers = asked.iter().filter(|blob| !contents.iter().any(|content| content.blob() == **blob));
    let mut strangers: Vec<BlobRef> = strangers.copied().collect();
    for content in contents {
        if strangers.is_empty() {
            break;
        }
        if let Content::Tree { manifest, .. } = content {
            // A manifest that is not here lists nothing that could be sent.
            let listed = files.listed(*manifest).unwrap_or_default();
            strangers.retain(|blob| !listed.contains(&blob.digest));
        }
    }
    strangers.first().copied()
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
