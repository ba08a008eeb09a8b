//! The store by its promises: pieces in any order, crashes, damage, quota and pins.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::blob::EMPTY;
use crate::model::FileMode;
use crate::model::files::BlobWish;
use crate::model::limits::PIECE_BYTES;

const NO_QUOTA: u64 = u64::MAX;

/// Bytes that differ everywhere.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A folder, and a store in it.
fn store(quota_bytes: u64) -> (tempfile::TempDir, BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(&folder.path().join("blobs"), quota_bytes).unwrap();
    (folder, store)
}

fn reopened(folder: &tempfile::TempDir) -> BlobStore {
    BlobStore::open(&folder.path().join("blobs"), NO_QUOTA).unwrap()
}

fn nothing_is_live(_: Digest) -> bool {
    false
}

/// Sends all pieces that `to` has not.
fn send(from: &BlobStore, to: &BlobStore, blob: BlobRef) {
    for piece in to.missing(blob).iter() {
        to.accept(blob, piece, &from.encode(blob, piece).unwrap()).unwrap();
    }
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

#[test]
fn a_blob_that_came_in_pieces_is_the_one_that_was_sent() {
    let ((_a, sender), (_b, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    for length in [0, 1, 65_536, 65_537, PIECE_BYTES as usize, PIECE_BYTES as usize + 1, 3_333_333] {
        let data = bytes(1, length);
        let blob = sender.insert_bytes(&data).unwrap();
        send(&sender, &receiver, blob);
        assert!(receiver.has(blob.digest) && receiver.missing(blob).is_empty());
        assert_eq!(receiver.read(blob, length).unwrap(), data);
        let (_c, third) = store(NO_QUOTA);
        send(&receiver, &third, blob);
        assert!(third.has(blob.digest), "what has arrived can be passed on");
    }
}

#[test]
fn pieces_come_in_any_order_and_more_than_once() {
    let ((_a, sender), (_b, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    let data = bytes(2, 5 << 20);
    let blob = sender.insert_bytes(&data).unwrap();
    for piece in [4, 0, 4, 2, 0, 1] {
        let accepted = receiver.accept(blob, piece, &sender.encode(blob, piece).unwrap()).unwrap();
        assert_eq!(accepted, Accepted::More);
    }
    assert_eq!(receiver.missing(blob), IntervalSet::from_range(3, 3));
    let last = sender.encode(blob, 3).unwrap();
    assert_eq!(receiver.accept(blob, 3, &last).unwrap(), Accepted::Complete);
    assert_eq!(receiver.accept(blob, 3, &last).unwrap(), Accepted::Complete);
    assert_eq!(receiver.read(blob, data.len()).unwrap(), data);
}

#[test]
fn a_receiver_passes_on_what_it_has_before_it_has_all() {
    let ((_a, sender), (_b, first), (_c, second)) = (store(NO_QUOTA), store(NO_QUOTA), store(NO_QUOTA));
    let blob = sender.insert_bytes(&bytes(3, 3 << 20)).unwrap();
    first.accept(blob, 1, &sender.encode(blob, 1).unwrap()).unwrap();
    second.accept(blob, 1, &first.encode(blob, 1).unwrap()).unwrap();
    assert_eq!(second.missing(blob).len(), 2);
    assert!(matches!(first.encode(blob, 0), Err(BlobError::MissingPiece { piece: 0, .. })));
    assert!(matches!(first.encode(blob, 3), Err(BlobError::MissingPiece { piece: 3, .. })));
}

#[test]
fn wrong_bytes_are_refused_and_change_nothing() {
    let ((_a, sender), (folder, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    for length in [100, 3 << 20] {
        let blob = sender.insert_bytes(&bytes(4, length)).unwrap();
        let mut sent = sender.encode(blob, 0).unwrap();
        let middle = sent.len() / 2;
        sent[middle] ^= 0x10;
        assert!(matches!(receiver.accept(blob, 0, &sent), Err(BlobError::Corrupt { piece: 0, .. })));
        assert!(receiver.accept(BlobRef { bytes: blob.bytes + 1, ..blob }, 0, &sent).is_err());
    }
    assert_eq!(receiver.usage().blobs, 0);
    assert_eq!(all_files(folder.path()), [""; 0].map(PathBuf::from));
}

#[test]
fn a_lie_about_the_size_does_not_stand_in_the_way_of_the_truth() {
    let ((_a, sender), (_b, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    let blob = sender.insert_bytes(&bytes(5, (4 << 20) + 5)).unwrap();
    // Most of the tree is the same, so this piece proves nothing about the size.
    let lie = BlobRef { bytes: blob.bytes - 1, ..blob };
    receiver.accept(lie, 0, &sender.encode(blob, 0).unwrap()).unwrap();
    send(&sender, &receiver, blob);
    assert!(receiver.has(blob.digest));
    assert!(!receiver.missing(lie).is_empty(), "it never becomes whole under another size");
    assert!(receiver.read(lie, usize::MAX).is_err());
}

#[test]
fn threads_that_bring_the_same_pieces_make_one_blob() {
    let ((_a, sender), (_b, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    let data = bytes(6, 7 << 20);
    let blob = sender.insert_bytes(&data).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (sender, receiver) = (&sender, &receiver);
            scope.spawn(move || {
                for piece in 0..7 {
                    let piece = if thread % 2 == 0 { piece } else { 6 - piece };
                    receiver.accept(blob, piece, &sender.encode(blob, piece).unwrap()).unwrap();
                    receiver.encode(blob, piece).unwrap();
                }
            });
        }
    });
    assert_eq!(receiver.read(blob, data.len()).unwrap(), data);
    assert_eq!((receiver.usage().blobs, receiver.usage().bytes), (1, blob.bytes));
}

#[test]
fn a_killed_process_goes_on_where_it_was() {
    let ((_a, sender), (folder, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    let data = bytes(7, 20 << 20);
    let blob = sender.insert_bytes(&data).unwrap();
    for piece in (0..20).step_by(2) {
        receiver.accept(blob, piece, &sender.encode(blob, piece).unwrap()).unwrap();
    }
    // Nothing is done when a store is dropped, so this is a kill.
    drop(receiver);
    let receiver = reopened(&folder);
    assert_eq!(receiver.missing(blob), (1..20).step_by(2).collect());
    assert!(receiver.encode(blob, 4).is_ok());
    send(&sender, &receiver, blob);
    assert_eq!(receiver.read(blob, data.len()).unwrap(), data);
}

#[test]
fn pieces_that_a_power_loss_took_are_asked_for_again_and_never_part_of_a_whole_blob() {
    let ((_a, sender), (folder, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    let data = bytes(8, 4 << 20);
    let blob = sender.insert_bytes(&data).unwrap();
    for piece in 0..3 {
        receiver.accept(blob, piece, &sender.encode(blob, piece).unwrap()).unwrap();
    }
    drop(receiver);
    // Marked as there, but never written out.
    let part = folder.path().join(format!("blobs/part/{}-{}/data", blob.digest, blob.bytes));
    std::os::unix::fs::FileExt::write_all_at(&File::options().write(true).open(part).unwrap(), &[0; 4096], 1 << 20)
        .unwrap();
    let receiver = reopened(&folder);
    assert_eq!(receiver.missing(blob).len(), 1);
    let last = sender.encode(blob, 3).unwrap();
    assert_eq!(receiver.accept(blob, 3, &last).unwrap(), Accepted::More, "piece 1 turned out to be wrong");
    assert_eq!(receiver.missing(blob), IntervalSet::from_range(1, 1));
    send(&sender, &receiver, blob);
    assert_eq!(receiver.read(blob, data.len()).unwrap(), data);
}

#[test]
fn a_blob_that_was_about_to_become_whole_becomes_so_after_a_kill() {
    let ((_a, sender), (folder, receiver)) = (store(NO_QUOTA), store(NO_QUOTA));
    let blob = sender.insert_bytes(&bytes(9, 3 << 20)).unwrap();
    for piece in 0..2 {
        receiver.accept(blob, piece, &sender.encode(blob, piece).unwrap()).unwrap();
    }
    drop(receiver);
    fs::write(folder.path().join(format!("blobs/part/{}-{}/have", blob.digest, blob.bytes)), [0b111]).unwrap();
    let receiver = reopened(&folder);
    assert!(!receiver.has(blob.digest) && !receiver.missing(blob).is_empty(), "somebody has to bring a piece");
    while !receiver.has(blob.digest) {
        send(&sender, &receiver, blob);
    }
}

#[test]
fn what_was_not_synced_is_verified_when_the_store_is_opened() {
    let (folder, store) = store(NO_QUOTA);
    let (small, large) = (bytes(10, 10), bytes(11, 2 << 20));
    let kept = [store.insert_bytes(&small).unwrap(), store.insert_bytes(&large).unwrap()];
    let torn = store.insert_bytes(&bytes(12, 3 << 20)).unwrap();
    drop(store);
    let path = folder.path().join(format!("blobs/fresh/{}", torn.digest));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, vec![0; 3 << 20]).unwrap();
    let store = reopened(&folder);
    assert!(!store.has(torn.digest));
    assert_eq!(store.read(kept[1], 1 << 30).unwrap(), large);
    store.sync().unwrap();
    let store = reopened(&folder);
    assert!(kept.iter().all(|blob| store.has(blob.digest) && store.encode(*blob, 0).is_ok()));
    assert_eq!(fs::read_dir(folder.path().join("blobs/fresh")).unwrap().count(), 0);
    assert_eq!(store.usage().blobs, 2);
}

#[test]
fn many_blobs_are_made_durable_at_once() {
    let (folder, store) = store(NO_QUOTA);
    let blobs: Vec<_> = (0..20).map(|seed| store.insert_bytes(&bytes(seed, 100_000)).unwrap()).collect();
    store.sync().unwrap();
    store.sync().unwrap();
    let store = reopened(&folder);
    assert!(blobs.iter().all(|blob| store.encode(*blob, 0).is_ok()));
    assert_eq!(fs::read_dir(folder.path().join("blobs/fresh")).unwrap().count(), 0);
}

#[test]
fn what_a_crash_left_lying_about_is_swept_away() {
    let (folder, store) = store(NO_QUOTA);
    let blob = store.insert_bytes(&bytes(13, 2 << 20)).unwrap();
    store.sync().unwrap();
    drop(store);
    let root = folder.path().join("blobs");
    let stray = digest_of(b"stray").to_string();
    fs::write(root.join("tmp/7"), "x").unwrap();
    fs::create_dir(root.join("tmp/8")).unwrap();
    fs::write(root.join(format!("fresh/{stray}.tree")), "x").unwrap();
    fs::write(root.join("fresh/readme"), "x").unwrap();
    fs::create_dir(root.join(format!("part/{stray}-5000000"))).unwrap();
    fs::create_dir(root.join("part/nonsense")).unwrap();
    // The tree of a durable blob was lost: it is made anew.
    let name = blob.digest.to_string();
    fs::remove_file(root.join(format!("whole/{}/{name}.tree", &name[..2]))).unwrap();
    let store = reopened(&folder);
    assert!(store.encode(blob, 1).is_ok());
    let mut left: Vec<_> = all_files(&root).iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect();
    left.sort();
    assert_eq!(left, [format!("fresh/{name}"), format!("fresh/{name}.tree")].map(PathBuf::from));
}

#[test]
fn a_blob_that_changed_on_disk_is_noticed_and_dropped() {
    let (folder, store) = store(NO_QUOTA);
    for (seed, length) in [(14, 100), (15, 3 << 20)] {
        let blob = store.insert_bytes(&bytes(seed, length)).unwrap();
        store.sync().unwrap();
        let name = blob.digest.to_string();
        let path = folder.path().join(format!("blobs/whole/{}/{name}", &name[..2]));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&File::options().write(true).open(&path).unwrap(), b"!", 50).unwrap();
        let error = store.encode(blob, 0).unwrap_err();
        assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
        assert!(!store.has(blob.digest) && !path.exists());
    }
    assert_eq!(store.usage(), Usage { bytes: 0, blobs: 0, quota_bytes: NO_QUOTA });
    let blob = store.insert_bytes(&bytes(16, 1000)).unwrap();
    fs::remove_file(folder.path().join(format!("blobs/fresh/{}", blob.digest))).unwrap();
    assert!(matches!(store.read(blob, 1000), Err(BlobError::Missing { .. })));
    assert!(!store.has(blob.digest));
}

#[test]
fn a_blob_that_was_cut_short_behind_the_stores_back_comes_in_anew() {
    let (folder, store) = store(NO_QUOTA);
    let data = bytes(18, 1000);
    let blob = store.insert_bytes(&data).unwrap();
    store.sync().unwrap();
    drop(store);
    let name = blob.digest.to_string();
    let path = folder.path().join(format!("blobs/whole/{}/{name}", &name[..2]));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(999).unwrap();
    let store = reopened(&folder);
    assert!(matches!(store.read(blob, 1000), Err(BlobError::Damaged { .. })));
    assert!(!store.has(blob.digest));
    // The same, with the right bytes coming in before anybody asks.
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &data[..999]).unwrap();
    let store = reopened(&folder);
    assert_eq!(store.insert_bytes(&data).unwrap(), blob);
    assert_eq!((store.read(blob, 1000).unwrap(), store.usage().bytes), (data, 1000));
    assert!(matches!(store.read(BlobRef { bytes: 999, ..blob }, 1000), Err(BlobError::Missing { .. })));
    assert!(store.has(blob.digest), "somebody else's mistake costs nothing");
}

#[test]
fn a_moved_file_costs_no_copy_and_a_copied_one_stays() {
    let (folder, store) = store(NO_QUOTA);
    let (moved, copied) = (folder.path().join("moved"), folder.path().join("a name\nwith \"all\""));
    fs::write(&moved, bytes(17, 200_000)).unwrap();
    fs::write(&copied, "x").unwrap();
    fs::set_permissions(&copied, fs::Permissions::from_mode(0o755)).unwrap();
    let inode = fs::metadata(&moved).unwrap().ino();
    let of_moved = store.insert_file(&moved, Take::Move).unwrap();
    assert!(!of_moved.mode.is_executable() && !moved.exists());
    let kept = folder.path().join(format!("blobs/fresh/{}", of_moved.blob.digest));
    assert_eq!(fs::metadata(kept).unwrap().ino(), inode);
    let of_copied = store.insert_file(&copied, Take::Copy).unwrap();
    assert_eq!((of_copied.blob, of_copied.mode), (store.insert_bytes(b"x").unwrap(), FileMode::of(0o755)));
    assert!(copied.exists());
}

#[test]
fn a_file_with_another_name_is_copied_so_that_nobody_changes_what_is_kept() {
    let (folder, store) = store(NO_QUOTA);
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    fs::write(&one, "before").unwrap();
    fs::hard_link(&one, &other).unwrap();
    let blob = store.insert_file(&one, Take::Move).unwrap().blob;
    fs::write(&other, "after!").unwrap();
    assert!(!one.exists());
    assert_eq!(store.read(blob, 10).unwrap(), b"before");
}

#[test]
fn what_is_no_file_is_not_kept_and_not_waited_for() {
    let (folder, store) = store(1000);
    let path = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    std::os::unix::fs::symlink("fifo", path("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for (name, says) in [
        ("fifo", "it is a named pipe"),
        ("link", "it is a symbolic link"),
        ("socket", "it is a socket"),
        ("blobs", "it is a directory"),
    ] {
        let error = store.insert_file(&path(name), Take::Move).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(name), "{error}");
    }
    File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
    let error = store.insert_file(&path("sparse"), Take::Copy).unwrap_err();
    assert!(matches!(error, BlobError::Full { .. }), "a file beyond the quota is not even read: {error}");
}

#[test]
fn the_empty_blob_is_everywhere() {
    let (folder, store) = store(NO_QUOTA);
    let empty = BlobRef { digest: EMPTY, bytes: 0 };
    assert!(store.has(EMPTY) && store.missing(empty).is_empty());
    assert_eq!(store.read(empty, 0).unwrap(), b"");
    assert_eq!(store.accept(empty, 0, b"").unwrap(), Accepted::Complete);
    assert!(store.read(BlobRef { digest: digest_of(b"x"), bytes: 0 }, 0).is_err());
    fs::write(folder.path().join("empty"), "").unwrap();
    assert_eq!(store.insert_file(&folder.path().join("empty"), Take::Move).unwrap().blob, empty);
    assert!(!folder.path().join("empty").exists());
    assert_eq!(store.usage().blobs, 0);
}

#[test]
fn what_was_used_least_recently_goes_first_and_what_is_needed_stays() {
    let (_folder, store) = store(2500);
    let blobs: Vec<_> = (0..5).map(|seed| store.insert_bytes(&bytes(seed, 1000)).unwrap()).collect();
    let pins = store.pin([blobs[0].digest]);
    store.read(blobs[1], 1000).unwrap();
    let live = blobs[2].digest;
    let freed = store.collect(&|digest| digest == live).unwrap();
    let left: Vec<_> = blobs.iter().map(|blob| store.has(blob.digest)).collect();
    assert_eq!((freed, left), (3000, vec![true, false, true, false, false]), "all else had to go for the quota");
    drop(pins);
    let fresh = store.insert_bytes(&bytes(9, 1000)).unwrap();
    store.read(blobs[0], 1000).unwrap();
    store.collect(&nothing_is_live).unwrap();
    assert!(!store.has(live) && store.has(blobs[0].digest) && store.has(fresh.digest));
}

/// A blob of so many bytes of which nothing is here.
fn strangers(bytes: u64) -> Vec<BlobWish> {
    let blob = BlobRef { digest: Digest([0xee; 32]), bytes };
    vec![BlobWish { blob, pieces: IntervalSet::from_range(0, blob.pieces() - 1) }]
}

#[test]
fn room_is_made_for_what_fits_and_refused_for_what_does_not() {
    let (_folder, store) = store(3000);
    let [old, new] = [1, 2].map(|seed| store.insert_bytes(&bytes(seed, 1000)).unwrap());
    store.make_room(&strangers(1000), &nothing_is_live).unwrap();
    assert!(store.has(old.digest), "nothing had to go");
    let pins = [store.pin([new.digest]), store.pin([new.digest])];
    store.make_room(&strangers(2000), &nothing_is_live).unwrap();
    assert!(!store.has(old.digest) && store.has(new.digest));
    drop(pins.into_iter().next());
    let _still = store.pin([new.digest]);
    let error = store.make_room(&strangers(2500), &nothing_is_live).unwrap_err();
    assert!(matches!(error, BlobError::Full { bytes: 2500, .. }), "{error}");
    assert!(store.make_room(&strangers(3001), &nothing_is_live).is_err());
    assert!(store.make_room(&[strangers(600), strangers(600)].concat(), &nothing_is_live).is_ok(), "one comes once");
    let (_unbounded_folder, unbounded) = self::store(NO_QUOTA);
    let error = unbounded.make_room(&strangers(1 << 60), &nothing_is_live).unwrap_err().to_string();
    assert!(error.contains("the disk has only"), "{error}");
}

#[test]
fn what_has_begun_to_arrive_needs_no_more_room_of_the_quota() {
    let (_source_folder, source) = store(NO_QUOTA);
    let blob = source.insert_bytes(&bytes(3, 3 << 20)).unwrap();
    let (_folder, store) = store(4 << 20);
    let wish = |pieces| vec![BlobWish { blob, pieces }];
    let _pins = store.pin([blob.digest]);
    store.make_room(&wish(store.missing(blob)), &nothing_is_live).unwrap();
    let meanwhile = store.make_room(&strangers(2 << 20), &nothing_is_live);
    assert!(matches!(meanwhile, Err(BlobError::Full { .. })), "it is promised");
    store.accept(blob, 0, &source.encode(blob, 0).unwrap()).unwrap();
    store.make_room(&wish(store.missing(blob)), &nothing_is_live).unwrap();
    let other = store.make_room(&strangers(2 << 20), &nothing_is_live);
    assert!(matches!(other, Err(BlobError::Full { .. })), "its room is taken");
}

#[test]
fn what_is_live_may_be_read_from_the_store_and_what_is_pinned_meanwhile_stays() {
    let (_folder, store) = store(3000);
    let blobs: Vec<_> = (0..3).map(|seed| store.insert_bytes(&bytes(seed, 1000)).unwrap()).collect();
    let live = |digest: Digest| {
        // As the files that a manifest lists are read.
        let listed = store.read(blobs[0], 1000).is_ok() && digest == blobs[0].digest;
        // Somebody needed it for a moment, and it may be written down by now that it is needed.
        drop(store.pin([blobs[1].digest]));
        listed
    };
    store.make_room(&strangers(1000), &live).unwrap();
    let left: Vec<_> = blobs.iter().map(|blob| store.has(blob.digest)).collect();
    assert_eq!(left, [true, true, false]);
}

#[test]
fn arriving_blobs_are_collected_too_and_begin_anew() {
    let ((_a, sender), (_b, receiver)) = (store(NO_QUOTA), store(1 << 20));
    let blob = sender.insert_bytes(&bytes(1, 3 << 20)).unwrap();
    receiver.accept(blob, 2, &sender.encode(blob, 2).unwrap()).unwrap();
    let pins = receiver.pin([blob.digest]);
    assert_eq!(receiver.collect(&nothing_is_live).unwrap(), 0);
    drop(pins);
    assert_eq!(receiver.collect(&nothing_is_live).unwrap(), blob.bytes, "it counts with all that it will have");
    assert_eq!(receiver.missing(blob).len(), 3);
    send(&sender, &receiver, blob);
    assert!(receiver.has(blob.digest));
}

#[test]
fn when_a_blob_was_used_is_remembered_from_one_process_to_the_next() {
    let (folder, first) = store(NO_QUOTA);
    let blobs: Vec<_> = (0..3).map(|seed| first.insert_bytes(&bytes(seed, 1000)).unwrap()).collect();
    first.sync().unwrap();
    for (blob, seconds) in blobs.iter().zip([2000, 1000, 3000]) {
        let name = blob.digest.to_string();
        let file = File::open(folder.path().join(format!("blobs/whole/{}/{name}", &name[..2]))).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    }
    first.read(blobs[0], 1000).unwrap();
    drop(first);
    let store = BlobStore::open(&folder.path().join("blobs"), 1000).unwrap();
    store.collect(&nothing_is_live).unwrap();
    assert!(store.has(blobs[0].digest), "what was just read was used last");
}

#[test]
fn a_store_is_private() {
    let (folder, store) = store(NO_QUOTA);
    store.insert_bytes(b"secret").unwrap();
    assert_eq!(fs::metadata(folder.path().join("blobs")).unwrap().permissions().mode() & 0o777, 0o700);
}
