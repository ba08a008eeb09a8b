//! Looking a program up as a shell does, and saying why it cannot be run.
//!
//! The one invariant: a failure names what was tried and tells the two cases
//! apart that exit codes tell apart, 127 (there is no such thing) and 126 (it
//! is there). Absent: running anything.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::model::obstacle::{DirectoryFault, Shortage};
use crate::model::outcome::{SpawnFailure, SpawnFailureKind};

/// Where programs are looked for when a task has no `PATH` at all.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Bytes at the beginning of a script in which Linux looks for its interpreter (`BINPRM_BUF_SIZE`).
const SHEBANG_BYTES: usize = 256;

/// Bytes of a reason; beyond them it is cut. Every path that a kernel takes fits (4096 bytes).
const LONGEST_REASON: usize = 8 * 1024;

/// The file that `name` stands for: itself when it holds a slash, else the first fit in `search_path`.
///
/// The result always holds a slash, so nothing looks it up again, and may be relative to `cwd`.
pub(super) fn find(name: &OsStr, search_path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, SpawnFailure> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let search_path = search_path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut forbidden = None;
    for directory in search_path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry is the current directory, as it has been since the first shells.
        let directory = if directory.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(directory)) };
        let candidate = directory.join(name);
        let seen_from_here = cwd.join(&candidate);
        match fs::metadata(&seen_from_here) {
            Ok(found) if !found.is_file() => {}
            Ok(_) if access(&seen_from_here, AccessFlags::X_OK).is_ok() => return Ok(candidate),
            Ok(_) => forbidden = Some(candidate),
            Err(_) => {}
        }
    }
    Err(match forbidden {
        Some(candidate) => failure(SpawnFailureKind::NotExecutable, format!("{}: not executable", candidate.display())),
        None => failure(SpawnFailureKind::NotFound, format!("no such program: {}", name.display())),
    })
}

/// Why `program` could not be run in `cwd`, looked into after the system said `error`. Not for errors that say something
/// about the worker ([`shortage`]) or the directory ([`directory_fault`]).
pub(super) fn explain(error: &io::Error, program: &Path, cwd: &Path) -> SpawnFailure {
    let file = cwd.join(program);
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR) if fs::metadata(&file).is_err() => {
            failure(SpawnFailureKind::NotFound, format!("no such program: {}", program.display()))
        }
        Some(errno @ (Errno::ENOENT | Errno::EACCES | Errno::ENOEXEC)) => {
            let text = fault(&file).unwrap_or_else(|| blame(errno, &file, cwd));
            failure(SpawnFailureKind::NotExecutable, format!("{}: {text}", program.display()))
        }
        _ => failure(SpawnFailureKind::NotExecutable, format!("{}: {}", program.display(), plain(error))),
    }
}

/// What the worker is short of when the system says this; `None` when that says nothing about the worker.
#[must_use]
pub fn shortage(error: &io::Error) -> Option<Shortage> {
    Some(match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE | Errno::ENFILE | Errno::ETOOMANYREFS => Shortage::Descriptors,
        Errno::EAGAIN => Shortage::Processes,
        Errno::ENOMEM | Errno::ENOBUFS => Shortage::Memory,
        Errno::ENOSPC | Errno::EDQUOT => Shortage::Disk,
        Errno::EIO | Errno::EROFS => Shortage::Other,
        _ => return None,
    })
}

/// Why a task cannot run in `directory`, when it cannot.
pub(super) fn directory_fault(directory: &Path) -> Option<DirectoryFault> {
    match fs::metadata(directory) {
        Ok(found) if !found.is_dir() => Some(DirectoryFault::NotDirectory),
        Ok(_) => access(directory, AccessFlags::X_OK).is_err().then_some(DirectoryFault::Forbidden),
        Err(error) => Some(match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENAMETOOLONG) => DirectoryFault::Missing,
            Some(Errno::ENOTDIR) => DirectoryFault::NotDirectory,
            _ => DirectoryFault::Forbidden,
        }),
    }
}

/// What is wrong with `file` that the system gives for what it is.
fn blame(errno: Errno, file: &Path, cwd: &Path) -> String {
    let interpreter = interpreter(file).filter(|name| !name.is_empty()).map(|name| cwd.join(name));
    let shown = interpreter.as_deref().unwrap_or(Path::new("")).display();
    match (errno, &interpreter) {
        (Errno::ENOENT, Some(_)) => format!("no such interpreter: {shown}"),
        (Errno::ENOENT, None) => "its loader or interpreter is missing".to_owned(),
        (Errno::ENOEXEC, Some(_)) if first_line(&beginning(file).unwrap_or_default()).len() >= SHEBANG_BYTES => {
            format!("its first line is too long: the system reads {SHEBANG_BYTES} bytes of it")
        }
        (Errno::ENOEXEC, Some(_)) => format!("its interpreter {shown} is no program for this machine"),
        (Errno::EACCES, _) if file.is_dir() => "is a directory".to_owned(),
        (Errno::EACCES, _) if access(file, AccessFlags::X_OK).is_err() => {
            "permission denied: not executable (chmod +x)".to_owned()
        }
        (Errno::EACCES, Some(interpreter))
            if interpreter.is_dir() || access(interpreter, AccessFlags::X_OK).is_err() =>
        {
            format!("permission denied: its interpreter {shown} is not executable")
        }
        _ => errno.desc().to_lowercase(),
    }
}

/// Whether `file`, which the kernel does not know how to run, is a script that the shell can: no NUL in its first line,
/// and no other interpreter named there.
pub(super) fn is_script(file: &Path) -> bool {
    let Some(beginning) = beginning(file) else { return false };
    !first_line(&beginning).contains(&0) && interpreter(file).is_none_or(|name| name.is_empty())
}

/// What is wrong with the text of a script, so that it would not be run at all, or by the wrong interpreter.
pub(super) fn fault(file: &Path) -> Option<String> {
    let beginning = beginning(file)?;
    let name = file.file_name().unwrap_or(file.as_os_str()).display();
    if beginning.starts_with(b"\xef\xbb\xbf") {
        return Some(format!(
            "the script begins with a byte order mark; remove it: sed -i '1s/^\\xef\\xbb\\xbf//' {name}"
        ));
    }
    if beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff") {
        return Some(format!("the script is text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {name}"));
    }
    let line = first_line(&beginning).strip_prefix(b"#!")?.strip_suffix(b"\r")?.trim_ascii_start();
    // Where the carriage return belongs to an option, some interpreters know what it means.
    let named = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    let found_by_name = named == line || named.ends_with(b"/env");
    let text = format!("the script has Windows line endings (CRLF); convert it: sed -i 's/\\r$//' {name}");
    found_by_name.then_some(text)
}

/// A failure with words for people, not more of them than are of use: a name in them is as long as a job likes.
pub(super) fn failure(kind: SpawnFailureKind, reason: String) -> SpawnFailure {
    SpawnFailure { kind, reason: shortened(reason) }
}

/// A reason, cut where it stops being of use.
pub(super) fn shortened(mut reason: String) -> String {
    if reason.len() > LONGEST_REASON {
        let end = (0..=LONGEST_REASON).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

/// What the system said, without Rust's `(os error 2)`.
pub(super) fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// What a script's `#!` names.
fn interpreter(file: &Path) -> Option<OsString> {
    let beginning = beginning(file)?;
    let line = first_line(&beginning).strip_prefix(b"#!")?.trim_ascii();
    let name = line.split(u8::is_ascii_whitespace).next()?;
    Some(OsStr::from_bytes(name).to_owned())
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn beginning(file: &Path) -> Option<Vec<u8>> {
    let mut beginning = Vec::new();
    fs::File::open(file).ok()?.take(SHEBANG_BYTES as u64).read_to_end(&mut beginning).ok()?;
    Some(beginning)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(dir: &Path, name: &str, mode: u32, text: &[u8]) {
        fs::write(dir.join(name), text).expect("a file");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).expect("its mode");
    }

    #[test]
    fn the_first_executable_file_of_the_path_wins_and_a_directory_never_does() {
        let dir = tempfile::tempdir().expect("a directory");
        for sub in ["a/tool", "b", "c"] {
            fs::create_dir_all(dir.path().join(sub)).expect("a directory");
        }
        file(&dir.path().join("b"), "tool", 0o644, b"");
        file(&dir.path().join("c"), "tool", 0o755, b"");
        let path = OsString::from(format!("a:{0}/b:{0}/c", dir.path().display()));
        let found = find(OsStr::new("tool"), Some(&path), dir.path()).expect("it is in c");
        assert_eq!(found, dir.path().join("c/tool"));
        let only_b = OsString::from(format!("{}/b", dir.path().display()));
        let failure = find(OsStr::new("tool"), Some(&only_b), dir.path()).expect_err("not executable");
        assert_eq!(failure.kind, SpawnFailureKind::NotExecutable);
        let failure = find(OsStr::new("tool"), Some(OsStr::new("/nowhere")), dir.path()).expect_err("not there");
        assert_eq!((failure.kind, &*failure.reason), (SpawnFailureKind::NotFound, "no such program: tool"));
    }

    #[test]
    fn an_empty_path_entry_is_the_directory_of_the_task() {
        let dir = tempfile::tempdir().expect("a directory");
        file(dir.path(), "tool", 0o755, b"");
        let found = find(OsStr::new("tool"), Some(OsStr::new("/nowhere:")), dir.path());
        assert_eq!(found, Ok(PathBuf::from("./tool")));
    }

    #[test]
    fn a_directory_is_there_or_it_is_said_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        file(dir.path(), "file", 0o755, b"");
        assert_eq!(directory_fault(dir.path()), None);
        assert_eq!(directory_fault(&dir.path().join("no/such")), Some(DirectoryFault::Missing));
        assert_eq!(directory_fault(&dir.path().join("file")), Some(DirectoryFault::NotDirectory));
        assert_eq!(directory_fault(&dir.path().join("file/under")), Some(DirectoryFault::NotDirectory));
    }

    #[test]
    fn what_the_worker_lacks_is_told_from_what_the_task_did_wrong() {
        let said = |errno: Errno| shortage(&io::Error::from_raw_os_error(errno as i32));
        assert_eq!(
            (said(Errno::EMFILE), said(Errno::ENFILE)),
            (Some(Shortage::Descriptors), Some(Shortage::Descriptors))
        );
        assert_eq!((said(Errno::EAGAIN), said(Errno::ENOMEM)), (Some(Shortage::Processes), Some(Shortage::Memory)));
        assert_eq!((said(Errno::ENOSPC), said(Errno::EDQUOT)), (Some(Shortage::Disk), Some(Shortage::Disk)));
        for own in [Errno::E2BIG, Errno::ENOENT, Errno::EACCES, Errno::ENOEXEC, Errno::ETXTBSY, Errno::ELOOP] {
            assert_eq!(said(own), None, "{own}");
        }
    }

    #[test]
    fn a_script_without_its_interpreter_says_which() {
        let dir = tempfile::tempdir().expect("a directory");
        file(dir.path(), "script", 0o755, b"#!/no/such/thing -x\n");
        let error = io::Error::from_raw_os_error(Errno::ENOENT as i32);
        let failure = explain(&error, Path::new("./script"), dir.path());
        assert_eq!(failure.kind, SpawnFailureKind::NotExecutable);
        assert!(failure.reason.ends_with("no such interpreter: /no/such/thing"), "{}", failure.reason);
    }

    #[test]
    fn a_reason_is_cut_where_it_stops_being_of_use() {
        let long = failure(SpawnFailureKind::NotFound, "ü".repeat(LONGEST_REASON));
        assert_eq!(long.reason, "ü".repeat(LONGEST_REASON / 2) + "…");
        let odd = failure(SpawnFailureKind::NotFound, "x".to_owned() + &"ü".repeat(LONGEST_REASON));
        assert!(odd.reason.len() <= LONGEST_REASON + '…'.len_utf8());
    }

    #[test]
    fn only_text_is_taken_for_a_script() {
        let dir = tempfile::tempdir().expect("a directory");
        file(dir.path(), "text", 0o755, b"echo hello\n");
        file(dir.path(), "binary", 0o755, b"\x7fELF\0\0\n");
        assert!(is_script(&dir.path().join("text")) && !is_script(&dir.path().join("binary")));
    }
}
