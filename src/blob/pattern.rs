//! Names with `*`, `?`, `[…]` and `**` in them, matched as bytes, part by part.
//!
//! Invariant: only directories that a pattern leads into are listed, and each once. Names need not be UTF-8; where they
//! are, `?` and `[…]` stand for one character, else for one byte. What begins with a dot is matched only by what begins
//! with one. Absent: any file's contents.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::BlobError;
use super::error::What;
use super::sys::{Listing, what_is};
use super::walk::{joined, shown_at};
use crate::model::RawString;
use crate::model::limits::MAX_PATH_BYTES;

/// Whether `pattern` can match more than the one name that it is written as.
#[must_use]
pub fn has_glob(pattern: &[u8]) -> bool {
    pattern.split(|byte| *byte == b'/').any(is_glob)
}

/// All files and directories that `pattern` matches, sorted, each as the pattern would spell it: beneath `base`, or
/// absolute.
///
/// `*`, `?` and `[…]` match within one part and `**` any number of parts; `\` takes the meaning from what follows. A
/// trailing `**` matches files only. What is in a directory that is matched itself is not named again. Links to
/// directories are followed, except by `**`.
///
/// # Errors
/// When a directory that the pattern leads into cannot be listed.
pub fn match_files(base: &Path, pattern: &[u8]) -> Result<Vec<RawString>, BlobError> {
    let (base, lead) = if pattern.starts_with(b"/") { (Path::new("/"), &b"/"[..]) } else { (base, &b""[..]) };
    let found = expand(pattern, &OfUser(base)).map_err(|(path, error)| {
        let path = shown_at(base, &path);
        BlobError::reading(&path)(error)
    })?;
    Ok(found.into_iter().map(|path| RawString([lead, &path].concat())).collect())
}

/// What a pattern is matched against. Paths are beneath some root, which is the empty path.
pub(super) trait Files {
    /// What is in a directory.
    fn list(&self, path: &[u8]) -> io::Result<Listing>;
    /// What is at a path, if anything is.
    fn look(&self, path: &[u8]) -> io::Result<Option<What>>;
    /// Whether a pattern may go on beneath a link at this path.
    fn leads_on(&self, path: &[u8]) -> bool;
}

/// The paths that `pattern` matches; an error comes with the path that it is about.
pub(super) fn expand(pattern: &[u8], files: &impl Files) -> Result<BTreeSet<Vec<u8>>, (Vec<u8>, io::Error)> {
    let parts = parts(pattern);
    let mut found = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut to_visit = vec![(Vec::new(), 0)];
    while let Some((path, at)) = to_visit.pop() {
        if path.len() > MAX_PATH_BYTES || !seen.insert((path.clone(), at)) {
            continue;
        }
        let failed = |error| (path.clone(), error);
        let is_last = at + 1 == parts.len();
        match &parts.get(at) {
            None => {}
            Some(Part::Name(name)) => {
                let inner = joined(&path, name);
                match files.look(&inner).map_err(failed)? {
                    Some(_) if is_last => drop(found.insert(inner)),
                    Some(what) if goes_on(files, &inner, what) => to_visit.push((inner, at + 1)),
                    _ => {}
                }
            }
            Some(Part::Glob(glob)) => {
                for (name, what) in files.list(&path).map_err(failed)? {
                    let inner = joined(&path, &name);
                    match matches(glob, &name) {
                        true if is_last => drop(found.insert(inner)),
                        true if goes_on(files, &inner, what) => to_visit.push((inner, at + 1)),
                        _ => {}
                    }
                }
            }
            Some(Part::AnyDepth) => {
                for (name, what) in files.list(&path).map_err(failed)? {
                    let inner = joined(&path, &name);
                    match what {
                        _ if name.starts_with(b".") => {}
                        What::Directory => to_visit.push((inner, at)),
                        _ if is_last => drop(found.insert(inner)),
                        _ => {}
                    }
                }
                to_visit.push((path, at + 1));
            }
        }
    }
    // A directory travels with all that is in it.
    let named = found.clone();
    found.retain(|path| !is_beneath(path, &named));
    Ok(found)
}

/// Whether a directory that `path` is in is among `others`.
pub(super) fn is_beneath(path: &[u8], others: &BTreeSet<Vec<u8>>) -> bool {
    path.iter().enumerate().any(|(at, byte)| *byte == b'/' && others.contains(&path[..at]))
}

fn goes_on(files: &impl Files, path: &[u8], what: What) -> bool {
    what == What::Directory || what == What::Symlink && files.leads_on(path)
}

/// The user's own files, where links are followed as a shell does.
struct OfUser<'a>(&'a Path);

impl Files for OfUser<'_> {
    fn list(&self, path: &[u8]) -> io::Result<Listing> {
        let of = |entry: fs::DirEntry| Ok((entry.file_name().into_vec(), kind_of(entry.file_type()?)));
        fs::read_dir(shown_at(self.0, path))?.map(|entry| of(entry?)).collect()
    }

    fn look(&self, path: &[u8]) -> io::Result<Option<What>> {
        match fs::symlink_metadata(self.0.join(OsStr::from_bytes(path))) {
            Ok(of) => Ok(Some(what_is(&of))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn leads_on(&self, path: &[u8]) -> bool {
        self.0.join(OsStr::from_bytes(path)).is_dir()
    }
}

/// What matters here of what an entry is.
fn kind_of(kind: fs::FileType) -> What {
    match () {
        () if kind.is_dir() => What::Directory,
        () if kind.is_symlink() => What::Symlink,
        () => What::File,
    }
}

/// What stands between two `/`.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Name(Vec<u8>),
    Glob(Vec<u8>),
    AnyDepth,
}

fn parts(pattern: &[u8]) -> Vec<Part> {
    let literal = !has_glob(pattern);
    let mut parts: Vec<Part> = Vec::new();
    for part in pattern.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b"**" if parts.last() == Some(&Part::AnyDepth) => {}
            b"**" => parts.push(Part::AnyDepth),
            glob if is_glob(glob) => parts.push(Part::Glob(glob.to_vec())),
            name if literal => parts.push(Part::Name(name.to_vec())),
            name => parts.push(Part::Name(unescaped(name))),
        }
    }
    parts
}

fn is_glob(part: &[u8]) -> bool {
    let mut rest = part;
    while let [first, behind @ ..] = rest {
        rest = match first {
            b'*' | b'?' => return true,
            b'[' if class(behind).is_some() => return true,
            b'\\' => behind.get(1..).unwrap_or_default(),
            _ => behind,
        };
    }
    false
}

fn unescaped(part: &[u8]) -> Vec<u8> {
    let mut bytes = part.iter();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    plain
}

/// Whether a pattern means this path, as [`match_files`] would find it.
#[must_use]
pub fn matches_pattern(pattern: &[u8], path: &[u8]) -> bool {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let parts = parts(pattern);
    // Whether the parts so far can mean the names so far, for every number of names.
    let mut reached = vec![false; names.len() + 1];
    reached[0] = true;
    for (place, part) in parts.iter().enumerate() {
        let mut next = vec![false; names.len() + 1];
        for at in (0..=names.len()).filter(|at| reached[*at]) {
            match part {
                Part::AnyDepth if place + 1 == parts.len() => next[names.len()] |= at < names.len(),
                Part::AnyDepth => (at..=names.len()).for_each(|end| next[end] = true),
                Part::Name(name) => {
                    if names.get(at).is_some_and(|found| found == name) {
                        next[at + 1] = true
                    }
                }
                Part::Glob(glob) => {
                    if names.get(at).is_some_and(|found| matches(glob, found)) {
                        next[at + 1] = true
                    }
                }
            }
        }
        reached = next;
    }
    reached[names.len()]
}

/// Whether one part of a pattern matches a name. Takes time in proportion to the product of their lengths at most.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !glob.starts_with(b".") && !glob.starts_with(b"\\.") {
        return false;
    }
    let (mut glob, mut name) = (glob, name);
    // Where the last `*` was, and how much of the name it stands for now.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', behind @ ..] = glob {
            retry = Some((behind, name));
            glob = behind;
            continue;
        }
        if glob.is_empty() && name.is_empty() {
            return true;
        }
        match step(glob, name) {
            Some(behind) => (glob, name) = behind,
            None => match retry {
                Some((behind, [_, rest @ ..])) => {
                    retry = Some((behind, rest));
                    (glob, name) = (behind, rest);
                }
                _ => return false,
            },
        }
    }
}

/// Matches what the pattern begins with, no `*`, against what the name begins with; what is left of both.
fn step<'a>(glob: &'a [u8], name: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (letter, name_left) = letter(name)?;
    match glob {
        [b'?', left @ ..] => Some((left, name_left)),
        [b'[', inside @ ..] if class(inside).is_some() => {
            let (negated, members, left) = class(inside)?;
            (holds(members, letter) != negated).then_some((left, name_left))
        }
        [b'\\', escaped, left @ ..] => (*escaped == name[0]).then_some((left, &name[1..])),
        [plain, left @ ..] => (*plain == name[0]).then_some((left, &name[1..])),
        [] => None,
    }
}

/// The inside of `[…]`: whether it is negated, its members, and what comes behind; `None` when nothing closes it.
fn class(inside: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (negated, members) = match inside {
        [b'!' | b'^', members @ ..] => (true, members),
        members => (false, members),
    };
    // A `]` in the first place is a member.
    let end = 1 + members.get(1..)?.iter().position(|byte| *byte == b']')?;
    Some((negated, &members[..end], &members[end + 1..]))
}

fn holds(mut members: &[u8], wanted: u32) -> bool {
    while let Some((first, left)) = letter(members) {
        let (last, left) = match left {
            [b'-', behind @ ..] if !behind.is_empty() => letter(behind).unwrap_or((first, left)),
            _ => (first, left),
        };
        if (first..=last).contains(&wanted) {
            return true;
        }
        members = left;
    }
    false
}

/// The first character of a name, or its first byte where that begins none; as a number, and what comes behind.
fn letter(name: &[u8]) -> Option<(u32, &[u8])> {
    /// Beyond all characters, so that a byte that is none equals none.
    const BYTE: u32 = 0x11_0000;
    let first = *name.first()?;
    let length = match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let text = name.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    Some(match text.and_then(|text| text.chars().next()) {
        Some(letter) => (u32::from(letter), &name[length..]),
        None => (BYTE + u32::from(first), &name[1..]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_part_patterns_match_as_in_a_shell() {
        let cases: &[(&str, &[u8], bool)] = &[
            ("*.txt", b"a.txt", true),
            ("*.txt", b".txt", false),
            (".*", b".txt", true),
            ("*", b".hidden", false),
            ("?", b"a", true),
            ("?", "é".as_bytes(), true),
            ("?", b"\xff", true),
            ("??", "é".as_bytes(), false),
            ("a*b*c", b"a-b-b-c", true),
            ("a*b*c", b"a-b-b-", false),
            ("[a-c]x", b"bx", true),
            ("[!a-c]x", b"bx", false),
            ("[^a-c]x", "éx".as_bytes(), true),
            ("[]]", b"]", true),
            ("[a-]", b"-", true),
            ("[à-é]", "ç".as_bytes(), true),
            ("[ab", b"[ab", true),
            (r"\*", b"*", true),
            (r"\*", b"a", false),
            ("*", b"\xff\n'", true),
            ("*", b"", true),
        ];
        for (glob, name, expected) in cases {
            assert_eq!(matches(glob.as_bytes(), name), *expected, "{glob} {:?}", RawString(name.to_vec()));
        }
    }

    #[test]
    fn only_what_can_match_several_names_is_a_pattern() {
        for (pattern, expected) in
            [("a/b.txt", false), ("a/*.txt", true), ("a?", true), ("a[1]", true), ("a[1", false), (r"a\*", false)]
        {
            assert_eq!(has_glob(pattern.as_bytes()), expected, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_finds_files_sorted_and_without_what_hides() {
        let base = tempfile::tempdir().unwrap();
        for path in ["a/1.txt", "a/2.txt", "a/deep/er/3.txt", "b/4.csv", ".git/5.txt", "a/.6.txt", "7.txt"] {
            let path = base.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(base.path().join(OsStr::from_bytes(b"a/\xff.txt")), "").unwrap();
        std::os::unix::fs::symlink("../a", base.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("a", base.path().join("l")).unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let found = match_files(base.path(), pattern.as_bytes()).unwrap();
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(found("a/*.txt"), ["a/1.txt", "a/2.txt", "a/\u{fffd}.txt"]);
        assert_eq!(found("**/*.txt"), ["7.txt", "a/1.txt", "a/2.txt", "a/deep/er/3.txt", "a/\u{fffd}.txt"]);
        assert_eq!(found("b/**"), ["b/4.csv"]);
        assert_eq!(found("a/**/3.txt"), ["a/deep/er/3.txt"]);
        assert_eq!(found("l/[12].txt"), ["l/1.txt", "l/2.txt"], "a link to a directory is followed");
        assert_eq!(found("?"), ["a", "b", "l"], "directories are found as a whole");
        assert_eq!(found(".g*/*"), [".git/5.txt"]);
        assert_eq!(found("b/../b/*.csv"), ["b/../b/4.csv"]);
        assert_eq!(found("none/*"), [""; 0]);
        let absolute = [base.path().as_os_str().as_bytes(), b"/b/*"].concat();
        assert_eq!(
            match_files(Path::new("elsewhere"), &absolute).unwrap(),
            [RawString::from(base.path().join("b/4.csv").as_os_str())]
        );
    }

    #[test]
    fn a_pattern_made_to_take_long_does_not() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("a/".repeat(40))).unwrap();
        let found = match_files(base.path(), "**/a/".repeat(20).as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        let name = "a".repeat(255);
        assert!(!matches(format!("{}b", "a*".repeat(100)).as_bytes(), name.as_bytes()));
    }
}
