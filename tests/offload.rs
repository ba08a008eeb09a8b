//! Work that waits on one worker goes to another that is free, on hosts of their
//! own: while the dispatcher stands still, when the receiver dies, and where
//! workers may not talk to each other. `scripts/lan.sh` makes the hosts.
//!
//! Tasks write down when they start and end, in a file that all hosts share, so
//! that what is asserted is what ran, and not only what was reported.

#![expect(clippy::disallowed_methods, reason = "what ran when is compared by the clock of this machine")]
#![cfg(target_os = "linux")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::lan::{Host, on_a_lan};
use harness::{Node, SOON, eventually, soon};
use nix::sys::signal::Signal;

/// For how long the dispatcher stands still.
const OUTAGE: Duration = Duration::from_secs(20);

/// How long a slot may stay free beside waiting work, with room for a machine that is busy with other tests.
const IDLE: u64 = 5_000;

/// A worker of so many slots that was let in by a token.
fn joined(dispatcher: &Host, on: &Host, name: &str, slots: &str) -> Node {
    let token = dispatcher.ok(["token", "create"]);
    let worker = on.works_for(dispatcher.address, name, &["--token", token.trim(), "--verbose", "-j", slots]);
    worker.says("Joined the dispatcher");
    worker
}

fn are_linked(host: &Host) -> bool {
    let rows = host.json(["peers"]);
    let standing = rows.as_array().expect("an array").iter().filter(|row| row["link"] == "standing");
    let from: BTreeSet<String> = standing.filter_map(|row| Some(row["heard_by"].as_str()?.to_owned())).collect();
    from.contains("a") && from.contains("b")
}

/// A job of so many tasks of so many seconds that write down their lives.
fn submit(host: &Host, book: &Path, tasks: u32, seconds: u32) -> String {
    let note =
        |what: &str| format!("echo \"{what} $OCTASKLY_INDEX $OCTASKLY_WORKER $(date +%s%3N)\" >>{}", book.display());
    let command = format!("{}; sleep {seconds}; {}", note("start"), note("end"));
    let array = format!("1-{tasks}");
    host.ok(["submit", "-q", "--array", &array, &command]).trim().to_owned()
}

/// One line of the book.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    at: u64,
    starts: bool,
    task: u32,
    worker: String,
}

fn read(book: &Path) -> Vec<Line> {
    let text = fs::read_to_string(book).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, task, worker, at] = words[..] else { return None };
        let (task, at) = (task.parse().ok()?, at.parse().ok()?);
        Some(Line { at, starts: what == "start", task, worker: worker.to_owned() })
    };
    let mut lines: Vec<Line> = text.lines().filter_map(line).collect();
    lines.sort();
    lines
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis()).expect("this century")
}

/// The longest that a worker of `slots` ran fewer tasks than that, after `from` and before the last start of all.
fn longest_idle(book: &[Line], worker: &str, slots: i64, from: u64) -> u64 {
    let until = book.iter().filter(|line| line.starts).map(|line| line.at).max().unwrap_or(from);
    let (mut running, mut since, mut longest) = (0, None, 0);
    for line in book.iter().filter(|line| line.worker == worker) {
        running += if line.starts { 1 } else { -1 };
        let at = line.at.clamp(from, until.max(from));
        match (running < slots, since) {
            (true, None) => since = Some(at),
            (false, Some(then)) => {
                longest = longest.max(at - then);
                since = None;
            }
            _ => {}
        }
    }
    since.map_or(longest, |then| longest.max(until.saturating_sub(then)))
}

fn book_of(host: &Host) -> PathBuf {
    host.scratch().join("book")
}

#[test]
fn while_the_dispatcher_stands_still_a_free_worker_takes_over_what_waits_on_a_busy_one() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a", "4");
        let book = book_of(dispatcher);
        let job = submit(dispatcher, &book, 100, 1);
        // What they take is known, and all of them wait on the only worker.
        soon("tasks have ended", || read(&book).iter().filter(|line| !line.starts).count() >= 5);
        let _b = joined(dispatcher, lan.host(3), "b", "4");
        soon("the two are linked", || are_linked(dispatcher));
        serving.signal(Signal::SIGSTOP);
        let stopped = now();
        let by_b =
            || read(&book).into_iter().filter(|line| line.starts && line.worker == "b" && line.at > stopped).count();
        let taken = eventually("b runs what waited on a", OUTAGE, || (by_b() >= 8).then_some(()));
        let all_ended = eventually("everything ends", OUTAGE * 2, || {
            (read(&book).iter().filter(|line| !line.starts).count() >= 100).then_some(())
        });
        let over = now();
        serving.signal(Signal::SIGCONT);
        taken.and(all_ended).unwrap_or_else(|missed| panic!("{missed}\n{:?}", read(&book)));
        assert!(over - stopped < 60_000, "it took so long that the dispatcher would have given the workers up");

        assert_eq!(dispatcher.run(["wait", &job]).code, Some(0));
        let book = read(&book);
        let mut starts: BTreeMap<u32, usize> = BTreeMap::new();
        book.iter().filter(|line| line.starts).for_each(|line| *starts.entry(line.task).or_default() += 1);
        assert_eq!(starts.len(), 100);
        assert!(starts.values().all(|count| *count == 1), "each was started once: {starts:?}");
        for worker in ["a", "b"] {
            let idle = longest_idle(&book, worker, 4, stopped + 2_000);
            assert!(idle <= IDLE, "a slot of {worker} was free for {idle} ms beside waiting work");
        }
        let rows = dispatcher.json(["show", &job, "--tasks"]);
        let rows = rows.as_array().expect("rows").clone();
        assert!(rows.iter().all(|row| row["state"] == "succeeded"), "{rows:?}");
        let handed: Vec<_> = rows.iter().filter(|row| row["handed_over_by"] == "a").collect();
        assert!(
            handed.len() >= 8 && handed.iter().all(|row| row["worker"] == "b" && row["attempt"] == 1),
            "{handed:?}"
        );
        let one = handed[0]["id"].as_str().expect("an id");
        let shown = dispatcher.ok(["show", one]);
        assert!(shown.contains("b (from a)"), "{shown}");
        serving.says(&format!("[P2P] Offloaded task {one} from a to b"));
    });
}

/// Blockers for worker b, one that runs and as many as may wait there, until the file is made that is returned.
fn keep_b_busy(host: &Host) -> PathBuf {
    let released = host.scratch().join("released");
    let (busy, command) =
        (host.scratch().join("busy"), format!("until [ -e {} ]; do sleep 0.1; done", released.display()));
    let command = format!("touch {}; {command}", busy.display());
    host.ok(["submit", "-q", "--label", "name=b", "--array", "1-3", &command]);
    soon("b is busy", || busy.exists());
    released
}

/// A file and a directory with another and a folder in it.
fn inputs(host: &Host) -> [PathBuf; 2] {
    let (file, tree) = (host.scratch().join("data"), host.scratch().join("tree"));
    fs::create_dir_all(tree.join("sub")).expect("folders");
    for (at, mib) in [(file.clone(), 3), (tree.join("one"), 2), (tree.join("sub/two"), 1)] {
        let mut bytes = vec![0; mib << 20];
        getrandom::fill(&mut bytes).expect("random bytes");
        fs::write(at, &bytes).expect("it is written");
    }
    [file, tree]
}

#[test]
fn while_the_dispatcher_stands_still_the_inputs_of_what_is_taken_over_come_from_the_giver() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a", "1");
        let _b = joined(dispatcher, lan.host(3), "b", "1");
        soon("the two are linked", || are_linked(dispatcher));
        let released = keep_b_busy(dispatcher);
        let [file, tree] = inputs(dispatcher);
        let done = dispatcher.scratch().join("done");
        fs::create_dir(&done).expect("a folder");
        // Each leaves all that it read, under a name that says where it ran.
        let command = format!(
            "cat data tree/one tree/sub/two >{0}/.$OCTASKLY_INDEX && \
             mv {0}/.$OCTASKLY_INDEX {0}/$OCTASKLY_WORKER.$OCTASKLY_INDEX; sleep 1",
            done.display()
        );
        let named = [format!("{}=data", file.display()), format!("{}=tree", tree.display())];
        let job = dispatcher.ok(["submit", "-q", "--in", &named[0], "--in", &named[1], "--array", "1-24", &command]);
        let job = job.trim();
        let by = |worker: &str| -> Vec<PathBuf> {
            let files = fs::read_dir(&done).expect("a folder").flatten().map(|entry| entry.path());
            let is_by = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == worker);
            files.filter(is_by).collect()
        };
        soon("some have run on a", || by("a").len() >= 3);
        assert!(by("b").is_empty(), "b was busy");
        serving.signal(Signal::SIGSTOP);
        fs::write(&released, "").expect("it is written");
        let taken = eventually("b runs what waited on a", SOON * 2, || (by("b").len() >= 3).then_some(()));
        serving.signal(Signal::SIGCONT);
        taken.unwrap_or_else(|missed| panic!("{missed}"));

        assert_eq!(dispatcher.start(["wait", job]).finish(SOON * 4).code, Some(0));
        let whole: Vec<u8> = [file, tree.join("one"), tree.join("sub/two")]
            .iter()
            .flat_map(|at| fs::read(at).expect("it is there"))
            .collect();
        for ran in by("a").iter().chain(&by("b")) {
            assert!(fs::read(ran).expect("it is there") == whole, "{} is not what its task was given", ran.display());
        }
        let rows = dispatcher.json(["show", job, "--tasks"]);
        let handed: Vec<_> = rows.as_array().expect("rows").iter().filter(|row| row["handed_over_by"] == "a").collect();
        let came: Vec<_> = handed.iter().flat_map(|row| row["transfers"].as_array().expect("a list")).collect();
        let from_a = came.iter().filter(|row| row["path"] == "direct" && row["from"] == "a");
        let bytes: u64 = from_a.map(|row| row["bytes"].as_u64().expect("bytes")).sum();
        assert!(bytes >= 6 << 20, "all of it came from a once: {came:?}");
        assert!(came.iter().all(|row| row["path"] != "dispatcher"), "{came:?}");
    });
}

#[test]
fn a_task_that_was_handed_to_a_worker_that_dies_runs_elsewhere() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a", "1");
        let book = book_of(dispatcher);
        let job = submit(dispatcher, &book, 3, 10);
        soon("one runs", || !read(&book).is_empty());
        let mut b = joined(dispatcher, lan.host(3), "b", "1");
        soon("one is handed over", || serving.log().contains("[P2P] Offloaded task"));
        soon("it runs there", || read(&book).iter().any(|line| line.starts && line.worker == "b"));
        b.kill();
        let lost = read(&book).into_iter().rfind(|line| line.worker == "b").expect("its start");
        assert!(lost.starts, "this machine is too slow for this test: task {} had ended", lost.task);
        let lost = lost.task;
        assert_eq!(dispatcher.run(["wait", &job]).code, Some(0));
        let again = read(&book).into_iter().filter(|line| line.starts && line.task == lost).count();
        assert!(again >= 2, "task {lost} ran again where it could end");
    });
}

#[test]
fn where_workers_may_not_talk_to_each_other_the_dispatcher_sees_to_free_slots() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let serving = dispatcher.node(dispatcher.command(["dispatcher", "--verbose", "--p2p-enabled", "false"]));
        serving.says("Dispatcher listening on");
        let _a = joined(dispatcher, lan.host(2), "a", "2");
        let book = book_of(dispatcher);
        let job = submit(dispatcher, &book, 24, 1);
        soon("tasks have ended", || read(&book).iter().filter(|line| !line.starts).count() >= 3);
        let _b = joined(dispatcher, lan.host(3), "b", "2");
        assert_eq!(dispatcher.run(["wait", &job]).code, Some(0));
        let starts: Vec<Line> = read(&book).into_iter().filter(|line| line.starts).collect();
        assert_eq!(starts.len(), 24, "each was started once");
        assert!(starts.iter().filter(|line| line.worker == "b").count() >= 4, "{starts:?}");
        assert!(!serving.log().contains("[P2P]"), "{}", serving.log());
    });
}
