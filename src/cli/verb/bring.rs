//! Bringing what tasks left to this machine: for `run` at their end, and for
//! `get`.
//!
//! The one invariant: only what was declared is written, beneath the
//! destination and nowhere else, each file whole or not at all. A link that
//! breaks costs the files that were under way. Absent: the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use crate::blob::{BlobError, Delivery, FileDelivery, matches_pattern, open_piece};
use crate::cli::error::CliError;
use crate::client::files::ByteCount;
use crate::client::{Client, ClientError};
use crate::exec::fill;
use crate::model::files::{BlobRef, BlobWish, OutputFile, TreeKind, tidy};
use crate::model::limits::{BLOBS_A_STREAM, MAX_MANIFEST_BYTES};
use crate::model::views::TaskView;
use crate::model::{Content, Items, RawString, TaskId};
use crate::wire::manifest;

/// Files written at once: each has one open descriptor.
const FILES_AT_ONCE: usize = 128;

/// Why bringing stopped.
#[derive(Debug)]
pub(super) enum Broken {
    /// The link, or the dispatcher's answer.
    Link(ClientError),
    /// Something here.
    Ours(CliError),
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Blob(error) => Self::Ours(error.into()),
            other => Self::Link(other),
        }
    }
}

impl From<CliError> for Broken {
    fn from(error: CliError) -> Self {
        Self::Ours(error)
    }
}

/// What was declared: the outputs of a job, and what fills their placeholders.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    outputs: Vec<RawString>,
    items: Items,
}

impl Declared {
    /// The outputs of a job over `items`.
    pub(super) fn new(outputs: Vec<RawString>, items: Items) -> Self {
        Self { outputs, items }
    }

    /// Whether the task was asked for an output of this name.
    fn names(&self, task: TaskId, name: &RawString) -> bool {
        let item = self.items.item(task.index);
        self.outputs.iter().any(|output| {
            let filled = fill(item.as_ref(), task.index.0, output).map(|path| tidy(path.as_bytes()));
            filled.is_some_and(|pattern| pattern == *name || matches_pattern(pattern.as_bytes(), name.as_bytes()))
        })
    }
}

/// One file to be fetched.
struct Wanted {
    name: RawString,
    blob: BlobRef,
    executable: bool,
}

/// Brings outputs into one folder.
pub(super) struct Bringer {
    destination: PathBuf,
    declared: Declared,
    /// Which task has brought which path.
    brought: BTreeMap<RawString, (TaskId, Content)>,
    count: ByteCount,
}

impl Bringer {
    /// Brings what was declared to `destination`, and counts its bytes in `count`.
    pub(super) fn new(destination: &Path, declared: Declared, count: ByteCount) -> Self {
        Self { destination: destination.to_owned(), declared, brought: BTreeMap::new(), count }
    }

    /// Brings what `task` has left: all of it, or what of it `wants` says. Returns how many outputs those are.
    pub(super) async fn bring(
        &mut self,
        client: &Client,
        task: &TaskView,
        wants: impl Fn(&RawString) -> bool,
    ) -> Result<u64, Broken> {
        let mut count = 0;
        for output in outputs(task).iter().filter(|output| wants(&output.name)) {
            if !self.declared.names(task.task, &output.name) {
                return Err(CliError::Unasked { task: task.task, name: output.name.clone() }.into());
            }
            match self.brought.get(&output.name) {
                Some((_, content)) if *content == output.content => continue,
                Some((first, _)) if *first != task.task => {
                    let (first, second, name) = (*first, task.task, output.name.clone());
                    return Err(CliError::Twice { first, second, name }.into());
                }
                _ => {}
            }
            let before = self.count.bytes();
            if let Err(broken) = self.bring_one(client, task.task, output).await {
                self.count.back_to(before);
                return Err(broken);
            }
            self.brought.insert(output.name.clone(), (task.task, output.content));
            count += 1;
        }
        Ok(count)
    }

    async fn bring_one(&self, client: &Client, task: TaskId, output: &OutputFile) -> Result<(), Broken> {
        let Content::Tree { manifest, .. } = output.content else {
            let Content::File { blob, executable, .. } = output.content else { return Ok(()) };
            return self.files(client, task, vec![Wanted { name: output.name.clone(), blob, executable }]).await;
        };
        let bytes = read(client, task, manifest).await?;
        let entries = manifest::decode(&bytes).map_err(CliError::Manifest)?;
        let beneath = |path: &RawString| match output.name.as_bytes() {
            b"." => path.clone(),
            root => RawString([root, b"/", path.as_bytes()].concat()),
        };
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for entry in entries {
            let name = beneath(&entry.path);
            match entry.kind {
                TreeKind::File { blob, executable, .. } => files.push(Wanted { name, blob, executable }),
                other => others.push((name, other)),
            }
        }
        let (destination, root) = (self.destination.clone(), output.name.clone());
        blocking(move || {
            let delivery = Delivery::new(&destination)?;
            if root.as_bytes() != b"." {
                delivery.directory(root.as_bytes())?;
            }
            others.iter().try_for_each(|(name, kind)| match kind {
                TreeKind::Symlink(target) => delivery.symlink(name.as_bytes(), target.as_bytes()),
                _ => delivery.directory(name.as_bytes()),
            })
        })
        .await?;
        let mut rest = files.into_iter().peekable();
        while rest.peek().is_some() {
            let some = rest.by_ref().take(FILES_AT_ONCE.min(BLOBS_A_STREAM)).collect();
            self.files(client, task, some).await?;
        }
        Ok(())
    }

    /// Fetches some files and puts them into place.
    async fn files(&self, client: &Client, task: TaskId, wanted: Vec<Wanted>) -> Result<(), Broken> {
        let (destination, count) = (self.destination.clone(), self.count.clone());
        let files: Vec<(FileDelivery, BlobRef)> = blocking(move || {
            let delivery = Delivery::new(&destination)?;
            let is_here = |file: &Wanted| delivery.has(file.name.as_bytes(), file.blob, file.executable);
            let (here, wanted): (Vec<Wanted>, Vec<Wanted>) = wanted.into_iter().partition(is_here);
            here.iter().for_each(|file| count.add(file.blob.bytes));
            let begin =
                |file: Wanted| Ok((delivery.file(file.name.as_bytes(), file.blob, file.executable)?, file.blob));
            wanted.into_iter().map(begin).collect()
        })
        .await?;
        Ok(client.fetch_into(task, files, &self.count).await?)
    }
}

/// What a task has left.
pub(super) fn outputs(task: &TaskView) -> &[OutputFile] {
    task.files().map_or(&[], |files| &files.outputs)
}

/// How many bytes those of them have that `wants` says.
pub(super) fn bytes_of(task: &TaskView, wants: impl Fn(&RawString) -> bool) -> u64 {
    let wanted = outputs(task).iter().filter(|output| wants(&output.name));
    wanted.map(|output| output.content.total_bytes()).fold(0, u64::saturating_add)
}

/// A manifest, whole.
async fn read(client: &Client, task: TaskId, blob: BlobRef) -> Result<Vec<u8>, Broken> {
    if blob.bytes > MAX_MANIFEST_BYTES as u64 {
        return Err(ClientError::UnexpectedReply("fetch").into());
    }
    let pieces = crate::model::IntervalSet::from_range(0, blob.pieces() - 1);
    let mut stream = client.fetch_output(task, vec![BlobWish { blob, pieces }]).await?;
    let mut bytes = Vec::new();
    let mut next = 0;
    while let Some(piece) = stream.next().await? {
        if piece.number != next {
            return Err(ClientError::UnexpectedReply("fetch").into());
        }
        next += 1;
        bytes.append(&mut blocking(move || open_piece(blob, piece.number, &piece.encoded)).await?);
    }
    if bytes.len() as u64 == blob.bytes { Ok(bytes) } else { Err(ClientError::NoReply.into()) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, Broken> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done.map_err(CliError::Files)?),
        Err(_) => Err(ClientError::NoReply.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(declared: &Declared, task: u64, name: &str) -> bool {
        declared.names(TaskId::new(1, task), &name.into())
    }

    #[test]
    fn only_what_was_declared_may_be_brought() {
        let declared = Declared::new(vec!["./out/".into(), "*.txt".into()], Items::Single);
        assert!(names(&declared, 0, "out") && names(&declared, 0, "a.txt"));
        for stranger in [".bashrc", "out/../x", "../a.txt", "d/a.txt", "/etc/a.txt", "out2", "OUT"] {
            assert!(!names(&declared, 0, stranger), "{stranger}");
        }
    }

    #[test]
    fn a_task_may_bring_its_own_item_and_not_anothers() {
        let items = Items::List(["a", "b"].map(RawString::from).into_iter().collect());
        let declared = Declared::new(vec!["{}.gz".into()], items.clone());
        let (first, second) = (items.index_at(0).0, items.index_at(1).0);
        assert!(names(&declared, first, "a.gz") && names(&declared, second, "b.gz"));
        assert!(!names(&declared, first, "b.gz") && !names(&declared, second, "a.gz"));
    }
}
