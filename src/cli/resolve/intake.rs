//! Files and standard input that the options of `run` and `submit` name.
//!
//! The one invariant: nothing is held beyond the bound that the job would be
//! refused for anyway.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::cli::args::TaskArgs;
use crate::cli::error::CliError;
use crate::cli::stdin::{self, Blocking};
use crate::model::RawString;
use crate::model::limits::{MAX_INLINE_STDIN, MAX_ITEMS_BYTES};
use crate::model::spec::{JobSpec, StdinSource};

/// What feeds the standard input of an attached task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StdinPlan {
    /// Nothing: it is empty, or kept with the job.
    Nothing,
    /// Our own standard input.
    Own,
    /// A file.
    File(PathBuf),
}

/// What ends an item in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemEnd {
    /// The end of its line.
    Line,
    /// `--null`.
    Nul,
}

/// The items in a file, or in our standard input; a last one without an end counts.
pub(super) fn lines(file: &OsStr, option: &'static str, end: ItemEnd) -> Result<Vec<RawString>, CliError> {
    let end = if end == ItemEnd::Nul { 0 } else { b'\n' };
    // One byte more than the bound and its line ends can fill, so that too much is noticed and never held.
    let most = MAX_ITEMS_BYTES as u64 * 2;
    let mut text = read_all(file, option, most)?;
    if text.last() == Some(&end) {
        text.pop();
    } else if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(text.split(|byte| *byte == end).map(|line| RawString(line.to_vec())).collect())
}

/// The elements of a JSON array in a file or our standard input: of a string what it says, of anything else its
/// JSON, digit for digit and without white space.
pub(super) fn elements(file: &OsStr) -> Result<Vec<RawString>, CliError> {
    // Twice the bound, as for lines; what is indented more deeply than that is too large to be read.
    let most = MAX_ITEMS_BYTES as u64 * 2;
    let text = read_all(file, "--from-json", most)?;
    if text.len() as u64 > most {
        let origin = file.to_string_lossy().into_owned();
        return Err(CliError::TooManyItems { origin, limit: format!("{} MiB of them", MAX_ITEMS_BYTES >> 20) });
    }
    let unreadable = |source: serde_json::Error| CliError::Unreadable {
        path: Path::new(file).to_owned(),
        option: "--from-json",
        source: source.into(),
    };
    let elements: Vec<&RawValue> = serde_json::from_slice(&text).map_err(unreadable)?;
    let item = |element: &&RawValue| match element.get().starts_with('"') {
        true => serde_json::from_str::<String>(element.get()).map(RawString::from).map_err(unreadable),
        false => Ok(RawString(without_space(element.get().as_bytes()))),
    };
    elements.iter().map(item).collect()
}

/// JSON without the white space between its words.
fn without_space(json: &[u8]) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let mut keeps = |byte: &u8| {
        match (in_string, escaped, *byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, _, b'"') => in_string = !in_string,
            _ => {}
        }
        in_string || !byte.is_ascii_whitespace()
    };
    json.iter().copied().filter(|byte| keeps(byte)).collect()
}

/// At most `most` bytes and one more of a file, or of our standard input for `-`.
fn read_all(file: &OsStr, option: &'static str, most: u64) -> Result<Vec<u8>, CliError> {
    let path = Path::new(file);
    let unreadable = |source| CliError::Unreadable { path: path.to_owned(), option, source };
    let mut bytes = Vec::new();
    let file = if stdin::means_own(file) { stdin::own() } else { std::fs::File::open(path) }.map_err(unreadable)?;
    Blocking(&file).take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Standard input of a `run` of one task: forwarded while it runs.
pub(super) fn live_stdin(args: &TaskArgs, spec: &mut JobSpec) -> StdinPlan {
    spec.stdin = StdinSource::Attached;
    match args.stdin.as_deref() {
        Some(file) if !stdin::means_own(file) => StdinPlan::File(PathBuf::from(file)),
        _ => StdinPlan::Own,
    }
}

/// Standard input of anything else: kept with the job, the same for each of its tasks.
/// `items_from_stdin`: ours was read already.
pub(super) fn stored_stdin(args: &TaskArgs, items_from_stdin: bool, spec: &mut JobSpec) -> Result<StdinPlan, CliError> {
    let Some(file) = args.stdin.as_deref() else { return Ok(StdinPlan::Nothing) };
    if file == "-" && items_from_stdin {
        return Err(CliError::Conflict("--stdin -", "items that are read from stdin"));
    }
    let bytes = read_all(file, "--stdin", MAX_INLINE_STDIN as u64)?;
    if bytes.len() > MAX_INLINE_STDIN {
        let origin = if file == "-" { "stdin".to_owned() } else { file.to_string_lossy().into_owned() };
        return Err(CliError::StdinTooLarge { origin, limit: format!("{} MiB", MAX_INLINE_STDIN >> 20) });
    }
    spec.stdin = if bytes.is_empty() { StdinSource::Empty } else { StdinSource::Inline(bytes.into()) };
    Ok(StdinPlan::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_item_and_its_bytes_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("items");
        let read_to = |end, bytes: &[u8]| {
            std::fs::write(&file, bytes).expect("written");
            let items = lines(file.as_os_str(), "--each-line", end).expect("read");
            items.into_iter().map(|line| line.0).collect::<Vec<_>>()
        };
        let read = |bytes: &[u8]| read_to(ItemEnd::Line, bytes);
        assert_eq!(read(b"a\nb c\n"), [b"a".to_vec(), b"b c".to_vec()]);
        assert_eq!(read(b"a\n\nb"), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()], "an empty line is an item");
        assert_eq!(read(b"\xff\xfe\r\n"), [b"\xff\xfe\r".to_vec()], "bytes stay as they are");
        assert_eq!(read(b""), Vec::<Vec<u8>>::new());
        assert_eq!(read(b"\n"), [b"".to_vec()]);
        let read = |bytes: &[u8]| read_to(ItemEnd::Nul, bytes);
        assert_eq!(read(b"a\nb\0\0 c\n\0"), [b"a\nb".to_vec(), b"".to_vec(), b" c\n".to_vec()]);
        assert_eq!((read(b"a\0b"), read(b"")), (vec![b"a".to_vec(), b"b".to_vec()], Vec::new()));
    }

    #[test]
    fn each_element_of_a_json_array_is_an_item() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("items.json");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("written");
            elements(file.as_os_str())
        };
        let items = read(
            r#" [ "a b", "caf\u00e9\n", 12345678901234567890123, 1.50, null, [1, 2],
            {"name": "x \" y",
             "sizes": [1, 2]} ] "#,
        )
        .expect("read");
        let expected =
            ["a b", "café\n", "12345678901234567890123", "1.50", "null", "[1,2]", r#"{"name":"x \" y","sizes":[1,2]}"#];
        assert_eq!(items, expected.map(RawString::from));
        assert_eq!(read("[]").expect("read"), Vec::<RawString>::new());
        for bad in ["", "{}", "[1,", "[1] 2", "\"x\""] {
            let error = read(bad).expect_err("no array");
            assert!(error.line().contains("--from-json") && error.exit_code() == 2, "{bad}: {}", error.line());
        }
    }

    #[test]
    fn a_missing_file_is_named_with_its_option() {
        let error = lines(OsStr::new("/no/such/file"), "--each-line", ItemEnd::Line).expect_err("no such file");
        assert_eq!(error.line(), "cannot read /no/such/file for --each-line: No such file or directory");
    }

    #[test]
    fn stdin_kept_with_a_job_is_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("input");
        let stored = |bytes: &[u8]| {
            std::fs::write(&file, bytes).expect("written");
            let args = TaskArgs { stdin: Some(file.clone().into()), ..TaskArgs::default() };
            let mut spec = JobSpec::single(crate::model::spec::CommandLine::Shell("cat".into()));
            stored_stdin(&args, false, &mut spec).map(|_| spec.stdin)
        };
        assert_eq!(stored(b"hi").expect("kept"), StdinSource::Inline("hi".into()));
        assert_eq!(stored(b"").expect("kept"), StdinSource::Empty);
        let error = stored(&vec![0; MAX_INLINE_STDIN + 1]).expect_err("too large");
        assert!(error.line().contains("4 MiB") && error.exit_code() == 2, "{}", error.line());
    }
}
