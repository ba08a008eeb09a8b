//! Sources of files that lie, crawl, break off, stand still: the task gets its input all the same, from somebody
//! else, and whoever failed is named. Hosts of their own by `scripts/lan.sh`; the receiver, the dispatcher and the
//! other source are real.
//!
//! Nothing here asserts how long something takes: another source is held up until the bad one was asked. Absent:
//! which piece is asked of whom (`src/engine/transfer/`), and what cables and receivers do (`tests/transfers.rs`).

#![cfg(target_os = "linux")]

mod harness;
#[path = "sources/hostile.rs"]
mod hostile;

use harness::files::{MIB, PATIENCE, cluster, made, run_with, transfers, used};
use harness::lan::{Lan, on_a_lan_with};
use harness::{Node, soon};
use hostile::{Hostile, Manners};
use nix::sys::signal::Signal;

/// Slow enough for something to go wrong in the middle.
const RATE: [&str; 2] = ["--rate", "40mbit"];

/// Workers a, b and c, of which a and c have a file of `mib` MiB, and a is played by the test. The job that uses the
/// file on b sees nothing of c until a has been asked for it. Returns the nodes when that job has ended.
fn with_a_hostile_source(lan: &Lan, manners: Manners, mib: u64) -> (Node, Vec<Node>, Hostile) {
    let dispatcher = lan.host(1);
    let (serving, mut workers) = cluster(lan, &["a", "b", "c"]);
    let (job, sum) = made(dispatcher, "a", mib);
    assert_eq!(run_with(dispatcher, &used(&job, "c")), sum);
    workers[0].kill();
    let hostile = Hostile::in_place_of(lan.host(2), "a", dispatcher, manners);
    soon("both others are linked with it", || hostile.links() == 2);
    workers[2].signal(Signal::SIGSTOP);
    let using = dispatcher.start([&["run".to_owned()][..], &used(&job, "b")].concat());
    soon("a is asked for it", || hostile.was_asked() > 0);
    workers[2].signal(Signal::SIGCONT);
    assert_eq!(using.finish(PATIENCE).stdout_text(), sum);
    (serving, workers, hostile)
}

/// Bytes of the last job's input that came from anybody, and those that came from `name`.
fn came(lan: &Lan, name: &str) -> (u64, u64) {
    let transfers = transfers(lan.host(1));
    let bytes = |rows: Vec<&(String, String, u64)>| rows.iter().map(|row| row.2).sum();
    let (all, of_it) = (transfers.iter().collect(), transfers.iter().filter(|row| row.1 == name).collect());
    (bytes(all), bytes(of_it))
}

/// What `show` and its JSON say of the failure of a; c was held up and may have failed too.
fn blamed(lan: &Lan) -> String {
    let row = lan.host(1).json(["show", "last", "--tasks"])[0].clone();
    let failed = row["failed_sources"].as_array().expect("a list");
    let of_a = failed.iter().find(|source| source["name"] == "a").expect("a is named");
    let why = of_a["why"].as_str().expect("a reason").to_owned();
    let shown = lan.host(1).ok(["show", row["id"].as_str().expect("an id")]);
    assert!(shown.contains(&format!("source a: {why}")), "{shown}");
    why
}

#[test]
fn a_source_that_lies_is_named_and_asked_no_more_and_the_task_gets_its_input_from_another() {
    on_a_lan_with(4, &RATE, |lan| {
        let (_serving, workers, hostile) = with_a_hostile_source(lan, Manners::Lies, 12);
        workers[1].says("[P2P] a sent a damaged piece of ");
        workers[1].says("; it is asked for nothing more of job ");
        assert_eq!(hostile.was_asked(), 1);
        assert_eq!(came(lan, "a"), (12 * MIB, 0), "nothing of what it sent counts");
        assert_eq!(blamed(lan), "it sent a damaged piece");
    });
}

#[test]
fn a_source_that_crawls_is_named_and_the_task_gets_its_input_from_another() {
    on_a_lan_with(4, &RATE, |lan| {
        let (_serving, workers, _hostile) = with_a_hostile_source(lan, Manners::Crawls, 40);
        workers[1].says("[P2P] Source a of inputs of task ");
        assert_eq!(came(lan, "a").0, 40 * MIB);
        // On a machine that is busy enough it is not even there in time.
        let why = blamed(lan);
        let known = ["is too slow while another source is faster", "nothing came for", "it was not reached"];
        assert!(known.iter().any(|known| why.contains(known)), "{why}");
    });
}

#[test]
fn a_source_that_breaks_off_is_named_and_the_task_gets_its_input_from_another() {
    on_a_lan_with(4, &RATE, |lan| {
        let (_serving, workers, _hostile) = with_a_hostile_source(lan, Manners::BreaksOff, 12);
        workers[1].says("[P2P] Source a of inputs of task ");
        assert_eq!(came(lan, "a"), (12 * MIB, 0), "half a piece is none");
        let why = blamed(lan);
        assert!(["the connection broke", "it was not reached"].iter().any(|known| why.contains(known)), "{why}");
    });
}

#[test]
fn a_source_that_stands_still_is_named_and_the_task_gets_its_input_from_another() {
    on_a_lan_with(4, &RATE, |lan| {
        let (dispatcher, a) = (lan.host(1), lan.host(2));
        let (_serving, workers) = cluster(lan, &["a", "b", "c"]);
        let (job, sum) = made(dispatcher, "a", 40);
        assert_eq!(run_with(dispatcher, &used(&job, "c")), sum);
        let before = a.carried().1;
        let using = dispatcher.start([&["run".to_owned()][..], &used(&job, "b")].concat());
        soon("some of it came from a", || a.carried().1 - before > 4 * MIB);
        workers[0].signal(Signal::SIGSTOP);
        assert_eq!(using.finish(PATIENCE).stdout_text(), sum);
        workers[0].signal(Signal::SIGCONT);
        workers[1].says("[P2P] Source a of inputs of task ");
        assert!(!blamed(lan).is_empty());
        let (all, from_c) = came(lan, "c");
        assert!(all == 40 * MIB && from_c > 0, "{from_c} of {all} bytes came from c");
    });
}
