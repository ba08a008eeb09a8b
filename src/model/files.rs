//! Files that travel with tasks: what goes in, what comes out, and by which way it came.
//!
//! A **blob** is some bytes under the name of their BLAKE3; a **manifest** is a
//! blob that lists the files of a directory. Paths are bytes, relative, with `/`
//! between their parts. The one invariant: nothing here says where a blob is,
//! so a content means the same on every node. Absent: reading and writing files
//! (`blob/`), and the bytes of a manifest (`wire/manifest`).

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::compact::{as_array, tasks};
use super::file_mode::FileMode;
use super::limits::{BLOBS_A_STREAM, BYTES_A_STREAM, PIECE_BYTES};
use super::{Digest, IntervalSet, JobId, RawString, TaskIndex};

/// Some bytes, named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// BLAKE3 of all of them.
    pub digest: Digest,
    /// How many.
    pub bytes: u64,
}

impl BlobRef {
    /// Number of its pieces; even nothing is one.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.bytes.div_ceil(PIECE_BYTES).max(1)
    }

    /// How many bytes its pieces from `first` to `last` have together.
    #[must_use]
    pub fn bytes_between(&self, first: u64, last: u64) -> u64 {
        let start = |piece: u64| piece.saturating_mul(PIECE_BYTES).min(self.bytes);
        start(last.saturating_add(1)).saturating_sub(start(first))
    }
}

/// What stands at a path: one file, or a directory with all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A regular file.
    File {
        /// Its bytes.
        blob: BlobRef,
        /// Who may do what with it.
        #[serde(alias = "executable")]
        mode: FileMode,
        /// When it was last written, in nanoseconds since 1970; `None` is whenever it is put into place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modified_ns: Option<i64>,
    },
    /// A directory: the blob is its manifest.
    Tree {
        /// The manifest.
        manifest: BlobRef,
        /// Bytes of all files in it together.
        total_bytes: u64,
        /// Who may do what with the directory itself.
        #[serde(default)]
        mode: FileMode,
        /// When an entry of it was last made or removed, as for a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modified_ns: Option<i64>,
    },
}

impl Content {
    /// The blob that describes it: the file's bytes, or the manifest.
    #[must_use]
    pub fn blob(&self) -> BlobRef {
        match self {
            Self::File { blob, .. } => *blob,
            Self::Tree { manifest, .. } => *manifest,
        }
    }

    /// The same whenever it was written. What a manifest says of times stays.
    #[must_use]
    pub fn undated(mut self) -> Self {
        match &mut self {
            Self::File { modified_ns, .. } | Self::Tree { modified_ns, .. } => *modified_ns = None,
        }
        self
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        match self {
            Self::File { blob, .. } => blob.bytes,
            Self::Tree { total_bytes, .. } => *total_bytes,
        }
    }
}

/// A path without the parts that mean nothing: `./a//b/` is `a/b`. A leading `/` stays, and so does `..`.
///
/// The directory itself is `.`.
#[must_use]
pub fn tidy(path: &[u8]) -> RawString {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut tidied = parts.collect::<Vec<_>>().join(&b'/');
    if path.first() == Some(&b'/') {
        tidied.insert(0, b'/');
    }
    if tidied.is_empty() {
        tidied.push(b'.');
    }
    RawString(tidied)
}

/// One input of a job: what each of its tasks finds at `name` in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Where it is put, beneath the working directory; may hold placeholders. `.` is the directory itself,
    /// which only a tree can be.
    pub name: RawString,
    /// What is put there.
    pub source: InputSource,
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputSource {
    /// The same for every task.
    Shared(Content),
    /// One for each task, in the order of the job's items.
    PerTask(#[serde(deserialize_with = "tasks")] Vec<Content>),
    /// An output of another job, looked up when the task is about to start.
    Output {
        /// Whose.
        job: JobId,
        /// Of this task alone; `None` takes it from whichever task of the job has it.
        index: Option<TaskIndex>,
        /// The output's name; may hold placeholders.
        output: RawString,
    },
}

/// One entry of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeEntry {
    /// Beneath the manifest's directory; never `.` and never empty.
    pub path: RawString,
    /// What stands there.
    pub kind: TreeKind,
}

impl TreeEntry {
    /// The same whenever it was written.
    #[must_use]
    pub fn undated(mut self) -> Self {
        if let TreeKind::File { modified_ns, .. } | TreeKind::Directory { modified_ns, .. } = &mut self.kind {
            *modified_ns = None;
        }
        self
    }
}

/// What an entry of a manifest is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TreeKind {
    /// A regular file.
    File {
        /// Its bytes.
        blob: BlobRef,
        /// Who may do what with it.
        mode: FileMode,
        /// When it was last written, in nanoseconds since 1970; `None` is whenever it is put into place.
        modified_ns: Option<i64>,
    },
    /// A directory. Parents of other entries need none of their own.
    Directory {
        /// Who may do what with it.
        mode: FileMode,
        /// When an entry of it was last made or removed, as for a file.
        modified_ns: Option<i64>,
    },
    /// A symbolic link to something beneath the manifest's directory; its target is relative.
    Symlink(RawString),
}

/// One output of a task as it was found when the task had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    /// Its path beneath the working directory.
    pub name: RawString,
    /// What stood there.
    pub content: Content,
}

/// What an attempt moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFiles {
    /// What it left of its declared outputs, in order of their names.
    pub outputs: Vec<OutputFile>,
    /// How its inputs came to its worker.
    pub transfers: Vec<Transfer>,
    /// Whether its worker holds the outputs until somebody asks for them; otherwise the dispatcher has them already.
    pub held: bool,
    /// Who failed while its inputs were fetched, each once; at most [`MAX_FAILED_SOURCES`].
    pub failed_sources: Vec<FailedSource>,
}

/// Sources that one attempt names as failed.
pub const MAX_FAILED_SOURCES: usize = 32;

/// A worker from which inputs were asked for and did not come as they should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSource {
    /// Its name.
    pub name: String,
    /// What it did, the worst of it.
    pub why: String,
}

// What held nothing is written as it was before workers held anything: older stores and outboxes are full of it.
impl Serialize for TaskFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { outputs, transfers, held, failed_sources } = self;
        match (held, failed_sources.is_empty()) {
            (false, true) => (outputs, transfers).serialize(serializer),
            (true, true) => (outputs, transfers, true).serialize(serializer),
            (held, false) => (outputs, transfers, held, failed_sources).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TaskFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = TaskFiles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outputs, transfers, whether the worker holds the outputs, and who failed")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TaskFiles, A::Error> {
                let missing = |place| A::Error::invalid_length(place, &self);
                let outputs = list.next_element()?.ok_or_else(|| missing(0))?;
                let transfers = list.next_element()?.ok_or_else(|| missing(1))?;
                let held = list.next_element()?.unwrap_or(false);
                let failed_sources = list.next_element()?.unwrap_or_default();
                Ok(TaskFiles { outputs, transfers, held, failed_sources })
            }
        }
        deserializer.deserialize_seq(Fields)
    }
}

/// A blob and the pieces of it that somebody lacks or is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobWish {
    /// Which.
    pub blob: BlobRef,
    /// Numbers of its pieces, [`PIECE_BYTES`] each.
    pub pieces: IntervalSet,
}

impl BlobWish {
    /// The wishes in their order, cut into what one stream carries; a blob is never cut.
    pub fn by_stream(wishes: Vec<Self>) -> impl Iterator<Item = Vec<Self>> {
        let mut rest = wishes.into_iter().peekable();
        std::iter::from_fn(move || {
            rest.peek()?;
            let (mut some, mut bytes) = (Vec::new(), 0u64);
            while some.len() < BLOBS_A_STREAM
                && bytes < BYTES_A_STREAM
                && let Some(wish) = rest.next()
            {
                bytes = bytes.saturating_add(wish.blob.bytes);
                some.push(wish);
            }
            Some(some)
        })
    }

    /// How many bytes its pieces have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.ranges().map(|(first, last)| self.blob.bytes_between(first, last)).fold(0, u64::saturating_add)
    }

    /// Whether its pieces are some that the blob has, each once. A peer may say otherwise.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        has_pieces(self.blob, &self.pieces)
    }
}

/// Whether `pieces` are some that `blob` has, each once.
pub(super) fn has_pieces(blob: BlobRef, pieces: &IntervalSet) -> bool {
    let mut next = 0;
    pieces.ranges().all(|(first, last)| {
        let follows = first >= next && first <= last && last < blob.pieces();
        next = last.saturating_add(1);
        follows
    })
}

/// How the bytes of a blob came to a worker, or an output's to the dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What was moved.
    pub blob: BlobRef,
    /// The name of the node that it came from.
    pub from: String,
    /// By which way.
    pub path: TransferPath,
}

/// Bytes of files that a worker has moved since it started, by the way they went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTraffic {
    /// Sent straight to other workers.
    pub sent_direct: u64,
    /// Received straight from other workers.
    pub received_direct: u64,
    /// Received from other workers through the dispatcher.
    pub received_relay: u64,
    /// Received from the dispatcher's own store.
    pub received_dispatcher: u64,
}

/// The ways by which bytes come to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferPath {
    /// They were there already.
    Local,
    /// From another worker, straight.
    Direct,
    /// From another worker, through the dispatcher.
    Relay,
    /// From the dispatcher's own store.
    Dispatcher,
}

// Millions of them are in one spec. The order is part of the protocol.
as_array!(BlobRef { digest, bytes });
as_array!(OutputFile { name, content });
as_array!(BlobWish { blob, pieces });
as_array!(Transfer { blob, from, path });
as_array!(FailedSource { name, why });

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(bytes: u64) -> BlobWish {
        let blob = BlobRef { digest: Digest([1; 32]), bytes };
        BlobWish { blob, pieces: IntervalSet::from_range(0, blob.pieces() - 1) }
    }

    #[test]
    fn wishes_keep_their_order_and_no_stream_carries_too_many_or_goes_on_beyond_its_bytes() {
        let sizes = |wishes| BlobWish::by_stream(wishes).map(|some| some.len()).collect::<Vec<_>>();
        assert_eq!(sizes(vec![wish(1); BLOBS_A_STREAM + 1]), [BLOBS_A_STREAM, 1]);
        assert_eq!(sizes(vec![wish(BYTES_A_STREAM - 1), wish(5), wish(5)]), [2, 1]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }

    #[test]
    fn a_wish_for_pieces_that_its_blob_has_not_is_none() {
        let mut odd = wish(3 << 20);
        assert!(odd.is_sane());
        odd.pieces.insert(3);
        assert!(!odd.is_sane());
        odd.pieces = IntervalSet::from_range(0, u64::MAX);
        assert!(!odd.is_sane());
    }

    #[test]
    fn a_path_loses_the_parts_that_mean_nothing() {
        let tidied = |path: &str| tidy(path.as_bytes()).to_string();
        assert_eq!([tidied("./a//b/"), tidied("/./x"), tidied("."), tidied("a/../b")], ["a/b", "/x", ".", "a/../b"]);
    }
}
