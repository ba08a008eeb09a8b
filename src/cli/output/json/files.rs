//! Files that tasks moved, as JSON.

use serde::Serialize;

use crate::model::files::{Transfer, TransferPath};
use crate::model::views::TaskView;

/// An output.
#[derive(Debug, Serialize)]
pub(super) struct Output {
    name: String,
    digest: String,
    bytes: u64,
    holders: Vec<String>,
}

/// Some bytes that came to a worker.
#[derive(Debug, Serialize)]
pub(super) struct Moved<'a> {
    digest: String,
    bytes: u64,
    from: &'a str,
    path: TransferPath,
}

/// A worker that failed as a source.
#[derive(Debug, Serialize)]
pub(super) struct Failed<'a> {
    name: &'a str,
    why: &'a str,
}

/// What the task has left, by the last attempt that moved files.
pub(super) fn outputs(view: &TaskView) -> Vec<Output> {
    let files = view.files();
    let outputs = files.map_or(&[][..], |files| &files.outputs);
    let output = |output: &crate::model::files::OutputFile| Output {
        name: output.name.to_string(),
        digest: output.content.blob().digest.to_string(),
        bytes: output.content.total_bytes(),
        holders: view.holders_of(output.content.blob().digest).to_vec(),
    };
    outputs.iter().map(output).collect()
}

/// How the inputs of the last attempt came.
pub(super) fn transfers(view: &TaskView) -> Vec<Moved<'_>> {
    let files = view.decisive().and_then(|attempt| attempt.files.as_deref());
    files.map_or(&[][..], |files| &files.transfers).iter().map(moved).collect()
}

/// Who failed while they came.
pub(super) fn failed_sources(view: &TaskView) -> Vec<Failed<'_>> {
    let files = view.decisive().and_then(|attempt| attempt.files.as_deref());
    let failed = files.map_or(&[][..], |files| &files.failed_sources);
    failed.iter().map(|source| Failed { name: &source.name, why: &source.why }).collect()
}

fn moved(transfer: &Transfer) -> Moved<'_> {
    let Transfer { blob, from, path } = transfer;
    Moved { digest: blob.digest.to_string(), bytes: blob.bytes, from, path: *path }
}
