//! Nodes that find each other by beacon, on hosts of their own: who is heard,
//! who is shown, and what no beacon can do. `scripts/lan.sh` makes the hosts.
//!
//! Nothing here asserts how long something takes, except that limits of time
//! keep a failing test from hanging. Absent: what the table makes of single
//! beacons (`src/discovery`), and links between workers.

#![cfg(target_os = "linux")]

#[path = "discovery/foe.rs"]
mod foe;
mod harness;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};

use foe::Foe;
use harness::lan::{Host, on_a_lan};
use harness::{Node, SOON, eventually, soon};

/// A worker that was let in by a token.
fn joined(dispatcher: &Host, on: &Host, name: &str) -> Node {
    let token = dispatcher.ok(["token", "create"]);
    let worker = on.works_for(dispatcher.address, name, &["--token", token.trim(), "--verbose"]);
    worker.says("Joined the dispatcher");
    worker
}

/// A worker that is told nothing at all.
fn bare(on: &Host, name: &str) -> Node {
    on.node(on.command(["worker", "--name", name]))
}

/// The code that a worker shows.
fn code(worker: &Node, name: &str) -> String {
    let line = format!("octaskly approve {name} ");
    let code =
        || worker.log().split_once(&line).and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned));
    eventually("the worker shows a code", SOON, code).unwrap_or_else(|missed| panic!("{missed}:\n{}", worker.log()))
}

/// Who is heard by whom, as the dispatcher on `host` shows it.
fn heard(host: &Host) -> Vec<(String, String)> {
    let rows = host.json(["peers"]);
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().expect("a text").to_owned();
    rows.as_array().expect("an array").iter().map(|row| (text(row, "name"), text(row, "heard_by"))).collect()
}

fn pair(peer: &str, by: &str) -> (String, String) {
    (peer.to_owned(), by.to_owned())
}

/// Runs `ip` on a host.
fn ip(host: &Host, args: &[&str]) {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let ran = host.inside(move || std::process::Command::new("ip").args(&args).status().expect("ip starts"));
    assert!(ran.join().expect("it ran").success());
}

/// Whether anything on `host` listens on the port of beacons.
fn has_the_port(host: &Host) -> bool {
    let tables = ["udp", "udp6"];
    let read =
        move || tables.map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).expect("a table"));
    host.inside(read).join().expect("it was read").concat().contains(":15B3 ")
}

#[test]
fn everybody_hears_everybody_and_the_dispatcher_shows_who_hears_whom() {
    on_a_lan(3, |lan| {
        let (first, second, third) = (lan.host(1), lan.host(2), lan.host(3));
        let serving = first.serves();
        serving.says("P2P discovery on UDP 5555");
        let a = joined(first, second, "a");
        let _b = joined(first, third, "b");
        serving.says("[P2P] Discovered peer: b (CPU: ");
        serving.says("[P2P] Peer resource announcement received");
        a.says("[P2P] Discovered peer: b (CPU: ");
        a.says("[P2P] Discovered peer: dispatcher (CPU: ");
        let all = [
            pair("a", "b"),
            pair("a", "dispatcher"),
            pair("b", "a"),
            pair("b", "dispatcher"),
            pair("dispatcher", "a"),
            pair("dispatcher", "b"),
        ];
        soon("everybody hears everybody", || heard(first) == all);
        let rows = first.json(["peers"]);
        let row = |peer: &str, by: &str| {
            let rows = rows.as_array().expect("an array");
            rows.iter().find(|row| row["name"] == peer && row["heard_by"] == by).expect("a row").clone()
        };
        assert_eq!(row("a", "dispatcher")["address"], format!("{}:7879", second.address));
        assert_eq!(row("a", "dispatcher")["link"], "standing");
        assert_eq!(row("dispatcher", "b")["address"], first.at().to_string());
        assert_eq!(row("dispatcher", "b")["role"], "dispatcher");
        let table = first.ok(["peers"]);
        assert!(table.starts_with("PEER") && table.lines().count() == 7, "{table}");
    });
}

#[test]
fn who_says_goodbye_is_gone_at_once_and_who_is_killed_is_remembered_for_a_while() {
    on_a_lan(3, |lan| {
        let (first, second, third) = (lan.host(1), lan.host(2), lan.host(3));
        let _serving = first.serves();
        let mut a = joined(first, second, "a");
        let mut b = joined(first, third, "b");
        let of_a = |row: &(String, String)| row.0 == "a" || row.1 == "a";
        soon("all are heard", || heard(first).len() == 6);
        assert_eq!(a.stop(), Some(0));
        soon("nobody hears it", || !heard(first).iter().any(of_a));
        b.kill();
        assert!(heard(first).contains(&pair("b", "dispatcher")), "it was heard a moment ago");
    });
}

#[test]
fn a_worker_that_is_told_nothing_hears_the_dispatcher_and_asks_to_be_approved_there() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let serving = first.serves();
        let mut worker = bare(second, "b");
        let code = code(&worker, "b");
        assert!(worker.log().contains(&format!("Heard a dispatcher at {}", first.at())), "{}", worker.log());
        first.ok(["approve", "b", &code]);
        worker.says("Joined the dispatcher");
        serving.says("Worker b joined");
        assert_eq!(first.ok(["run", "--", "echo", "found"]), "found\n");
        assert_eq!(worker.stop(), Some(0));
        bare(second, "b").says("Joined the dispatcher");
    });
}

#[test]
fn a_worker_that_waited_alone_hears_a_dispatcher_that_comes_later() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let worker = bare(second, "b");
        worker.says("none is heard by beacon");
        let _serving = first.serves();
        code(&worker, "b");
    });
}

#[test]
fn this_machines_own_dispatcher_comes_before_one_that_is_heard() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let _afar = first.serves();
        let serving = second.serves();
        let _worker = bare(second, "b");
        serving.says("Worker b joined");
    });
}

#[test]
fn two_dispatchers_on_one_lan_keep_apart_and_a_worker_does_not_choose_between_them() {
    on_a_lan(5, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let _serving = [first.serves(), second.serves()];
        let _a = joined(first, lan.host(3), "a");
        let _b = joined(second, lan.host(4), "b");
        soon("the first hears its own", || heard(first) == [pair("a", "dispatcher"), pair("dispatcher", "a")]);
        soon("the second hears its own", || heard(second) == [pair("b", "dispatcher"), pair("dispatcher", "b")]);
        let mut undecided = bare(lan.host(5), "c");
        undecided.says("several are heard; choose one with --dispatcher 10.77.0.");
        assert!(undecided.is_running() && !undecided.log().contains("approve"), "{}", undecided.log());
        assert_eq!((heard(first).len(), heard(second).len()), (2, 2));
    });
}

#[test]
fn a_dispatcher_that_moves_is_found_by_its_workers_and_clients_and_by_its_key() {
    on_a_lan(3, |lan| {
        let (first, second, third) = (lan.host(1), lan.host(2), lan.host(3));
        let mut serving = first.serves();
        let worker = joined(first, second, "a");
        let token = first.ok(["token", "create", "--role", "client"]);
        third.ok(["list", "--dispatcher", &first.address.to_string(), "--token", token.trim()]);
        assert_eq!(serving.stop(), Some(0));
        ip(first, &["address", "del", "10.77.0.1/24", "dev", "eth0"]);
        ip(first, &["address", "add", "10.77.0.201/24", "broadcast", "10.77.0.255", "dev", "eth0"]);
        let serving = first.serves();
        serving.says("Worker a joined");
        worker.says("Joined the dispatcher at 10.77.0.201:7878");
        assert_eq!(third.ok(["run", "--", "echo", "moved"]), "moved\n");
    });
}

#[test]
fn without_ipv4_they_find_each_other_by_ipv6() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        for host in [first, second] {
            ip(host, &["-4", "address", "flush", "dev", "eth0"]);
        }
        let serving = first.node(first.command(["dispatcher", "--bind", "::", "--verbose"]));
        serving.says("Dispatcher listening on");
        let mut worker = bare(second, "b");
        let code = code(&worker, "b");
        assert!(worker.log().contains("Heard a dispatcher at [fe80::"), "{}", worker.log());
        first.ok(["approve", "b", &code]);
        serving.says("Worker b joined");
        soon("they hear each other", || heard(first).contains(&pair("b", "dispatcher")));
        assert_eq!(worker.stop(), Some(0));
        bare(second, "b").says("Joined the dispatcher");
    });
}

#[test]
fn with_peer_to_peer_off_nobody_has_the_port_of_beacons() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let serving = first.node(first.command(["dispatcher", "--p2p-enabled", "false", "--verbose"]));
        serving.says("Dispatcher listening on");
        assert!(!has_the_port(first) && !serving.log().contains("P2P discovery"), "{}", serving.log());
        let _worker = joined(first, second, "a");
        soon("the worker closes it", || !has_the_port(second));
        assert_eq!(first.ok(["run", "--", "echo", "alone"]), "alone\n");
        assert_eq!(heard(first), []);
    });
}

#[test]
fn a_port_that_another_program_has_is_one_warning_and_nothing_ends() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let taken = first.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5555)).expect("the port is free"));
        let taken = taken.join().expect("it is taken");
        let serving = first.serves();
        serving.says("failed to listen on UDP 5555");
        assert!(!serving.log().contains("P2P discovery on UDP 5555"));
        let _worker = joined(first, second, "a");
        assert_eq!(first.ok(["run", "--", "echo", "deaf"]), "deaf\n");
        assert_eq!(serving.log().matches("failed to listen on UDP 5555").count(), 1);
        drop(taken);
    });
}

#[test]
fn no_beacon_of_a_stranger_changes_the_roster_or_who_is_shown_or_ends_anybody() {
    on_a_lan(4, |lan| {
        let (first, second, third, fourth) = (lan.host(1), lan.host(2), lan.host(3), lan.host(4));
        let mut serving = first.serves();
        let mut worker = joined(first, second, "a");
        soon("they hear each other", || heard(first).len() == 2);
        let roster = || {
            let rows = first.json(["workers"]);
            let rows = rows.as_array().expect("an array").iter();
            rows.map(|row| (row["name"].clone(), row["state"].clone(), row["cpu"].clone())).collect::<Vec<_>>()
        };
        let before = roster();
        let dispatcher = foe::key_in(&first.home().join("dispatcher/access.cbor"));
        let flood = third.inside(move || Foe::new().attacks(dispatcher));
        let sent = flood.join().expect("it attacks");
        println!("{sent} hostile datagrams");
        assert_eq!(first.ok(["run", "--", "echo", "unmoved"]), "unmoved\n");
        assert_eq!(roster(), before);
        assert_eq!(heard(first), [pair("a", "dispatcher"), pair("dispatcher", "a")]);
        assert!(serving.is_running() && worker.is_running());
        // One who is told nothing hears dispatchers that are none, besides the true one.
        let mut undecided = bare(fourth, "b");
        undecided.says("Waiting for a dispatcher");
        assert!(undecided.is_running());
        let named = fourth.works_for(first.address, "c", &[]);
        first.ok(["approve", "c", &code(&named, "c")]);
        named.says("Joined the dispatcher");
    });
}
