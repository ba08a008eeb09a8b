//! Files that a bench sends and fetches: made for it, unlike any that were sent before, and removed with it.
//!
//! The one invariant: nothing is left in the folder for temporary files. Absent: the time (`transfer`).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::{Bench, BenchError};
use crate::blob::{Delivery, Hashed, ScannedTree, digest_of, hash_file, scan_tree};
use crate::client::files::{ByteCount, Luggage, Origin};
use crate::model::files::{BlobRef, Content, InputSource, InputSpec};
use crate::model::limits::BLOBS_A_STREAM;
use crate::model::spec::{CommandLine, JobSpec};
use crate::model::{FileMode, RawString, SealedSpec, TaskId, ids};
use crate::wire::manifest;

/// How large each of many files is: like most sources and logs.
const SMALL: u64 = 16 * 1024;
/// More of them would measure the disk's folders.
const MOST_SMALL: u64 = 4096;
/// Files written at once: each has one open descriptor.
const AT_ONCE: usize = 128;
/// What is unlike in every file of every round.
const CHANCE: usize = 32;
/// What inputs and outputs are called.
const NAME: &str = "files";

const _: () = assert!(AT_ONCE <= BLOBS_A_STREAM, "files that are written at once are asked for at once");

/// How bytes are spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One file of all of them.
    OneLarge,
    /// A folder of files of 16 KiB.
    ManySmall,
}

impl Shape {
    /// How many of `bytes` bytes go like that.
    pub(super) fn bytes(self, bytes: u64) -> u64 {
        match self {
            Self::OneLarge => bytes,
            Self::ManySmall => (bytes / SMALL).clamp(1, MOST_SMALL) * SMALL,
        }
    }
}

/// Files of one round.
pub(super) struct Parcel {
    shape: Shape,
    folder: Folder,
    /// What they are, once they were read.
    content: Option<Content>,
    blobs: Vec<BlobRef>,
    /// The task that has them as its output, once there is one.
    task: std::sync::OnceLock<TaskId>,
}

impl Parcel {
    /// Makes files of `bytes` bytes.
    pub(super) async fn pack(shape: Shape, bytes: u64) -> Result<Self, BenchError> {
        let folder = blocking(move || {
            let folder = Folder::make()?;
            match shape {
                Shape::OneLarge => write_file(&folder.path.join(NAME), bytes)?,
                Shape::ManySmall => {
                    let inner = folder.path.join(NAME);
                    std::fs::create_dir(&inner).map_err(BenchError::Scratch)?;
                    (0..bytes / SMALL).try_for_each(|number| write_file(&inner.join(number.to_string()), SMALL))?;
                }
            }
            Ok(folder)
        })
        .await?;
        Ok(Self { shape, folder, content: None, blobs: Vec::new(), task: std::sync::OnceLock::new() })
    }
}

impl Bench<'_> {
    /// Reads the files, asks what of them is missing, and sends it.
    pub(super) async fn send_up(&self, parcel: &mut Parcel) -> Result<(), BenchError> {
        let (shape, path) = (parcel.shape, parcel.folder.path.join(NAME));
        let (content, luggage) = blocking(move || read(shape, &path)).await?;
        parcel.content = Some(content);
        parcel.blobs = match content {
            Content::File { blob, .. } => vec![blob],
            Content::Tree { manifest, .. } => luggage.keys().copied().filter(|blob| *blob != manifest).collect(),
        };
        let missing = self.client.missing(luggage.keys().copied()).await?;
        Ok(self.client.upload(missing, &luggage, &ByteCount::default()).await?)
    }

    /// Has a task that leaves the files as it found them.
    pub(super) async fn make_output(&self, parcel: &Parcel) -> Result<(), BenchError> {
        let Some(content) = parcel.content else { return Ok(()) };
        let name = RawString::from(NAME);
        let inputs = vec![InputSpec { name: name.clone(), source: InputSource::Shared(content) }];
        let command = CommandLine::Exec(vec!["true".into()]);
        let spec = JobSpec { inputs, outputs: vec![name], ..self.spec(command) };
        let job = self.run(&SealedSpec::seal(spec)).await?;
        parcel.task.get_or_init(|| TaskId::new(job.0, 0));
        Ok(())
    }

    /// Fetches what that task has left.
    pub(super) async fn bring_down(&self, parcel: &Parcel) -> Result<(), BenchError> {
        let Some(task) = parcel.task.get().copied() else { return Ok(()) };
        let destination = parcel.folder.path.join("brought");
        for (place, some) in parcel.blobs.chunks(AT_ONCE).enumerate() {
            let (destination, some) = (destination.clone(), some.to_vec());
            let files = blocking(move || {
                let delivery = Delivery::new(&destination).map_err(BenchError::Files)?;
                let begin = |(number, blob): (usize, BlobRef)| {
                    let name = format!("{}", place * AT_ONCE + number);
                    let file = Hashed { blob, mode: FileMode::FILE, modified_ns: None };
                    Ok((delivery.file(name.as_bytes(), file).map_err(BenchError::Files)?, blob))
                };
                some.into_iter().enumerate().map(begin).collect::<Result<Vec<_>, BenchError>>()
            })
            .await?;
            self.client.fetch_into(task, files, &ByteCount::default()).await?;
        }
        Ok(())
    }
}

/// What the files are, and where their bytes can be read.
fn read(shape: Shape, path: &Path) -> Result<(Content, Luggage), BenchError> {
    let mut luggage = Luggage::new();
    let content = match shape {
        Shape::OneLarge => {
            let hashed = hash_file(path).map_err(BenchError::Files)?;
            luggage.insert(hashed.blob, Origin::File(path.to_owned()));
            hashed.into()
        }
        Shape::ManySmall => {
            let scanned = scan_tree(path).map_err(BenchError::Files)?;
            let ScannedTree { entries, mode, modified_ns, total_bytes, files } = scanned;
            luggage.extend(files.into_iter().map(|(blob, path)| (blob, Origin::File(path))));
            let bytes = manifest::encode(&entries).map_err(BenchError::Manifest)?;
            let manifest = BlobRef { digest: digest_of(&bytes), bytes: bytes.len() as u64 };
            luggage.insert(manifest, Origin::Bytes(bytes));
            Content::Tree { manifest, total_bytes, mode, modified_ns }
        }
    };
    Ok((content, luggage))
}

fn write_file(path: &Path, bytes: u64) -> Result<(), BenchError> {
    let mut chance = [0; CHANCE];
    getrandom::fill(&mut chance).map_err(BenchError::Random)?;
    let mut file = std::fs::File::create_new(path).map_err(BenchError::Scratch)?;
    let block = chance.repeat(SMALL as usize / CHANCE);
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len() as u64);
        file.write_all(block.get(..now as usize).unwrap_or_default()).map_err(BenchError::Scratch)?;
        left -= now;
    }
    Ok(())
}

/// A folder that goes with this.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> Result<Self, BenchError> {
        let mut chance = [0; CHANCE / 2];
        getrandom::fill(&mut chance).map_err(BenchError::Random)?;
        let path = std::env::temp_dir().join(format!("octaskly-bench-{}", ids::base32_text(&chance)));
        std::fs::create_dir(&path).map_err(BenchError::Scratch)?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Who cannot remove what was just made can do nothing else about it either.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    spawn_blocking(work).await.unwrap_or(Err(BenchError::ThreadGone))
}
