//! Permissions and times of files that travel: what is private stays private, on every way.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use crate::desk::Desk;
use crate::harness::{Cluster, Node};

/// Some user that is not root.
const NOBODY: u32 = 65_534;

/// A desk all of whose processes have this umask and, where `user` says so, are nobody's.
fn desk(umask: &str, as_nobody: bool) -> (Desk, [Node; 2]) {
    let mut through = vec!["sh".to_owned(), "-c".to_owned(), format!("umask {umask}; exec \"$@\""), "sh".to_owned()];
    if as_nobody {
        let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
        through.extend(["setpriv".to_owned()].into_iter().chain(ids));
    }
    let through = through.into_iter().map(Into::into).collect();
    let desk = Desk::of(Cluster::wrapped(through));
    if as_nobody {
        for folder in [desk.scratch(), &desk.temporary(), &desk.path("")] {
            chown(folder, Some(NOBODY), Some(NOBODY)).expect("another owner");
        }
    }
    let dispatcher = desk.dispatcher();
    let worker = desk.worker("worker-a");
    worker.says("Joined the dispatcher");
    (desk, [dispatcher, worker])
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// What the files and directories beneath a folder are: mode, time and name of each.
const LISTING: &str = "find . -mindepth 1 -printf '%M %T@ %p\\n' | LC_ALL=C sort -k3";

/// A folder with files and directories of every kind of privacy, of long ago.
fn make_private_tree(desk: &Desk) {
    desk.sh("mkdir secret; cd secret; echo key > key; echo text > text; echo tool > tool; mkdir -p in/ner open
        echo x > in/ner/x; echo y > open/y
        chmod 600 key; chmod 644 text open/y; chmod 750 tool; chmod 400 in/ner/x; chmod 700 in .; chmod 755 open in/ner
        find . -depth -exec touch -d '2001-02-03 04:05:06.789' '{}' ';'");
}

#[test]
fn files_and_directories_keep_permissions_and_times_there_and_back() {
    let (desk, _nodes) = desk("022", false);
    make_private_tree(&desk);
    let before = desk.sh(&format!("cd secret; {LISTING}"));
    let of_root = desk.sh("stat -c '%A %Y' secret");
    let script = format!(
        "stat -c '%A %Y' secret; (cd secret; {LISTING}); (cd secret && {LISTING}) > listing; stat -c '%A %Y' key;
        cp -a secret back; cp -a key single"
    );
    let args = ["run", "--in", "secret", "--in", "secret/key=key", "--out", "back", "--out", "single", &script];
    let seen = desk.ok(args);
    assert_eq!(seen, String::from_utf8([&of_root[..], &before, b"-rw------- 981173106\n"].concat()).expect("text"));
    assert_eq!(desk.sh(&format!("cd back; {LISTING}")), before);
    assert_eq!(desk.sh("stat -c '%A %Y' back single"), [&of_root[..], b"-rw------- 981173106\n"].concat());
}

#[test]
fn outputs_that_other_tasks_or_get_fetch_are_as_private_as_they_were_made() {
    let (desk, _nodes) = desk("022", false);
    let script = "mkdir -m 700 d; echo k > d/k; chmod 600 d/k; cp d/k k; chmod 600 k; touch -d @1000000000 k d/k d";
    desk.ok(["submit", "-q", "--wait", "--out", "k", "--out", "d", script]);
    let seen = desk.ok(["run", "--in", "1:k", "--in", "1:d", "stat -c '%a %Y %n' k d d/k"]);
    assert_eq!(seen, "600 1000000000 k\n700 1000000000 d\n600 1000000000 d/k\n");
    desk.ok(["get", "1", "-C", "there"]);
    assert_eq!(desk.sh("cd there; stat -c '%a %Y %n' k d d/k"), seen.as_bytes());
}

#[test]
fn the_umask_of_the_receiver_applies_and_setuid_does_not_travel() {
    let (desk, _nodes) = desk("027", false);
    desk.sh("echo x > all; chmod 4777 all; mkdir d; chmod 3777 d");
    let args = [
        "run",
        "--in",
        "all",
        "--in",
        "d",
        "--out",
        "made",
        "--out",
        "t",
        "stat -c '%a %n' all d;
        echo x > made; chmod 6777 made; mkdir t; chmod 1777 t",
    ];
    assert_eq!(desk.ok(args), "750 all\n750 d\n");
    assert_eq!((mode(desk.path("made")), mode(desk.path("t"))), (0o750, 0o750));
}

#[test]
fn replacing_a_file_never_makes_it_more_open() {
    let (desk, _nodes) = desk("022", false);
    let run = |script: &str| desk.ok(["run", "--out", "f", "--out", "d", script]);
    run("echo old > f; mkdir d; echo old > d/f");
    assert_eq!(mode(desk.path("f")), 0o644);
    for path in ["f", "d/f"] {
        set_mode(desk.path(path), 0o600);
    }
    set_mode(desk.path("d"), 0o700);
    // Another content, and then the same again, which is not fetched.
    for _ in 0..2 {
        run("echo new > f; mkdir d; echo new > d/f; chmod 777 f d d/f; touch -d @1000000000 f d/f");
        assert_eq!((desk.read("f"), desk.read("d/f")), (b"new\n".to_vec(), b"new\n".to_vec()));
        assert_eq!(["f", "d", "d/f"].map(|path| mode(desk.path(path))), [0o600, 0o700, 0o600]);
        assert_eq!(desk.sh("stat -c %Y f d/f"), b"1000000000\n1000000000\n");
    }
    set_mode(desk.path("f"), 0o644);
    run("echo new > f; chmod 600 f; mkdir d");
    assert_eq!(mode(desk.path("f")), 0o600, "a private one takes its place");
}

#[test]
fn an_ordinary_user_sends_and_receives_directories_that_are_read_only() {
    let (desk, nodes) = desk("022", is_root());
    desk.sh("mkdir -p ro/in; echo 1 > ro/f; echo 2 > ro/in/f; chmod 555 ro ro/in; chmod 444 ro/f");
    if is_root() {
        desk.sh(&format!("chown -R {NOBODY}:{NOBODY} ro"));
    }
    let again = |number: &str| {
        let script = format!(
            "stat -c '%a' ro ro/in; test -w ro && exit 9; cp -R ro out; rm -f out/f 2>/dev/null
            chmod -R u+w out; echo {number} > out/f; mkdir out/more; chmod 444 out/f; chmod 555 out/in out/more out"
        );
        let seen = desk.ok(["run", "--in", "ro", "--in", "ro/f=ro/in/g", "--out", "out", &script]);
        assert_eq!(seen, "555\n555\n");
        assert_eq!(desk.read("out/f"), format!("{number}\n").into_bytes());
        assert_eq!(
            ["out", "out/in", "out/more", "out/f"].map(|path| mode(desk.path(path))),
            [0o555, 0o555, 0o555, 0o444]
        );
    };
    again("1");
    // What it replaces is read-only as well.
    again("2");
    assert!(!nodes[1].log().contains("failed to remove"), "{}", nodes[1].log());
    let left = desk.sh("find .. -path '*/scratch/*'");
    assert_eq!(String::from_utf8_lossy(&left), "", "no directory of a task is left");
    desk.sh("chmod -R u+w ro out");
}
