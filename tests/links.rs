//! Direct links between workers on hosts of their own: they stand, they end
//! with a revocation, a cut cable or a goodbye, and they do not need the
//! dispatcher. `scripts/lan.sh` makes the hosts.
//!
//! Nothing here asserts how long something takes, except that limits of time
//! keep a failing test from hanging. Absent: two that dial at once, old and
//! forged rosters (`src/node/worker/mesh/tests.rs`), and what travels on links.

#![cfg(target_os = "linux")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use harness::lan::{Host, on_a_lan};
use harness::{Node, soon};
use nix::sys::signal::Signal;
use octaskly::model::InstanceId;
use octaskly::model::handshake::{Credential, Hello, Intent, RefusalCode};
use octaskly::model::limits::{PROTOCOL_OLDEST, PROTOCOL_VERSION};
use octaskly::transport::{Alpn, Endpoint, TransportError, greet_peer};
use octaskly::trust::Identity;

/// A worker that was let in by a token, with more options.
fn joined(dispatcher: &Host, on: &Host, name: &str, options: &[&str]) -> Node {
    let token = dispatcher.ok(["token", "create"]);
    let options = [&["--token", token.trim(), "--verbose"], options].concat();
    let worker = on.works_for(dispatcher.address, name, &options);
    worker.says("Joined the dispatcher");
    worker
}

/// The pairs of workers between which a direct link stands, as both of them say.
fn links(host: &Host) -> BTreeSet<(String, String)> {
    let rows = host.json(["peers"]);
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let linked = rows.as_array().expect("an array").iter().filter(|row| row["link"] == "standing");
    let said: BTreeSet<_> = linked.map(|row| (text(row, "heard_by"), text(row, "name"))).collect();
    let both = said.iter().filter(|(one, other)| one < other && said.contains(&(other.clone(), one.clone())));
    both.filter(|(one, other)| one != "dispatcher" && other != "dispatcher").cloned().collect()
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

/// The UDP ports on which anything on `host` listens that is not bound to one peer.
fn ports(host: &Host) -> BTreeSet<u16> {
    let tables = ["udp", "udp6"];
    let read =
        move || tables.map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).expect("a table"));
    let tables = host.inside(read).join().expect("it was read").concat();
    let local = tables.lines().filter_map(|line| line.split_whitespace().nth(1));
    local.filter_map(|address| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()).collect()
}

/// How the worker at `address` answers somebody with a key of his own.
fn dialled_by_a_stranger(from: &Host, address: SocketAddr, worker: octaskly::model::NodeId) -> TransportError {
    let dial = async move {
        let own = Identity::ephemeral().expect("a key");
        let endpoint = Endpoint::bind(&own, (Ipv4Addr::UNSPECIFIED, 0).into(), &[]).expect("a socket");
        let link = endpoint.connect(address, worker, Alpn::Peer).await?;
        let hello = Hello {
            protocol_oldest: PROTOCOL_OLDEST,
            protocol_newest: PROTOCOL_VERSION,
            software: "1.0.0".to_owned(),
            instance: InstanceId(1),
            intent: Intent::Peer,
            credential: Credential::None,
        };
        greet_peer(&link, &hello).await.map(|_| ())
    };
    let dialled = from.inside(move || tokio::runtime::Runtime::new().expect("a runtime").block_on(dial));
    dialled.join().expect("it dials").expect_err("a stranger is not let in")
}

fn key_of(host: &Host, name: &str) -> octaskly::model::NodeId {
    let workers = host.json(["workers"]);
    let row = workers.as_array().expect("an array").iter().find(|row| row["name"] == name).expect("the worker");
    row["node_id"].as_str().expect("a key").parse().expect("a key")
}

#[test]
fn workers_are_linked_with_each_other_and_peers_shows_it() {
    on_a_lan(4, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a", &[]);
        let _b = joined(dispatcher, lan.host(3), "b", &[]);
        soon("a and b are linked", || links(dispatcher) == [pair("a", "b")].into());
        let _c = joined(dispatcher, lan.host(4), "c", &["--listen", "0.0.0.0:7931"]);
        let all = [pair("a", "b"), pair("a", "c"), pair("b", "c")].into();
        soon("c is linked with both", || links(dispatcher) == all);
        assert!(ports(lan.host(2)).contains(&7879) && ports(lan.host(4)).contains(&7931));
        let table = dispatcher.ok(["peers"]);
        let of_c = table.lines().find(|line| line.starts_with("c ") && line.contains(" a ")).expect("a row");
        assert!(of_c.contains("10.77.0.4:7931") && of_c.ends_with("standing"), "{of_c}");
        assert_eq!(dispatcher.ok(["run", "--", "echo", "linked"]), "linked\n");
    });
}

#[test]
fn workers_of_one_machine_have_a_port_each_and_are_linked_too() {
    on_a_lan(1, |lan| {
        let host = lan.host(1);
        let _serving = host.serves();
        let _workers = ["a", "b", "c"].map(|name| host.worker(name));
        let all = [pair("a", "b"), pair("a", "c"), pair("b", "c")].into();
        soon("all are linked", || links(host) == all);
        assert!([7879, 7880, 7881].iter().all(|port| ports(host).contains(port)), "{:?}", ports(host));
    });
}

#[test]
fn a_port_that_is_named_and_taken_ends_the_worker_with_an_error_that_names_it() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let _serving = first.serves();
        let taken = second.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7931)).expect("the port is free"));
        let taken = taken.join().expect("it is taken");
        let token = first.ok(["token", "create"]);
        let options = ["--token", token.trim(), "--listen", "0.0.0.0:7931"];
        let mut worker = second.works_for(first.address, "a", &options);
        assert_eq!(worker.ended(), Some(1));
        let log = worker.log();
        assert!(log.contains("listen for other workers on 0.0.0.0:7931") && log.contains("--listen"), "{log}");
        drop(taken);
        second.works_for(first.address, "a", &options).says("Joined the dispatcher");
    });
}

#[test]
fn a_revoked_workers_links_end_at_once_and_a_stranger_gets_none() {
    on_a_lan(4, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let a = joined(dispatcher, lan.host(2), "a", &[]);
        let mut b = joined(dispatcher, lan.host(3), "b", &[]);
        let _c = joined(dispatcher, lan.host(4), "c", &[]);
        soon("all are linked", || links(dispatcher).len() == 3);
        let key = key_of(dispatcher, "a");
        // B hears of it at once, so it is made deaf to that: its links must end because of the others.
        b.signal(Signal::SIGSTOP);
        dispatcher.ok(["revoke", "b"]);
        a.says("[P2P] Direct link to b has ended");
        b.signal(Signal::SIGCONT);
        assert_eq!(b.ended(), Some(1), "{}", b.log());
        soon("a and c are left", || links(dispatcher) == [pair("a", "c")].into());
        let at = SocketAddr::from((lan.host(2).address, 7879));
        match dialled_by_a_stranger(lan.host(3), at, key) {
            TransportError::Refused(refusal) => assert_eq!(refusal.code, RefusalCode::NotOnRoster),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_cut_pair_shows_no_link_works_on_and_is_linked_again_when_it_is_healed() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a", &[]);
        let _b = joined(dispatcher, lan.host(3), "b", &[]);
        soon("they are linked", || links(dispatcher).len() == 1);
        lan.cut(lan.host(2), lan.host(3));
        soon("nobody says that they are linked", || {
            let rows = dispatcher.json(["peers"]);
            let rows = rows.as_array().expect("an array").clone();
            let of_workers = |row: &&serde_json::Value| row["name"] != "dispatcher" && row["heard_by"] != "dispatcher";
            rows.iter().filter(of_workers).all(|row| row["link"].is_null())
        });
        for name in ["a", "b"] {
            let label = format!("name={name}");
            assert_eq!(dispatcher.ok(["run", "--label", &label, "--", "echo", name]), format!("{name}\n"));
        }
        lan.heal();
        soon("they are linked again", || links(dispatcher).len() == 1);
    });
}

#[test]
fn links_stand_and_are_made_while_the_dispatcher_is_away() {
    on_a_lan(3, |lan| {
        let dispatcher = lan.host(1);
        let serving = dispatcher.serves();
        let a = joined(dispatcher, lan.host(2), "a", &[]);
        let b = joined(dispatcher, lan.host(3), "b", &[]);
        soon("they are linked", || links(dispatcher).len() == 1);
        serving.signal(Signal::SIGSTOP);
        a.says("Lost the dispatcher");
        b.says("Lost the dispatcher");
        assert!(!a.log().contains("Direct link to b has ended"), "{}", a.log());
        let stood = a.log().matches("Direct link to b at").count();
        lan.cut(lan.host(2), lan.host(3));
        a.says("Direct link to b has ended");
        lan.heal();
        a.says_times("Direct link to b at", stood + 1);
        serving.signal(Signal::SIGCONT);
        soon("the dispatcher hears of it", || links(dispatcher).len() == 1);
    });
}

#[test]
fn a_restarted_dispatchers_roster_follows_the_one_before_and_ends_no_link() {
    on_a_lan(4, |lan| {
        let dispatcher = lan.host(1);
        let mut serving = dispatcher.serves();
        let a = joined(dispatcher, lan.host(2), "a", &[]);
        let b = joined(dispatcher, lan.host(3), "b", &[]);
        soon("they are linked", || links(dispatcher).len() == 1);
        serving.kill();
        let _serving = dispatcher.serves();
        a.says_times("Joined the dispatcher", 2);
        b.says_times("Joined the dispatcher", 2);
        let _c = joined(dispatcher, lan.host(4), "c", &[]);
        soon("the new one is linked with both", || links(dispatcher).len() == 3);
        assert!(!a.log().contains("Direct link to b has ended"), "{}", a.log());
    });
}

#[test]
fn who_stops_or_is_killed_has_no_links_any_more() {
    on_a_lan(4, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let _a = joined(dispatcher, lan.host(2), "a", &[]);
        let mut b = joined(dispatcher, lan.host(3), "b", &[]);
        let mut c = joined(dispatcher, lan.host(4), "c", &[]);
        soon("all are linked", || links(dispatcher).len() == 3);
        assert_eq!(b.stop(), Some(0));
        soon("b has none", || links(dispatcher) == [pair("a", "c")].into());
        c.kill();
        soon("c has none", || {
            let rows = dispatcher.json(["peers"]);
            let rows = rows.as_array().expect("an array").clone();
            rows.iter().filter(|row| row["heard_by"] == "a" && row["name"] == "c").all(|row| row["link"].is_null())
        });
        let _b = lan.host(3).works_for(dispatcher.address, "b", &[]);
        soon("b is back", || links(dispatcher) == [pair("a", "b")].into());
    });
}

#[test]
fn a_flood_at_a_workers_port_ends_no_link_and_keeps_nobody_out() {
    on_a_lan(4, |lan| {
        let dispatcher = lan.host(1);
        let _serving = dispatcher.serves();
        let mut a = joined(dispatcher, lan.host(2), "a", &[]);
        let _b = joined(dispatcher, lan.host(3), "b", &[]);
        soon("they are linked", || links(dispatcher).len() == 1);
        let (key, at) = (key_of(dispatcher, "a"), SocketAddr::from((lan.host(2).address, 7879)));
        let flood = lan.host(4).inside(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let own = Identity::ephemeral().expect("a key");
                let endpoint = Endpoint::bind(&own, (Ipv4Addr::UNSPECIFIED, 0).into(), &[]).expect("a socket");
                // Connections that never say a word, more than may be inside.
                let mut silent = Vec::new();
                for _ in 0..700 {
                    silent.extend(endpoint.connect(at, key, Alpn::Peer).await.ok());
                }
                silent.len()
            })
        });
        assert!(flood.join().expect("it floods") > 512);
        assert!(a.is_running() && !a.log().contains("Direct link to b has ended"), "{}", a.log());
        let _c = joined(dispatcher, lan.host(4), "c", &[]);
        soon("one who belongs comes in", || links(dispatcher).len() == 3);
        assert!(a.peak_memory() < 200 * 1024 * 1024, "{} bytes", a.peak_memory());
    });
}

#[test]
fn with_peer_to_peer_off_nothing_listens_but_the_dispatcher() {
    on_a_lan(2, |lan| {
        let (first, second) = (lan.host(1), lan.host(2));
        let serving = first.node(first.command(["dispatcher", "--p2p-enabled", "false", "--verbose"]));
        serving.says("Dispatcher listening on");
        let _on_its_machine = first.worker("a");
        let _elsewhere = joined(first, second, "b", &["--listen", "0.0.0.0:7931"]);
        soon("both have joined", || first.json(["workers"]).as_array().is_some_and(|rows| rows.len() == 2));
        soon("nobody listens for beacons", || !ports(first).contains(&5555) && !ports(second).contains(&5555));
        let of_peers = |port: &u16| (7879..=7931).contains(port);
        assert!(ports(first).contains(&7878) && !ports(first).iter().any(of_peers), "{:?}", ports(first));
        assert!(!ports(second).iter().any(of_peers), "{:?}", ports(second));
        assert_eq!(first.ok(["run", "--", "echo", "apart"]), "apart\n");
        assert!(links(first).is_empty());
    });
}
