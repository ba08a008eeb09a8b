//! Bringing what tasks left to this machine: for `run` at their end, and for
//! `get`.
//!
//! The one invariant: only what was declared is written, beneath the
//! destination and nowhere else, each file whole or not at all. A link that
//! breaks costs the files that were under way. Absent: the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use crate::blob::{BlobError, Delivery, FileDelivery, Hashed, matches_pattern, open_piece};
use crate::cli::error::CliError;
use crate::client::files::ByteCount;
use crate::client::{Client, ClientError};
use crate::exec::fill;
use crate::model::files::{BlobRef, BlobWish, OutputFile, TreeEntry, TreeKind, tidy};
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
    file: Hashed,
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
            if let Some((first, content)) = self.brought.get(&output.name).copied() {
                if are_alike(client, (first, content), (task.task, output.content)).await? {
                    continue;
                }
                if first != task.task {
                    let (second, name) = (task.task, output.name.clone());
                    return Err(CliError::Twice { first, second, name }.into());
                }
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
        let name = output.name.clone();
        let (manifest, mode, modified_ns) = match output.content {
            Content::File { blob, mode, modified_ns } => {
                let file = Hashed { blob, mode, modified_ns };
                return self.files(client, task, vec![Wanted { name, file }]).await;
            }
            Content::Tree { manifest, mode, modified_ns, .. } => (manifest, mode, modified_ns),
        };
        let (mut files, mut links, mut directories) = (Vec::new(), Vec::new(), Vec::new());
        let is_here = name.as_bytes() == b".";
        if !is_here {
            directories.push((name.clone(), mode, modified_ns));
        }
        for entry in entries(client, task, manifest).await? {
            let name = match is_here {
                true => entry.path,
                false => RawString([name.as_bytes(), b"/", entry.path.as_bytes()].concat()),
            };
            match entry.kind {
                TreeKind::File { blob, mode, modified_ns } => {
                    files.push(Wanted { name, file: Hashed { blob, mode, modified_ns } });
                }
                TreeKind::Directory { mode, modified_ns } => directories.push((name, mode, modified_ns)),
                TreeKind::Symlink(target) => links.push((name, target)),
            }
        }
        let (destination, to_make) = (self.destination.clone(), directories.clone());
        blocking(move || {
            let delivery = Delivery::new(&destination)?;
            to_make.iter().try_for_each(|(name, mode, _)| delivery.directory(name.as_bytes(), *mode))?;
            links.iter().try_for_each(|(name, target)| delivery.symlink(name.as_bytes(), target.as_bytes()))
        })
        .await?;
        let filled = self.all_files(client, task, files).await;
        // However that went: directories that were opened to be filled are closed again.
        let destination = self.destination.clone();
        let finished = blocking(move || {
            let delivery = Delivery::new(&destination)?;
            // Behind each directory come those in it.
            let mut last_first = directories.iter().rev();
            last_first.try_for_each(|(name, mode, at)| delivery.finish(name.as_bytes(), *mode, *at))
        })
        .await;
        filled.and(finished)
    }

    async fn all_files(&self, client: &Client, task: TaskId, files: Vec<Wanted>) -> Result<(), Broken> {
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
            let is_here = |wanted: &Wanted| delivery.has(wanted.name.as_bytes(), wanted.file);
            let (here, wanted): (Vec<Wanted>, Vec<Wanted>) = wanted.into_iter().partition(is_here);
            here.iter().for_each(|wanted| count.add(wanted.file.blob.bytes));
            let begin = |Wanted { name, file }: Wanted| Ok((delivery.file(name.as_bytes(), file)?, file.blob));
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

/// Whether two outputs of one name are the same, but for times.
async fn are_alike(
    client: &Client,
    (first, one): (TaskId, Content),
    (second, other): (TaskId, Content),
) -> Result<bool, Broken> {
    if one.undated() == other.undated() {
        return Ok(true);
    }
    let (Content::Tree { manifest: of_one, mode, .. }, Content::Tree { manifest: of_other, mode: other_mode, .. }) =
        (one, other)
    else {
        return Ok(false);
    };
    let undated = |entries: Vec<TreeEntry>| entries.into_iter().map(TreeEntry::undated).collect::<Vec<_>>();
    Ok(mode == other_mode
        && undated(entries(client, first, of_one).await?) == undated(entries(client, second, of_other).await?))
}

/// What a manifest lists.
async fn entries(client: &Client, task: TaskId, manifest: BlobRef) -> Result<Vec<TreeEntry>, Broken> {
    let bytes = read(client, task, manifest).await?;
    Ok(manifest::decode(&bytes).map_err(CliError::Manifest)?)
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
