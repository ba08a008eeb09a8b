//! Files that go straight from worker to worker, on hosts of their own: counted
//! at the network interfaces, with cables cut, nodes killed and links limited.
//! `scripts/lan.sh` makes the hosts.
//!
//! Nothing here asserts how long something takes. Absent: sources that lie or
//! stall (`tests/sources.rs`), and which piece comes from whom
//! (`src/engine/transfer/`).

#![cfg(target_os = "linux")]

mod harness;

use harness::files::{MIB, cluster, made, run_with, transfers, used};
use harness::lan::{Host, on_a_lan, on_a_lan_with};
use harness::soon;

/// What is said and acknowledged beside the bytes of files.
const TALK: u64 = 2 * MIB;

fn moved(host: &Host) -> u64 {
    let (received, sent) = host.carried();
    received + sent
}

#[test]
fn what_one_worker_made_goes_straight_to_another_and_is_sent_once() {
    on_a_lan(3, |lan| {
        let (dispatcher, a, b) = (lan.host(1), lan.host(2), lan.host(3));
        let _nodes = cluster(lan, &["a", "b"]);
        let (job, sum) = made(dispatcher, "a", 96);
        let before = (moved(dispatcher), a.carried().1, b.carried().0);
        assert_eq!(run_with(dispatcher, &used(&job, "b")), sum);
        let (sent, received) = (a.carried().1 - before.1, b.carried().0 - before.2);
        assert!(sent >= 96 * MIB && received >= 96 * MIB, "a sent {sent}, b received {received} bytes");
        let passed = moved(dispatcher) - before.0;
        assert!(passed < TALK, "{passed} bytes went over the dispatcher's interface");
        assert_eq!(transfers(dispatcher), [("direct".to_owned(), "a".to_owned(), 96 * MIB)]);
        let before = a.carried().1;
        assert_eq!(run_with(dispatcher, &used(&job, "b")), sum);
        assert!(a.carried().1 - before < TALK, "it was sent again");
        assert_eq!(transfers(dispatcher), [("local".to_owned(), "b".to_owned(), 96 * MIB)]);
        soon("both say what they moved", || {
            let workers = dispatcher.json(["workers"]);
            let bytes = |name: &str, key: &str| {
                let row = workers.as_array()?.iter().find(|row| row["name"] == name)?;
                row["bytes"][key].as_u64()
            };
            bytes("a", "sent_direct") >= Some(96 * MIB) && bytes("b", "received_direct") == Some(96 * MIB)
        });
    });
}

#[test]
fn workers_that_cannot_reach_each_other_are_helped_by_the_dispatcher_until_they_can() {
    on_a_lan(3, |lan| {
        let (dispatcher, a, b) = (lan.host(1), lan.host(2), lan.host(3));
        let (_serving, workers) = cluster(lan, &["a", "b"]);
        let (job, sum) = made(dispatcher, "a", 24);
        lan.cut(a, b);
        assert_eq!(run_with(dispatcher, &used(&job, "b")), sum);
        assert_eq!(transfers(dispatcher), [("relay".to_owned(), "a".to_owned(), 24 * MIB)]);
        workers[1].says("[P2P] Direct transfer failed (a: ");
        workers[1].says("); relaying through the dispatcher");
        lan.heal();
        let (job, sum) = made(dispatcher, "a", 24);
        assert_eq!(run_with(dispatcher, &used(&job, "b")), sum);
        let came = transfers(dispatcher);
        assert_eq!(came.iter().map(|(path, ..)| path.as_str()).collect::<Vec<_>>(), ["direct"], "{came:?}");
    });
}

#[test]
fn one_input_for_many_workers_leaves_the_dispatcher_about_once() {
    on_a_lan_with(7, &["--rate", "100mbit"], |lan| {
        let dispatcher = lan.host(1);
        let names = ["a", "b", "c", "d", "e", "f"];
        let _nodes = cluster(lan, &names);
        let input = dispatcher.temporary().join("input");
        std::fs::write(&input, noise(64 * MIB as usize)).expect("it is written");
        let input = input.to_str().expect("a path");
        let before = dispatcher.carried().1;
        let mut words = vec!["run", "--cpus", "1", "--in"];
        let named = format!("{input}=input");
        // Each worker gets one of six tasks, because each has one slot for it.
        let script = "wc -c < input; sleep 5";
        words.extend([&named, "--no-retry", "--", script, ":::", "1", "2", "3", "4", "5", "6"]);
        let said = dispatcher.ok(words);
        assert_eq!(said.lines().filter(|line| line.trim() == (64 * MIB).to_string()).count(), 6, "{said}");
        let copies = (dispatcher.carried().1 - before) as f64 / (64 * MIB) as f64;
        assert!(copies < 2.5, "{copies:.2} copies left the dispatcher");
    });
}

#[test]
fn a_killed_receiver_is_not_sent_again_what_it_had() {
    on_a_lan_with(3, &["--rate", "100mbit"], |lan| {
        let (dispatcher, a, b) = (lan.host(1), lan.host(2), lan.host(3));
        let (_serving, mut workers) = cluster(lan, &["a", "b"]);
        let (job, sum) = made(dispatcher, "a", 64);
        let before = a.carried().1;
        let using = dispatcher.start([&["run".to_owned()][..], &used(&job, "b")].concat());
        soon("half of it is there", || a.carried().1 - before > 32 * MIB);
        workers[1].kill();
        let _b = b.worker_with(&["--name", "b", "--dispatcher", &dispatcher.address.to_string(), "--verbose"]);
        assert_eq!(using.finish(std::time::Duration::from_secs(90)).stdout_text(), sum);
        let sent = a.carried().1 - before;
        assert!(sent < 64 * MIB * 13 / 10, "{sent} bytes left for a file of 64 MiB");
    });
}

#[test]
fn a_source_that_dies_is_named_and_the_others_bring_the_rest() {
    on_a_lan_with(4, &["--rate", "100mbit"], |lan| {
        let dispatcher = lan.host(1);
        let (_serving, mut workers) = cluster(lan, &["a", "b", "c"]);
        let (job, sum) = made(dispatcher, "a", 64);
        assert_eq!(run_with(dispatcher, &used(&job, "b")), sum);
        let before = lan.host(4).carried().0;
        let using = dispatcher.start([&["run".to_owned()][..], &used(&job, "c")].concat());
        soon("some of it is there", || lan.host(4).carried().0 - before > 16 * MIB);
        workers[0].kill();
        assert_eq!(using.finish(std::time::Duration::from_secs(90)).stdout_text(), sum);
        workers[2].says("[P2P] Source a of inputs of task ");
        let from: Vec<String> = transfers(dispatcher).into_iter().map(|(_, from, _)| from).collect();
        assert!(from.contains(&"b".to_owned()), "{from:?}");
    });
}

/// Bytes that nothing makes smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}
