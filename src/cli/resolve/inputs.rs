//! `--in` and `--out`, as the contents that a job needs and the paths that it
//! leaves.
//!
//! The one invariant: every file that a job needs has been read and named by
//! its content before anybody is asked for anything, so a missing one costs no
//! submission. Absent: sending them (`client/files`).
//!
//! What is typed is `PATH`, `PATH=NAME`, `JOB:OUTPUT[=NAME]` or `auto`; a path that is
//! there as it was typed is that path, whatever else it might mean.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use auto::AUTO;

use crate::blob::{digest_of, has_glob, hash_file, match_files, scan_tree};
use crate::cli::error::{CliError, Place};
use crate::cli::value::ValueError;
use crate::client::files::{Luggage, Origin};
use crate::exec::fill;
use crate::model::files::{BlobRef, Content, InputSource, InputSpec, TreeEntry, TreeKind, tidy};
use crate::model::limits::MAX_INPUTS;
use crate::model::paths::check_path;
use crate::model::spec::CommandLine;
use crate::model::{FileMode, Item, ItemList, Items, JobId, RawString, TaskIndex};
use crate::wire::manifest;

/// Where the whole working directory is meant.
const HERE: &[u8] = b".";

/// The files of a job.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) inputs: Vec<InputSpec>,
    pub(super) outputs: Vec<RawString>,
    /// What has to be at the dispatcher first.
    pub(super) luggage: Luggage,
    /// Jobs whose outputs are inputs.
    pub(super) producers: BTreeSet<JobId>,
    /// Places among the inputs of outputs of the job that was submitted last, whichever that is.
    pub(super) of_last: Vec<usize>,
}

/// Reads and names the files that `inputs` name, for a job that runs `command` over `items`; `is_live`: outputs come
/// back at its end.
pub(super) fn files(
    inputs: &[OsString],
    outputs: &[OsString],
    (command, items): (&CommandLine, &Items),
    is_live: bool,
) -> Result<Files, CliError> {
    let mut packing = Packing { command, items, files: Files::default(), known: BTreeMap::new() };
    for (option, given) in [("--in", inputs), ("--out", outputs)] {
        if let Some(first) = given.get(MAX_INPUTS) {
            return Err(CliError::value(Place::Option(option), first, ValueError::TooManyFiles));
        }
    }
    for text in inputs.iter().filter(|text| *text != AUTO) {
        packing.input(text)?;
    }
    for text in outputs {
        packing.output(text, is_live)?;
    }
    if inputs.iter().any(|text| text == AUTO) {
        packing.auto()?;
    }
    Ok(packing.files)
}

struct Packing<'a> {
    command: &'a CommandLine,
    items: &'a Items,
    files: Files,
    /// Paths that were read, for those that many tasks name.
    known: BTreeMap<RawString, Content>,
}

/// What a text behind `--in` means.
enum Meaning<'t> {
    /// `PATH` or `PATH=NAME`.
    Path(&'t [u8], Option<&'t [u8]>),
    /// `JOB:OUTPUT` or `JOB:OUTPUT=NAME`; no job is the last one.
    Output(Option<JobId>, Option<TaskIndex>, &'t [u8], Option<&'t [u8]>),
}

impl Packing<'_> {
    fn input(&mut self, text: &OsStr) -> Result<(), CliError> {
        let bytes = text.as_bytes();
        let refused = |error| CliError::value(Place::Option("--in"), text, error);
        if bytes.is_empty() {
            return Err(refused(ValueError::Empty));
        }
        match meaning(bytes) {
            Meaning::Output(job, index, output, name) => self.others_output(job, index, output, name).map_err(refused),
            Meaning::Path(path, name) if self.varies(path) => self.one_a_task(text, path, name),
            Meaning::Path(path, name) if has_glob(path) && !exists(path) => self.matches(text, path, name),
            Meaning::Path(path, name) => {
                let content = self.content(path)?;
                let name = match name {
                    Some(name) => given_name(name).map_err(refused)?,
                    None => own_name(path, &content).ok_or_else(|| refused(ValueError::NeedsName))?,
                };
                self.add(name, InputSource::Shared(content));
                Ok(())
            }
        }
    }

    /// Whether a path is another one for each task.
    fn varies(&self, path: &[u8]) -> bool {
        // Different in every part that a placeholder may stand for.
        let item = |text: &str| Item::repeated(&text.into(), self.items.lists());
        let (one, other) = (item("a/1.x"), item("b/2.y"));
        let path = RawString(path.to_vec());
        *self.items != Items::Single && fill(Some(&one), 1, &path) != fill(Some(&other), 2, &path)
    }

    /// Whether the command takes an item for the path of something.
    fn names_whole_item(&self) -> bool {
        let words = match self.command {
            CommandLine::Shell(line) => std::slice::from_ref(line),
            CommandLine::Exec(argv) => argv,
        };
        words.iter().any(|word| word.as_bytes().windows(2).any(|pair| pair == b"{}"))
    }

    /// A file or directory for each task.
    fn one_a_task(&mut self, text: &OsStr, path: &[u8], name: Option<&[u8]>) -> Result<(), CliError> {
        let refused = |error| CliError::value(Place::Option("--in"), text, error);
        let template = RawString(path.to_vec());
        let mut contents = Vec::new();
        for path in self.filled(&template).ok_or_else(|| refused(ValueError::PathTooLong))? {
            contents.push(self.content(path.as_bytes())?);
        }
        let (is_own, name) = match name {
            Some(name) => (false, self.valid(vec![given_name(name).map_err(refused)?])),
            None => (true, self.valid(own_templates(path))),
        };
        let name = name.ok_or_else(|| refused(ValueError::NeedsName))?;
        if is_own && path == b"{}" && name.as_bytes() != b"{}" && self.names_whole_item() {
            return Err(refused(ValueError::ItemElsewhere));
        }
        self.add(name, InputSource::PerTask(contents));
        Ok(())
    }

    /// The files that a pattern matches: for each task the one that is its item, where all items are matched ones;
    /// otherwise all of them for every task.
    fn matches(&mut self, text: &OsStr, pattern: &[u8], name: Option<&[u8]>) -> Result<(), CliError> {
        let refused = |error| CliError::value(Place::Option("--in"), text, error);
        let matched = match_files(Path::new(HERE_PATH), pattern)?;
        if matched.is_empty() {
            return Err(refused(ValueError::NoMatch));
        }
        let name = name.map(given_name).transpose().map_err(refused)?;
        let beneath = |path: &[u8]| match &name {
            Some(name) => [name.as_bytes(), b"/", path].concat(),
            None => path.to_vec(),
        };
        if let Some(item) = self.item_among(&matched) {
            let templates = own_templates(&item).into_iter().map(|own| RawString(beneath(own.as_bytes())));
            let name = self.valid(templates.collect()).ok_or_else(|| refused(ValueError::NeedsName))?;
            let paths = self.filled(&RawString(item)).ok_or_else(|| refused(ValueError::PathTooLong))?;
            let contents = paths.iter().map(|path| self.content(path.as_bytes())).collect::<Result<_, _>>()?;
            self.add(name, InputSource::PerTask(contents));
            return Ok(());
        }
        let mut entries = BTreeMap::new();
        for path in matched {
            let content = self.content(path.as_bytes())?;
            let own = own_name(path.as_bytes(), &content).ok_or_else(|| refused(ValueError::NeedsName))?;
            self.unpack(&own, &content, &mut entries)?;
        }
        let tree = self.tree(entries.into_values().collect(), FileMode::ALL, None)?;
        self.add(name.unwrap_or(RawString(HERE.to_vec())), InputSource::Shared(tree));
        Ok(())
    }

    /// What stands for the items of the first list all of which are among these paths.
    fn item_among(&self, paths: &[RawString]) -> Option<Vec<u8>> {
        let set: BTreeSet<&[u8]> = paths.iter().map(RawString::as_bytes).collect();
        let is_among = |list: &ItemList| list.iter().all(|item| set.contains(item));
        match self.items {
            Items::Single | Items::Range { .. } | Items::Numbers(_) | Items::One { .. } => None,
            Items::List(items) => is_among(items).then(|| b"{}".to_vec()),
            Items::Combined(combination) => {
                let place = combination.lists().position(is_among)?;
                Some(format!("{{{}}}", place + 1).into_bytes())
            }
            // The files of the other tasks may be gone.
            Items::Subset { .. } => {
                let tasks = || (0..self.items.count()).filter_map(|at| self.items.item(self.items.index_at(at)));
                let is_among = |list: &usize| {
                    tasks().all(|item| item.parts().get(*list).is_some_and(|part| set.contains(part.as_bytes())))
                };
                let place = (0..self.items.lists()).find(is_among)?;
                Some(format!("{{{}}}", place + 1).into_bytes())
            }
        }
    }

    /// An output of a job that was submitted before.
    fn others_output(
        &mut self,
        job: Option<JobId>,
        index: Option<TaskIndex>,
        output: &[u8],
        name: Option<&[u8]>,
    ) -> Result<(), ValueError> {
        let output = tidy(output);
        let name = match name {
            Some(name) => given_name(name)?,
            None => self.valid(own_templates(output.as_bytes())).ok_or(ValueError::NeedsName)?,
        };
        match job {
            Some(job) => _ = self.files.producers.insert(job),
            None => self.files.of_last.push(self.files.inputs.len()),
        }
        let source = InputSource::Output { job: job.unwrap_or(JobId(0)), index, output };
        self.add(name, source);
        Ok(())
    }

    fn output(&mut self, text: &OsStr, is_live: bool) -> Result<(), CliError> {
        let refused = |error| CliError::value(Place::Option("--out"), text, error);
        if text.is_empty() {
            return Err(refused(ValueError::Empty));
        }
        let output = tidy(text.as_bytes());
        let all = self.filled(&output).ok_or_else(|| refused(ValueError::PathTooLong))?;
        let mut all: Vec<RawString> = all.iter().map(|path| tidy(path.as_bytes())).collect();
        for path in &all {
            check_path(path.as_bytes()).map_err(|fault| refused(ValueError::BadOutput(path.to_string(), fault)))?;
        }
        // Patterns may match other files in each.
        if is_live && self.items.count() > 1 && !has_glob(output.as_bytes()) {
            if !self.varies(output.as_bytes()) {
                return Err(refused(ValueError::SameForAll));
            }
            all.sort_unstable();
            if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(refused(ValueError::SameForTwo(twice[0].to_string())));
            }
        }
        self.files.outputs.push(output);
        Ok(())
    }

    fn add(&mut self, name: RawString, source: InputSource) {
        self.files.inputs.push(InputSpec { name, source });
    }

    /// What a template comes to for every task; `None` when one is too long.
    fn filled(&self, template: &RawString) -> Option<Vec<RawString>> {
        if !self.varies(template.as_bytes()) {
            return Some(vec![template.clone()]);
        }
        let indices = (0..self.items.count()).map(|position| self.items.index_at(position));
        indices.map(|index| fill(self.items.item(index).as_ref(), index.0, template)).collect()
    }

    /// The first of `templates` that is a proper path for every task.
    fn valid(&self, templates: Vec<RawString>) -> Option<RawString> {
        let is_valid = |template: &RawString| {
            let all = self.filled(template)?;
            all.iter().all(|path| check_path(tidy(path.as_bytes()).as_bytes()).is_ok()).then_some(())
        };
        templates.into_iter().find(|template| is_valid(template).is_some())
    }

    /// Reads what is at a path, once.
    fn content(&mut self, path: &[u8]) -> Result<Content, CliError> {
        let key = RawString(path.to_vec());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let place = Path::new(key.as_os_str());
        let content = if place.is_dir() {
            let scanned = scan_tree(place)?;
            for (blob, path) in scanned.files {
                self.files.luggage.insert(blob, Origin::File(path));
            }
            self.tree(scanned.entries, scanned.mode, scanned.modified_ns)?
        } else {
            let hashed = hash_file(place)?;
            self.files.luggage.insert(hashed.blob, Origin::File(place.to_owned()));
            hashed.into()
        };
        self.known.insert(key, content);
        Ok(content)
    }

    /// The content that these entries are, in a directory of this mode and time.
    fn tree(&mut self, entries: Vec<TreeEntry>, mode: FileMode, modified_ns: Option<i64>) -> Result<Content, CliError> {
        let total_bytes = entries.iter().fold(0u64, |total, entry| match &entry.kind {
            TreeKind::File { blob, .. } => total.saturating_add(blob.bytes),
            TreeKind::Directory { .. } | TreeKind::Symlink(_) => total,
        });
        let bytes = manifest::encode(&entries).map_err(CliError::Manifest)?;
        let blob = BlobRef { digest: digest_of(&bytes), bytes: bytes.len() as u64 };
        self.files.luggage.insert(blob, Origin::Bytes(bytes));
        Ok(Content::Tree { manifest: blob, total_bytes, mode, modified_ns })
    }

    /// Puts a content into a tree that is being made, beneath `name`.
    fn unpack(
        &self,
        name: &RawString,
        content: &Content,
        entries: &mut BTreeMap<RawString, TreeEntry>,
    ) -> Result<(), CliError> {
        let mut put = |path: RawString, kind| _ = entries.insert(path.clone(), TreeEntry { path, kind });
        match *content {
            Content::File { blob, mode, modified_ns } => {
                put(name.clone(), TreeKind::File { blob, mode, modified_ns });
            }
            Content::Tree { manifest, mode, modified_ns, .. } => {
                let Some(Origin::Bytes(bytes)) = self.files.luggage.get(&manifest) else { return Ok(()) };
                put(name.clone(), TreeKind::Directory { mode, modified_ns });
                for entry in manifest::decode(bytes).map_err(CliError::Manifest)? {
                    put(RawString([name.as_bytes(), b"/", entry.path.as_bytes()].concat()), entry.kind);
                }
            }
        }
        Ok(())
    }
}

/// The directory that patterns are matched in.
const HERE_PATH: &str = ".";

/// What the user meant. A `=` separates the name only where the whole is not there.
fn meaning(text: &[u8]) -> Meaning<'_> {
    if exists(text) {
        return Meaning::Path(text, None);
    }
    let split = text.iter().rposition(|byte| *byte == b'=').filter(|at| *at > 0);
    let (path, name) = split.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    match producer(path) {
        Some((job, index, output)) if !exists(path) => Meaning::Output(job, index, output, name),
        _ => Meaning::Path(path, name),
    }
}

fn exists(path: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(path)).symlink_metadata().is_ok()
}

/// `5:OUT`, `5.3:OUT`, `last:OUT` or `last.3:OUT`.
fn producer(text: &[u8]) -> Option<(Option<JobId>, Option<TaskIndex>, &[u8])> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (id, output) = (std::str::from_utf8(&text[..colon]).ok()?, &text[colon + 1..]);
    if output.is_empty() {
        return None;
    }
    let (job, index) = match id.split_once('.') {
        Some((job, index)) => (job, Some(TaskIndex(index.parse().ok()?))),
        None => (id, None),
    };
    let job = if job == "last" { None } else { Some(JobId(job.parse().ok()?)) };
    Some((job, index, output))
}

/// A name as it was typed.
fn given_name(name: &[u8]) -> Result<RawString, ValueError> {
    let name = tidy(name);
    if name.as_bytes() != HERE {
        check_path(name.as_bytes()).map_err(|fault| ValueError::BadPath(name.to_string(), fault))?;
    }
    Ok(name)
}

/// What a file is called when no name is given: its path, where that stays beneath the directory, else its last part.
fn own_name(path: &[u8], content: &Content) -> Option<RawString> {
    let tidied = tidy(path);
    if tidied.as_bytes() == HERE {
        return matches!(content, Content::Tree { .. }).then_some(tidied);
    }
    if check_path(tidied.as_bytes()).is_ok() {
        return Some(tidied);
    }
    let last = tidied.as_bytes().rsplit(|byte| *byte == b'/').next()?;
    check_path(last).is_ok().then(|| RawString(last.to_vec()))
}

/// The same with placeholders in it, best first.
pub(super) fn own_templates(path: &[u8]) -> Vec<RawString> {
    let tidied = tidy(path);
    // `{//}` has slashes of its own.
    let last = tidied.as_bytes().windows(2).rposition(|pair| pair[0] == b'/' && !b"/.}".contains(&pair[1]));
    let last = RawString(last.map_or(tidied.as_bytes(), |slash| &tidied.as_bytes()[slash + 1..]).to_vec());
    let base = RawString(replaced(last.as_bytes()));
    vec![tidied, last, base]
}

/// `{}` as `{/}` and `{.}` as `{/.}`, whichever list they name.
fn replaced(template: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(template.len());
    let mut rest = template;
    while let Some((first, behind)) = rest.split_first() {
        result.push(*first);
        rest = behind;
        if *first != b'{' {
            continue;
        }
        let list = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
        if matches!(rest[list..], [b'}', ..] | [b'.', b'}', ..]) {
            result.extend_from_slice(&rest[..list]);
            result.push(b'/');
            rest = &rest[list..];
        }
    }
    result
}

mod auto;
#[cfg(test)]
mod tests;
