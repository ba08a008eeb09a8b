//! Files in and out of a task's directory, and of a client's: what travels is what was there, and nothing that a task
//! leaves behind or a peer sends reaches beyond the directory that was named.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use octaskly::blob::{
    Accepted, BlobError, BlobStore, Collected, Delivery, Hashed, Source, Take, What, collect, digest_of, hash_file,
    place, scan_tree,
};
use octaskly::model::files::{TreeEntry, TreeKind};
use octaskly::model::limits::{MAX_INPUTS, MAX_MANIFEST_BYTES};
use octaskly::model::{BlobRef, Content, FileMode, RawString};
use octaskly::wire::manifest;

/// A store, and a directory beside it for whatever the test is about.
struct Stage {
    folder: tempfile::TempDir,
    store: BlobStore,
}

impl Stage {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    /// In memory where the system has such a place: some disks take a minute for a hundred thousand files.
    fn quick() -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn at(folder: tempfile::TempDir) -> Self {
        let store = BlobStore::open(&folder.path().join("store"), 1 << 40).unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        Self { folder, store }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("dir")
    }

    /// Writes a file, and the directories that it is in.
    fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn fifo(&self, path: &str) {
        nix::unistd::mkfifo(&self.dir().join(path), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    }

    fn collect(&self, patterns: &[&str]) -> Result<Collected, BlobError> {
        let patterns: Vec<RawString> = patterns.iter().map(|pattern| RawString::from(*pattern)).collect();
        collect(&self.store, &self.dir(), &patterns, Take::Move)
    }

    /// The text of what went wrong.
    fn refusal(&self, pattern: &str) -> String {
        let error = self.collect(&[pattern]).expect_err(pattern);
        format!("failed to {error}")
    }

    fn file(&self, bytes: &[u8], executable: bool) -> Content {
        let mode = if executable { FileMode::ALL } else { FileMode::FILE };
        Content::File { blob: self.store.insert_bytes(bytes).unwrap(), mode, modified_ns: None }
    }

    fn tree(&self, entries: &[(&str, TreeKind)]) -> Content {
        let entries: Vec<_> =
            entries.iter().map(|(path, kind)| TreeEntry { path: (*path).into(), kind: kind.clone() }).collect();
        let manifest = self.store.insert_bytes(&manifest::encode(&entries).unwrap()).unwrap();
        tree_of(manifest)
    }

    fn leaf(&self, bytes: &[u8]) -> TreeKind {
        TreeKind::File { blob: self.store.insert_bytes(bytes).unwrap(), mode: FileMode::FILE, modified_ns: None }
    }

    fn place(&self, name: &str, content: &Content) -> Result<(), BlobError> {
        place(&self.store, &self.dir(), &[(name.into(), *content)])
    }

    fn entries_of(&self, content: &Content) -> Vec<TreeEntry> {
        let Content::Tree { manifest, .. } = content else { panic!("a tree") };
        manifest::decode(&self.store.read(*manifest, MAX_MANIFEST_BYTES).unwrap()).unwrap()
    }
}

fn names(collected: &Collected) -> Vec<String> {
    collected.outputs.iter().map(|output| output.name.to_string()).collect()
}

fn paths(entries: &[TreeEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.path.to_string()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What a new file gets here, whatever the umask is.
fn usual_mode(folder: &Path) -> u32 {
    let probe = folder.join("probe");
    fs::File::create(&probe).unwrap();
    mode(&probe)
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

/// Names that break programs which take them for text.
const AWKWARD: &[&[u8]] =
    &[b"a b", b"'\"`$(x)", b"new\nline", b"\xff\xfe", b"-rf", b"*", b"[x]", "\u{202e}ü".as_bytes()];

fn tree_of(manifest: BlobRef) -> Content {
    Content::Tree { manifest, total_bytes: 0, mode: FileMode::ALL, modified_ns: None }
}

fn folder() -> TreeKind {
    TreeKind::Directory { mode: FileMode::ALL, modified_ns: None }
}

fn usual(blob: BlobRef, mode: FileMode) -> Hashed {
    Hashed { blob, mode, modified_ns: None }
}

#[test]
fn an_input_is_as_old_for_its_task_as_it_is_for_its_user() {
    let stage = Stage::new();
    stage.write("in/old", "x");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_890_123_456_789);
    fs::File::options().write(true).open(stage.dir().join("in/old")).unwrap().set_modified(long_ago).unwrap();
    let scanned = scan_tree(&stage.dir().join("in")).unwrap();
    for (blob, path) in &scanned.files {
        assert_eq!(stage.store.insert_file(path, Take::Copy).unwrap().blob, *blob);
    }
    let manifest = stage.store.insert_bytes(&octaskly::wire::manifest::encode(&scanned.entries).unwrap()).unwrap();
    stage.place("there", &tree_of(manifest)).unwrap();
    assert_eq!(fs::metadata(stage.dir().join("there/old")).unwrap().modified().unwrap(), long_ago);
}

#[test]
fn a_directory_travels_from_a_task_into_another_one() {
    let stage = Stage::new();
    for name in AWKWARD {
        stage.write(Path::new("out").join(OsStr::from_bytes(name)), name);
    }
    stage.write("out/sub/empty", "");
    stage.write("out/sub/large", noise(3_000_000));
    stage.write("out/sub/tool", "#!/bin/sh\n");
    fs::set_permissions(stage.dir().join("out/sub/tool"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(stage.dir().join("out/nothing")).unwrap();
    stage.link("out/sub/link", "../-rf");
    stage.link("out/dangling", "not/there");
    let before = scan_tree(&stage.dir().join("out")).unwrap();

    let collected = stage.collect(&["./out/"]).unwrap();
    assert_eq!(names(&collected), ["out"]);
    let content = collected.outputs[0].content;
    assert_eq!(stage.entries_of(&content), before.entries);
    assert!(!stage.dir().join("out/sub/large").exists(), "files are moved, not copied");

    stage.place("in/here", &content).unwrap();
    let after = scan_tree(&stage.dir().join("in/here")).unwrap();
    assert_eq!((after.entries, after.total_bytes), (before.entries, before.total_bytes));
    assert_eq!(content.total_bytes(), after.total_bytes);
    assert_eq!(mode(&stage.dir().join("in/here/sub/tool")), 0o700);
}

#[test]
fn single_files_and_patterns_become_outputs_under_their_own_names() {
    let stage = Stage::new();
    for path in ["a.txt", "b.txt", "deep/c.txt", "deep/er/d.txt", ".hidden.txt", "table.csv", "[x]"] {
        stage.write(path, path);
    }
    let collected = stage.collect(&["*.txt", "deep/**/*.txt", "table.csv", "[x]", "none", "none/*.txt"]).unwrap();
    assert_eq!(names(&collected), ["[x]", "a.txt", "b.txt", "deep/c.txt", "deep/er/d.txt", "table.csv"]);
    assert_eq!(collected.missing, [RawString::from("none"), RawString::from("none/*.txt")]);
    let read: Vec<_> =
        collected.outputs.iter().map(|output| stage.store.read(output.content.blob(), 100).unwrap()).collect();
    assert_eq!(read, names(&collected).into_iter().map(String::into_bytes).collect::<Vec<_>>());
    assert!(!stage.dir().join("a.txt").exists() && stage.dir().join(".hidden.txt").exists());
}

#[test]
fn outputs_that_share_files_are_each_whole() {
    let stage = Stage::new();
    stage.write("out/a", "a");
    stage.write("out/b", "b");
    stage.link("latest", "out/b");
    stage.link("all", "out");
    let collected = stage.collect(&["out/a", "out", "latest", "all"]).unwrap();
    assert_eq!(names(&collected), ["all", "latest", "out", "out/a"]);
    assert_eq!(stage.store.read(collected.outputs[1].content.blob(), 10).unwrap(), b"b");
    for tree in [0, 2] {
        assert_eq!(paths(&stage.entries_of(&collected.outputs[tree].content)), ["a", "b"]);
    }
}

#[test]
fn nothing_outside_of_a_tasks_directory_becomes_an_output() {
    let stage = Stage::new();
    fs::write(stage.folder.path().join("secret"), "secret").unwrap();
    stage.link("up", "../secret");
    stage.link("absolute", "/etc/passwd");
    stage.link("folder", "..");
    stage.link("tree/inner", "../../secret");
    stage.link("odd/a", "b/../../..");
    stage.link("self", "self");
    stage.link("to-self", "self");
    for (pattern, says) in [
        ("../secret", "it has `..` as a part"),
        ("tree/../../secret", "it has `..` as a part"),
        ("/etc/passwd", "it is absolute"),
        ("", "it is empty"),
        (".", "it has `.` as a part"),
        ("up", "its target leads out of the directory"),
        ("absolute", "its target is absolute"),
        ("folder", "its target leads out of the directory"),
        ("folder/secret", "a part of it is a symbolic link"),
        ("tree", "its target leads out of the directory"),
        ("odd", "its target has `..` behind a name"),
        ("to-self", "it leads to too many others"),
    ] {
        let refusal = stage.refusal(pattern);
        assert!(refusal.contains(says), "{pattern:?}: {refusal}");
        assert!(!refusal.contains('\n') && refusal.contains(pattern), "{pattern:?}: {refusal}");
    }
    assert_eq!(names(&stage.collect(&["folder/*"]).unwrap()), [""; 0], "no pattern goes through a link");
    assert_eq!(stage.store.usage().blobs, 0);
}

#[test]
fn what_is_no_file_is_named_and_not_waited_for() {
    let stage = Stage::new();
    stage.fifo("pipe");
    fs::create_dir(stage.dir().join("tree")).unwrap();
    stage.fifo("tree/new\nline");
    let _socket = std::os::unix::net::UnixListener::bind(stage.dir().join("socket")).unwrap();
    stage.link("to-pipe", "pipe");
    for (pattern, says) in [
        ("pipe", "it is a named pipe"),
        ("p*", "it is a named pipe"),
        ("to-pipe", "it is a named pipe"),
        ("tree", "it is a named pipe"),
        ("socket", "it is a socket"),
    ] {
        let refusal = stage.refusal(pattern);
        assert!(refusal.contains(says) && !refusal.contains('\n'), "{pattern}: {refusal}");
    }
    assert!(stage.refusal("tree").contains(r"new\nline"), "the error names the path, on one line");
}

#[test]
fn links_within_the_directory_are_followed_as_outputs_and_kept_in_trees() {
    let stage = Stage::new();
    stage.write("runs/7/model", "weights");
    stage.link("best", "latest/../best");
    stage.link("latest", "runs/7");
    stage.link("model", "./runs/7//model");
    stage.link("twice", "model");
    stage.link("gone", "runs/8");
    let collected = stage.collect(&["twice", "latest", "gone"]).unwrap();
    assert_eq!(names(&collected), ["latest", "twice"]);
    assert_eq!(collected.missing, [RawString::from("gone")], "a link to nothing is no output");
    assert_eq!(stage.store.read(collected.outputs[1].content.blob(), 10).unwrap(), b"weights");
    assert!(stage.refusal("best").contains("`..` behind a name"));
}

#[test]
fn a_hundred_thousand_files_are_a_tree_but_not_single_outputs() {
    let stage = Stage::quick();
    for folder in 0..100 {
        let folder = stage.dir().join(format!("out/{folder}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..1000 {
            fs::File::create(folder.join(file.to_string())).unwrap();
        }
    }
    stage.write("out/7/not-empty", "x");
    let refusal = stage.refusal("out/*/*");
    assert!(refusal.contains(&format!("more than {MAX_INPUTS} single outputs: name the directory")), "{refusal}");
    let scanned = scan_tree(&stage.dir().join("out")).unwrap();
    assert_eq!((scanned.entries.len(), scanned.files.len()), (100_101, 1));
    let collected = stage.collect(&["out"]).unwrap();
    let content = collected.outputs[0].content;
    stage.place("again", &content).unwrap();
    assert_eq!(scan_tree(&stage.dir().join("again")).unwrap().entries, scanned.entries);
}

#[test]
fn a_directory_deeper_than_any_path_is_an_error_and_leaves_no_descriptor_open() {
    let stage = Stage::new();
    let (top, part) = (stage.dir().join("out"), "d".repeat(200));
    let bottom = top.join(vec![part.as_str(); 18].join("/"));
    fs::create_dir_all(&bottom).unwrap();
    assert_eq!(stage.collect(&["out"]).unwrap().outputs.len(), 1, "3,600 bytes of path are fine");
    // Longer than the system takes at once, so it is made from within.
    let mut folder = nix::fcntl::open(&bottom, nix::fcntl::OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty()).unwrap();
    for _ in 0..6 {
        nix::sys::stat::mkdirat(&folder, part.as_str(), nix::sys::stat::Mode::from_bits_truncate(0o700)).unwrap();
        folder =
            nix::fcntl::openat(&folder, part.as_str(), nix::fcntl::OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty())
                .unwrap();
    }
    assert!(stage.refusal("out").contains("it is longer than 4096 bytes"));
}

#[test]
fn inputs_are_put_beneath_the_directory_and_nowhere_else() {
    let stage = Stage::new();
    let file = stage.file(b"data", true);
    stage.place("a/b/c", &file).unwrap();
    assert_eq!(fs::read(stage.dir().join("a/b/c")).unwrap(), b"data");
    let outside = stage.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, stage.dir().join("out")).unwrap();
    symlink(outside.join("made"), stage.dir().join("made")).unwrap();
    for name in ["../x", "/x", "", "a/../x", "a//x", "x/"] {
        assert!(matches!(stage.place(name, &file), Err(BlobError::Path { .. })), "{name:?}");
    }
    for name in ["out/x", "out/deep/x"] {
        let error = stage.place(name, &file).unwrap_err();
        assert!(matches!(error, BlobError::ThroughLink { .. } | BlobError::Conflict { .. }), "{name}: {error}");
        assert!(stage.place(name, &stage.tree(&[("y", folder())])).is_err(), "{name}");
    }
    assert!(matches!(stage.place("made", &file), Err(BlobError::Conflict { .. })));
    assert!(matches!(stage.place(".", &file), Err(BlobError::FileAsRoot)));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn two_inputs_at_one_name_are_refused_unless_they_are_the_same() {
    let stage = Stage::new();
    let (one, other) = (stage.file(b"one", false), stage.file(b"two", false));
    stage.place("x", &one).unwrap();
    stage.place("x", &one).unwrap();
    for content in [other, stage.file(b"one", true), stage.tree(&[("f", stage.leaf(b"f"))])] {
        assert!(matches!(stage.place("x", &content), Err(BlobError::Conflict { .. })), "{content:?}");
    }
    assert!(matches!(stage.place("x/y", &one), Err(BlobError::Conflict { .. })));
    let link = |target: &str| TreeKind::Symlink(target.into());
    stage.place(".", &stage.tree(&[("d/a", stage.leaf(b"a")), ("d/l", link("a"))])).unwrap();
    stage.place("d", &stage.tree(&[("a", stage.leaf(b"a")), ("b", stage.leaf(b"b")), ("l", link("a"))])).unwrap();
    assert!(stage.place("d", &stage.tree(&[("l", link("b"))])).is_err());
    assert_eq!(fs::read(stage.dir().join("d/l")).unwrap(), b"a");
    assert_eq!(fs::read(stage.dir().join("x")).unwrap(), b"one", "what was there stays");
}

#[test]
fn a_task_that_changes_its_input_changes_nobody_elses() {
    let stage = Stage::new();
    let file = stage.file(&noise(2_000_000), false);
    stage.place("mine", &file).unwrap();
    fs::OpenOptions::new().write(true).open(stage.dir().join("mine")).unwrap().write_all_at(b"!", 77).unwrap();
    stage.place("yours", &file).unwrap();
    assert!(fs::read(stage.dir().join("yours")).unwrap() == noise(2_000_000));
    assert_eq!(fs::metadata(stage.dir().join("mine")).unwrap().nlink(), 1);
}

#[test]
fn bytes_that_changed_in_the_store_never_reach_a_task() {
    let stage = Stage::new();
    let file = stage.file(&noise(2_000_000), false);
    let kept = stage.folder.path().join(format!("store/fresh/{}", file.blob().digest));
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    fs::OpenOptions::new().write(true).open(&kept).unwrap().write_all_at(b"!", 77).unwrap();
    assert!(matches!(stage.place("x", &file), Err(BlobError::Damaged { .. })));
    assert!(!stage.dir().join("x").exists(), "not even for a moment after");
    assert!(matches!(stage.place("x", &file), Err(BlobError::Missing { .. })), "and the blob is wanted again");
    let no_manifest = tree_of(stage.file(b"OTM\x01", false).blob());
    assert!(matches!(stage.place("x", &no_manifest), Err(BlobError::Manifest { .. })));
}

#[test]
fn a_client_sends_a_file_from_where_it_lies() {
    let stage = Stage::new();
    stage.write("large", noise(5_000_000));
    let path = stage.dir().join("large");
    let Hashed { blob, mode, .. } = hash_file(&path).unwrap();
    assert_eq!(
        (blob, mode.is_executable()),
        (BlobRef { digest: digest_of(&noise(5_000_000)), bytes: 5_000_000 }, false)
    );
    let mut source = Source::open(&path, blob).unwrap();
    for piece in stage.store.missing(blob).iter() {
        stage.store.accept(blob, piece, &source.encode(piece).unwrap()).unwrap();
    }
    assert!(stage.store.has(blob.digest));
    assert!(matches!(source.encode(5), Err(BlobError::MissingPiece { .. })));

    // Changed in the middle, then cut short, while it is sent.
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"!", 3_000_000).unwrap();
    assert!(source.encode(0).is_ok());
    assert!(matches!(source.encode(2), Err(BlobError::Changed { .. })));
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert!(matches!(source.encode(4), Err(BlobError::Changed { .. })));
    assert!(matches!(Source::open(&path, blob), Err(BlobError::Changed { .. })));
    stage.write("large", noise(5_000_001).split_off(1));
    assert!(matches!(Source::open(&path, blob), Err(BlobError::Changed { .. })), "the same size, other bytes");
}

#[test]
fn a_client_hashes_regular_files_only() {
    let stage = Stage::new();
    stage.write("real", "x");
    stage.link("link", "real");
    stage.fifo("fifo");
    assert_eq!(hash_file(&stage.dir().join("link")).unwrap().blob.digest, digest_of(b"x"), "a user's link is followed");
    assert_eq!(hash_file(Path::new("/dev/null")).unwrap_err().to_string(), "use \"/dev/null\": it is a device");
    let kind = |path: &str| match hash_file(&stage.dir().join(path)) {
        Err(BlobError::Kind { found, .. }) => found,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!([kind("fifo"), kind("")], [What::Fifo, What::Directory]);
    assert!(hash_file(&stage.dir().join("none")).unwrap_err().to_string().starts_with("read "));
}

#[test]
fn a_scanned_directory_names_each_different_file_once_and_refuses_what_cannot_travel() {
    let stage = Stage::new();
    for path in ["a", "b/same", "b/c/same"] {
        stage.write(path, "twin");
    }
    stage.write("empty", "");
    stage.link("b/up", "../a");
    let scanned = scan_tree(&stage.dir()).unwrap();
    assert_eq!(paths(&scanned.entries), ["a", "b", "b/c", "b/c/same", "b/same", "b/up", "empty"]);
    assert_eq!((scanned.total_bytes, scanned.files.len()), (12, 1));
    let (blob, path) = scanned.files.iter().next().unwrap();
    assert!(Source::open(path, *blob).is_ok());
    stage.fifo("b/c/fifo");
    assert!(scan_tree(&stage.dir()).unwrap_err().to_string().contains("b/c/fifo\": it is a named pipe"));
    fs::remove_file(stage.dir().join("b/c/fifo")).unwrap();
    stage.link("b/out", "../../x");
    assert!(scan_tree(&stage.dir()).unwrap_err().to_string().contains("b/out"));
    assert!(scan_tree(&stage.dir().join("a")).is_err(), "a file is no directory");
}

#[test]
fn a_delivered_file_is_there_when_it_is_whole_and_not_before() {
    let stage = Stage::new();
    let data = noise(2_500_000);
    let blob = stage.store.insert_bytes(&data).unwrap();
    let destination = stage.folder.path().join("made/for it");
    let delivery = Delivery::new(&destination).unwrap();
    let mut file = delivery.file(b"sub/result", usual(blob, FileMode::ALL)).unwrap();
    assert_eq!(file.missing().len(), 3);
    let mut wrong = stage.store.encode(blob, 1).unwrap();
    wrong[500_000] ^= 1;
    assert!(matches!(file.accept(1, &wrong), Err(BlobError::Corrupt { piece: 1, .. })));
    for piece in [2, 0, 0] {
        assert_eq!(file.accept(piece, &stage.store.encode(blob, piece).unwrap()).unwrap(), Accepted::More);
    }
    assert_eq!(file.missing().iter().collect::<Vec<_>>(), [1]);
    assert!(!destination.join("sub/result").exists());
    assert_eq!(file.accept(1, &stage.store.encode(blob, 1).unwrap()).unwrap(), Accepted::Complete);
    file.finish().unwrap();
    assert!(fs::read(destination.join("sub/result")).unwrap() == data);
    let usual = usual_mode(&stage.dir());
    assert_eq!(mode(&destination.join("sub/result")), usual | (usual & 0o444) >> 2);
    assert_eq!(fs::read_dir(destination.join("sub")).unwrap().count(), 1);
}

#[test]
fn a_delivery_that_fails_leaves_what_was_there() {
    let stage = Stage::new();
    stage.write("old", "old");
    let delivery = Delivery::new(&stage.dir()).unwrap();
    let blob = stage.store.insert_bytes(b"new").unwrap();
    drop(delivery.file(b"old", usual(blob, FileMode::FILE)).unwrap());
    assert!(matches!(
        delivery.file(b"old", usual(blob, FileMode::FILE)).unwrap().finish(),
        Err(BlobError::Unfinished { .. })
    ));
    assert_eq!(fs::read(stage.dir().join("old")).unwrap(), b"old");
    let mut file = delivery.file(b"old", usual(blob, FileMode::FILE)).unwrap();
    file.accept(0, &stage.store.encode(blob, 0).unwrap()).unwrap();
    file.finish().unwrap();
    assert_eq!(fs::read(stage.dir().join("old")).unwrap(), b"new");
    delivery.file(b"empty", usual(stage.store.insert_bytes(b"").unwrap(), FileMode::FILE)).unwrap().finish().unwrap();
    let mut left: Vec<_> =
        fs::read_dir(stage.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["empty", "old"]);
}

#[test]
fn no_delivered_name_or_link_leads_out_of_the_destination() {
    let stage = Stage::new();
    let outside = stage.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, stage.dir().join("away")).unwrap();
    fs::create_dir(stage.dir().join("folder")).unwrap();
    stage.write("file", "file");
    let delivery = Delivery::new(&stage.dir()).unwrap();
    let blob = stage.store.insert_bytes(b"x").unwrap();
    for name in ["", ".", "..", "../x", "/x", "a/../x", "a//x", "a\0"] {
        assert!(
            matches!(delivery.file(name.as_bytes(), usual(blob, FileMode::FILE)), Err(BlobError::Path { .. })),
            "{name:?}"
        );
        assert!(matches!(delivery.directory(name.as_bytes(), FileMode::ALL), Err(BlobError::Path { .. })), "{name:?}");
        assert!(matches!(delivery.symlink(name.as_bytes(), b"x"), Err(BlobError::Path { .. })), "{name:?}");
    }
    for name in ["away/x", "away/y/z", "file/x", "folder"] {
        assert!(delivery.file(name.as_bytes(), usual(blob, FileMode::FILE)).is_err(), "{name}");
        assert!(delivery.symlink(name.as_bytes(), b"x").is_err(), "{name}");
    }
    assert!(
        delivery.directory(b"away/x", FileMode::ALL).is_err() && delivery.directory(b"file", FileMode::ALL).is_err()
    );
    assert!(matches!(delivery.symlink(b"l", b"../x"), Err(BlobError::Link { .. })));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);

    delivery.directory(b"folder/new", FileMode::ALL).unwrap();
    delivery.symlink(b"folder/l", b"../file").unwrap();
    delivery.symlink(b"folder/l", b"new").unwrap();
    assert_eq!(fs::read_link(stage.dir().join("folder/l")).unwrap(), Path::new("new"));
    // A file delivered at a link takes its place and leaves what it led to.
    let mut file = delivery.file(b"away", usual(blob, FileMode::FILE)).unwrap();
    file.accept(0, &stage.store.encode(blob, 0).unwrap()).unwrap();
    file.finish().unwrap();
    assert!(fs::symlink_metadata(stage.dir().join("away")).unwrap().is_file() && outside.is_dir());
}

#[test]
fn a_file_larger_than_memory_should_hold_passes_through_every_step() {
    /// Enough that buffers of a whole file would show, and sparse, so that it costs no disk.
    const BYTES: u64 = 256 << 20;
    let stage = Stage::new();
    let file = fs::File::create(stage.dir().join("huge")).unwrap();
    file.set_len(BYTES).unwrap();
    (&file).write_all(b"not only zeros").unwrap();
    drop(file);
    let before = peak_memory();
    let blob = hash_file(&stage.dir().join("huge")).unwrap().blob;
    let mut source = Source::open(&stage.dir().join("huge"), blob).unwrap();
    let mut delivery =
        Delivery::new(&stage.dir().join("to")).unwrap().file(b"huge", usual(blob, FileMode::FILE)).unwrap();
    for piece in 0..BYTES >> 20 {
        delivery.accept(piece, &source.encode(piece).unwrap()).unwrap();
    }
    delivery.finish().unwrap();
    let collected = stage.collect(&["to/huge"]).unwrap();
    stage.place("again", &collected.outputs[0].content).unwrap();
    // Other tests run beside this one in the same process.
    assert!(peak_memory() < before + BYTES / 2, "{} bytes at most before, {} after", before, peak_memory());
}

/// The most memory that this process has had; nothing where the system does not say.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
