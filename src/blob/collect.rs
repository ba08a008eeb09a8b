//! Outputs, taken from the directory in which a task has run.
//!
//! The task's processes are gone, and what they left is hostile: links to anywhere, pipes, names of any bytes, a great
//! many of everything. Invariant: no file outside the directory becomes an output, and nothing found in it makes this
//! wait. Absent: removing what is no output.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::error::What;
use super::pattern::{Files, expand, is_beneath};
use super::sys::{Folder, Listing, is_through_link, split};
use super::walk::{Walked, shown_at, walk};
use super::{BlobError, BlobStore, Take, has_glob};
use crate::model::files::OutputFile;
use crate::model::limits::{MAX_INPUTS, MAX_MANIFEST_ENTRIES};
use crate::model::paths::{LinkFault, check_link, check_path, follow_link};
use crate::model::{Content, RawString};
use crate::wire::manifest;

/// Links that lead to each other are followed this often: as often as Linux does.
const MAX_LINKS: usize = 40;

/// What was found of a task's outputs.
#[derive(Debug, Default)]
pub struct Collected {
    /// What is in the store now, sorted by name, each name once.
    pub outputs: Vec<OutputFile>,
    /// Patterns that nothing matches, in the order in which they were given.
    pub missing: Vec<RawString>,
}

/// Takes what `patterns` name beneath `root` into the store: files become blobs, directories manifests.
///
/// A pattern is a path, or as in [`match_files`](super::match_files), but follows no links on its way. A file that is
/// named like a pattern is meant by it. An output that is a symbolic link to something inside is what it leads to; links
/// inside of an output directory are kept. Files are moved, not copied, unless they are part of several outputs; so
/// call this once, when nobody needs the directory any more.
///
/// # Errors
/// Whatever cannot be an output, with its path: [`BlobError::Path`], [`BlobError::Link`], [`BlobError::ThroughLink`],
/// [`BlobError::Kind`], [`BlobError::TooManyOutputs`], [`BlobError::Full`], or that something cannot be read.
pub fn collect(store: &BlobStore, root: &Path, patterns: &[RawString], how: Take) -> Result<Collected, BlobError> {
    let within = Within { root: Folder::open(root).map_err(BlobError::reading(root))?, shown: root };
    let mut collected = Collected::default();
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let matched = within.matched(trimmed(pattern.as_bytes()))?;
        if matched.is_empty() {
            collected.missing.push(pattern.clone());
        }
        found.extend(matched);
        if found.len() > MAX_INPUTS {
            return Err(BlobError::TooManyOutputs);
        }
    }
    let names: BTreeSet<Vec<u8>> = found.keys().cloned().collect();
    let shares = |(name, output): (&Vec<u8>, &Found)| output.path != *name || is_beneath(name, &names);
    let how = if found.iter().any(shares) { Take::Copy } else { how };
    for (name, output) in found {
        let content = within.take(store, &output, how)?;
        collected.outputs.push(OutputFile { name: RawString(name), content });
    }
    Ok(collected)
}

/// The pattern without what people write around a path: `./` before it, `/` behind it.
fn trimmed(pattern: &[u8]) -> &[u8] {
    let mut pattern = pattern;
    while let Some(rest) = pattern.strip_prefix(b"./") {
        pattern = rest;
    }
    while let [rest @ .., b'/'] = pattern {
        if rest.is_empty() {
            break;
        }
        pattern = rest;
    }
    pattern
}

/// Where an output really is, and what it is: a file or a directory.
#[derive(Debug)]
struct Found {
    path: Vec<u8>,
    what: What,
}

/// The directory of a task.
struct Within<'a> {
    root: Folder,
    shown: &'a Path,
}

impl Within<'_> {
    /// What one pattern names.
    fn matched(&self, pattern: &[u8]) -> Result<Vec<(Vec<u8>, Found)>, BlobError> {
        check_path(pattern).map_err(|fault| BlobError::Path { path: RawString(pattern.to_vec()), fault })?;
        let is_glob = has_glob(pattern);
        // A pattern has no place of its own that could be behind a link.
        let is_there = is_glob && Files::look(self, pattern).is_ok_and(|found| found.is_some());
        let names = if is_there || !is_glob {
            BTreeSet::from([pattern.to_vec()])
        } else {
            expand(pattern, self).map_err(|(path, error)| self.unreadable(&path, error))?
        };
        if names.len() > MAX_INPUTS {
            return Err(BlobError::TooManyOutputs);
        }
        let resolved = names.into_iter().filter_map(|name| match self.resolve(&name) {
            Ok(None) => None,
            Ok(Some(found)) => Some(Ok((name, found))),
            Err(error) => Some(Err(error)),
        });
        resolved.collect()
    }

    /// Follows links at `name` itself; `None` when nothing is there, or where they lead.
    fn resolve(&self, name: &[u8]) -> Result<Option<Found>, BlobError> {
        let mut path = name.to_vec();
        for _ in 0..MAX_LINKS {
            match self.look_at(&path)? {
                None => return Ok(None),
                Some(what @ (What::File | What::Directory)) => return Ok(Some(Found { path, what })),
                Some(What::Symlink) => path = self.followed(&path)?,
                Some(found) => return Err(BlobError::Kind { path: shown_at(self.shown, &path), found }),
            }
        }
        Err(BlobError::LinkLoop { path: shown_at(self.shown, name) })
    }

    /// Where the link at `path` leads.
    fn followed(&self, path: &[u8]) -> Result<Vec<u8>, BlobError> {
        let shown = shown_at(self.shown, path);
        let (parent, name) = split(path);
        let target = self.root.beneath(parent).and_then(|folder| folder.target(name));
        let target = RawString(target.map_err(BlobError::reading(&shown))?);
        let checked = check_link(path, target.as_bytes());
        match checked.and_then(|()| follow_link(path, target.as_bytes()).ok_or(LinkFault::Escapes)) {
            Ok(led_to) => match check_path(&led_to) {
                Ok(()) => Ok(led_to),
                Err(fault) => Err(BlobError::Path { path: RawString(led_to), fault }),
            },
            Err(fault) => Err(BlobError::Link { path: shown, target, fault }),
        }
    }

    fn take(&self, store: &BlobStore, output: &Found, how: Take) -> Result<Content, BlobError> {
        let shown = shown_at(self.shown, &output.path);
        let (parent, name) = split(&output.path);
        if output.what == What::File {
            let folder = self.root.beneath(parent).map_err(BlobError::reading(&shown))?;
            return Ok(store.take(&folder, name, &shown, how)?.into());
        }
        let folder = self.root.beneath(&output.path).map_err(BlobError::reading(&shown))?;
        let walked = walk(&folder, &shown, &mut |folder, name, path| store.take(folder, name, path, how))?;
        let bytes = manifest::encode(&walked.entries).map_err(|source| BlobError::Manifest { path: shown, source })?;
        let Walked { total_bytes, mode, modified_ns, .. } = walked;
        Ok(Content::Tree { manifest: store.insert_bytes(&bytes)?, total_bytes, mode, modified_ns })
    }

    fn look_at(&self, path: &[u8]) -> Result<Option<What>, BlobError> {
        Files::look(self, path).map_err(|error| self.unreadable(path, error))
    }

    fn unreadable(&self, path: &[u8], error: io::Error) -> BlobError {
        let path = shown_at(self.shown, path);
        if is_through_link(&error) { BlobError::ThroughLink { path } } else { BlobError::reading(&path)(error) }
    }
}

impl Files for Within<'_> {
    fn list(&self, path: &[u8]) -> io::Result<Listing> {
        let entries = self.root.beneath(path)?.entries(MAX_MANIFEST_ENTRIES)?;
        entries.ok_or_else(|| io::Error::other(format!("more than {MAX_MANIFEST_ENTRIES} entries are in it")))
    }

    fn look(&self, path: &[u8]) -> io::Result<Option<What>> {
        let (parent, name) = split(path);
        match self.root.beneath(parent).and_then(|folder| folder.look_for(name)) {
            Ok(found) => Ok(found.map(|found| found.what)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn leads_on(&self, _path: &[u8]) -> bool {
        false
    }
}
