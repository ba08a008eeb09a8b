//! The one rule of what a path of an input, an output or a manifest's entry may be, and a symbolic link in a tree.
//!
//! Invariant: what passes names something beneath the directory that it is
//! resolved in, on every file system and without a look at one. Absent: the
//! resolving itself, which has to refuse links in the way (`blob/`).

use super::limits::MAX_PATH_BYTES;

/// Why some bytes are no path beneath a directory. Each text completes "it …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// There is nothing.
    #[error("is empty")]
    Empty,
    /// It is longer than [`MAX_PATH_BYTES`].
    #[error("is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// It holds a byte that no name can hold.
    #[error("holds a NUL byte")]
    Nul,
    /// It begins with `/`.
    #[error("is absolute")]
    Absolute,
    /// Nothing stands between two `/`, or behind the last.
    #[error("has an empty part")]
    EmptyPart,
    /// A part is `.`.
    #[error("has `.` as a part")]
    Dot,
    /// A part is `..`.
    #[error("has `..` as a part")]
    DotDot,
}

/// Why a symbolic link is none that a tree may hold. Each text completes "its target …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// There is nothing.
    #[error("is empty")]
    Empty,
    /// It is longer than [`MAX_PATH_BYTES`].
    #[error("is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// It holds a byte that no name can hold.
    #[error("holds a NUL byte")]
    Nul,
    /// It begins with `/`.
    #[error("is absolute")]
    Absolute,
    /// It climbs above the tree's root.
    #[error("leads out of the directory")]
    Escapes,
    /// It has `..` behind a name.
    #[error("has `..` behind a name")]
    ClimbsLate,
}

/// Whether a path begins at a root: `/`, or on Windows a drive or a share.
#[must_use]
pub fn is_absolute(path: &[u8]) -> bool {
    matches!(path, [b'/', ..] | [b'\\', b'\\', ..]) || matches!(path, [drive, b':', ..] if drive.is_ascii_alphabetic())
}

/// Checks that `path` is relative, has only proper names in it and is in the one form that it can have.
///
/// # Errors
/// The first fault found.
pub fn check_path(path: &[u8]) -> Result<(), PathFault> {
    match path {
        [] => return Err(PathFault::Empty),
        [b'/', ..] => return Err(PathFault::Absolute),
        _ if path.len() > MAX_PATH_BYTES => return Err(PathFault::TooLong),
        _ if path.contains(&0) => return Err(PathFault::Nul),
        _ => {}
    }
    path.split(|byte| *byte == b'/').try_for_each(|part| match part {
        b"" => Err(PathFault::EmptyPart),
        b"." => Err(PathFault::Dot),
        b".." => Err(PathFault::DotDot),
        _ => Ok(()),
    })
}

/// Checks that a link at `path`, a path that passed [`check_path`], leads to something in its tree.
///
/// `..` may only stand at the beginning: there it means a real directory, since nothing of a tree is beneath a
/// link. Behind a name it would mean the parent of whatever that name leads to, which only a look can tell.
///
/// # Errors
/// The first fault found.
pub fn check_link(path: &[u8], target: &[u8]) -> Result<(), LinkFault> {
    match target {
        [] => return Err(LinkFault::Empty),
        [b'/', ..] => return Err(LinkFault::Absolute),
        _ if target.len() > MAX_PATH_BYTES => return Err(LinkFault::TooLong),
        _ if target.contains(&0) => return Err(LinkFault::Nul),
        _ => {}
    }
    let mut above = path.iter().filter(|byte| **byte == b'/').count();
    let mut descended = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if descended => return Err(LinkFault::ClimbsLate),
            b".." => above = above.checked_sub(1).ok_or(LinkFault::Escapes)?,
            _ => descended = true,
        }
    }
    Ok(())
}

/// Where a link at `path` to `target` leads, as a path beneath the same root; `None` is the root itself.
///
/// Both have passed [`check_link`].
#[must_use]
pub fn follow_link(path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    if parts.is_empty() { None } else { Some(parts.join(&b'/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form_and_stays_beneath_its_directory() {
        for good in ["a", "a/b", ".hidden", "...", "a b\n'\"", "a/..b/c."] {
            assert_eq!(check_path(good.as_bytes()), Ok(()), "{good:?}");
        }
        assert_eq!(check_path(b"\xff\xfe"), Ok(()), "names need not be UTF-8");
        let bad = [
            ("", PathFault::Empty),
            ("/a", PathFault::Absolute),
            ("a//b", PathFault::EmptyPart),
            ("a/", PathFault::EmptyPart),
            (".", PathFault::Dot),
            ("a/./b", PathFault::Dot),
            ("..", PathFault::DotDot),
            ("a/../b", PathFault::DotDot),
            ("a\0b", PathFault::Nul),
        ];
        for (path, fault) in bad {
            assert_eq!(check_path(path.as_bytes()), Err(fault), "{path:?}");
        }
        assert_eq!(check_path(&vec![b'a'; MAX_PATH_BYTES]), Ok(()));
        assert_eq!(check_path(&vec![b'a'; MAX_PATH_BYTES + 1]), Err(PathFault::TooLong));
    }

    #[test]
    fn a_link_leads_to_something_in_its_tree() {
        let leads = [
            ("l", "a", Some("a")),
            ("l", ".", None),
            ("d/l", "..", None),
            ("d/e/l", "../.././x//y/", Some("x/y")),
            ("d/l", "./../d/f", Some("d/f")),
        ];
        for (path, target, to) in leads {
            assert_eq!(check_link(path.as_bytes(), target.as_bytes()), Ok(()), "{path} -> {target}");
            let followed = follow_link(path.as_bytes(), target.as_bytes());
            assert_eq!(followed.as_deref(), to.map(str::as_bytes), "{path} -> {target}");
        }
        let faults = [
            ("l", "", LinkFault::Empty),
            ("l", "/etc/passwd", LinkFault::Absolute),
            ("l", "..", LinkFault::Escapes),
            ("d/l", "../../x", LinkFault::Escapes),
            // Where `d` itself is a link to something higher up, this would be outside.
            ("l", "d/..", LinkFault::ClimbsLate),
            ("l", "a\0", LinkFault::Nul),
        ];
        for (path, target, fault) in faults {
            assert_eq!(check_link(path.as_bytes(), target.as_bytes()), Err(fault), "{path} -> {target}");
        }
    }
}
