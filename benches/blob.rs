//! What files cost: hashed, sent and received in pieces, put where a task runs and taken from there, each beside the
//! bare limit of the same run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use octaskly::blob::{BlobStore, Hashed, Source, Take, collect, hash_file, place};
use octaskly::model::files::{TreeEntry, TreeKind};
use octaskly::model::{BlobRef, Content, FileMode, RawString};
use octaskly::wire::manifest;

fn main() {
    divan::main();
}

/// Size of the one large file.
const LARGE: u64 = 256 << 20;
/// How many small files a directory has, of [`SMALL`] bytes each.
const FILES: u64 = 1000;
const SMALL: usize = 4096;

/// A folder with a large file in it, and a store that has it.
struct Stage {
    folder: tempfile::TempDir,
    store: BlobStore,
    blob: BlobRef,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = File::create(folder.path().join("large")).expect("a file");
        let mut bytes = blake3::Hasher::new().finalize_xof();
        std::io::copy(&mut std::io::Read::take(&mut bytes, LARGE), &mut file).expect("is written");
        let store = BlobStore::open(&folder.path().join("store"), u64::MAX).expect("opens");
        let blob = store.insert_file(&folder.path().join("large"), octaskly::blob::Take::Copy).expect("is kept").blob;
        Self { folder, store, blob }
    }

    fn large(&self) -> PathBuf {
        self.folder.path().join("large")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An empty directory.
    fn emptied(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory");
        path
    }
}

fn write_small_files(folder: &Path, seed: u64) {
    for file in 0..FILES {
        let mut bytes = vec![0; SMALL];
        bytes[..16].copy_from_slice(&[seed.to_le_bytes(), file.to_le_bytes()].concat());
        fs::write(folder.join(file.to_string()), bytes).expect("is written");
    }
}

#[divan::bench(sample_count = 10)]
fn hash_a_large_file(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    bencher.counter(BytesCount::new(LARGE)).bench_local(|| hash_file(&stage.large()).expect("hashes"));
}

#[divan::bench(sample_count = 10)]
fn hash_a_large_file_bare(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    bencher.counter(BytesCount::new(LARGE)).bench_local(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(stage.large()).expect("opens")).expect("reads").finalize()
    });
}

#[divan::bench(sample_count = 5)]
fn send_and_receive_a_large_file(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let mut source = Source::open(&stage.large(), stage.blob).expect("opens");
    bencher
        .counter(BytesCount::new(LARGE))
        .with_inputs(|| BlobStore::open(&stage.emptied("receiver"), u64::MAX).expect("opens"))
        .bench_local_values(|receiver| {
            for piece in receiver.missing(stage.blob).iter() {
                receiver.accept(stage.blob, piece, &source.encode(piece).expect("encodes")).expect("is accepted");
            }
            assert!(receiver.has(stage.blob.digest));
        });
}

#[divan::bench(sample_count = 5)]
fn place_a_large_file(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let content = Content::File { blob: stage.blob, mode: FileMode::FILE, modified_ns: None };
    bencher
        .counter(BytesCount::new(LARGE))
        .with_inputs(|| stage.emptied("task"))
        .bench_local_values(|task| place(&stage.store, &task, &[("input".into(), content)]).expect("is placed"));
}

#[divan::bench(sample_count = 5)]
fn copy_a_large_file_bare(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    bencher
        .counter(BytesCount::new(LARGE))
        .with_inputs(|| stage.emptied("task"))
        .bench_local_values(|task| fs::copy(stage.large(), task.join("input")).expect("is copied"));
}

#[divan::bench(sample_count = 5)]
fn collect_a_large_file(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    bencher
        .counter(BytesCount::new(LARGE))
        .with_inputs(|| {
            let task = stage.emptied("task");
            fs::copy(stage.large(), task.join("output")).expect("is copied");
            (BlobStore::open(&stage.emptied("worker"), u64::MAX).expect("opens"), task)
        })
        .bench_local_values(|(store, task)| {
            collect(&store, &task, &["output".into()], Take::Move).expect("is collected")
        });
}

#[divan::bench(sample_count = 10)]
fn collect_a_thousand_small_files(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let mut seed = 0;
    bencher
        .counter(ItemsCount::new(FILES))
        .with_inputs(|| {
            let task = stage.emptied("task");
            fs::create_dir(task.join("out")).expect("a directory");
            seed += 1;
            write_small_files(&task.join("out"), seed);
            task
        })
        .bench_local_values(|task| collect(&stage.store, &task, &["out".into()], Take::Move).expect("is collected"));
}

#[divan::bench(sample_count = 10)]
fn move_a_thousand_small_files_bare(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    bencher
        .counter(ItemsCount::new(FILES))
        .with_inputs(|| {
            let (from, to) = (stage.emptied("from"), stage.emptied("to"));
            write_small_files(&from, 0);
            (from, to)
        })
        .bench_local_values(|(from, to)| {
            for file in 0..FILES {
                let name = file.to_string();
                fs::rename(from.join(&name), to.join(&name)).expect("is moved");
            }
        });
}

#[divan::bench(sample_count = 10)]
fn place_a_thousand_small_files(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let from = stage.emptied("from");
    write_small_files(&from, 0);
    let entries: Vec<_> = (0..FILES)
        .map(|file| {
            let name = file.to_string();
            let Hashed { blob, mode, modified_ns } =
                stage.store.insert_file(&from.join(&name), octaskly::blob::Take::Copy).expect("is kept");
            TreeEntry { path: RawString::from(name), kind: TreeKind::File { blob, mode, modified_ns } }
        })
        .collect();
    let manifest = stage.store.insert_bytes(&manifest::encode(&entries).expect("encodes")).expect("is kept");
    let (total_bytes, mode) = (FILES * SMALL as u64, FileMode::ALL);
    let content = Content::Tree { manifest, total_bytes, mode, modified_ns: None };
    bencher
        .counter(ItemsCount::new(FILES))
        .with_inputs(|| stage.emptied("task"))
        .bench_local_values(|task| place(&stage.store, &task, &[("in".into(), content)]).expect("is placed"));
}

#[divan::bench(sample_count = 10)]
fn copy_a_thousand_small_files_bare(bencher: Bencher<'_, '_>) {
    let stage = Stage::new();
    let from = stage.emptied("from");
    write_small_files(&from, 0);
    bencher.counter(ItemsCount::new(FILES)).with_inputs(|| stage.emptied("task")).bench_local_values(|task| {
        for file in 0..FILES {
            let name = file.to_string();
            fs::copy(from.join(&name), task.join(&name)).expect("is copied");
        }
    });
}
